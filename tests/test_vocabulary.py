"""What kernel and node say to each other: every frame has two ends, and they take the same."""

from __future__ import annotations

import inspect
import typing

import pytest

from agentlab.node.orders import Orders, hearing_of
from agentlab.wire.codec import Reader, frame
from agentlab.wire.frames import ToNode
from agentlab.wire.stubs import hearing, named, sender, vocabulary

WORDS = [pytest.param(words, name, id=f"{words.__name__}.{name}") for words in (ToNode,) for name in vocabulary(words)]
RECEIVERS = {ToNode: Orders}
SAMPLES = {
    int: 1 << 40, float: 0.25, bool: True, bytes: b"\x00\xff", str: "lone \ud800, NUL \x00, é",
    tuple: ("a", ("b", None), 3), list: [("field", None, 2, ["1"])], dict: {"field": ["1", "2"]}, type(None): None,
}  # fmt: skip


class Listener:
    """Hears any frame, and keeps its parts by their names."""

    def __init__(self):
        self.heard = []

    def __getattr__(self, name):
        return lambda **parts: self.heard.append((name, parts))


def sample(kind):
    """A value that a parameter of this type takes."""
    options = typing.get_args(kind) if typing.get_origin(kind) not in (tuple, list, dict) else ()
    kind = options[0] if options else kind
    return SAMPLES[typing.get_origin(kind) or kind]


@pytest.mark.parametrize(("words", "name"), WORDS)
def test_a_frame_says_what_it_is_and_takes_typed_names(words, name):
    """One sentence at least; its parts have names and types, and cannot be given by position."""
    word = getattr(words, name)
    _, *parts = inspect.signature(word).parameters.values()

    assert word.__doc__
    assert parts
    assert {part.kind for part in parts} == {inspect.Parameter.KEYWORD_ONLY}
    assert all(part.default is part.empty and part.annotation is not part.empty for part in parts)


@pytest.mark.parametrize(("words", "name"), WORDS)
def test_a_frame_arrives_as_it_was_said(words, name):
    """Each part under its own name, whatever the order in which its speaker names them."""
    types = typing.get_type_hints(getattr(words, name))
    parts = {part: (number, sample(types[part])) for number, part in enumerate(vocabulary(words)[name])}
    out, listener = [], Listener()

    getattr(sender(words, __file__)(out.append), name)(**dict(reversed(parts.items())))
    for heard in Reader().feed(frame(out)):
        hearing(words)(listener)[heard[0]](heard)

    assert listener.heard == [(name, parts)]
    assert named(words, out[0]) == parts


@pytest.mark.parametrize(("words", "name"), WORDS)
def test_a_frame_has_a_receiver_that_takes_its_parts(words, name):
    """The same names and types at both ends; beside them a receiver may ask who spoke."""
    said, heard = (inspect.signature(getattr(place, name)) for place in (words, RECEIVERS[words]))

    assert vars(RECEIVERS[words])[name] is not getattr(words, name)
    assert said == heard


def test_nothing_else_can_be_said():
    """A frame that is not in the vocabulary has no word at either end."""
    assert hearing_of(Orders(None)).keys() == vocabulary(ToNode).keys()
    with pytest.raises(AttributeError, match="shout"):
        sender(ToNode, __file__)([].append).shout(placement=1)
    with pytest.raises(TypeError, match="keyee"):
        sender(ToNode, __file__)([].append).withdraw(placement=1, keyee=2)
