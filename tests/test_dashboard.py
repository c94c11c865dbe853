"""The whole lab in one widget, without a browser: each word says whose it is, and a store is shown as a lab is."""

from __future__ import annotations

import threading
from collections import Counter as Counts
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Lab, Supervisor, Transcript, child, open_store
from agentlab.agent.base import Agent
from agentlab.events import Event
from agentlab_widgets.inspector import Inspector
from agentlab_widgets.rates import BARS, bars_of, width_of
from agentlab_widgets.stream import KEPT, Newest
from tests.conftest import wait_for


class Diarist(Agent):
    """Has a state and a conversation."""

    count: int = 0
    pages: Transcript = Transcript()

    async def write(self, text: str) -> int:
        """Keep a text."""
        self.pages.append(text)
        self.count += 1
        return self.count


class Page:
    """What a browser hears of each part."""

    def __init__(self, widget: Any) -> None:
        self.heard: list[dict[str, Any]] = []
        self._widget = widget
        widget.send = lambda content, _buffers=None: self.heard.append(content)

    def say(self, pane: str, **content: Any) -> None:
        """A browser says something to a part."""
        self._widget._hear(self._widget, {"looker": "me", "pane": pane, **content}, [])

    def open(self, pane: str) -> dict[str, Any]:
        """Open a part; its first picture."""
        self.say(pane, t="hello")
        wait_for(lambda: self.of(pane, "snapshot", "absent"))
        return self.of(pane, "snapshot", "absent")[0]

    def of(self, pane: str, *kinds: str) -> list[dict[str, Any]]:
        """What was told of a part."""
        return [said for said in list(self.heard) if said["pane"] == pane and said["t"] in kinds]

    def place(self, path: str) -> str:
        """The place of a path in the tree, as parts of agents are named."""
        tree = self.open("tree")
        return next(f"{tree['epoch']}:{row['slot']}" for row in tree["rows"] if row["path"] == path)


def brushed(page: Page, since: int | None, until: int | None) -> None:
    """Brush a span on a chart, or let go of it."""
    page.say("rates", t="span", **{"from": since, "to": until})


