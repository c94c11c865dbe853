"""The live tree without a browser: what travels, what is shown where nothing lives."""

from __future__ import annotations

import json
import re
import time
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Lab, Supervisor, child
from agentlab.events import Event, Feed, Hub, Row
from agentlab.ground.texts import clean
from agentlab.looks import LOOKS
from agentlab_widgets import TreeWidget
from agentlab_widgets.mirror import GONE, WHOLE, Mirror, facts, moves
from agentlab_widgets.pusher import Pusher, last_end
from agentlab_widgets.sift import Wanted
from agentlab_widgets.text import tree_html, tree_text
from tests import agents
from tests.conftest import wait_for


def agent(path: str, status: str = "running", **facts: Any) -> Row:
    """A row of an agent."""
    parent, _, id = path.rpartition("/")
    return Row(path, id, "agent", "Counter", status, 1, 0, 1, 0, parent or "/", None, 0, 0)._replace(**facts)


def supervisor(path: str, parent: str, **facts: Any) -> Row:
    """A row of a supervisor."""
    row = Row(path, path.rpartition("/")[2], "supervisor", "one_for_one", "running", 1, 0, None, 0, parent, None, 0, 0)
    return row._replace(strategy="one_for_one", **facts)


ROOT = supervisor("/", "", id="lab")
TEAM = [ROOT, agent("/a"), supervisor("/team", "/", intensity=(1, 3, 5.0)), agent("/team/b"), agent("/team/c")]


