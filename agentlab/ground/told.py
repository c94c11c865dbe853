"""Words behind the marks of a still picture: a click on a mark, or Tab to it, shows its words below the picture.

No script is needed: a mark that has the focus is known to the style sheet, which shows the words that belong to it. So
it works in a stored notebook and on a page, too. Where a page takes no style the words stay hidden.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from html import escape

from agentlab.ground.texts import safe

LONGEST = 3000
"""Characters of the words of one mark."""

HINT = "Click a cell, or go to it with Tab: what was said is shown here."
LOOK = (
    ".agentlab-chart svg [tabindex]{cursor:pointer}"
    ".agentlab-chart svg [tabindex]:focus{outline:3px solid #4c8dff;outline-offset:-3px}"
    ".agentlab-told pre{white-space:pre-wrap;margin:.3em 0;max-height:20em;overflow:auto}"
)


def with_words(html: str, words: Mapping[str, tuple[str, str]]) -> str:
    """A chart of ``still`` whose marks have words.

    Args:
        html: The chart.
        words: A heading and the words, by the last part of the mark's own label, as ``"path: /a"``.
    """
    numbers = {escape(end, quote=True): number for number, end in enumerate(words)}

    def marked(mark: re.Match[str]) -> str:
        number = numbers.get(mark["label"].rpartition("; ")[2])
        if number is None:
            return mark[0]
        order = 0 if mark["tag"] == "path" else -1  # a text lies over its cell: a click finds it, Tab need not
        return f'<{mark["tag"]} tabindex="{order}" class="al-of-{number}" aria-label="{mark["label"]}"'

    pictures = re.sub(r'<(?P<tag>path|text) aria-label="(?P<label>[^"]*)"', marked, html)
    rules = [
        f".agentlab-told:has(.al-of-{number}:focus) .al-words-{number},.al-words-{number}:hover"
        "{display:block!important}"
        for number in numbers.values()
    ]
    shown = [
        f'<div class="al-words-{number}" style="display:none"><b>{escape(safe(heading))}</b>'
        f"<pre>{escape(safe(text, LONGEST))}</pre></div>"
        for number, (heading, text) in enumerate(words.values())
    ]
    style = f"<style>{LOOK}{''.join(rules)}</style>"
    return f'<div class="agentlab-told">{style}{pictures}<p>{HINT}</p>{"".join(shown)}</div>'
