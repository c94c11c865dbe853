"""Charts from frames: small, offline, the same every time."""

from __future__ import annotations

import math
import re
import subprocess
import sys
import textwrap
from typing import TYPE_CHECKING

import pandas as pd
import pytest

from agentlab import charts
from agentlab.charts.lives import ENDS
from agentlab.errors import InvalidArgument
from agentlab.ground.texts import clean
from agentlab.kernel import eventlog
from agentlab.supervision.words import Used

if TYPE_CHECKING:
    import altair as alt

pytestmark = pytest.mark.xdist_group("altair")  # it takes seconds to load: one process is enough

RESTARTS = pd.DataFrame(
    {
        "path": pd.Categorical(["/counter", "/counter", "/team/w1"]),
        "reason": pd.Categorical(["killed", "ValueError: <b>bad</b>", "killed"]),
    }
)
MESSAGES = pd.DataFrame(
    {
        "method": pd.Categorical(["add", "add", "ask"]),
        "wait_s": [0.001, 0.002, 0.0],
        "took_s": [0.01, 0.03, 2.0],
    }
)


class StoredFrames:
    """A lab as far as charts see it."""

    def restarts(self) -> pd.DataFrame:
        return RESTARTS

    def messages(self) -> pd.DataFrame:
        return MESSAGES


def rows(chart: alt.Chart | alt.LayerChart) -> list[dict[str, object]]:
    """The rows that a chart carries."""
    (data,) = chart.to_dict()["datasets"].values()
    return data


def svg(chart: alt.Chart | alt.LayerChart) -> str:
    """What a notebook shows of a chart."""
    return chart._repr_mimebundle_()["image/svg+xml"]


def test_restarts_are_counted_by_agent_and_reason():
    """The most restarted agent comes first, each reason is a part of its bar."""
    drawn = [(row["agent"], row["reason"], row["restarts"]) for row in rows(charts.restarts(RESTARTS))]

    assert drawn == [("/counter", "ValueError: <b>bad</b>", 1), ("/counter", "killed", 1), ("/team/w1", "killed", 1)]


def test_latency_shows_quantiles_in_milliseconds_by_method():
    """Median, 95th percentile and slowest, of the wait and of the handler; zero is drawn as one microsecond."""
    drawn = {(row["method"], row["part"]): row for row in rows(charts.latency(MESSAGES))}

    assert drawn["add", "handling"]["p50"] == pytest.approx(20)
    assert drawn["add", "handling"]["most"] == pytest.approx(30)
    assert drawn["add", "handling"]["messages"] == 2
    assert drawn["ask", "waiting"]["p50"] == charts.times.SHORTEST_MS


@pytest.mark.parametrize("draw", [charts.restarts, charts.latency])
def test_a_lab_is_as_good_as_its_frame(draw):
    """The chart reads the frame from the lab itself."""
    frame = RESTARTS if draw is charts.restarts else MESSAGES

    assert draw(StoredFrames()).to_dict() == draw(frame).to_dict()


@pytest.mark.parametrize(("draw", "frame"), [(charts.restarts, RESTARTS), (charts.latency, MESSAGES)])
def test_an_empty_frame_gives_a_chart_that_says_so(draw, frame):
    """Nothing to draw is an answer, not an error."""
    chart = draw(frame.iloc[:0])

    assert rows(chart)[0]["message"].startswith("No ")
    assert "No " in svg(chart)


@pytest.mark.parametrize(("draw", "frame"), [(charts.restarts, RESTARTS), (charts.latency, MESSAGES)])
def test_a_chart_is_the_same_bytes_every_time(draw, frame):
    """A notebook with a chart can be compared with its last run."""
    assert svg(draw(frame)) == svg(draw(frame))


def test_a_still_picture_says_what_is_below_the_mouse():
    """Each bar has the title that a tooltip would have, with what a hostile reason says as text."""
    bars = re.findall(r"<path[^>]*><title>([^<]*)</title></path>", svg(charts.restarts(RESTARTS)))

    assert [each for each in bars if "/counter" in each and "killed" in each]
    assert [each for each in bars if "&lt;b&gt;bad&lt;/b&gt;" in each]
    assert len(bars) == len(RESTARTS)