class PlainLab:
    """A lab as far as the tree sees it: rows in a dict, a real hub, refs that only say what they were told."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self.now = {row.path: row for row in rows}
        self.hub = Hub()
        self.closed = False

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        return list(self.now.values()) if paths is None else [self.now[p] for p in paths if p in self.now]

    def feed(self) -> Feed:
        return self.hub.open()

    def put(self, row: Row, *events: Event) -> None:
        self.now[row.path] = row
        self.hub.publish(list(events), {row.path})

    def __getitem__(self, path: str) -> Any:
        raise KeyError(path)

    def __repr__(self) -> str:
        return "Lab('memory')"


class Browser:
    """What tree.js keeps, in a few lines: applies messages in order and notices gaps."""

    def __init__(self) -> None:
        self.heard: list[dict[str, Any]] = []
        self.looks: list[int] = []
        self.parents: list[int] = []
        self.rows: dict[int, dict[str, Any]] = {}

    def hear(self, content: dict[str, Any], buffers: Any) -> None:
        content = json.loads(json.dumps(content))
        if content["t"] == "snapshot":
            self.parents, self.looks = list(array("i", buffers[0])), list(buffers[1])
            self.rows = {}
        elif content["t"] == "difference":
            added = array("i", buffers[2])
            for slot, parent in zip(added[::2], added[1::2], strict=True):
                assert slot == len(self.parents)
                self.parents.append(parent)
                self.looks.append(GONE)
            for slot, look in zip(array("I", buffers[0]), buffers[1], strict=True):
                self.looks[slot] = look
                if look == GONE:
                    self.rows.pop(slot, None)
        self.rows |= {row["slot"]: row for row in content.get("rows", [])}
        self.heard.append(content)

    def kinds(self) -> list[str]:
        return [content["t"] for content in self.heard if content["t"] != "beat"]

    def told(self) -> dict[str, Any]:
        """The last that was no heartbeat."""
        return [content for content in self.heard if content["t"] != "beat"][-1]


@pytest.fixture
def lab():
    """A lab of five places."""
    lab = PlainLab(TEAM)
    yield lab
    lab.closed = True


@pytest.fixture
def live(lab):
    """A pusher that a browser said hello to, and that browser."""
    browser = Browser()
    pusher = Pusher(lab, browser.hear)
    pusher.start()
    pusher.hello("me")
    wait_for(lambda: browser.kinds() == ["snapshot"])
    yield pusher, browser
    pusher.end()
    pusher.join(60)


# what travels

PATHS = ["/a", "/b", "/t", "/t/a", "/t/b", "/t/u", "/t/u/a"]
STEPS = st.lists(st.tuples(st.sampled_from(PATHS), st.sampled_from([None, *LOOKS])), max_size=30)


@given(STEPS)
def test_a_browser_that_follows_differences_sees_what_a_new_one_sees(steps):
    """Differences lose nothing: whatever starts, changes and goes, both pictures are equal."""
    mirror, browser, tree = Mirror(), Browser(), {"/": ROOT}
    mirror.replace(tree.values())
    browser.hear(*mirror.snapshot())

    for path, status in steps:
        below = [p for p in tree if p == path or p.startswith(f"{path}/")]
        touched = {path} if status else set(below)
        if status and path.rpartition("/")[0] in {"", *tree}:
            row = supervisor(path, path.rpartition("/")[0] or "/") if path[-1] in "tu" else agent(path)
            tree[path] = row._replace(status=status)
        elif not status:
            tree = {p: row for p, row in tree.items() if p not in below}
        message = mirror.update([tree[p] for p in touched if p in tree], touched)
        if message:
            browser.hear(*message)

    fresh = Browser()
    fresh.hear(*mirror.snapshot())
    assert (browser.looks, browser.parents, browser.rows) == (fresh.looks, fresh.parents, fresh.rows)
    assert {row["path"] for row in browser.rows.values()} == tree.keys()


def test_nothing_travels_when_nothing_shows():
    """A change that no row shows is no message."""
    mirror = Mirror()
    mirror.replace(TEAM)

    assert mirror.update([TEAM[1]], {"/a"}) is None


def test_of_many_agents_only_a_byte_each_travels():
    """Past 200 agents facts travel for supervisors and for what was selected, and the byte of all."""
    mirror, browser = Mirror(), Browser()
    mirror.replace([ROOT, *(agent(f"/a{n}") for n in range(WHOLE + 1))])
    browser.hear(*mirror.snapshot())

    assert browser.heard[-1]["mode"] == "cells"
    assert [row["path"] for row in browser.rows.values()] == ["/"]
    assert len(browser.looks) == WHOLE + 2

    browser.hear(*mirror.tell("/a7"))
    assert [row["path"] for row in browser.rows.values()] == ["/", "/a7"]


def test_slots_are_never_used_twice():
    """A child that is started again after it was removed gets a place of its own, so nothing jumps."""
    mirror = Mirror()
    mirror.replace(TEAM)
    before = mirror.slot("/a")

    mirror.update([], {"/a"})
    mirror.update([agent("/a")], {"/a"})

    assert mirror.slot("/a") == len(TEAM)
    assert mirror.path(mirror.epoch, before) is None


def test_slots_of_agents_long_gone_are_given_back():
    """Where agents come and go by the thousand the picture does not grow for ever, and old clicks hit nothing."""
    mirror = Mirror()
    mirror.replace([ROOT])
    old = mirror.epoch
    for start in range(0, 2000, 100):
        paths = {f"/t{n}" for n in range(start, start + 100)}
        mirror.update([agent(path) for path in paths], paths)
        mirror.update([], paths)

    assert mirror.epoch > old
    assert mirror.path(old, 5) is None
    assert len(mirror.snapshot()[1][1]) <= 1200


@pytest.mark.parametrize(
    ("row", "sensible"),
    [
        (ROOT, []),
        (TEAM[2], ["restart", "stop", "kill"]),
        (agent("/a", "parked"), ["restart"]),
        (agent("/a", "stopped"), ["restart"]),
        (agent("/a", "backing_off"), ["kill", "stop"]),
        (agent("/a", "busy"), ["crash", "kill", "restart", "stop", "suspend"]),
    ],
)
def test_buttons_offer_what_makes_sense(row, sensible):
    """What has ended can only be restarted, the root only closed with its lab."""
    assert moves(row) == sensible


def test_stop_of_a_permanent_supervisor_says_that_it_comes_again():
    """Its own supervisor starts it again, as in OTP: said with the button and after the press; an agent ends."""
    with Lab(nodes=1) as lab:
        inner = Supervisor("inner", child(Counter, id="a"))
        team = lab.start(Supervisor("team", inner, child(Counter, id="b")))
        rows = {row.path: facts(0, row) for row in lab.rows()}
        said = Browser()
        tree = lab.tree()
        tree.send = said.hear

        tree._pane._do(tree._pane._push(), "/team/inner", "stop")
        tree._pane._do(tree._pane._push(), "/team/b", "stop")
        wait_for(lambda: said.kinds() == ["doing", "did"] * 2)
        lab.wait_idle(60)
        tree.close()
        statuses = {row.path: row.status for row in lab.rows()}
        team.terminate_child("inner")  # what the button's hint names
        team.delete_child("inner")
        left = [row.path for row in lab.rows()]

    assert {path for path, row in rows.items() if row["again"]} == {"/team", "/team/inner"}
    assert [row["text"] for row in said.heard if row["t"] == "did"] == [
        "done; permanent: its supervisor starts it again",
        "done",
    ]
    assert (statuses["/team/inner"], statuses["/team/b"]) == ("running", "stopped")
    assert left == ["/", "/team", "/team/b"]


def test_a_message_in_hand_can_be_skipped():
    """The button is offered where there is a message to end, and only where refs know how."""
    assert "skip" in facts(0, agent("/a", "busy"))["can"]
    assert "skip" in facts(0, agent("/a", "waiting"))["can"]
    assert "skip" not in facts(0, agent("/a"))["can"]
    assert "skip" not in facts(0, ROOT._replace(status="busy"))["can"]


def test_the_tree_uses_the_words_of_the_frames():
    """Kind, incarnation, mailbox: nobody has to learn two words for one thing."""
    heads = re.findall(r">([a-z ]+)</th>", tree_html("lab", TEAM))
    columns = re.search(r"const COLUMNS = \[(.*)\];", TreeWidget._esm)[1].replace('"', "").split(", ")

    assert heads == ["agent", "kind", "status", "incarnation", "last exit"]
    assert columns == ["agent", "kind", "status", "incarnation", "restarts", "mailbox", "node", "last exit"]


# when it travels


def test_a_change_is_one_difference_with_the_next_number(lab, live):
    """The browser can tell that it missed nothing."""
    _, browser = live
    lab.put(agent("/a", "busy"))
    wait_for(lambda: "difference" in browser.kinds())

    first, last = browser.heard[0], browser.told()
    assert last["seq"] == first["seq"] + 1
    assert [row["status"] for row in last["rows"]] == ["busy"]


def test_a_thousand_changes_at_once_are_few_messages(lab, live):
    """A server drops messages past a thousand a second, so changes are gathered."""
    pusher, browser = live
    began = time.monotonic()
    for n in range(1000):
        lab.put(agent("/a", mailbox=n + 1))
    wait_for(lambda: browser.rows[1]["mailbox"] == 1000)
    pauses = (time.monotonic() - began) / pusher.pause

    assert len(browser.heard) <= 3 + pauses


def test_a_crash_glows_and_a_new_life_is_counted(lab, live):
    """The header counts restarts of the last minute; the row gets its bar."""
    _, browser = live
    at = time.time_ns()
    lab.put(agent("/a", incarnation=2, restarts=1), Event(1, at, "crashed", "/a", 1), Event(2, at, "started", "/a", 2))
    wait_for(lambda: "difference" in browser.kinds())

    told = browser.told()
    assert told["minute"] == 1
    assert told["restarts"] == [[1, at // 1_000_000]]


def test_restarts_before_the_first_look_are_counted():
    """A tree shown just after a crash does not say that there was none; what was long ago is not counted."""
    now = time.time_ns()
    again = [agent("/a", incarnation=2, since=now), agent("/b", incarnation=2, since=now - 10**12)]
    lab, browser = PlainLab([ROOT, *again, agent("/c", since=now)]), Browser()
    pusher = Pusher(lab, browser.hear)
    pusher.start()
    pusher.hello("me")
    wait_for(lambda: browser.kinds() == ["snapshot"])
    lab.closed = True
    pusher.end()
    pusher.join(60)

    assert browser.heard[0]["minute"] == 1
    assert browser.heard[0]["restarts"] == [[1, now // 1_000_000]]


def test_children_that_start_together_stand_in_the_order_of_their_starts(lab, live):
    """Whatever the order of a set."""
    _, browser = live
    names = [f"/team/{name}" for name in ("z", "left", "right", "a", "m", "k", "y", "q")]
    lab.now |= {name: agent(name) for name in names}
    lab.hub.publish([Event(n, time.time_ns(), "started", name, 1) for n, name in enumerate(names)], set(names))
    wait_for(lambda: len(browser.rows) == len(TEAM) + len(names))

    assert [row["path"] for _, row in sorted(browser.rows.items())][-len(names) :] == names


def test_a_heartbeat_says_that_the_picture_is_true(live):
    """Silence means that the kernel is gone, so it is never silent."""
    _, browser = live
    wait_for(lambda: browser.heard[-1]["t"] == "beat")

    assert browser.heard[-1]["seq"] == browser.heard[0]["seq"]


def test_nothing_is_sent_while_nobody_looks(lab, live):
    """A hidden tree costs nothing, and is whole again when it is seen."""
    pusher, browser = live
    pusher.hidden("me")
    wait_for(lambda: pusher._lookers == {"me": False})
    sent = len(browser.heard)
    lab.put(agent("/a", "parked"))
    wait_for(lambda: pusher._behind)
    assert len(browser.heard) == sent

    pusher.hello("me")
    wait_for(lambda: len(browser.heard) > sent)
    assert browser.rows[1]["status"] == "parked"


def test_a_closed_lab_keeps_its_last_picture(lab, live):
    """A lab that closes takes its tree apart; the tree as it was stays, marked closed, also for later pages."""
    pusher, browser = live
    lab.put(ROOT._replace(status="busy"))
    lab.put(agent("/a", "stopped"))
    lab.closed = True
    wait_for(lambda: browser.heard[-1]["closed"])
    assert browser.rows[1]["status"] == "running"

    pusher.hello("later")
    wait_for(lambda: browser.kinds().count("snapshot") == 2)
    assert browser.told()["closed"]


@pytest.mark.parametrize("made", ["before", "after"])
def test_a_tree_that_is_first_drawn_after_its_lab_was_closed_shows_the_last_state(made):
    """A cell below the fold is drawn late, perhaps after the last cell: it shows who was there, and that it is over."""
    with Lab(nodes=1) as lab:
        lab.start(Supervisor("team", child(Counter, id="a"), child(Counter, id="b")))
        lab["/team/b"].suspend()
        early = lab.tree()
    tree, browser = early if made == "before" else lab.tree(), Browser()
    tree.send = browser.hear

    tree._hear(tree, {"t": "hello", "looker": "me"}, [])
    wait_for(lambda: "snapshot" in browser.kinds())
    tree.close()

    assert {row["path"]: row["status"] for row in browser.rows.values()} == {
        "/": "running", "/team": "running", "/team/a": "running", "/team/b": "suspended",
    }  # fmt: skip
    assert browser.heard[-1]["closed"]
    assert repr(tree).splitlines()[0] == "Lab('memory', closed)"
    assert "‖ suspended" in repr(tree).splitlines()[-1]


# where nothing lives


def test_text_is_a_tree_in_columns():
    """A terminal shows who is under whom, what it is and how it fares."""
    rows = [*TEAM[:3], agent("/team/b", "parked", incarnation=3, restarts=2, reason="ValueError: no")]

    assert tree_text("Lab('memory')", rows).splitlines() == [
        "Lab('memory')",
        "lab        one_for_one            ● running",
        "├── a      Counter                ● running  #1, 0 restarts",
        "└── team   one_for_one, 3 in 5 s  ● running",
        "    └── b  Counter                ■ parked   #3, 2 restarts  ValueError: no",
    ]


def test_static_forms_do_not_depend_on_time_or_place():
    """The same tree on other nodes at another hour is the same output, so notebooks can be compared."""
    later = [row._replace(since=10**18, node=7) for row in TEAM]
    later[2] = later[2]._replace(intensity=(0, 3, 5.0))

    assert tree_text("lab", later) == tree_text("lab", TEAM)
    assert tree_html("lab", later) == tree_html("lab", TEAM)


def test_long_families_are_cut_and_counted():
    """Ten thousand children are forty lines."""
    text = tree_text("lab", [ROOT, *(agent(f"/a{n}") for n in range(10_000))])

    assert len(text.splitlines()) == 2 + 40
    assert text.splitlines()[-1].split() == ["└──", "…", "9,961", "more", "9,961", "running"]


HOSTILE = "<script>alert(1)</script>\x00\x1b[31m\ud800\u202eevil\n" + "x" * 10_000_000


def test_hostile_text_is_cut_cleaned_and_escaped():
    """No control, direction or half characters, one short line; in HTML no markup."""
    row = agent("/a", "parked", reason=HOSTILE, cls=HOSTILE)

    for text in (clean(HOSTILE), tree_text("lab", [row]), tree_html("lab", [row])):
        assert len(text.encode()) < 2000
        assert not set("\x00\x1b\u202e") & set(text)
    assert "<script>" not in tree_html("lab", [row])


class Counter(Agent):
    """Counts."""

    count: int = 0


def test_the_tree_of_a_lab_shows_without_a_browser_and_after_its_end():
    """Text and static HTML come from the rows of the real lab; when it is closed the last ones stay."""
    with Lab() as lab:
        lab.start(Supervisor("team", child(Counter, id="a")))
        lab.wait_idle(60)
        tree = lab.tree()
        bundle, _ = tree._repr_mimebundle_()
        alive = repr(tree)

    assert "team   one_for_one, 3 in 5 s  ● running" in alive
    assert bundle["text/plain"] == alive
    assert "<td" in bundle["text/html"]
    assert repr(tree).splitlines()[1:] == alive.splitlines()[1:]
    assert "closed" in repr(tree).splitlines()[0]


def test_a_tree_that_nobody_looks_at_starts_no_thread():
    """A script that makes a tree, or prints it, pays for the text alone."""
    with Lab() as lab:
        tree = lab.tree()
        repr(tree)

        assert tree._pane._pusher is None


def test_dead_letters_stand_where_they_were_sent():
    """At their agent, or at the lab for one that is not there; a letter that is sent again is gone."""
    with Lab(nodes=1) as lab:
        stopped = lab.start(agents.Counter, id="stopped")
        lab.start(Supervisor("team", child(agents.Counter, id="brief", restart="temporary")))
        brief = lab["/team/brief"]
        stopped.stop()
        brief.kill()
        lab.wait_idle(60)
        for ref in (stopped, stopped, brief):
            ref.cast.add()
        lab.wait_idle(60)

        assert {row.path: row.letters for row in lab.rows() if row.letters} == {"/": 1, "/stopped": 2}
        text = tree_text("lab", lab.rows())
        assert "stopped (2 dead letters)" in text
        assert "running (1 dead letter)" in text
        assert [facts(0, row)["letters"] for row in lab.rows(["/stopped"])] == ["2 dead letters"]

        stopped.restart()
        lab.retry(stopped)
        lab.wait_idle(60)
        assert {row.path: row.letters for row in lab.rows() if row.letters} == {"/": 1}


def test_dead_letters_stand_at_their_agent_below_a_team_that_waits(tmp_path):
    """A lab opened again has not forgotten whose they are."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        lab.start(Supervisor("team", child(agents.Counter, id="left")))
        lab["/team/left"].cast.hang()
        wait_for(lambda: lab["/team/left"].info()["message"])
        lab["/team/left"].skip()
        lab.wait_idle(60)
    with Lab(tmp_path / "run.lab", nodes=1, resume="ask") as lab:
        assert {row.path: row.letters for row in lab.rows() if row.letters} == {"/team/left": 1}


