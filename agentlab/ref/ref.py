"""What a person or an agent holds to reach an agent: ``Ref``.

A ref is a path and a *link*. The link carries messages and control operations: in the kernel it is the
runtime, in a node it is the host. A link makes the refs of its side: in a cell they are ``RefInCell``, whose operations
give values, inside an agent ``RefInside``, whose operations give answers to await. ``Ref`` is what both are, and the
one to annotate with; each operation is written once, here.

In a handler each call and each operation is a step: done once for a message, however often that is delivered. That is
what "once" covers: a message that is given up (its deliveries are used up, it is skipped or cancelled) leaves its calls
to come to their ends, and whoever asks anew sends another message, whose calls are made anew. What must not happen
twice even then needs a key among its arguments.
"""

from __future__ import annotations

import posixpath
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from pydantic_core import core_schema

from agentlab.errors import InvalidArgument, InvalidSpec, LabClosed
from agentlab.ground.given import shown
from agentlab.ref.budget import BudgetOf
from agentlab.ref.link import NOWHERE, Link, links
from agentlab.ref.messages import Messages
from agentlab.ref.operation import DONE, fact, operation, starter
from agentlab.ref.stream import Streams
from agentlab.ref.views import view_of

if TYPE_CHECKING:  # pandas is imported where a frame is made, never for a type
    import pandas as pd

    from agentlab.supervision.child import Child

UNSET: Any = type("Unset", (), {"__repr__": lambda self: "(not given)"})()


def _land(lab_id: str, path: str, cls_name: str) -> Ref:
    if not lab_id:
        return Ref(NOWHERE, path, cls_name)
    link = links.get(lab_id)
    if link is None:
        raise LabClosed(f"ref to {path!r}: its lab is not in this process. Refs travel only inside their lab.")
    return link.ref(path, cls_name)


