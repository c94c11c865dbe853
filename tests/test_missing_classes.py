"""A lab comes back before its classes are defined: nothing is lost, all of it can be read, and it says what to run."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from agentlab import Agent, Assistant, Lab, Supervisor, child
from agentlab.agent.code import same_code
from agentlab.books.specs import OURS
from agentlab.errors import InvalidArgument, NotRunning, UnknownMessage
from tests.agents import Counter
from tests.conftest import wait_for

MAKE = """
import sys
from agentlab import Agent, Lab, Supervisor, child
from tests.agents import Counter

class Writer(Agent):
    text: str = ""
    pages: int = 1

    def write(self, text: str) -> int:
        self.text += text
        return len(self.text)

lab = Lab(sys.argv[1], nodes=1)
lab.start(Writer, id="alone", pages=3).call.write("tea").result(20)
team = lab.start(Supervisor("team", child(Counter, id="left", count=10), child(Writer, id="right")))
team.start_child(child(Writer, id="added", pages=7))
lab.start(Supervisor("plain", child(Counter, id="one"))).start_child(child(Writer, id="two"))
lab["/plain/one"].call.add(1).result(20)
lab["/team/left"].call.add(1).result(20)
lab["/team/right"].call.write("coffee").result(20)
right = lab["/team/right"]
right.suspend()
right.cast.write("!").result(20)
import os, signal
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store whose kernel was killed, with agents of a class that only its notebook had."""
    path = tmp_path_factory.mktemp("made") / "run.lab"
    done = subprocess.run([sys.executable, "-c", MAKE, str(path)], timeout=60, check=False, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()
    return path


@pytest.fixture
def path(made: Path, tmp_path: Path) -> Path:
    """A copy of it."""
    copy = tmp_path / "run.lab"
    for file in made.parent.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return copy


def define(monkeypatch: pytest.MonkeyPatch) -> type[Agent]:
    """Run the cell that defines it."""

    class Writer(Agent):
        text: str = ""
        pages: int = 1

        def write(self, text: str) -> int:
            self.text += text
            return len(self.text)

    Writer.__module__, Writer.__qualname__ = "__main__", "Writer"
    monkeypatch.setattr(sys.modules["__main__"], "Writer", Writer, raising=False)
    return Writer


RUN = "run the cell that defines Writer, then lab.resume()"


def test_opening_and_resuming_say_what_is_missing(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Once when it is opened, and each time it is resumed; what is whole runs."""
    with Lab(path, nodes=1, resume="ask") as lab:
        said = capsys.readouterr().out
        assert "3 places of the tree are back, parked. lab.resume() runs them." in said
        assert f"Writer is not defined, so /alone, /team/right, /team/added and 1 more stay parked: {RUN}." in said

        with pytest.warns(UserWarning, match=r"Writer is not defined.*run the cell that defines Writer"):
            found = lab.resume()

        assert [ref.path for ref in found] == ["/plain"]
        assert lab["/plain/one"].call.add(1).result(20) == 2
        assert lab["/plain/two"].status == "parked"


def test_a_script_is_warned_and_runs_what_it_can(path: Path) -> None:
    """``resume=True`` is the default there."""
    with pytest.warns(UserWarning, match=r"Writer is not defined"):
        lab = Lab(path, nodes=1)
    with lab:
        statuses = {row.path: row.status for row in lab.rows() if row.path != "/"}
        assert statuses == {
            "/alone": "parked", "/team": "parked", "/team/left": "parked", "/team/right": "parked",
            "/team/added": "parked", "/plain": "running", "/plain/one": "running", "/plain/two": "parked",
        }  # fmt: skip


def test_everything_can_be_read_without_the_class(path: Path) -> None:
    """States, children of a team that cannot start, frames; each says why it waits."""
    with Lab(path, nodes=1, resume="ask") as lab:
        assert lab["/alone"].state == {"text": "tea", "pages": 3}
        assert lab["/team/left"].state == {"count": 11}
        assert lab["/team/right"].state == {"text": "coffee", "pages": 1}
        assert lab.whereis("added") == lab["/team/added"]
        assert (lab["/team/right"].status, lab["/team/right"].incarnation) == ("parked", 1)

        for frame in (lab["/alone"].checkpoints(), lab.checkpoints("/alone"), lab.checkpoints("Writer")):
            assert frame[frame["path"] == "/alone"]["state.text"].tolist() == ["", "tea"]

        kinds = dict(zip(lab.agents()["path"], lab.agents()["kind"], strict=True))
        assert kinds["/alone"] == kinds["/team/added"] == "Writer (not defined)"
        assert kinds["/team/left"] == "Counter"
        assert kinds["/team"] == "supervisor"
        reasons = {row.path: row.reason for row in lab.rows()}
        assert reasons["/alone"] == f"its class is not defined: {RUN}"
        assert reasons["/team"] == f"the class of a child is not defined: {RUN}"
        assert reasons["/team/left"] == f"/team waits: the class of a child is not defined: {RUN}"
        assert RUN in lab.explain("/alone")
        assert "restart" not in lab.explain("/alone")
        assert RUN in lab.explain("/team")
        assert RUN in lab.explain("/team/left")


