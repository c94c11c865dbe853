"""Agent: a class whose fields are state and whose public methods are messages.

``Agent.__init_subclass__`` reads the class once: annotated names become ``Field``s (typed, dumped to JSON
for checkpoints), public methods become messages. Nothing here runs an agent; that is the node's work
(``agentlab.node.host``), which gives every instance a ``Context``.
"""

from __future__ import annotations

import copy
import inspect
import json
import sys
import typing
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, overload

import pydantic
from pydantic_core import PydanticSerializationError, core_schema

from agentlab.errors import InvalidSpec, InvalidState
from agentlab.ref import Ref

START_OPTIONS = frozenset({
    "id", "under", "restart", "shutdown", "significant", "backoff", "own_limit", "restore",
    "isolation", "max_memory", "max_busy",
})  # fmt: skip
"""Names that ``child`` and ``lab.start`` take for themselves, so no field may carry them."""

HOOKS = frozenset({"on_start", "on_stop", "on_exit", "on_down", "migrate"})
"""Methods that the runtime calls; they are not messages."""

_MISSING: Any = type("Missing", (), {"__repr__": lambda self: "(required)"})()


class Exit(Exception):
    """Raised inside an agent, ends it with this reason; ``normal`` and ``shutdown`` are no crashes.

    Attributes:
        reason: ``"normal"``, ``"shutdown"``, ``("shutdown", detail)`` or any other text: a crash.
    """

    def __init__(self, reason: Any = "normal") -> None:  # a reason is any term, as in OTP
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Crash:
    """The exit reason of an agent that raised: what it raised, without its objects."""

    type: str
    message: str
    traceback: str = ""
    pickled: bytes | None = None

    def __str__(self) -> str:
        return f"{self.type}: {self.message}" if self.message else self.type


class Transcript(Sequence[Any]):
    """A growing conversation: items are added at the end and never changed.

    Items are JSON values (dicts, mostly). A checkpoint holds what was added since the last one, so a
    conversation of n items costs O(n) bytes in all.
    """

    __slots__ = ("_items",)

    def __init__(self, items: Iterable[Any] = ()) -> None:
        self._items: list[Any] = []
        self.extend(items)

    def append(self, item: Any) -> None:
        """Add one item; it is copied, so later changes to the caller's object do not show."""
        try:
            self._items.append(json.loads(json.dumps(item)))
        except (TypeError, ValueError) as error:
            raise InvalidState(f"transcript item {len(self._items)}: {error}; items are JSON values.") from None

    def extend(self, items: Iterable[Any]) -> None:
        """Add several items."""
        for item in items:
            self.append(item)

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> list[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        return copy.deepcopy(self._items[index])

    def __len__(self) -> int:
        return len(self._items)

    def __iter__(self) -> Iterator[Any]:
        return iter(copy.deepcopy(self._items))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Transcript) and other._items == self._items

    __hash__ = None  # type: ignore[assignment]  # mutable, as a list is

    def __repr__(self) -> str:
        return f"Transcript({len(self._items)} items)"

    def dump(self, start: int = 0) -> list[str]:
        """The items from ``start`` on, each as JSON text."""
        return [json.dumps(item) for item in self._items[start:]]

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> core_schema.CoreSchema:
        def read(value: Any) -> Transcript:
            return value if isinstance(value, Transcript) else cls(value)

        items = core_schema.list_schema(core_schema.any_schema())
        return core_schema.no_info_plain_validator_function(
            read,
            json_schema_input_schema=items,
            serialization=core_schema.plain_serializer_function_ser_schema(
                lambda value: value._items, return_schema=items
            ),
        )


