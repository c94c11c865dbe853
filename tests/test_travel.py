"""Time travel: rewinding, forks, upgrades, dead letters, messages that are taken back."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from agentlab import Agent, Backoff, Lab, Limit, Supervisor, Transcript, child, open_store
from agentlab.errors import AgentDown, InvalidSpec, InvalidState, UnknownCheckpoint, UnknownLetter
from agentlab.kernel import upgrades
from tests.agents import Counter
from tests.conftest import wait_for
from tests.marks import mark, size
from tests.mortal import Writer
from tests.test_kernel_life import read_line, start_script


@pytest.fixture(params=["memory", "file"])
def anylab(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Lab]:
    """A lab in memory, and one with a file: the same holds in both."""
    with Lab(None if request.param == "memory" else tmp_path / "run.lab", nodes=2) as made:
        yield made


def test_rewind_sets_the_state_back_and_keeps_the_history(anylab: Lab) -> None:
    """The state is that of then, as a new checkpoint; a transcript gets shorter; it survives a crash."""
    writer = anylab.start(Writer, id="w", said=["begin"])
    for word in "abc":
        writer.call.say(word).result(60)
    assert writer.rewind(1)["said"] == ["begin", "a"]
    assert writer.call.say("z").result(60) == 3
    writer.kill()
    assert writer.call.say("y").result(60) == 4
    assert writer.state["said"] == ["begin", "a", "z", "y"]
    frame = writer.checkpoints()
    assert frame["seq"].tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert frame["state.said"].tolist()[3:5] == [["begin", "a", "b", "c"], ["begin", "a"]]
    assert anylab.events().query("kind == 'rewound_to'")["detail"].tolist() == ["checkpoint 1"]
    assert writer.rewind(3)["said"] == ["begin", "a", "b", "c"]
    assert writer.call.say("d").result(60) == 5


def test_rewind_refuses_what_never_was(lab: Lab) -> None:
    """The error names what there is."""
    counter = lab.start(Counter, id="c")
    counter.call.add().result(60)
    with pytest.raises(UnknownCheckpoint, match=r"'/c' has no checkpoint 7; it has 2, from 0 to 1"):
        counter.rewind(7)
    with pytest.raises(UnknownCheckpoint, match="no checkpoint 'x'"):
        counter.rewind("x")  # type: ignore[arg-type]


def test_a_transcript_can_be_replaced(anylab: Lab) -> None:
    """A person may set a conversation to anything, shorter, longer or empty; what follows is added to that."""
    writer = anylab.start(Writer, id="w")
    writer.call.say("a", "b").result(60)
    writer.replace_state(said=["x"])
    assert writer.call.say("c").result(60) == 2
    writer.replace_state(said=[])
    writer.kill()
    assert writer.call.say("d").result(60) == 1
    assert writer.checkpoints()["state.said"].iloc[-1] == ["d"]


def test_forks_begin_where_they_part(anylab: Lab) -> None:
    """A fork has the state of a checkpoint with other fields, lives on its own, and nothing was copied for it."""
    writer = anylab.start(Writer, id="w")
    for word in "abc":
        writer.call.say(word).result(60)
    one = writer.fork(2, style="odd")
    assert (one.path, one.state) == ("/w-fork-1", {"style": "odd", "said": ["a", "b"], "drawn": []})
    assert one.call.say("z").result(60) == 3
    one.kill()
    assert one.call.say("y").result(60) == 4
    assert writer.state["said"] == ["a", "b", "c"]
    last = writer.fork()
    assert (last.path, last.state["said"]) == ("/w-fork-2", ["a", "b", "c"])
    assert last.checkpoints()[["seq", "bytes"]].to_numpy().tolist() == [[3, 0]]
    assert last.checkpoints()["state.said"].tolist() == [["a", "b", "c"]]
    assert last.rewind(1)["said"] == ["a"]
    grandchild = one.fork(1, said=[])
    assert grandchild.state["said"] == []
    assert grandchild.call.say("n").result(60) == 1


def test_many_forks_at_once(anylab: Lab) -> None:
    """``n`` forks are ``Refs``, beside the original under its supervisor, also of a template's instance."""
    anylab.start(Supervisor("team", child(Counter, id="c", count=5)))
    forks = anylab["/team/c"].fork(n=3)
    assert [ref.path for ref in forks] == ["/team/c-fork-1", "/team/c-fork-2", "/team/c-fork-3"]
    assert forks.call.add().result(60) == [6, 6, 6]
    named = anylab["/team/c"].fork(id="d", n=2, count=1)
    assert [ref.path for ref in named] == ["/team/d-1", "/team/d-2"]
    anylab.start(Supervisor("pool", child(Counter, id="p"), strategy="simple_one_for_one"))
    first = anylab.start(Counter, id="first", under="/pool", count=3)
    first.call.add().result(60)
    assert first.fork(id="second").state == {"count": 4}


