"""An agent that talks to a model.

    class Reckoner(Assistant):
        system = "Use the tools."
        tools = (add, multiply)

    reckoner = lab.start(Reckoner, id="reckoner")
    await reckoner.call.ask("What is 2 + 3 * 4?")

The conversation is state, and it changes in whole units: when a model call fails, the exception goes up, the agent
dies, and its next incarnation finds the conversation as it was before the message. So a tool use without its result,
which every later call would be refused for, is never stored.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from agentlab.agent.base import Agent, Transcript
from agentlab.errors import BudgetExceeded, ModelFailed, ToolFailed
from agentlab.faults import fault
from agentlab.ground.redaction import leaked, redact
from agentlab.models.accumulator import JSON
from agentlab.models.model import Model, choose
from agentlab.tools import Tool, by_name


class Assistant(Agent):
    """Answers with the help of a model and of tools; a failed model call is a crash, and the supervisor's business.

    Class settings:
        model: ``"sim"`` or ``"sim-<mind>"``: the simulator of the lab. ``"claude-..."``: the real API, with the key
            from the environment (``ANTHROPIC_API_KEY``). Or an object of your own with ``create``
            (``agentlab.models.Model``).
        base_url: Another server that speaks the Messages API; it takes ``model`` whatever it is called.
        system: The system prompt.
        tools: ``Tool``s or typed functions.
        max_tokens: The longest answer of one model call.
        max_turns: Model calls in one ``ask``.
        max_repairs: Turns in a row that may end in tool errors; the model sees each and may do better.
        budget: Tokens that one ``ask`` may use, in and out, all its turns together; ``None``: no limit.
    """

    model: ClassVar[str | Model] = "sim"
    base_url: ClassVar[str | None] = None
    system: ClassVar[str] = ""
    tools: ClassVar[Sequence[Tool | Callable[..., Any]]] = ()
    max_tokens: ClassVar[int] = 1024
    max_turns: ClassVar[int] = 20
    max_repairs: ClassVar[int] = 2
    budget: ClassVar[int | None] = None

    messages: Transcript = Transcript()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if isinstance(cls.model, str):  # a misspelt name is refused where it is written
            choose(cls.model, cls.base_url)

    async def ask(self, text: str) -> str:
        """Say something to the model and return its answer; tools it asks for are run on the way.

        Raises:
            ModelFailed: The provider refused or failed, or the answer was cut or empty.
            ToolFailed: Tools failed in more than ``max_repairs`` turns in a row.
            BudgetExceeded: No answer within ``max_turns`` or ``budget``.
        """
        if not text.strip():
            raise ValueError(f"ask: text is {text!r}; a model takes at least one character that is not a space")
        tools = by_name(self.tools)
        self.messages.append({"role": "user", "content": text})
        used = failed = 0
        for _ in range(self.max_turns):
            self._reserve(used)
            reply = await self.step(_ModelCall(self, tools), self._fingerprint())
            used += _tokens(reply)
            content = _kept(reply)
            calls = [block for block in content if block["type"] == "tool_use"]
            self.messages.append({"role": "assistant", "content": content})
            if calls:
                failed = failed + 1 if await self._use(calls, tools) else 0
                self._check_repairs(failed)
            elif reply["stop_reason"] != "pause_turn":
                return self._answer(content, reply["stop_reason"])
        name = choose(self.model, self.base_url).name
        raise BudgetExceeded(f"No answer after max_turns={self.max_turns} model calls to {name!r}. Raise max_turns?")

    async def _use(self, calls: Sequence[JSON], tools: dict[str, Tool]) -> bool:
        """Run tools one after the other and tell the model; whether one of them failed."""
        results = [await self._result(call, tools) for call in calls]
        self.messages.append({"role": "user", "content": results})
        return any(result.get("is_error") for result in results)

    async def _result(self, call: JSON, tools: dict[str, Tool]) -> JSON:
        told = {"type": "tool_result", "tool_use_id": call["id"]}
        wanted = tools.get(call["name"])
        if wanted is None:
            text = f"There is no tool {call['name']!r:.80}. The tools are: {', '.join(tools) or 'none'}."
            return {**told, "content": text, "is_error": True}
        try:
            return {**told, "content": await self.step(wanted, call["input"])}
        except ToolFailed as error:
            return {**told, "content": str(error), "is_error": True}

    def _answer(self, content: Sequence[JSON], stop: str) -> str:
        text = "".join(block["text"] for block in content if block["type"] == "text")
        if stop not in ("end_turn", "stop_sequence"):
            self.emit(f"\n[stopped: {stop}]")
        return text

    def _check_repairs(self, failed: int) -> None:
        if failed <= self.max_repairs:
            return
        errors = [block["content"] for block in self.messages[-1]["content"] if block.get("is_error")]
        raise ToolFailed(
            f"Tools failed in {failed} turns in a row, max_repairs is {self.max_repairs}; the last said: "
            f"{errors[-1][:500]}",
            fault("tool_failed"),
        )

    def _reserve(self, used: int) -> None:
        # The whole answer is reserved before the call: a limit noticed afterwards is none.
        if self.budget is not None and used + self.max_tokens > self.budget:
            raise BudgetExceeded(
                f"{used} tokens used and max_tokens={self.max_tokens} for the next call pass budget={self.budget}."
            )

    def _fingerprint(self) -> str:
        """What a model call depends on, in few bytes: the journal keeps this, not the conversation once a turn."""
        seen = json.dumps([choose(self.model, self.base_url).name, self.system, self.max_tokens, list(self.messages)])
        return hashlib.sha256(seen.encode()).hexdigest()[:16]


class _ModelCall:
    """One call of an assistant's model, as a step: named after the model, with plain JSON as its result."""

    kind = "model"

    def __init__(self, assistant: Assistant, tools: dict[str, Tool]) -> None:
        self._choice = choose(assistant.model, assistant.base_url)
        self.__name__ = self._choice.name
        self.dependency = self._choice.dependency
        self._assistant = assistant
        self._tools = tools

    @property
    def said(self) -> str:
        """What the model is told beside what it knows: the newest message, whole."""
        content = self._assistant.messages[-1]["content"]
        return content if isinstance(content, str) else json.dumps(content)

    async def __call__(self, fingerprint: str) -> JSON:
        agent = self._assistant
        model = await self._choice.open(agent.lab)
        reply = await model.create(
            messages=list(agent.messages),
            max_tokens=agent.max_tokens,
            system=agent.system or None,
            tools=[each.spec() for each in self._tools.values()] or None,
            on_text=agent.emit,
        )
        said = json.dumps(reply)  # the journal keeps it, so no key may be in it
        return reply if leaked(said) is None else dict(json.loads(redact(said)))


def _tokens(reply: JSON) -> int:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(reply["usage"].get(name, 0) for name in names)


def _kept(reply: JSON) -> list[JSON]:
    """The content to remember: what the API takes back. Raises if that is nothing.

    A tool use stays only when the model stopped for it: cut off by ``max_tokens``, it may be half of what was meant.
    """
    stop = reply["stop_reason"]
    content = [
        block
        for block in reply["content"]
        if (block["type"] != "text" or block["text"].strip()) and (block["type"] != "tool_use" or stop == "tool_use")
    ]
    if stop == "tool_use" and not any(block["type"] == "tool_use" for block in content):
        raise ModelFailed("The model stopped to use a tool and named none.", fault("garbage"))
    if content:
        return content
    if stop in ("end_turn", "stop_sequence", "pause_turn"):
        raise ModelFailed(f"The model's answer is empty (stop_reason {stop}).", fault("garbage"))
    raise ModelFailed(f"The model stopped ({stop}) before it had said anything.", fault("stopped_short"))
