"""An agent's phase changes by named transitions alone, and every end that was ordered is known as ordered."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agentlab import Agent, Lab, Supervisor, child
from agentlab.books.agents import Entry, Status
from agentlab.books.classes import Kinds
from agentlab.books.phase import LIFELESS, Order, Phase
from agentlab.node.resident import Ending
from agentlab.supervision.records import Keeper, State, SupervisorRecord
from tests.agents import Counter
from tests.conftest import wait_for
from tests.test_isolation import Bad, is_held

LINGERING: list[Any] = []
MARKS: list[str] = []

REASONS = st.sampled_from([None, "", "killed", "shutdown", "skipped", ("shutdown", None), 0])
STATES: tuple[State, ...] = get_args(State)


class Stubborn(Agent):
    """Goes on after it was ended."""

    async def linger(self) -> None:
        """Catch whatever ends it, and act on the world all the same."""
        LINGERING.append(self)
        with contextlib.suppress(BaseException):
            await asyncio.sleep(3600)
        await self.step(MARKS.append, "it went on")


def new_entry() -> Entry:
    """An agent below the root, as the books have it before its first life."""
    root = Supervisor("lab", child(Counter, id="counter"))
    top = SupervisorRecord(None, "", child(root, id="lab"), None)
    return Entry(Keeper(top, 1, root).add("counter", root.children[0]), Kinds().of(Counter))


@pytest.fixture
def entry() -> Entry:
    """An agent that has had no life yet."""
    return new_entry()


def snapshot(entry: Entry) -> tuple[Any, ...]:
    """All that a transition may change."""
    return entry.phase, entry.life, entry.place, entry.ordered, entry.forsaken


class Phases(RuleBasedStateMachine):
    """An agent's entry, driven as the kernel may drive it, and in every way in which it may not."""

    def __init__(self) -> None:
        super().__init__()
        self.entry = new_entry()
        self.placed: dict[int, Entry] = {}  # the kernel's books of placements
        self.old: list[Entry] = []  # entries of lives that have a successor
        self.numbers = 0

    def _number(self) -> int:
        self.numbers += 1
        return self.numbers

    @rule(state=st.sampled_from(STATES))
    def the_machine_is_ahead(self, state: State) -> None:
        """The record says what the machine has decided, whatever the books have carried out of that."""
        self.entry.record.state = state

    @precondition(lambda self: not self.entry.life)
    @rule()
    def begin(self) -> None:
        """A life starts, and nothing of the last one is left."""
        self.entry.begin(self._number())
        assert self.entry.ordered is None
        assert not self.entry.is_down

    @precondition(
        lambda self: self.entry.phase in (Phase.STARTING, Phase.WAKING, Phase.MOVING) and not self.entry.place
    )
    @rule()
    def place(self) -> None:
        """It gets a node."""
        self.entry.settle_at(self._number())
        self.placed[self.entry.place] = self.entry

    def _leave(self, entry: Entry) -> None:
        self.placed.pop(entry.leave_place(), None)

    @precondition(lambda self: self.entry.place and self.entry.phase is not Phase.RUNNING)
    @rule()
    def come_up(self) -> None:
        """Its node has it."""
        self.entry.come_up()
        assert self.entry.has_node

    @precondition(lambda self: self.entry.phase in (Phase.STARTING, Phase.MOVING) and not self.entry.ordered)
    @rule()
    def lie_down(self) -> None:
        """It needs no node."""
        self._leave(self.entry)
        self.entry.lie_down()
        assert not self.entry.has_node

    @precondition(lambda self: self.entry.phase is Phase.DORMANT)
    @rule()
    def wake(self) -> None:
        """Somebody reaches for it."""
        self.entry.wake()
        assert self.entry.is_asleep

    @precondition(lambda self: self.entry.place and not self.entry.is_ending)
    @rule()
    def move(self) -> None:
        """It leaves its node, and a message that it was to leave is left with that."""
        first = self.entry.phase is Phase.STARTING
        self._leave(self.entry)
        self.entry.move()
        assert self.entry.ordered is None
        assert (self.entry.phase is Phase.STARTING) == first

    @precondition(lambda self: self.entry.life)
    @rule(
        reason=REASONS, then=st.sampled_from([None, "judged", "parked", "returns"]), for_good=st.none() | st.booleans()
    )
    def order_end(self, reason: Any, then: Any, for_good: bool | None) -> None:
        """An orderly end is ordered, for any reason; what is at once already stays at once."""
        fenced, why = self.entry.is_fenced, self.entry.reason_to_end
        self.entry.order_end(reason, then=then, for_good=for_good)
        assert self.entry.is_ending
        assert (self.entry.is_fenced, self.entry.reason_to_end) == (fenced, why)

    @precondition(lambda self: self.entry.life)
    @rule(reason=REASONS)
    def order_end_at_once(self, reason: Any) -> None:
        """An end at once is one for any reason, and only ``killed`` goes over it."""
        self.entry.order_end_at_once(reason)
        assert self.entry.is_ending
        assert self.entry.is_fenced
        assert self.entry.reason_to_end == reason
        assert not self.entry.heeds(reason)
        assert self.entry.heeds("killed") == (reason != "killed")

    @precondition(lambda self: self.entry.life and not self.entry.is_fenced)
    @rule()
    def order_to_leave(self) -> None:
        """It loses its life for a message; that is an end only if one was ordered before."""
        ending = self.entry.is_ending
        self.entry.order_to_leave("skipped")
        assert self.entry.is_fenced
        assert self.entry.is_ending == ending

    @precondition(lambda self: self.entry.life)
    @rule()
    def order_to_start_over(self) -> None:
        """It begins again from its last commit; a stop stays a stop."""
        for_good = self.entry.is_asked_to_stop
        self.entry.order_to_start_over()
        assert self.entry.is_asked_to_stop == for_good

    @precondition(lambda self: self.entry.life)
    @rule()
    def be_over(self) -> None:
        """A life is over, and what was ordered for it is gone with it."""
        ordered, down = self.entry.ordered, self.entry.is_down
        self._leave(self.entry)
        self.entry.be_over()
        assert self.entry.is_down == down
        assert self.entry.is_stopped == (
            ordered is not None and ordered.for_good and (down or ordered.then != "returns")
        )

    @precondition(lambda self: self.entry.life)
    @rule()
    def be_outlived(self) -> None:
        """Its supervisor was killed and has a successor, which starts the agent while its life still ends."""
        life, place, ending = self.entry.life, self.entry.place, self.entry.is_ending
        old = self.entry.outlive()
        if place:
            self.placed[place] = old
        assert (old.life, old.place, old.is_ending) == (life, place, ending)
        assert snapshot(self.entry) == (Phase.BETWEEN, 0, 0, None, False)
        self.old.append(old)

    @precondition(lambda self: self.old)
    @rule()
    def an_outlived_life_is_over(self) -> None:
        """Its end is nothing to its successor."""
        before, old = snapshot(self.entry), self.old.pop()
        self._leave(old)
        old.be_over()
        assert snapshot(self.entry) == before

    @rule()
    def go_down(self) -> None:
        """Nobody starts it again, whatever its life still does."""
        life = self.entry.life
        self.entry.go_down()
        assert self.entry.is_down
        assert self.entry.life == life

    @precondition(lambda self: not self.entry.life)
    @rule()
    def stop_for_good(self) -> None:
        """Who has no life can be stopped too."""
        down = self.entry.is_down
        self.entry.stop_for_good()
        assert self.entry.is_stopped
        assert self.entry.is_down == down

    @rule(attempt=st.sampled_from([
        lambda entry: entry.begin(1), lambda entry: entry.begin(0), lambda entry: entry.settle_at(1), Entry.come_up,
        Entry.lie_down, Entry.wake, Entry.move, lambda entry: entry.order_end(None), Entry.order_to_start_over,
        lambda entry: entry.order_end_at_once(None), lambda entry: entry.order_to_leave(None), Entry.be_over,
        Entry.outlive, Entry.stop_for_good,
    ]))  # fmt: skip
    def attempt(self, attempt: Callable[[Entry], Any]) -> None:
        """What is not allowed raises and changes nothing; what is allowed is undone here."""
        before = snapshot(self.entry)
        try:
            attempt(self.entry)
        except RuntimeError:
            assert snapshot(self.entry) == before
        self.entry.phase, self.entry.life, self.entry.place, self.entry.ordered, self.entry.forsaken = before

    @invariant()
    def a_phase_says_whether_there_is_a_life(self) -> None:
        """And who is stopped, or goes down, has none; what was ordered is cleared with it."""
        entry = self.entry
        assert (entry.life == 0) == (entry.phase in LIFELESS)
        if not entry.life:
            assert (entry.place, entry.ordered, entry.forsaken) == (0, None, False)
        if entry.is_stopped:
            assert entry.life == 0

    @invariant()
    def a_life_has_at_most_one_placement(self) -> None:
        """A dormant one has none."""
        lives = [entry.life for entry in self.placed.values()]
        assert len(lives) == len(set(lives))
        assert all(entry.place == place for place, entry in self.placed.items())
        assert self.entry.place == 0 or self.placed[self.entry.place] is self.entry
        assert self.entry.phase is not Phase.DORMANT or self.entry.place == 0

    @invariant()
    def an_order_is_an_end_or_a_move(self) -> None:
        """And never both, nor neither."""
        assert (self.entry.ordered is not None) == (self.entry.is_ending or self.entry.is_leaving_a_message)
        assert not (self.entry.is_ending and self.entry.is_leaving_a_message)

    @invariant()
    def its_status_is_a_word_of_the_contract(self) -> None:
        """Whatever the machine is at."""
        assert self.entry.status(closing=False) in get_args(Status)
        assert self.entry.status(closing=True) in get_args(Status)


