"""What an agent's state is made of: typed fields that go to JSON and come back as they were.

A value that would come back from its checkpoint as something else is refused when it is about to be
stored, not discovered after a crash. Types whose JSON says everything (numbers, text, lists of them) are
known to come back; for all others each new value is read back before it counts as stored.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import decimal
import enum
import json
import types
import typing
import uuid
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError

from agentlab.agent.transcript import Transcript
from agentlab.errors import InvalidSpec, InvalidState, MessageTooLarge
from agentlab.ground.given import shown
from agentlab.ground.redaction import leaked
from agentlab.ref.ref import Ref, named

MAX_MESSAGE = 64 * 1024 * 1024
"""Bytes that one value may take: a field of a state, an argument, a reply."""

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "(required)"})()
"""The default of a field that has none."""


class Field:
    """One field of an agent's state: its type, its default, and its way to JSON and back."""

    __slots__ = ("_adapter", "_exact", "_has_refs", "annotation", "default", "name", "owner", "plain")

    def __init__(self, owner: str, name: str, annotation: Any, default: Any) -> None:
        self.owner = owner
        self.name = name
        self.annotation = annotation
        self.default = default
        self.plain = annotation in (int, str, float, bool)
        self._exact = comes_back(annotation)
        self._has_refs = Ref in type_parts(annotation)
        self._adapter: Any = None

    @property
    def required(self) -> bool:
        """Whether the field has no default."""
        return self.default is MISSING

    @property
    def grows(self) -> bool:
        """Whether it is a transcript, which is stored item by item."""
        return self.annotation is Transcript

    @property
    def adapter(self) -> Any:
        """Pydantic's reader and writer for the type; made when first needed."""
        if self._adapter is None:
            self._adapter = _adapter(self.annotation)
        return self._adapter

    def check(self) -> None:
        """Refuse a type that JSON cannot hold, and a default that does not fit; the default becomes a copy."""
        try:
            schema = self.adapter.json_schema(mode="serialization")
            self.adapter.json_schema(mode="validation")
        except Exception as error:  # pydantic has no common base for schema errors
            why = str(error).splitlines()[0][:200]
            raise self._refused(f"that pydantic dumps to JSON and reads back ({type(error).__name__}: {why})") from None
        bad = _no_key(self.annotation)
        if bad is not None:
            raise self._refused(f"whose dict keys JSON can hold as text, and {type_name(bad)} comes back otherwise")
        if self.annotation is not Transcript and Transcript in type_parts(self.annotation):
            raise self._refused("in which Transcript stands alone: a transcript is stored item by item")
        if '"writeOnly": true' in json.dumps(schema, default=str):
            raise self._refused("that shows what it holds: a secret belongs into the environment, not into a store")
        if self.required:
            return
        if isinstance(self.default, (FieldInfo, dataclasses.Field)):
            raise InvalidSpec(
                f"{self.owner}.{self.name}: a default is a plain value, which is copied for each agent; got "
                f"{type(self.default).__name__}. Constraints go into the type: Annotated[int, Field(ge=0)].",
                kind="invalid_default", value=self.default,
            )  # fmt: skip
        try:
            self.default = self.given(self.default)
            text = self.dump(self.default)
            if not self._has_refs:  # these belong to no lab yet
                self.default = self.load(text)
        except (InvalidState, MessageTooLarge) as error:
            raise InvalidSpec(str(error), kind="invalid_default", value=self.default) from None

    def _refused(self, why: str) -> InvalidSpec:
        return InvalidSpec(
            f"{self.owner}.{self.name}: {type_name(self.annotation)} cannot be checkpointed: state is kept as "
            f"JSON, so a field's type must be one {why}. Use such a type, a ClassVar, or a name that starts with '_'.",
            kind="invalid_field", value=self.annotation,
        )  # fmt: skip

    def validate(self, value: Any) -> Any:
        """Return ``value`` if the field can hold it: it fits the type and ``dump`` takes it.

        Raises:
            InvalidState, MessageTooLarge: As ``dump``.
        """
        fit = self._fit(self.given(value))
        self.dump(fit)
        return fit

    def given(self, value: Any) -> Any:
        """A value that a person gave: where the type wants a ref, a path stands for one.

        Raises:
            InvalidState: A text is no path.
        """
        if not self._has_refs:
            return value
        try:
            return _with_refs(self.annotation, value)
        except ValueError as error:
            raise InvalidState(self._misfit(value, str(error))) from None

    def dump_given(self, value: Any) -> str:
        """A given value as JSON text, sure to come back; raises as ``dump``."""
        return self.dump(self.given(value))

    def _fit(self, value: Any) -> Any:
        if self.plain and type(value) is self.annotation:
            return value
        try:
            return self.adapter.validate_python(value, strict=True)
        except pydantic.ValidationError as error:
            raise InvalidState(self._misfit(value, error.errors()[0]["msg"])) from None
        except RecursionError as error:
            raise InvalidState(self._misfit(value, str(error))) from None

    def dump(self, value: Any, *, last: str | None = None) -> str:
        """The value as JSON text, sure to come back as it is.

        Args:
            value: What the field holds.
            last: Its text at the last commit; an unchanged value needs no second look.

        Raises:
            InvalidState: It does not fit the type, would come back as something else, or holds a key.
            MessageTooLarge: It takes more than ``MAX_MESSAGE`` bytes.
        """
        text = self._text(value)
        if text == last:
            return text
        if len(text) > MAX_MESSAGE:
            raise MessageTooLarge(
                f"{self.owner}.{self.name} takes {len(text):,} bytes; a field holds up to {MAX_MESSAGE:,}. "
                "Keep a path to it, or a part of it."
            )
        if not self._exact:
            self._read_back(value, text)
        secret = leaked(text)
        if secret is not None:
            raise InvalidState(
                f"{self.owner}.{self.name} holds {secret}; a key must not reach a checkpoint. "
                "Read it from the environment where it is used."
            )
        return text

    def _text(self, value: Any) -> str:
        try:
            if self.plain and type(value) is self.annotation:
                return repr(value) if type(value) is int else json.dumps(value)
            self._fit(value)
            return json.dumps(self.adapter.dump_python(value, mode="json", warnings="error"))
        except InvalidState:
            raise
        except (PydanticSerializationError, TypeError, ValueError, RecursionError) as error:
            aside = f"What is no state has a name with an underscore in front: _{self.name}."
            raise InvalidState(self._misfit(value, f"{error}. {aside}")) from None

    def _read_back(self, value: Any, text: str) -> None:
        try:
            back = self.load(text)
        except InvalidState as error:
            raise InvalidState(self._misfit(value, f"its checkpoint could not be read back: {error}")) from None
        alike = self._has_refs and self._text(back) == text  # a ref that belongs to no lab yet comes back as a lab's
        if not alike and not is_same_value(value, back):
            raise InvalidState(
                self._misfit(value, f"it would come back from its checkpoint as {shown(back)}; use a narrower type")
            )

    def load(self, text: str) -> Any:
        """The value back from its JSON text."""
        try:
            return self.adapter.validate_python(json.loads(text), strict=False)
        except pydantic.ValidationError as error:
            raise InvalidState(self._misfit(text, error.errors()[0]["msg"])) from None
        except (ValueError, RecursionError) as error:
            raise InvalidState(self._misfit(text, str(error))) from None

    def read(self, text: str) -> Any:
        """The value of a JSON text that was given for the field; nothing is made to fit.

        Raises:
            InvalidState: It does not fit the type.
        """
        try:
            if self._has_refs:
                return self.adapter.validate_python(self.given(json.loads(text)), strict=False)
            return self.adapter.validate_json(text, strict=True)
        except pydantic.ValidationError as error:
            raise InvalidState(self._misfit(json.loads(text), error.errors()[0]["msg"])) from None

    def fresh(self) -> Any:
        """A copy of the default: mutable defaults are not shared between agents."""
        if self._has_refs:
            return self.load(self._text(self.default))
        return self.default if self.plain else copy.deepcopy(self.default)

    def _misfit(self, value: Any, why: str) -> str:
        return f"{self.owner}.{self.name} is {type_name(self.annotation)}; got {shown(value)}: {why}"

    def __getstate__(self) -> tuple[Any, ...]:
        required = self.required
        return self.owner, self.name, self.annotation, None if required else self.default, required

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        owner, name, annotation, default, required = state
        self.__init__(owner, name, annotation, MISSING if required else default)  # type: ignore[misc]  # one way in

    def __repr__(self) -> str:
        return f"Field({self.name}: {type_name(self.annotation)} = {self.default!r})"