def test_a_chart_of_many_rows_stays_small():
    """100,000 restarts of 5,000 agents for 500 reasons are at most 20 bars of 8 colours."""
    many = pd.DataFrame(
        {"path": [f"/a{n % 5000}" for n in range(100_000)], "reason": [f"r{n % 500}" for n in range(100_000)]}
    )

    drawn = rows(charts.restarts(many))

    assert len(drawn) <= charts.drawing.MOST * len(charts.bars.REASONS)
    assert sum(row["restarts"] for row in drawn) == 100_000
    assert {"other agents", "other reasons"} <= {row["agent"] for row in drawn} | {row["reason"] for row in drawn}


def test_hostile_reasons_are_drawn_as_text():
    """Markup is text; control characters, one of which ends vl-convert and its whole process, do not reach it."""
    hostile = pd.DataFrame({"path": ["/a"], "reason": ["\ud800\x1b[31m<script>alert(1)</script>\n" + "x" * 10_000]})

    drawn = svg(charts.restarts(hostile))

    assert "<script>" not in drawn
    assert len(drawn) < 20_000


MESSY = pd.DataFrame(
    {
        "path": [f"/team/worker-{n}" for n in range(40)] * 2,
        "reason": [f"Crashed: /team/worker-{n} was told to crash" for n in range(40)]
        + [f"bad sample {n}" for n in range(40)],
        "fault": ["Crashed"] * 40 + [None] * 40,
    }
)


def test_restarts_of_one_kind_have_one_colour():
    """The exception's class is the kind, or a text without its paths and numbers; the tooltip has what was said."""
    chart = charts.restarts(MESSY)
    bars, _ = chart.to_dict()["layer"]

    assert bars["encoding"]["color"]["scale"]["domain"] == ["Crashed", "bad sample …"]
    assert "reason" in [entry["field"] for entry in bars["encoding"]["tooltip"]]
    assert {row["reason"] for row in rows(chart) if row["agent"] == "/team/worker-0"} == {
        "Crashed: /team/worker-0 was told to crash",
        "bad sample 0",
    }
    others = [row["reason"] for row in rows(chart) if row["agent"] == "other agents"]
    assert others[0].endswith("was told to crash (and 20 other texts)")


def test_many_other_agents_do_not_set_the_scale():
    """Their bar ends where the longest of the others does, says so, and keeps its number."""
    chart = charts.restarts(MESSY)
    bars, _ = chart.to_dict()["layer"]
    named = [row for row in rows(chart) if row["agent"] != "other agents"]
    others = [row for row in rows(chart) if row["agent"] == "other agents"]

    assert bars["encoding"]["x"]["scale"]["domain"] == [0, 2]
    assert max(row["end"] for row in named) == others[-1]["end"] == 2
    assert (sum(row["restarts"] for row in others), others[-1]["total"]) == (42, "42 (the bar is cut)")
    assert rows(chart)[-1] == others[-1]


def test_a_long_name_shows_its_end():
    """Where paths differ; and the names stay apart though they begin alike."""
    paths = ["/" + "a-very-long-team-name/" * 4 + name for name in ("ada", "grace")]

    drawn = svg(charts.restarts(pd.DataFrame({"path": paths, "reason": "killed"})))

    for path in paths:
        assert f"…{path[1 - charts.drawing.LONGEST :]}<" in drawn


def test_a_legend_has_room():
    """However long and many the kinds are, their columns fit side by side."""
    kinds = [f"A{'Very' * n}LongError" for n in range(8)]
    chart = charts.restarts(pd.DataFrame({"path": "/a", "reason": "x", "fault": kinds})).to_dict()
    legend = chart["layer"][0]["encoding"]["color"]["legend"]

    assert legend["columns"] * 8 * max(map(len, kinds)) <= charts.drawing.WIDTH


@pytest.mark.parametrize(
    "chart",
    [
        charts.restarts(MESSY),
        charts.latency(MESSAGES),
        charts.outcomes(pd.DataFrame({"a": [1, 2], "b": [3, 4]}), x="a", y="b"),
        charts.restarts(MESSY[:0]),
    ],
    ids=["restarts", "latency", "outcomes", "nothing"],
)
def test_a_chart_is_as_wide_as_its_cell_and_has_no_small_letters(chart):
    """A live renderer asks the page for the width; a still picture has one of its own, and is stretched or shrunk."""
    drawn = svg(chart)
    sizes = [float(size) for size in re.findall(r'font-size="([0-9.]+)px"', drawn)]

    assert chart.to_dict()["width"] == "container"
    assert f' width="100%" viewBox="0 0 {charts.drawing.WIDTH} ' in drawn.partition(">")[0]
    assert sizes
    assert min(sizes) >= 12