CASES = json.loads((Path(__file__).parent / "javascript" / "sift.json").read_text("utf-8"))


def test_the_kernel_finds_what_a_browser_finds():
    """Words, and words in a field: the same table drives the JavaScript."""
    rows = [agent(facts.pop("path"), **facts) for facts in CASES["rows"]]

    for text, found in CASES["cases"]:
        wanted = Wanted.of({"text": text})
        assert [number for number, row in enumerate(rows) if wanted.matches(row)] == found, text


def test_of_many_one_page_is_told_and_all_are_counted():
    """Whatever a browser asks for, it gets no more than a page, in the order of the tree."""
    mirror = Mirror()
    mirror.replace([ROOT, *(agent(f"/w{n}", status="parked" if n % 2 else "running") for n in range(1000))])

    found = mirror.find(Wanted.of({"text": "path:/w", "statuses": ["parked"], "from": 10, "most": 5, "word": "x"}))
    most = mirror.find(Wanted.of({"most": 10**9, "from": -4}))

    assert [row["path"] for row in found["rows"]] == ["/w21", "/w23", "/w25", "/w27", "/w29"]
    assert (found["total"], found["from"], found["word"], found["epoch"]) == (500, 10, "x", mirror.epoch)
    assert len(most["rows"]) == 500
    assert most["total"] == 1001


def test_how_a_life_ended_is_read_from_the_store():
    """The traceback of the last one; of who never ended, that nothing is known."""
    with Lab(nodes=1) as lab:
        lab.start(agents.Counter, id="a").crash(ValueError("no ink"))
        lab.wait_idle(60)

        assert "ValueError: no ink" in last_end(lab, "/a")
        assert last_end(lab, "/b") == "nothing more is known"