def test_a_fork_at_a_step_does_not_repeat_what_came_before(anylab: Lab, tmp_path: Path) -> None:
    """The message is handled again: steps before are answered by the journal, that one and later ones run."""
    writer = anylab.start(Writer, id="w")
    writer.call.say("hello").result(60)
    assert writer.call.work(str(tmp_path)).result(60) == "1 plain 1 1"
    forks = writer.fork(at=(2, 2), n=3, style="odd")
    anylab.wait_idle(60)
    assert sorted(ref.state["said"][-1].split()[2] for ref in forks) == ["1", "2", "3"]
    assert {ref.state["said"][0] for ref in forks} == {"hello"}
    assert {ref.state["drawn"][0] for ref in forks} == {writer.state["drawn"][0]}
    assert [size(tmp_path, word) for word in ("first", "plain", "odd", "third")] == [1, 1, 3, 4]
    steps = anylab.steps(path=forks[0].path)
    assert steps[["message_seq", "step", "replayed"]].to_numpy().tolist() == [[2, 1, 1], [2, 2, 0], [2, 3, 0]]
    again = forks[0].fork(at=(2, 3))
    anylab.wait_idle(60)
    assert size(tmp_path, "odd") == 3
    assert size(tmp_path, "third") == 5
    assert again.state["said"][-1].startswith("1 odd")


def test_a_fork_refuses_what_never_was(anylab: Lab, tmp_path: Path) -> None:
    """Unknown checkpoints, messages, steps and fields are named; nothing is started."""
    writer = anylab.start(Writer, id="w")
    writer.call.work(str(tmp_path)).result(60)
    with pytest.raises(UnknownCheckpoint, match="no checkpoint 9; it has 2, from 0 to 1"):
        writer.fork(9)
    with pytest.raises(UnknownCheckpoint, match="handled no message 9"):
        writer.fork((9, 1))
    with pytest.raises(UnknownCheckpoint, match="no step 5; a fork may begin at 1 to 4"):
        writer.fork((1, 5))
    with pytest.raises(InvalidState, match="no field 'stile'"):
        writer.fork(stile="x")
    with pytest.raises(InvalidSpec, match="n must be an int from 1 to 1,000,000; got 0"):
        writer.fork(n=0)
    with pytest.raises(InvalidSpec, match="at must be"):
        writer.fork((1, 2, 3))  # type: ignore[arg-type]
    assert len(anylab.agents()) == 2


def test_forks_outlive_their_original_and_the_lab(tmp_path: Path) -> None:
    """The shared past stays when the original is forgotten, and when the lab is opened again."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Supervisor("team", child(Writer, id="w")))
        writer = lab["/team/w"]
        writer.call.say("a", "b").result(60)
        fork = writer.fork()
        fork.call.say("c").result(60)
        lab["/team"].terminate_child("w")
        lab["/team"].delete_child("w")
        lab["/team"].start_child(child(Writer, id="w"))
        lab["/team/w"].call.say("new").result(60)
        assert fork.checkpoints()["state.said"].tolist() == [["a", "b"], ["a", "b", "c"]]
    with Lab(path, nodes=1, resume=True) as lab:
        assert lab["/team/w-fork-1"].call.say("d").result(60) == 4
        assert lab["/team/w"].state["said"] == ["new"]


def test_a_message_of_a_forgotten_original_is_handled_again(anylab: Lab, tmp_path: Path) -> None:
    """Its forks reach into the past that they share: the original's, not that of a later agent with its id."""
    anylab.start(Supervisor("team", child(Writer, id="w")))
    writer, team = anylab["/team/w"], anylab["/team"]
    writer.call.work(str(tmp_path)).result(60)
    fork = writer.fork()
    team.terminate_child("w")
    team.delete_child("w")
    team.start_child(child(Writer, id="w", style="new"))
    writer.replace_state(style="newer")

    again = fork.fork(at=(1, 2), style="odd")
    anylab.wait_idle(60)

    assert again.state["said"] == ["1 odd 1 2"]
    assert again.state["drawn"] == fork.state["drawn"]
    assert [size(tmp_path, word) for word in ("first", "plain", "odd")] == [1, 1, 1]
    with pytest.raises(UnknownCheckpoint, match="has handled no message 1"):
        writer.fork(at=(1, 1))