def test_times_have_units_a_person_says():
    """Both ends of a row and every power of ten on the axis."""
    drawn = svg(charts.latency(MESSAGES))

    for label in ("1 µs", "1.5 ms", "30 ms", "100 ms", "2 s"):
        assert f">{label}</text>" in drawn


def test_something_else_is_refused_with_the_next_move():
    """The error names what was given and what to give."""
    with pytest.raises(TypeError, match=r"got \[1, 2\]\. Try lab\.restarts\(\)"):
        charts.restarts([1, 2])


def test_what_charts_need_is_loaded_by_the_first_one_and_grammars_by_whoever_checks_an_address():
    """Whoever draws nothing pays nothing; jsonschema, which Altair imports, builds them for a format no chart has."""
    code = """
        import sys
        from agentlab import charts
        print({"altair", "pandas"} & set(sys.modules))
        import pandas
        charts.outcomes(pandas.DataFrame({"a": ["b"], "c": [1]}), "a", "c")
        print({"jsonschema", "lark", "rfc3987_syntax"} & set(sys.modules))
        from jsonschema import FormatChecker
        print([FormatChecker().conforms(text, "iri") for text in ("http://x.org/\u00fc", "no address")])
        import rfc3987_syntax
        print(rfc3987_syntax.is_valid_syntax_port("80"))
    """

    printed = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True)

    assert printed.stdout.splitlines() == ["set()", "{'jsonschema'}", "[True, False]", "True"]


def test_outcomes_mark_the_best():
    """A bar per row in the order of the rows; labels are safe to draw; without rows it says so."""
    frame = pd.DataFrame({"state.prompt": ["a", "b\n", "c"], "state.score": [1, 3, 2]})

    chart = charts.outcomes(frame, x="state.prompt", y="state.score")

    assert [(row["tried"], row["value"], row["best"]) for row in rows(chart)] == [
        ("a", 1, False),
        ("b ", 3, True),
        ("c", 2, False),
    ]
    assert "score by prompt" in svg(chart)
    assert "No outcomes yet" in svg(charts.outcomes(frame[:0], x="state.prompt", y="state.score"))


def test_tab_finds_the_charts_and_nothing_else():
    """What the module itself uses is nobody's chart."""
    assert dir(charts) == [
        "breaker", "by_sample", "cost", "downtime", "faults", "flame", "intensity", "latency", "lifelines", "outcomes",
        "restarts", "scores", "sequence", "spend", "timeline",
    ]  # fmt: skip
    assert all(callable(getattr(charts, name)) for name in dir(charts))


def test_a_long_text_is_cut_where_it_says():
    """The last character of a cut one says that there was more."""
    assert clean("x" * 10, 10) == "x" * 10
    assert clean("x" * 11, 10) == "x" * 9 + "…"


def test_each_bar_says_its_total_once_and_the_most_frequent_kind_is_first():
    """The number stands at the end of the last part; the legend begins with what happened most."""
    frame = pd.DataFrame({"path": ["/a"] * 4, "reason": ["Aaa: x", "Zzz: x", "Zzz: y", "Zzz: z"]})

    counts, kinds = charts.bars._counts(frame)

    assert kinds == ["Zzz", "Aaa"]
    assert sorted(counts["total"]) == ["", "4"]


def test_the_slowest_methods_are_drawn_and_a_dot_alone_needs_no_second_number():
    """Of more than 20 methods the quick ones are left out."""
    number = charts.drawing.MOST + 5
    frame = pd.DataFrame({
        "method": [f"m{n:02}" for n in range(number)], "wait_s": [0.0] * number,
        "took_s": [float(n) for n in range(number)],
    })  # fmt: skip

    marks = charts.times._quantiles(frame, "method", "messages", charts.times.PARTS)

    assert list(dict.fromkeys(marks["method"])) == [f"m{n:02}" for n in reversed(range(5, number))]
    assert set(marks["dot"]) == {""}


