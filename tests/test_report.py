"""A night on one page: what it says, of a lab that runs, was closed or is only read; all of it is text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from agentlab import Agent, Assistant, Lab, Limit, Supervisor, child, open_store
from agentlab.errors import InvalidArgument
from agentlab.events import Row
from agentlab_widgets.folded import FAMILY, folded_tree
from tests.test_tree_widget import ROOT, agent, supervisor

pytestmark = pytest.mark.xdist_group("altair")  # it takes seconds to load: one process is enough

HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\x00\x1b[31m\ud800\u202e"


class Clerk(Agent):
    """Fails of what nobody should print."""

    def fail(self) -> None:
        raise ValueError(HOSTILE)


class Dear(Assistant):
    """Asks a model."""

    model = "sim"


@pytest.fixture
def night(tmp_path: Path) -> Any:
    """A lab in a file, with one agent that is parked and one that came back."""
    with Lab(tmp_path / "night.lab", nodes=1) as lab:
        lab.start(Supervisor("team", child(Clerk, id="a", own_limit=Limit(0, 5.0)), child(Clerk, id="b")))
        for ref in (lab["/team/a"], lab["/team/b"]):
            ref.cast.fail()
        lab.wait_idle(60)
        yield lab


def test_a_report_says_who_is_parked_and_why_and_what_was_left_over(night: Lab, tmp_path: Path):
    """The same facts from the lab, from the lab when it is closed, and from its file; told as text alone."""
    pages = {"live": night.report(tmp_path / "live.html")}
    night.close()
    pages["closed"] = night.report(tmp_path / "closed.html")
    with open_store(tmp_path / "night.lab") as stored:
        pages["stored"] = stored.report(str(tmp_path / "stored.html"))

    for name, file in pages.items():
        text = file.read_text("utf-8")
        assert "<h3>1 place parked</h3>" in text, name
        assert "/team/a" in text
        assert "ValueError: &lt;script&gt;alert(1)&lt;/script&gt;" in text
        assert "its last crash" in text
        assert "nobody could handle" in text
        assert text.count("<figure>") == 2, name  # restarts and latency; no breaker has opened
        assert "<script" not in text
        assert "<img" not in text
        assert not set("\x00\x1b\u202e") & set(text)
    assert "ref.restart()" in pages["live"].read_text("utf-8")


def test_a_report_of_nothing_says_so(tmp_path: Path):
    """No chart is drawn of what has not happened."""
    with Lab(nodes=1) as lab:
        text = lab.report(tmp_path / "empty.html").read_text("utf-8")

    for sentence in (
        "Nobody is parked.",
        "No message was left over.",
        "No model was called.",
        "No breaker was needed.",
    ):
        assert sentence in text
    assert "<figure>" not in text


def test_a_report_draws_what_models_have_cost(tmp_path: Path):
    """A bar for each agent that asked one, beside the table by supervisor; from the file too."""
    with Lab(tmp_path / "spent.lab", nodes=1) as lab:
        lab.start(Supervisor("team", child(Dear, id="dear")))
        lab["/team/dear"].call.ask("What is 6 * 7?").result(60)
        pages = [lab.report(tmp_path / "live.html")]
    with open_store(tmp_path / "spent.lab") as stored:
        pages.append(stored.report(tmp_path / "stored.html"))

    for file in pages:
        figures = file.read_text("utf-8").split("<figure>")[1:]
        assert len(figures) == 2  # latency and spending
        assert [("/team/dear" in figure, "1 model call" in figure) for figure in figures] == [
            (False, False),
            (True, True),
        ]


def test_a_report_is_never_written_over_the_store_nor_by_half(night: Lab, tmp_path: Path):
    """A name that cannot be is refused in our words, and nothing is left behind."""
    with pytest.raises(InvalidArgument, match="is the store of this lab"):
        night.report(tmp_path / "night.lab")
    with pytest.raises(InvalidArgument, match="cannot be written"):
        night.report(tmp_path / "no" / "such" / "night.html")

    assert not [file for file in tmp_path.iterdir() if file.suffix == ".html" or "report" in file.name]


def test_a_tree_that_folds_lists_trouble_first_and_counts_the_rest():
    """A supervisor of many opens if something is wrong below it."""
    pool = [agent(f"/pool/{n}", status="parked" if n == 99 else "running") for n in range(100)]
    calm = [agent(f"/calm/{n}") for n in range(400)]
    rows: list[Row] = [ROOT, supervisor("/pool", "/"), *pool, supervisor("/calm", "/"), *calm]

    text = folded_tree(rows)

    assert text.count('class="leaf"') == 2 * FAMILY
    assert "<b>99</b>" in text
    assert "99 running, 1 parked" in text
    assert f"… and {400 - FAMILY:,} more" in text
    assert text.count("<details open>") == 2
    assert text.count("<details>") == 1


def test_the_tree_of_a_file_is_seen_as_last_committed(night: Lab):
    """Read only, beside the lab that runs: who is parked and why is there, and nothing can be done."""
    night.close()
    with open_store(night._read().path) as stored:
        text = repr(stored.tree())
        rows = {row.path: row for row in stored.rows()}
        told = [row.path for row in stored.rows(["/team/a", "/nobody"])]

        assert stored.closed
    assert "■ parked" in text
    assert "ValueError: <script>" in text
    assert (rows["/team/a"].status, rows["/team/b"].letters, rows["/team"].intensity) == ("parked", 1, (0, 3, 5.0))
    assert told == ["/team/a"]