def test_a_closed_lab_can_be_rewound_and_forked(tmp_path: Path) -> None:
    """With ``resume="ask"`` nothing runs but what is forked; what was rewound begins there when it is resumed."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        writer = lab.start(Writer, id="w")
        writer.call.say("a").result(60)
        writer.call.work(str(tmp_path)).result(60)
    with open_store(path) as store:
        (seq,) = store.messages().query("method == 'work'")["seq"]
        (first, *_) = store.checkpoints("/w")["seq"]
    with Lab(path, nodes=1, resume="ask") as lab:
        writer = lab["/w"]
        fork = writer.fork(at=(seq, 2), style="odd")
        lab.wait_idle(60)
        assert (writer.status, fork.status) == ("parked", "running")
        assert fork.state["said"] == ["a", "1 odd 1 2"]
        assert writer.rewind(first)["said"] == []
        lab.resume()
        assert writer.call.say("b").result(60) == 1
        assert size(tmp_path, "first") == 1


def test_a_forked_message_survives_the_kernel(tmp_path: Path) -> None:
    """A fork whose kernel is killed in the middle of its message goes on, and its past is still not paid again."""
    path = tmp_path / "run.lab"
    script = start_script(
        """
        import sys, time
        from pathlib import Path
        from agentlab import Lab
        from tests.mortal import Writer

        lab = Lab(sys.argv[1], nodes=1)
        writer = lab.start(Writer, id="w")
        writer.call.gated(sys.argv[2]).result(60)
        Path(sys.argv[2], "gate").touch()
        fork = writer.fork(at=(1, 2), style="odd")
        while lab.steps(path=fork.path)["replayed"].tolist() != [1]:
            time.sleep(0.01)
        print("ready", flush=True)
        time.sleep(60)
        """,
        str(path),
        str(tmp_path),
    )
    assert read_line(script).strip() == "ready"
    script.kill()
    script.communicate(timeout=60)
    (tmp_path / "gate").unlink()

    with Lab(path, nodes=1, resume=True) as lab:
        lab.wait_idle(60)
        fork = lab["/w-fork-1"]
        assert fork.state == {"style": "odd", "said": [f"odd {lab['/w'].state['said'][0][6:]}"], "drawn": []}
        assert [size(tmp_path, word) for word in ("first", "second")] == [1, 2]


class Patient(Agent):
    """Works until it is interrupted."""

    count: int = 0
    said: Transcript = Transcript()

    async def work(self, folder: str) -> int:
        """Change much, do a step, wait for ever."""
        self.count += 100
        self.said.append("half")
        self.ref.cast.add()
        await self.step(mark, folder, "done")
        await anyio.sleep_forever()
        return self.count

    async def stubborn(self, folder: str) -> int:
        """Catch whatever comes."""
        mark(folder, "stubborn")
        with contextlib.suppress(asyncio.CancelledError):
            await anyio.sleep_forever()
        self.count += 100
        return self.count

    async def add(self) -> int:
        """Add one."""
        self.count += 1
        return self.count

    async def fail(self, word: str) -> None:
        """Fail until somebody has mended the agent."""
        if not self.count:
            raise ValueError(word)
        self.said.append(word)


@pytest.mark.parametrize("how", ["work", "stubborn"])
def test_a_message_in_hand_is_taken_back(anylab: Lab, tmp_path: Path, how: str) -> None:
    """Its handler is interrupted wherever it is; nothing of it shows but its steps; the agent lives on."""
    patient = anylab.start(Patient, id="p")
    patient.call.add().result(60)
    reply = getattr(patient.call, how)(str(tmp_path))
    wait_for(lambda: size(tmp_path, {"work": "done", "stubborn": "stubborn"}[how]) == 1)
    assert reply.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        reply.result(60)
    assert patient.state == {"count": 1, "said": []}
    assert patient.call.add().result(60) == 2
    assert patient.incarnation == 1
    assert anylab.messages()["outcome"].tolist() == ["ok", "cancelled", "ok"]
    assert len(anylab.steps()) == (1 if how == "work" else 0)
    assert not reply.cancel()


def test_a_message_that_waits_is_taken_back(lab: Lab) -> None:
    """It is never handled, whether its agent is busy, suspended or between two lives; others keep their order."""
    patient = lab.start(Patient, id="p", backoff=Backoff(initial=900.0, maximum=900.0))
    patient.suspend()
    first, second, third = (patient.call.add() for _ in range(3))
    assert second.cancel()
    patient.resume()
    assert (first.result(60), third.result(60)) == (1, 2)
    with pytest.raises(concurrent.futures.CancelledError):
        second.result(60)
    patient.kill()
    reply = patient.call.add()
    assert reply.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        reply.result(60)
    patient.stop()
    patient.restart()
    assert patient.call.add().result(60) == 3
    assert "cancelled" in lab.events()["kind"].tolist()


def test_a_cancelled_reply_is_awaited_as_any_cancelled_future(lab: Lab) -> None:
    """``await`` raises what asyncio raises."""

    async def main() -> None:
        patient = lab.start(Patient, id="p")
        patient.suspend()
        reply = patient.call.add()
        assert reply.cancel()
        with pytest.raises(asyncio.CancelledError, match="was taken back"):
            await reply

    asyncio.run(main())


def test_dead_letters_are_sent_again(anylab: Lab) -> None:
    """Calls and casts that failed for good are letters; mended, the agent gets them by number, path or all."""
    patient = anylab.start(Patient, id="p", own_limit=Limit(100, 60.0))
    with pytest.raises(AgentDown):
        patient.call.fail("one").result(60)
    patient.cast.fail("two")
    patient.cast.fail("three")
    anylab.wait_idle(60)
    letters = anylab.dead_letters()
    assert letters.columns.tolist() == ["number", "at", "path", "method", "sender", "deliveries", "reason"]
    assert letters["deliveries"].tolist() == [3, 3, 3]
    assert letters["reason"].tolist() == ["ValueError: one", "ValueError: two", "ValueError: three"]
    with pytest.raises(UnknownLetter, match="no dead letter 99"):
        anylab.retry(99)
    patient.call.add().result(60)
    assert anylab.retry(letters["number"][1]) == 1
    assert anylab.retry("/nobody") == 0
    assert anylab.retry(patient) == 2
    anylab.wait_idle(60)
    assert patient.state["said"] == ["two", "one", "three"]
    assert anylab.dead_letters().empty
    assert anylab.retry() == 0


def test_what_is_refused_at_once_is_no_dead_letter(lab: Lab) -> None:
    """``redeliver=False`` is OTP's way: the caller hears of it, and that is all."""
    patient = lab.start(Patient, id="p")
    with pytest.raises(AgentDown):
        patient.call(redeliver=False).fail("one").result(60)
    assert lab.dead_letters().empty


