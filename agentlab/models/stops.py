"""What a model's stop reason means for its caller: the table of the Messages API, and nothing that guesses. Pure.

Tools run on ``tool_use`` alone. A model that was stopped in the middle may have said half of a tool call, whose JSON
can read as a whole and wrong one; such a call is dropped, and the model is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from agentlab.errors import ContextWindowExceeded, ModelFailed, ModelRefused
from agentlab.faults import fault

JSON = dict[str, Any]  # a JSON object off the wire

Next = Literal["answer", "tools", "again", "cut", "refused", "full"]

NEXT: Mapping[str, Next] = {
    "end_turn": "answer",
    "stop_sequence": "answer",
    "tool_use": "tools",
    "pause_turn": "again",
    "max_tokens": "cut",
    "refusal": "refused",
    "model_context_window_exceeded": "full",
}
"""What follows a stop reason; one that is not here is no success."""


def checked(reply: JSON) -> JSON:
    """The reply, if its stop reason is one to go on from.

    Raises:
        ModelRefused: The model will not answer.
        ContextWindowExceeded: The conversation has outgrown the model.
        ModelFailed: It is empty, names no tool where it stopped for one, or stopped for an unknown reason.
    """
    stop, usage = reply["stop_reason"], reply.get("usage") or {}
    following = NEXT.get(stop)
    if following is None:
        raise ModelFailed(f"The model stopped for an unknown reason: {stop!r:.80}.", fault("garbage"), usage=usage)
    if following == "refused":
        raise _refusal(reply, usage)
    if following == "full":
        raise ContextWindowExceeded(
            f"The conversation is longer than the context window of {reply.get('model')!r:.80}. "
            "Start another agent, or rewind this one: ref.rewind(seq).",
            fault("too_large"), usage=usage,
        )  # fmt: skip
    if following == "tools" and not tool_calls(reply):
        raise ModelFailed("The model stopped to use a tool and named none.", fault("garbage"), usage=usage)
    if following in ("answer", "again") and not kept(reply):
        raise ModelFailed(f"The model's answer is empty (stop_reason {stop}).", fault("garbage"), usage=usage)
    if following == "cut" and not kept(reply) and not is_cut_call(reply):
        raise ModelFailed(
            f"The model stopped ({stop}) before it had said anything. Raise max_tokens?",
            fault("stopped_short"), usage=usage,
        )  # fmt: skip
    return reply


def kept(reply: JSON) -> list[JSON]:
    """The content to remember: what the API takes back.

    A tool use stays only where the model stopped for it, a thought only if it is signed.
    """
    is_whole = NEXT.get(reply["stop_reason"]) == "tools"
    return [
        block
        for block in reply["content"]
        if (block["type"] != "text" or block["text"].strip())
        and (block["type"] != "tool_use" or is_whole)
        and (block["type"] != "thinking" or block.get("signature"))
    ]


def tool_calls(reply: JSON) -> list[JSON]:
    """The tools to run, in the order of the calls."""
    return [block for block in kept(reply) if block["type"] == "tool_use"]


def is_cut_call(reply: JSON) -> bool:
    """Whether the model was cut off inside a tool call."""
    named = bool(reply.get("cut_tool")) or any(block["type"] == "tool_use" for block in reply["content"])
    return NEXT.get(reply["stop_reason"]) == "cut" and named


def _refusal(reply: JSON, usage: JSON) -> ModelRefused:
    details = reply.get("stop_details") or {}
    category, why = details.get("category"), details.get("explanation")
    said = "".join(block["text"] for block in reply["content"] if block["type"] == "text").strip()
    about = f" ({category})" if category else ""
    text = f": {why or said}"[:500] if why or said else ""
    return ModelRefused(
        f"The model {reply.get('model')!r:.80} refused to answer{about}{text}. Ask otherwise, or ask another model.",
        fault("stopped_short"), category=category, usage=usage,
    )  # fmt: skip
