"""Every view in Notebook 7, which has one notebook to a page and no side bars."""

from __future__ import annotations

from playwright.sync_api import Browser, Error, Locator

from tests.browser.accessible import barriers
from tests.browser.conftest import SIZE
from tests.browser.jupyter import OUTPUT, PATIENCE, Notebook, Server, wait_for
from tests.clerks import CELL

START = f"""
{CELL}
from agentlab import Lab

lab = Lab(nodes=1)
clerk = lab.start(Clerk, id="clerk")
"""


class Classic(Notebook):
    """A notebook in Notebook 7, which the same server serves."""

    def _load(self) -> None:
        self.page.goto(self._server.url(f"notebooks/{self._name}"))

    def _threw(self, error: Error) -> None:
        # Its plugins look for one another's settings and commands before these are there, now and then, with or without
        # our views, whose code the browser knows as blobs.
        stack = error.stack or ""
        if "blob:" in stack or "/static/notebook/" not in stack:
            super()._threw(error)


def watch(view: Locator, part: Locator) -> None:
    """Wait for a part of a view that others push out of sight as they grow, where it does not draw."""

    def there() -> int:
        view.evaluate("view => view.scrollIntoView({ block: 'center' })")
        return part.count()

    wait_for(there, f"{part}")


def test_every_view_works_in_notebook_7(browser: Browser, server: Server):
    """Tree, inspector, transcript and dashboard in one page: each is drawn, each hears a click, none asks a host."""
    page = browser.new_page(viewport=SIZE, device_scale_factor=2)
    page.set_default_timeout(PATIENCE * 1000)
    notebook = Classic(page, server)
    views = ("tree", "inspector", "transcript", "dashboard")
    notebook.write(START, "lab.tree()", "clerk.watch()", "clerk.transcript()", "lab.dashboard()").run_all()
    tree, inspector, transcript, dashboard = (page.locator(f".agentlab-{name}").first for name in views)

    notebook.expect("live")
    notebook.row("/clerk").click()
    notebook.press("crash")
    notebook.expect_life("/clerk", 2)
    watch(inspector, inspector.locator(".al-life").nth(1))
    transcript.scroll_into_view_if_needed()
    watch(transcript, page.locator(".agentlab-transcript[data-painted][data-mood='live']"))
    transcript.locator("textarea").fill("What is 1 + 2 + 3?")
    transcript.locator("textarea").press("Enter")
    watch(transcript, transcript.locator(".al-assistant:not(.al-streams)", has_text="1 + 2 + 3 = 6"))
    dashboard.scroll_into_view_if_needed()
    dashboard.locator(".agentlab-tree .al-row", has=page.locator(".al-id[title='/clerk']")).click()
    dashboard.get_by_role("tab", name="transcript").click()
    watch(dashboard, dashboard.locator(".agentlab-transcript .al-assistant", has_text="1 + 2 + 3 = 6"))
    OUTPUT.mkdir(exist_ok=True)
    found = {}
    for name, view in zip(views, (tree, inspector, transcript, dashboard), strict=True):
        view.scroll_into_view_if_needed()
        view.screenshot(path=OUTPUT / f"notebook-7-{name}.png")
        found[name] = barriers(view)

    notebook.python("lab.close()")
    watch(dashboard, page.locator(".agentlab-dashboard .agentlab-stream[data-mood='closed']"))
    page.close()
    server.stop_kernels()
    assert notebook.complaints == []
    assert {name: barriers for name, barriers in found.items() if barriers} == {}
