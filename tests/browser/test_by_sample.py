"""The heat map of an eval in a real JupyterLab: a click on a cell shows what was said for its sample."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.accessible import barriers
from tests.browser.jupyter import OUTPUT, Notebook

RUN = """from agentlab import Assistant, charts
from agentlab.evals import evaluate, includes

class Reckoner(Assistant):
    model = "sim-calculator"

asked = [{"id": f"q{n}", "input": f"What is {n} + <b>1</b>?", "target": "nothing"} for n in (1, 2)]
run = evaluate(Reckoner, asked, includes(), epochs=2, nodes=1)
charts.by_sample(run)"""


def test_a_click_on_a_cell_shows_what_was_said_for_its_sample(notebook: Notebook):
    """And Tab leads on to the next cell; what a model said is text; what is not looked at is hidden."""
    notebook.write(RUN).run_all()
    chart = notebook.page.locator(".agentlab-told").first
    chart.wait_for(state="attached")
    chart.evaluate("chart => chart.scrollIntoView()")
    words = chart.locator("[class^='al-words']")
    expect(words).to_have_count(4)
    expect(chart.locator("[class^='al-words']:visible")).to_have_count(0)

    chart.locator("svg:visible path[aria-label*='epoch: 2; sample: q1']").click()
    shown = chart.locator("[class^='al-words']:visible")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("q1, epoch 2: run.transcript('q1', 2)")
    expect(shown).to_contain_text("user: What is 1 + <b>1</b>?")
    OUTPUT.mkdir(exist_ok=True)
    chart.screenshot(path=OUTPUT / "by-sample.png")
    assert barriers(chart) == []

    notebook.page.keyboard.press("Tab")
    expect(shown).to_have_count(1)
    expect(shown).to_contain_text("run.transcript('q2', 1)")
