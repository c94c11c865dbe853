"""The tree as it was, from events alone: at the end it is the present, before it what was true then."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Lab, Supervisor, child, open_store
from agentlab.events import Event, Row
from agentlab_widgets.past import NOT_YET, tree_at
from agentlab_widgets.player import CHUNK, Tape
from agentlab_widgets.then import Life, letters_then, seen_then
from tests.conftest import wait_for
from tests.test_dashboard import Page

ROOT = Row("/", "lab", "supervisor", "one_for_one", "running", 1, 0, None, 0, "", None, 0, 0, "one_for_one")


class Counter(Agent):
    """Counts."""

    count: int = 0

    async def add(self) -> int:
        """One more."""
        self.count += 1
        return self.count


@pytest.fixture(scope="module")
def lived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Lab, Path]]:
    """A lab in which everything has happened that events can tell, and its file."""
    file = tmp_path_factory.mktemp("past") / "run.lab"
    with Lab(file, nodes=1) as lab:
        kept, short = child(Counter, id="kept"), child(Counter, id="short", restart="temporary")
        lab.start(
            Supervisor("team", kept, short, child(Counter, id="mild", restart="transient"), strategy="one_for_all")
        )
        for id in ("crashed", "quiet", "stopped", "parked", "again"):
            lab.start(Counter, id=id)
        for _ in range(3):
            lab["/crashed"].call.add().result(60)
        for path in ("/crashed", "/team/kept", "/again", "/again"):
            lab[path].crash()
            lab.wait_idle(60)
        lab["/quiet"].suspend()
        lab["/stopped"].stop()
        lab["/again"].stop()
        lab.wait_idle(60)
        lab["/again"].restart()
        for _ in range(4):
            if lab["/parked"].status == "running":
                lab["/parked"].crash()
                lab.wait_idle(60)
        lab["/quiet"].resume()
        lab["/quiet"].suspend()
        lab.wait_idle(60)
        yield lab, file


def events_of(lab: Lab) -> list[Event]:
    """All events, oldest first."""
    rows = lab._read().select("SELECT seq, at, kind, path, incarnation, node, reason FROM event ORDER BY seq")
    return [Event(*row) for row in rows]


def told(rows: list[Row]) -> dict[str, Any]:
    """What the past tells of places."""
    return {row.path: (row.kind, row.status, row.incarnation, row.restarts, row.reason or "") for row in rows}


def test_at_the_end_it_is_the_present(lived):
    """Status, life, restarts and last exit of every place, as the books have them now."""
    lab, _ = lived
    events, rows = events_of(lab), lab.rows()

    then = tree_at(events[-1].at, events, rows)

    assert told(then) == told(rows)
    assert {row.status for row in rows} >= {"running", "suspended", "stopped"}


def test_before_the_first_event_nobody_was_there_yet(lived):
    """Who came later keeps its place, so that nothing jumps; who has gone since is not shown."""
    lab, _ = lived
    events, rows = events_of(lab), lab.rows()

    then = tree_at(events[0].at - 1, events, rows)

    assert [row.path for row in then] == [row.path for row in rows]
    assert {row.status for row in then if row.kind == "agent"} == {NOT_YET}


def test_at_each_event_the_tree_says_what_it_told(lived):
    """Between a crash and the next life it is down; a temporary child that is gone is there as long as it lived."""
    lab, _ = lived
    events, rows = events_of(lab), lab.rows()
    crash = next(n for n, event in enumerate(events) if (event.kind, event.path) == ("crashed", "/crashed"))
    gone = next(event for event in events if (event.kind, event.path) == ("removed", "/team/short"))

    before, down = (told(tree_at(events[crash].at - by, events, rows))["/crashed"] for by in (1, 0))
    there = {row.path for row in tree_at(gone.at - 1, events, rows)}

    assert before[1:4] == ("running", 1, 0)
    assert down[1] in ("stopped", "starting")
    assert "/team/short" in there
    assert "/team/short" not in {row.path for row in tree_at(gone.at, events, rows)}


def test_a_tape_is_wound_back_and_on_to_the_same_trees(lived):
    """Read in pieces, as it goes: at each moment what the whole history says."""
    lab, _ = lived
    events, rows = events_of(lab), lab.rows()
    tape = Tape(lab._read(), rows)
    moments = [event.at for event in events]

    for at in [*moments[::5], *reversed(moments[::7]), moments[-1]]:
        passed = tape.wind(at)
        assert all(event.at <= at for event in passed)
        assert told(tape.rows()) == told(tree_at(at, events, rows))
    assert tape.wind(moments[-1]) == []


class Told:
    """A store of many events, which counts how often it is asked."""

    def __init__(self, n: int) -> None:
        self.asked = 0
        self._events = [(seq, seq * 10, "started", "/a", seq, 1, None) for seq in range(1, n + 1)]

    def select(self, sql: str, args: tuple[int, ...] = ()) -> list[tuple[Any, ...]]:
        """Rows, in pieces."""
        self.asked += 1
        return [("/a",)] if "DISTINCT" in sql else self._events[args[0] : args[0] + CHUNK]


def test_what_was_read_is_not_read_again_while_it_plays_on():
    """A step of a hundred events asks for a hundred more at most once."""
    store = Told(5 * CHUNK)
    tape = Tape(store, [ROOT])

    lives = []
    for moment in range(100, 50 * CHUNK + 1, 100):
        tape.wind(moment)
        lives.append(tape.rows()[1].incarnation)

    assert lives == [moment // 10 for moment in range(100, 50 * CHUNK + 1, 100)]
    assert store.asked <= 8


def played(page: Page) -> list[dict[str, Any]]:
    """Words about the tree that say at which moment it is."""
    return [said for said in page.of("tree", "snapshot", "difference", "beat") if said.get("when")]


def shown(page: Page) -> dict[str, str]:
    """What the browser shows now: status by path."""
    rows: dict[str, str] = {}
    for said in page.of("tree", "snapshot", "difference"):
        rows |= {row["path"]: row["status"] for row in said["rows"]}
    return rows


@pytest.fixture(params=["lab", "store"])
def page(request: pytest.FixtureRequest, lived: tuple[Lab, Path]) -> Iterator[Page]:
    """The dashboard of the lab, and that of its file beside it."""
    lab, file = lived
    with open_store(file) as stored:
        widget = lab.dashboard() if request.param == "lab" else stored.dashboard()
        yield Page(widget)
        widget.close()


def test_the_tree_of_a_dashboard_goes_back_plays_on_and_returns(page):
    """From the first moment at a hundred times the speed until it is the present; nothing can be done meanwhile."""
    first = page.open("tree")
    before = shown(page)

    page.say("tree", t="when", at=first["span"][0] - 1, speed=0)
    wait_for(lambda: played(page))
    assert shown(page)["/crashed"] == NOT_YET
    assert played(page)[-1]["over"][0] == "as it was"
    page.say("tree", t="when", at=first["span"][0], speed=100)
    wait_for(lambda: shown(page) == before)
    page.say("tree", t="when", at=None)
    wait_for(lambda: page.of("tree", "difference", "beat", "snapshot")[-1]["when"] is None)

    moments = [said["when"]["at"] for said in played(page)]
    assert moments == sorted(moments)


@pytest.mark.parametrize("word", [{"at": "now"}, {"at": -1, "speed": 1}, {"at": 1e300, "speed": 1}, {"at": 5}])
def test_an_odd_moment_is_none(lived, word):
    """The tree stays as it is."""
    widget = lived[0].dashboard()
    page = Page(widget)
    page.open("tree")

    page.say("tree", t="when", **word)
    page.say("tree", t="hello")
    wait_for(lambda: len(page.of("tree", "snapshot")) > 1)
    widget.close()

    assert played(page) == []


def test_an_agent_is_seen_as_it_was_at_each_of_its_checkpoints(lived):
    """State, life and what it had handled; a moment before it nobody was there."""
    lab, _ = lived
    store, life = lab._read(), Life(lab._read(), "/crashed")
    points = store.select("SELECT at, seq FROM checkpoint WHERE path = '/crashed' ORDER BY id")
    crash = next(event for event in events_of(lab) if (event.kind, event.path) == ("crashed", "/crashed"))

    seen = [seen_then(store, life, "/crashed", at) for at, _ in points]
    before, down = (seen_then(store, life, "/crashed", at) for at in (points[0][0] - 1, crash.at))

    assert [json.loads(each.image["count"]) for each in seen[:4]] == [0, 1, 2, 3]
    assert [each.seq for each in seen] == [seq for _, seq in points]
    assert seen[-1].handled == 3
    assert (before.image, before.incarnation) == ({}, 0)
    assert (down.status, down.incarnation, json.loads(down.image["count"])) == ("stopped", 1, 3)


def test_a_mailbox_is_seen_as_it_was_and_a_step_runs_until_it_ended(lived):
    """Between two messages' ends: the first is gone, the second in hand or waiting."""
    lab, _ = lived
    rows = lab._read().select("SELECT sent_at, started_at, ended_at FROM message WHERE path = '/crashed' ORDER BY id")

    then = [[letter.begun for letter in letters_then(lab._read(), "/crashed", at)] for at, _, _ in rows]
    hand = [[letter.begun for letter in letters_then(lab._read(), "/crashed", at)] for _, at, _ in rows]
    over = [letters_then(lab._read(), "/crashed", at) for _, _, at in rows]

    assert all(len(each) == 1 for each in then)
    assert hand == [[started] for _, started, _ in rows]
    assert over == [[], [], []]


