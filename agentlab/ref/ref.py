"""What a person or an agent holds to reach an agent: ``Ref``, ``Refs``, and the ``Reply`` to a call.

A ref is a path and a *link*. The link carries messages and control operations: in the kernel it is the
runtime, in a node it is the host. So the same ``Ref`` works in a cell, in a script and inside an agent;
inside an agent everything it returns is awaited, and in a handler each call and each control operation is a step:
done once for a message, however often that is delivered. That is what "once" covers: a message that is given up (its
deliveries are used up, it is skipped or cancelled) leaves its calls to come to their ends, and whoever asks anew sends
another message, whose calls are made anew. What must not happen twice even then needs a key among its arguments.
"""

from __future__ import annotations

import functools
import inspect
import posixpath
import time
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from pydantic_core import core_schema

from agentlab.errors import InvalidArgument, InvalidSpec, LabClosed
from agentlab.ground.given import seconds, shown
from agentlab.ground.words import counted, spelt
from agentlab.ref.reply import DEFAULT_TIMEOUT, Replies, Reply

if TYPE_CHECKING:  # pandas is imported where a frame is made, never for a type
    import pandas as pd
from agentlab.ref.link import NOWHERE, Link, Outgoing, links

__all__ = ["DEFAULT_TIMEOUT", "Messages", "Ref", "Refs", "Replies", "Reply"]


UNSET: Any = type("Unset", (), {"__repr__": lambda self: "(not given)"})()


def _land(lab_id: str, path: str, cls_name: str) -> Ref:
    link = links.get(lab_id) if lab_id else NOWHERE
    if link is None:
        raise LabClosed(f"ref to {path!r}: its lab is not in this process. Refs travel only inside their lab.")
    return Ref(link, path, cls_name)


class Messages:
    """The messages of one agent as methods: ``ref.call`` and ``ref.cast``; completes by TAB.

    Called with options it returns itself with them: ``ref.call(timeout=5).add(1)``.
    """

    __slots__ = ("_call", "_ref", "_redeliver", "_timeout")

    def __init__(self, ref: Ref, *, call: bool, timeout: float | None = None, redeliver: bool | None = None) -> None:
        self._ref = ref
        self._call = call
        self._timeout = timeout
        self._redeliver = redeliver

    @functools.partial(spelt, what="ref.call")
    def __call__(self, *, timeout: float | None = None, redeliver: bool | None = None) -> Messages:
        """Set options: ``timeout`` in seconds, ``redeliver=False`` for OTP's way (AgentDown at once)."""
        _check_options(timeout, redeliver)
        return Messages(self._ref, call=self._call, timeout=timeout, redeliver=redeliver)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        ref = self._ref
        known = ref._link.methods(ref.path)
        if method.startswith("_"):  # what pickle, copy and IPython look for is no message
            raise AttributeError(method)
        if known is not None and method not in known:
            raise ref._link.unknown(ref.path, method, ref._cls_name)

        return Sender(self, method)

    def __dir__(self) -> list[str]:
        return sorted(self._ref._link.methods(self._ref.path) or ())

    def __repr__(self) -> str:
        return f"<{'call' if self._call else 'cast'} {self._ref.path}: {', '.join(self.__dir__())}>"


class Sender:
    """One message of one agent, ready to be sent; shows the signature and the docstring of its method."""

    __slots__ = ("__name__", "_messages")

    def __init__(self, messages: Messages, method: str) -> None:
        self._messages = messages
        self.__name__ = method

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Send the message with these arguments."""
        own, method = self._messages, self.__name__
        link, path = own._ref._link, own._ref.path
        link.check(path, method, args, kwargs)
        return link.send(
            Outgoing(path, method, args, kwargs, call=own._call, timeout=own._timeout, redeliver=own._redeliver)
        )

    def __getattr__(self, name: str) -> Any:
        """``__signature__``: the method's own, without ``self``; what IPython shows for ``ref.call.method?``."""
        function = self._messages._ref._link.function(self._messages._ref.path, self.__name__)
        if name != "__signature__" or function is None:
            raise AttributeError(name)
        signature = inspect.signature(function)
        return signature.replace(parameters=list(signature.parameters.values())[1:])

    def __repr__(self) -> str:
        return f"<{'call' if self._messages._call else 'cast'} {self._messages._ref.path}.{self.__name__}>"