def test_messages_to_it_say_what_to_run(path: Path) -> None:
    """A call of the unknown, a call of what is known, a restart; none of them starts anything."""
    with Lab(path, nodes=1, resume="ask") as lab:
        with pytest.raises(
            UnknownMessage, match=r"'/alone' takes no message: its class Writer is not defined\. Run the"
        ):
            lab["/alone"].call.write("x")
        with pytest.raises(
            NotRunning, match=r"parked \(/team waits: the class of a child is not defined: run the cell"
        ):
            lab["/team/left"].call.add(1).result(20)
        for path_ in ("/alone", "/team"):
            with pytest.raises(NotRunning, match=r"cannot start; .*run the cell that defines Writer"):
                lab[path_].restart()
        with pytest.raises(NotRunning, match=r"'/team/left' is parked: /team waits"):
            lab["/team/left"].suspend()


@pytest.mark.parametrize("how", ["resume", "start"])
def test_when_the_class_is_there_it_goes_on(path: Path, how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """By ``resume()`` or by the cell that started it; messages that waited are handled, also below a team."""
    with Lab(path, nodes=1, resume="ask") as lab:
        writer = define(monkeypatch)
        assert "not defined" not in " ".join(lab.agents()["kind"])  # it waits, and no longer for its class
        if how == "resume":
            assert [ref.path for ref in lab.resume()] == ["/alone", "/team", "/plain"]
        else:
            assert lab.start(writer, id="alone", pages=3, exist_ok=True).status == "running"
            team = Supervisor("team", child(Counter, id="left", count=10), child(writer, id="right"))
            assert lab.start(team, exist_ok=True).status == "running"
        lab.wait_idle(30)
        assert {row.reason for row in lab.rows(["/team", "/alone"])} == {"the lab was opened again"}
        assert lab["/team/right"].state["text"] == "coffee!"
        assert lab["/alone"].call.write("pot").result(20) == 6
        assert lab["/team/added"].state == {"text": "", "pages": 7}
        assert lab["/team/left"].call.add(1).result(20) == 12
        assert (how == "resume") == (lab["/plain"].status == "running")
    assert not lab.dead_letters()["path"].tolist()


def test_casts_wait_for_who_will_be_resumed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also below a team that waits, and across another kernel."""
    with Lab(path, nodes=1, resume="ask") as lab:
        lab["/team/left"].cast.add(100).result(20)
        assert {row.path: row.mailbox for row in lab.rows()}["/team/left"] == 1
    with Lab(path, nodes=1, resume="ask") as lab:
        lab["/team/left"].cast.add(1000).result(20)
        define(monkeypatch)
        lab.resume()
        wait_for(lambda: lab["/team/left"].state == {"count": 1111})


def test_what_waited_and_is_deleted_starts_fresh(path: Path) -> None:
    """Its children too."""
    with Lab(path, nodes=1, resume="ask") as lab:
        lab["/"].delete_child("team")
        assert lab.whereis("/team/left") is None
        lab.start(Supervisor("team", child(Counter, id="left")))
        assert lab["/team/left"].state == {"count": 0}


def test_our_own_classes_need_no_import(tmp_path: Path) -> None:
    """A lab whose agents are of the package itself comes back in a process that has imported none of them."""
    path = tmp_path / "run.lab"
    with Lab(path, nodes=1) as lab:
        lab.start(Assistant, id="clerk")
    script = (
        "import sys; from agentlab import Lab\n"
        "with Lab(sys.argv[1], nodes=1) as lab: print('agentlab.models' in sys.modules, lab['/clerk'].status)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout == "True running\n", done.stderr


def test_every_agent_class_of_the_package_is_known() -> None:
    """Those that may be in a store, by module and name."""

    def below(cls: type) -> set[type]:
        return {cls, *(found for sub in cls.__subclasses__() for found in below(sub))}

    mine = {
        cls for cls in below(Agent) - {Agent}
        if cls.__module__.startswith("agentlab.") and "<locals>" not in cls.__qualname__  # a judge is made by a call
    }  # fmt: skip
    assert {(cls.__module__, cls.__qualname__) for cls in mine if not hasattr(cls, "_stands_in")} - OURS == {
        ("agentlab.books.specs", "Missing"),
        ("agentlab.wire.asks", "StandIn"),  # these only stand for others
    }


SOURCE = """
from agentlab import Agent

class Tea(Agent):
    cups: int = {cups}

    def pour(self, n: int = 1) -> int:
        self.cups += n * {factor}
        return self.cups
{more}
"""


def run_cell(*, cups: int = 0, factor: int = 1, more: str = "", lines: int = 0) -> type[Agent]:
    """Run a cell that defines Tea; a later run of it stands further below."""
    cells = vars(sys.modules["__main__"])
    code = "\n" * lines + SOURCE.format(cups=cups, factor=factor, more=more)
    exec(compile(code, f"cell-{lines}", "exec"), cells)
    found: type[Agent] = cells["Tea"]
    return found


MORE = "    def spill(self) -> None: self.cups = 0"


def test_a_cell_that_is_run_again_unchanged_defines_nothing_new(lab: Lab) -> None:
    """Lines and file names do not count; what the methods do and the fields are counts."""
    first = run_cell()
    lab.start(first, id="tea")
    assert same_code(first, run_cell(lines=9))
    assert lab.agents()["kind"].tolist() == ["supervisor", "Tea"]
    assert lab.start(run_cell(), id="tea", exist_ok=True) == lab["/tea"]  # no warning
    for other in (run_cell(cups=1), run_cell(factor=2), run_cell(more=MORE)):
        assert not same_code(first, other)


EQUAL = """
    nasty: ClassVar = Nasty(1)
    tools: ClassVar = [brew, Path("tea"), {"at": timedelta(1)}, list[Nasty]]
"""
OTHERS = """
from datetime import timedelta
from pathlib import Path
from typing import ClassVar
from agentlab import tool

class Nasty:
    def __init__(self, n):
        self.n = n
    def __eq__(self, other):
        raise SystemExit("compared")
    __hash__ = None

@tool
def brew(cups: int = 1) -> int:
    "Brew."
    return cups
"""


def test_comparing_two_classes_calls_nothing_of_theirs() -> None:
    """The runtime's thread compares: an object is looked into, and its ``__eq__`` left alone."""
    cells = vars(sys.modules["__main__"])
    made = []
    for _ in range(2):
        exec(OTHERS, cells)
        made.append(run_cell(more=EQUAL))
    assert same_code(*made)
    exec(OTHERS.replace("return cups", "return -cups"), cells)
    assert not same_code(made[0], run_cell(more=EQUAL))


def test_agents_of_an_older_class_are_marked_and_say_so(lab: Lab) -> None:
    """In the tree, in ``agents()``, when they are asked for what only the newer class has, and when found again."""
    tea = lab.start(run_cell(), id="tea")
    newer = run_cell(more=MORE)

    assert lab.agents()["kind"].tolist() == ["supervisor", "Tea (older code)"]
    assert [row.mark for row in lab.rows()] == ["", "older code"]
    with pytest.raises(UnknownMessage, match=r"no message 'spill'.* It runs an older Tea.* lab\.upgrade\(Tea\)"):
        tea.call.spill()
    with pytest.raises(InvalidArgument) as caught:
        tea.call.pour(1, 2, 3)
    assert "lab.upgrade(Tea)" in "".join(caught.value.__notes__)
    with pytest.warns(UserWarning, match=r"/tea keeps the older Tea; lab\.upgrade\(Tea\) gives"):
        assert lab.start(newer, id="tea", exist_ok=True) == tea

    lab.upgrade(newer)
    assert lab.agents()["kind"].tolist() == ["supervisor", "Tea"]
    assert lab.start(newer, id="tea", exist_ok=True) == tea
    tea.call.spill().result(20)
    with pytest.raises(UnknownMessage) as unknown:
        tea.call.gulp()
    assert "upgrade" not in str(unknown.value)


def test_a_team_of_older_classes_is_one_line(lab: Lab) -> None:
    """However many agents keep the older code."""
    team = Supervisor("team", *(child(run_cell(), id=f"t{n}") for n in range(3)))
    lab.start(team)
    lab.start_many(run_cell(), 4, exist_ok=True)
    newer = run_cell(factor=3)
    with pytest.warns(UserWarning, match=r"^/team/t0 and 2 more keep the older Tea; lab\.upgrade\(Tea\)") as said:
        lab.start(Supervisor("team", *(child(newer, id=f"t{n}") for n in range(3))), exist_ok=True)
    assert len(said) == 1
    with pytest.warns(UserWarning, match=r"^/tea-1 and 3 more keep the older Tea"):
        lab.start_many(newer, 4, exist_ok=True)
