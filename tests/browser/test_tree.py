"""The live tree in a real JupyterLab."""

from __future__ import annotations

import os
import re
import signal

import pytest
from playwright.sync_api import Locator, expect

from tests.browser.jupyter import Notebook, for_the_readme, wait_for

START = """
import asyncio
from agentlab import Agent, Lab, Supervisor, child

class Counter(Agent):
    count: int = 0

    def add(self, n: int = 1) -> int:
        self.count += n
        return self.count

    def fail(self, text: str) -> None:
        raise ValueError(text)

lab = Lab()
counter = lab.start(Counter, id="counter")
lab.start(Supervisor("team", child(Counter, id="a"), child(Counter, id="b")))
"""

ASKS = """
from agentlab import tool

@tool(approve=True)
def pay(amount: int) -> int:
    return amount

class Payer(Agent):
    async def pay(self) -> int:
        return await self.step(pay, 5)

payer = lab.start(Payer, id="payer")
reply = payer.call.pay()
"""

SCENE = """
import asyncio
from agentlab import Agent, Lab, Limit, Supervisor, child

class Planner(Agent):
    async def plan(self) -> None:
        await asyncio.sleep(600)

class Writer(Agent):
    drafts: int = 0

    def write(self) -> int:
        self.drafts += 1
        return self.drafts

    def spill(self) -> None:
        raise ValueError("no ink left")

class Critic(Writer):
    pass

lab = Lab()
lab.start(Supervisor(
    "newsroom", child(Planner, id="planner"),
    Supervisor("writers", *(child(Writer, id=name) for name in ("ada", "grace", "edsger")), strategy="rest_for_one"),
    child(Critic, id="critic", own_limit=Limit(0, 5.0)), max_restarts=5,
))
archive = lab.start(Writer, id="archive")
ada, critic = lab["/newsroom/writers/ada"], lab["/newsroom/critic"]
lab["/newsroom/planner"].cast.plan()
critic.cast.spill()
"""


def test_buttons_do_what_they_say_and_name_the_call(notebook: Notebook):
    """Crash, kill, stop, restart and yes act on the selected agent, show the code of the same, and keys select."""
    notebook.write(START, ASKS, "lab.tree()").run_all()
    notebook.expect("live")

    notebook.row("/counter").click()
    notebook.press("crash")
    notebook.expect_life("/counter", 2)
    notebook.expect_said("counter.crash() done")

    notebook.page.keyboard.press("ArrowDown")
    notebook.page.keyboard.press("ArrowRight")
    assert notebook.inspector().startswith("/team/a")
    notebook.press("kill")
    notebook.expect_life("/team/a", 2)
    notebook.expect_said("lab['/team/a'].kill() done")

    notebook.press("stop")
    notebook.page.wait_for_selector(".al-row[data-path='/team/a'][data-status='stopped']")
    expect(notebook.tree.locator("button.al-do-crash")).to_be_disabled()
    notebook.press("restart")
    notebook.expect_life("/team/a", 3)
    assert notebook.row("/team/b").get_attribute("data-incarnation") == "1"
    notebook.screenshot("buttons")

    expect(notebook.tree.locator(".al-asks")).to_be_hidden()
    notebook.row("/payer").click()
    expect(notebook.tree.locator(".al-asks code")).to_have_text("pay(5)")
    notebook.screenshot("approval")
    notebook.tree.locator("button.al-answer-yes").click()
    notebook.expect_said("payer.approve(1) allowed")
    expect(notebook.tree.locator(".al-asks")).to_be_hidden()


