"""The whole lab at once in a real JupyterLab."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, expect

from tests.browser.accessible import barriers
from tests.browser.conftest import SIZE
from tests.browser.jupyter import OUTPUT, Notebook, drag_to_the_end, for_the_readme

START = """
from agentlab import Agent, Assistant, Lab, Supervisor, child, open_store

class Counter(Agent):
    count: int = 0

    async def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

lab = Lab("{file}", nodes=1)
team = lab.start(Supervisor("team", child(Counter, id="left"), child(Counter, id="right")))
for n in range(5):
    lab["/team/left"].call.add(n).result(60)
lab["/team/right"].crash()
lab.wait_idle(60)
"""
CLERK = """
class Clerk(Assistant):
    model = "sim"

clerk = lab.start(Clerk, id="clerk")
clerk.call.ask("Say: tea").result(60)
lab.wait_idle(60)
"""
ASKS = """
from agentlab import tool

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
HOSTILE = "<img src=x onerror='document.title=1'>"

@tool(approve=True)
def pay(to: str, amount: int) -> str:
    return f"paid {amount} to {to}"

class Buyer(Assistant):
    model = "sim"
    tools = [pay]

    async def buy(self, to: str, amount: int) -> str:
        return await self.step(pay, to=to, amount=amount)

import base64
buyer = lab.start(Buyer, id="buyer")
far = "https://example.org/pixel.png"
buyer.call.ask("What is it?", images=[base64.b64decode(PIXEL), far]).result(60)
first = buyer.call(timeout=600).buy(HOSTILE, 5)
"""
BEYOND = """view => [...view.querySelectorAll(".al-place, .al-agent-part, .al-player, button, input")].filter(part => {
    const own = part.getBoundingClientRect(), all = view.getBoundingClientRect();
    const scrolls = part.closest(".al-chips, .al-body");
    return own.width && !scrolls && (own.right > all.right + 1 || own.left < all.left - 1);
}).map((part) => part.className)"""
INK = """view => {
    const { color, backgroundColor } = getComputedStyle(view.querySelector(".agentlab-tree"));
    return [color, backgroundColor];
}"""
DARK, LIGHT = "JupyterLab Dark", "JupyterLab Light"


def theme(notebook: Notebook, name: str) -> None:
    """Choose JupyterLab's colours."""
    notebook.page.evaluate(
        "(name) => window.jupyterapp.commands.execute('apputils:change-theme', { theme: name })", name
    )
    light = "true" if name == LIGHT else "false"
    notebook.page.wait_for_selector(f"body[data-jp-theme-light='{light}']", state="attached")


def dashboard(notebook: Notebook, n: int = 0) -> Locator:
    """The dashboard, when all of its parts are drawn."""
    view = notebook.page.locator(".agentlab-dashboard").nth(n)
    view.wait_for(state="attached")
    view.evaluate("view => view.scrollIntoView()")
    for part in ("tree", "stream", "rates"):
        view.locator(f".agentlab-{part}[data-painted]").wait_for(state="attached")
    return view


def row(view: Locator, path: str) -> Locator:
    """The row of a place in its tree."""
    return view.locator(".agentlab-tree .al-row", has=view.page.locator(f".al-id[title='{path}']"))