CONFIG = pydantic.ConfigDict(ser_json_bytes="base64", val_json_bytes="base64", ser_json_inf_nan="constants")


class _Boxed:
    """An adapter for a dataclass or TypedDict: in a list, because pydantic gives it our CONFIG only there."""

    def __init__(self, annotation: Any) -> None:
        self._adapter: pydantic.TypeAdapter[list[Any]] = pydantic.TypeAdapter(list[annotation], config=CONFIG)

    def validate_python(self, value: Any, *, strict: bool) -> Any:
        return self._adapter.validate_python([value], strict=strict)[0]

    def validate_json(self, text: str, *, strict: bool) -> Any:
        return self._adapter.validate_json(f"[{text}]", strict=strict)[0]

    def dump_python(self, value: Any, **options: Any) -> Any:
        return self._adapter.dump_python([value], **options)[0]

    def json_schema(self, *, mode: Any) -> Any:
        return self._adapter.json_schema(mode=mode)


def _adapter(annotation: Any) -> Any:
    try:
        return pydantic.TypeAdapter(annotation, config=CONFIG)
    except pydantic.PydanticUserError as error:
        if error.code != "type-adapter-config-unused":  # models, dataclasses and typed dicts bring their own
            raise
        return _Boxed(annotation)


def _with_refs(annotation: Any, value: Any) -> Any:
    """A value with a ref for each path that stands where the type has one: alone, in a list, as a dict's value."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if annotation is Ref:
        return named(value) if isinstance(value, str) else value
    if origin is typing.Annotated:
        return _with_refs(args[0], value)
    if origin in (typing.Union, types.UnionType):
        return _with_refs(Ref, value) if Ref in args and str not in args else _of_any(args, value)
    if isinstance(value, dict) and len(args) == 2:
        return {key: _with_refs(args[1], item) for key, item in value.items()}
    if type(value) in _COLLECTIONS and args:
        kinds = [args[0]] * len(value) if len(args) == 1 or args[-1] is ... else args
        return type(value)(_with_refs(kind, item) for kind, item in zip(kinds, value, strict=False))
    return value


def _of_any(kinds: tuple[Any, ...], value: Any) -> Any:
    found = (_with_refs(kind, value) for kind in kinds if typing.get_origin(kind) is not None)
    return next((made for made in found if made != value), value)


def type_name(annotation: Any) -> str:
    """A type as one would write it."""
    return annotation.__name__ if isinstance(annotation, type) else str(annotation).replace("typing.", "")


_EXACT = frozenset({
    int, str, bool, float, bytes, types.NoneType, dt.datetime, dt.date, dt.time, dt.timedelta,
    decimal.Decimal, uuid.UUID, complex, Transcript, Ref,
})  # fmt: skip
"""Types that come back from JSON as they were."""

_COLLECTIONS = frozenset({list, set, frozenset, tuple})


def comes_back(annotation: Any) -> bool:
    """Whether every value that fits the type comes back from its JSON as it was."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is None:
        if isinstance(annotation, type) and issubclass(annotation, enum.Enum):
            return all(type(member.value) in (int, str) for member in annotation)
        return isinstance(annotation, type) and annotation in _EXACT
    if origin is typing.Annotated:
        return args[0] is Ref
    if origin in _COLLECTIONS:
        return all(arg is ... or comes_back(arg) for arg in args)
    if origin is dict:
        return args[0] in (str, int) and comes_back(args[1])
    if origin in (typing.Union, types.UnionType):
        return len([arg for arg in args if arg is not types.NoneType]) == 1 and all(map(comes_back, args))
    return origin is typing.Literal and {type(arg) for arg in args} in ({str}, {int})