def test_buttons_say_what_they_do_or_why_not(notebook: Notebook):
    """The hint over each; and a suspended agent, or a supervisor, is not said to run since its start."""
    notebook.write(START, "lab.tree()").run_all()
    notebook.expect("live")

    def hint(action: str) -> Locator:
        return notebook.tree.locator(f"button.al-do-{action}")

    notebook.row("/counter").click()
    expect(hint("crash")).to_have_attribute("title", "raise an exception inside it; its supervisor reacts")
    expect(hint("skip")).to_have_attribute("title", "it has no message in hand")
    expect(notebook.tree.locator(".al-facts")).to_have_text(re.compile(r"^running · incarnation 1 since \d\d:"))
    expect(notebook.row("/counter").locator(".al-id")).to_have_attribute("title", "/counter")

    notebook.row("/team").click()
    expect(hint("crash")).to_have_attribute("title", "for agents only: this is a supervisor")
    expect(notebook.tree.locator(".al-facts")).to_have_text("running · incarnation 1 · 0 restarts · permanent")
    expect(hint("stop")).to_have_attribute(
        "title", re.compile(r"starts it again\. lab\['/'\]\.terminate_child\('team'\)")
    )
    notebook.press("stop")
    notebook.expect_life("/team", 2)
    notebook.expect_said("lab['/team'].stop() done; permanent: its supervisor starts it again")
    notebook.row("/").click()
    expect(hint("stop")).to_have_attribute("title", "the root ends with lab.close()")


def test_a_click_works_while_a_cell_blocks(notebook: Notebook):
    """The kernel's main thread sleeps in a cell; the tree still acts and shows."""
    notebook.write(START, "lab.tree()", "import time; time.sleep(600)").start_all()
    notebook.expect("live")
    wait_for(notebook.running, "the start of the blocking cell")

    notebook.row("/counter").click()
    notebook.press("crash")
    notebook.expect_life("/counter", 2)

    assert notebook.running()
    notebook.screenshot("blocking-cell")


def test_the_tree_says_when_nobody_speaks_and_when_it_is_over(notebook: Notebook):
    """Silence turns the tree grey; a closed lab keeps its last picture."""
    notebook.write(START, "lab.tree()").run_all()
    notebook.expect("live")
    expect(notebook.tree.locator(".al-row[data-path]")).to_have_count(5)

    kernel = int(notebook.python("import os; print(os.getpid())"))
    os.kill(kernel, signal.SIGSTOP)
    notebook.expect("silent")
    assert "no word from the kernel" in notebook.tree.inner_text()
    notebook.screenshot("silent")
    os.kill(kernel, signal.SIGCONT)
    notebook.expect("live")

    notebook.python("lab.close()")
    notebook.expect("closed")
    expect(notebook.tree.locator(".al-row[data-path][data-status='running']")).to_have_count(5)
    expect(notebook.tree.locator(".al-buttons button:enabled")).to_have_count(0)
    notebook.screenshot("closed")


def test_a_tree_that_is_cut_says_how_many_rows_are_below(notebook: Notebook):
    """A page that draws no scroll bar looks complete; at the end of the tree the hint is gone."""
    notebook.write(START, "lab.start_many(Counter, 60); lab.tree()").run_all()
    notebook.expect("live")
    more, body = notebook.tree.locator(".al-more span"), notebook.tree.locator(".al-body")
    expect(more).to_be_visible()
    expect(more).to_have_text(re.compile(r"^↓ \d\d more rows$"))
    hidden = int(re.findall(r"\d+", more.inner_text())[0])
    edge = body.bounding_box()
    ends = [row.bounding_box() for row in notebook.tree.locator(".al-row[data-path]").all()]
    below = [row for row in ends if row["y"] + row["height"] / 2 > edge["y"] + edge["height"]]
    assert abs(len(below) - hidden) <= 1  # of a row that the edge cuts
    notebook.screenshot("more-rows")

    body.evaluate("body => body.scrollTo(0, body.scrollHeight)")
    expect(more).to_be_hidden()