def test_a_running_lab_is_watched_in_one_place(notebook: Notebook):
    """Select, inspect, read, filter, resize by keys, dark; a second view shows the same."""
    notebook.write(START.replace("{file}", "watched.lab"), CLERK, "lab.dashboard()").run_all()
    view = dashboard(notebook)
    row(view, "/team/right").click()
    view.locator(".agentlab-inspector[data-mood='live'] .al-life").nth(1).wait_for()
    view.screenshot(path=OUTPUT / "dashboard.png", scale="css")
    for_the_readme(OUTPUT / "dashboard.png")
    found = barriers(view)

    view.locator(".agentlab-stream .al-chip[data-kind='crashed']").click()
    expect(view.locator(".al-happened")).to_have_count(1)
    view.locator(".agentlab-stream .al-chip[data-kind='crashed']").click()
    row(view, "/clerk").click()
    view.get_by_role("tab", name="transcript").click()
    view.locator(".agentlab-transcript .al-assistant", has_text="tea").wait_for()
    top = view.locator("[data-split='top']")
    before = int(top.get_attribute("aria-valuenow") or "")
    top.press("ArrowLeft")
    expect(top).to_have_attribute("aria-valuenow", str(before - 2))
    theme(notebook, DARK)
    view.screenshot(path=OUTPUT / "dashboard-dark.png")
    found += barriers(view)
    notebook.page.emulate_media(media="print")
    assert view.evaluate(INK) == ["rgb(36, 41, 47)", "rgb(255, 255, 255)"]  # on paper, whatever the theme is
    notebook.page.emulate_media(media="screen")
    assert view.evaluate(INK) != ["rgb(36, 41, 47)", "rgb(255, 255, 255)"]
    theme(notebook, LIGHT)
    notebook.page.set_viewport_size({"width": SIZE["width"] // 2, "height": SIZE["height"] // 2})  # a zoom of 200 %
    expect(top).to_be_hidden()
    assert view.evaluate(BEYOND) == []
    view.screenshot(path=OUTPUT / "dashboard-zoomed.png")
    notebook.page.set_viewport_size(SIZE)

    view.get_by_role("tab", name="inspector").click()
    view.locator(".agentlab-inspector .al-do-crash").click()
    view.locator(".agentlab-inspector .al-said", has_text="clerk.crash() done").wait_for()
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:create-output-view')")
    notebook.page.locator(".jp-LinkedOutputView .agentlab-tree[data-painted]").wait_for()
    other = notebook.page.locator(".jp-LinkedOutputView .agentlab-dashboard")
    expect(other.locator("[data-split='top']")).to_have_attribute("aria-valuenow", str(before - 2))
    notebook.page.screenshot(path=OUTPUT / "dashboard-two.png")
    assert found == []


def test_a_span_that_is_brushed_on_a_chart_filters_the_other_and_the_events(notebook: Notebook):
    """By keys and by pointer; what happens after the span is not shown until it is let go of."""
    notebook.write(START.replace("{file}", "brushed.lab"), "lab.dashboard()").run_all()
    view = dashboard(notebook)
    trouble, messages = (view.locator(f".agentlab-rates [data-chart='{name}']") for name in ("trouble", "messages"))
    events = view.locator(".al-happened")
    crash = view.locator(".al-happened[data-kind='crashed']")
    expect(crash).to_have_count(1)
    before = events.count()

    trouble.get_by_role("slider", name="to").press("Home")  # the first bar alone, before anything happened
    expect(view.locator(".agentlab-stream .al-top b")).to_contain_text("events of")
    expect(events).to_have_count(0)
    expect(view.locator(".agentlab-stream .al-hint")).to_have_text("Nothing happened in this span of time.")
    for chart in (trouble, messages):
        expect(chart.locator(".al-brushed")).to_be_visible()
        expect(chart.locator(".al-key").first).to_contain_text("0 ")
    view.screenshot(path=OUTPUT / "dashboard-brushed.png")
    found = barriers(view)
    notebook.python("lab['/team/left'].crash(); lab.wait_idle(60)")
    expect(trouble.locator("svg")).to_have_attribute("aria-label", re.compile("^ends and restarts: 4 since"))
    expect(events).to_have_count(0)

    messages.get_by_role("slider", name="to").press("Escape")
    expect(crash).to_have_count(2)
    assert events.count() > before
    drag_to_the_end(notebook.page, messages.locator(".al-brush"), 0.02)
    expect(trouble.locator(".al-key").first).to_have_text("2 crashes and kills")
    expect(crash).to_have_count(2)
    view.get_by_role("button", name="whole time").click()
    expect(trouble.locator(".al-brushed")).to_be_hidden()
    expect(view.locator(".agentlab-stream .al-top b")).to_have_text("events")
    assert found == []


def test_a_dashboard_in_its_own_tab_and_another_of_the_same_lab_show_one_truth(notebook: Notebook):
    """A tab shares what is selected and brushed with its cell; another dashboard has its own; all see each crash."""
    notebook.write(START.replace("{file}", "shared.lab"), "lab.dashboard()", "lab.dashboard()").run_all()
    other, view = dashboard(notebook, 0), dashboard(notebook, 1)
    notebook.page.evaluate("() => window.jupyterapp.commands.execute('notebook:create-output-view')")
    tab = notebook.page.locator(".jp-LinkedOutputView .agentlab-dashboard")
    for part in ("tree", "stream", "rates"):
        tab.locator(f".agentlab-{part}[data-painted]").wait_for(state="attached")
    assert tab.evaluate(BEYOND) == []

    row(tab, "/team/left").click()
    tab.locator(".agentlab-inspector[data-mood='live'] .al-do-crash").click()
    tab.locator(".agentlab-inspector .al-said", has_text="crash() done").wait_for()
    tab.locator(".agentlab-stream").scroll_into_view_if_needed()  # what is not in sight is not drawn
    expect(tab.locator(".al-happened[data-kind='crashed']")).to_have_count(2)
    tab.locator(".agentlab-rates [data-chart='trouble']").get_by_role("slider", name="to").press("Home")
    tab.locator(".agentlab-stream").scroll_into_view_if_needed()
    expect(tab.locator(".al-happened")).to_have_count(0)
    notebook.page.screenshot(path=OUTPUT / "dashboard-tab.png")
    found = barriers(tab)

    view.evaluate("view => view.scrollIntoView()")
    expect(view.locator(".agentlab-inspector .al-top")).to_contain_text("/team/left")
    view.locator(".agentlab-stream").scroll_into_view_if_needed()
    expect(view.locator(".al-happened")).to_have_count(0)
    other.evaluate("view => view.scrollIntoView()")
    expect(other.locator(".al-agent-part .al-hint")).to_contain_text("Select an agent")
    other.locator(".agentlab-stream").scroll_into_view_if_needed()
    expect(other.locator(".al-happened[data-kind='crashed']")).to_have_count(2)

    own = notebook.page.locator(".lm-TabBar-tab", has_text="Output View")
    own.locator(".lm-TabBar-tabCloseIcon").click()
    expect(tab).to_have_count(0)
    other.locator(".agentlab-stream").scroll_into_view_if_needed()
    notebook.python("lab['/team/left'].crash(); lab.wait_idle(60)")
    expect(other.locator(".al-happened[data-kind='crashed']")).to_have_count(3)
    view.evaluate("view => view.scrollIntoView()")
    view.get_by_role("button", name="whole time").click()
    expect(view.locator(".al-happened[data-kind='crashed']")).to_have_count(3)
    expect(view.locator(".agentlab-inspector .al-life")).to_have_count(3)
    assert found == []


def test_a_tool_that_asks_is_allowed_in_the_transcript_and_refused_in_the_inspector(notebook: Notebook):
    """By a pointer and by keys; a picture is drawn from its own bytes, a far one is not asked for."""
    notebook.write(START.replace("{file}", "asked.lab") + CLERK, ASKS, "lab.dashboard()").run_all()
    view = dashboard(notebook)
    row(view, "/buyer").click()
    view.get_by_role("tab", name="transcript").click()
    talk = view.locator(".agentlab-transcript")
    waits = talk.get_by_role("group", name="waits for a person")
    expect(waits.locator("code")).to_have_text("to=\"<img src=x onerror='document.title=1'>\", amount=5")
    picture = talk.locator("img")
    expect(picture).to_have_attribute("src", re.compile("^data:image/png;base64,"))
    assert picture.evaluate("picture => picture.decode().then(() => picture.naturalWidth)") == 1
    expect(talk.locator(".al-note")).to_contain_text("[an image: https://example.org/pixel.png]")
    view.screenshot(path=OUTPUT / "dashboard-asks.png")
    found = barriers(view)

    waits.get_by_role("button", name="allow pay").click()
    expect(talk.locator(".al-said")).to_contain_text("buyer.approve(")
    expect(waits).to_be_hidden()
    assert notebook.python("print(first.result(60))") == "paid 5 to <img src=x onerror='document.title=1'>"
    view.locator(".al-happened[data-kind='approved']").wait_for()

    notebook.python("second = buyer.cast.buy('Ann', 7)")
    view.get_by_role("tab", name="inspector").click()
    inspector = view.locator(".agentlab-inspector")
    expect(inspector).to_contain_text("to='Ann', amount=7")  # until then it shows what asked before it was out of sight
    refuse = inspector.get_by_role("button", name="refuse pay")
    refuse.press("Enter")
    view.locator(".agentlab-inspector .al-said", has_text="yes=False) done").wait_for()
    view.locator(".al-happened[data-kind='not_approved']").wait_for()
    expect(refuse).to_have_count(0)
    assert notebook.page.title() != "1"
    assert found == []


def test_the_past_of_a_store_is_played_and_nothing_can_be_done_to_it(notebook: Notebook):
    """Back by the keyboard to before anybody lived, on at a hundred times the speed, and now again; light."""
    notebook.write(START.replace("{file}", "played.lab"), "open_store('played.lab').dashboard()").run_all()
    view = dashboard(notebook)
    row(view, "/team/right").click()
    view.locator(".agentlab-inspector[data-mood='stored'] .al-life").nth(1).wait_for()
    slider = view.get_by_label("moment", exact=True)

    slider.press("Home")
    view.locator(".al-player[data-when='then']").wait_for()
    expect(row(view, "/team/right").locator(".al-word")).to_have_text("not yet")
    expect(view.locator(".agentlab-inspector .al-top")).to_contain_text("not yet")
    slider.press("End")
    expect(row(view, "/team/left").locator(".al-word")).to_have_text("running")
    slider.press("ArrowLeft")
    slider.press("ArrowLeft")
    view.locator(".al-player[data-when='then']").wait_for()
    expect(view.locator(".agentlab-inspector .al-pulse")).to_have_text("as it was")
    view.screenshot(path=OUTPUT / "dashboard-past.png")
    found = barriers(view)
    slider.press("Home")
    view.get_by_label("times as fast as it was").select_option("100")
    view.get_by_label("play on from here").click()
    view.locator(".al-player[data-when='now']").wait_for()

    expect(row(view, "/team/right").locator(".al-word")).to_have_text("running")
    expect(view.locator(".agentlab-inspector .al-do-crash")).to_be_disabled()
    assert found == []
