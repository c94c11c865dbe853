"""Charts that are drawn while a lab runs, in a real JupyterLab."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.accessible import barriers
from tests.browser.jupyter import OUTPUT, Notebook, drag_to_the_end
from tests.browser.test_dashboard import DARK, LIGHT, theme

START = """
from agentlab import Agent, Lab, Supervisor, child

class Counter(Agent):
    count: int = 0

    async def add(self, text: str = "") -> int:
        if text:
            raise ValueError(text)
        self.count += 1
        return self.count

lab = Lab("charted.lab", nodes=1)
team = lab.start(Supervisor("team", child(Counter, id="left"), child(Counter, id="right"), max_restarts=100))
lab["/team/right"].cast.add("<img src=x onerror='document.title=1'>")
for n in range(5):
    lab["/team/left"].call.add().result(60)
lab.wait_idle(60)
"""
NAMES = ("restarts", "lifelines", "intensity", "latency", "flame")


def test_charts_follow_a_lab_and_a_brushed_span_filters_them(notebook: Notebook):
    """By pointer and by keys, in two views, dark too; what an agent said is text; a closed lab says so."""
    notebook.write(START, f"lab.charts{NAMES}").run_all()
    view = notebook.page.locator(".agentlab-charts").first
    view.wait_for(state="attached")
    view.evaluate("view => view.scrollIntoView()")
    restarts = view.locator("[data-chart='restarts'] svg")
    expect(restarts).to_contain_text("3 restarts")
    expect(view.locator(".al-picture svg")).to_have_count(len(NAMES))
    assert view.locator("img, script, foreignObject").count() == 0
    expect(restarts.locator("title", has_text="agent: /team/right").first).to_be_attached()

    notebook.python("lab['/team/left'].crash(); lab.wait_idle(60)")
    expect(restarts).to_contain_text("4 restarts")
    view.screenshot(path=OUTPUT / "charts.png")
    found = barriers(view)

    # In the last bar nothing has happened, once it is not that of the crash: of a lab older than a minute it may be,
    # where axe has kept the page busy.
    expect(view.locator(".al-plot svg title").last).to_contain_text(": 0 crashes and kills, 0 restarts")
    first = view.get_by_role("slider", name="from", exact=True)
    first.press("End")
    expect(restarts).to_contain_text("No restarts in this span")
    expect(view.locator(".al-brushed")).to_be_visible()
    view.screenshot(path=OUTPUT / "charts-brushed.png")
    first.press("Escape")
    expect(restarts).to_contain_text("4 restarts")
    drag_to_the_end(notebook.page, view.locator(".al-brush"), 0.5)
    expect(view.get_by_role("button", name="whole time")).to_be_visible()

    notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:create-output-view')")
    other = notebook.page.locator(".jp-LinkedOutputView .agentlab-charts")
    other.locator("[data-chart='restarts'] svg").wait_for()
    expect(other.locator(".al-brushed")).to_be_visible()
    other.get_by_role("button", name="whole time").click()
    expect(view.locator(".al-brushed")).to_be_hidden()
    theme(notebook, DARK)
    view.screenshot(path=OUTPUT / "charts-dark.png")
    found += barriers(view)
    theme(notebook, LIGHT)

    notebook.python("lab.close()")
    notebook.page.wait_for_selector(".agentlab-charts[data-mood='closed']")
    assert notebook.page.title() != "1"
    assert found == []
