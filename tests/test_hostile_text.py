"""Text that is meant to do harm comes through whole, and harms nobody where it is shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, Limit, Transcript, child, open_store, tool
from agentlab.ground.texts import storable
from tests.hostile import DEEP, TEXTS, harm_in
from tests.patience import LONG
from tests.test_transcript_widget import heard_by, watched

EVERY = {**TEXTS, "deep": DEEP, "one line": "x" * 200_000}
TOLD = "\n".join(TEXTS.values())
LARGE = 10_000_000 if LONG else 2_000_000
ESCAPED = re.compile(r"\\.")
"""A character that Markdown takes as it is."""

OWN = re.compile("\x1b\\[(31|39)m")
"""The colours of an error in a notebook."""

FRAMES = ("events", "messages", "steps", "restarts", "dead_letters", "agents", "checkpoints", "spend", "approvals")


@tool
def repeat(text: str) -> str:
    """Say it again."""
    return text


class Keeper(Agent):
    """Has hostile text wherever an agent can have text."""

    kept: Any = None
    pages: Transcript = Transcript()

    async def keep(self, value: Any) -> Any:
        """Take it, keep it, have it in a step, and give it back."""
        self.kept = value
        self.pages.append({"role": "user", "content": TOLD})
        return await self.step(same, value)

    async def use(self, text: str) -> Any:
        """Give it to a tool."""
        return await self.step(repeat, text=text)

    async def say(self, text: str) -> None:
        """Print it."""
        print(text)

    async def fail(self, text: str) -> None:
        """Raise it."""
        raise ValueError(text)

    async def fail_in_a_step(self, text: str) -> None:
        """Have a step raise it."""
        await self.step(raising, text)


class Parrot(Assistant):
    """Talks to a model that says hostile things, and has a tool repeat them."""

    model = "sim-hostile"
    tools = (repeat,)


class Talker(Assistant):
    """Talks to a model that does not come to an end."""

    model = "sim-long"
    max_tokens = 10_000_000


def same(value: Any) -> Any:
    """An effect."""
    return value


def raising(text: str) -> None:
    """An effect that fails."""
    raise LookupError(text)


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """The file of the lab."""
    return Path(tmp_path_factory.mktemp("hostile") / "a.lab")


@pytest.fixture(scope="module")
def lab(path) -> Iterator[Lab]:
    """One lab for the whole table."""
    with Lab(path, nodes=1) as made:
        yield made


@pytest.fixture(scope="module")
def keeper(lab) -> Any:
    """An agent that has met all of it."""
    made = lab.start(child(Keeper, id="keeper", own_limit=Limit(1000, 1.0)))
    assert made.call.keep(EVERY).result(60) == EVERY
    for text in TEXTS.values():
        assert made.call.use(text).result(60) == text
    made.call.say(TOLD).result(60)
    for method in ("fail", "fail_in_a_step"):
        with pytest.raises(Exception, match="ended with"):
            getattr(made.call(redeliver=False), method)(TOLD).result(60)
    return made


def test_what_is_passed_on_and_kept_comes_back_as_it_was(lab, keeper):
    """Arguments, answers, states and steps, of many levels too; the log spells half characters out."""
    assert keeper.state["kept"] == EVERY
    assert keeper.checkpoints()["state.kept"].iloc[-1] == EVERY
    assert TOLD.encode("utf-8", "backslashreplace").decode() in keeper.log()


def test_a_model_says_hostile_things_and_a_tool_repeats_them(lab, keeper):
    """The conversation holds them; half characters, which no request holds, are U+FFFD there."""
    turns: list[Any] = []
    for text in TEXTS.values():
        turns += [{"tool": "repeat", "input": {"text": text}}, text]
    lab.sim.scripts(sim_hostile=turns)
    parrot = lab.start(Parrot, id="parrot")

    for text in TEXTS.values():
        assert parrot.call.ask(text).result(60) == storable(text)

    uses = [block["input"]["text"] for item in parrot.state["messages"] for block in blocks(item, "tool_use")]
    assert uses == [storable(text) for text in TEXTS.values()]
    heard = watched(parrot.transcript()).heard
    assert harm_in(repr(parrot.transcript()) + json.dumps(heard, ensure_ascii=False)) == set()


def test_a_long_answer_of_a_model_comes_whole(lab):
    """In however many pieces; what is shown of it stays short."""
    said = "<script>\x1b[31m" + "x" * (LARGE if LONG else 100_000)
    lab.sim.scripts(sim_long=[said])
    talker = lab.start(Talker, id="talker")

    assert talker.call(timeout=600).ask("Go on!").result(600) == said

    shown = [repr(talker.watch()), repr(talker.transcript()), repr(lab.steps(path="/talker")), lab.explain(talker)]
    assert {len(view) < 50_000 for view in shown} == {True}
    assert harm_in("".join(shown)) == set()


def blocks(item: Any, kind: str) -> list[Any]:
    """The blocks of one kind in an item of a conversation."""
    return [block for block in item["content"] if isinstance(block, dict) and block["type"] == kind]


def test_no_frame_shows_what_a_terminal_or_a_browser_obeys(lab, keeper, path):
    """As text and as HTML, of the lab that runs and of its file; no more does a column, or the count of its values."""
    harmful = {}
    with open_store(path) as stored:
        frames = {f"{where!r}.{name}": getattr(where, name)() for where in (lab, stored) for name in FRAMES}
    frames |= {"ref.checkpoints": keeper.checkpoints(), "a part of one": lab.steps().query("name == 'same'")}

    for name, frame in frames.items():
        harmful[name] = harm_in(repr(frame)) | harm_in(frame._repr_html_(), html=True)
        harmful |= {f"{name}[{column}]": harm_in(repr(frame[column])) for column in frame}
    harmful["counted"] = harm_in(repr(lab.events()["detail"].value_counts()))

    assert {name: harm for name, harm in harmful.items() if harm} == {}
    assert "\x1b[31m" in lab.events()["reason"].dropna().str.cat()


def test_no_view_shows_what_a_terminal_or_a_browser_obeys(lab, keeper):
    """Tree, inspector and transcript: what travels to a browser, and what stands where none lives; and ``explain``."""
    views = {"tree": lab.tree(), "inspector": keeper.watch(), "transcript": keeper.transcript()}
    harmful = {name: harm_in(json.dumps(heard_by(view), ensure_ascii=False)) for name, view in views.items()}
    for name, view in views.items():
        bundle, _ = view._repr_mimebundle_()
        harmful[f"{name} alone"] = harm_in(bundle["text/plain"]) | harm_in(bundle["text/html"], html=True)
        view.close()
    told = lab.explain(keeper)
    harmful["explain"] = harm_in(str(told) + repr(told)) | harm_in(ESCAPED.sub("", told._repr_markdown_()), html=True)
    harmful["reprs"] = harm_in(repr([lab, keeper, keeper.state, keeper.info(), keeper.log(), keeper.call]))

    assert {name: harm for name, harm in harmful.items() if harm} == {}
    assert "ended with LookupError" in told


def test_an_error_is_drawn_as_text_and_holds_what_was_said(lab, keeper):
    """What a notebook shows of it is its own colours and text; the exception itself says what the agent said."""
    with pytest.raises(Exception, match="ended with") as raised:
        keeper.call(redeliver=False).fail(TOLD).result(60)

    drawn = OWN.sub("", "\n".join(raised.value._render_traceback_()))

    assert harm_in(drawn) == set()
    assert "<script>" in drawn
    assert raised.value.reason.message == TOLD


def test_a_reopened_lab_has_every_text_as_it_was(tmp_path):
    """Megabytes in one line too; what has more levels than a store can write is refused by name."""
    large, deep = {**EVERY, "large": "<script>" + "x" * LARGE}, DEEP
    for _ in range(100_000):
        deep = [deep]
    with Lab(tmp_path / "b.lab", nodes=1) as lab:
        keeper = lab.start(Keeper, id="keeper")
        assert keeper.call.keep(large).result(60) == large
        with pytest.raises(TypeError, match=r"the arguments of /keeper\.keep cannot travel: .*deep"):
            keeper.call.keep(deep)
        assert {len(view) < 1_000_000 for view in (repr(keeper.watch()), repr(lab.tree()), repr(lab.steps()))} == {True}

    with Lab(tmp_path / "b.lab", nodes=1) as lab:
        lab.resume()
        assert lab["/keeper"].state["kept"] == large