class Field:
    """One field of an agent's state: its type, its default, and its way to JSON and back."""

    __slots__ = ("_adapter", "annotation", "default", "name", "owner", "plain")

    def __init__(self, owner: str, name: str, annotation: Any, default: Any) -> None:
        self.owner = owner
        self.name = name
        self.annotation = annotation
        self.default = default
        self.plain = annotation in (int, str, float, bool)
        self._adapter: pydantic.TypeAdapter[Any] | None = None

    @property
    def required(self) -> bool:
        """Whether the field has no default."""
        return self.default is _MISSING

    @property
    def adapter(self) -> pydantic.TypeAdapter[Any]:
        """Pydantic's reader and writer for the type; made when first needed."""
        if self._adapter is None:
            self._adapter = _adapter(self.annotation)
        return self._adapter

    def check(self) -> None:
        """Refuse a type that JSON cannot hold, and a default that does not fit."""
        try:
            self.adapter.json_schema(mode="serialization")
        except Exception as error:  # pydantic has no common base for schema errors
            raise InvalidSpec(
                f"{self.owner}.{self.name}: {_type_name(self.annotation)} cannot be checkpointed: state is kept as "
                f"JSON, so a field's type must be one that pydantic dumps to JSON and reads back "
                f"({type(error).__name__}). Use such a type, a ClassVar, or a name that starts with '_'.",
                kind="invalid_field", value=self.annotation,
            ) from None  # fmt: skip
        if self.required:
            return
        try:
            self.load(self.dump(self.default))
        except InvalidState as error:
            raise InvalidSpec(str(error), kind="invalid_default", value=self.default) from None

    def validate(self, value: Any) -> Any:
        """Return ``value`` if it fits the type; InvalidState names field and value if not."""
        if self.plain and type(value) is self.annotation:
            return value
        try:
            return self.adapter.validate_python(value, strict=None if isinstance(value, Transcript) else True)
        except pydantic.ValidationError as error:
            raise InvalidState(self._misfit(value, error.errors()[0]["msg"])) from None

    def dump(self, value: Any) -> str:
        """The value as JSON text; InvalidState if it does not fit the type."""
        if self.plain and type(value) is self.annotation:
            return json.dumps(value)
        self.validate(value)
        try:
            return json.dumps(self.adapter.dump_python(value, mode="json"))
        except (PydanticSerializationError, TypeError, ValueError) as error:
            raise InvalidState(self._misfit(value, str(error))) from None

    def load(self, text: str) -> Any:
        """The value back from its JSON text."""
        try:
            return self.adapter.validate_python(json.loads(text), strict=False)
        except (pydantic.ValidationError, ValueError) as error:
            raise InvalidState(self._misfit(text, str(error).splitlines()[0])) from None

    def fresh(self) -> Any:
        """A copy of the default: mutable defaults are not shared between agents."""
        return self.default if self.plain else copy.deepcopy(self.default)

    def _misfit(self, value: Any, why: str) -> str:
        shown = repr(value)
        shown = shown if len(shown) <= 80 else shown[:77] + "..."
        return f"{self.owner}.{self.name} is {_type_name(self.annotation)}; got {shown}: {why}"

    def __getstate__(self) -> tuple[Any, ...]:
        required = self.required
        return self.owner, self.name, self.annotation, None if required else self.default, required

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        owner, name, annotation, default, required = state
        self.__init__(owner, name, annotation, _MISSING if required else default)  # type: ignore[misc]  # one way in

    def __repr__(self) -> str:
        return f"Field({self.name}: {_type_name(self.annotation)} = {self.default!r})"


def _adapter(annotation: Any) -> pydantic.TypeAdapter[Any]:
    config = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")
    try:
        return pydantic.TypeAdapter(annotation, config=config)
    except pydantic.PydanticUserError as error:
        if error.code != "type-adapter-config-unused":  # models and dataclasses bring their own config
            raise
        return pydantic.TypeAdapter(annotation)


