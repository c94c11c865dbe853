"""What a message may be given: its parameters, and the types that their annotations ask for.

Arguments are checked where the call is made, by the rules of fields: strictly, and nothing is converted. Numbers and
texts of classes that have passed once are let through without another look, which is the way of nearly all calls;
for others pydantic is asked. An annotation that cannot be read (a name that is not there) is not checked.
"""

from __future__ import annotations

import builtins
import dataclasses
import inspect
import sys
import typing
from collections.abc import Callable
from typing import Any

import pydantic

from agentlab.agent.fields import CONFIG, is_same_value, type_name, type_parts
from agentlab.errors import InvalidArgument
from agentlab.ground.given import shown
from agentlab.ground.words import meant

PLAIN = frozenset({int, str, float, bool, bytes})
"""Types of which every value of a class that fits once fits."""

MOST_FIT = 64
ARBITRARY = pydantic.ConfigDict(**CONFIG, arbitrary_types_allowed=True)
UNREAD: Any = type("Unread", (), {"__repr__": lambda self: "(unread)"})()
"""Stands for an annotation that names nothing, or nothing that can be checked."""


class Rule:
    """What one parameter takes."""

    __slots__ = ("_annotation", "_boxed", "_default", "_name", "_plain", "_validator")

    def __init__(self, name: str, annotation: Any, default: Any) -> None:
        self._name = name
        self._annotation = annotation
        self._default = default
        self._plain = isinstance(annotation, type) and annotation in PLAIN
        self._validator, self._boxed = _validator(annotation)

    def check(self, value: Any) -> bool:
        """Refuse a value that the annotation does not allow; a parameter's own default is allowed.

        Returns:
            Whether every other value of the same class is allowed too.

        Raises:
            InvalidArgument: Says which argument, what it is, what is allowed.
        """
        if self._validator is None:
            return True
        try:
            fit = self._validator.validate_python([value] if self._boxed else value, strict=True)
        except pydantic.ValidationError as error:
            if type(value) is type(self._default) and is_same_value(
                value, self._default
            ):  # a copy, if it has travelled
                return False
            first = error.errors(include_url=False, include_context=False)[0]
            place = first["loc"][1:] if self._boxed else first["loc"]
            raise self._misfit(value, first["msg"], place, first["input"]) from None
        except Exception as error:  # a validator of the annotation's own may raise anything, and recurse too deep
            raise self._misfit(value, f"its check raised {shown(error)}", (), value) from None
        if self._boxed and not is_same_value([value], fit):  # strict or not, pydantic makes a model of a dict
            raise self._misfit(value, f"pydantic would make {shown(fit[0])} of it", (), value)
        return self._plain

    def _misfit(self, value: Any, why: str, place: tuple[Any, ...], part: Any) -> InvalidArgument:
        inside = "" if part is value or not place else f", where [{']['.join(map(repr, place))}] is {shown(part)}"
        return InvalidArgument(
            f"{self._name} must be {type_name(self._annotation)}; got {shown(value)} "
            f"({type(value).__name__}){inside}: {why}. Nothing was done.",
            argument=self._name,
        )


def _validator(annotation: Any) -> tuple[Any, bool]:
    """Pydantic's check of a type, and whether it takes the value in a list; None where there is nothing to check.

    Models, dataclasses and typed dicts have a config of their own, so ours is that of the list around them.
    """
    if annotation in (Any, object, UNREAD):
        return None, False
    boxed = any(isinstance(part, type) and _brings_config(part) for part in type_parts(annotation))
    try:
        return pydantic.TypeAdapter(list[annotation] if boxed else annotation, config=ARBITRARY).validator, boxed
    except Exception:  # pydantic has no common base for what it cannot read
        return None, False


def _brings_config(kind: type) -> bool:
    typed_dict = hasattr(
        kind, "__required_keys__"
    )  # of typing or of typing_extensions, which pydantic asks for before 3.12
    return issubclass(kind, pydantic.BaseModel) or dataclasses.is_dataclass(kind) or typed_dict