def version(number: int) -> type[Agent]:
    """A class as a cell would define it, again and again."""
    if number == 1:

        class Shop(Agent):
            """Sells."""

            sold: int = 0
            notes: Transcript = Transcript()

            async def sell(self) -> str:
                """Sell one."""
                self._till = getattr(self, "_till", 0) + 1
                self.sold += 1
                self.notes.append("sold")
                return f"one: {self.sold}"

            async def hold(self) -> str:
                """Wait until it is taken back."""
                await anyio.sleep_forever()
                return "held"

    elif number == 2:

        class Shop(Agent):  # type: ignore[no-redef]
            """Sells, and says what it earned."""

            earned: float
            name: str = "shop"
            notes: Transcript = Transcript()

            async def sell(self) -> str:
                """Sell one."""
                self._till += 1
                self.earned += 2.5
                return f"two: {self.earned} {self._till}"

            @classmethod
            def migrate(cls, state: dict) -> dict:
                """Each was 2.50."""
                if state["sold"] > 50:
                    raise ValueError(f"too many: {state['sold']}")
                return {"earned": state["sold"] * 2.5, "notes": state["notes"][-1:], "pid": os.getpid()}

    else:

        class Shop(Agent):  # type: ignore[no-redef]
            """Has lost a field."""

            notes: Transcript = Transcript()
            earned: int = 0

            async def sell(self) -> str:
                """Sell nothing."""
                return "three"

    return Shop


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """An upgrade waits for agents at work for as long as a busy machine may take: else it says "waits"."""
    monkeypatch.setattr(upgrades, "PATIENCE", 60.0)


@pytest.mark.usefixtures("patient")
def test_upgrade_gives_running_agents_new_code_and_a_migrated_state(anylab: Lab) -> None:
    """Defining a class again changes nothing; ``upgrade`` does, between two messages; what is no state stays."""
    old = version(1)
    shop = anylab.start(old, id="shop")
    assert [shop.call.sell().result(60) for _ in range(2)] == ["one: 1", "one: 2"]
    new = version(2)
    assert shop.call.sell().result(60) == "one: 3"
    assert [row.outdated for row in anylab.rows(["/shop"])] == [True]
    assert anylab.upgrade(new).to_numpy().tolist() == [["/shop", "upgraded", None]]
    assert shop.state == {"earned": 7.5, "name": "shop", "notes": ["sold"]}
    assert shop.call.sell().result(60) == "two: 10.0 4"
    assert (shop.incarnation, [row.outdated for row in anylab.rows(["/shop"])]) == (1, [False])
    shop.kill()
    anylab.wait_idle(60)
    assert shop.state == {"earned": 10.0, "name": "shop", "notes": ["sold"]}
    assert anylab.upgrade(new).empty
    frame = shop.checkpoints()
    assert frame["state.notes"].tolist()[-3:] == [["sold"] * 3, ["sold"], ["sold"]]


