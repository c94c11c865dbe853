"""The rules of axe-core, asked about a view in a real page: contrast, names, roles, keyboard."""

from __future__ import annotations

from axe_playwright_python.base import AXE_SCRIPT
from playwright.sync_api import Locator

RUN = """async (view) => {
    const { violations } = await window.axe.run(view, { resultTypes: ["violations"] });
    return violations.flatMap(({ id, nodes }) => nodes.map(({ target, failureSummary }) =>
        `${id}: ${target.join(" ")}: ${failureSummary.replaceAll("\\n", " ")}`));
}"""


def barriers(view: Locator) -> list[str]:
    """What keeps somebody from using this view, in the colours that it has now; empty if no rule is broken."""
    if not view.page.evaluate("() => 'axe' in window"):
        view.page.evaluate(AXE_SCRIPT)
    found: list[str] = view.evaluate(RUN)
    return found
