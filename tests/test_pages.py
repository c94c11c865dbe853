"""The pages beside the notebooks: their Python runs as it stands, and their links lead somewhere."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.run_readme import main

PAGES = Path(__file__).parents[1] / "notebooks"
WRITTEN = sorted(PAGES.glob("**/*.md"))
RUN = [page for page in WRITTEN if "```python" in page.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
async def test_the_python_of_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    """Each block runs, in order, and the values in its comments are the values."""
    monkeypatch.chdir(tmp_path)

    await main(page.read_text(encoding="utf-8"))


def test_every_link_of_a_page_leads_to_a_file():
    """From page to page, and to notebooks; what is elsewhere is left to a person."""
    gone = [
        f"{page.relative_to(PAGES)}: {target}"
        for page in WRITTEN
        for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))
        if "://" not in target and not (page.parent / target).is_file()
    ]

    assert gone == []


def test_every_page_is_in_a_table_of_contents():
    """A page that none lists is found by nobody."""
    listed = {
        (page.parent / line).resolve()
        for page in WRITTEN
        for block in re.findall(r"```\{toctree\}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
        for line in block.split()
        if not line.startswith(":")
    }

    assert [page.name for page in WRITTEN if page.stem != "index" and page.with_suffix("") not in listed] == []
