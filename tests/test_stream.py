"""An answer piece by piece, in cells and scripts: what is heard, what is marked, and what leaving the loop means."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator

import pytest

from agentlab import Agent, Assistant, Lab, Ref
from agentlab.errors import AgentDown, UnknownMessage
from agentlab.faults import Action
from agentlab.ref.stream import AGAIN, Stream
from agentlab.sim import Control, control
from tests.conftest import wait_for

LONG = "A sentence that is long enough to come in several pieces, and then some more of it."


class Echo(Assistant):
    """Says what it is told; a failed attempt is made again at once."""

    on_fault = {"cut_stream": Action("retry_step", first=0.0)}


class Frail(Assistant):
    """Dies of a cut stream."""

    on_fault = {"cut_stream": "crash"}


class Asker(Agent):
    """Asks for a stream from inside, which nobody may."""

    async def ask(self, ref: Ref) -> str:
        """Try it."""
        try:
            ref.stream.ask("hello")
        except TypeError as error:
            return str(error)
        return "it was sent"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


@pytest.fixture
def sim(lab: Lab) -> Iterator[Control]:
    """The lab's simulator, with nothing set and nothing seen."""
    steer = control(lab.simulator())
    steer.clear()
    steer.forget()
    yield steer
    steer.clear()


def test_a_cell_sees_the_pieces_and_then_has_the_answer(lab, sim):
    """In the order in which they come; each message has its own."""
    echo = lab.start(Echo, id="cell")

    async def cell() -> tuple[list[str], str]:
        stream = echo.stream.ask(LONG)
        other = echo.stream.ask("another")
        pieces = [piece async for piece in stream]
        assert [piece async for piece in other] == ["another"]
        return pieces, await stream

    pieces, answer = asyncio.run(cell())

    assert len(pieces) > 2
    assert "".join(pieces) == answer == LONG


def test_a_script_iterates_and_tab_completes(lab, sim):
    """Without a loop of asyncio; an unknown message is refused before it is sent."""
    echo = lab.start(Echo, id="script")

    stream = echo.stream(timeout=60).ask(LONG)
    pieces = list(stream)

    assert "".join(pieces) == stream.result(60) == LONG
    assert {"ask", "ask_for"} <= set(dir(echo.stream))
    assert repr(stream) == "Stream(/script.ask, done)"
    assert "text" in str(getattr(echo.stream.ask, "__signature__", "text"))
    with pytest.raises(UnknownMessage):
        echo.stream.tell("x")


def test_a_reply_says_where_pieces_are(lab):
    """Who iterates over the answer of a call is told what to write."""
    echo = lab.start(Echo, id="one-answer")

    async def listen():
        async for _ in echo.call.ask("hello"):
            pass

    with pytest.raises(TypeError, match=r"async for piece in ref\.stream\.ask\(\.\.\.\)"):
        asyncio.run(listen())


@pytest.mark.parametrize("cls", [Echo, Frail])
def test_where_it_begins_again_is_marked(lab, sim, cls):
    """A cut stream is made again, in place or in the next life: what was said so far is not repeated silently."""
    for place, delta_s in enumerate((0.05, 0.4, 3.2)):  # where all is late, nothing is heard before an early cut
        agent = lab.start(cls, id=f"again-{cls.__name__}-{place}")
        sim.faults([{"mode": "abort_mid_chunk", "times": 1, "after": 3}], delta_s=delta_s)
        stream = agent.stream.ask(LONG)
        pieces = list(stream)
        assert stream.result(60) == LONG
        if AGAIN in pieces:
            break
        assert "".join(pieces) == LONG

    mark = [piece.kind for piece in pieces].index("again")
    assert pieces.count(AGAIN) == 1
    assert LONG.startswith("".join(pieces[:mark]))
    assert "".join(pieces[mark + 1 :]) == LONG
    assert agent.incarnation == (1 if cls is Echo else 2)


def test_leaving_the_loop_leaves_the_work_alone(lab, sim):
    """The listener goes, the answer is committed all the same; nothing is kept for who does not listen."""
    echo = lab.start(Echo, id="left")
    sim.faults(delta_s=0.05)

    stream: Stream | None = echo.stream.ask(LONG)
    assert stream is not None
    next(stream)
    stream = None
    gc.collect()

    wait_for(lambda: len(echo.state["messages"]) == 2)


def test_a_stream_can_be_cancelled(lab, sim):
    """That does end the work; whoever listens is told."""
    echo = lab.start(Echo, id="cancelled")
    sim.faults([{"mode": "stall_mid_stream"}])

    stream = echo.stream.ask(LONG)
    next(stream)
    assert stream.cancel()

    with pytest.raises(BaseException, match="was taken back"):
        list(stream)
    assert echo.state["messages"] == []


def test_an_error_comes_after_the_pieces(lab, sim):
    """What was said before is seen; then the loop raises what the call would."""
    for place, delta_s in enumerate((0.05, 0.4, 3.2)):  # as above
        frail = lab.start(Frail, id=f"frail-{place}")
        sim.faults([{"mode": "abort_mid_chunk", "after": 3}], delta_s=delta_s)
        seen: list[str] = []
        with pytest.raises(AgentDown):
            seen.extend(frail.stream.ask(LONG))
        if seen[:1] not in ([], [AGAIN]):
            break

    first = "".join(seen).split(AGAIN)[0]
    assert first
    assert LONG.startswith(first)
    assert lab.start(Asker, id="asker").call.ask(frail).result(60).endswith("Await the answer: ref.call.")
