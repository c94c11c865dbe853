"""Notebooks as files of other kinds: what nbconvert makes of each view, where no widget is drawn."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient
from nbconvert.exporters import HTMLExporter, LatexExporter, MarkdownExporter
from nbconvert.exporters.exporter import Exporter

pytestmark = pytest.mark.xdist_group("altair")  # it takes seconds to load: one process is enough

START = """
import base64
from agentlab import Assistant, Lab, Supervisor, child

class Clerk(Assistant):
    model = "sim"

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
lab = Lab(nodes=1)
team = lab.start(Supervisor("team", child(Clerk, id="ann"), child(Clerk, id="bob")))
ann = lab["/team/ann"]
ann.call.ask("Say: <b>tea</b> & 100% {cake}", images=[base64.b64decode(PIXEL)]).result(60)
lab["/team/bob"].crash()
lab.wait_idle(60)
"""
VIEWS = ["lab.tree()", "ann.watch()", "ann.transcript()", "lab.dashboard()", "lab.charts('restarts', 'breaker')"]
SAYS = [
    ["Lab('memory', 3 agents, 2 nodes)", "Clerk", "running", "bob"],
    ["/team/ann: Clerk, running, incarnation 1", "messages = "],
    ["/team/ann", "Say: <b>tea</b> & 100% {cake}"],
    ["Lab('memory', 3 agents, 2 nodes)", "1 crashed"],
    ["1 restart", "No breaker has opened yet"],
]
"""What is said of each view, whatever it is said in."""


@pytest.fixture(scope="module")
def notebook(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A notebook of all views that was run as ``jupyter nbconvert --execute`` runs it, the states of widgets kept."""
    cells = [nbformat.v4.new_code_cell(text) for text in [START, *VIEWS, "lab.close()"]]
    made = nbformat.v4.new_notebook(cells=cells)
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    NotebookClient(made, timeout=100).execute()
    path = tmp_path_factory.mktemp("exports") / "views.ipynb"
    nbformat.write(made, path)
    return path


def exported(exporter: type[Exporter], notebook: Path) -> str:
    """The notebook as a text of another kind."""
    text, _ = exporter().from_filename(str(notebook))
    return str(text)


def missing(outputs: list[str]) -> list[tuple[str, str]]:
    """Which views do not say what."""
    return [
        (view, said)
        for view, says, output in zip(VIEWS, SAYS, outputs, strict=True)
        for said in says
        if said not in output
    ]


def test_html_shows_a_still_form_of_each_view(notebook: Path):
    """No frame of a widget, which would be empty; what a model said is text; an image and a chart are in the page."""
    text = exported(HTMLExporter, notebook)
    outputs = re.findall(
        r'<div class="jp-Cell-outputWrapper">(.*?)(?=<div class="jp-Cell-outputWrapper">|$)', text, re.DOTALL
    )

    assert "widget-view+json" not in text
    assert "<b>tea" not in text
    assert missing([unescape(re.sub(r"<[^>]*>", "", output)) for output in outputs[: len(VIEWS)]]) == []
    assert 'src="data:image/png;base64,' in outputs[2]
    assert "<svg" in outputs[4]


def test_markdown_shows_a_still_form_of_each_view(notebook: Path):
    """As HTML in it, which GitHub draws."""
    outputs = [
        unescape(re.sub(r"<[^>]*>", "", text)) for text in exported(MarkdownExporter, notebook).split("```python")
    ]

    assert missing(outputs[2 : 2 + len(VIEWS)]) == []


def test_latex_shows_each_view_as_text(notebook: Path):
    """From which a PDF is made: the text that a terminal shows, with nothing in it that LaTeX would obey."""
    text = exported(LatexExporter, notebook)
    shown = [output.split(r"\end{Verbatim}")[0] for output in text.split(r"\prompt{Out}")[1:]]

    assert missing([re.sub(r"\\([#$%&_{}])", r"\1", output) for output in shown]) == []
    assert r"Say: <b>tea</b> \& 100\% \{cake\}" in shown[2]
