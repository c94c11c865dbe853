"""What kernel and node say to each other: read this file to know all of it.

Each method is one frame. Who says it calls a stub (``stubs.sender``), by keyword, and it leaves as a plain tuple; who
hears it implements the method, or has a handler that takes the same. A *placement* is the number of one life on one
node; no other life ever gets it, so what is said of one that is over is not heard.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

from agentlab.agent.snapshot import Change, Image
from agentlab.ground.limits import Left
from agentlab.ground.tracebacks import Source
from agentlab.wire.exceptions import Term

Mark = tuple[str, str, str, int]
"""What a step is known by: kind, name, digest of its arguments, how often these have occurred before.

The digest of a step inside another step begins with the ``label`` of that one and the end of a line.
"""

KeptStep = tuple[int, Mark, bool, str | None, bytes | None]
"""A step that an earlier delivery began: number, mark, whether it is ``once``, outcome, result."""

KeptFault = tuple[Mark, str, int]
"""What earlier attempts at a step failed of: its mark, the kind of fault, how often."""

Went = Literal["ok", "fault", "overload", "unknown"]
"""How a call went: answered; a fault of the provider's, or garbage; for too many calls; or nobody can say."""

Asker = tuple[int, int]
"""Whose step a call is: the key of the message that makes it, and the step's number there."""

Tokens = tuple[int, int, int, float | None] | None
"""What a model call was billed: tokens taken in, given, and of the first those read from a cache; US dollars, where
the price is known. None for other steps."""

Blame = Literal["none", "charged", "own", "parked", "escalated"]
"""What a life's end says of the message in hand: nothing; that it is to blame; that its handler raised it; that it met
a fault that no restart mends, so that it waits with its agent; that it is not delivered again."""

Cast = tuple[str, str, bytes]
"""A message without a reply: path, method, packed arguments."""

Later = tuple[float, bool, str, bytes]
"""A message of an agent to itself: in how many seconds, whether every so many again, method, packed arguments."""

Told = int | dict[str, str] | tuple[float, int] | tuple[Image | None, str | None]
"""What a node says when it is asked: of ``held``, ``draft``, ``meter``, ``migrate`` (the new state, or why not)."""


