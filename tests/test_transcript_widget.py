"""The conversation of an agent without a browser: what travels, what is marked, what is shown where nothing lives."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import Iterator
from contextlib import closing
from typing import Any

import pytest

from agentlab import Agent, Backoff, Lab, Transcript, tool
from agentlab.errors import AgentDown, InvalidArgument
from agentlab.events import Event
from agentlab.ground.texts import safe
from agentlab_widgets.parts import Board
from agentlab_widgets.transcript import CUTS, Conversation
from agentlab_widgets.turns import IMAGE, Effect, Fact, entries_of, with_newest_images
from tests.clerks import Clerk
from tests.conftest import wait_for

HOSTILE = "<script>alert(1)</script>\x00\x1b[31m\ud800\u202eevil\n" + "x" * 1_000_000

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)  # one pixel


class Browser:
    """What parts.js keeps, in a few lines. A thread tells it, so what another reads is never changed, but replaced."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.parts: dict[str, Any] = {}

    def hear(self, content: dict[str, Any], _buffers: Any = ()) -> None:
        content = json.loads(json.dumps(content))
        if content["t"] == "snapshot":
            self.parts = content["parts"]
        elif content["t"] == "difference":
            parts = {name: part for name, part in self.parts.items() if name not in content["gone"]} | content["set"]
            grown = {
                name: {**parts[name], "text": parts[name]["text"] + more} for name, more in content["grown"].items()
            }
            self.parts = parts | grown
        self.heard.append(content)

    def turns(self) -> list[dict[str, Any]]:
        return [part for name, part in self.parts.items() if name.startswith("turn:")]

    def kinds(self) -> list[str]:
        return [entry["k"] for turn in self.turns() for entry in turn["entries"]]

    def marks(self) -> list[str]:
        return [entry["what"] for turn in self.turns() for entry in turn["entries"] if entry["k"] == "mark"]


