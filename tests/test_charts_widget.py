"""Charts that are drawn anew while a lab runs, without a browser: what one hears, and what a brushed span leaves."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from agentlab import Lab, charts, open_store
from agentlab.errors import InvalidArgument
from agentlab_widgets.charts import OF_A_LAB
from agentlab_widgets.span import Span
from tests.agents import Counter
from tests.conftest import wait_for

pytestmark = pytest.mark.xdist_group("altair")  # it takes seconds to load: one process is enough


class Page:
    """A browser that knows the parts of one widget."""

    def __init__(self, widget: Any) -> None:
        self.parts: dict[str, Any] = {}
        self._widget = widget
        widget.send = self._heard

    def _heard(self, content: dict[str, Any], _buffers: object = None) -> None:
        self.parts |= content.get("parts", {}) | content.get("set", {})

    def say(self, **content: Any) -> None:
        """Say something to the kernel."""
        self._widget._hear(self._widget, {"looker": "me", **content}, [])

    def shows(self, text: str, name: str = "restarts") -> None:
        """Wait until a picture says something."""
        wait_for(lambda: text in self.parts.get(f"chart {name}", {}).get("svg", ""))


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a lab keeps itself."""
    return tmp_path / "run.lab"


@pytest.fixture
def lab(file: Path) -> Iterator[Lab]:
    """A lab in which one agent crashed once."""
    with Lab(file, nodes=1) as lab:
        lab.start(Counter, id="counter").crash()
        lab.wait_idle(60)
        yield lab


def test_a_chart_is_drawn_anew_when_something_happens(lab: Lab) -> None:
    """The picture of a browser that looks has the next restart, too."""
    page = Page(lab.charts("restarts"))
    page.say(t="hello")
    page.shows("1 restart<")

    lab["/counter"].crash()

    page.shows("2 restarts<")
    assert sum(map(sum, page.parts["bars"]["heights"])) == 4  # two ends, two restarts


def test_a_brushed_span_filters_every_chart_until_it_is_let_go_of(lab: Lab) -> None:
    """Nothing of a span in which nothing was; all of it again; what has no times stays whole."""
    page = Page(lab.charts("restarts", "lifelines", "spend"))
    page.say(t="hello")
    page.shows("1 restart<")
    page.shows("2 incarnations<", "lifelines")

    page.say(t="span", **{"from": 1000, "to": 2000})

    page.shows("No restarts in this span")
    page.shows("Nobody has lived in this span", "lifelines")
    assert (page.parts["span"], page.parts["quiet"]) == ([1000, 2000], True)
    assert [page.parts[f"chart {name}"]["whole"] for name in ("restarts", "spend")] == [False, True]
    page.say(t="span", **{"from": None, "to": None})
    page.shows("1 restart<")
    assert (page.parts["span"], page.parts["quiet"]) == (None, False)


@pytest.mark.parametrize(
    "span", [{"from": 5, "to": 5}, {"from": -1, "to": 5}, {"from": "a", "to": 5}, {"to": 1e300}, {}]
)
def test_a_span_that_is_none_is_not_heard(lab: Lab, span: dict[str, Any]) -> None:
    """What no page of ours says changes nothing."""
    page = Page(lab.charts("restarts"))
    page.say(t="hello")
    page.shows("1 restart<")

    page.say(t="span", **span)

    lab["/counter"].crash()
    page.shows("2 restarts<")
    assert page.parts["span"] is None


def test_a_narrow_cell_gets_a_narrow_picture(lab: Lab) -> None:
    """Letters stay as large as they are: the kernel draws for the width that a browser has."""
    page = Page(lab.charts("restarts"))
    page.say(t="hello")
    page.shows('viewBox="0 0 9')

    page.say(t="wide", px=420)

    page.shows('viewBox="0 0 4')


def test_charts_of_a_closed_lab_and_of_its_store_can_be_brushed(lab: Lab, file: Path) -> None:
    """The whole life stays, and a span of it is still drawn."""
    live = Page(lab.charts("restarts"))
    live.say(t="hello")
    live.shows("1 restart<")
    lab.close()

    with open_store(file) as stored:
        for page in (live, Page(stored.charts("restarts"))):
            page.say(t="hello")
            page.shows("1 restart<")
            page.say(t="span", **{"from": 1000, "to": 2000})
            page.shows("No restarts in this span")


def test_a_mark_says_what_its_tooltip_would(lab: Lab) -> None:
    """Line by line, with numbers as people write them."""
    page = Page(lab.charts("restarts", "lifelines"))
    page.say(t="hello")

    page.shows("agent: /counter&#xA;kind: ")
    page.shows('&#xA;restarts: 1"')
    page.shows("incarnation: 2&#xA;ended: goes on&#xA;why: &#xA;start: ", "lifelines")


def test_without_a_browser_pictures_and_titles_say_the_same(lab: Lab) -> None:
    """Text has each chart's title, HTML its picture."""
    widget = lab.charts("restarts", "breaker")
    data, _ = widget._repr_mimebundle_()

    assert repr(widget).splitlines()[1:] == ["restarts: 1 restart", "breaker: No breaker has opened yet"]
    assert data["text/html"].count('<div class="agentlab-chart">') == 2
    assert "/counter" in data["text/html"]


def test_a_chart_that_no_lab_has_is_refused_by_name(lab: Lab) -> None:
    """With the names of those that there are, each of which is one of ``agentlab.charts``."""
    with pytest.raises(InvalidArgument, match=r"restarts, downtime, .*; got 'scores'"):
        lab.charts("scores")
    assert set(OF_A_LAB) < set(charts.__all__)


def test_a_span_has_what_was_so_already_when_it_begins(lab: Lab) -> None:
    """A life that goes on, and a breaker that is open, begin with it; a life that was over is not in it."""
    other = lab.start(Counter, id="other")
    other.stop()
    breaker = lab.breaker("anthropic")
    breaker.open()
    lab.wait_idle(60)
    since = time.time_ns()
    breaker.close()

    events = Span(lab, since, since + 60_000_000_000).events()

    found = list(zip(events["kind"], events["path"], strict=True))
    assert ("started", "/counter") in found
    assert ("started", "/other") not in found
    assert [kind for kind in events["kind"] if kind.startswith("breaker")] == ["breaker_opened", "breaker_closed"]
    assert events["at"].min() == pd.Timestamp(since, tz="UTC")
    assert "2 incarnations" not in str(charts.lifelines(Span(lab, since, since + 1)).to_dict())


def test_a_life_is_drawn_through_a_span_in_which_nothing_happened(lab: Lab) -> None:
    """From the span's beginning to its end, where the axes were empty; other charts say that nothing was."""
    lab.wait_idle(60)
    since = time.time_ns()
    wait_for(lambda: time.time_ns() > since + 100_000_000)

    quiet = Span(lab, since, since + 50_000_000)
    (lives,) = charts.lifelines(quiet).to_dict()["datasets"].values()

    assert quiet.is_quiet()
    assert [(life["agent"], life["ended"], life["start"], life["end"]) for life in lives] == [
        ("/counter", "goes on", 0.0, 0.05)
    ]
    assert "No messages in this span" in str(charts.latency(quiet).to_dict())
    assert "No messages yet" in str(charts.latency(lab).to_dict())
