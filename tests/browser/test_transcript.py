"""The conversation of an agent in a real JupyterLab."""

from __future__ import annotations

from playwright.sync_api import Locator, expect

from tests.browser.accessible import barriers
from tests.browser.jupyter import OUTPUT, Notebook
from tests.clerks import CELL

START = f'''
{CELL}
import asyncio
from agentlab import Agent, Lab, Transcript

class Teller(Agent):
    pages: Transcript = Transcript()

    async def tell(self, text: str) -> None:
        """Speak, and go on for ever."""
        self.pages.append({{"role": "user", "content": "Tell me."}})
        self.emit(text)
        await asyncio.sleep(600)

lab = Lab(nodes=1)
clerk, teller = lab.start(Clerk, id="clerk"), lab.start(Teller, id="teller")
'''

HOSTILE = r"""
hostile = "# Title\n\nSome **bold** and `code`.\n\n<script>document.title='owned'</script>"
hostile += "<img src=x onerror=\"document.title='owned'\"><iframe src='javascript:1'></iframe>\n\n"
hostile += "[a](javascript:document.title='owned') [b](data:text/html,1) [c](https://example.org)\n\n"
hostile += "![d](https://example.org/pixel.png)\n\n```py\nprint(1)\n```\n\n"
hostile += "| a | b |\n|--|--|\n| 1 | 2 |\n\n" + "x" * 3000
"""
THEME = "theme => window.jupyterapp.commands.execute('apputils:change-theme', { theme })"


def shown(notebook: Notebook) -> Locator:
    """The transcript, scrolled to, once it is live."""
    view = notebook.page.locator(".agentlab-transcript").first
    view.wait_for(state="attached")
    view.evaluate("view => view.scrollIntoView()")
    notebook.page.wait_for_selector(".agentlab-transcript[data-painted][data-mood='live']")
    return view


def test_a_conversation_is_held_in_the_box(notebook: Notebook):
    """What is typed is asked; tools are folded and open by key; a closed lab says so."""
    notebook.write(START, "clerk.transcript()").run_all()
    view = shown(notebook)
    box = view.locator("textarea")
    box.fill("What is 1 + 2 + 3?")
    box.press("Enter")
    view.locator(".al-assistant:not(.al-streams)", has_text="1 + 2 + 3 = 6").wait_for()
    expect(view.locator(".al-said")).to_contain_text("clerk.call.ask('What is 1 + 2 + 3?') answered")
    expect(view.locator("details.al-tool")).to_have_count(2)

    view.locator("summary").first.focus()
    notebook.page.keyboard.press("Enter")
    expect(view.locator("details").first).to_have_attribute("open", "")
    expect(view.locator("details").first).to_contain_text("3.0")
    box.fill("What is 7 * 6?")
    box.press("Enter")
    expect(view.locator(".al-turn")).to_have_count(2)
    view.locator(".al-assistant:not(.al-streams)", has_text="42").wait_for()
    view.screenshot(path=OUTPUT / "transcript.png")

    notebook.python("lab.close()")
    notebook.page.wait_for_selector(".agentlab-transcript[data-mood='closed']")
    expect(view.locator("textarea")).not_to_be_editable()


def test_hostile_markdown_streams_in_and_harms_nothing(notebook: Notebook):
    """Headings, code and tables are drawn; markup is text; no link leads where it must not; a death is marked."""
    notebook.write(START + HOSTILE, "teller.transcript()").run_all()
    view = shown(notebook)
    notebook.python("teller.cast.tell(hostile)")  # what is said before somebody looks is seen when it is committed
    stream = view.locator(".al-streams .al-text")
    stream.locator("h3", has_text="Title").wait_for()

    expect(stream.locator("table")).to_have_count(1)
    assert view.locator("script, iframe, img").count() == 0
    assert [link.get_attribute("href") for link in view.locator("a").all()] == [
        "https://example.org/",
        "https://example.org/pixel.png",
    ]
    assert "owned" not in notebook.page.title()
    box, inner = view.bounding_box(), stream.bounding_box()
    assert inner["x"] + inner["width"] <= box["x"] + box["width"]

    notebook.page.evaluate(THEME, "JupyterLab Dark")
    notebook.page.wait_for_selector("body[data-jp-theme-light='false']", state="attached")
    notebook.python("teller.crash()")
    view.locator(".al-cut").wait_for()
    view.locator(".al-event-crashed").wait_for()
    view.screenshot(path=OUTPUT / "transcript-dark.png")
    found = barriers(view)
    notebook.page.evaluate(THEME, "JupyterLab Light")
    notebook.page.wait_for_selector("body[data-jp-theme-light='true']", state="attached")
    notebook.python("lab.close()")
    assert found == []
