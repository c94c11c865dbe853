"""Agent: a class whose fields are state and whose public methods are messages.

``Agent.__init_subclass__`` reads the class once: annotated names become ``Field``s (typed, dumped to JSON
for checkpoints), public methods become messages. Nothing here runs an agent; that is the node's work
(``agentlab.node.host``), which gives every instance a ``Context``.
"""

from __future__ import annotations

import inspect
import sys
import types
import typing
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from datetime import datetime
from random import Random
from typing import Any, ClassVar, Protocol

from agentlab.agent.arguments import Signature
from agentlab.agent.declared import declared, refuse_bare, refuse_undeclared
from agentlab.agent.fields import MISSING, Field
from agentlab.agent.transcript import Transcript, TranscriptSlot
from agentlab.errors import InvalidSpec
from agentlab.faults import Action, checked
from agentlab.ref.inside import RefInside
from agentlab.ref.ref import Ref
from agentlab.supervision.checks import refuse_secret_names
from agentlab.supervision.child import OPTIONS

__all__ = ["Agent", "Context", "Field", "Transcript", "known_class"]

START_OPTIONS = frozenset({*OPTIONS, "under", "exist_ok"})
"""Names that ``child`` and ``lab.start`` take for themselves, so no field may carry them."""

HOOKS = {"on_start": (), "on_stop": ("reason",), "on_exit": ("ref", "reason"), "on_down": ("ref", "reason")}
"""Methods that the runtime calls, and what it hands them; they are not messages."""


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise InvalidSpec(f"a timer's seconds must be a number >= 0; got {value!r}", kind="invalid_timer", value=value)
    return float(value)


