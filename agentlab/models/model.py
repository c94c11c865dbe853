"""From a class's ``model`` setting to a model: names, addresses, and objects of one's own.

A model is anything with the one method of ``Model``. Whatever speaks behind it, requests and answers are worded as the
Messages API words them, so that conversations in stores, tools and frames are the same for all.
"""

from __future__ import annotations

import asyncio
import copy
import importlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.models.accumulator import JSON, checked_message
from agentlab.models.messages import MessagesClient
from agentlab.models.providers import is_provider, made

NAMES = (
    "'sim' or 'sim-<mind>' (the lab's simulator)",
    "'claude-...' (the Messages API, with ANTHROPIC_API_KEY)",
    "'local' or 'local:<file.gguf>' (a model on this machine, the extra 'local')",
    "'openai:...', 'google:...', 'mistral:...' or another provider (the extra 'providers')",
    "any name together with base_url=... (another server that speaks the Messages API)",
    "an object with an async method create(...), see agentlab.models.Model",
)
"""What ``model=`` may be, for people."""


class Model(Protocol):
    """What ``model = MyModel()`` must be: an object with this one method.

    It may have a ``name``, which its steps get, and a ``dependency``: the breaker that its calls go through.
    """

    async def create(
        self,
        *,
        messages: Sequence[JSON],
        max_tokens: int,
        system: Any = None,  # a text, or blocks of text
        tools: Sequence[JSON] | None = None,
        on_text: Callable[[str], object] | None = None,
        **options: Any,
    ) -> JSON:
        """Ask once.

        Args:
            messages: The conversation: ``role`` and ``content``, a text or blocks.
            max_tokens: The longest answer (tokens).
            system: The system prompt.
            tools: What it may ask for: ``name``, ``description``, ``input_schema``.
            on_text: To be called with each piece of text as it comes.
            options: Other fields of the API's request, such as ``output_config``; what it cannot do it may leave out.

        Returns:
            A message: ``role``, ``content``, ``stop_reason``, ``usage``.

        Raises:
            ModelFailed: With its ``fault``. Other exceptions are classified by their shape (``agentlab.faults``).
        """


@dataclass(frozen=True, slots=True)
class Choice:
    """What a ``model`` setting means.

    Args:
        name: What its steps are called.
        dependency: The breaker that its calls go through; ``None``: none.
        open: Gives the model, when asked with the lab as its agent sees it.
    """

    name: str
    dependency: str | None
    open: Callable[[Any], Awaitable[Model]]


def choose(model: Any, base_url: str | None = None) -> Choice:  # a name, or a Model
    """The choice that a class has made by ``model`` and ``base_url``.

    Raises:
        InvalidSpec: It is no name of a model and no object with ``create``; lists what there is.
    """
    if not isinstance(model, str):
        return _own(model)
    if base_url is not None:
        return Choice(model, _dependency(model, base_url), _at(model, base_url))
    if model == "sim" or model.startswith("sim-"):
        return Choice(model, "sim", _simulated(model))
    if model == "local" or model.startswith("local:"):
        return Choice(model, "local", _local(model))
    if model.startswith("claude-"):
        return Choice(model, "anthropic", _at(model, None))
    if is_provider(model):
        provider = model.partition(":")[0]
        return Choice(model, provider.removesuffix("-chat").removesuffix("-responses"), _provided(model))
    raise InvalidSpec(
        f"model={model!r} names no model. It may be: {'; '.join(NAMES)}.", kind="unknown_model", value=model
    )


class _Named:
    """One model of a client that many share; ``fixed`` is what it sends with every request."""

    def __init__(self, name: str, client: MessagesClient, **fixed: Any) -> None:
        self._client = client
        self._fixed = {"model": name, **fixed}

    async def create(self, **request: Any) -> JSON:
        return await self._client.create(**self._fixed, **request)


class _Checked:
    """A model of somebody's own, whose answers are looked at before they become part of a conversation."""

    def __init__(self, model: Model) -> None:
        self._model = model

    async def create(self, *, messages: Sequence[JSON], **request: Any) -> JSON:
        theirs = copy.deepcopy(messages)  # whatever they do to it is not done to the agent's state
        return checked_message(await self._model.create(messages=theirs, **request))


def _own(model: Any) -> Choice:
    if isinstance(model, type) or not callable(getattr(model, "create", None)):
        raise _unknown(f"model is {shown(model)}, which has no method create", model)
    name, dependency = getattr(model, "name", None), getattr(model, "dependency", None)

    async def opened(lab: Any) -> Model:
        return _Checked(model)

    return Choice(
        name if isinstance(name, str) else type(model).__name__,
        dependency if isinstance(dependency, str) else None,
        opened,
    )


def _unknown(what: str, model: Any) -> InvalidSpec:
    return InvalidSpec(f"{what}. It may be: {'; '.join(NAMES)}.", kind="unknown_model", value=model)


def _dependency(model: str, base_url: str) -> str:
    """A way to Claude is Anthropic's, whatever stands in between; any other server is a dependency by its address."""
    return "anthropic" if model.startswith("claude-") else urlsplit(base_url).netloc.rpartition("@")[2] or base_url


def _at(model: str, base_url: str | None) -> Callable[[Any], Awaitable[Model]]:
    async def opened(lab: Any) -> Model:
        return _Named(model, await client_for(base_url))

    return opened


def _simulated(model: str) -> Callable[[Any], Awaitable[Model]]:
    async def opened(lab: Any) -> Model:
        client = await client_for(**await lab.simulator())
        # Its log tells who asked, and its rules may strike one agent; no other server is told.
        return _Named(model, client, metadata={"user_id": lab.asker})

    return opened


def _provided(model: str) -> Callable[[Any], Awaitable[Model]]:
    async def opened(lab: Any) -> Model:
        models = _provided_models.setdefault(asyncio.get_running_loop(), {})
        if model not in models:  # in a thread: see client_for
            models.setdefault(model, await asyncio.to_thread(made, model))
        return models[model]

    return opened


_provided_models: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[str, Model]] = WeakKeyDictionary()


def _local(model: str) -> Callable[[Any], Awaitable[Model]]:
    async def opened(lab: Any) -> Model:
        from agentlab.models.llama import LlamaClient
        from agentlab.models.local import weights

        where = await lab.local(model, str(weights(model)))
        return _Named(model, await client_for(**where, make=LlamaClient))

    return opened


_clients: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str | None, str | None], MessagesClient]]
_clients = WeakKeyDictionary()


async def client_for(
    base_url: str | None = None, api_key: str | None = None, make: type[MessagesClient] = MessagesClient
) -> MessagesClient:
    """The client that all agents of this process share for one server."""
    clients = _clients.setdefault(asyncio.get_running_loop(), {})
    key = (base_url, api_key)
    if key not in clients:
        # In a thread: the library takes up to seconds to import, and reading the certificates holds its thread
        # in C code, where the kernel takes it for stalled. The agents beside this one go on meanwhile.
        made = await asyncio.to_thread(_made, make, base_url, api_key)
        clients.setdefault(key, made)
    return clients[key]


def _made(make: type[MessagesClient], base_url: str | None, api_key: str | None) -> MessagesClient:
    """A client, with all imported that its first call would import."""
    importlib.import_module("anyio._backends._asyncio")
    return make(base_url, api_key)
