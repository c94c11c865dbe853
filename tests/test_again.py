"""Cells are run again: a lab whose file this process holds is found, and so are its agents."""

from __future__ import annotations

import inspect
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path

import pytest

from agentlab import Agent, Lab, Limit, Ref, Supervisor, child
from agentlab.errors import AlreadyPresent, AlreadyStarted, InvalidSpec, StoreError, StoreLocked
from tests.agents import Boss, Counter


def test_a_file_that_this_process_holds_gives_its_lab_back(tmp_path: Path) -> None:
    """By its path, another way to write it, a link to it; the agents are undisturbed."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        counter = lab.start(Counter, id="c")
        counter.call.add(2).result(20)
        (tmp_path / "soft.lab").symlink_to(path)
        (tmp_path / "hard.lab").hardlink_to(path)

        found = [
            Lab(path),
            Lab(str(tmp_path / "." / "run.lab")),
            Lab(tmp_path / "soft.lab"),
            Lab(tmp_path / "hard.lab"),
        ]

        assert all(again is lab for again in found)
        assert counter.call.add(1).result(20) == 3
        assert counter.incarnation == 1


def test_other_options_than_those_of_the_live_lab_are_refused_by_name(tmp_path: Path) -> None:
    """What is left out is not compared; what is given must be as it is."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1, keep=7) as lab:
        assert Lab(path, nodes=1) is lab
        assert Lab(path, nodes=None, keep=7) is lab
        with pytest.raises(InvalidSpec, match=r"nodes is 1, asked 3; keep is 7, asked None.*lab\.close\(\)"):
            Lab(path, nodes=3, keep=None)
        assert Lab(path) is lab


def test_every_option_of_a_lab_is_compared() -> None:
    """One that is added later, too."""
    with Lab(nodes=1) as lab:
        assert {"store", *lab._options} == set(inspect.signature(Lab).parameters)


def test_a_live_lab_can_still_be_opened_only_to_read(tmp_path: Path) -> None:
    """``resume=False`` looks at the file, whoever runs it."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Counter, id="c")
        with Lab(path, resume=False) as look:
            assert look is not lab
            assert look.agents()["path"].tolist() == ["/", "/c"]
        assert not lab.closed


def test_the_outermost_with_closes_and_a_closed_lab_is_opened_anew(tmp_path: Path) -> None:
    """``close()`` closes it for all who have it."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        with Lab(path) as within:
            assert within is lab
        assert not lab.closed
        lab.start(Counter, id="c").call.add(4).result(20)
    assert lab.closed

    with Lab(path, nodes=1) as second:
        assert second is not lab
        assert second["/c"].state == {"count": 4}
        Lab(path).close()
        assert second.closed


def test_a_lab_nobody_has_a_name_for_is_found(tmp_path: Path) -> None:
    """A function that opened it has returned; the lab runs, so whoever opens the file gets it."""
    path = tmp_path / "run.lab"

    def begin() -> None:
        Lab(path, nodes=1).start(Counter, id="c")

    begin()
    with Lab(path) as lab:
        assert lab["/c"].call.add(1).result(20) == 1