def span_of(page: Page) -> Any:
    """The span that the charts say is brushed."""
    said = [each.get("parts", {}) | each.get("set", {}) for each in page.of("rates", "snapshot", "difference")]
    return next((parts["span"] for parts in reversed(said) if "span" in parts), "")


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the lab of these tests keeps itself."""
    return tmp_path_factory.mktemp("dashboard") / "run.lab"


@pytest.fixture(scope="module")
def lab(file: Path) -> Iterator[Lab]:
    """One lab for all of these: a team of two, one of which has crashed."""
    with Lab(file, nodes=1) as lab:
        team = lab.start(Supervisor("team", child(Diarist, id="a"), child(Diarist, id="b")))
        lab["/team/a"].call.write("tea").result(60)
        lab["/team/b"].crash()
        lab.wait_idle(60)
        assert team.path == "/team"
        yield lab


def test_each_part_has_its_own_line(lab):
    """Tree, events, charts, and the parts of an agent, which its place in the tree names."""
    widget = lab.dashboard()
    page = Page(widget)
    place = page.place("/team/a")

    events, rates = page.open("events"), page.open("rates")
    looked = page.open(f"inspector:{place}")
    spoken = page.open(f"transcript:{place}")
    widget.close()

    assert {e["path"] for e in events["events"] if e["kind"] == "crashed"} == {"/team/b"}
    assert all(sum(series) >= 1 for series in rates["parts"]["trouble"]["heights"])
    assert sum(rates["parts"]["messages"]["heights"][0]) >= 1
    assert looked["label"] == "/team/a"
    assert "pages" in [field["n"] for field in looked["parts"]["state"]["fields"]]
    assert any(name.startswith("turn:") for name in spoken["parts"])


def test_a_click_in_a_part_does_what_its_own_view_does(lab):
    """A button of the inspector; new events come as they happen, each once."""
    widget = lab.dashboard()
    page = Page(widget)
    part = f"inspector:{page.place('/team/b')}"
    told = {e["seq"] for e in page.open("events")["events"]}
    page.open(part)

    page.say(part, t="do", what="crash")
    wait_for(lambda: page.of(part, "did"))
    wait_for(lambda: any(e["kind"] == "started" for said in page.of("events", "difference") for e in said["events"]))
    widget.close()

    fresh = [e for said in page.of("events", "difference") for e in said["events"]]
    assert page.of(part, "did")[0]["ok"]
    assert [e["kind"] for e in fresh if e["path"] == "/team/b"] == ["crashed", "restarting", "started"]
    assert told.isdisjoint(e["seq"] for e in fresh)


def test_a_brushed_span_filters_charts_and_events_until_it_is_let_go_of(lab, file):
    """What happened in it alone is told, of a store too; what happens after it is not; then all of it again."""
    live, stored = lab.dashboard(), open_store(file)
    for widget in (live, stored.dashboard()):
        page = Page(widget)
        page.open("rates")
        told = [each["seq"] for each in page.open("events")["events"]]
        heard = len(page.of("events", "snapshot"))
        brushed(page, 1000, 2000)
        wait_for(lambda page=page, heard=heard: len(page.of("events", "snapshot")) > heard)
        none = page.of("events", "snapshot")[-1]
        wait_for(lambda page=page: span_of(page) == [1000, 2000])

        page.say("events", t="hello")  # another browser sees the same
        wait_for(lambda page=page, heard=heard: len(page.of("events", "snapshot")) > heard + 1)
        other = page.of("events", "snapshot")[-1]
        brushed(page, None, None)
        wait_for(lambda page=page, heard=heard: len(page.of("events", "snapshot")) > heard + 2)
        again = page.of("events", "snapshot")[-1]
        wait_for(lambda page=page: span_of(page) is None)
        widget.close()

        assert (none["events"], none["span"]) == ([], [1000, 2000])
        assert (other["events"], other["span"]) == ([], [1000, 2000])
        assert [each["seq"] for each in again["events"]][: len(told)] == told
    stored.close()


def test_events_of_a_span_are_told_however_many_came_since():
    """Of a kind only the newest are kept, but of a span its own are; its end is not in it."""
    second = 1_000_000_000
    flood = [Event(seq, seq * second, "crashed", "/a") for seq in range(1, 1000)]
    whole, part = Newest(), Newest((5, 8))

    whole.add(flood)
    fresh = part.add(flood)

    assert whole.all()[0].seq == 1000 - KEPT
    assert [event.seq for event in part.all()] == [5, 6, 7]
    assert fresh == part.all()
    assert part.add(flood) == []


def test_a_browser_that_asks_again_before_it_hears_gets_one_part(lab):
    """Its first word may wait for long on a busy machine; two tellers of one agent would speak into each other."""
    widget, before = lab.dashboard(), set(threading.enumerate())
    page = Page(widget)
    place = page.place("/team/a")

    for _ in range(3):
        page.say(f"inspector:{place}", t="hello")
    wait_for(lambda: len(page.of(f"inspector:{place}", "beat")) > 2)
    tellers = [one for one in threading.enumerate() if isinstance(one, Inspector) and one not in before]
    widget.close()

    assert len(tellers) == 1


@pytest.mark.parametrize("pane", ["inspector:1:999", "inspector:77:1", "inspector:1:-1", "sneaky", "tree:1:1", ""])
def test_a_part_that_is_not_there_is_said_or_ignored(lab, pane):
    """Whatever a browser asks for, the tree goes on; what could have been meant is answered."""
    widget = lab.dashboard()
    page = Page(widget)
    page.open("tree")

    page.say(pane, t="hello")
    page.say(pane, t="do", what="crash")
    place = page.place("/team/a")
    page.open(f"inspector:{place}")
    widget.close()

    absent = page.of(pane, "absent")
    assert [said["why"] for said in absent] == (["There is no such agent any more."] if len(absent) else [])
    assert bool(absent) == (pane in ("inspector:1:999", "inspector:77:1"))


def test_a_supervisor_and_an_agent_without_a_conversation_have_no_such_part(lab):
    """What there is instead is said."""
    widget = lab.dashboard()
    page = Page(widget)

    told = page.open(f"inspector:{page.place('/team')}")
    widget.close()

    assert told["t"] == "absent"


def test_a_store_is_followed_and_nothing_can_be_done_to_it(lab, file):
    """A lab of another process: the same parts, read only, which go on as it writes."""
    with open_store(file) as stored:
        widget = stored.dashboard()
        page = Page(widget)
        place = page.place("/team/a")
        looked, spoken = page.open(f"inspector:{place}"), page.open(f"transcript:{place}")
        events = page.open("events")
        page.say(f"inspector:{place}", t="do", what="crash")
        page.say("tree", t="do", what="kill", epoch=1, slot=1)
        lab["/team/a"].call.write("cake").result(60)

        wait_for(lambda: "cake" in str(page.of(f"transcript:{place}", "difference")))
        wait_for(lambda: page.of(f"inspector:{place}", "difference"))
        widget.close()

    assert {said["over"][0] for said in (looked, spoken, events)} == {"read only"}
    assert "tea" in str(spoken["parts"])
    ties = looked["parts"]["ties"]
    assert (ties["budget"], ties["links"]) == ("no limit", [])
    assert "known to the running lab alone" in ties["untold"]
    assert lab["/team/a"].incarnation == 1


def test_of_a_closed_lab_the_end_stays():
    """Its tree as it was, what happened to the last, and how much; an agent of it is nowhere any more."""
    with Lab(nodes=1) as closed:
        closed.start(Diarist, id="a").crash()
        closed.wait_idle(60)
    widget = closed.dashboard()
    page = Page(widget)

    place = page.place("/a")
    events, rates, gone = page.open("events"), page.open("rates"), page.open(f"inspector:{place}")
    widget.close()

    assert events["events"][-1]["kind"] == "supervisor_exited"
    assert [sum(series) for series in rates["parts"]["trouble"]["heights"]] == [1, 1]
    assert gone["why"].startswith("LabClosed")


def test_without_a_browser_it_says_the_same_of_a_lab_and_of_its_store(lab, file):
    """Text and HTML: the tree, and how often what happened; all escaped."""
    with open_store(file) as stored:
        live, kept = lab.dashboard(), stored.dashboard()
        texts = [repr(widget).split("\n")[1:] for widget in (live, kept)]
        shown = live._repr_mimebundle_()[0]
        live.close()
        kept.close()

    assert texts[0][-1] == texts[1][-1]
    assert "crashed" in texts[0][-1]
    assert texts[0][0].startswith("lab")
    assert "<table>" in shown["text/html"]
    assert shown["text/plain"] == repr(live)


def test_of_a_kind_that_happens_all_the_time_the_newest_are_kept_and_the_rare_one_too():
    """A flood of one kind washes no other away."""
    newest = Newest()
    flood = [Event(seq, 1, "started", "/a") for seq in range(2, 5000)]

    fresh = newest.add([Event(1, 1, "crashed", "/b"), *flood])
    again = newest.add(flood)

    assert [event.kind for event in fresh].count("started") == KEPT
    assert fresh[0] == (1, 1, "crashed", "/b", None, None, None, None, None)
    assert fresh[-1].seq == 4999
    assert again == []


@pytest.mark.parametrize("seconds", [0, 59, 600, 86_400, 10_000_000, 1_000_000_000])
def test_a_chart_has_few_bars_however_long_it_went_on(seconds):
    """And whatever is counted in its time is in one of them."""
    counts = Counts({(1000, 0): 2, (1000 + seconds, 1): 3})

    bars = bars_of(counts, 1000, 1000 + seconds)

    assert [sum(series) for series in bars["heights"]] == [2, 3]
    assert len(bars["heights"][0]) <= BARS + 1
    assert bars["width"] == width_of(seconds)