def test_a_breaker_is_a_bar_per_state_from_its_first_opening_on():
    """Open, half open, closed, on one line for each dependency; the last lasts until the last event."""
    start = pd.Timestamp("2026-11-27 03:00", tz="UTC")
    kinds = ["started", "breaker_opened", "breaker_opened", "breaker_half_open", "breaker_closed", "started"]
    names = [None, "sim", "local", "sim", "sim", None]
    seconds = [start + pd.Timedelta(seconds=n) for n in (0, 1, 2, 4, 6, 9)]
    events = pd.DataFrame({"kind": kinds, "at": seconds, "reason": names, "detail": "5 of 6 agents failed"})

    rows = charts.breaker(events).data

    assert rows[["name", "state", "start", "end"]].values.tolist() == [
        ["sim", "open", 0, 3], ["local", "open", 1, 8], ["sim", "half open", 3, 5], ["sim", "closed", 5, 8],
    ]  # fmt: skip
    assert "No breaker has opened" in str(charts.breaker(events[:1]).to_dict())


def test_faults_are_counted_by_kind_and_by_what_failed():
    """The most frequent first; what did not fail is not drawn."""
    steps = pd.DataFrame(
        {"name": ["sim", "add", "sim", "sim"], "fault": ["overloaded", "tool_failed", "overloaded", None]}
    )

    chart = charts.faults(steps)

    assert [(row["agent"], row["kind"], row["restarts"]) for row in rows(chart)] == [
        ("overloaded", "sim", 2), ("tool_failed", "add", 1),
    ]  # fmt: skip
    assert "3 failed attempts" in svg(chart)
    assert "No attempt has failed" in svg(charts.faults(steps[3:]))
    many = charts.faults(pd.DataFrame({"name": "x", "fault": [f"Error{n}" for n in range(30)]}))
    assert len({row["agent"] for row in rows(many)}) == charts.drawing.MOST


def spent(**columns: list[object]) -> pd.DataFrame:
    """What ``lab.spend()`` gives, with these columns."""
    plain = {"who": ["/a", "/b"], "model": "m", "calls": [2, 1], "tokens_in": [90, 10], "tokens_out": [10, 5]}
    rest = {"tokens_cached": [40, 0], "cost_usd": [0.5, 2.0], "replayed": [3, 0], "wasted_usd": [0.125, 0.0]}
    return pd.DataFrame({**plain, **rest, **columns})


def test_what_was_spent_is_a_bar_each_and_what_was_wasted_is_set_apart():
    """In dollars, the dearest first; how many calls it was, and how many were for nothing, is seen over a bar."""
    chart = charts.spend(spent())

    drawn = [(row["who"], row["part"], row["start"], row["end"], row["total"]) for row in rows(chart)]
    assert drawn == [
        ("/b", "used", 0, 2, ""), ("/b", "wasted", 2, 2, "$2.00"),
        ("/a", "used", 0, 0.375, ""), ("/a", "wasted", 0.375, 0.5, "$0.50"),
    ]  # fmt: skip
    assert [(row["calls"], row["replayed"]) for row in rows(chart)][1:3] == [(1, 0), (2, 3)]
    assert "$2.50 in 3 model calls, $0.12 of it wasted" in svg(chart)


def test_where_nobody_knows_a_price_tokens_are_drawn():
    """None of them at all: tokens, by what they were; some of them: no bar, and it is said why."""
    unknown = spent(cost_usd=[None, None], wasted_usd=[None, None])

    assert [(row["part"], row["end"]) for row in rows(charts.spend(unknown))][:3] == [
        ("read", 50), ("read from the cache", 90), ("written", 100),
    ]  # fmt: skip
    some = rows(charts.spend(spent(cost_usd=[None, 2.0], wasted_usd=[None, 0.0])))
    assert [row["total"] for row in some if row["who"] == "/a"] == ["", "no price"]


def test_of_many_who_spend_the_dearest_are_drawn():
    """The others are one bar; several models of one agent are one, too."""
    many = pd.concat([spent(who=[f"/a{n}", "/b"], cost_usd=[float(n), 2.0]) for n in range(40)])

    drawn = charts.spend(many).to_dict()

    (data,) = drawn["datasets"].values()
    who = list(dict.fromkeys(row["who"] for row in data))
    assert (len(who), who[:2], who[-1]) == (charts.drawing.MOST, ["/b", "/a39"], "all others")
    assert "No model was called" in svg(charts.spend(many[:0]))


