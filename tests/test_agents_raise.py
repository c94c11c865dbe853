"""Whatever an agent raises, wherever its code runs, is its own crash: told, counted, charged, felt by nobody else."""

from __future__ import annotations

import asyncio
import functools
import itertools
import sys
import threading
from pathlib import Path

import pytest

from agentlab import Agent, Exit, Lab, Limit, Supervisor, child
from agentlab.errors import AgentDown, Crashed
from agentlab.exits import Crash
from agentlab.node.resident import current
from tests.conftest import wait_for


def exits(*args: object) -> None:
    """As a callback, or a special method."""
    sys.exit("usage: ...")


def interrupts(*args: object) -> None:
    """The same."""
    raise KeyboardInterrupt


def cancels(*args: object) -> None:
    """The same."""
    raise asyncio.CancelledError


def leaves(*args: object) -> None:
    """The same."""
    raise GeneratorExit


def fails(*args: object) -> None:
    """The same."""
    raise ValueError("no tea")


class StrExits(Exception):
    __str__ = exits


class StrInterrupts(Exception):
    __str__ = interrupts


class ReprExits(Exception):
    __repr__ = __str__ = exits


class ReduceExits(Exception):
    __reduce__ = exits


class ReduceCancels(Exception):
    __reduce__ = cancels


class ReduceLeaves(Exception):
    __reduce__ = leaves


class StrIsNoText(Exception):
    def __str__(self):
        return 5  # noqa: PLE0307  # that is the point


class StrIsOdd(Exception):
    def __str__(self):
        return Odd("x")


class Odd(str):
    """A text of a class of its own."""

    __slots__ = ()

    def __len__(self):
        raise SystemExit


class Deep(Exception):
    def __str__(self):
        return str(self)


NASTY = {
    cls.__name__: cls
    for cls in (
        StrExits, StrInterrupts, ReprExits, ReduceExits, ReduceCancels, ReduceLeaves, StrIsNoText, StrIsOdd, Deep,
        SystemExit, KeyboardInterrupt, GeneratorExit, asyncio.CancelledError, StopIteration,
    )
}  # fmt: skip


class Loose:
    """Looks harmless, and exits when it is looked at."""

    __repr__ = __str__ = exits


class Mute:
    """Exits when its text is asked for; pytest may show it."""

    __str__ = exits


class Wild(Agent):
    """Raises in every place that an agent's code has."""

    n: int = 0
    loose: list[str] = []

    async def add(self) -> int:
        self.n += 1
        return self.n

    async def nasty(self, name: str):
        raise NASTY[name]("m")

    async def task(self, how: str, awaited: bool):
        async def work():
            await asyncio.sleep(0.01)
            globals()[how]()

        self._kept = asyncio.create_task(work())
        if awaited:
            await self._kept
        await asyncio.sleep(20)

    async def group(self, how: str):
        async def work():
            await asyncio.sleep(0.01)
            globals()[how]()

        await asyncio.gather(work(), asyncio.sleep(20))

    async def callback(self, how: str):
        asyncio.get_running_loop().call_soon(globals()[how])
        await asyncio.sleep(20)

    async def timer(self, how: str):
        asyncio.get_running_loop().call_later(0.01, globals()[how])
        await asyncio.sleep(20)

    async def done(self, how: str):
        asyncio.create_task(asyncio.sleep(0)).add_done_callback(globals()[how])
        await asyncio.sleep(20)

    async def later(self, how: str, place: str):
        """Returns, and its callback is called when there is something at the place."""
        loop = asyncio.get_running_loop()

        def look():
            if Path(place).exists():
                globals()[how]()
            loop.call_later(0.01, look)

        look()

    async def forgotten(self):
        async def work():
            raise ValueError("nobody awaits this")

        asyncio.create_task(work())  # noqa: RUF006
        await asyncio.sleep(20)

    async def loop_stops(self):
        asyncio.get_running_loop().stop()
        await asyncio.sleep(0.05)
        return "on"

    async def says_oddly(self):
        self.emit(Odd("odd"))
        self.lab[Odd("/wild")].cast.add()
        return "said"

    async def steps(self):
        await self.step(len, [Loose()])
        await self.step(Loose)
        return "stepped"

    async def leave(self, reason: str):
        raise Exit({"none": None, "loose": Loose(), "error": ValueError("v"), "empty": (), "odd": Odd("o")}[reason])

    async def stop_for(self, reason: str):
        self.stop({"none": None, "loose": Loose(), "error": ValueError("v"), "empty": (), "odd": Odd("o")}[reason])


