"""Charts in a real page, in cells of every width."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser

from agentlab import charts
from tests.browser.jupyter import OUTPUT

RESTARTS = pd.DataFrame(
    {
        "path": ["/newsroom/writers/ada"] * 5 + ["/newsroom/critic"] * 3 + ["/archive"],
        "reason": ["killed"] * 5 + ["TimeoutError: late"] * 3 + ["shutdown"],
    }
)
MESSAGES = pd.DataFrame(
    {
        "method": ["ask", "remember", "a_rather_long_method"] * 2,
        "wait_s": [0.0011, 0.00013, 0.000002, 0.02, 0.0003, 0.000003],
        "took_s": [0.05, 0.0005, 0.000003, 2.5, 0.003, 0.000004],
    }
)
OUTCOMES = pd.DataFrame({"prompt": [f"be brief {n}" for n in range(8)], "score": [3, 1, 4, 1, 5, 9, 2, 6]})
WIDTHS = (400, 520, 609, 610, 780, 886, 887, 1100)
LETTERS = """() => [...document.querySelectorAll("svg text")]
    .filter((text) => text.getClientRects().length && text.textContent && text.getAttribute("opacity") !== "0")
    .map((text) => {
        const { left, right, top, bottom } = text.getBoundingClientRect(), { c, d } = text.getScreenCTM();
        const size = parseFloat(getComputedStyle(text).fontSize) * Math.hypot(c, d);
        const label = Boolean(text.closest(".role-axis-label"));
        return { text: text.textContent, size, left, right, top, bottom, label };
    })"""


@pytest.mark.parametrize("name", ["restarts", "latency", "outcomes"])
def test_letters_are_large_enough_in_every_cell_and_lie_over_no_others(browser: Browser, name: str):
    """From 400 pixels on: one picture, as wide as the cell, letters of 12 pixels at least, none over a label."""
    draw: dict[str, Callable[[], Any]] = {
        "restarts": lambda: charts.restarts(RESTARTS),
        "latency": lambda: charts.latency(MESSAGES),
        "outcomes": lambda: charts.outcomes(OUTCOMES, "prompt", "score"),
    }
    page = browser.new_page(viewport={"width": 1200, "height": 800})
    page.set_content(f'<div id="cell">{draw[name]()._repr_mimebundle_()["text/html"]}</div>')
    OUTPUT.mkdir(exist_ok=True)

    for width in WIDTHS:
        page.evaluate("width => { document.querySelector('#cell').style.width = `${width}px`; }", width)
        letters = page.evaluate(LETTERS)
        pictures = [box["width"] for svg in page.locator("svg.marks").all() if (box := svg.bounding_box())]
        page.locator("#cell").screenshot(path=OUTPUT / f"chart-{name}-{width}.png")

        assert pictures == [pytest.approx(width, abs=1)]
        assert min(letter["size"] for letter in letters) >= 11.99, width
        over = [(one["text"], o["text"]) for one in letters for o in letters if one["label"] and _meet(one, o)]
        assert over == [], width
        assert max(letter["right"] for letter in letters) <= width + 8 + 1, width  # the page's margin is 8
    page.close()


def _meet(one: dict[str, Any], other: dict[str, Any]) -> bool:
    if one is other:
        return False
    across = min(one["right"], other["right"]) - max(one["left"], other["left"])
    down = min(one["bottom"], other["bottom"]) - max(one["top"], other["top"])
    return across > 1 and down > 5  # boxes are taller than their letters
