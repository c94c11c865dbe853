"""The line between kernel and node: frames, values, exceptions and exit reasons."""

from __future__ import annotations

import enum
import pickle
import threading
from typing import Any, NewType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent
from agentlab.errors import AgentDown, InvalidSpec, MessageTooLarge
from agentlab.exits import Crash
from agentlab.lab import Lab
from agentlab.wire import pickles
from agentlab.wire.codec import Reader, frame
from agentlab.wire.exceptions import LONGEST, decode_reason, describe, encode_reason, revive
from agentlab.wire.packing import pack, unpack
from tests.hostile import Deaf, Dying, Greedy, Hostile, Nameless, Needy, Unstable

PLAIN = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary()
MESSAGES = st.lists(st.lists(PLAIN, max_size=4).map(tuple), max_size=3)


@pytest.fixture(scope="module")
def lab():
    """One lab for all tests here; each starts agents of its own."""
    with Lab(nodes=1) as made:
        yield made


# frames


@given(st.lists(MESSAGES, max_size=4), st.lists(st.integers(min_value=1, max_value=40), min_size=1))
def test_frames_that_are_cut_anywhere_come_out_whole(batches, sizes):
    """Messages arrive in order, once, whatever pieces the socket makes of them."""
    stream = b"".join(frame(batch) for batch in batches)
    reader, heard, at, turn = Reader(), [], 0, 0

    while at < len(stream):
        size = sizes[turn % len(sizes)]
        heard += reader.feed(stream[at : at + size])
        at, turn = at + size, turn + 1

    assert heard == [message for batch in batches for message in batch]


def test_a_frame_is_complete_with_its_last_byte():
    """Not one earlier, and an empty one says nothing."""
    reader = Reader()
    data = frame([("done", 1, b"x" * 1000)]) + frame([])

    early = [reader.feed(data[at : at + 1]) for at in range(len(data))]

    assert [messages for messages in early if messages] == [[("done", 1, b"x" * 1000)]]


def test_a_frame_holds_text_that_utf8_cannot():
    """Lone surrogates and NUL arrive as they were sent."""
    message = ("log", 1, "\ud800 \x00")

    assert Reader().feed(frame([message])) == [message]


# values


def test_a_packed_value_is_a_copy():
    """Nothing is shared, at any depth, in small values and in large ones."""
    for mine in ([1, [2]], {"a": list(range(100))}):
        before = pickle.loads(pickle.dumps(mine))

        data = pack(mine, "it")
        (mine if isinstance(mine, list) else mine["a"]).clear()

        assert unpack(data) == before


def test_what_does_not_pickle_is_refused_with_its_name():
    """The error says what could not travel, why, and what can."""
    knot: list[object] = []
    for _ in range(100_000):
        knot = [knot]

    for value in (threading.Lock(), (n for n in range(3)), knot, Hostile()):
        with pytest.raises(TypeError, match=r"^the result of /a.b cannot travel: .*\. Pass data that pickles"):
            pack(value, "the result of /a.b")


def test_what_is_too_large_is_refused_with_its_size():
    """64 MiB is the limit; the error says both numbers."""
    with pytest.raises(MessageTooLarge, match=r"the arguments of /a.b takes 70,000,\d\d\d bytes; .* up to 67,108,864"):
        pack(b"x" * 70_000_000, "the arguments of /a.b")


def test_a_reply_that_is_too_large_or_cannot_travel_is_a_crash(lab):
    """The caller learns the size; the agent is back at once."""
    ref = lab.start(Greedy)

    with pytest.raises(AgentDown) as large:
        ref.call(redeliver=False).answer(70_000_000).result()
    with pytest.raises(AgentDown) as locked:
        ref.call(redeliver=False).lock().result()

    assert isinstance(large.value.__cause__, MessageTooLarge)
    assert "the result of /greedy.answer takes 70,000," in str(large.value.__cause__)
    assert "the result of /greedy.lock cannot travel" in str(locked.value.__cause__)
    assert ref.call.answer(3).result() == "xxx"


class Taker(Agent):
    """Takes what it is given."""

    def take(self, data: bytes) -> int:
        """How much it was."""
        return len(data)


def test_an_argument_that_is_too_large_is_refused_where_it_is_sent(lab):
    """Nothing was sent."""
    ref = lab.start(Taker, id="given")

    with pytest.raises(MessageTooLarge, match=r"the arguments of /given.take takes"):
        ref.call.take(b"x" * 70_000_000)

    assert ref.info()["handled"] == 0


# exceptions


