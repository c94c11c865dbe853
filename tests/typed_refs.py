"""What a type checker makes of refs: ``make types`` reads this file, ``tests/test_refs_inside.py`` runs some of it.

A line with a ``type: ignore`` is one that a checker must refuse: if it does not, the comment is an error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, assert_type

from agentlab import Agent, Lab, Ref
from agentlab.ref.stream import Piece, Stream

if TYPE_CHECKING:
    from agentlab.ref.cell import RefInCell
    from agentlab.ref.inside import RefInside


def cell(lab: Lab) -> None:
    """A cell gets the values themselves."""
    ref = assert_type(lab.start(Asker, id="asker"), "RefInCell")
    assert_type(ref.status, str)
    assert_type(ref.incarnation, int)
    assert_type(ref.node, int | None)
    assert_type(ref.state, dict[str, Any])
    assert_type(ref.info(), dict[str, Any])
    assert_type(ref.log(), str)
    assert_type(ref.checkpoints().empty, bool)
    assert_type(ref.replace_state(count=1), dict[str, Any])
    assert ref.status == "running"
    assert lab["/asker"] == ref
    ref.crash()
    for one in lab.start_many(Asker, 2):
        assert_type(one.status, str)


def refused_in_a_cell(ref: RefInCell) -> None:
    """What there is not, and what does not fit."""
    ref.statsu()  # type: ignore[attr-defined]
    ref.rewind("last")  # type: ignore[arg-type]
    assert ref.status == 5  # type: ignore[comparison-overlap]


async def by_habit(ref: RefInCell) -> None:
    """People await in notebooks, also what is done at once."""
    assert_type(await ref.call.ask(ref), Any)
    await ref.crash()
    await ref.stop()


async def in_pieces(ref: RefInCell) -> None:
    """An answer that streams in is pieces of text, and whole at the end."""
    stream = assert_type(ref.stream(timeout=5.0).ask(ref), Stream)
    async for piece in stream:
        assert_type(piece, Piece)
        print(piece.upper(), piece.kind == "again")
    for piece in ref.stream.ask(ref):
        assert_type(piece, Piece)
    assert_type(stream.done(), bool)
    assert_type(await stream, Any)
    ref.stream.ask(ref).next()  # type: ignore[attr-defined]


class Asker(Agent):
    """An agent awaits whatever it asks."""

    count: int = 0
    friend: Ref | None = None

    async def ask(self, ref: Ref) -> str:
        """Somebody's ref may be of a cell or of an agent: nobody can say which, so its values are of any type."""
        assert_type(await ref.status, Any)
        return str(await ref.status)

    async def look(self) -> list[Any]:
        """Its own ref is one inside an agent."""
        me = assert_type(self.ref, "RefInside")
        assert_type(await me.status, str)
        assert_type(await me.state, dict[str, Any])
        assert_type(await me.info(), dict[str, Any])
        me.suspend()
        await me.resume()
        return [await me.status, await me.incarnation, (await me.state)["count"]]

    async def hire(self, team: RefInside) -> RefInside:
        """A child's ref is one inside, too."""
        return assert_type(await team.restart_child("kid"), "RefInside")

    async def refused(self) -> None:
        """Answers that were not awaited."""
        me = self.ref
        print(me.status == "running")  # type: ignore[comparison-overlap]
        print("yes" if me.status else "no")  # type: ignore[truthy-bool]
        me.state["count"]  # type: ignore[index]
        me.log().splitlines()  # type: ignore[attr-defined]
        await me.rewind("last")  # type: ignore[arg-type]