NIGHT = pd.DataFrame(
    {
        "seq": range(1, 8),
        "at": pd.to_datetime([f"2026-01-01T03:00:0{s}Z" for s in (0, 0, 2, 2, 3, 8, 9)]),
        "kind": ["started", "started", "crashed", "restarting", "started", "stopped", "log"],
        "path": ["/t/a", "/t/b", "/t/a", "/t/a", "/t/a", "/t/b", "/t/a"],
        "incarnation": pd.array([1, 1, 1, None, 2, 1, 2], "Int64"),
        "reason": [None, None, "ValueError: <b>", "ValueError: <b>", None, "normal", None],
        "detail": [None, None, None, "1 of 3 restarts in 5 s", None, None, None],
    }
)


def test_a_life_is_a_bar_from_its_start_to_its_end():
    """The one that goes on lasts to the last event; the gap between two is when nobody was there."""
    drawn = [(r["agent"], r["incarnation"], r["ended"], r["start"], r["end"]) for r in rows(charts.lifelines(NIGHT))]
    assert drawn == [
        ("/t/a", 1, "crashed", 0, 2), ("/t/a", 2, "goes on", 3, 9), ("/t/b", 1, "stopped", 0, 8),
    ]  # fmt: skip


def test_lives_of_no_time_are_seen():
    """As of a span that has only just begun: they were bars of no width, over an axis that said 0 and nothing else."""
    drawn = svg(charts.lifelines(NIGHT[:2]))
    assert "values from 0.0 to 1.0" in drawn
    bars = re.findall(r'aria-roledescription="bar"[^>]*stroke="([^"]+)" stroke-width="1"', drawn)
    assert bars == [ENDS["goes on"]] * 2


def test_a_limit_is_used_by_a_restart_and_free_again_when_its_window_is_over():
    """Three restarts in 5 s are borne: one is a third, for five seconds."""
    (drawn,) = (data for data in charts.intensity(NIGHT).to_dict()["datasets"].values() if len(data) > 1)
    assert [(r["supervisor"], r["seconds"], r["used"]) for r in drawn] == [("/t", 0, "1 of 3"), ("/t", 5, "0 of 3")]


@pytest.mark.parametrize(("limit", "used"), [((3.0, 5.0), ["1 of 3", "0 of 3"]), ((1e6, math.inf), ["1 of 1e+06"])])
def test_what_the_event_of_a_restart_says_is_what_is_read(limit, used):
    """A large limit too, and a window that never ends."""
    told = NIGHT.assign(detail=NIGHT["detail"].map(lambda text: eventlog._detail(Used(1, *limit)) if text else None))
    (drawn,) = (data for data in charts.intensity(told).to_dict()["datasets"].values() if "used" in data[0])
    assert [row["used"] for row in drawn] == used


def test_who_was_away_is_drawn_by_what_ended_it():
    """The longest first; without the column ``fault``, by the reason."""
    frame = pd.DataFrame({"reason": ["killed", "Boom: 1", "Boom: 2"], "fault": [None, "Boom", "Boom"]})
    frame["downtime_s"] = [0.5, 0.001, 0.003]
    assert [(r["ended"], r["restarts"], r["p50"]) for r in rows(charts.downtime(frame))] == [
        ("killed", 1, 500), ("Boom", 2, 2),
    ]  # fmt: skip
    assert {r["ended"] for r in rows(charts.downtime(frame.drop(columns="fault")))} == {"killed", "Boom: 1", "Boom: 2"}


TRAFFIC = pd.DataFrame(
    {
        "path": ["/boss", "/worker", "/worker"],
        "seq": [1, 1, 2],
        "sender": ["", "/boss", "/boss"],
        "method": ["go", "look", "bad"],
        "sent_at": pd.to_datetime(["2026-01-01T03:00:00Z", "2026-01-01T03:00:02Z", "2026-01-01T03:00:01Z"]),
        "wait_s": [1.0, 0.0, 0.0],
        "took_s": [4.0, 2.0, 0.5],
        "outcome": ["ok", "ok", "failed"],
    }
)
STEPS = pd.DataFrame({"path": ["/boss"], "message_seq": [1], "name": ["search"], "took_s": [3.0], "fault": [None]})