def test_rows_are_searched_filtered_folded_and_sorted(notebook: Notebook):
    """By words, by a click on a count, by keys; how a life ended is one click away, the budget of restarts a bar."""
    team = "child(Counter, id='w1', own_limit=Limit(0, 5.0)), child(Counter, id='w2')"
    crash = "lab['/crew/w1'].cast.fail('no <b>ink</b>'); lab['/crew/w2'].cast.fail('x'); lab.wait_idle(60)"
    notebook.write(
        START,
        "from agentlab import Limit",
        f"lab.start(Supervisor('crew', {team}, max_seconds=3600.0))",
        crash,
        "lab.tree()",
    ).run_all()
    notebook.expect("live")
    rows, box = notebook.tree.locator(".al-row[data-path]"), notebook.tree.locator("input[type=search]")
    paths = "rows => rows.map(row => row.dataset.path)"
    expect(rows).to_have_count(8)
    expect(notebook.row("/crew").locator(".al-gauge")).to_have_attribute(
        "title", re.compile("^3 of 3 restarts in 3600 s")
    )

    notebook.tree.locator(".al-chip[data-status=parked]").click()
    expect(rows).to_have_count(3)
    assert rows.evaluate_all(paths) == ["/", "/crew", "/crew/w1"]
    expect(notebook.tree.locator(".al-search span")).to_have_text("1 found")
    notebook.row("/crew/w1").locator(".al-last-exit").click()
    expect(notebook.tree.locator(".al-trace")).to_contain_text("raise ValueError(text)")
    expect(notebook.tree.locator(".al-trace")).to_contain_text("ValueError: no <b>ink</b>")
    notebook.screenshot("filtered")
    notebook.page.keyboard.press("t")
    expect(notebook.tree.locator(".al-trace")).to_be_hidden()
    notebook.tree.locator(".al-chip[data-status=parked]").click()
    expect(rows).to_have_count(8)

    notebook.tree.locator(".al-body").focus()
    notebook.page.keyboard.press("/")
    notebook.page.keyboard.type("kind:counter path:/team/")
    expect(rows).to_have_count(4)
    notebook.page.keyboard.press("Escape")
    expect(rows).to_have_count(8)
    expect(box).to_have_value("")

    notebook.row("/team").click()
    notebook.page.keyboard.press("ArrowLeft")
    expect(rows).to_have_count(6)
    expect(notebook.row("/team")).to_have_attribute("aria-expanded", "false")
    expect(notebook.row("/team").locator(".al-tally")).to_have_text("2 running")
    notebook.page.keyboard.press("ArrowRight")
    expect(rows).to_have_count(8)
    notebook.tree.locator(".al-sort", has_text="restarts").click()
    wait_for(lambda: rows.evaluate_all(paths)[-2:] == ["/crew/w2", "/crew/w1"], "the most restarted first")
    notebook.screenshot("sorted")


SESSION = "window.jupyterapp.shell.currentWidget.sessionContext"


@pytest.mark.parametrize("how", ["restarted", "killed", "shut down while it hangs"])
def test_a_tree_whose_kernel_is_gone_says_so(notebook: Notebook, how: str):
    """Its lab ended with it: the old picture says which cell to run, not that there is no word from the kernel."""
    notebook.write(START, "lab.tree()").run_all()
    notebook.expect("live")
    notebook.row("/team/a").click()
    if how == "restarted":
        notebook.page.evaluate(f"() => {SESSION}.session.kernel.restart()")
    else:
        kernel = int(notebook.python("import os; print(os.getpid())"))
        os.kill(kernel, signal.SIGKILL if how == "killed" else signal.SIGSTOP)
    if how.startswith("shut down"):
        notebook.page.evaluate(f"() => {SESSION}.shutdown()")
    notebook.expect("gone")

    over = "is gone" if how.startswith("shut down") else "was restarted"
    expect(notebook.tree.locator(".al-pulse")).to_have_text(re.compile(f"the kernel {over}: .*run this cell again"))
    expect(notebook.tree.locator(".al-said")).to_have_text(re.compile("make the lab again", re.IGNORECASE))
    expect(notebook.tree.locator(".al-buttons button:enabled")).to_have_count(0)
    expect(notebook.tree.locator("button.al-do-stop")).to_have_attribute("title", re.compile("run this cell again"))
    notebook.screenshot(f"kernel-{how.replace(' ', '-')}")

    if how == "restarted":
        notebook.run_all()
        notebook.expect("live")


