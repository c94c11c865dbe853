"""An agent that talks to a model.

    class Reckoner(Assistant):
        system = "Use the tools."
        tools = (add, multiply)

    reckoner = lab.start(Reckoner, id="reckoner")
    await reckoner.call.ask("What is 2 + 3 * 4?")

The conversation is state, and it changes in whole units: when a model call fails for good, the agent dies or is parked,
and its next incarnation finds the conversation as it was before the message. So a tool use without its result,
which every later call would be refused for, is never stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, TypeVar, overload

from agentlab.agent.base import Agent, Transcript
from agentlab.errors import ModelFailed
from agentlab.ground.redaction import leaked, redact
from agentlab.models.accumulator import JSON
from agentlab.models.blocks import Documents, Images, Said, content_of, without_data
from agentlab.models.exchange import Exchange, Limits
from agentlab.models.model import Model, choose
from agentlab.models.prices import cost_of, cost_of_longest, load_prices
from agentlab.models.prompt import alternating
from agentlab.models.settings import check_settings
from agentlab.models.stops import checked
from agentlab.models.structured import Answerable, Shape
from agentlab.tools import Tool
from agentlab.tools.mcp import McpTools, offered

T = TypeVar("T")


class Assistant(Agent):
    """Answers with the help of a model and of tools; what is done about their failures: ``agentlab.faults.table()``.

    Class settings:
        model: ``"sim"`` or ``"sim-<mind>"``: the simulator of the lab. ``"claude-..."``: the real API, with the key
            from the environment (``ANTHROPIC_API_KEY``). ``"local"``, ``"local:<file.gguf>"``: a model on this
            machine (``agentlab.models.local``). ``"openai:..."`` and so on: other providers. Or an object of
            your own with ``create`` (``agentlab.models.Model``).
        base_url: Another server that speaks the Messages API; it takes ``model`` whatever it is called.
        system: The system prompt.
        tools: Each a ``Tool`` or a typed function.
        max_tokens: The longest answer of one model call.
        max_turns: Model calls in one ``ask``.
        max_repairs: Turns in a row that may go wrong (a tool failed, an answer does not fit); the model is told of
            each and may do better.
        max_repeats: So often in a row the same tool calls may find the same; then they are not run, and the model is
            told so. ``None``: for ever.
        budget: Tokens that one ``ask`` may use, in and out, all its turns together; ``None``: no limit.
    """

    model: ClassVar[str | Model] = "sim"
    base_url: ClassVar[str | None] = None
    system: ClassVar[str] = ""
    tools: ClassVar[Sequence[Tool | Callable[..., Any] | McpTools]] = ()
    max_tokens: ClassVar[int] = 1024
    max_turns: ClassVar[int] = 20
    max_repairs: ClassVar[int] = 2
    max_repeats: ClassVar[int | None] = 3
    budget: ClassVar[int | None] = None

    messages: Transcript = Transcript()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        check_settings(cls)

    async def ask(
        self,
        text: Said,
        *,
        images: Images = (),
        documents: Documents = (),
    ) -> str:
        """Say something to the model and return its answer; tools it asks for are run on the way, side by side.

        Args:
            text: What to say; or blocks as the Messages API words them: ``{"type": "text", "text": ...}``, ``image``
                and ``document``.
            images: PNG, JPEG, GIF or WebP: paths (read where the agent runs), bytes, or addresses. One that cannot be
                read, or is none of these, is refused where the call is made: nothing is sent.
            documents: The same for PDF and plain text.

        Raises:
            ModelFailed: The provider failed, or the answer was cut or empty.
            ModelRefused, ContextWindowExceeded: Two such failures that asking again does not mend.
            ToolFailed: Tools failed in more than ``max_repairs`` turns in a row.
            ToolLoop: The model turned in circles, and went on when it was told so.
            InvalidAnswer: It was cut off in the middle of a tool call more than ``max_repairs`` times in a row.
            TurnLimitReached: No answer within ``max_turns``.
            BudgetExceeded: No answer within ``budget``.
        """
        return str(await self._exchange(content_of(text, images, documents)))

    @overload
    async def ask_for(
        self,
        type: type[T],
        text: Said,
        *,
        images: Images = (),
        documents: Documents = (),
    ) -> T: ...
    @overload
    async def ask_for(
        self,
        type: Any,
        text: Said,
        *,
        images: Images = (),
        documents: Documents = (),
    ) -> Any: ...
    async def ask_for(
        self,
        type: Answerable,  # noqa: A002  # the contract's name; whatever pydantic reads: a class, or a form of typing
        text: Said,
        *,
        images: Images = (),
        documents: Documents = (),
    ) -> Any:
        """As ``ask``, for an answer of a type: ``await ref.call.ask_for(list[Invoice], "Which are open?")``.

        The model is shown the type's JSON schema. What it answers is checked; where it does not fit, the model is
        told why and answers again, at most ``max_repairs`` times in a row.

        Args:
            type: A pydantic model, a dataclass, or any type that pydantic reads from JSON.
            text: As for ``ask``.
            images: As for ``ask``.
            documents: As for ``ask``.

        Raises:
            InvalidArgument: The type has no JSON schema.
            InvalidAnswer: No answer fitted, and the model had been told ``max_repairs`` times.
            ModelFailed, ToolFailed, TurnLimitReached, BudgetExceeded: As ``ask``.
        """
        shape = Shape(type)
        return await self._exchange(content_of(text, images, documents), shape)

    async def _exchange(self, content: str | list[JSON], shape: Shape | None = None) -> Any:
        tools = await offered(self.tools, self.step)
        self.messages.append({"role": "user", "content": content})
        limits = Limits(self.max_tokens, self.max_turns, self.max_repairs, self.max_repeats, self.budget)

        async def speak() -> JSON:
            call = _ModelCall(self, tools, shape)
            reply: JSON = await self.step(call, self._fingerprint(shape))
            self._note_substitute(str(reply.get("model") or ""))
            if reply["stop_reason"] == "max_tokens":
                self.emit("\n[stopped: max_tokens]")
            return reply

        return await Exchange(
            self.messages, speak=speak, step=self.step, tools=tools, shape=shape, limits=limits
        ).answer()

    def _note_substitute(self, said: str) -> None:
        """Tell the agent's log that another model answers than was asked."""
        name = choose(self.model, self.base_url).name
        asked = name.rpartition(":")[2].removesuffix("-latest")
        # A server on this machine answers with the name of a file, a model of one's own with whatever it likes.
        if isinstance(self.model, str) and not name.startswith("local") and not said.startswith(asked) and said:
            self._say_once(f"{said!r:.200} answers, not {name!r}: the provider has put it in its place.")

    def _say_once(self, line: str) -> None:
        """A line for the agent's log, once a life."""
        said: set[str] = self.__dict__.setdefault("_said", set())
        if line not in said:
            said.add(line)
            print(line)  # noqa: T201  # an agent's prints are its log

    def _fingerprint(self, shape: Shape | None) -> str:
        """What a model call depends on, in few bytes: the journal keeps this, not the conversation once a turn."""
        name = choose(self.model, self.base_url).name
        seen = json.dumps([name, self.system, self.max_tokens, self.messages.view(), shape and shape.schema])
        return hashlib.sha256(seen.encode()).hexdigest()[:16]


