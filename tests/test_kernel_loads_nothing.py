"""The kernel's own thread carries what agents made and loads none of it; whoever asks for an answer does."""

from __future__ import annotations

import os
import pickle
import sys
import threading
import time
from collections.abc import Iterator

import pytest

from agentlab import Agent, Lab, Limit, Supervisor, child
from agentlab.errors import AgentDown, InvalidSpec, InvalidState, StartFailed
from agentlab.exits import Crash
from agentlab.wire.exceptions import describe, revive
from agentlab.wire.pickles import load, role
from tests.conftest import wait_for


@pytest.fixture
def loads(monkeypatch) -> Iterator[list[str]]:
    """The threads of this process that read a pickle; in a runtime's, reading one fails."""
    seen: list[str] = []
    read = pickle.loads

    def watched(*args, **kwargs):
        name = threading.current_thread().name
        seen.append(name)
        if name.startswith("agentlab-"):
            raise AssertionError(f"a pickle is read in {name}")
        return read(*args, **kwargs)

    monkeypatch.setattr(pickle, "loads", watched)
    yield seen
    assert not [name for name in seen if name.startswith("agentlab-")]


class Odd(Exception):
    """Comes back from a pickle, with what it was given."""

    def __init__(self, text: str, number: int) -> None:
        super().__init__(text, number)
        self.number = number


class Exits(Exception):
    """Its constructor ends the process that is not a node."""

    def __init__(self, text: str, kernel: int) -> None:
        super().__init__(text, kernel)
        if os.getpid() == kernel:
            sys.exit("configuration missing")

    def __str__(self) -> str:
        return str(self.args[0])


class Interrupts(Exits):
    """Its constructor is interrupted there."""

    def __init__(self, text: str, kernel: int) -> None:
        Exception.__init__(self, text, kernel)
        if os.getpid() == kernel:
            raise KeyboardInterrupt


class Freezes(Exception):
    """Its constructor takes long, wherever it is called."""

    def __init__(self, text: str, seconds: float) -> None:
        super().__init__(text, seconds)
        time.sleep(seconds)


class Hostile:
    """Runs code wherever its pickle is read."""

    def __reduce__(self):
        return time.sleep, (3,)


class Starts(Agent):
    async def on_start(self):
        raise Odd("does not start", 7)


class Worker(Agent):
    n: int = 0
    tags: set[str] = set()

    async def add(self, n: int = 1) -> int:
        self.n += n
        return self.n

    async def odd(self):
        raise Odd("odd", 3)

    async def plain(self):
        raise ValueError("no tea", 4)

    async def fatal(self, kernel: int, how: str):
        raise {"exits": Exits, "interrupts": Interrupts}[how]("gone", kernel)

    async def freeze(self):
        raise Freezes("slow", 0.2)


class Master(Agent):
    """Asks its lab for everything that an agent may ask for."""

    heard: list[str] = []

    async def on_exit(self, ref, reason):
        self.heard = [*self.heard, f"{type(reason).__name__} {reason}"]

    async def on_down(self, ref, reason):
        self.heard = [*self.heard, f"{type(reason).__name__} {reason}"]

    async def start(self, how: str):
        what = {
            "class": Worker,
            "child": child(Worker, id="made", restart="temporary", own_limit=Limit(9, 1.0), n=5, tags={"a"}),
            "supervisor": Supervisor("made", child(Worker, id="inner", n=5), max_restarts=7),
        }[how]
        return await self.lab.start(what, **({"id": "made", "n": 5, "tags": {"a"}} if how == "class" else {}))

    async def start_own(self, n: int):
        class Inner(Agent):
            """Only this node knows it."""

            n: int = 1
            words: list[str] = ["x"]

            async def on_start(self):
                self.n += 100

            async def add(self, n: int, *, twice: bool = False) -> int:
                self.n += n * (2 if twice else 1)
                return self.n

        return await self.lab.start(Inner, id="inner", n=n)

    async def start_nothing(self):
        return await self.lab.start(Hostile(), id="never")

    async def start_failing(self):
        try:
            await self.lab.start(Starts, id="never")
        except Odd as error:
            return f"{error.args} {type(error.__cause__ or error).__name__}"

    async def replace(self, path: str, fields: dict):
        return await self.lab[path].replace_state(**fields)

    async def replace_with_hostile(self, path: str):
        await self.lab[path].replace_state(n=Hostile())

    async def fork(self, path: str):
        return await self.lab[path].fork(id="forked", n=1, tags={"f"})

    async def crash(self, path: str):
        await self.lab[path].crash(Odd("from a friend", 8))

    async def exit(self, path: str, reason: str):
        await self.lab[path].exit({"hostile": Hostile(), "error": Odd("signal", 9)}.get(reason, reason))

    async def follow(self, path: str):
        await self.link(self.lab[path])
        await self.monitor(self.lab[path])

    async def call(self, path: str):
        try:
            await self.lab[path].call.odd()
        except AgentDown as error:
            return f"{type(error.__cause__).__name__} {error.__cause__.number}"