def test_a_crash_comes_back_as_itself_with_its_traceback():
    """Its class, its attributes and its notes; where it happened stands in a note."""
    try:
        raise InvalidSpec("no tea", kind="invalid_tea", value=3)
    except InvalidSpec as error:
        error.add_note("mine")
        back = revive(Crash(*describe(error)))

    assert isinstance(back, InvalidSpec)
    assert (str(back), back.kind, back.value) == ("no tea", "invalid_tea", 3)
    assert back.__notes__[0] == "mine"
    assert back.__notes__[1].startswith("In the agent:\nTraceback")
    assert "test_a_crash_comes_back_as_itself_with_its_traceback" in back.__notes__[1]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (Needy(1, 2), "1 and 2"),
        (Unstable(), "tipped over"),
        (Nameless(), r"(its message raised RuntimeError)"),
        (Deaf(threading.Lock()), "holds a lock"),
    ],
)
def test_an_exception_that_cannot_travel_comes_back_as_text(error, text):
    """What needs arguments, fails in its ``__reduce__`` or ``__str__``, or holds a lock."""
    try:
        raise error
    except type(error) as raised:
        crash = Crash(*describe(raised))

    back = revive(crash)

    assert isinstance(back, RuntimeError)
    assert (type(back).__name__, str(back)) == (type(error).__name__, text)
    assert any("In the agent:\nTraceback" in note or "File" in note for note in back.__notes__)


def test_a_message_of_ten_megabytes_is_cut():
    """Its length is said; the traceback keeps its end, which is what explains."""
    try:
        raise ValueError("x" * 10_000_000)
    except ValueError as error:
        _, message, text, form = describe(error)

    assert message.endswith("... (10,000,000 characters)")
    assert max(len(message), len(text)) <= LONGEST + 100
    assert form is not None
    assert len(form) <= LONGEST + 200


def test_an_exception_keeps_keys_to_itself(monkeypatch):
    """The value of a secret environment variable is in no part of a crash."""
    secret = "sk-test-0123456789abcdef"
    monkeypatch.setenv("MODEL_API_KEY", secret)
    try:
        raise PermissionError(f"key {secret} was refused")
    except PermissionError as error:
        crash = Crash(*describe(error))

    assert secret not in repr(crash)
    assert repr(revive(crash)) == "PermissionError('key *** was refused')"


@pytest.mark.parametrize("how", ["needy", "nameless", "deaf", "leave"])
def test_an_agent_may_die_of_anything(lab, how):
    """Whatever it raises and whatever reason it gives: its caller hears it, its node lives, and it comes back."""
    ref = lab.start(Dying)

    with pytest.raises(AgentDown):
        ref.call(redeliver=False).die(how).result(60)
    lab.wait_idle(60)

    assert ref.call.hello().result(60) == "hello"
    assert "node_down" not in set(lab.events()["kind"])


# exit reasons


class Word(enum.StrEnum):
    """A text that is more than a text."""

    GONE = "gone"


@pytest.mark.parametrize(
    ("reason", "back"),
    [
        ("normal", "normal"),
        (("shutdown", "done"), ("shutdown", "done")),
        (("shutdown", {"a": 1}), ("shutdown", "{'a': 1}")),
        ((Word.GONE, (None, 1, b"x", [1])), ("gone", (None, 1, b"x", "[1]"))),
        (Word.GONE, "gone"),
        (5, "5"),
        (None, "None"),
        (("crash", "a", "b", "c", None), ("crash", "a", "b", "c", None)),
        (Crash("ValueError", "x", "tb", b"p"), Crash("ValueError", "x", "tb", b"p")),
    ],
)
def test_any_term_is_an_exit_reason(reason, back):
    """What a frame cannot hold becomes its text; nobody's tuple is taken for a crash."""
    (message,) = Reader().feed(frame([("exit", encode_reason(reason))]))

    arrived = decode_reason(message[1])

    assert arrived == back
    assert type(arrived) is type(back)


def test_a_new_type_of_a_cell_travels_with_the_class_that_uses_it() -> None:
    """No node has the notebook's ``__main__``; one of a module goes by its name, and stays the same object."""
    cell: dict[str, Any] = {"__name__": "__main__"}
    source = "from typing import NewType\nName = NewType('Name', str)\nclass Box:\n    name: Name\n"
    exec(compile(source, "a cell", "exec", dont_inherit=True), cell)  # a cell

    box = pickles.load(pickles.dump(cell["Box"]))

    assert box.__annotations__["name"].__supertype__ is str
    assert pickles.load(pickles.dump(Aliased)) is Aliased


Aliased = NewType("Aliased", int)
