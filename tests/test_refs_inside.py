"""A ref in a cell and a ref inside an agent: values here, answers to await there, and each at its own end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trio

from agentlab import Agent, Lab, Ref, Supervisor, child
from agentlab.errors import AgentDown, NotAwaited
from agentlab.ref.cell import RefInCell
from agentlab.ref.inside import RefInside
from tests import typed_refs
from tests.agents import Counter
from tests.conftest import wait_for

MISTAKES: dict[str, tuple[Callable[[Ref], object], str]] = {
    "equals": (lambda ref: ref.status == "running", "await ref.status"),
    "differs": (lambda ref: ref.status != "running", "await ref.status"),
    "among": (lambda ref: ref.status in ("running", "busy"), "await ref.status"),
    "more": (lambda ref: ref.incarnation > 1, "await ref.incarnation"),
    "true": (lambda ref: "yes" if ref.node else "no", "await ref.node"),
    "not": (lambda ref: not ref.doubts(), r"await ref.doubts\(\.\.\.\)"),
    "text": (lambda ref: f"it is {ref.status}", "await ref.status"),
    "str": (lambda ref: str(ref.status), "await ref.status"),
    "print": (lambda ref: print(ref.status), "await ref.status"),
    "percent": (lambda ref: "%s" % ref.log(), r"await ref.log\(\.\.\.\)"),  # noqa: UP031  # people write it
    "key": (lambda ref: ref.state["count"], r"\(await ref.state\)\['count'\]"),
    "in": (lambda ref: "count" in ref.draft, "await ref.draft"),
    "length": (lambda ref: len(ref.state), "await ref.state"),
    "loop": (lambda ref: [*ref.which_children()], r"await ref.which_children\(\.\.\.\)"),
    "method": (lambda ref: ref.state.items(), r"\(await ref.state\).items"),
}
"""What people write who forget to await, and what they are told to write."""


class Forgetful(Agent):
    """Forgets to await."""

    friend: Ref | None = None
    friends: list[Ref] = []

    async def slip(self, name: str, ref: Ref) -> object:
        """Make one mistake."""
        return MISTAKES[name][0](ref)

    async def look_up(self) -> object:
        """The lab's own answers are answers too."""
        return "there" if self.lab.whereis("forgetful") else "nowhere"

    async def kinds(self, ref: Ref) -> dict[str, str]:
        """What refs are here, however they came."""
        self.friend = ref
        team = self.lab["/team"]
        started = await self.lab.start(Counter)
        refs = {
            "given": ref, "field": self.friend, "named": self.friends[0], "own": self.ref, "looked up": team,
            "found": await self.lab.whereis("team"), "started": started, "child": (await team.which_children())[0][1],
            "fork": await started.fork(), "forks": (await started.fork(n=2))[1],
        }  # fmt: skip
        return {how: type(ref).__name__ for how, ref in refs.items() if isinstance(ref, Ref)}

    async def back(self) -> list[Ref]:
        """Refs on their way to a cell."""
        assert self.friend is not None
        return [self.ref, self.friend, *self.friends]

    async def gather(self, ref: Ref) -> list[Any]:
        """Answers are tasks: whatever asyncio does with tasks works."""
        both = await asyncio.gather(ref.status, ref.incarnation)
        done, late = await asyncio.wait({ref.status, ref.state}, timeout=60)
        answer = ref.status
        held = [len({answer, answer}) == 1, answer == answer, answer.done()]  # noqa: PLR0124  # on purpose
        shown = repr(answer)
        async with asyncio.timeout(60):
            return [*both, len(done), len(late), *held, shown, await asyncio.shield(answer), repr(answer)]

    async def leave_it(self, ref: Ref) -> str:
        """What nobody awaits is done all the same."""
        ref.crash(ValueError("planned"))
        ref.status  # noqa: B018  # nobody wants it
        self.lab["/nobody"].info()
        return "left"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One for all tests here."""
    with Lab(nodes=1) as made:
        made.start(Supervisor("team", child(Counter, id="kid")))
        yield made


@pytest.fixture(params=["node", "kernel"])
def forgetful(request: pytest.FixtureRequest, lab: Lab) -> Iterator[RefInCell]:
    """One in a node, one in the process of the kernel."""
    ref = lab.start(Forgetful, isolation=request.param, friends=["/team/kid"])
    yield ref
    ref.stop()


@pytest.mark.parametrize("name", MISTAKES)
def test_an_answer_that_was_not_awaited_is_not_taken_for_the_value(lab: Lab, name: str) -> None:
    """Compared, asked for its truth, printed, looked into: an error that says what to write, never a silent False."""
    forgetful = lab.start(Forgetful, restart="temporary")

    with pytest.raises(AgentDown, match=MISTAKES[name][1]) as down:
        forgetful.call(redeliver=False).slip(name, lab["/team/kid"]).result(30)

    assert isinstance(down.value.__cause__, NotAwaited)


def test_in_the_process_of_the_kernel_it_is_the_same(lab: Lab) -> None:
    """Also for answers of the lab itself."""
    forgetful = lab.start(Forgetful, isolation="kernel")

    with pytest.raises(AgentDown, match=r"ref.status is an answer that was not awaited: it equals nothing"):
        forgetful.call(redeliver=False).slip("equals", lab["/team/kid"]).result(30)
    with pytest.raises(AgentDown, match=r"In an agent write: await self.lab.whereis\(...\)"):
        forgetful.call(redeliver=False).look_up().result(30)
    forgetful.stop()


def test_refs_are_of_an_agent_inside_and_of_a_cell_outside(lab: Lab, forgetful: RefInCell) -> None:
    """However they travelled, both are refs, and equal where they name the same."""
    kid = lab["/team/kid"]

    kinds = forgetful.call.kinds(kid).result(30)
    back = forgetful.call.back().result(30)

    assert set(kinds.values()) == {RefInside.__name__}
    assert len(kinds) == 10
    assert [type(ref) for ref in back] == [RefInCell] * 3
    assert back == [forgetful, kid, kid]
    assert issubclass(RefInside, Ref)
    assert isinstance(kid, Ref)
    assert back[1].status == "running"


def test_answers_are_tasks(lab: Lab, forgetful: RefInCell) -> None:
    """Gathered, waited for, shielded, in sets, and shown."""
    found = forgetful.call.gather(lab["/team/kid"]).result(30)

    assert found == [
        "running", 1, 2, 0, True, True, False, "<the answer to ref.status, on its way: await it>", "running",
        "<the answer to ref.status, there: await it>",
    ]  # fmt: skip


def test_what_nobody_awaits_is_done_all_the_same(lab: Lab, forgetful: RefInCell) -> None:
    """``ref.crash()`` is enough."""
    victim = lab.start(Counter)

    assert forgetful.call.leave_it(victim).result(30) == "left"

    wait_for(lambda: victim.incarnation == 2)
    lab.wait_idle(30)
    assert forgetful.incarnation == 1


async def everything(lab: Lab) -> list[object]:
    """Await, as one does by habit, what is done when it returns."""
    one, team = lab.start(Counter), lab.start(Supervisor(f"team-{len(lab.rows())}", child(Counter, id="kid")))
    answers = [await one.suspend(), await one.resume(), await one.trace(False), await one.crash()]
    lab.wait_idle(30)
    answers += [await one.restart(), await one.kill()]
    lab.wait_idle(30)
    answers += [await one.exit("normal"), await one.stop()]
    return [*answers, await team.terminate_child("kid"), await team.delete_child("kid"), await team.stop()]


@pytest.mark.parametrize("run", [asyncio.run, trio.run])
def test_a_cell_may_await_what_is_done_already(lab: Lab, run: Any) -> None:
    """In every loop, and the answer is None."""

    async def cell() -> list[object]:
        return await everything(lab)

    found = asyncio.run(cell()) if run is asyncio.run else trio.run(cell)

    assert found == [None] * 11


def test_a_cell_sees_nothing_of_what_is_done(lab: Lab) -> None:
    """A cell that ends with ``ref.crash()`` shows nothing, as before, and it returns at once."""
    formatted = pytest.importorskip("IPython.core.formatters").DisplayFormatter().format
    ref = lab.start(Counter)

    for done in (ref.suspend(), ref.resume(), ref.crash()):
        assert formatted(done) == ({}, {})
        assert not done
    lab.wait_idle(30)
    assert ref.incarnation == 2


def test_the_typed_example_runs(lab: Lab) -> None:
    """What ``make types`` reads is how it is used."""
    typed_refs.cell(lab)
    lab.wait_idle(30)
    asker = lab["/asker"]
    assert asker.call.look().result(30)[1:] == [2, 1]
    assert asker.call.ask(lab["/team/kid"]).result(30) == "running"
    asyncio.run(typed_refs.by_habit(asker))
    assert asker.status == "stopped"