def _check_options(timeout: object, redeliver: object) -> None:
    if timeout is not None:
        seconds(timeout, "timeout")
    if redeliver is not None and not isinstance(redeliver, bool):
        raise InvalidSpec(
            f"redeliver must be True or False; got {shown(redeliver)}", kind="invalid_redeliver", value=redeliver
        )


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

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[-1]

    @property
    def status(self) -> Any:
        """``starting running busy waiting backing_off suspended parked stopped``."""
        return self._link.control("status", self.path)

    @property
    def incarnation(self) -> Any:
        """Which of its lives this is, from 1; 0 before the first one runs."""
        return self._link.control("incarnation", self.path)

    @property
    def node(self) -> Any:
        """The number of the node that holds the agent, or None."""
        return self._link.control("node", self.path)

    @property
    def state(self) -> Any:
        """The committed state, a dict; while a message is handled, still the last committed one."""
        return self._link.control("state", self.path)

    @property
    def draft(self) -> Any:
        """The state in hand, not committed: what the handler has made of it so far."""
        return self._link.control("draft", self.path)

    def info(self) -> Any:
        """A dict: status, mailbox length, message in hand and its age, restarts, last reason."""
        return self._link.control("info", self.path)

    def crash(self, error: BaseException | type[BaseException] | None = None) -> Any:
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
        return self._link.control("crash", self.path, error)

    def kill(self) -> Any:
        """End the agent at once, also in an endless loop: not trappable, no ``on_stop``; its supervisor reacts.

        Its successor starts when the node says that it is gone; after 0.25 s on another node, if C code holds this one.
        """
        return self._link.control("kill", self.path)

    def stop(self, reason: Any = "normal") -> Any:  # a reason is any term, as in OTP
        """End in good order, after the message in hand, through ``on_stop``.

        An agent ends for good, whatever its restart type. A supervisor ends with its children, and the one
        above it reacts as to any exit: a permanent supervisor starts again.
        """
        return self._link.control("stop", self.path, reason)

    def restart(self) -> Any:
        """Stop it in good order, if it runs, and start its next incarnation; also unparks.

        Messages that wait are handled by the next incarnation, of a supervisor those of all below it that come back.
        """
        return self._link.control("restart", self.path)

    def exit(self, reason: Any = "shutdown") -> Any:  # a reason is any term, as in OTP
        """Send an exit signal, as OTP's ``exit/2``: ``normal`` is ignored, ``kill`` cannot be trapped."""
        return self._link.control("exit", self.path, reason)

    def skip(self) -> Any:
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
        return self._link.control("skip", self.path)

    def suspend(self) -> Any:
        """Take no more messages; the one in hand is finished, the others wait in the mailbox."""
        return self._link.control("suspend", self.path)

    def resume(self) -> Any:
        """Go on after ``suspend``."""
        return self._link.control("resume", self.path)

    def replace_state(self, **fields: Any) -> Any:
        """Set fields between two messages: validated, checkpointed, logged. Returns the new state."""
        return self._link.control("replace_state", self.path, fields)

    def rewind(self, to: int) -> Any:
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

    def trace(self, on: bool = True) -> Any:
        """Note every message of this agent, with its arguments, as an event of kind ``message``."""
        return self._link.control("trace", self.path, on)

    def doubts(self) -> Any:
        """``once`` steps that began and did not finish, so that nobody knows whether they happened: dicts."""
        return self._link.control("doubts", self.path)

    def settle(self, step: int | str, result: Any = UNSET, *, retry: bool = False) -> Any:  # any result
        """Say what became of a step in doubt; when none is left, the agent goes on with the message.

        Args:
            step: Its number or its name, as ``doubts()`` shows it.
            result: What it gave, if it happened.
            retry: True: it did not happen, so it may run.
        """
        if (result is UNSET) != retry:
            raise InvalidSpec("settle: give either result=... (it happened) or retry=True (it did not).")
        return self._link.control("settle", self.path, step, None if retry else self._link.keep(result))

    def log(self) -> Any:
        """What the agent printed, as one text, oldest line first."""
        return self._link.control("log", self.path)

    def checkpoints(self) -> pd.DataFrame:
        """This agent's checkpoints, one row each, as in ``lab.checkpoints()``."""
        frame: pd.DataFrame = self._link.control("checkpoints", self.path)
        return frame

    def start_child(self, spec: Any, *, exist_ok: bool = False) -> Any:
        """Start a child under this supervisor; returns its ref. Raises OTP's errors by name.

        ``exist_ok=True``: one with its id that is there already is found, resumed or started, as by ``lab.start``.
        """
        return self._link.control("start_child", self.path, spec, *((True,) if exist_ok else ()))

    def terminate_child(self, id: str) -> Any:
        """Stop the child in good order and keep its spec (a temporary child's is dropped)."""
        return self._link.control("terminate_child", self.path, id)

    def restart_child(self, id: str) -> Any:
        """Start a child that is kept but not running; returns its ref."""
        return self._link.control("restart_child", self.path, id)

    def delete_child(self, id: str) -> Any:
        """Forget a child that is not running."""
        return self._link.control("delete_child", self.path, id)

    def which_children(self) -> Any:
        """The children, newest first: tuples of id, ref or None or "restarting", type."""
        return self._link.control("which_children", self.path)

    def count_children(self) -> Any:
        """A dict: specs, active, supervisors, workers."""
        return self._link.control("count_children", self.path)

    def get_childspec(self, id: str) -> Any:
        """The child spec with its defaults filled in."""
        return self._link.control("get_childspec", self.path, id)

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
        if getattr(self._link, "awaited", False):  # in a node; a repr does not wait for another process
            return f"Ref({self.path!r}, {self._cls_name})"
        return f"Ref({self.path!r}, {self._cls_name}, {self.status})"

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
    link = next(reversed(list(links.values())), NOWHERE)  # the lab that was opened last is the one that reads
    if not isinstance(value, dict) or value.keys() != {"path", "agent"}:
        raise ValueError("Input should be a Ref of this lab")
    path, here = value["path"], link.here()
    if here is not None and not path.startswith("/"):
        path = posixpath.normpath(posixpath.join(here, path))  # "../w1": a neighbour of who reads it
    return Ref(link, path, value["agent"])