def _type_name(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


class Signature:
    """A message's parameters, to refuse a wrong call before it is sent."""

    __slots__ = ("_signature", "least", "most")

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = list(inspect.signature(function).parameters.values())[1:]
        self._signature = inspect.Signature(parameters)
        ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        keyword_required = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        self.least = 1 << 30 if keyword_required else sum(p.default is p.empty for p in ordered)
        self.most = 1 << 30 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(ordered)

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise TypeError, as Python would, when the arguments do not fit."""
        if kwargs or not self.least <= len(args) <= self.most:
            self._signature.bind(*args, **kwargs)

    def __str__(self) -> str:
        return str(self._signature)


class Context(Protocol):
    """What a node gives an agent to act with."""

    id: str
    path: str
    ref: Ref
    incarnation: int
    lab: Any

    def step(self, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Awaitable[Any]:
        """Run one recorded effect."""

    def stop(self, reason: Any) -> None:
        """End the agent after this message."""

    def emit(self, text: str) -> None:
        """Send text to the live transcript."""


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
    """

    trap_exit: ClassVar[bool | None] = None
    __agent_fields__: ClassVar[dict[str, Field]] = {}
    __agent_messages__: ClassVar[frozenset[str]] = frozenset()

    _context: Context

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        scope = sys._getframe(1).f_locals
        own = _own_fields(cls, scope)
        cls.__agent_fields__ = {**cls.__agent_fields__, **own}
        cls.__agent_messages__ = cls.__agent_messages__ | _own_messages(cls)

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self._context.id

    @property
    def path(self) -> str:
        """Where the agent lives: ``/team/writer``."""
        return self._context.path

    @property
    def ref(self) -> Ref:
        """The agent's own ref, to hand to others."""
        return self._context.ref

    @property
    def incarnation(self) -> int:
        """The number of this life, from 1."""
        return self._context.incarnation

    @property
    def lab(self) -> Any:
        """The lab as an agent sees it: ``start``, ``whereis``, ``lab[path]``; all awaited."""
        return self._context.lab

    async def step(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        """Run one recorded effect: a model call, a tool call, anything that acts on the world.

        Args:
            function: A function or coroutine function; its result must be picklable.
        """
        return await self._context.step(function, args, kwargs)

    def stop(self, reason: Any = "normal") -> None:
        """End this agent with ``reason`` when the message in hand is done and committed."""
        self._context.stop(reason)

    def emit(self, text: str) -> None:
        """Send text to the live transcript; it passes by and is never stored as state."""
        self._context.emit(text)

    def __repr__(self) -> str:
        path = self._context.path if hasattr(self, "_context") else "not started"
        return f"<{type(self).__name__} {path}>"


RESERVED = START_OPTIONS | {name for name in vars(Agent) if not name.startswith("_")} | {
    "link", "unlink", "monitor", "demonitor", "after", "every", "subscribe", "unsubscribe",
    "now", "random", "uuid", "draft",
}  # fmt: skip
"""Names that a subclass may use neither for a field nor for a message."""


def known_class(module: str, qualname: str) -> type[Agent] | None:
    """The agent class of that name, if this process has defined it; nothing is imported."""
    found: Any = sys.modules.get(module)
    for part in qualname.split("."):
        found = getattr(found, part, None)
    if not (isinstance(found, type) and issubclass(found, Agent)):  # a class inside a function has no other way
        found = next((cls for cls in _subclasses(Agent) if (cls.__module__, cls.__qualname__) == (module, qualname)), None)
    return found


def _subclasses(cls: type[Agent]) -> Iterator[type[Agent]]:
    for sub in reversed(cls.__subclasses__()):  # the newest definition first
        if "<locals>" in sub.__qualname__ and "_stands_in" not in vars(sub):
            yield sub
        yield from _subclasses(sub)


def _own_fields(cls: type[Agent], scope: dict[str, Any]) -> dict[str, Field]:
    fields = {}
    for name, written in vars(cls).get("__annotations__", {}).items():
        annotation = _resolve(cls, name, written, scope)
        if name.startswith("_") or typing.get_origin(annotation) is ClassVar or annotation is ClassVar:
            continue
        _refuse_reserved(cls, name, "field")
        field = Field(cls.__name__, name, annotation, vars(cls).get(name, _MISSING))
        field.check()
        fields[name] = field
    return fields


def _resolve(cls: type[Agent], name: str, written: Any, scope: dict[str, Any]) -> Any:
    """An annotation as a type; text (``from __future__ import annotations``) is looked up where it stands."""
    if not isinstance(written, str):
        return written
    spaces = {**vars(typing), **vars(sys.modules.get(cls.__module__, typing)), **scope}
    try:
        return eval(written, spaces)  # noqa: S307  # the class's own source, as typing.get_type_hints does
    except Exception as error:
        raise InvalidSpec(
            f"{cls.__name__}.{name}: the annotation {written!r} cannot be resolved: {error}. "
            "Define or import the type before the class.",
            kind="invalid_field", value=written,
        ) from None  # fmt: skip


def _own_messages(cls: type[Agent]) -> frozenset[str]:
    messages = set()
    for name, value in vars(cls).items():
        if name == "__init__":
            raise InvalidSpec(
                f"{cls.__name__} defines __init__: an agent is built from its fields. Use async def on_start(self).",
                kind="invalid_message", value=name,
            )  # fmt: skip
        if name.startswith("_") or name in HOOKS or name in cls.__agent_fields__ or not inspect.isfunction(value):
            continue
        _refuse_reserved(cls, name, "message")
        messages.add(name)
    return frozenset(messages)


def _refuse_reserved(cls: type[Agent], name: str, what: str) -> None:
    if name in RESERVED or name in HOOKS:
        raise InvalidSpec(
            f"{cls.__name__}.{name}: {name!r} cannot be the name of a {what}: it belongs to Agent or to the start "
            f"options ({', '.join(sorted(START_OPTIONS))}). Choose another name.",
            kind="reserved_name", value=name,
        )  # fmt: skip
