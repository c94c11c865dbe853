"""The whole of a lab by keys alone, in a real JupyterLab: no test here touches the mouse."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser.jupyter import OUTPUT, Notebook, wait_for
from tests.browser.test_dashboard import CLERK, START, dashboard
from tests.clerks import CELL

STOPS = 400
"""Places that the Tab key may stop at before the wanted one: JupyterLab has some 60 of its own."""

KEYS_ON = "selector => Boolean(document.activeElement?.matches(selector))"
PLANNER = """
from agentlab import Agent, Lab

class Planner(Agent):
    drafts: int = 0

    async def revise(self) -> None:
        self.drafts += 1

lab = Lab(nodes=1)
planner = lab.start(Planner, id="planner")
for _ in range(3):
    planner.call.revise().result(60)
"""


def tab_to(notebook: Notebook, selector: str, key: str = "Tab") -> None:
    """Go on from stop to stop until the keys are on what matches."""
    for _ in range(STOPS):
        if notebook.page.evaluate(KEYS_ON, selector):
            return
        notebook.page.keyboard.press(key)
    raise AssertionError(f"{key} leads nowhere to {selector}")


def expect_keys_on(notebook: Notebook, selector: str) -> None:
    """Wait until the keys are on what matches."""
    wait_for(lambda: notebook.page.evaluate(KEYS_ON, selector), f"the keys on {selector}")


def type_slowly(notebook: Notebook, text: str) -> None:
    """As a person types, a key after the other."""
    for letter in text:
        notebook.page.keyboard.press("Space" if letter == " " else letter)


def choose(notebook: Notebook, view: Locator, path: str) -> None:
    """Go to the tree, and down in it to the row of an agent."""
    tab_to(notebook, ".agentlab-tree .al-body")
    notebook.page.keyboard.press("Home")
    row = view.locator(".agentlab-tree .al-row[aria-selected='true']")
    expect(row).to_have_count(1)
    while row.get_attribute("data-path") != path:
        before = row.get_attribute("data-path")
        notebook.page.keyboard.press("ArrowDown")
        assert row.get_attribute("data-path") != before, f"{path} is not below {before}"


def shown(notebook: Notebook, name: str) -> Locator:
    """A view, scrolled to, once it is drawn from what the kernel says."""
    view = notebook.page.locator(f".agentlab-{name}")
    view.wait_for(state="attached")
    drawn = notebook.page.locator(f".agentlab-{name}[data-painted][data-mood='live']")
    wait_for(lambda: view.evaluate("view => view.scrollIntoView()") or drawn.count(), f"the {name}")
    return view


def test_tree_inspector_and_transcript_are_walked_by_keys_alone(notebook: Notebook):
    """From the tree to the agent's state, a crash of it, and a talk with it; after a reload all is there again."""
    notebook.write(START.replace("{file}", "walked.lab"), CLERK, "lab.dashboard()").run_all()
    view = dashboard(notebook)

    choose(notebook, view, "/clerk")
    view.locator(".agentlab-inspector[data-mood='live'] .al-life").first.wait_for()
    tab_to(notebook, ".agentlab-inspector .al-do-crash")
    notebook.page.keyboard.press("Enter")
    view.locator(".agentlab-inspector .al-said", has_text="clerk.crash() done").wait_for()
    expect(view.locator(".agentlab-inspector .al-life")).to_have_count(2)
    expect_keys_on(notebook, ".agentlab-inspector .al-do-crash")
    tab_to(notebook, ".agentlab-inspector summary[data-key^='life/']")
    notebook.page.keyboard.press("Enter")
    expect(view.locator(".agentlab-inspector details[open] summary[data-key^='life/']")).to_have_count(1)

    tab_to(notebook, ".al-tab", "Shift+Tab")
    notebook.page.keyboard.press("ArrowRight")
    view.locator("textarea").wait_for()
    tab_to(notebook, ".agentlab-transcript textarea")
    type_slowly(notebook, "Say: cake")
    expect(view.locator("textarea")).to_have_value("Say: cake")
    notebook.page.keyboard.press("Enter")
    view.locator(".agentlab-transcript .al-assistant:not(.al-streams)", has_text="cake").wait_for()
    expect_keys_on(notebook, ".agentlab-transcript textarea")
    view.screenshot(path=OUTPUT / "keyboard.png", scale="css")

    notebook.save_and_reload()
    view = dashboard(notebook)
    expect(view.locator(".agentlab-transcript .al-turn")).to_have_count(2)
    expect(view.locator("[role='treeitem'][aria-selected='true']")).to_have_attribute("data-path", "/clerk")
    tab_to(notebook, ".al-tab")
    notebook.page.keyboard.press("ArrowLeft")
    expect(view.locator(".agentlab-inspector[data-mood='live'] .al-life")).to_have_count(2)