class Context(Protocol):
    """What a node gives an agent to act with."""

    path: str
    incarnation: int

    @property
    def id(self) -> str:
        """The last part of the path."""

    @property
    def ref(self) -> RefInside:
        """The agent's own ref."""

    @property
    def lab(self) -> Any:
        """The lab as the agent sees it."""

    def step(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Run one recorded effect."""

    def stop(self, reason: Any) -> None:
        """End the agent after this message."""

    def emit(self, text: str) -> None:
        """Send text to the live transcript."""

    @property
    def random(self) -> Random:
        """Chance that falls the same way for every delivery of a message."""

    def now(self) -> datetime:
        """The time of day."""

    def later(self, seconds: float, *, again: bool) -> Any:
        """A message to itself, later."""

    def reserve(self, model: str, tokens: int, cost: float | None) -> Awaitable[bool]:
        """Hold back what the model call that runs now may use (tokens, US dollars); whether its cost is limited."""

    def act(self, op: str, *args: Any) -> Awaitable[None]:
        """Ask the lab for something about this agent."""


class Agent:
    """A supervised process: private state, a mailbox, one message at a time.

    Annotated names are state, public methods are messages::

        class Counter(Agent):
            count: int = 0

            async def add(self, n: int = 1) -> int:
                self.count += n
                return self.count

    Start it with ``lab.start(Counter, id="counter")``. When a handler raises, the agent dies and its
    supervisor starts the next incarnation from the last checkpoint. Hooks: ``on_start``, ``on_stop(reason)``.
    ``on_fault = {"timeout": "crash"}`` replaces rows of ``agentlab.faults.table()``: what is done about which fault.
    """

    trap_exit: ClassVar[bool | None] = None
    on_fault: ClassVar[Mapping[str, str | Action]] = {}
    __agent_faults__: ClassVar[dict[str, Action]] = {}
    __agent_fields__: ClassVar[dict[str, Field]] = {}
    __agent_messages__: ClassVar[frozenset[str]] = frozenset()
    __agent_own__: ClassVar[dict[str, Field]] = {}
    __agent_names__: ClassVar[frozenset[str]] = frozenset()

    _context: Context

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        frame: types.FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_code.co_name == "__init_subclass__":  # of a base that adds to it
            frame = frame.f_back
        read_class(cls, frame.f_locals if frame is not None else {})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        name = type(self).__name__
        raise TypeError(f"{name} is not called but started: lab.start({name}, ...). Its __init__ is the runtime's.")

    def __setattr__(self, name: str, value: Any) -> None:
        """Set a field, a setting that the class declares, or what is ``_transient``; no other name is kept."""
        if name not in self.__agent_names__ and name[0] != "_":
            refuse_undeclared(type(self), name, value)
        object.__setattr__(self, name, value)

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self._context.id

    @property
    def path(self) -> str:
        """Where the agent lives: ``/team/writer``."""
        return self._context.path

    @property
    def ref(self) -> RefInside:
        """The agent's own ref, to hand to others."""
        return self._context.ref

    @property
    def incarnation(self) -> int:
        """Which of its lives this is, from 1; a restart starts the next."""
        return self._context.incarnation

    @property
    def lab(self) -> Any:
        """The lab as an agent sees it: ``start``, ``whereis``, ``lab[path]``; all awaited."""
        return self._context.lab

    async def step(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one recorded effect: a model call, a tool call, anything that acts on the world.

        Args:
            function: A function, a coroutine function or a tool; its result must be picklable.
            args, kwargs: What it is called with: ``await self.step(search, query="tea")``.
        """
        return await self._context.step(function, args, kwargs)

    def stop(self, reason: Any = "normal") -> None:
        """End this agent with ``reason`` when the message in hand is done and committed."""
        self._context.stop(reason)

    def emit(self, text: str) -> None:
        """Send text to the live transcript; it passes by and is never stored as state."""
        self._context.emit(text)

    def now(self) -> datetime:
        """The time of day, UTC; a redelivered message sees the same."""
        return self._context.now()

    @property
    def random(self) -> Random:
        """Chance that falls the same way when a message is delivered again."""
        return self._context.random

    def uuid(self) -> uuid.UUID:
        """A new id, the same when the message is delivered again."""
        return uuid.UUID(int=self._context.random.getrandbits(128), version=4)

    def after(self, seconds: float) -> Any:
        """A message to oneself, once, later: ``self.after(5).remind("tea")``. It leaves with the commit."""
        return self._context.later(_seconds(seconds), again=False)

    def every(self, seconds: float) -> Any:
        """A message to oneself again and again: ``self.every(60).tick()``. It leaves with the commit."""
        return self._context.later(_seconds(seconds), again=True)

    def link(self, ref: Ref) -> Awaitable[None]:
        """Tie this incarnation to another: when one crashes, the other gets its reason as an exit signal.

        With ``trap_exit = True`` the signal is a message to ``on_exit(ref, reason)``; else a reason other than
        ``normal`` ends this agent too. It is done at once; await it to be sure that it is.
        """
        return self._context.act("link", ref.path)

    def unlink(self, ref: Ref) -> Awaitable[None]:
        """Cut the tie."""
        return self._context.act("unlink", ref.path)

    def monitor(self, ref: Ref) -> Awaitable[None]:
        """Hear once, in ``on_down(ref, reason)``, when that incarnation ends; ``noproc`` if it has ended already."""
        return self._context.act("monitor", ref.path)

    def demonitor(self, ref: Ref) -> Awaitable[None]:
        """Take one monitor back."""
        return self._context.act("demonitor", ref.path)

    def subscribe(self, topic: str) -> Awaitable[None]:
        """Get what is published to a topic as messages; until this agent is removed, also across restarts."""
        return self._context.act("subscribe", topic)

    def unsubscribe(self, topic: str) -> Awaitable[None]:
        """Get it no more."""
        return self._context.act("unsubscribe", topic)

    def __repr__(self) -> str:
        path = self._context.path if hasattr(self, "_context") else "not started"
        return f"<{type(self).__name__} {path}>"


RESERVED = START_OPTIONS | set(HOOKS) | {name for name in vars(Agent) if not name.startswith("_")} | {
    "link", "unlink", "monitor", "demonitor", "after", "every", "subscribe", "unsubscribe",
    "now", "random", "uuid", "draft", "migrate",
}  # fmt: skip
"""Names that a subclass may use neither for a field nor for a message."""

SETTINGS = frozenset({"trap_exit", "on_fault", "budget", *HOOKS})
"""Those among them that a class gives a value; None for a hook of a base class that it does not want."""


def known_class(module: str, qualname: str) -> type[Agent] | None:
    """The agent class of that name, if this process has defined it; nothing is imported, no code runs."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):  # not getattr: modules may import what is asked of them
        found = vars(found).get(part) if isinstance(found, (types.ModuleType, type)) else None
    if isinstance(found, type) and issubclass(found, Agent):
        return found
    # A class inside a function has no other way.
    return next((cls for cls in _subclasses(Agent) if (cls.__module__, cls.__qualname__) == (module, qualname)), None)


def _subclasses(cls: type[Agent]) -> Iterator[type[Agent]]:
    for sub in reversed(cls.__subclasses__()):  # the newest definition first
        if "<locals>" in sub.__qualname__ and "_stands_in" not in vars(sub):
            yield sub
        yield from _subclasses(sub)


def read_class(cls: type[Agent], scope: dict[str, Any]) -> None:
    """Find the fields and messages of a class that is being defined; refuse it if it cannot be.

    Args:
        cls: The class. It has the fields and messages of its bases too, plain mixins included.
        scope: The names where it is defined.

    Raises:
        InvalidSpec: Names the class, the field or message, and what is allowed.
    """
    bases = [base for base in reversed(cls.__mro__[1:]) if base not in (Agent, object, typing.Generic)]
    fields: dict[str, Field] = {}
    for base in bases:
        fields |= base.__agent_own__ if issubclass(base, Agent) else _own_fields(base, {}, fields)
    cls.__agent_own__ = _own_fields(cls, scope, fields)
    refuse_bare(cls, RESERVED - SETTINGS)
    fields |= cls.__agent_own__
    messages = {name for base in (*bases, cls) for name in _own_messages(base)}
    refuse_secret_names(cls, (*cls.__agent_own__, *messages))
    for name in sorted(messages & fields.keys()):
        raise InvalidSpec(
            f"{cls.__name__}.{name} is a field and a message at once. Rename one of them.",
            kind="reserved_name", value=name,
        )  # fmt: skip
    for name, field in fields.items():
        if field.grows and not isinstance(inspect.getattr_static(cls, name, None), TranscriptSlot):
            setattr(cls, name, TranscriptSlot(name))
    if "on_fault" in vars(cls):
        cls.__agent_faults__ = cls.__agent_faults__ | checked(vars(cls)["on_fault"], cls.__name__)
    cls.__agent_fields__ = fields | vars(cls).get("__agent_fields__", {})
    cls.__agent_messages__ = frozenset(messages)
    cls.__agent_names__ = declared(cls) | vars(cls).get("__agent_names__", frozenset())


def _own_fields(cls: type, scope: dict[str, Any], above: dict[str, Field]) -> dict[str, Field]:
    """The fields that the class's own body declares, or gives another default."""
    fields = {}
    try:
        written = inspect.get_annotations(cls)
    except NameError as error:  # Python 3.14 reads annotations when they are asked for
        raise _unresolved(cls, error.name or "?", str(error), error) from None
    for name, text in written.items():
        if name.startswith("_"):
            continue
        annotation = _resolve(cls, name, text, scope)
        if typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        _refuse_reserved(cls, name, "field")
        fields[name] = Field(cls.__name__, name, annotation, vars(cls).get(name, MISSING))
    for name, field in above.items():
        if name in vars(cls) and name not in fields and not inspect.isroutine(vars(cls)[name]):
            fields[name] = Field(cls.__name__, name, field.annotation, vars(cls)[name])
    for field in fields.values():
        field.check()
    return fields


def _resolve(cls: type, name: str, written: Any, scope: dict[str, Any]) -> Any:
    """An annotation as a type; text (``from __future__ import annotations``) is looked up where it stands."""
    if not isinstance(written, str):
        return written
    module = sys.modules.get(cls.__module__)
    spaces = {**(vars(module) if module else {}), **scope}
    try:
        return eval(written, spaces, dict(vars(cls)))  # noqa: S307  # the class's own source, as typing.get_type_hints does
    except Exception as error:
        raise _unresolved(cls, name, written, error) from None


def _unresolved(cls: type, name: str, written: str, error: Exception) -> InvalidSpec:
    return InvalidSpec(
        f"{cls.__name__}.{name}: the annotation {written!r} cannot be resolved: {error}. "
        "Define or import the type before the class.",
        kind="invalid_field", value=written,
    )  # fmt: skip


def _own_messages(cls: type) -> list[str]:
    """The public methods of the class's own body; its hooks are checked on the way."""
    messages = []
    for name, value in vars(cls).items():
        if name == "__init__" and inspect.isfunction(value):
            raise _unfit(cls, name, "an agent is built from its fields. Use async def on_start(self)")
        if name == "migrate" and not isinstance(value, classmethod):
            raise _unfit(cls, name, "it must be a classmethod: migrate(cls, state)")
        if name.startswith("_") or not inspect.isfunction(value):
            continue
        if name in HOOKS:
            _check_hook(cls, name, value)
            continue
        _refuse_reserved(cls, name, "message")
        if inspect.isgeneratorfunction(value) or inspect.isasyncgenfunction(value):
            raise _unfit(cls, name, "a message returns its answer and cannot yield. Return a list, or self.emit(text)")
        if not inspect.signature(value).parameters:
            raise _unfit(cls, name, "a message takes self")
        messages.append(name)
    return messages


def _check_hook(cls: type, name: str, function: Callable[..., Any]) -> None:
    try:
        Signature(function).check_shape(HOOKS[name], {})
    except TypeError as error:
        given = ", ".join(("self", *HOOKS[name]))
        raise _unfit(cls, name, f"the runtime calls it as {name}({given}), which fails: {error}") from None


def _unfit(cls: type, name: str, why: str) -> InvalidSpec:
    return InvalidSpec(f"{cls.__name__}.{name}: {why}.", kind="invalid_message", value=name)


def _refuse_reserved(cls: type, name: str, what: str) -> None:
    if name in RESERVED:
        raise InvalidSpec(
            f"{cls.__name__}.{name}: {name!r} cannot be the name of a {what}: it belongs to Agent or to the start "
            f"options ({', '.join(sorted(START_OPTIONS))}). Choose another name.",
            kind="reserved_name", value=name,
        )  # fmt: skip
