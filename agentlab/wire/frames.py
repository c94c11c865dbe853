"""What kernel and node say to each other: read this file to know all of it.

Each method is one frame. Who says it calls a stub (``stubs.sender``), by keyword, and it leaves as a plain tuple; who
hears it implements the method, or has a handler that takes the same. A *placement* is the number of one life on one
node; no other life ever gets it, so what is said of one that is over is not heard.
"""

from __future__ import annotations

from typing import Protocol

from agentlab.agent.snapshot import Image
from agentlab.ground.tracebacks import Source
from agentlab.wire.exceptions import Term

Mark = tuple[str, str, str, int]
"""What a step is known by: kind, name, digest of its arguments, how often these have occurred before.

The digest of a step inside another step begins with the ``label`` of that one and the end of a line.
"""

KeptStep = tuple[int, Mark, bool, str | None, bytes | None]
"""A step that an earlier delivery began: number, mark, whether it is ``once``, outcome, result."""


class ToNode(Protocol):
    """What the kernel says to a node."""

    # to the node itself

    def secrets(self, *, found: dict[str, str]) -> None:
        """What the kernel's environment has, and this process, which began earlier, may not have."""

    def keys(self, *, first: int, count: int) -> None:
        """Numbers for the messages of calls within the node."""

    def teach(self, *, number: int, data: bytes, cells: dict[str, Source]) -> None:
        """An agent class, as ``packing`` makes it, under its number; and the source of the cells it is from."""

    def settled(self, *, count: int) -> None:
        """So much of what this node has noted is committed."""

    def answer(self, *, ticket: int, value: bytes | None, error: Term) -> None:
        """What became of a question; ``error`` is a reason, or None."""

    def migrate(self, *, ticket: int, number: int, image: Image) -> None:
        """Give the state of an agent that does not run to newer code, the class of that number; answer ``told``."""

    # to one life

    def start(
        self, *, placement: int, number: int, path: str, incarnation: int, max_busy: float | None, initial: Image,
        kept: Image,
    ) -> None:  # fmt: skip
        """Start a life: of the class of that number, from its last commit, else from what its child spec gave."""

    def open(self, *, placement: int) -> None:
        """All that waited for this life is in its mailbox: what neighbours call it comes after that."""

    def deliver(
        self, *, placement: int, key: int, method: str, payload: bytes, journal: list[KeptStep], seed: str,
        redeliver: bool,
    ) -> None:  # fmt: skip
        """A message for the mailbox, with what earlier deliveries of it left."""

    def withdraw(self, *, placement: int, key: int) -> None:
        """Drop a message that has not begun; interrupt one that has. One that is done is not here any more."""

    def stop(self, *, placement: int, reason: Term) -> None:
        """An orderly stop that somebody asked for: after what is in the mailbox before it."""

    def signal(self, *, placement: int, reason: Term) -> None:
        """A shutdown that the agent traps: the next thing it handles."""

    def end(self, *, placement: int, reason: Term) -> None:
        """The life is over, wherever its code stands; a successor waits for the node's word that it is gone."""

    def suspend(self, *, placement: int, on: bool) -> None:
        """Take no more messages, or go on."""

    def trace(self, *, placement: int, on: bool) -> None:
        """Say of each message what it holds, or no more."""

    def held(self, *, placement: int, ticket: int) -> None:
        """Ask for the message in hand; ``told`` its key, 0 if there is none."""

    def draft(self, *, placement: int, ticket: int) -> None:
        """Ask for the state in hand, uncommitted; ``told`` JSON texts by field."""

    def meter(self, *, placement: int, ticket: int) -> None:
        """Ask for what the life costs; ``told`` CPU seconds of its handlers so far, and the bytes of its state."""

    def replace(self, *, placement: int, ticket: int, fields: Image) -> None:
        """New values for fields, set between two messages; answer ``replaced``."""

    def upgrade(self, *, placement: int, number: int) -> None:
        """Newer code for the agent, the class of that number, from its next message on; answer ``upgraded``."""
