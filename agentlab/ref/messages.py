"""The messages of one agent as methods: ``ref.call`` and ``ref.cast``."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from agentlab.errors import InvalidSpec
from agentlab.ground.given import seconds, shown
from agentlab.ground.words import spelt
from agentlab.ref.link import Outgoing

if TYPE_CHECKING:
    from agentlab.ref.ref import Ref


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
        check_options(timeout, redeliver)
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


def check_options(timeout: object, redeliver: object) -> None:
    """Refuse options of a message that make no sense, before anything is sent."""
    if timeout is not None:
        seconds(timeout, "timeout")
    if redeliver is not None and not isinstance(redeliver, bool):
        raise InvalidSpec(
            f"redeliver must be True or False; got {shown(redeliver)}", kind="invalid_redeliver", value=redeliver
        )