class Diary(Agent):
    """Keeps a transcript of its own form, and speaks while it writes."""

    pages: Transcript = Transcript()
    done: int = 0

    async def write(self, text: str) -> None:
        """Append, in pieces that can be seen."""
        self.emit("dear ")
        self.emit("diary")
        self.pages.append(text)

    async def talk(self, text: str) -> None:
        """Speak and do not end."""
        self.emit(text)
        await asyncio.sleep(600)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all of these."""
    with Lab(nodes=1) as lab:
        yield lab


def watched(widget: Any) -> Browser:
    """A browser that looks at a widget."""
    browser = Browser()
    widget.send = browser.hear
    widget._hear(widget, {"t": "hello", "looker": "me"}, [])
    wait_for(lambda: browser.parts)
    return browser


def heard_by(view: Any) -> list[Any]:
    """What a widget tells a browser that looks at it."""
    heard: list[Any] = []
    view.send = lambda content, buffers=None: heard.append(content)
    view._hear(view, {"t": "hello", "looker": "me"}, [])
    wait_for(lambda: heard)
    return heard


# what travels


def test_of_a_text_that_grows_only_its_end_travels():
    """Tokens that stream in cost what they are long, not what they belong to."""
    board, browser = Board(), Browser()
    browser.hear(board.put({"a": {"text": "one", "n": 1}, "b": 2})[0])

    grown = board.put({"a": {"text": "one two", "n": 1}, "b": 2})[0]
    other = board.put({"a": {"text": "one two three", "n": 2}})[0]
    browser.hear(grown)
    browser.hear(other)

    assert (grown["set"], grown["grown"]) == ({}, {"a": " two"})
    assert (other["set"].keys(), other["grown"], other["gone"]) == ({"a"}, {}, ["b"])
    assert board.put({"a": {"text": "one two three", "n": 2}}) is None
    assert browser.parts == {"a": {"text": "one two three", "n": 2}}


def test_a_question_is_a_turn_with_its_tools_and_what_it_took(lab):
    """Tools are folded with their results and times; tokens are those of the turn."""
    clerk = lab.start(Clerk, id="clerk")
    clerk.call.ask("What is 1 + 2 + 3?").result(60)
    widget = clerk.transcript()
    browser = watched(widget)

    (turn,) = browser.turns()
    assert [entry["k"] for entry in turn["entries"]] == ["user", "tool", "tool", "assistant"]
    assert [(e["name"], e["result"], e["state"]) for e in turn["entries"][1:3]] == [
        ("add", "3.0", "done"),
        ("add", "6.0", "done"),
    ]
    assert all(entry["took"] >= 0 for entry in turn["entries"][1:3])
    assert turn["in"] > 0 < turn["out"]
    assert (turn["method"], turn["outcome"], turn["calls"]) == ("ask", "ok", 3)
    widget.close()


def test_what_streams_in_is_shown_and_then_is_part_of_the_conversation(lab):
    """Pieces come by themselves; what a death cuts off is kept apart, and the next delivery is marked."""
    diary = lab.start(Diary, id="diary")
    widget = diary.transcript()
    browser = watched(widget)
    diary.cast.talk("It was a dark")
    wait_for(lambda: browser.parts["live"]["text"] == "It was a dark")

    diary.crash()
    wait_for(lambda: browser.parts["live"]["cuts"][:1] == ["It was a dark"])
    wait_for(lambda: "crashed" in browser.marks())
    wait_for(lambda: "turn:hand" in browser.parts)
    diary.skip()
    diary.call.write("page one").result(60)
    wait_for(lambda: "item" in browser.kinds())
    wait_for(lambda: browser.parts["live"] == {"text": "", "cuts": []})

    assert [turn["outcome"] for turn in browser.turns()] == ["skipped", "ok"]
    assert CUTS >= 1
    widget.close()


def test_what_was_cut_off_stays_while_the_agent_is_between_two_lives(lab):
    """Until the message that it was said in is over."""
    diary = lab.start(Diary, id="resting", backoff=Backoff(initial=600, maximum=600))
    widget = diary.transcript()
    browser = watched(widget)
    diary.cast.talk("It was a dark")
    wait_for(lambda: browser.parts["live"]["text"] == "It was a dark")

    diary.crash()
    wait_for(lambda: browser.parts["head"]["status"] == "backing_off" and browser.parts["live"]["cuts"])
    assert browser.parts["live"]["cuts"] == ["It was a dark"]
    diary.skip()
    wait_for(lambda: browser.parts["live"] == {"text": "", "cuts": []})
    widget.close()


def test_what_was_cut_off_stays_if_the_agent_is_read_before_the_event_of_its_death_is_heard(lab):
    """The books may be further than the events that have come to a view: its text was dropped as if it were over."""
    diary = lab.start(Diary, id="ahead", backoff=Backoff(initial=600, maximum=600))
    teller = Conversation(lab, "/ahead", "pages", print)
    with closing(lab.feed()) as feed:
        heard: list[Event] = []
        diary.cast.talk("It was a dark")
        wait_for(lambda: heard.extend(feed.take().events) or any(event.kind == "emit" for event in heard))
        teller.note(heard)
        assert teller.read(None)["live"] == {"text": "It was a dark", "cuts": []}

        diary.crash()
        wait_for(lambda: diary.status == "backing_off")
        assert teller.read(None)["live"]["text"] == "It was a dark"
        died: list[Event] = []
        wait_for(lambda: died.extend(feed.take().events) or any(event.kind == "crashed" for event in died))
        teller.note(died)
        assert teller.read(None)["live"] == {"text": "", "cuts": ["It was a dark"]}


def test_a_person_talks_to_the_agent_by_the_box(lab):
    """The message is the agent's own; the call is shown as code, and who it was that failed is told."""
    clerk = lab.start(Clerk, id="asked")
    widget = clerk.transcript()
    browser = watched(widget)
    assert browser.parts["head"]["asks"] == "ask"

    widget._hear(widget, {"t": "ask", "text": "What is 2 + 2?"}, [])
    wait_for(lambda: [said["t"] for said in browser.heard if said["t"] in ("doing", "did")] == ["doing", "did"], 60)
    (did,) = [said for said in browser.heard if said["t"] == "did"]

    assert (did["code"], did["text"], did["ok"]) == ("lab['/asked'].call.ask('What is 2 + 2?')", "answered", True)
    wait_for(lambda: "assistant" in browser.kinds())
    widget._hear(widget, {"t": "ask", "text": " "}, [])
    widget._hear(widget, {"t": "ask", "text": 5}, [])
    widget.close()
    assert len(lab.messages(path="/asked")) == 1


def test_an_unseen_transcript_reads_nothing_and_has_no_feed(lab):
    """Hidden, its thread sleeps and the hub has one listener less; seen again, it is whole."""
    diary = lab.start(Diary, id="hidden")
    widget = diary.transcript()
    browser = watched(widget)
    feeds = len(lab._live.hub._feeds)
    widget._hear(widget, {"t": "hidden", "looker": "me"}, [])
    wait_for(lambda: len(lab._live.hub._feeds) == feeds - 1)
    sent = len(browser.heard)
    diary.call.write("unseen").result(60)
    assert len(browser.heard) == sent

    widget._hear(widget, {"t": "hello", "looker": "me"}, [])
    wait_for(lambda: "item" in browser.kinds())
    widget.close()
    wait_for(lambda: not widget._pane._pusher.is_alive())


# what is marked


