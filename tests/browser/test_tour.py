"""The tour as a newcomer takes it: open, run, watch, crash somebody."""

from __future__ import annotations

from pathlib import Path

from tests.browser.jupyter import Notebook, Server

TOUR = Path(__file__).parents[2] / "notebooks" / "00-tour.ipynb"
AN_AGENT = ".al-row[data-status='running']:not(.al-supervisor)"


def test_the_tour_shows_a_crash_and_the_next_life(notebook: Notebook, server: Server):
    """Every cell runs; a click on crash turns the agent, it comes back, and the kernel has the events."""
    notebook.open(server.keep(TOUR.read_text(encoding="utf-8")))
    notebook.run_all()  # which leaves a live lab
    agent = notebook.expect("live").locator(AN_AGENT).first
    path, life = agent.get_attribute("data-path"), int(agent.get_attribute("data-incarnation"))

    agent.click()
    notebook.press("crash")
    notebook.expect_life(path, life + 1)
    notebook.screenshot("tour")

    events = notebook.python(f"print(lab.events(path={path!r})[['kind', 'incarnation']].to_csv(index=False))").split()
    assert events.index(f"crashed,{life}") < events.index(f"started,{life + 1}")
    notebook.python("lab.close()")
    notebook.expect("closed")