def test_views_that_stand_alone_come_back_after_a_reload(notebook: Notebook):
    """Each is drawn anew from the kernel, live: what was said is there, and a question is taken as before."""
    told = "print(clerk.call.ask('What is 1 + 2?').result(60))"
    views = "lab.tree()", "lab.charts('restarts')", "clerk.watch()", "clerk.transcript()"
    notebook.write(START.replace("{file}", "again.lab"), CLERK, told, *views).run_all()
    for name in ("charts", "inspector", "transcript", "tree"):
        view = shown(notebook, name)
    rows = view.locator(".al-row[data-path]").count()

    notebook.save_and_reload()

    expect(shown(notebook, "tree").locator(".al-row[data-path]")).to_have_count(rows)
    expect(shown(notebook, "charts").locator("[data-chart='restarts'] svg")).to_contain_text("1 restart")
    notebook.python("clerk.crash(); lab.wait_idle(60)")
    expect(notebook.page.locator(".agentlab-charts [data-chart='restarts'] svg")).to_contain_text("2 restarts")
    expect(shown(notebook, "inspector").locator(".al-life")).to_have_count(2)
    expect(shown(notebook, "transcript").locator(".al-turn")).to_have_count(2)
    notebook.page.locator("textarea").wait_for()
    tab_to(notebook, ".agentlab-transcript textarea")
    type_slowly(notebook, "Say: cake")
    notebook.page.keyboard.press("Enter")
    notebook.page.locator(".agentlab-transcript .al-assistant:not(.al-streams)", has_text="cake").wait_for()


def test_what_is_typed_while_the_kernel_is_silent_is_not_lost(notebook: Notebook):
    """The box keeps the keys; Enter waits, and says so; a key more takes it back; when the kernel speaks it is sent."""
    notebook.write(f"{CELL}\nfrom agentlab import Lab\nlab = Lab(nodes=1)\nclerk = lab.start(Clerk, id='clerk')",
                   "shown = clerk.transcript()\nshown").run_all()  # fmt: skip
    view = notebook.page.locator(".agentlab-transcript")
    box, button, said = view.locator("textarea"), view.locator(".al-do-ask"), view.locator(".al-said")
    view.locator("textarea[placeholder^='ask(']").wait_for()
    tab_to(notebook, ".agentlab-transcript textarea")
    type_slowly(notebook, "What is 2")

    notebook.python("import threading; go_on = threading.Event(); shown._pane._push().post(go_on.wait)")
    notebook.page.wait_for_selector(".agentlab-transcript[data-mood='silent']")
    type_slowly(notebook, " * 2")
    notebook.page.keyboard.press("Enter")
    expect(said).to_have_text("No word from the kernel: this is sent when it answers.")
    expect(button).to_have_text("Waits")
    type_slowly(notebook, "1")
    expect(button).to_have_text("Send")
    expect(said).to_be_hidden()
    notebook.page.keyboard.press("Enter")
    expect(button).to_have_text("Waits")
    expect(box).to_have_value("What is 2 * 21")
    expect_keys_on(notebook, ".agentlab-transcript textarea")
    view.screenshot(path=OUTPUT / "waits.png")
    notebook.python("go_on.set()")

    view.locator(".al-assistant:not(.al-streams)", has_text="42").wait_for()
    expect(box).to_have_value("")
    expect(view.locator(".al-turn")).to_have_count(1)
    expect_keys_on(notebook, ".agentlab-transcript textarea")


def test_what_is_redrawn_keeps_the_keys_that_are_on_it(notebook: Notebook):
    """A button of a checkpoint moves down as others come, and one of the agent may not be pressed for a while."""
    notebook.write(PLANNER, "planner.watch()").run_all()
    view = notebook.page.locator(".agentlab-inspector")
    view.wait_for(state="attached")
    view.locator("[data-key^='fork from checkpoint']").nth(2).wait_for()
    tab_to(notebook, ".agentlab-inspector [data-key^='rewind to checkpoint']")
    held = notebook.page.evaluate("() => document.activeElement.dataset.key")

    notebook.python("planner.call.revise().result(60)")
    expect(view.locator("[data-key^='fork from checkpoint']")).to_have_count(5)
    expect_keys_on(notebook, f"[data-key='{held}']")

    tab_to(notebook, ".agentlab-inspector .al-do-suspend", "Shift+Tab")
    notebook.page.keyboard.press("Enter")
    expect(view.locator(".al-do-suspend")).to_have_attribute("aria-disabled", "true")
    view.locator(".al-said", has_text="planner.suspend() done").wait_for()
    notebook.page.keyboard.press("Enter")  # not taken: it says what it said
    expect_keys_on(notebook, ".agentlab-inspector .al-do-suspend")
    expect(view.locator(".al-said")).to_contain_text("planner.suspend() done")
    notebook.page.keyboard.press("Tab")
    expect_keys_on(notebook, ".agentlab-inspector .al-do-resume")
    expect(view.locator(".al-do-suspend")).to_be_disabled()