def named(path: str) -> Ref:
    """The ref that a path stands for in a field: from the root, ``/team/w1``, or from the agent, ``../w1``.

    Raises:
        ValueError: It is neither.
    """
    if not path.startswith(("/", "../")) or path != path.rstrip("/") or "//" in path:
        raise ValueError(f"{path!r} is no path of an agent; write '/team/w1' from the root, '../w1' for a neighbour")
    return Ref(NOWHERE, path)


class Siblings(Sequence[Ref]):
    """Refs of agents under one supervisor, made when they are looked at: of each there is only its id."""

    __slots__ = ("_above", "_cls_name", "_ids", "_link")

    def __init__(self, link: Link, above: str, ids: Sequence[str], cls_name: str) -> None:
        self._link = link
        self._above = above.rstrip("/") + "/"
        self._ids = ids
        self._cls_name = cls_name

    @overload
    def __getitem__(self, index: int) -> Ref: ...
    @overload
    def __getitem__(self, index: slice) -> Siblings: ...
    def __getitem__(self, index: int | slice) -> Ref | Siblings:
        if isinstance(index, slice):
            return Siblings(self._link, self._above, self._ids[index], self._cls_name)
        return Ref(self._link, self._above + self._ids[index], self._cls_name)

    def __len__(self) -> int:
        return len(self._ids)


class Refs(Sequence[Ref]):
    """Many refs as one: a message to all of them, a wait for all of them."""

    def __init__(self, refs: Sequence[Ref]) -> None:
        self._refs: Sequence[Ref] = refs if isinstance(refs, Siblings) else tuple(refs)

    @property
    def call(self) -> Broadcast:
        """Ask all: ``await refs.call.method(...)`` gives the answers in order."""
        return Broadcast(self._refs, call=True)

    @property
    def cast(self) -> Broadcast:
        """Tell all."""
        return Broadcast(self._refs, call=False)

    def wait(self, timeout: float = DEFAULT_TIMEOUT) -> None:
        """Block until none of the agents has a message waiting or in hand; CallTimeout after ``timeout`` s."""
        end = time.monotonic() + seconds(timeout, "wait: timeout")
        for ref in self._refs:
            ref._link.control("wait_idle", ref.path, max(0.0, end - time.monotonic()))

    @overload
    def __getitem__(self, index: int) -> Ref: ...
    @overload
    def __getitem__(self, index: slice) -> Refs: ...
    def __getitem__(self, index: int | slice) -> Ref | Refs:
        return Refs(self._refs[index]) if isinstance(index, slice) else self._refs[index]

    def __len__(self) -> int:
        return len(self._refs)

    def __iter__(self) -> Iterator[Ref]:
        return iter(self._refs)

    def __repr__(self) -> str:
        ends = f": {self._refs[0].path} … {self._refs[-1].path}" if self._refs else ""
        return f"Refs({counted(len(self._refs), 'agent', sep='')}{ends})"


class Broadcast:
    """``refs.call`` and ``refs.cast``: one method, every agent. Takes the options of ``ref.call``."""

    __slots__ = ("_call", "_options", "_refs")

    def __init__(self, refs: Sequence[Ref], *, call: bool, **options: Any) -> None:
        self._refs = refs
        self._call = call
        self._options = options

    @functools.partial(spelt, what="refs.call")
    def __call__(self, *, timeout: float | None = None, redeliver: bool | None = None) -> Broadcast:
        """Set options, as in ``ref.call(timeout=5)``."""
        _check_options(timeout, redeliver)
        return Broadcast(self._refs, call=self._call, timeout=timeout, redeliver=redeliver)

    def __getattr__(self, method: str) -> Callable[..., Any]:
        if method.startswith("_"):
            raise AttributeError(method)

        def send(*args: Any, **kwargs: Any) -> Any:
            replies = [self._to(ref, method)(*args, **kwargs) for ref in self._refs]
            return Replies(replies) if self._call else None

        return send

    def _to(self, ref: Ref, method: str) -> Callable[..., Any]:
        """The method of one of the agents."""
        found: Callable[..., Any] = getattr(Messages(ref, call=self._call, **self._options), method)
        return found

    def __dir__(self) -> list[str]:
        return Messages(self._refs[0], call=True).__dir__() if self._refs else []