def test_threads_that_open_a_file_at_once_get_one_lab(tmp_path: Path) -> None:
    """The others wait for the first."""
    path = tmp_path / "run.lab"
    found: list[Lab] = []
    threads = [threading.Thread(target=lambda: found.append(Lab(path, nodes=1))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with found[0] as lab:
        assert len(found) == 8
        assert all(other is lab for other in found)


def test_a_lab_that_could_not_be_opened_holds_nothing(tmp_path: Path) -> None:
    """The next cell opens it as if nothing had been."""
    path = tmp_path / "run.lab"
    with pytest.raises(InvalidSpec):
        Lab(path, nodes=0)
    path.write_text("no store")
    with pytest.raises(Exception, match="not a database"):
        Lab(path)
    path.unlink()
    with Lab(path, nodes=1) as lab:
        assert lab.start(Counter, id="c").status == "running"


def test_a_file_that_was_deleted_below_its_lab_is_not_opened_twice(tmp_path: Path) -> None:
    """A second lab would write into the first one's WAL."""
    path = tmp_path / "run.lab"
    lab = Lab(path, nodes=1)
    path.unlink()
    with pytest.raises(StoreLocked, match=r"deleted or replaced.*lab\.close\(\)"):
        Lab(path)
    assert not lab.closed
    with pytest.raises(StoreError, match="was deleted or moved while its lab runs"):
        lab.close()
    with Lab(path, nodes=1) as fresh:
        assert fresh.agents()["path"].tolist() == ["/"]


def test_another_process_is_still_refused(tmp_path: Path) -> None:
    """One that was forked too: it has neither the lab's threads nor its nodes."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1):
        script = "import sys; from agentlab import Lab; Lab(sys.argv[1])"
        other = subprocess.run(
            [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
        )
        assert f"StoreLocked: {path} is held by another live lab (process {os.getpid()})" in other.stderr
        assert "exist_ok=True" in other.stderr

        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore", DeprecationWarning
            )  # newer Pythons warn of a fork beside threads: the point
            child = os.fork()
        if child == 0:
            try:
                Lab(path)
            except StoreLocked:
                os._exit(7)
            os._exit(1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_class_shows_its_options() -> None:
    """Who asks for help sees what ``Lab`` takes."""
    assert list(inspect.signature(Lab).parameters)[:3] == ["store", "nodes", "redeliver"]
    with pytest.raises(TypeError, match="bogus"):
        Lab(bogus=1)  # type: ignore[call-arg]  # the point


def test_a_start_that_is_run_again_finds_the_agent(tmp_path: Path) -> None:
    """Running: its ref. Without ``exist_ok`` the error names it."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        first = lab.start(Counter, id="c", exist_ok=True)
        first.call.add(5).result(20)

        again = lab.start(Counter, id="c", exist_ok=True)

        assert again == first
        assert (again.state, again.incarnation) == ({"count": 5}, 1)
        assert lab.start(Counter, exist_ok=True) == lab.start(Counter, exist_ok=True) == lab["/counter"]
        with pytest.raises(AlreadyStarted, match="exist_ok=True"):
            lab.start(Counter, id="c")


def test_who_waits_since_the_lab_was_opened_is_resumed(tmp_path: Path) -> None:
    """Alone: the others go on waiting. Messages that waited are handled."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        for name in "ab":
            lab.start(Counter, id=name).call.add(3).result(20)
    with Lab(path, nodes=1, resume="ask") as lab:
        lab["/a"].cast.add(10)
        counter = lab.start(Counter, id="a", exist_ok=True)
        assert counter.call.add(1).result(20) == 14
        assert lab["/b"].status == "parked"
        assert [ref.path for ref in lab.resume()] == ["/b"]
        assert lab.resume() == []


def test_a_team_is_found_or_resumed_with_all_that_was_added_to_it(tmp_path: Path) -> None:
    """Its declared children, nested ones too, are compared; those that were added while it ran come back with it."""
    path = tmp_path / "run.lab"

    def team() -> Supervisor:
        inner = Supervisor("inner", child(Counter, id="deep", count=7))
        return Supervisor("team", child(Counter, id="left", count=10), inner)

    with Lab(path, nodes=1) as lab:
        lab.start(team(), exist_ok=True)
        lab["/team"].start_child(child(Counter, id="added", count=2), exist_ok=True)
        assert lab["/team"].start_child(child(Counter, id="added", count=2), exist_ok=True) == lab["/team/added"]
        lab["/team/inner/deep"].call.add(1).result(20)
        assert lab.start(team(), exist_ok=True) == lab["/team"]
    with Lab(path, nodes=1, resume="ask") as lab:
        assert lab.start(team(), exist_ok=True).status == "running"
        states = {ref.path: ref.state["count"] for ref in lab}
        assert states == {"/team/left": 10, "/team/inner/deep": 8, "/team/added": 2}
        assert lab.start(team(), exist_ok=True) == lab["/team"]


def test_another_one_under_that_id_is_an_error_that_names_both(lab: Lab) -> None:
    """Another class, option or first value; what was not given is not compared, of a whole spec everything is."""
    lab.start(Counter, id="c", count=5, restart="transient")
    lab.start(Supervisor("team", child(Counter, id="left", count=10), max_restarts=2))

    assert lab.start(Counter, id="c", exist_ok=True) == lab["/c"]
    with pytest.raises(InvalidSpec, match=r"/c: it is tests\.agents\.Counter, asked tests\.agents\.Boss"):
        lab.start(Boss, id="c", exist_ok=True)
    with pytest.raises(InvalidSpec, match=r"restart is 'transient', asked 'permanent'; /c: count is 5, asked 6"):
        lab.start(Counter, id="c", exist_ok=True, restart="permanent", count=6)
    with pytest.raises(InvalidSpec, match="count is 5, asked 0"):
        lab.start(child(Counter, id="c", restart="transient"), exist_ok=True)
    with pytest.raises(InvalidSpec, match=r"/team/left: count is 10, asked 11"):
        lab.start(Supervisor("team", child(Counter, id="left", count=11), max_restarts=2), exist_ok=True)
    with pytest.raises(
        InvalidSpec, match=r"/team: max_restarts is 2, asked 3; /team: its children are left, asked none"
    ):
        lab.start(Supervisor("team"), exist_ok=True)
    with pytest.raises(InvalidSpec, match="it is a supervisor, asked"):
        lab.start(Counter, id="team", exist_ok=True)


def test_who_gave_up_is_found_and_it_is_said(lab: Lab) -> None:
    """It stays parked: nobody knows whether it would do better now."""
    counter = lab.start(Counter, id="c", own_limit=Limit(0, 5.0))
    counter.crash()
    lab.wait_idle()
    with pytest.warns(UserWarning, match=r"/c is there, parked: Crashed.*ref\.restart\(\)"):
        assert lab.start(Counter, id="c", exist_ok=True).status == "parked"


def test_why_somebody_gave_up_is_known_to_the_next_kernel(tmp_path: Path) -> None:
    """Why an agent is parked is not lost with the process in which it happened, also below a supervisor."""
    path, paths = tmp_path / "run.lab", ("/c", "/team/c")
    with Lab(path, nodes=1) as lab:
        lab.start(Supervisor("team"))
        for under in (None, "/team"):
            ref = lab.start(child(Counter, id="c", own_limit=Limit(0, 60)), under=under)
            ref.crash(ValueError("no tea"))
            lab.wait_idle(20)

    for _ in range(2):
        with Lab(path, nodes=1, resume=True) as lab:
            assert [lab[path].status for path in paths] == ["parked", "parked"]
            for path_ in paths:
                assert "ValueError: no tea" in lab.explain(path_)
                with pytest.warns(UserWarning, match=rf"{path_} is there, parked: ValueError: no tea"):
                    lab.start(child(Counter, id="c", own_limit=Limit(0, 60)), under=path_[:-2] or None, exist_ok=True)


def test_who_has_ended_starts_again(lab: Lab) -> None:
    """Under the root afresh, as ``start`` does it; where a supervisor keeps it, where it was."""
    lab.start(Counter, id="c").call.add(3).result(20)
    lab["/c"].stop()
    assert lab.start(Counter, id="c", exist_ok=True).state == {"count": 0}

    team = lab.start(Supervisor("team", child(Counter, id="left", restart="transient")))
    for end in (lambda: team.terminate_child("left"), lab["/team/left"].stop):
        lab["/team/left"].call.add(3).result(20)
        end()
        with pytest.raises(AlreadyPresent, match="exist_ok=True"):
            lab.start(Counter, id="left", under=team)
        again = lab.start(Counter, id="left", under=team, exist_ok=True)
        assert again.status == "running"
    assert lab["/team/left"].call.add(0).result(20) == 6


def test_threads_that_start_the_same_agent_get_one(lab: Lab) -> None:
    """Whoever comes second waits until it is up."""
    refs: list[Ref] = []
    threads = [
        threading.Thread(target=lambda: refs.append(lab.start(Counter, id="c", exist_ok=True))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(refs) == 8
    assert {ref.call.life().result(20) for ref in refs} == {1}


def test_threads_that_start_the_same_many_get_them_all(lab: Lab) -> None:
    """Whoever comes second finds those that another has started meanwhile, and starts the others."""
    found: list[int] = []
    threads = [
        threading.Thread(target=lambda: found.append(len(lab.start_many(Counter, 5_000, exist_ok=True))))
        for _ in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [5_000] * 6
    assert lab.start_many(Counter, 5_000, exist_ok=True)[4_999].call.add(1).result(20) == 1


def test_many_are_numbered_from_one_and_found(tmp_path: Path) -> None:
    """The first so many of the class; those that are missing are started, those that wait resumed."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Counter, id="other")
        refs = lab.start_many(Counter, 3, exist_ok=True)
        assert [ref.path for ref in refs] == ["/counter-1", "/counter-2", "/counter-3"]
        refs[1].call.add(4).result(20)
        refs[0].stop()
        again = lab.start_many(Counter, 5, exist_ok=True)
        assert [ref.state["count"] for ref in again] == [0, 4, 0, 0, 0]
        assert lab.start_many(Counter, [{"count": 0}, {"count": 0}], under="/", exist_ok=True)[1].incarnation == 1
    with Lab(path, nodes=1, resume="ask") as lab:
        third = lab.start_many(Counter, 5, exist_ok=True)
        assert [ref.status for ref in third] == ["running"] * 5
        assert third[1].call.add(1).result(20) == 5
        assert lab["/other"].status == "parked"


def test_finding_many_wakes_nobody(lab: Lab) -> None:
    """Agents that nobody has reached for cost as little when they are found as when they were started."""
    lab.start_many(Counter, 1000, exist_ok=True)
    sleeping = lab._runtime.desk.entries.dormant  # type: ignore[union-attr]  # it runs
    lab.start_many(Counter, 1000, exist_ok=True)
    assert lab._runtime.desk.entries.dormant == sleeping > 990  # type: ignore[union-attr]  # it runs


def test_options_for_all_are_compared_too(lab: Lab) -> None:
    """``start_many`` takes those of ``child``."""
    lab.start_many(Counter, 3, restart="transient", exist_ok=True)
    assert lab.start_many(Counter, 3, restart="transient", exist_ok=True)[2].incarnation == 1
    with pytest.raises(InvalidSpec, match="/counter-1: restart is 'transient', asked 'temporary'"):
        lab.start_many(Counter, 3, restart="temporary", exist_ok=True)


def test_many_with_other_fields_are_refused(lab: Lab) -> None:
    """By the one that differs."""
    fields = [{"count": n} for n in range(3)]
    lab.start_many(Counter, fields, exist_ok=True)
    assert len(lab.start_many(Counter, fields, exist_ok=True)) == 3
    with pytest.raises(InvalidSpec, match="/counter-2: count is 1, asked 9"):
        lab.start_many(Counter, [{"count": 0}, {"count": 9}], exist_ok=True)


class Founder(Agent):
    """Starts what it needs, each time it begins."""

    helpers: int = 0

    async def on_start(self) -> None:
        """Also when it comes back: the helper is found, or resumed."""
        await self.lab.start(Counter, id="helper", exist_ok=True)

    async def ask(self) -> int:
        """The helper is there, asked for twice."""
        helper = await self.lab.start(Counter, id="helper", exist_ok=True)
        same = await self.lab.start(child(Counter, id="helper"), exist_ok=True)
        assert helper == same
        count: int = await helper.call.add(1)
        return count


class Lead(Agent):
    """Fills its team."""

    async def hire(self) -> list[str]:
        """The same worker twice, then another one."""
        team = self.lab["/team"]
        return [(await team.start_child(child(Counter, id=name), exist_ok=True)).path for name in ("ann", "ann", "bob")]


def test_an_agent_finds_the_children_that_a_supervisor_has(lab: Lab) -> None:
    """``start_child`` takes ``exist_ok`` too."""
    lab.start(Supervisor("team"))
    lead = lab.start(Lead)
    assert lead.call.hire().result(20) == ["/team/ann", "/team/ann", "/team/bob"]
    assert lead.call.hire().result(20) == ["/team/ann", "/team/ann", "/team/bob"]


def test_an_agent_finds_what_it_started(tmp_path: Path) -> None:
    """Also while a stored lab is resumed and both wait."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        founder = lab.start(Founder, id="founder")
        assert founder.call.ask().result(20) == 1
        founder.kill()
        assert founder.call.ask().result(20) == 2
    with Lab(path, nodes=1, resume="ask") as lab:
        assert {ref.path for ref in lab.resume()} == {"/founder", "/helper"}
        assert lab["/founder"].call.ask().result(20) == 3
    with Lab(path, nodes=1, resume=True) as lab:
        assert lab["/founder"].call.ask().result(20) == 4


def test_an_instance_is_found_by_its_id(lab: Lab) -> None:
    """Under a template a start without an id always makes another one."""
    pool = lab.start(Supervisor("pool", child(Counter, id="w"), strategy="simple_one_for_one"))
    first = lab.start(Counter, id="mine", under=pool, count=3, exist_ok=True)
    assert lab.start(Counter, id="mine", under=pool, count=3, exist_ok=True) == first
    with pytest.raises(InvalidSpec, match="count is 3, asked 4"):
        lab.start(Counter, id="mine", under=pool, count=4, exist_ok=True)
    with pytest.raises(InvalidSpec, match="id="):
        lab.start(Counter, under=pool, exist_ok=True)
