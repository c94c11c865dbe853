"""The pages beside the notebooks: their Python runs as it stands, and their links lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from tests.run_readme import main

PAGES = Path(__file__).parents[1] / "notebooks"
WRITTEN = sorted(PAGES.glob("**/*.md"))
NOTEBOOKS = sorted(PAGES.glob("**/*.ipynb"))
RUN = [page for page in WRITTEN if "```python" in page.read_text(encoding="utf-8")]


@pytest.mark.slow
@pytest.mark.parametrize("page", RUN, ids=lambda page: page.stem)
async def test_the_python_of_a_page_does_what_it_says(page, tmp_path, monkeypatch):
    """Each block runs, in order, and the values in its comments are the values."""
    monkeypatch.chdir(tmp_path)

    await main(page.read_text(encoding="utf-8"))


def prose(page: Path) -> str:
    """What a page or a notebook says beside its code."""
    text = page.read_text(encoding="utf-8")
    if page.suffix == ".md":
        return re.sub(r"^```python\n.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    return "\n\n".join("".join(cell["source"]) for cell in json.loads(text)["cells"] if cell["cell_type"] == "markdown")


LINKS = {r"\]\(([^)#]+)[^)]*\)": False, r"`((?:notebooks/|\d\d-)[\w/.-]+\.(?:ipynb|md|py))`": True}
"""How a page names a file, and whether it may do so from another folder than its own."""


@pytest.mark.parametrize(("link", "from_above"), LINKS.items())
def test_every_link_of_a_page_leads_to_a_file(link, from_above):
    """From page to page, and to notebooks, by a link or by a file's name; what is elsewhere is left to a person."""
    near = [
        (page, target)
        for page in [*WRITTEN, *NOTEBOOKS]
        for target in re.findall(link, prose(page))
        if "://" not in target
    ]
    gone = [
        f"{page.relative_to(PAGES)}: {target}"
        for page, target in near
        if not any(
            (above / target).is_file() for above in [page.parent, *([PAGES, PAGES.parent] if from_above else [])]
        )
    ]

    assert len(near) > 3
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
