"""What a person publishes: every subscriber's arguments are checked before anything is sent."""

from __future__ import annotations

from typing import Any

from agentlab.agent.arguments import signature_of
from agentlab.ground.given import text_of
from agentlab.kernel.runtime import Runtime
from agentlab.wire.packing import pack


def publish(runtime: Runtime, topic: str, method: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> int:
    """Cast to every subscriber of a topic; how many there are.

    Raises:
        InvalidArgument: One of them would refuse it; nothing was sent.
    """
    text_of(topic, "publish: topic", "a text", "topic")
    text_of(method, "publish: method", "the name of a message", "method")
    for entry in runtime.run(runtime.mail.heard_by, topic):
        if method in entry.kind.cls.__agent_messages__:
            signature_of(entry.kind.cls, method).check(args, kwargs, entry.path)
    payload = pack((args, kwargs), f"what is published to {topic!r}", keep=runtime.desk.ledger.durable)
    count: int = runtime.run(runtime.mail.publish, topic, method, payload)
    return count
