"""What agents emit leaves its node where somebody sees or hears it, and nowhere else."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Lab
from agentlab.events import Feed
from tests.conftest import wait_for


def wait_until_told(folder: Path) -> None:
    """Say that it has begun, and return when it may go on."""
    (folder / "began").touch()
    wait_for((folder / "go").exists)


class Singer(Agent):
    """Emits what it is told to."""

    async def sing(self, *words: str) -> int:
        """Emit each word."""
        for word in words:
            self.emit(word)
        return len(words)

    async def hum(self, folder: str) -> str:
        """Emit before and after it is told to go on."""
        self.emit("low")
        await asyncio.to_thread(wait_until_told, Path(folder))
        self.emit("high")
        return "hummed"


@pytest.fixture
def told(lab: Lab) -> Iterator[list[str]]:
    """The texts of which the kernel is told, whoever sees them."""
    found: list[str] = []
    hears = lab._live.reports.hears
    hear = hears["emit"]

    def note(node: Any, frame: Any) -> None:
        found.append(frame[2])
        hear(node, frame)

    hears["emit"] = note
    yield found
    hears["emit"] = hear


def sees(feed: Feed, *words: str) -> bool:
    """Wait until it has as many as these words; whether it has these."""
    found: list[str | None] = []

    def all_of_them() -> bool:
        found.extend(event.detail for event in feed.take().events if event.kind == "emit")
        return len(found) >= len(words)

    wait_for(all_of_them)
    return found == list(words)


def test_nobody_is_told_what_nobody_sees(lab, told):
    """Not a word of it comes to the kernel."""
    singer = lab.start(Singer, id="singer")
    assert singer.call.sing("la", "la").result(60) == 2
    lab.wait_idle(60)
    assert told == []


def test_who_looks_on_sees_it_from_the_next_message_on_and_nobody_after_that(lab, told):
    """On the nodes that are there, and on one that comes while somebody looks."""
    singer = lab.start(Singer, id="singer")
    with closing(lab.feed()) as feed, closing(lab.feed()):
        assert singer.call.sing("do", "re").result(60) == 2
        assert sees(feed, "do", "re")
        alone = lab.start(Singer, id="alone", isolation="process")
        assert alone.call.sing("mi").result(60) == 1
        assert sees(feed, "mi")
    for each in (singer, alone):
        assert each.call.sing("fa").result(60) == 1
    lab.wait_idle(60)
    assert told == ["do", "re", "mi"]


def test_a_caller_hears_its_own_message_and_no_other(lab, told):
    """However many others there are before and after it, while nobody looks."""
    singer = lab.start(Singer, id="singer")
    before = singer.call.sing("silent")
    stream = singer.stream.sing("so", "la")
    after = singer.call.sing("silent again")
    assert list(stream) == ["so", "la"]
    assert (before.result(60), stream.result(60), after.result(60)) == (1, 2, 1)
    lab.wait_idle(60)
    assert told == ["so", "la"]


def test_who_begins_to_look_in_the_middle_of_a_message_sees_the_rest(lab, tmp_path):
    """As a transcript that is opened while an answer streams in."""
    singer = lab.start(Singer, id="singer")
    hummed = singer.call.hum(str(tmp_path))
    wait_for((tmp_path / "began").exists)
    with closing(lab.feed()) as feed:
        assert singer.draft == {}  # its node is asked for that, and has heard of the feed before
        (tmp_path / "go").touch()
        assert hummed.result(60) == "hummed"
        assert sees(feed, "high")
