"""How a ref reaches its lab, whichever process it is in."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, Protocol
from weakref import WeakValueDictionary

from agentlab.errors import LabClosed, UnknownMessage

if TYPE_CHECKING:
    from agentlab.ref.ref import Ref


class Link(Protocol):
    """What carries messages and control operations to agents."""

    lab_id: str

    def ref(self, path: str, cls_name: str = "?") -> Ref:
        """A ref as whoever runs here holds it: of a cell, or of an agent."""

    def may_wait(self) -> bool:
        """Whether the code that runs here may wait for an answer."""

    def send(self, message: Outgoing) -> Any:
        """Send a call (returns its reply) or a cast."""

    def control(self, op: str, path: str, *args: Any) -> Any:
        """Carry out a control operation; blocks in the kernel, is awaitable in a node."""

    def keep(self, value: Any) -> bytes:
        """A value as a journal keeps it."""

    def methods(self, path: str) -> frozenset[str] | None:
        """The agent's messages by name, or None where that is not known here."""

    def unknown(self, path: str, method: str, cls_name: str) -> UnknownMessage:
        """The error of a message that is not among them."""

    def function(self, path: str, method: str) -> Callable[..., Any] | None:
        """The method behind a message, where it is known here."""

    def here(self) -> str | None:
        """The path of the agent whose code runs, or None."""

    def check(self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Raise InvalidArgument if the arguments do not fit the method, where its class is known here."""


Said = Literal["text", "cut", "whole"]
"""What a stream hears: text that was emitted; an attempt at a step was cut off; a step has ended."""


class Outgoing:
    """One message on its way out: to whom, which method, with what."""

    __slots__ = ("args", "call", "hears", "kwargs", "method", "path", "redeliver", "timeout")

    def __init__(
        self, path: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any], *, call: bool,
        timeout: float | None = None, redeliver: bool | None = None,
        hears: Callable[[Said, int, str], None] | None = None,
    ) -> None:  # fmt: skip
        self.path = path
        self.method = method
        self.args = args
        self.kwargs = kwargs
        self.call = call
        self.timeout = timeout
        self.redeliver = redeliver
        self.hears = hears


class Nowhere:
    """The link of a ref that is written down where no lab is: in a child spec, as a field's default."""

    lab_id = ""

    def here(self) -> None:
        """Nobody's code runs."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        raise LabClosed("this ref belongs to no lab yet. It reaches an agent once it is a field of one that runs.")


NOWHERE: Any = Nowhere()  # a Link that carries nothing


links: WeakValueDictionary[str, Link] = WeakValueDictionary()
"""The links of this process by lab id: how a ref that travelled finds its lab again."""