class Shy(Agent):
    """Its state cannot be looked at while it sleeps."""

    n: int = 0

    async def hide(self):
        self.__dict__["n"] = Loose()
        await asyncio.sleep(20)

    async def add(self) -> int:
        self.n += 1
        return self.n


class Stubborn(Agent):
    """Does not let itself be set up."""

    def __setattr__(self, name, value):
        raise SystemExit


@pytest.fixture
def one() -> Lab:
    """A lab with one node: whoever brings it down is felt by all. It may stall: a machine may be busy."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as lab:
        yield lab


@pytest.fixture(scope="module")
def shared() -> Lab:
    """The same for all who bring in agents of their own, and leave nothing behind but these."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as lab:
        yield lab


NUMBERS = itertools.count(1)


def pair(lab: Lab, tag: str = ""):
    """An agent that misbehaves, and an innocent one beside it."""
    wild = lab.start(child(Wild, id=f"wild{tag}", own_limit=Limit(99, 1.0)))
    return wild, bystander(lab, tag)


def bystander(lab: Lab, tag: str):
    """The innocent one."""
    innocent = lab.start(Wild, id=f"innocent{tag}")
    assert innocent.call.add().result(20) == 1
    return innocent


def unmoved(lab: Lab, innocent) -> None:
    """No node died, and the neighbour has noticed nothing."""
    assert innocent.call.add().result(20) == 2
    assert innocent.incarnation == 1
    assert not (lab.events().kind == "node_down").any()


@pytest.mark.parametrize("name", NASTY)
def test_whatever_a_handler_raises_its_caller_hears_it(one, name):
    """Whatever the exception's own methods raise, too; the message is delivered three times and no more."""
    wild, innocent = pair(one)

    with pytest.raises(AgentDown, match="after 3 deliveries") as down:
        wild.call.nasty(name).result(30)

    expected = {"StopIteration": "RuntimeError"}.get(name, name)  # as Python has it: a coroutine cannot raise one
    assert type(down.value.__cause__).__name__ == expected
    one.wait_idle(20)
    assert wild.call.add().result(20) == 1
    assert wild.info()["restarts"] == 3
    unmoved(one, innocent)


# To asyncio a cancelled task is no error, nor a callback's CancelledError; and a task that is kept may yet be awaited.
LOOSE = [
    *[(where, how) for where in ("task", "group") for how in ("exits", "interrupts", "fails", "cancels")],
    *[(where, how) for where in ("callback", "timer", "done") for how in ("exits", "interrupts", "fails")],
    *[("kept_task", how) for how in ("exits", "interrupts")],
]


@pytest.mark.parametrize(("where", "how"), LOOSE)
def test_what_is_raised_out_of_a_handlers_sight_is_its_crash(one, where, how):
    """In its own tasks, awaited or not, and in its callbacks: charged as a delivery, and never its node's end."""
    wild, innocent = pair(one)
    send = wild.call(redeliver=False)

    reply = send.task(how, where == "task") if "task" in where else getattr(send, where)(how)
    with pytest.raises(AgentDown) as down:
        reply.result(30)

    names = {
        "exits": "SystemExit",
        "interrupts": "KeyboardInterrupt",
        "fails": "ValueError",
        "cancels": "CancelledError",
    }
    assert type(down.value.__cause__).__name__ == names[how]
    one.wait_idle(20)
    assert wild.info()["restarts"] == 1
    unmoved(one, innocent)


def test_a_message_that_exits_in_a_callback_is_given_up_after_three_deliveries(one):
    """Not after as many nodes as there may be."""
    wild, innocent = pair(one)

    with pytest.raises(AgentDown, match="after 3 deliveries"):
        wild.call.callback("exits").result(30)

    unmoved(one, innocent)