class Listener(Master):
    trap_exit = True


def test_its_thread_refuses(lab):
    """Whoever adds another place that reads a pickle there is told by the first test that comes by."""

    def there():
        assert role.carries
        with pytest.raises(RuntimeError, match="loads none of it"):
            load(b"")
        with pytest.raises(RuntimeError, match="loads none of it"):
            revive(Crash("A", "b"))

    lab._runtime.run(there)
    assert not role.carries


def test_only_the_asker_of_an_answer_reads_what_an_agent_raised(lab, loads):
    """Its class, its arguments and its attributes are there, made in the thread that asks; all else is data."""
    worker = lab.start(child(Worker, id="worker", own_limit=Limit(99, 1.0)))

    reply = worker.call(redeliver=False).odd()
    wait_for(reply.done)
    assert loads == []
    with pytest.raises(AgentDown) as down:
        reply.result(20)
    with pytest.raises(AgentDown) as known:
        worker.call(redeliver=False).plain().result(20)

    assert isinstance(down.value.__cause__, Odd)
    assert (down.value.__cause__.number, set(loads)) == (3, {"MainThread"})
    assert down.value.reason.type == "Odd"
    assert repr(known.value.__cause__) == "ValueError('no tea', 4)"


def test_builtin_exceptions_and_ours_need_no_pickle():
    """They are made from their class's name and arguments."""
    for error in (KeyError("a"), OSError(2, "no such file", "f"), InvalidSpec("x", kind="k", value=(1, "b"))):
        back = revive(Crash(*describe(error)))
        assert (type(back), back.args, vars(back)) == (type(error), error.args, vars(error))
        assert describe(error)[3][:1] == b"d"


@pytest.mark.parametrize("how", ["exits", "interrupts"])
def test_an_exception_whose_constructor_ends_the_process_ends_nothing(lab, how):
    """Its asker gets a stand-in with its name and text; the lab answers."""
    worker = lab.start(child(Worker, id="worker", own_limit=Limit(99, 1.0)))

    with pytest.raises(AgentDown) as down:
        worker.call(redeliver=False).fatal(os.getpid(), how).result(20)

    assert (type(down.value.__cause__).__name__, str(down.value.__cause__)) == (how.capitalize(), "gone")
    assert isinstance(down.value.__cause__, RuntimeError)
    assert worker.call.add().result(20) == 1


def test_a_slow_exception_holds_up_nobody_but_its_asker(lab, loads):
    """Nobody has asked for its answer: the lab has not called its constructor."""
    worker = lab.start(child(Worker, id="worker", own_limit=Limit(99, 1.0)))
    reply = worker.call(redeliver=False).freeze()
    wait_for(reply.done)

    assert lab.start(Worker, id="other").call.add().result(20) == 1
    assert loads == ["MainThread"]  # the answer of add


@pytest.mark.parametrize("how", ["class", "child", "supervisor"])
def test_an_agent_starts_agents_of_classes_that_the_kernel_has(lab, loads, how):
    """The class is named, and the kernel takes its own."""
    master = lab.start(Master, id="master")

    ref = master.call.start(how).result(20)

    loads.clear()
    worker = lab["/made/inner"] if how == "supervisor" else ref
    assert worker.call.add(2).result(20) == 7
    assert worker.state["tags"] == ([] if how == "supervisor" else ["a"])
    assert lab._runtime.desk.entries[worker.path].kind.cls is Worker
    if how == "child":
        assert lab["/made"].info()["restarts"] == 0
        assert lab._runtime.desk.entries["/made"].spec.own_limit == Limit(9, 1.0)


