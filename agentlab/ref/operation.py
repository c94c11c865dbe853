"""How an operation's answer comes: a cell gets the value, an agent awaits it. Each operation is written once.

A ref's link decides what happens: in a cell it blocks, in an agent it gives an answer to await. So an operation is one
method of ``Ref``, with the type of its value; what is here tells type checkers what it gives by the class of the ref it
is asked of. At run time these decorators do nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, TypeVar, cast, overload

if TYPE_CHECKING:
    from agentlab.ref.cell import RefInCell
    from agentlab.ref.inside import Answer, RefInside
    from agentlab.ref.ref import Ref

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
P = ParamSpec("P")


def fact(function: Callable[[Any], T]) -> Fact[T]:
    """A property, whose value a cell sees and an agent awaits."""
    return cast("Fact[T]", property(function))


def operation(function: Callable[Concatenate[Any, P], T]) -> Operation[P, T]:
    """A method, whose value a cell gets and an agent awaits."""
    return cast("Operation[P, T]", function)


def starter(function: Callable[Concatenate[Any, P], Ref]) -> Starter[P]:
    """A method whose value is a ref: of the kind of the ref that it is asked of."""
    return cast("Starter[P]", function)


class Fact(Generic[T_co]):
    """What a type checker takes a ``fact`` for."""

    @overload
    def __get__(self, ref: RefInCell, cls: Any) -> T_co: ...
    @overload
    def __get__(self, ref: RefInside, cls: Any) -> Answer[T_co]: ...
    @overload
    def __get__(self, ref: Ref | None, cls: Any) -> Any: ...
    def __get__(self, ref: Ref | None, cls: Any) -> Any:
        """The value, an answer, or, of a ref that may be either, what nobody can say."""


class Operation(Generic[P, T_co]):
    """What a type checker takes an ``operation`` for."""

    @overload
    def __get__(self, ref: RefInCell, cls: Any) -> Callable[P, T_co]: ...
    @overload
    def __get__(self, ref: RefInside, cls: Any) -> Callable[P, Answer[T_co]]: ...
    @overload
    def __get__(self, ref: Ref, cls: Any) -> Callable[P, Any]: ...
    @overload
    def __get__(self, ref: None, cls: Any) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, ref: Ref | None, cls: Any) -> Callable[..., Any]:
        """The method of a ref, or of the class."""
        raise NotImplementedError


class Starter(Generic[P]):
    """What a type checker takes a ``starter`` for."""

    @overload
    def __get__(self, ref: RefInCell, cls: Any) -> Callable[P, RefInCell]: ...
    @overload
    def __get__(self, ref: RefInside, cls: Any) -> Callable[P, Answer[RefInside]]: ...
    @overload
    def __get__(self, ref: Ref, cls: Any) -> Callable[P, Any]: ...
    @overload
    def __get__(self, ref: None, cls: Any) -> Callable[Concatenate[Any, P], Any]: ...
    def __get__(self, ref: Ref | None, cls: Any) -> Callable[..., Any]:
        """The method of a ref, or of the class."""
        raise NotImplementedError


class Done:
    """It is done: for whoever awaits it, as cells do by habit. There is nothing to see."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, None]:
        return
        yield

    def __bool__(self) -> bool:
        return False

    def _ipython_display_(self) -> None:
        """Show nothing."""

    def __repr__(self) -> str:
        return "done"


DONE = Done()
"""What an operation without a value gives in a cell."""
