"""A chart as a still picture that a page of any width can read.

A picture that a page shrinks has smaller letters. So each chart is drawn for three widths, and the page shows the
one that fits its cell, at most a little stretched or shrunk. Where a page takes no style only the widest is seen.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from typing import Any

from agentlab.ground.told import with_words
from agentlab.ground.words import counted

WORDS = "agentlab_words"  # where a chart keeps what a click on its marks shows
SMALLEST = 13  # pixels of the smallest letters as drawn
LEAST = 12  # pixels of the smallest letters as shown
WIDTHS = {"wide": 960, "middle": 660, "narrow": 433}  # pixels at which a picture is drawn
FROM = {
    name: -(-width * LEAST // SMALLEST) for name, width in WIDTHS.items()
}  # rounded up: narrower cells need the next
OF = ".agentlab-chart>.al-"
STYLE = (
    ".agentlab-chart{container-type:inline-size;overflow-x:auto}.agentlab-chart>svg{max-width:none!important}"
    f"@container (width<{FROM['wide']}px){{{OF}wide{{display:none}}{OF}middle{{display:block!important}}}}"
    f"@container (width<{FROM['middle']}px){{{OF}middle{{display:none!important}}"
    f"{OF}narrow{{display:block!important;min-width:{FROM['narrow']}px}}}}"
)
MARK = re.compile(
    r'(<(path|text|line|image)\b[^<>]*?aria-label="([^"]*)"[^<>]*?aria-roledescription="(?!axis|title|legend)[^"]*"[^<>]*?)'
    r"(?:/>|>([^<>]*)</\2>)"
)
"""A mark that says in words what it shows; what is no mark (an axis, a title) says so."""

EMPTY = re.compile(r'role="graphics-symbol"( aria-roledescription="[^"]* container")')
"""A layer without marks, which is drawn as one mark that has no name."""

FRAME = ("axis", "title", "subtitle", "legend")
HEARD = re.compile(r'aria-roledescription="(title|subtitle|axis)" aria-label="([^"]*)"')
DRAWN = re.compile(r'aria-roledescription="([^"]*)"')
TEXTS = re.compile(r"<text\b[^>]*>(?:<title>[^<]*</title>)?([^<]*)</text>")
"""What is written; a chart of nothing has no more than that."""


def still(spec: dict[str, Any], **_options: Any) -> dict[str, str]:
    """The chart as HTML with a picture for each width, and as one picture for what reads no HTML."""
    drawn = {name: picture(spec, width) for name, width in WIDTHS.items()}
    pictures = "".join(_shown(name, svg) for name, svg in drawn.items())
    html = f'<div class="agentlab-chart"><style>{STYLE}</style>{pictures}</div>'
    words = spec.get("usermeta", {}).get(WORDS)
    return {
        "text/html": with_words(html, words) if words else html,
        "image/svg+xml": drawn["wide"],
    }


def picture(spec: dict[str, Any], width: int) -> str:
    """The chart as SVG, drawn for so many pixels."""
    return _draw(fit(spec, width))


def _shown(name: str, svg: str) -> str:
    """A picture with its name as a class; hidden unless a style shows it, but for the widest."""
    hidden = "" if name == "wide" else ' style="display:none"'
    return svg.replace('class="marks"', f'class="marks al-{name}"{hidden}', 1)


def fit(spec: dict[str, Any], width: int) -> dict[str, Any]:
    """A chart for another width: fewer columns in its legend, a subtitle of several lines."""
    fitted = copy.deepcopy(spec)
    fitted["config"]["view"] |= {"continuousWidth": width, "discreteWidth": width}
    if width == WIDTHS["wide"]:
        return fitted
    for layer in fitted.get("layer", [fitted]):
        legend = layer.get("encoding", {}).get("color", {}).get("legend") or {}
        if "columns" in legend:
            legend["columns"] = max(1, legend["columns"] * width // WIDTHS["wide"])
    title = fitted.get("title", {})
    if "subtitle" in title:
        title["subtitle"] = title["subtitle"].split(" · ")
        title["frame"] = "bounds"
    return fitted


def _draw(spec: dict[str, Any]) -> str:
    import altair as alt
    import vl_convert

    drawn = vl_convert.vegalite_to_svg(spec, vl_version=alt.SCHEMA_VERSION.rpartition(".")[0])
    drawn = EMPTY.sub(r'role="graphics-object"\1', MARK.sub(_with_tooltip, drawn))
    # A size of its own would be kept by a page that shows it as an image, and cut where the cell is narrower.
    return re.sub(r' width="\d+" height="\d+"', lambda _: f' {_description(drawn)} width="100%"', drawn, count=1)


def _description(svg: str) -> str:
    """What a screen reader says of the whole picture, as attributes: its title, what its axes are, how many marks."""
    heard = sorted(HEARD.findall(svg), key=lambda each: each[0] == "axis")
    told = [label.removeprefix(f"{kind.capitalize()} text ").strip("'") for kind, label in heard]
    marks = Counter(kind for kind in DRAWN.findall(svg) if not kind.endswith("container") and kind not in FRAME)
    words = marks.pop("text mark", 0)  # beside others they only say again what these are
    told += [counted(n, kind) for kind, n in marks.items()]
    if words and not told:
        told = [text for text in TEXTS.findall(svg) if text]
    return f'role="graphics-document" aria-roledescription="chart" aria-label="{". ".join(told)}."'


def _with_tooltip(mark: re.Match[str]) -> str:
    """A still picture has no script that shows a tooltip; a title is shown by each browser below the mouse."""
    tag, name, told, text = mark.groups()
    return f"{tag}><title>{told}</title>{text or ''}</{name}>"