class _ModelCall:
    """One call of an assistant's model, as a step: named after the model, with plain JSON as its result."""

    kind = "model"

    def __init__(self, assistant: Assistant, tools: dict[str, Tool], shape: Shape | None) -> None:
        self._choice = choose(assistant.model, assistant.base_url)
        self.__name__ = self._choice.name
        self.dependency = self._choice.dependency
        self._assistant = assistant
        self._tools = tools
        self._shape = shape

    @property
    def said(self) -> str:
        """What the model is told beside what it knows: the newest message, whole."""
        content = self._assistant.messages[-1]["content"]
        return content if isinstance(content, str) else json.dumps(without_data(content))

    async def __call__(self, fingerprint: str) -> JSON:
        name = self._choice.name
        model = await self._choice.open(self._assistant.lab)
        await self._reserve()
        try:
            reply = await self._create(model)
            said = json.dumps(reply)  # the journal keeps it, so no key may be in it
            reply = checked(reply if leaked(said) is None else dict(json.loads(redact(said))))
        except ModelFailed as error:
            if error.usage_lower_bound:
                error.cost_usd = cost_of(name, error.usage_lower_bound)
            raise
        return {**reply, "cost_usd": cost_of(name, reply.get("usage") or {})}

    async def _create(self, model: Model) -> JSON:
        agent = self._assistant
        options: JSON = {} if self._shape is None else {"output_config": self._shape.output_config}
        return await model.create(
            messages=alternating(agent.messages.view()),
            max_tokens=agent.max_tokens,
            system=agent.system or None,
            tools=[each.spec() for each in self._tools.values()] or None,
            on_text=agent.emit,
            **options,
        )

    async def _reserve(self) -> None:
        """Hold back what the longest answer may use: a limit that is noticed afterwards is none."""
        agent, name = self._assistant, self._choice.name
        await load_prices(name)
        cost = cost_of_longest(name, agent.max_tokens)
        if await agent._context.reserve(name, agent.max_tokens, cost) and cost is None:
            agent._say_once(f"nobody knows the price of {name!r}: its calls are not counted in a budget of cost_usd.")