class Ref:
    """A handle on an agent or a supervisor; stays good across restarts.

    ``await ref.call.method(...)`` asks, ``ref.cast.method(...)`` tells. Two refs are equal when they
    name the same path in the same lab.

    In a message of an agent a call is made once, however often the agent dies and the message is delivered again. Once
    for *that message*: if it is given up (three deaths of its own, ``skip()``, ``reply.cancel()``), the calls it has
    made go on, and who asks anew sends a new message, which makes them a second time. Where that would hurt, hand over
    something that names the work, such as an order's number, and let who does it look whether it is done.
    """

    __slots__ = ("_cls_name", "_link", "call", "cast", "path")  # slots, not properties: TAB looks into them
    _cls_name: str
    _link: Link
    call: Messages
    cast: Messages
    path: str

    def __init__(self, link: Link, path: str, cls_name: str = "?") -> None:
        _put_link(self, link)
        _put_name(self, cls_name)
        _put_call(self, Messages(self, call=True))
        _put_cast(self, Messages(self, call=False))
        _put_path(self, path)

    def __setattr__(self, name: str, value: Any) -> None:
        """Nothing can be set; but who sets a field from outside is told how it is done."""
        raise AttributeError(
            f"{self.path!r}: a ref's {name!r} cannot be set. An agent's state is changed by its messages (ref.call, "
            f"ref.cast), or between two of them by ref.replace_state({name}=...)."
        )

    def _carry_out(self, op: str, *args: Any) -> Awaitable[None]:
        """Carry out what has no value; cells may await that too, as people do by habit."""
        answer: Awaitable[None] | None = self._link.control(op, self.path, *args)
        return DONE if answer is None else answer

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @fact
    def status(self) -> str:
        """``starting running busy waiting backing_off suspended parked stopped``."""
        return self._link.control("status", self.path)

    @fact
    def incarnation(self) -> int:
        """Which of its lives this is, from 1; 0 before the first one runs."""
        return self._link.control("incarnation", self.path)

    @fact
    def node(self) -> int | None:
        """The number of the node that holds the agent, or None."""
        return self._link.control("node", self.path)

    @fact
    def state(self) -> dict[str, Any]:
        """The committed state, a dict; while a message is handled, still the last committed one."""
        return self._link.control("state", self.path)

    @fact
    def draft(self) -> dict[str, Any]:
        """The state in hand, not committed: what the handler has made of it so far."""
        return self._link.control("draft", self.path)

    @property
    def stream(self) -> Streams:
        """As ``call``, for who wants to see the answer come: ``async for piece in ref.stream.ask("...")``.

        In a script a plain ``for`` does it. Pieces are texts, what the agent says (``self.emit``) while it works on the
        message; one whose ``kind`` is ``again`` marks where it began again after it was cut off. The answer at the end
        is ``await stream``, or ``stream.result()``. Leaving the loop ends the listening, not the work.
        """
        return Streams(self)

    @property
    def budget(self) -> BudgetOf:
        """What it may spend on models, and has: ``limit``, ``used``, ``reserved``, ``left``; ``add(...)`` raises it."""
        return BudgetOf(self._link, self.path)

    @operation
    def info(self) -> dict[str, Any]:
        """A dict: status, mailbox length, message in hand and its age, restarts, last reason."""
        return self._link.control("info", self.path)

    def crash(self, error: BaseException | type[BaseException] | None = None) -> Awaitable[None]:
        """End the agent with ``error`` as its reason, also in an endless loop; its supervisor reacts as to any crash.

        What its handler does in ``finally`` has 50 ms. Returns at once; ``wait_idle`` waits for the next incarnation.
        """
        if isinstance(error, type) and issubclass(error, BaseException):
            error = error()  # as ``raise ValueError`` does
        if error is not None and not isinstance(error, BaseException):
            raise InvalidArgument(
                f"crash: error must be an exception; got {shown(error)}. Try: ref.crash(RuntimeError('...')).",
                argument="error",
            )
        return self._carry_out("crash", error)

    def kill(self) -> Awaitable[None]:
        """End the agent at once, also in an endless loop: not trappable, no ``on_stop``; its supervisor reacts.

        Its successor starts when the node says that it is gone; after 0.25 s on another node, if C code holds this one.
        """
        return self._carry_out("kill")

    def stop(self, reason: Any = "normal") -> Awaitable[None]:  # a reason is any term, as in OTP
        """End in good order, after the message in hand, through ``on_stop``.

        An agent ends for good, whatever its restart type. A supervisor ends with its children, and the one
        above it reacts as to any exit: a permanent supervisor starts again.
        """
        return self._carry_out("stop", reason)

    def restart(self) -> Awaitable[None]:
        """Stop it in good order, if it runs, and start its next incarnation; also unparks.

        Messages that wait are handled by the next incarnation, of a supervisor those of all below it that come back.
        """
        return self._carry_out("restart")

    def exit(self, reason: Any = "shutdown") -> Awaitable[None]:  # a reason is any term, as in OTP
        """Send an exit signal, as OTP's ``exit/2``: ``normal`` is ignored, ``kill`` cannot be trapped."""
        return self._carry_out("exit", reason)

    def skip(self) -> Awaitable[None]:
        """End the message in hand for good; the agent goes on with the next one from its last checkpoint.

        The way out of a message that no death ends: ``crash``, ``kill``, ``restart`` and ``stop`` are not charged to
        it, so the next incarnation begins it again. Its handler is interrupted wherever it stands, as by
        ``Reply.cancel``. No restart is counted. Whoever waits for the message gets ``AgentDown``, its outcome
        is ``skipped``, its steps stay in ``lab.steps()``, and it is a dead letter: ``lab.retry(...)`` sends it
        again.

        A message that an agent between two incarnations would begin again is in hand too. So this ends a doubt
        as well, and an agent that was parked for it goes on. A handler that comes to its end before it is
        reached has done its work.

        Raises:
            NotRunning: No message is in hand.
        """
        return self._carry_out("skip")

    def suspend(self) -> Awaitable[None]:
        """Take no more messages; the one in hand is finished, the others wait in the mailbox."""
        return self._carry_out("suspend")

    def resume(self) -> Awaitable[None]:
        """Go on after ``suspend``."""
        return self._carry_out("resume")

    @operation
    def replace_state(self, /, **fields: Any) -> dict[str, Any]:
        """Set fields between two messages: validated, checkpointed, logged. Returns the new state."""
        return self._link.control("replace_state", self.path, fields)

    @operation
    def rewind(self, to: int) -> dict[str, Any]:
        """Set the agent back to a checkpoint: its state is that of then, in a new checkpoint. Returns it.

        What came after stays in the history. An agent that runs is set back between two messages; its mailbox,
        its timers and what is no state stay as they are.

        Args:
            to: The checkpoint's ``seq``, as ``checkpoints()`` shows it.

        Raises:
            UnknownCheckpoint: There is none; names those that there are.
        """
        return self._link.control("rewind", self.path, to)

    def fork(self, at: int | tuple[int, int] | None = None, *, id: str | None = None, n: int = 1, **fields: Any) -> Any:
        """Start agents beside this one that share its past, under the same supervisor.

        The past is not copied, and no step of it is paid again. Timers, links and subscriptions are not shared.

        Args:
            at: Where they part: a checkpoint's ``seq``; the last one if left out; or ``(seq, step)``: the state
                before message ``seq``, which each fork then handles again. The journal answers for the message's
                steps before ``step``; that one and the later ones run. Chance (``self.random``) falls as it did.
            id: Its id; ``<id>-fork-1`` and so on if left out. With ``n`` above 1 a number is put behind it.
            n: How many.
            fields: Values of the state to begin with instead.

        Returns:
            A ``Ref``, or ``Refs`` if ``n`` is above 1.

        Raises:
            UnknownCheckpoint: There is no such checkpoint, message or step; names those that there are.
        """
        return self._link.control("fork", self.path, at, id, n, fields)

    def trace(self, on: bool = True) -> Awaitable[None]:
        """Note every message of this agent, with its arguments, as an event of kind ``message``."""
        return self._carry_out("trace", on)

    @operation
    def doubts(self) -> list[dict[str, Any]]:
        """``once`` steps that began and did not finish, so that nobody knows whether they happened: dicts."""
        return self._link.control("doubts", self.path)

    def settle(self, step: int | str, result: Any = UNSET, *, retry: bool = False) -> Awaitable[None]:  # any result
        """Say what became of a step in doubt; when none is left, the agent goes on with the message.

        Args:
            step: Its number or its name, as ``doubts()`` shows it.
            result: What it gave, if it happened.
            retry: True: it did not happen, so it may run.
        """
        if (result is UNSET) != retry:
            raise InvalidSpec("settle: give either result=... (it happened) or retry=True (it did not).")
        return self._carry_out("settle", step, None if retry else self._link.keep(result))

    @operation
    def approvals(self) -> list[dict[str, Any]]:
        """Calls of tools (``approve=True``) that wait for a person: dicts of step, tool, input, message, since."""
        return self._link.control("approvals", self.path)

    def approve(self, step: int | str, yes: bool = True) -> Awaitable[None]:
        """Let a tool run that waits for a person; ``yes=False``: the model is told that it was refused.

        Args:
            step: Its number or the tool's name, as ``approvals()`` shows them.
            yes: Whether it may run.
        """
        return self._carry_out("approve", step, yes)

    @operation
    def log(self) -> str:
        """What the agent printed, as one text, oldest line first."""
        return self._link.control("log", self.path)

    def transcript(self, field: str | None = None) -> Any:  # a widget
        """The conversation in a ``Transcript`` field (the first one) as it goes on, with a box to talk to the agent."""
        return view_of(self, "TranscriptWidget", field)

    def watch(self) -> Any:  # a widget
        """A live look into the agent: state, message in hand, mailbox, lives, checkpoints, log, with buttons."""
        return view_of(self, "InspectorWidget")

    @operation
    def checkpoints(self) -> pd.DataFrame:
        """This agent's checkpoints, one row each, as in ``lab.checkpoints()``."""
        return self._link.control("checkpoints", self.path)

    @starter
    def start_child(self, spec: Any, *, exist_ok: bool = False) -> Ref:
        """Start a child under this supervisor; returns its ref. Raises OTP's errors by name.

        ``exist_ok=True``: one with its id that is there already is found, resumed or started, as by ``lab.start``.
        """
        return self._link.control("start_child", self.path, spec, *((True,) if exist_ok else ()))

    def terminate_child(self, id: str) -> Awaitable[None]:
        """Stop the child in good order and keep its spec (a temporary child's is dropped)."""
        return self._carry_out("terminate_child", id)

    @starter
    def restart_child(self, id: str) -> Ref:
        """Start a child that is kept but not running; returns its ref."""
        return self._link.control("restart_child", self.path, id)

    def delete_child(self, id: str) -> Awaitable[None]:
        """Forget a child that is not running."""
        return self._carry_out("delete_child", id)

    @operation
    def which_children(self) -> list[tuple[str, Ref | str | None, str]]:
        """The children, newest first: tuples of id, ref or None or "restarting", type."""
        return self._link.control("which_children", self.path)

    @operation
    def count_children(self) -> dict[str, int]:
        """A dict: specs, active, supervisors, workers."""
        return self._link.control("count_children", self.path)

    @operation
    def get_childspec(self, id: str) -> Child:
        """The child spec with its defaults filled in."""
        return self._link.control("get_childspec", self.path, id)

    if not TYPE_CHECKING:  # a checker shall refuse what there is not

        def __getattr__(self, name: str) -> Any:
            """Nothing; but who asks a ref for a message or a field is told where it is."""
            if name.startswith("_"):
                raise AttributeError(name)
            if name in (self._link.methods(self.path) or ()):
                raise AttributeError(
                    f"{name!r} is a message of {self.path!r}: ref.call.{name}(...) or ref.cast.{name}(...)"
                )
            raise AttributeError(f"a Ref has no {name!r}. Messages: ref.call, ref.cast; fields: ref.state[{name!r}].")

    def __repr__(self) -> str:
        return f"Ref({self.path!r}, {self._cls_name})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Ref) and (other.path, other._link.lab_id) == (self.path, self._link.lab_id)

    def __hash__(self) -> int:
        return hash((self.path, self._link.lab_id))

    def __reduce__(self) -> tuple[Callable[..., Ref], tuple[str, str, str]]:
        return _land, (self._link.lab_id, self.path, self._cls_name)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        """A ref in an agent's state: stored as its path, it is read back as a ref of the lab that reads it."""
        text = core_schema.typed_dict_field(core_schema.str_schema())
        shape = core_schema.typed_dict_schema({"path": text, "agent": text})
        return core_schema.lax_or_strict_schema(
            core_schema.no_info_plain_validator_function(_read, json_schema_input_schema=shape),
            core_schema.is_instance_schema(cls),
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda ref: {"path": ref.path, "agent": ref._cls_name}, return_schema=shape
            ),
        )


_put_link, _put_name, _put_call, _put_cast, _put_path = (
    vars(Ref)[name].__set__ for name in ("_link", "_cls_name", "call", "cast", "path")
)  # past __setattr__


def _read(value: Any) -> Ref:
    if isinstance(value, Ref):
        return value
    link: Link = next(reversed(list(links.values())), NOWHERE)  # the lab that was opened last is the one that reads
    if not isinstance(value, dict) or value.keys() != {"path", "agent"}:
        raise ValueError("Input should be a Ref of this lab")
    path, here = value["path"], link.here()
    if here is not None and not path.startswith("/"):
        path = posixpath.normpath(posixpath.join(here, path))  # "../w1": a neighbour of who reads it
    return link.ref(path, value["agent"]) if link is not NOWHERE else Ref(NOWHERE, path, value["agent"])


def named(path: str) -> Ref:
    """The ref that a path stands for in a field: from the root, ``/team/w1``, or from the agent, ``../w1``.

    Raises:
        ValueError: It is neither.
    """
    if not path.startswith(("/", "../")) or path != path.rstrip("/") or "//" in path:
        raise ValueError(f"{path!r} is no path of an agent; write '/team/w1' from the root, '../w1' for a neighbour")
    return Ref(NOWHERE, path)