def test_a_callback_that_fails_after_its_message_is_a_crash_too(one, tmp_path):
    """The message stays handled: it was answered; the life ends, and the supervisor starts the next."""
    wild, innocent = pair(one)

    wild.call.later("exits", str(tmp_path / "now")).result(30)
    (tmp_path / "now").touch()
    wait_for(lambda: wild.incarnation == 2)

    assert wild.call.add().result(20) == 1
    unmoved(one, innocent)


def test_a_task_that_nobody_awaits_fails_its_agent(one):
    """Asyncio would say in a log that its exception was never retrieved."""
    wild, innocent = pair(one)

    with pytest.raises(AgentDown) as down:
        wild.call(redeliver=False).forgotten().result(30)

    assert repr(down.value.__cause__) == "ValueError('nobody awaits this')"
    unmoved(one, innocent)


def test_what_looks_harmless_and_exits_when_it_is_shown_does_no_harm(one):
    """A step's frame shows what it was given and gave; that an effect's value cannot be shown is no fault of it."""
    wild, innocent = pair(one)

    assert wild.call.steps().result(20) == "stepped"
    assert wild.call.says_oddly().result(20) == "said"
    one.wait_idle(20)
    assert wild.state["n"] == 1
    assert wild.call.loop_stops().result(20) == "on"
    unmoved(one, innocent)


def test_a_state_that_exits_when_it_is_looked_at_is_shown_as_text(one):
    """Looking is nobody's crash."""
    shy = one.start(child(Shy, id="shy", own_limit=Limit(99, 1.0)))
    reply = shy.call(redeliver=False).hide()
    wait_for(lambda: "raised SystemExit" in str(shy.draft["n"]))
    assert shy.incarnation == 1
    reply.cancel()
    assert shy.call.add().result(20) == 1


def test_an_agent_that_cannot_be_set_up_does_not_start(one):
    """Its node lives."""
    innocent = one.start(Wild, id="innocent")
    innocent.call.add().result(20)

    with pytest.raises(SystemExit):
        one.start(Stubborn, id="stubborn")

    unmoved(one, innocent)


REASONS = {
    "none": "normal",
    "loose": "(a Loose whose text raised SystemExit)",
    "error": "ValueError: v",
    "empty": "()",
    "odd": "o",
}


@pytest.mark.parametrize("reason", REASONS)
@pytest.mark.parametrize("how", ["leave", "stop_for"])
def test_an_agent_may_leave_with_anything_as_its_reason(shared, how, reason):
    """None is the default, an exception a crash, anything else its text; the life always ends."""
    tag = f"-{next(NUMBERS)}"
    wild = shared.start(child(Wild, id=f"wild{tag}", restart="temporary"))
    innocent = bystander(shared, tag)

    reply = getattr(wild.call(redeliver=False), how)(reason)
    if how == "leave":
        with pytest.raises(AgentDown):
            reply.result(20)
    else:
        reply.result(20)
    shared.wait_idle(20)

    ends = shared.events(path=wild).query("kind in ('exited', 'crashed')")
    assert list(ends.reason) == [REASONS[reason]]
    unmoved(shared, innocent)


GIVEN = {
    "a text of its own class": Odd("o"),
    "a number": 5,
    "None": None,
    "nothing": (),
    "a tuple with anything": ("shutdown", {"a": [1]}, threading.Lock()),
    "what exits when it is shown": Mute(),
    "an exception": ValueError("v"),
    "an exception that exits when it is shown": StrExits(),
    "a class of exceptions": KeyError,
    "a class that needs arguments": UnicodeDecodeError,
    "an exit": Exit("bye"),
    "a list": [1, [2]],
    "a lone surrogate": "\ud800\x00",
    "our own mark": ("\0crash", 1, 2, 3, 4),
    "ten megabytes": "x" * 10_000_000,
    "too deep": functools.reduce(lambda inner, _: (inner,), range(300), "x"),
}


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("op", ["stop", "exit", "crash"])
def test_every_method_takes_any_reason_or_says_why_not(shared, op, given):
    """From a cell: the life ends, its supervisor reacts, and the lab answers; ``crash`` takes exceptions only."""
    wild, innocent = pair(shared, f"-{next(NUMBERS)}")
    reason = GIVEN[given]
    fits = reason is None or isinstance(reason, BaseException) or reason is KeyError

    if op == "crash" and not fits:
        with pytest.raises(TypeError):
            wild.crash(reason)
        assert wild.incarnation == 1
    else:
        getattr(wild, op)(reason)
        shared.wait_idle(20)
        ends = shared.events(path=wild).query("kind in ('exited', 'crashed')")
        assert len(ends) == 1
        assert len(ends.reason.iloc[0]) <= 2000
        assert wild.status in ("running", "stopped")
        if op == "crash" and reason is None:
            assert Crashed.__name__ in ends.reason.iloc[0]
    assert isinstance(shared._runtime.desk.entries[wild.path].reason, str | tuple | Crash | None)
    unmoved(shared, innocent)