def effect(kind: str, name: str, at: int, **more: Any) -> Effect:
    """A step."""
    plain = Effect(kind, name, at, 0.001, "ok", "", False, None, None, None, "", "")
    return plain._replace(**more)


def test_marks_stand_where_it_happened():
    """A crash between two tools is marked between them; what the model was told to repair is not the user's."""
    use = [{"type": "tool_use", "id": f"t{n}", "name": "add", "input": {"n": n}} for n in (1, 2)]
    found = [{"type": "tool_result", "tool_use_id": f"t{n}", "content": "no" * n, "is_error": n == 2} for n in (1, 2)]
    items = [
        {"role": "user", "content": "go"},
        {"role": "assistant", "content": use[:1]}, {"role": "user", "content": found[:1]},
        {"role": "assistant", "content": use[1:]}, {"role": "user", "content": found[1:]},
        {"role": "user", "content": "that was no JSON"},
    ]  # fmt: skip
    steps = [
        effect("model", "sim", 100),
        effect("tool", "add", 200),
        effect("model", "sim", 2_000_000),
        effect("tool", "add", 4_000_000),
    ]

    entries = entries_of(items, steps, [Fact(1_500_000, "crashed", "ValueError"), Fact(5, "log", "")], 50)

    assert [entry["k"] for entry in entries] == ["user", "tool", "mark", "tool", "repair"]
    assert [entry["state"] for entry in entries if entry["k"] == "tool"] == ["done", "failed"]


def test_attempts_at_a_tool_are_one_tool():
    """What was tried three times is one call, with its number of attempts."""
    item = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "add", "input": {}}]}
    tries = [effect("tool", "add", n, outcome="failed" if n < 3 else "ok") for n in (1, 2, 3)]

    (entry,) = entries_of([item], tries, [], 0)

    assert entry["attempts"] == 3


def test_items_of_any_form_are_shown():
    """Blocks nobody knows, strings, numbers."""
    items = ["plain", 5, {"any": "thing"}, {"role": "user", "content": ["text", {"type": "new"}]}]

    entries = entries_of(items, [], [], 0)

    assert [entry["k"] for entry in entries] == ["item", "item", "item", "user", "item"]


def image(data: bytes | str, kind: str = "image/png") -> dict[str, Any]:
    """A block of an image, as the Messages API has it."""
    text = data if isinstance(data, str) else base64.b64encode(data).decode()
    return {"type": "image", "source": {"type": "base64", "media_type": kind, "data": text}}


def entries_with(*blocks: Any) -> list[dict[str, Any]]:
    """What is shown of one message with these blocks."""
    return entries_of([{"role": "user", "content": list(blocks)}], [], [], 0)


def test_an_image_is_shown_as_what_its_bytes_say_and_nothing_else_is():
    """A text that only calls itself an image, one that closes an attribute, a huge one and a far one are notes."""
    svg = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>"
    far = {"type": "image", "source": {"type": "url", "url": "https://example.org/a.png"}}
    huge = PNG + bytes(IMAGE)

    (shown,) = entries_with(image(PNG, "image/svg+xml"))
    (large,) = entries_with(image(huge))
    notes = entries_with(image(svg), image(svg, "image/svg+xml"), image('"><script>'), image("é"), image(""), far)
    odd = entries_with(*({"type": "image", "source": source} for source in (None, 5, {}, {"data": 7})))

    assert (shown["k"], shown["media"], shown["data"]) == ("image", "image/png", base64.b64encode(PNG).decode())
    assert shown["text"] == f"image/png, {len(PNG)} bytes"
    assert (large["k"], large["text"]) == ("note", f"[an image: image/png, {len(huge) / 1000:,.0f} kB: not shown]")
    assert {entry["k"] for entry in [*notes, *odd]} == {"note"}
    assert notes[-1]["text"] == "[an image: https://example.org/a.png]"