def test_the_notebook_stays_where_its_reader_scrolled_to(notebook: Notebook):
    """The selected row is brought into sight by keys and when it is selected, not whenever anything changes."""
    more = "lab.start_many(Counter, 30, under=lab.start(Supervisor('pool', max_restarts=100)))"
    notebook.write(START, more, "lab.tree()", "\n" * 60).run_all()
    notebook.expect("live")
    last = notebook.row("/pool/counter-30")

    def top(place: Locator = notebook.tree) -> float:
        box = place.bounding_box()
        assert box is not None
        return box["y"]

    notebook.row("/counter").click()
    notebook.tree.evaluate("tree => { tree.querySelector('.al-body').scrollTop = 1e6; }")
    last.evaluate("row => row.scrollIntoView({ block: 'start' })")
    before = top()
    for number in (2, 3):
        notebook.python("lab['/pool/counter-30'].crash(); lab.wait_idle(60)")
        notebook.expect_life("/pool/counter-30", number)
    assert top() == before
    expect(last).to_be_in_viewport()

    notebook.tree.locator(".al-body").press("ArrowDown")
    expect(notebook.row("/team")).to_be_in_viewport()
    assert top() > before
    assert top(notebook.row("/team")) > top(notebook.tree.locator(".al-head")) + 27  # not below the head


def test_many_agents_are_cells_that_can_be_selected(notebook: Notebook):
    """Past 200 agents each is a cell of its supervisor's block; a click and the keys select, a crash is told."""
    many = "lab.start_many(Counter, 300, under=lab.start(Supervisor('pool', max_restarts=100)))"
    notebook.write(START, many, "lab.tree()").run_all()
    notebook.expect("live")
    canvas = notebook.tree.locator("canvas").last
    notebook.page.wait_for_selector(".al-canvas[data-cells='306']")

    canvas.click(position={"x": 26, "y": 146})
    notebook.tree.locator(".al-what b").filter(has_text="/pool/counter-1").wait_for()
    notebook.page.keyboard.press("ArrowDown")
    notebook.tree.locator(".al-what b").filter(has_text="/pool/counter-2").wait_for()
    notebook.press("crash")
    notebook.tree.locator(".al-facts").filter(has_text="incarnation 2").wait_for()

    # The row may be a message ahead: it is read after the events are taken.
    notebook.tree.locator(".al-minute").filter(has_text="1 restart in the last minute").wait_for()
    notebook.screenshot("cells")


CROWD = """
from agentlab import Limit
lab.start_many(Counter, 100_000, own_limit=Limit(0, 5.0))
for number in (70_000, 70_001, 99_000):
    lab[f"/counter-{number}"].cast.fail("no ink")
lab.wait_idle(60)
"""


def test_a_hundred_thousand_agents_open_where_the_trouble_is(notebook: Notebook):
    """A heat map first; keys, wheel, map and counts lead to the three of 100,000 that somebody has to look at."""
    notebook.write(START, CROWD, "lab.tree()").run_all()
    notebook.expect("live")
    notebook.page.wait_for_selector(".al-canvas[data-cells='100005']")
    scale, keyboard = notebook.tree.locator(".al-scale"), notebook.page.keyboard
    several = re.compile(r"^a cell is \d+ agents")

    def expect_chosen(number: int) -> None:
        notebook.tree.locator(".al-what b").filter(has_text=f"/counter-{number}").wait_for()

    expect(scale).to_have_text(several)
    notebook.screenshot("crowd")
    notebook.tree.locator(".al-body").focus()
    for key, number in (("n", 70_000), ("n", 70_001), ("n", 99_000), ("Shift+N", 70_001)):
        keyboard.press(key)
        expect_chosen(number)
    expect(scale).to_have_text("a cell is an agent")
    expect(notebook.tree.locator(".al-facts")).to_contain_text("ValueError: no ink")
    notebook.screenshot("crowd-page")
    page = notebook.tree.locator(".al-page")
    before = page.inner_text()
    keyboard.press("PageDown")
    expect(page).not_to_have_text(before)
    keyboard.press("0")
    expect(scale).to_have_text(several)

    overview = notebook.tree.locator("canvas.al-map")
    overview.click(position={"x": 14, "y": overview.bounding_box()["height"] * 99_004.5 / 100_005})
    expect_chosen(99_000)
    notebook.tree.locator(".al-zoom-out").click()
    expect(scale).to_have_text(several)
    notebook.tree.locator(".al-body").focus()
    notebook.tree.locator("canvas").last.hover(position={"x": 200, "y": 200})
    notebook.page.mouse.wheel(0, -100)
    expect(scale).to_have_text("a cell is an agent")

    notebook.tree.locator(".al-chip[data-status=parked]").click()
    expect(notebook.tree.locator(".al-row[data-path]")).to_have_count(3)
    notebook.row("/counter-70001").locator(".al-last-exit").click()
    expect(notebook.tree.locator(".al-trace")).to_contain_text("raise ValueError(text)")
    notebook.tree.locator(".al-chip[data-status=parked]").click()
    expect(overview).to_be_visible()