def test_messages_are_arrows_in_the_order_in_which_they_were_sent():
    """From the cell too; one that failed is marked; the last few on request."""
    drawn = [(r["sender"], r["receiver"], r["method"], r["failed"]) for r in rows(charts.sequence(TRAFFIC))]
    assert drawn == [
        ("cell", "/boss", "go", False), ("/boss", "/worker", "bad", True), ("/boss", "/worker", "look", False),
    ]  # fmt: skip
    assert [r["method"] for r in rows(charts.sequence(TRAFFIC, last=1))] == ["look"]
    with pytest.raises(InvalidArgument, match="last must be a number of messages, 1 or more; got 0"):
        charts.sequence(TRAFFIC, last=0)


class Busy:
    """A lab as far as a flame sees it."""

    def messages(self) -> pd.DataFrame:
        return TRAFFIC

    def steps(self) -> pd.DataFrame:
        return STEPS


def test_a_flame_parts_methods_into_waiting_handling_and_steps():
    """The longest method is first; below its handling lie its steps."""
    drawn = [(r["level"], r["what"], r["start"], r["end"]) for r in rows(charts.flame(Busy()))]
    assert drawn[:4] == [
        ("method", "go", 0, 5),
        ("part", "waiting", 0, 1),
        ("part", "handling", 1, 5),
        ("step", "search", 1, 4),
    ]
    assert drawn[4:] == [
        ("method", "look", 5, 7),
        ("part", "handling", 5, 7),
        ("method", "bad", 7, 7.5),
        ("part", "handling", 7, 7.5),
    ]
    with pytest.raises(InvalidArgument, match="draws a lab"):
        charts.flame(TRAFFIC)


SUMMARY = pd.DataFrame({"metric": ["f1", "one"], "n": [9, 1], "mean": [0.5, 1.0]})
SUMMARY["ci_low"], SUMMARY["ci_high"] = [0.25, float("-inf")], [0.75, float("inf")]
SAMPLES = pd.DataFrame(
    {
        "id": ["a", "a", "b", "b"], "epoch": [1, 2, 1, 2], "disposition": ["scored", "scored", "failed", "scored"],
        "score.f1": [1.0, 0.5, 0.0, 0.25], "score.one": [0.0] * 4, "path": ["/e/a.1", "/e/a.2", "/e/b.1", "/e/b.2"],
        "turns": [1, 1, 1, 1], "tokens_in": [10, 10, 10, 10], "tokens_out": [1, 1, 1, 1],
        "cost_usd": [0.25, 0.25, 0.5, 0.25], "wasted_usd": [0.0, 0.0, 0.5, 0.0],
    }
)  # fmt: skip


class Run:
    """A run of an eval, as far as charts see it."""

    name = "tea"

    def summary(self) -> pd.DataFrame:
        return SUMMARY

    def samples(self) -> pd.DataFrame:
        return SAMPLES

    def messages(self) -> pd.DataFrame:
        began = pd.to_datetime(["2026-01-01T03:00:00Z", "2026-01-01T03:00:01Z", "2026-01-01T03:00:02Z"])
        ended = began + pd.Timedelta(seconds=4)
        return pd.DataFrame({"id": ["a", "a", "b"], "epoch": [1, 1, 1], "started_at": began, "ended_at": ended})

    def steps(self) -> pd.DataFrame:
        began = pd.to_datetime(["2026-01-01T03:00:03Z", None])
        faults = ["overloaded", None]
        return pd.DataFrame({"id": ["b", "b"], "epoch": [1, 1], "fault": faults, "started_at": began})


def test_scores_of_runs_stand_side_by_side():
    """A metric of one sample has no interval; of two runs with one name the second has a number."""
    drawn = [(r["run"], r["metric"], r["mean"], r["low"], r["high"]) for r in rows(charts.scores(Run(), Run()))]
    assert drawn == [
        ("tea", "f1", 0.5, 0.25, 0.75), ("tea", "one", 1, 1, 1),
        ("tea (2)", "f1", 0.5, 0.25, 0.75), ("tea (2)", "one", 1, 1, 1),
    ]  # fmt: skip