test_whatever_happens_to_an_agent_its_phase_holds = Phases.TestCase


@pytest.mark.parametrize("reason", [None, "", 0, ()])
def test_any_reason_orders_an_end(entry: Entry, reason: Any) -> None:
    """None is no reason to say that nothing was ordered."""
    entry.begin(1)
    entry.settle_at(1)
    entry.come_up()

    entry.order_end_at_once(reason)

    assert entry.ordered == Order(reason, "at once")
    assert entry.is_ending
    assert entry.is_fenced
    assert entry.may_run_code
    assert entry.reason_to_end == reason


def test_who_is_ended_for_the_word_of_a_skip_is_ended(entry: Entry) -> None:
    """A reason that reads like the outcome of a skipped message is a reason, and the agent does not go on."""
    entry.begin(1)

    entry.order_end_at_once("skipped")

    assert entry.is_ending
    assert not entry.is_leaving_a_message


def test_a_second_placement_is_refused(entry: Entry) -> None:
    """The error says who, where, and the rule."""
    entry.begin(7)
    entry.settle_at(1)

    with pytest.raises(RuntimeError, match=r"Entry\(/counter, STARTING, life 7.* place 1.*one placement at a time"):
        entry.settle_at(2)


def test_an_end_without_a_reason_waits_no_longer_than_any_other(tmp_path: Path) -> None:
    """The successor of a life in C code that was ended does not wait for that code, also if nobody said why."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Lab(nodes=1, stall_notice=300, stall_seconds=600) as lab:
        assert lab._runtime is not None
        runtime = lab._runtime
        bad = lab.start(Bad, id="bad")
        bad.call.add().result(30)
        bad.cast.hold_until(str(gate))
        entry = runtime.desk.entries["/bad"]
        place = entry.place
        wait_for(lambda: is_held(lab, bad))

        runtime.run(runtime.lives.end, entry, None)

        wait_for(lambda: entry.place not in (0, place))  # while nobody has opened the gate


def test_code_that_is_left_of_a_life_begins_no_step_whatever_the_life_ended_for(lab: Lab) -> None:
    """A node knows that it has ended a life also if it was told no reason."""
    LINGERING.clear()
    MARKS.clear()
    ref = lab.start(child(Stubborn, isolation="kernel", restart="temporary"))
    ref.cast.linger()
    wait_for(lambda: LINGERING)
    resident = LINGERING[0]._context._resident

    resident.host._loop.call_soon_threadsafe(resident.host.end_life, resident, Ending(None))

    wait_for(lambda: ref.status == "stopped")
    wait_for(lambda: resident.task is None)
    assert MARKS == []
