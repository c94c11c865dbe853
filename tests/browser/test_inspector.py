"""One agent seen closely in a real JupyterLab."""

from __future__ import annotations

from playwright.sync_api import expect

from tests.browser.accessible import barriers
from tests.browser.jupyter import OUTPUT, Notebook

START = """
import asyncio
from agentlab import Agent, Lab

class Planner(Agent):
    plan: dict = {"title": "<img src=x onerror='document.title=1'>", "steps": ["tea", "cake"]}
    drafts: int = 0

    async def revise(self) -> None:
        self.drafts += 1

    async def think(self) -> None:
        self.drafts = 99
        print("thinking")
        await asyncio.sleep(600)

    async def look(self) -> None:
        pass

lab = Lab(nodes=1)
planner = lab.start(Planner, id="planner")
planner.crash()
lab.wait_idle(60)
for _ in range(3):
    planner.call.revise().result(60)
planner.cast.think()
planner.cast.look()
"""


def test_an_agent_is_looked_into_and_set_back(notebook: Notebook):
    """Draft beside committed, lives, a comparison and a rewind by buttons; markup in a value is text; dark too."""
    notebook.write(START, "planner.watch()").run_all()
    view = notebook.page.locator(".agentlab-inspector").first
    view.wait_for(state="attached")
    view.evaluate("view => view.scrollIntoView()")
    notebook.page.wait_for_selector(".agentlab-inspector[data-painted][data-mood='live']")
    view.locator(".al-label", has_text="draft, not committed").wait_for()
    expect(view.locator(".al-life")).to_have_count(2)
    assert view.locator("img").count() == 0
    view.screenshot(path=OUTPUT / "inspector.png")
    found = barriers(view)

    view.locator("button.al-do-skip").click()
    view.locator(".al-said", has_text="planner.skip() done").wait_for()
    view.get_by_label("what has changed since checkpoint").last.press("Enter")
    view.locator("ins").first.wait_for()
    view.get_by_label("rewind to checkpoint").first.click()
    view.locator(".al-said", has_text="planner.rewind(").wait_for()
    notebook.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Dark' })"
    )
    notebook.page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    view.locator(".al-body").evaluate("body => body.scrollTo(0, body.scrollHeight)")
    view.screenshot(path=OUTPUT / "inspector-dark.png")
    found += barriers(view)
    notebook.page.evaluate(
        "() => window.jupyterapp.commands.execute('apputils:change-theme', { theme: 'JupyterLab Light' })"
    )
    notebook.python("lab.close()")
    notebook.page.wait_for_selector(".agentlab-inspector[data-mood='closed']")
    assert found == []