def is_same_value(value: Any, back: Any) -> bool:
    """Whether what came back is what was stored; NaN is NaN, and a class without ``==`` is its attributes."""
    if isinstance(value, deque) and isinstance(back, deque) and value.maxlen != back.maxlen:
        return False
    try:
        if bool(value == back):
            return _stays(value, back)
    except Exception:  # an array has no single answer
        return False
    if type(value) is not type(back):
        return False
    if isinstance(value, float):
        return bool(value != value and back != back)  # noqa: PLR0124  # NaN
    if isinstance(value, Mapping):
        return value.keys() == back.keys() and all(is_same_value(value[key], back[key]) for key in value)
    if isinstance(value, (list, tuple, deque)):
        return len(value) == len(back) and all(map(is_same_value, value, back))
    if hasattr(value, "__dict__"):
        return is_same_value(vars(value), vars(back))
    return bool(getattr(type(value), "__eq__", None) == object.__eq__)


def _stays(value: Any, back: Any) -> bool:
    """Whether the members of enums in it are that again: one of an ``IntEnum`` equals the int that JSON makes of it."""
    if isinstance(value, enum.Enum):
        return type(value) is type(back)
    if isinstance(value, Mapping):
        return all(_stays(value[key], back[key]) for key in value)
    if isinstance(value, (list, tuple, deque)):
        return all(map(_stays, value, back))
    if hasattr(value, "__dict__") and type(value) is type(back):
        return all(_stays(part, vars(back).get(name)) for name, part in vars(value).items())
    return True


def type_parts(annotation: Any) -> Iterator[Any]:
    """The type and all types inside its brackets."""
    yield annotation
    for arg in typing.get_args(annotation):
        if not isinstance(arg, list):
            yield from type_parts(arg)


def _no_key(annotation: Any) -> Any:
    """A type of dict keys, somewhere in the type, that JSON's text keys cannot give back; None if there is none."""
    for part in type_parts(annotation):
        if isinstance(typing.get_origin(part), type) and issubclass(typing.get_origin(part), Mapping):
            for key in type_parts(typing.get_args(part)[0]):
                if _is_no_key(key):
                    return key
    return None


def _is_no_key(key: Any) -> bool:
    kind = typing.get_origin(key) or key
    if not isinstance(kind, type):
        return False
    if issubclass(kind, enum.Enum):
        return not issubclass(kind, int) and not all(isinstance(member.value, str) for member in kind)
    composed = (tuple, list, set, frozenset, dict, types.NoneType, pydantic.BaseModel)
    return issubclass(kind, composed) or dataclasses.is_dataclass(kind)
