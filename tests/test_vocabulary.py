"""What kernel and node say to each other: every frame has two ends, and they take the same."""

from __future__ import annotations

import inspect
import typing

import pytest

from agentlab.lab import Lab
from agentlab.node.line import Line
from agentlab.node.orders import Orders, hearing_of
from agentlab.slicing.places import Kind, kind_of
from agentlab.wire.codec import Reader, frame
from agentlab.wire.frames import ToKernel, ToNode
from agentlab.wire.plain import Plain
from agentlab.wire.stubs import hearing, named, sender, vocabulary

WORDS = [
    pytest.param(words, name, id=f"{words.__name__}.{name}")
    for words in (ToKernel, ToNode)
    for name in vocabulary(words)
]
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
    origin, options = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Literal:
        return options[0]
    if origin in (tuple, list, dict):
        return SAMPLES[origin]
    return SAMPLES[kind] if not options else sample(options[0])


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
    types = typing.get_type_hints(getattr(words, name), localns={"Plain": Plain})  # a type that names itself
    parts = {part: (number, sample(types[part])) for number, part in enumerate(vocabulary(words)[name])}
    out, listener = [], Listener()

    getattr(sender(words, __file__)(out.append), name)(**dict(reversed(parts.items())))
    for heard in Reader().feed(frame(out)):
        hearing(words)(listener)[heard[0]](heard)

    assert listener.heard == [(name, parts)]
    assert named(words, out[0]) == parts


@pytest.fixture(scope="module")
def handlers():
    """Of a real lab and a real node: what is called with the parts of each frame."""
    with Lab(nodes=1) as lab:
        readers = {ToKernel: lab._runtime.reports.hears, ToNode: hearing_of(Orders(None))}
    return {
        (words, name): inspect.getclosurevars(reader).nonlocals["handler"]
        for words, table in readers.items()
        for name, reader in table.items()
    }


def test_every_frame_has_a_receiver_and_no_other_is_heard(handlers):
    """What can be said is what is heard, on either side."""
    said = {(words, name) for words in (ToKernel, ToNode) for name in vocabulary(words)}

    assert handlers.keys() == said
    assert all(handler.__qualname__.split(".")[0] != words.__name__ for (words, _), handler in handlers.items())


@pytest.mark.parametrize(("words", "name"), WORDS)
def test_a_receiver_takes_what_is_said(handlers, words, name):
    """The same names and types at both ends; in the kernel a receiver is also told which node speaks."""
    said = list(inspect.signature(getattr(words, name)).parameters.values())[1:]
    heard = list(inspect.signature(handlers[words, name]).parameters.values())
    speaker = [part.name for part in heard[: len(heard) - len(said)]]

    assert speaker == (["node"] if words is ToKernel else [])
    assert heard[len(speaker) :] == said


def test_what_a_node_says_is_said_whole():
    """Slices leave a life in code of its own, never in that of its node, and a sender's counts as such."""
    say = Line().say

    assert {kind_of(getattr(say, name).__code__.co_filename) for name in vocabulary(ToKernel)} == {Kind.ATOMIC}


def test_nothing_else_can_be_said():
    """A frame that is not in the vocabulary has no word, nor has a part that its frame does not have."""
    for words in (ToKernel, ToNode):
        say = sender(words, __file__)([].append)
        with pytest.raises(AttributeError, match="shout"):
            say.shout(placement=1)
    with pytest.raises(TypeError, match="keyee"):
        say.withdraw(placement=1, keyee=2)
