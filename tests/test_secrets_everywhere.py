"""No place where somebody may put a text leads a key into the store: of classes, steps and topics too."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from dataclasses import make_dataclass
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, Limit, Supervisor, child
from agentlab.errors import InvalidSpec
from agentlab.tools import Tool

TOKEN = "ghp_" + "a1B2" * 9
VALUE = "correct_horse_battery_staple"
FREE = Limit(1000, 1.0)


class Mole(Agent):
    """Gives what it is told to a place of its lab that takes a text."""

    heard: list[str] = []
    any: Any = None

    async def do(self, place: str, text: str) -> None:
        """Put the text there."""
        await PLACES[place](self, text)

    async def hear(self, word: str = "") -> None:
        """Take a word."""
        self.heard.append(word)


def named(text: str) -> Callable[..., str]:
    """Return a function of that name."""

    def function(word: str = "") -> str:
        return "done"

    function.__name__ = function.__qualname__ = text
    return function


async def _cast(mole: Mole, text: str) -> None:
    getattr(mole.ref.cast, text)()


async def _cast_to(mole: Mole, text: str) -> None:
    mole.lab["/" + text].cast.hear()


async def _keep(mole: Mole, value: object) -> None:
    mole.any = value


async def _later(mole: Mole, text: str) -> None:
    mole.after(3600).hear(text)


async def _fail(error: BaseException) -> None:
    raise error


PLACES: dict[str, Callable[[Any, str], Any]] = {
    "a step's name": lambda mole, text: mole.step(named(text)),
    "a step's module": lambda mole, text: mole.step(type("f", (), {"__module__": text, "__call__": lambda _: 1})()),
    "a class as step": lambda mole, text: mole.step(type(text, (), {})),
    "a partial's name": lambda mole, text: mole.step(functools.partial(named(text), "x")),
    "a step's argument": lambda mole, text: mole.step(named("f"), text),
    "a step's keys": lambda mole, text: mole.step(dict, **{text: 1}),
    "a step that fails": lambda mole, text: mole.step(lambda: _fail(type(text, (Exception,), {})(text))),
    "a step around a step": lambda mole, text: mole.step(_around(mole, text)),
    "a tool's name": lambda mole, text: mole.step(Tool(named(text)), word="x"),
    "what a tool gives": lambda mole, text: mole.step(Tool(named("tool")), word=text),
    "a result's class": lambda mole, text: mole.step(make_dataclass(text, [])),
    "a field's value": lambda mole, text: _keep(mole, [text]),
    "a field's keys": lambda mole, text: _keep(mole, {text: 1}),
    "a field's class": lambda mole, text: _keep(mole, make_dataclass(text, [])()),
    "a field": lambda mole, text: mole.ref.replace_state(**{text: 1}),
    "an unknown method": _cast,
    "an unknown path": _cast_to,
    "a path that is called": lambda mole, text: mole.lab["/" + text].call.hear(),
    "a path's method": lambda mole, text: getattr(mole.lab["/other"].call, text)(),
    "a path that is stopped": lambda mole, text: mole.lab["/" + text].stop(),
    "a path that is looked for": lambda mole, text: mole.lab.whereis(text),
    "a path to link to": lambda mole, text: mole.link(mole.lab["/" + text]),
    "a path to monitor": lambda mole, text: mole.monitor(mole.lab["/" + text]),
    "an id": lambda mole, text: mole.lab.start(Mole, id=text),
    "whom to start under": lambda mole, text: mole.lab.start(Mole, id="x", under="/" + text),
    "a team": lambda mole, text: mole.lab.start(Supervisor(text)),
    "a class": lambda mole, text: mole.lab.start(type(text, (Mole,), {}), id="made"),
    "a topic": lambda mole, text: mole.lab.publish(text, "hear"),
    "a topic's method": lambda mole, text: mole.lab.publish("news", text),
    "a topic that is heard": lambda mole, text: mole.subscribe(text),
    "a timer": _later,
}


def _around(mole: Mole, text: str) -> Callable[[], Any]:
    async def outer() -> Any:
        return await mole.step(named(text))

    outer.__name__ = text
    return outer


def cell(lab: Lab, text: str) -> list[Callable[[], Any]]:
    """What a person may type into a cell with a key in it."""
    ref = lab["/other"]
    return [
        lambda: lab.start(type(text, (Mole,), {}), id="a"),
        lambda: lab.start(type("A", (Mole,), {"__qualname__": f"f.{text}"}), id="b"),
        lambda: lab.start(type("A", (Mole,), {"__module__": text}), id="c"),
        lambda: lab.start(type("A", (Mole,), {"__annotations__": {text: int}, text: 1}), id="d"),
        lambda: lab.start(type("A", (Mole,), {text: named(text)}), id="e"),
        lambda: getattr(ref.cast, text)().result(30),
        lambda: getattr(ref.call, text)().result(30),
        lambda: lab.publish("news", text),
        lambda: lab.publish(text, "hear"),
        lambda: ref.replace_state(any={text: 1}),
        lambda: ref.cast.hear(word={text: 1}).result(30),
        lambda: lab.start(Supervisor("t", child(Mole, id="k"), child(Mole, id=text))),
        lambda: lab.start_many(Mole, 3, id=text),
        lambda: lab.start(type("Clerk", (Assistant,), {"system": text}), id="clerk").call.ask(text).result(30),
    ]


def stored(folder: Path) -> bytes:
    """Return every byte of the store's files."""
    return b"".join(file.read_bytes() for file in sorted(folder.iterdir()))