@pytest.mark.usefixtures("patient")
def test_an_agent_whose_state_does_not_fit_keeps_the_old_code(anylab: Lab) -> None:
    """What ``migrate`` raised, or the field that does not fit, is said in the report and an event; others go on."""
    old = version(1)
    shops = anylab.start_many(old, [{"sold": 99}, {"sold": 1}])
    report = anylab.upgrade(version(2)).set_index("path")
    assert report["outcome"].to_dict() == {"/shop-1": "refused", "/shop-2": "upgraded"}
    assert report["detail"]["/shop-1"] == "ValueError: too many: 99"
    assert shops[0].call.sell().result(60) == "one: 100"
    report = anylab.upgrade(version(3)).set_index("path")
    assert report["outcome"].to_dict() == {"/shop-1": "upgraded", "/shop-2": "refused"}
    assert "earned is int; got '2.5'" in report["detail"]["/shop-2"]
    events = anylab.events().query("kind.str.startswith('upgrade')")
    assert sorted(events["kind"]) == ["upgrade_refused", "upgrade_refused", "upgraded", "upgraded"]


def test_agents_that_do_not_run_or_are_busy_are_upgraded_too(anylab: Lab) -> None:
    """A stopped one at once, by a node; a busy one when its message is over; whoever is started later is new."""
    old = version(1)
    anylab.start(Supervisor("team", child(old, id="a"), child(old, id="b")))
    anylab.start(Supervisor("pool", child(old, id="p"), strategy="simple_one_for_one"))
    first, second = anylab["/team/a"], anylab["/team/b"]
    first.call.sell().result(60)
    first.stop()
    held = second.call.hold()
    wait_for(lambda: second.info()["message"] == "hold")
    new = version(2)
    report = anylab.upgrade(new).set_index("path")
    assert report["outcome"].to_dict() == {"/team/a": "upgraded", "/team/b": "waits"}
    assert first.state["earned"] == 2.5
    held.cancel()
    wait_for(lambda: "earned" in second.state)
    first.restart()
    assert first.state == {"earned": 2.5, "name": "shop", "notes": ["sold"]}
    assert anylab.start(new, under="/pool", earned=4.0).state["earned"] == 4.0
    anylab["/team"].kill()
    anylab.wait_idle(60)
    assert (first.state["earned"], second.state["earned"]) == (2.5, 0.0)
    assert not any(row.outdated for row in anylab.rows())


def test_a_stored_state_meets_a_newer_class(tmp_path: Path) -> None:
    """A lab that is opened again with newer classes migrates as ``upgrade`` does, once."""
    path = tmp_path / "run.lab"
    kept = [version(1)]
    with Lab(path, nodes=1) as lab:
        shop = lab.start(kept[0], id="shop")
        shop.call.sell().result(60)
    kept.append(version(2))
    for _ in range(2):
        with Lab(path, nodes=1, resume=True) as lab:
            assert lab["/shop"].state == {"earned": 2.5, "name": "shop", "notes": ["sold"]}


def test_upgrade_takes_classes(lab: Lab) -> None:
    """Anything else is refused, with its value."""
    with pytest.raises(InvalidSpec, match="upgrade: give an agent class; got 3"):
        lab.upgrade(3)  # type: ignore[arg-type]


def test_a_past_that_an_older_class_made_is_migrated(anylab: Lab) -> None:
    """Whoever is set back behind an upgrade, or forked from there, has the old state as the new class has it."""
    shop = anylab.start(version(1), id="shop")
    for _ in range(3):
        shop.call.sell().result(60)
    anylab.upgrade(version(2))

    fork = shop.fork(at=2)
    shop.rewind(2)

    assert shop.state["earned"] == 5.0
    assert fork.state["earned"] == 5.0


def test_a_fork_may_not_be_called_what_is_no_part_of_a_path(anylab: Lab) -> None:
    """It would be in a place that nobody finds."""
    counter = anylab.start(Counter, id="counter")
    with pytest.raises(InvalidSpec, match="must not contain '/'"):
        counter.fork(id="a/b")