def test_an_image_that_a_tool_found_stands_below_it_and_no_other_data_is_text():
    """Its bytes are no part of the result; those of a document are counted."""
    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "t", "name": "look", "input": {}}]}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [{"type": "text", "text": "seen"}, image(PNG)]}
    data = base64.b64encode(bytes(3000)).decode()
    document = {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": data}}

    entries = entries_of([use, {"role": "user", "content": [result, document]}], [], [], 0)

    assert [entry["k"] for entry in entries] == ["tool", "image", "item"]
    assert entries[0]["result"] == "seen"
    assert "[4000 characters of base64]" in entries[2]["text"]


def test_of_many_images_a_view_shows_the_newest():
    """Of the others there is a note that says what they were; other entries stay."""
    turns = {f"turn:{n}": {"entries": entries_with("text", image(PNG))} for n in range(4)}
    room = 2 * len(base64.b64encode(PNG))

    shown = with_newest_images(turns, room)

    assert list(shown) == list(turns)
    assert [[entry["k"] for entry in turn["entries"]] for turn in shown.values()] == [
        ["user", "note"], ["user", "note"], ["user", "image"], ["user", "image"],
    ]  # fmt: skip
    assert shown["turn:0"]["entries"][1]["text"] == f"[an image: image/png, {len(PNG)} bytes]"


def test_an_image_is_in_the_static_form_with_its_data(lab):
    """A page without a browser shows it, asks nobody for it, and says in text what it is."""
    clerk = lab.start(Clerk, id="looker")
    clerk.call.ask("What is it?", images=[PNG, "https://example.org/pixel.png"]).result(60)
    widget = clerk.transcript()
    bundle, _ = widget._repr_mimebundle_()

    (source,) = re.findall(r'<img src="([^"]*)"', bundle["text/html"])
    assert source == f"data:image/png;base64,{base64.b64encode(PNG).decode()}"
    assert f"image: [image/png, {len(PNG)} bytes]" in repr(widget)
    assert "note: [an image: https://example.org/pixel.png]" in repr(widget)


@tool(approve=True)
def post(text: str) -> str:
    """Post it, if somebody allows it."""
    return text


class Poster(Agent):
    """Asks before it posts."""

    pages: Transcript = Transcript()

    async def post(self) -> str:
        """Ask."""
        self.pages.append("May I?")
        return str(await self.step(post, text="tea"))


def test_a_tool_that_asks_is_answered_in_the_conversation(lab):
    """What waits is shown with its input; a word about another call is refused; then it waits no more."""
    poster = lab.start(Poster, id="poster")
    reply = poster.call(timeout=600).post()
    wait_for(poster.approvals)
    browser = watched(widget := poster.transcript())
    wait_for(lambda: browser.parts["asks"])
    (ask,) = browser.parts["asks"]
    assert (ask["name"], ask["input"]) == ("post", "text='tea'")

    approve = {"t": "do", "what": "approve", "n": ask["step"]}
    widget._hear(widget, {**approve, "asks": {**ask, "input": "text='cake'"}}, [])
    wait_for(lambda: any("does not wait any more" in said.get("text", "") for said in browser.heard))
    assert poster.approvals()
    widget._hear(widget, {**approve, "asks": ask}, [])

    assert reply.result(60) == "tea"
    wait_for(lambda: not browser.parts["asks"])
    wait_for(lambda: "allowed by a person" in browser.marks())
    code = f"lab['/poster'].approve({ask['step']})"
    wait_for(lambda: any(said["t"] == "did" and said["code"] == code and said["ok"] for said in browser.heard))
    widget.close()


def test_hostile_and_huge_text_is_cut_and_cleaned():
    """No control, direction or half characters, and a bound on what travels."""
    use = {"type": "tool_use", "id": "t", "name": HOSTILE, "input": {"a": HOSTILE}}
    said = {"role": "assistant", "content": [{"type": "text", "text": HOSTILE}, use]}
    items = [HOSTILE, {"role": "user", "content": HOSTILE}, said]

    sent = json.dumps(entries_of(items, [], [Fact(1, "crashed", HOSTILE)], 0), ensure_ascii=False)

    assert len(sent.encode()) < 100_000
    assert not set("\x00\x1b\u202e\ud800") & set(sent)
    assert safe("a\r\nb\u202e", 10) == "a\nb\ufffd"


# where nothing lives


def test_without_a_browser_it_is_text_and_static_html(lab):
    """The same conversation is the same output; markup is escaped; tools are folded."""
    diary = lab.start(Diary, id="static")
    diary.call.write("<script>alert(1)</script>").result(60)
    bundle, _ = diary.transcript()._repr_mimebundle_()

    assert repr(diary.transcript()) == "transcript of /static\nitem: <script>alert(1)</script>"
    assert bundle["text/plain"] == repr(diary.transcript())
    assert "<script>" not in bundle["text/html"]
    assert "&lt;script&gt;" in bundle["text/html"]


def test_who_has_no_transcript_is_told_what_there_is(lab):
    """The error names the fields, and another view."""
    diary = lab.start(Diary, id="named")

    with pytest.raises(InvalidArgument, match="it has: pages"):
        diary.transcript("done")


def test_a_question_that_fails_keeps_its_reason(lab):
    """A turn that was given up says what it was given up for, and what was marked on the way."""
    diary = lab.start(Diary, id="failing")
    reply = diary.call.talk("x")
    wait_for(lambda: diary.info()["message"])
    diary.skip()
    with pytest.raises(AgentDown):
        reply.result(60)
    widget = diary.transcript()
    browser = watched(widget)

    (turn,) = browser.turns()
    assert turn["outcome"] == "skipped"
    assert "skipped" in browser.marks()
    widget.close()