class Sender(Agent):
    """Gives odd reasons from inside."""

    async def send(self, op: str, given: str, path: str):
        odd = {
            "none": None, "loose": Loose(), "odd": Odd("o"), "empty": (), "error": StrExits(), "class": ValueError,
            "tuple": ("shutdown", Loose(), 3),
        }  # fmt: skip
        await getattr(self.lab[path], op)(odd[given])


@pytest.mark.parametrize("given", ["none", "loose", "odd", "empty", "error", "class", "tuple"])
@pytest.mark.parametrize("op", ["stop", "exit"])
def test_agents_may_give_each_other_any_reason(shared, op, given):
    """It is text, plain parts or a crash before it leaves the agent that gives it."""
    tag = f"-{next(NUMBERS)}"
    wild, innocent = pair(shared, tag)
    sender = shared.start(Sender, id=f"sender{tag}")

    sender.call(redeliver=False).send(op, given, wild.path).result(20)
    shared.wait_idle(20)

    ends = shared.events(path=wild).query("kind in ('exited', 'crashed')")
    assert len(ends) == 1
    assert sender.incarnation == 1
    unmoved(shared, innocent)


@pytest.mark.parametrize("given", GIVEN)
@pytest.mark.parametrize("op", ["stop", "exit"])
def test_supervisors_take_any_reason_too(one, op, given):
    """Its children end with it, and the lab goes on; a permanent one comes back with them."""
    innocent = one.start(Wild, id="innocent")
    innocent.call.add().result(20)
    team = one.start(Supervisor("team", child(Wild, id="wild")))

    getattr(team, op)(GIVEN[given])
    one.wait_idle(20)

    assert one["/team/wild"].call.add().result(20) == 1
    unmoved(one, innocent)


SPINS: list[str] = []
RELEASED: list[str] = []


def spin() -> None:
    """Go on, where the asker's code runs, until another agent of its node has run."""
    owner = current.get()
    if owner is not None and owner.agent.id == "asker":
        SPINS.append("now")
        while not RELEASED:
            pass


class Spins(Exception):
    def __init__(self, text: str) -> None:
        super().__init__(text)
        spin()


class Slow:
    def __reduce__(self):
        return Slow, (), {"a": 1}

    def __setstate__(self, state):
        spin()


class Spinner(Agent):
    async def answer(self):
        return Slow()

    async def raises(self):
        raise Spins("x")

    async def ask(self, path: str, method: str):
        try:
            await getattr(self.lab[path].call(redeliver=False), method)()
        except AgentDown as error:
            return type(error.__cause__).__name__
        return "answered"

    async def release(self):
        while not SPINS:  # noqa: ASYNC110  # set by a constructor, which cannot await
            await asyncio.sleep(0.01)
        RELEASED.append("now")


@pytest.mark.parametrize("method", ["answer", "raises"])
def test_what_an_agent_is_answered_is_made_in_its_own_slices(one, method):
    """A constructor that does not end holds up whoever asked, and nobody else on the node, where another ends it."""
    one.start(child(Spinner, id="other", own_limit=Limit(99, 1.0)))
    asker, third = one.start(Spinner, id="asker"), one.start(Spinner, id="third")

    reply = asker.call(redeliver=False).ask("/other", method)
    third.call.release().result(30)

    assert reply.result(30) == ("answered" if method == "answer" else "Spins")
