"""One question to a model, with all the turns until its answer.

The conversation grows in whole units: what the model asks of tools is added together with what they found, so at no
moment, whoever dies, is there a tool use without its result.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentlab.agent.base import Transcript
from agentlab.errors import BudgetExceeded, InvalidAnswer, ToolFailed, ToolLoop, TurnLimitReached
from agentlab.faults import fault
from agentlab.models.loops import Loops
from agentlab.models.stops import JSON, NEXT, is_cut_call, kept, tool_calls
from agentlab.models.structured import Misfit, Shape
from agentlab.tools import Tool


@dataclass(frozen=True)
class Limits:
    """What one question may take; the settings of ``Assistant``."""

    max_tokens: int
    max_turns: int
    max_repairs: int
    max_repeats: int | None
    budget: int | None


class Exchange:
    """One question of one assistant.

    Args:
        messages: The conversation; the question is its last message.
        speak: Call the model, as a step.
        step: Run a tool, as a step.
        tools: The tools on offer, by name.
        shape: What the answer has to be; None: text.
        limits: What it may take.
    """

    def __init__(
        self,
        messages: Transcript,
        *,
        speak: Callable[[], Awaitable[JSON]],
        step: Callable[..., Awaitable[Any]],
        tools: Mapping[str, Tool],
        shape: Shape | None,
        limits: Limits,
    ) -> None:
        self._messages = messages
        self._speak = speak
        self._step = step
        self._tools = tools
        self._shape = shape
        self._limits = limits
        self._loops = Loops(limits.max_repeats)
        self._used = 0
        self._failed = 0  # turns in a row that went wrong and were told to the model

    async def answer(self) -> Any:
        """The text of the answer, or the value of the shape; see ``Assistant.ask`` for the errors."""
        for _ in range(self._limits.max_turns):
            self._reserve()
            reply = await self._speak()
            self._used += _tokens(reply)
            following = NEXT[reply["stop_reason"]]
            if following == "tools":
                await self._use(reply)
            elif following == "again":
                self._keep(reply)
            elif is_cut_call(reply):
                self._tell(reply, self._cut_off(reply))
            else:
                try:
                    value = _text(reply) if self._shape is None else self._shape.read(_text(reply))
                except Misfit as wrong:
                    self._tell(reply, f"{wrong}\nAnswer again, with the JSON alone.")
                    continue
                self._keep(reply)
                return value
        raise TurnLimitReached(
            f"No answer after max_turns={self._limits.max_turns} model calls. Raise max_turns?", fault("stopped_short")
        )

    def _keep(self, reply: JSON) -> None:
        self._messages.append({"role": "assistant", "content": kept(reply)})

    async def _use(self, reply: JSON) -> None:
        """Run the tools side by side, and tell the model in the order of its calls."""
        calls = tool_calls(reply)
        circle = self._loops.closes(calls)
        if circle is None:
            results = await side_by_side([self._result(call) for call in calls])
            self._loops.add(calls, results)
        else:
            results = [_refused(call, self._going_round(call, circle)) for call in calls]
        self._keep(reply)
        self._messages.append({"role": "user", "content": results})
        errors = [str(result["content"]) for result in results if result.get("is_error")]
        self._failed = self._failed + 1 if errors else 0
        if self._failed > self._limits.max_repairs:
            raise self._given_up(errors[-1], circle)

    async def _result(self, call: JSON) -> JSON:
        wanted = self._tools.get(call["name"]) or _NoTool(call["name"], self._tools)
        try:
            content = await self._step(wanted, call["input"])
        except ToolFailed as error:
            if error.does == "crash":  # a class may want to die of it
                raise
            return _refused(call, str(error))
        return {"type": "tool_result", "tool_use_id": call["id"], "content": content}

    def _tell(self, reply: JSON, told: str) -> None:
        """Tell the model what is wrong about its answer, if that has not happened too often in a row."""
        self._failed += 1
        if self._failed > self._limits.max_repairs:
            raise InvalidAnswer(
                f"{self._failed} answers in a row were no good, max_repairs is {self._limits.max_repairs}; the last: "
                f"{told[:500]}",
                fault("garbage"), answer=_text(reply)[:2000],
            )  # fmt: skip
        # A conversation goes from side to side, so something stands for an answer of which nothing can be kept.
        said = kept(reply) or [{"type": "text", "text": "[cut off]"}]
        self._messages.append({"role": "assistant", "content": said})
        self._messages.append({"role": "user", "content": told})

    def _cut_off(self, reply: JSON) -> str:
        names = [block["name"] for block in reply["content"] if block["type"] == "tool_use"]
        name = reply.get("cut_tool") or names[-1]
        return (
            f"Your answer was cut off after {self._limits.max_tokens} tokens, inside the call of tool {name!r:.80}. "
            "No tool of it was run. Say less, or make the call with less in it."
        )

    def _going_round(self, call: JSON, circle: int) -> str:
        turns = "this call" if circle == 1 else f"these {circle} turns"
        return (
            f"{call['name']} was not run: you have made {turns} {self._limits.max_repeats} times in a row, and found "
            "the same each time. Do something else, or answer with what you know."
        )

    def _given_up(self, last: str, circle: int | None) -> ToolFailed | ToolLoop:
        most = self._limits.max_repairs
        if circle is not None:
            return ToolLoop(
                f"The model turns in circles, and was told so {most} times in a row: {last}", fault("garbage")
            )
        return ToolFailed(
            f"Tools failed in {self._failed} turns in a row, max_repairs is {most}; the last said: {last[:500]}",
            fault("tool_failed"),
        )

    def _reserve(self) -> None:
        # The whole answer is reserved before the call: a limit noticed afterwards is none.
        limits = self._limits
        if limits.budget is not None and self._used + limits.max_tokens > limits.budget:
            raise BudgetExceeded(
                f"{self._used} tokens used and max_tokens={limits.max_tokens} for the next call pass "
                f"budget={limits.budget}."
            )


async def side_by_side(works: Sequence[Awaitable[JSON]]) -> list[JSON]:
    """Do several things at once; results in their order. If one raises, the others are cancelled and awaited."""
    if len(works) == 1:
        return [await works[0]]
    tasks = [asyncio.ensure_future(work) for work in works]
    try:
        return [await task for task in tasks]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class _NoTool:
    """Stands for a tool that there is not: a step as any other, so that the fault table decides about it."""

    kind = "tool"

    def __init__(self, name: str, tools: Mapping[str, Tool]) -> None:
        self.__name__ = name[:80]
        self._tools = tools

    def __call__(self, given: JSON) -> str:
        raise ToolFailed(
            f"There is no tool {self.__name__!r}. The tools are: {', '.join(self._tools) or 'none'}.",
            fault("unknown_tool"),
        )


def _refused(call: JSON, why: str) -> JSON:
    return {"type": "tool_result", "tool_use_id": call["id"], "content": why, "is_error": True}


def _text(reply: JSON) -> str:
    return "".join(block["text"] for block in kept(reply) if block["type"] == "text")


def _tokens(reply: JSON) -> int:
    names = ("input_tokens", "output_tokens", "cache_creation_input_tokens", "cache_read_input_tokens")
    return sum(reply["usage"].get(name) or 0 for name in names)
