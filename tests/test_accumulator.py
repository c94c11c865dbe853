"""The accumulator by itself: no stream that is not whole gets past it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab.errors import AgentLabError, IncompleteStream, ModelFailed
from agentlab.faults import KINDS
from agentlab.models.accumulator import Accumulator
from agentlab.sim.grammar import Ask, Turn, answer, events
from tests.simulated import user


def stream_of(*blocks: dict[str, Any]) -> list[dict[str, Any]]:
    """The events of an answer with these blocks."""
    ask = Ask({"model": "sim", "max_tokens": 1000, "messages": [user("x")]}, 0)
    return list(events(answer(ask, Turn(blocks), "key")))


TEXT = {"type": "text", "text": "some text that takes several deltas to say"}
CALL = {"type": "tool_use", "name": "add", "input": {"a": 1, "b": [2, {"c": "d"}]}}


@given(st.data())
def test_no_prefix_of_a_stream_is_taken_for_a_whole_answer(data):
    """Wherever it is cut: an error, with the text so far."""
    whole = stream_of(*data.draw(st.lists(st.sampled_from([TEXT, CALL]), min_size=1, max_size=3)))
    cut = data.draw(st.integers(0, len(whole) - 1))
    accumulator = Accumulator()

    for event in whole[:cut]:
        accumulator.feed(event)

    with pytest.raises(IncompleteStream):
        accumulator.finish()


@given(st.data())
def test_no_disorder_of_events_gets_past_as_anything_but_itself(data):
    """Dropped, doubled, swapped: the same answer, or an error; never a different answer, never another exception."""
    whole = stream_of(TEXT, CALL, TEXT)
    first, second = (data.draw(st.integers(0, len(whole) - 1)) for _ in range(2))
    change = data.draw(st.sampled_from(["swap", "double"]))
    spoiled = list(whole)
    if change == "swap":
        spoiled[first], spoiled[second] = spoiled[second], spoiled[first]
    else:
        spoiled.insert(second, spoiled[first])
    kinds = {event["type"] for event in (whole[first], whole[second])}
    accumulator = Accumulator()

    try:
        for event in spoiled:
            accumulator.feed(event)
        message = accumulator.finish()
    except AgentLabError:
        return

    # Deltas carry no number: their own disorder is the one that cannot be seen from here.
    assert [block["type"] for block in message["content"]] == ["text", "tool_use", "text"] or "ping" in kinds
    assert message["stop_reason"] == "tool_use"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5), lambda inner: st.lists(inner, max_size=2)
    | st.dictionaries(st.text(max_size=5), inner, max_size=2), max_leaves=5,
)  # fmt: skip


@given(st.data())
def test_no_shape_of_an_event_breaks_it(data):
    """Any field replaced by any JSON: an answer or an error of ours."""
    whole = [dict(event) for event in stream_of(TEXT, CALL)]
    event = whole[data.draw(st.integers(0, len(whole) - 1))]
    event[data.draw(st.sampled_from(sorted(event)))] = data.draw(json_values)
    accumulator = Accumulator()

    try:
        for each in whole:
            accumulator.feed(each)
        accumulator.finish()
    except ModelFailed as error:
        kind = error.fault.kind
    else:
        kind = "garbage"

    assert kind in KINDS


def test_text_that_no_store_takes_is_made_storable():
    """Lone surrogates become U+FFFD, in the answer and on the way; NUL stays, it is text."""
    heard: list[str] = []
    accumulator = Accumulator(heard.append)

    for event in stream_of({"type": "text", "text": "a\ud800b\x00"}, {**CALL, "input": {"k\udfff": "\ud800"}}):
        accumulator.feed(event)
    message = accumulator.finish()

    assert message["content"][0]["text"] == "".join(heard) == "a\ufffdb\x00"
    assert message["content"][1]["input"] == {"k\ufffd": "\ufffd"}


@pytest.mark.parametrize("usage", [None, [], {}, *({"output_tokens": bad} for bad in (-5, None, "9", 10**30))])
def test_a_senseless_usage_is_no_reason_to_lose_an_answer(usage):
    """The largest count that makes sense stands."""
    accumulator = Accumulator()
    for event in stream_of(TEXT):
        accumulator.feed({**event, "usage": usage} if event["type"] == "message_delta" else event)

    assert accumulator.finish()["usage"]["output_tokens"] == 1