class ToKernel(Protocol):
    """What a node says to the kernel."""

    # of the node itself

    def ready(self, *, pid: int) -> None:
        """The node serves, in the process with this number."""

    def log(self, *, placement: int, line: str) -> None:
        """A line that an agent printed; placement 0: the node itself."""

    def told(self, *, ticket: int, value: Told) -> None:
        """What the kernel has asked for under this ticket."""

    # of one life

    def started(self, *, placement: int, changes: list[Change]) -> None:
        """The life is up; how its state differs from what the kernel has of it."""

    def failed(self, *, placement: int, reason: Term, key: int | None, blame: Blame) -> None:
        """The life did not come up."""

    def ended(self, *, placement: int, reason: Term, key: int | None, blame: Blame, why: str) -> None:
        """The life is over, by itself or as it was told; which message it had in hand, and whether that is to blame.

        ``why``: of one that parks or escalates, the rule of the fault table that it met.
        """

    def burnt(self, *, placement: int) -> None:
        """The agent keeps using up its slices; it has left the node, between two messages."""

    def replaced(self, *, placement: int, ticket: int, changes: list[Change]) -> None:
        """The fields are set that the kernel wanted set."""

    def upgraded(self, *, placement: int, number: int, changes: list[Change] | None, why: str | None) -> None:
        """The agent goes on with the class of that number; or, without changes, why it does not."""

    def emit(self, *, placement: int, text: str) -> None:
        """Text for who looks on; not said where nobody does."""

    def timer(self, *, placement: int, seconds: float, again: bool, method: str, payload: bytes) -> None:
        """A message to the agent itself, later, that no commit holds."""

    def cast(self, *, path: str, method: str, payload: bytes) -> None:
        """A message to anybody that no commit holds."""

    # of the message in hand

    def begun(self, *, placement: int, key: int, at: int, shown: str | None) -> None:
        """A handler begins; ``shown``: the message as text, if the agent is traced."""

    def done(
        self, *, placement: int, key: int, answer: bytes, changes: list[Change], casts: list[Cast],
        timers: list[Later], started: int, took: float, answered: bool,
    ) -> None:  # fmt: skip
        """A handler has returned; ``answered``: who asked is on this node, and has the answer already."""

    def withdrawn(self, *, placement: int, key: int) -> None:
        """A message was taken back: nothing of it shows."""

    def refused(self, *, placement: int, key: int, why: str, argument: str) -> None:
        """The agent does not take these arguments; it is as before."""

    # of the steps of the message in hand

    def step(
        self, *, placement: int, key: int, number: int, mark: Mark, once: bool, at: int, given: str
    ) -> None:  # fmt: skip
        """A step begins."""

    def tried(
        self, *, placement: int, key: int, number: int, took: float, gave: str, fault: str, does: str, delay: float,
        why: str, tokens: Tokens, outage: bool,
    ) -> None:  # fmt: skip
        """An attempt at a step failed of a kind of fault, and there is another after ``delay`` seconds.

        ``outage``: others failed there too, so it says nothing of the request.
        """

    def tries_again(self, *, placement: int, key: int, number: int, at: int) -> None:
        """The next attempt at a step begins."""

    def stepped(
        self, *, placement: int, key: int, number: int, outcome: str, took: float, result: bytes | None, gave: str,
        fault: str | None, tokens: Tokens, ran: bool,
    ) -> None:  # fmt: skip
        """A step has ended; its handler waits until that is committed. ``ran``: it may have had an effect."""

    def called(self, *, placement: int, key: int, number: int, took: float, result: bytes, gave: str) -> None:
        """A call was answered: a step that has ended, and nobody waits for that to be committed."""

    def replayed(self, *, placement: int, key: int, number: int, mark: Mark, given: str, gave: str) -> None:
        """The journal answered for a step that an earlier delivery finished."""

    def diverged(self, *, placement: int, key: int, name: str) -> None:
        """A handler that is delivered again asks for something else than before."""

    # of who depends on whom

    def admit(
        self, *, placement: int, ticket: int, key: int, number: int, dependency: str, after: float
    ) -> None:  # fmt: skip
        """A step wants to call what it depends on, not before ``after`` seconds: answered when it may."""

    def went(
        self, *, placement: int, ticket: int, how: Went, why: str, retry_after: float | None, left: list[Left],
        tokens: int, question: int,
    ) -> None:  # fmt: skip
        """How a call went that was admitted; or, ``unknown``, that it is wanted no more.

        ``question``: a ticket under which is answered whether it is an outage; 0 if nobody wants to know.
        """

    # of chaos

    def meets(self, *, placement: int, ticket: int, key: int, number: int, kind: str, name: str) -> None:
        """While a plan of chaos is on, a message (number 0) or a step is about to begin: answered with what strikes it.

        Who is struck dead gets no answer.
        """

    # questions of an agent, or (placement 0) of who is none; each is answered under its ticket

    def call(
        self, *, placement: int, ticket: int, path: str, method: str, payload: bytes, redeliver: bool,
        origin: Asker | None,
    ) -> None:  # fmt: skip
        """A call, in a step or outside of any."""

    def posted(
        self, *, placement: int, ticket: int, origin: Asker, target: int, key: int, path: str, method: str,
        payload: bytes, redeliver: bool, sent_at: int,
    ) -> None:  # fmt: skip
        """A call of a neighbour on this node, which may have begun, or be done, already."""

    def ask(self, *, placement: int, ticket: int, op: str, args: tuple[Any, ...]) -> None:
        """An operation of the lab, with what ``asks`` makes of its arguments."""

    def act(
        self, *, placement: int, ticket: int, key: int, number: int, mark: Mark, at: int, given: str, op: str,
        args: tuple[Any, ...],
    ) -> None:  # fmt: skip
        """An operation of the lab that is a step of the message in hand: the kernel carries it out once."""


class ToNode(Protocol):
    """What the kernel says to a node."""

    # to the node itself

    def secrets(self, *, found: dict[str, str]) -> None:
        """What the kernel's environment has, and this process, which began earlier, may not have."""

    def keys(self, *, first: int, count: int) -> None:
        """Numbers for the messages of calls within the node."""

    def chaos(self, *, on: bool) -> None:
        """A plan of chaos is on, or is not any more: messages and steps ask what strikes them."""

    def watched(self, *, on: bool) -> None:
        """Somebody sees what passes by, or nobody does: what agents emit is told, or is not."""

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
        self, *, placement: int, key: int, method: str, payload: bytes, journal: list[KeptStep],
        faults: list[KeptFault], seed: str, redeliver: bool, heard: bool,
    ) -> None:  # fmt: skip
        """A message for the mailbox, with what earlier deliveries of it left; ``heard``: its caller hears a stream."""

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