def test_hostile_text_is_only_text(notebook: Notebook):
    """Markup, escape codes and half characters in a reason are shown, cut and harmless."""
    hostile = r"<img src=x onerror='document.title=`owned`'>\x1b[31m\x00\ud800\u202e" + "x" * 5000
    notebook.write(START, "lab.tree()", f"counter.cast.fail('''{hostile}''')").run_all()
    notebook.expect("live")
    notebook.page.wait_for_selector(".al-row[data-path='/counter']:not([data-incarnation='1'])")

    shown = notebook.row("/counter").locator(".al-last-exit").inner_text()
    assert "ValueError: <img src=x" in shown
    assert len(shown) <= 120
    assert not set("\x1b\x00\u202e") & set(shown)
    assert notebook.tree.locator("img").count() == 0
    assert "owned" not in notebook.page.title()


def test_a_picture_for_the_readme(notebook: Notebook):
    """The tree just after a crash."""
    notebook.page.set_viewport_size({"width": 1120, "height": 900})
    notebook.write(SCENE, "lab.tree()").run_all()
    notebook.expect("live")
    notebook.page.wait_for_selector(".al-row[data-path='/newsroom/critic'][data-status='parked']")

    notebook.row("/newsroom/writers/ada").click()
    notebook.press("crash")
    notebook.expect_life("/newsroom/writers/ada", 2)
    notebook.expect_life("/newsroom/writers/edsger", 2)  # after ada in the order of rest_for_one
    picture = notebook.screenshot("tree")

    assert "ada.crash()" in notebook.inspector()
    for_the_readme(picture)


def test_a_breaker_is_a_row_with_buttons(notebook: Notebook):
    """It says its state and why; a press opens or closes it, and the call that does the same is shown."""
    notebook.write(START, "lab.breaker('sim').close(); lab.tree()").run_all()
    notebook.expect("live")
    row = notebook.page.wait_for_selector(".al-breaker[data-breaker='sim'][data-state='closed']")
    assert row.query_selector("button.al-breaker-close").is_disabled()

    notebook.tree.locator("button.al-breaker-open").click()
    notebook.page.wait_for_selector(".al-breaker[data-state='open']")
    notebook.tree.locator(".al-breaker .al-why").filter(has_text="opened by a person").wait_for()
    notebook.expect_said("lab.breaker('sim').open() done")
    notebook.screenshot("breaker")

    notebook.tree.locator("button.al-breaker-close").click()
    notebook.page.wait_for_selector(".al-breaker[data-state='closed']")
    assert notebook.python("print(lab.breaker('sim').state)").strip() == "closed"


def test_nodes_are_lines_that_a_press_opens(notebook: Notebook):
    """By the mouse and by the keyboard; the selected agent is left as it is."""
    notebook.write(START, "lab.tree()").run_all()
    notebook.expect("live")
    told = notebook.tree.locator("button.al-nodes-all")
    told.filter(has_text=re.compile(r"^\d+ nodes?$")).wait_for()

    told.click()
    notebook.tree.locator(".al-home[data-state='running']").filter(
        has_text=re.compile(r"agents? · \d+ MB")
    ).first.wait_for()
    notebook.screenshot("nodes")

    told.press("Enter")
    notebook.tree.locator(".al-home").first.wait_for(state="hidden")