@pytest.mark.parametrize(
    ("text", "late"),
    [(TOKEN, False), (VALUE, False), (VALUE, True)],
    ids=["a token", "a variable's value", "the value of one that is set in a cell"],
)
def test_no_place_that_takes_a_text_leads_a_key_into_the_store(tmp_path, monkeypatch, text, late):
    """Each of them is tried; the store's bytes are searched while the lab lives and when it is closed."""
    if not late:
        monkeypatch.setenv("SOME_API_KEY", VALUE)
    lab = Lab(tmp_path / "a.lab", nodes=1)
    monkeypatch.setenv("SOME_API_KEY", VALUE)
    lab.start(child(Mole, id="other", own_limit=FREE))
    lab.start(child(Mole, id="hearer", own_limit=FREE)).call.do("a topic that is heard", "news").result(30)
    moles = {place: lab.start(child(Mole, id=f"mole-{n}", own_limit=FREE)) for n, place in enumerate(PLACES)}

    for place, mole in moles.items():
        mole.trace()
        with_outcome(lambda mole=mole, place=place: mole.call(redeliver=False).do(place, text).result(30))
    for act in cell(lab, text):
        with_outcome(act)
    lab.wait_idle(30)
    living = stored(tmp_path)
    frames = [lab.events(), lab.messages(), lab.steps(), lab.restarts(), lab.dead_letters(), lab.agents()]
    lab.close()

    assert not [frame for frame in frames if text in frame.to_csv()]
    assert text.encode() not in living
    assert text.encode() not in stored(tmp_path)


def with_outcome(act: Callable[[], Any]) -> Any:
    """Return what it gives, or the error."""
    try:
        return act()
    except Exception as error:
        return error


def test_a_name_with_a_key_in_it_is_refused_where_the_class_is_defined():
    """The store knows a class, its fields and its messages by their names, so none of these can be redacted."""
    for body in ({}, {"__annotations__": {TOKEN: int}, TOKEN: 1}, {TOKEN: named(TOKEN)}, {"__module__": TOKEN}):
        with pytest.raises(InvalidSpec, match=re.escape("holds what looks like a key ('ghp_...'), and")) as refused:
            type("A" if body else TOKEN, (Mole,), body)
        assert TOKEN not in str(refused.value)


def test_a_class_whose_name_is_set_to_a_key_later_is_refused_when_it_is_started(lab):
    """The name that counts is the one that the store would hold."""
    made = type("A", (Mole,), {})
    made.__qualname__ = TOKEN

    with pytest.raises(InvalidSpec, match=re.escape(r"class ***")):
        lab.start(made)


class Stepper(Agent):
    """Makes a step whose name holds a key, then waits for what comes."""

    async def work(self, name: str, file: str) -> int:
        """Write a line, once, and die of it in the first incarnation."""

        def write() -> int:
            with Path(file).open("a", encoding="utf-8") as out:
                return out.write("x")

        write.__name__ = "ghp_" + name * 9
        done: int = await self.step(write)
        if self.incarnation == 1:
            await self.ref.kill()
        return done


def test_a_step_is_found_again_by_its_redacted_name(lab, tmp_path):
    """The journal answers for it after a crash: it is done once."""
    stepper = lab.start(Stepper)

    assert stepper.call.work("a1B2", str(tmp_path / "out")).result(30) == 1

    assert stepper.incarnation == 2
    assert (tmp_path / "out").read_text() == "x"
    assert list(lab.steps(path="/stepper").query("kind == 'step'")["name"]) == ["***", "***"]


def test_a_key_as_the_method_of_a_class_that_is_missing_is_no_message(tmp_path):
    """Nobody knows what messages it takes, so any other waits in the store for it."""
    made = type("Gone", (Mole,), {"__qualname__": "f.<locals>.Gone"})
    with Lab(tmp_path / "a.lab", nodes=1) as lab:
        lab.start(Supervisor("team", child(made, id="gone")))
    made.__qualname__ = "f.<locals>.Other"

    with pytest.warns(UserWarning, match="is not defined"):
        lab = Lab(tmp_path / "a.lab", nodes=1)
    with lab:
        with_outcome(lambda: getattr(lab["/team/gone"].cast, TOKEN)().result(30))
        lab["/team/gone"].cast.hear().result(30)
        waiting = lab.agents().set_index("path").loc["/team/gone", "mailbox"]

    assert waiting == 1
    assert TOKEN.encode() not in stored(tmp_path)