def test_an_agent_starts_agents_of_classes_that_only_its_node_has(lab, loads):
    """The kernel has a stand-in with its fields and messages; it restarts on any node."""
    master = lab.start(Master, id="master")

    inner = master.call.start_own(5).result(20)

    assert inner.call.add(1).result(20) == 106
    inner.kill()
    lab.wait_idle(60)
    assert inner.call.add(1, twice=True).result(20) == 208
    assert inner.state["words"] == ["x"]
    assert inner.incarnation == 2
    with pytest.raises(TypeError, match="add"):
        inner.call.add(1, 2, 3)
    with pytest.raises(AttributeError, match=r"has no message 'sub'; Inner has: add"):
        inner.call.sub()


def test_what_cannot_be_started_is_refused_in_the_agent(lab, loads):
    """Whatever it is, the kernel does not look at it."""
    master = lab.start(child(Master, id="master", own_limit=Limit(99, 1.0)))

    with pytest.raises(AgentDown, match="InvalidSpec: there is nothing to start"):
        master.call(redeliver=False).start_nothing().result(20)

    assert master.call.start_failing().result(20) == "('does not start', 7) Odd"


def test_a_start_that_fails_raises_what_on_start_raised(lab, loads):
    """Made in the thread that asked for the start."""
    with pytest.raises(Odd) as failed:
        lab.start(Starts, id="never")

    assert failed.value.number == 7
    assert isinstance(failed.value.__cause__, StartFailed)
    assert set(loads) == {"MainThread"}


def test_states_are_set_from_inside_as_data(lab, loads):
    """JSON that the kernel checks by the fields of its own class; what is no data is refused where it is given."""
    master = lab.start(child(Master, id="master", own_limit=Limit(99, 1.0)))
    worker = lab.start(Worker, id="worker")

    assert master.call.replace("/worker", {"n": 4, "tags": {"b"}}).result(20)["n"] == 4
    assert worker.state == {"n": 4, "tags": ["b"]}
    assert master.call.fork("/worker").result(20).state == {"n": 4, "tags": ["f"]}
    for fields, text in (({"n": "5"}, "Worker.n is int"), ({"m": 1}, "has no field 'm'")):
        with pytest.raises(AgentDown) as down:
            master.call(redeliver=False).replace("/worker", fields).result(20)
        assert isinstance(down.value.__cause__, InvalidState)
        assert text in str(down.value.__cause__)
    with pytest.raises(AgentDown, match="InvalidState: replace_state: n cannot be kept as JSON"):
        master.call(redeliver=False).replace_with_hostile("/worker").result(20)


def test_exits_and_crashes_from_inside_are_data(lab, loads):
    """An exception is its class's name, its texts and bytes that whoever is told of it opens."""
    master = lab.start(Master, id="master")
    listener = lab.start(Listener, id="listener")
    worker = lab.start(child(Worker, id="worker", own_limit=Limit(99, 1.0)))

    listener.call.follow("/worker").result(20)
    master.call.crash("/worker").result(20)
    wait_for(lambda: len(listener.state["heard"]) == 2)
    assert listener.state["heard"] == ["Odd ('from a friend', 8)"] * 2

    lab.wait_idle(60)
    listener.call.follow("/worker").result(20)
    master.call.exit("/worker", "error").result(20)
    wait_for(lambda: len(listener.state["heard"]) == 4)
    assert listener.state["heard"][2:] == ["Odd ('signal', 9)"] * 2

    lab.wait_idle(60)
    master.call.exit("/worker", "hostile").result(20)
    lab.wait_idle(60)
    assert "Hostile object" in str(lab.restarts().reason.iloc[-1])
    assert worker.call.add().result(20) == 1


def test_an_agent_sees_what_another_raised(lab, loads):
    """In its own node, as itself."""
    master = lab.start(Master, id="master")
    lab.start(child(Worker, id="worker", own_limit=Limit(99, 1.0)))

    assert master.call.call("/worker").result(20) == "Odd 3"


def test_a_file_does_the_same(tmp_path, loads):
    """With a store, and again after the store was opened anew."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        master = lab.start(Master, id="master")
        assert master.call.start("class").result(20).call.add().result(20) == 6
        assert master.call.replace("/made", {"n": 1}).result(20)["n"] == 1
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        assert lab["/made"].call.add().result(20) == 2