def turned(page: Page, part: str, *, back: bool) -> list[dict[str, Any]]:
    """The differences by which an inspector went back, or came back to the present."""
    told = [said for said in page.of(part, "difference") if "state" in said["set"]]
    return [said for said in told if (said.get("over", [""])[0] == "as it was") == back]


def test_the_inspector_of_a_dashboard_is_turned_back_with_the_tree(page):
    """At the first moment the agent is not there yet; nothing can be done; the present comes back whole."""
    part = f"inspector:{page.place('/crashed')}"
    now = page.open(part)
    first = page.open("tree")

    page.say("tree", t="when", at=first["span"][0] - 1, speed=0)
    wait_for(lambda: turned(page, part, back=True))
    then = turned(page, part, back=True)[0]
    page.say(part, t="do", what="crash")
    page.say("tree", t="when", at=None)
    wait_for(lambda: turned(page, part, back=False))
    back = turned(page, part, back=False)[0]

    assert then["over"][0] == "as it was"
    assert then["set"]["head"]["status"] == NOT_YET
    assert then["set"]["state"]["fields"] == then["set"]["lives"] == []
    assert then["set"]["head"]["can"] == []
    assert "ties" in then["gone"]
    assert page.of(part, "did") == []
    assert back["set"]["state"] == now["parts"]["state"]


def test_an_inspector_that_is_opened_in_the_past_shows_the_past(lived):
    """Also of who is gone since; in the present there is nobody to open."""
    lab, _ = lived
    there = next(event.at for event in events_of(lab) if (event.kind, event.path) == ("started", "/team/short"))
    widget = lab.dashboard()
    page = Page(widget)
    page.open("tree")

    page.say("tree", t="when", at=there // 1_000_000 + 1, speed=0)
    wait_for(lambda: played(page))
    row = next(r for said in page.of("tree", "difference") for r in said["rows"] if r["path"] == "/team/short")
    told = page.open(f"inspector:{page.of('tree', 'snapshot')[0]['epoch']}:{row['slot']}")
    widget.close()

    assert told["over"][0] == "as it was"
    assert told["label"] == "/team/short"