class Signature:
    """A message's parameters, to refuse a wrong call before it is sent."""

    __slots__ = (
        "_fit", "_function", "_named", "_ordered", "_other", "_rest", "_signature", "least", "most",
    )  # fmt: skip

    def __init__(self, function: Callable[..., Any]) -> None:
        parameters = list(inspect.signature(function).parameters.values())
        if not parameters or parameters[0].kind is not inspect.Parameter.VAR_POSITIONAL:
            parameters = parameters[1:]  # self
        self._function = function
        self._signature = inspect.Signature(parameters)
        ordered = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        keyword_required = any(p.kind is p.KEYWORD_ONLY and p.default is p.empty for p in parameters)
        self.least = 1 << 30 if keyword_required else sum(p.default is p.empty for p in ordered)
        self.most = 1 << 30 if any(p.kind is p.VAR_POSITIONAL for p in parameters) else len(ordered)
        self._fit: set[tuple[Any, ...]] = set()  # classes, names and their classes that need no look any more
        self._ordered: tuple[Rule, ...] | None = None  # made when first needed
        self._named: dict[str, Rule] = {}
        self._rest: Rule | None = None  # of *args
        self._other: Rule | None = None  # of **kwargs

    def check(self, args: tuple[Any, ...], kwargs: dict[str, Any], path: str = "") -> None:
        """Refuse arguments that do not fit the method of the agent at ``path``.

        Raises:
            InvalidArgument: Their number, a name, or a value is wrong; nothing is sent.
        """
        shape: tuple[Any, ...] = tuple(map(type, args))
        if kwargs:
            shape += (*kwargs, *map(type, kwargs.values()))
        if shape in self._fit:
            return
        try:
            self.check_shape(args, kwargs)
            if self._check_values(args, kwargs) and len(self._fit) < MOST_FIT:
                self._fit.add(shape)
        except InvalidArgument as error:
            what = f"{path}{'.' if path else ''}{self._function.__name__}{self._signature}"
            raise InvalidArgument(f"{what}: {error}", argument=error.argument) from None

    def check_shape(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Refuse a wrong number of arguments and names that are no parameters.

        Raises:
            InvalidArgument: As Python says it.
        """
        if kwargs or not self.least <= len(args) <= self.most:
            try:
                self._signature.bind(*args, **kwargs)
            except TypeError as error:
                raise InvalidArgument(f"{error}.{self._unknown(kwargs)} Nothing was done.") from None

    def _unknown(self, kwargs: dict[str, Any]) -> str:
        """The first name that is no parameter's, with the one that was probably meant."""
        parameters = self._signature.parameters
        if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
            return ""
        unknown = next((name for name in kwargs if name not in parameters), None)
        return f" It has no {unknown!r}{meant(unknown, parameters).replace(' did', '; did') or '.'}" if unknown else ""

    def _check_values(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
        """Check each; whether others of the same classes need no look."""
        if self._ordered is None:
            self._ordered = self._read()
        rules = self._ordered
        if self._rest is not None:
            rules += (self._rest,) * (len(args) - len(rules))
        given = [*zip(args, rules, strict=False), *((value, self._rule(name)) for name, value in kwargs.items())]
        return all([rule.check(value) for value, rule in given])  # noqa: C419  # a generator would stop at the first

    def _rule(self, name: str) -> Rule:
        rule = self._named.get(name, self._other)
        assert rule is not None, name
        return rule

    def _read(self) -> tuple[Rule, ...]:
        """Make the rules, at the first call: the types may be defined after the class."""
        ordered = []
        for name, parameter in self._signature.parameters.items():
            rule = Rule(name, _resolved(self._function, parameter), parameter.default)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self._rest = rule
            elif parameter.kind is parameter.VAR_KEYWORD:
                self._other = rule
            else:
                self._named[name] = rule
                if parameter.kind is not parameter.KEYWORD_ONLY:
                    ordered.append(rule)
        return tuple(ordered)

    def __str__(self) -> str:
        return str(self._signature)


def _resolved(function: Callable[..., Any], parameter: inspect.Parameter) -> Any:
    """The type that a parameter's annotation names; text is looked up where the function was written."""
    written = parameter.annotation
    if written is parameter.empty:
        return UNREAD
    if isinstance(written, str):
        module = sys.modules.get(function.__module__)
        spaces = {**vars(builtins), **(vars(module) if module else {}), **getattr(function, "__globals__", {})}
        try:
            written = eval(written, spaces)  # noqa: S307  # the class's own source, as typing.get_type_hints does
        except Exception:  # a type of a function's own scope, or one that is imported for a checker only
            return UNREAD
    return UNREAD if typing.get_origin(written) is typing.Unpack else written


_signatures: dict[tuple[type, str], Signature] = {}
MOST_SIGNATURES = 4096


def signature_of(cls: type, method: str) -> Signature:
    """The parameters of one message of a class; read once."""
    found = _signatures.get((cls, method))
    if found is None:
        if len(_signatures) >= MOST_SIGNATURES:
            _signatures.clear()
        found = _signatures[cls, method] = Signature(getattr(cls, method))
    return found
