"""The reader of event streams, beside that of ``anthropic``: the same events, however the bytes are cut."""

from __future__ import annotations

from anthropic._streaming import SSEDecoder
from hypothesis import given
from hypothesis import strategies as st

from agentlab.models.sse import Decoder

LINES = [
    b"event: delta", b"event:stop", b"data: {}", b"data:  two", b"data:", b"data", b": a comment", b"id: 7",
    b"retry: x", b"other: field", b"", b"", b"data: \xc3\xa4\xe2\x82\xac", b"event", b"data: a\xe2\x80\xa8b",
]  # fmt: skip
"""What a stream may be made of; the last holds a line separator that ends no line here."""


def ours(pieces: list[bytes]) -> list[tuple[str | None, str]]:
    """The events by our reader."""
    decoder = Decoder()
    return [event for piece in pieces for event in decoder.feed(piece)] + list(decoder.finish())


def theirs(stream: bytes) -> list[tuple[str | None, str]]:
    """The events of the whole stream by theirs; an event without data says nothing to us."""
    events = SSEDecoder().iter_bytes(iter([stream]))
    return [(event.event or None, event.data) for event in events if event.data]


@given(st.lists(st.sampled_from(LINES)), st.sampled_from([b"\n", b"\r\n", b"\r"]), st.data())
def test_the_same_events_however_the_bytes_are_cut(lines, end, data):
    """In the middle of a letter, or of a line's end."""
    stream = b"".join(line + end for line in lines)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    pieces = [stream[a:b] for a, b in zip([0, *cuts], [*cuts, len(stream)], strict=True)]

    found = [(name or None, text) for name, text in ours(pieces) if text]

    assert found == theirs(stream)


def test_a_long_line_in_many_pieces_is_put_together_once():
    """Not once a piece: ten megabytes in pieces of a kilobyte would be copied ten thousand times."""
    decoder = Decoder()

    assert not [event for _ in range(10_000) for event in decoder.feed(b"x" * 1000)]
    decoder = Decoder()
    pieces = [b"data: ", *[b"x" * 1000] * 10_000, b"\n\n"]
    ((name, text),) = [event for piece in pieces for event in decoder.feed(piece)]

    assert (name, len(text)) == (None, 10_000_000)
