"""The page that a night leaves behind, opened from the disk."""

from __future__ import annotations

from pathlib import Path

from playwright.sync_api import Browser, expect

from agentlab import Agent, Lab, Limit, child
from tests.browser.accessible import barriers
from tests.browser.jupyter import OUTPUT

HOSTILE = "<script>document.title='owned'</script><img src=http://127.0.0.1:9/x onerror=document.title='owned'>"


class Clerk(Agent):
    """Fails of markup."""

    def fail(self) -> None:
        raise ValueError(HOSTILE)


def test_a_report_opens_from_the_disk_and_asks_nobody(browser: Browser, tmp_path: Path):
    """One file: no request but for itself, no script runs, and a traceback is one click away."""
    with Lab(nodes=1) as lab:
        clerk = lab.start(child(Clerk, id="clerk", own_limit=Limit(0, 5.0)))
        clerk.cast.fail()
        lab.wait_idle(60)
        file = lab.report(tmp_path / "night.html")
    page = browser.new_page(viewport={"width": 1100, "height": 900})
    asked: list[str] = []
    said: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    page.on("console", lambda message: said.append(message.text))

    page.goto(file.as_uri())
    trace = page.locator("article pre")
    expect(trace).to_be_hidden()
    page.locator("article summary").click()
    expect(trace).to_contain_text("raise ValueError(HOSTILE)")
    OUTPUT.mkdir(exist_ok=True)
    page.screenshot(path=OUTPUT / "report.png", full_page=True)

    page.emulate_media(media="print", color_scheme="dark")
    page.screenshot(path=OUTPUT / "report-print.png", full_page=True)
    assert page.evaluate("() => getComputedStyle(document.body).color") == "rgb(31, 35, 40)"
    assert trace.evaluate("pre => [getComputedStyle(pre).maxHeight, getComputedStyle(pre).overflowX]") == [
        "none",
        "visible",
    ]
    page.emulate_media(media="screen", color_scheme="light")

    assert barriers(page.locator("html")) == []
    assert asked == [file.as_uri()]
    assert said == []
    assert page.title() == "Lab('memory', 1 agent, 1 node)"
    assert page.locator("script, img, iframe").count() == 0
    page.close()