def test_the_lowest_samples_come_first_in_the_heat_map():
    """What was not scored says how it ended; another score on request."""
    drawn = [(r["sample"], r["epoch"], r["score"], r["ended"]) for r in rows(charts.by_sample(Run()))]
    assert drawn == [("b", 1, 0, "failed"), ("b", 2, 0.25, "scored"), ("a", 1, 1, "scored"), ("a", 2, 0.5, "scored")]
    assert {r["score"] for r in rows(charts.by_sample(SAMPLES, "one"))} == {0}
    with pytest.raises(InvalidArgument, match=r"one of the run's scores \(f1, one\); got 'tea'"):
        charts.by_sample(Run(), "tea")


def test_what_was_said_lies_behind_the_cells_of_a_run():
    """As text, in the order of the cells; a frame knows only its columns, and a sample without a model has no words."""

    class Told(Run):
        def _said(self, keys: list[tuple[str, int]]) -> dict[tuple[str, int], str]:
            said = {("b", 1): "user: <i>tea</i>?", ("a", 2): "user: tea?", ("a", 1): ""}
            return {key: said[key] for key in keys if key in said}

    drawn = charts.by_sample(Told())._repr_mimebundle_()["text/html"]

    assert re.findall(r'al-words-\d" style="display:none"><b>(.*?)</b><pre>(.*?)</pre>', drawn) == [
        ("b, epoch 1: run.transcript(&#x27;b&#x27;, 1)", "user: &lt;i&gt;tea&lt;/i&gt;?"),
        ("a, epoch 2: run.transcript(&#x27;a&#x27;, 2)", "user: tea?"),
    ]
    cells = re.findall(r'<path tabindex="0" class="al-of-(\d)" aria-label="[^"]*path: ([^"]*)"', drawn)
    assert sorted(cells) == [("0", "/e/b.1")] * 3 + [("1", "/e/a.2")] * 3  # pictures of three widths
    assert "tabindex" not in charts.by_sample(Run())._repr_mimebundle_()["text/html"]


def test_what_is_a_mark_to_a_screen_reader_has_a_name():
    """A layer without marks, here that of samples without a score, was one mark without a name."""
    drawn = svg(charts.by_sample(SAMPLES[SAMPLES["disposition"] == "scored"]))
    assert "layer_0_marks" in drawn
    marks = re.findall(r'<\w+ [^>]*role="graphics-symbol"[^>]*>', drawn)
    assert [mark for mark in marks if 'aria-label="' not in mark] == []


def test_a_timeline_shows_when_samples_were_worked_on_and_what_failed():
    """A bar from the first message to the last, and a dot per attempt that failed."""
    bars, dots = charts.timeline(Run()).to_dict()["datasets"].values()
    assert [(r["who"], r["start"], r["end"], r["ended"]) for r in bars] == [
        ("a.1", 0, 5, "scored"), ("b.1", 2, 6, "failed"),
    ]  # fmt: skip
    assert [(r["who"], r["start"], r["fault"]) for r in dots] == [("b.1", 3, "overloaded")]


def test_what_runs_cost_is_parted_by_how_samples_ended_or_by_run():
    """What was for nothing is set apart."""
    ends = {(r["who"], r["part"]): r["amount"] for r in rows(charts.cost(Run()))}
    assert ends["scored", "used"] == "$0.75"
    assert ends["failed", "wasted"] == "$0.50"
    assert {r["who"] for r in rows(charts.cost(Run(), SAMPLES))} == {"tea", "run 2"}


def description(chart: alt.Chart | alt.LayerChart) -> str:
    """What a screen reader says of a picture."""
    told: list[str] = re.findall(r'<svg [^>]*role="graphics-document"[^>]*aria-label="([^"]*)"', svg(chart))
    return told[0]


def test_a_picture_is_described_as_a_whole() -> None:
    """Its title, what x and y are, and how many marks: a screen reader had the axes, and each mark by itself."""
    events = pd.DataFrame(
        {
            "kind": ["started", "crashed", "started"], "at": pd.to_datetime([0, 1, 2], unit="s", utc=True),
            "path": "/a & \\g<0>", "incarnation": [1, 1, 2], "reason": ["", "Crashed", ""],
        }
    )  # fmt: skip

    assert description(charts.lifelines(events)) == (
        "2 incarnations. X-axis titled 'seconds since the first began' for a linear scale with values from 0.0 to 2.0. "
        "Y-axis for a discrete scale with 1 value: /a &amp; \\g&lt;0&gt;. 2 bars."
    )
    assert description(charts.lifelines(events[:0])) == "Nobody has lived yet."
