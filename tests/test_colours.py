"""Colours of statuses: seen on every paper, and told apart by people who do not see red, green or blue as others do.

What a dichromat sees is computed with the matrices of Machado, Oliveira and Fernandes, "A Physiologically-based Model
for Simulation of Color Vision Deficiency" (2009, doi:10.1109/TVCG.2009.113), severity 1, on linear sRGB. Contrast is
that of WCAG 2.2, whose rule 1.4.11 wants 3 for what a picture needs, 1.4.3 4.5 for text. Distance is CIE 1976 (L*a*b*).
"""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from agentlab import charts
from agentlab.charts.bars import REASONS
from agentlab.looks import CRASH, LOOKS
from agentlab_widgets.live import HERE as WIDGETS

VISIONS = {
    "normal": ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    "protanopia": ((0.152286, 1.052583, -0.204868), (0.114503, 0.786281, 0.099216), (-0.003882, -0.048116, 1.051998)),
    "deuteranopia": ((0.367322, 0.860646, -0.227968), (0.280085, 0.672501, 0.047413), (-0.01182, 0.04294, 0.968881)),
    "tritanopia": ((1.255528, -0.076749, -0.178779), (-0.078411, 0.930809, 0.147602), (0.004733, 0.691367, 0.3039)),
}
TO_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750), (0.0193339, 0.1191920, 0.9503041))
WHITE = (0.95047, 1.0, 1.08883)  # of sRGB, CIE XYZ
FAR = 17.0
"""A distance at which two colours are told apart side by side, and by a legend; 2.3 is one that is just seen."""

LIGHT, DARK, DARKEST = "#ffffff", "#212121", "#111111"  # JupyterLab's themes: light, dark, dark with high contrast
INKS = {LIGHT: "#24292f", DARK: "#e0e0e0"}
COLOURS = {**{status: look.colour for status, look in LOOKS.items()}, "crashed": CRASH}
HEX = re.compile(r"#[0-9a-f]{6}\b", re.IGNORECASE)

Three = tuple[float, float, float]


def times(matrix: tuple[Three, ...], vector: Three) -> Three:
    """A matrix times a vector."""
    first, second, third = (sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix)
    return first, second, third


def linear(colour: str) -> Three:
    """Red, green and blue of ``#rrggbb`` as light, 0 to 1."""
    shares = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.04045 else ((each + 0.055) / 1.055) ** 2.4 for each in shares)
    return red, green, blue


def lab_of(colour: str, vision: str = "normal") -> Three:
    """L*, a* and b* of what somebody sees."""
    red, green, blue = (min(1.0, max(0.0, each)) for each in times(VISIONS[vision], linear(colour)))
    shares = [each / white for each, white in zip(times(TO_XYZ, (red, green, blue)), WHITE, strict=True)]
    x, y, z = (each ** (1 / 3) if each > 216 / 24389 else (24389 / 27 * each + 16) / 116 for each in shares)
    return 116 * y - 16, 500 * (x - y), 200 * (y - z)


def distance(one: str, other: str, vision: str) -> float:
    """How different two colours look to somebody."""
    pairs = zip(lab_of(one, vision), lab_of(other, vision), strict=True)
    return float(sum((a - b) ** 2 for a, b in pairs) ** 0.5)


def contrast(one: str, other: str) -> float:
    """1 to 21, by WCAG."""
    dark, light = sorted(times(TO_XYZ, linear(colour))[1] for colour in (one, other))
    return (light + 0.05) / (dark + 0.05)


def mixed(colour: str, ink: str, share: float) -> str:
    """As ``color-mix(in srgb, ...)`` mixes them."""
    parts = [(int(colour[at : at + 2], 16), int(ink[at : at + 2], 16)) for at in (1, 3, 5)]
    return "#" + "".join(f"{round(one * share + other * (1 - share)):02x}" for one, other in parts)


def papers() -> set[str]:
    """What a status may be drawn on without its word: the themes; a report on a light screen, a dark one, on paper."""
    told = re.findall(r"--paper: (#[0-9a-f]+)", css("report.css"))
    assert len(told) == 3
    return {LIGHT, DARK, DARKEST, *(paper if len(paper) == 7 else LIGHT for paper in told)}


@pytest.mark.parametrize("status", COLOURS)
def test_a_status_is_seen_on_every_paper(status):
    """By anybody who sees light and dark."""
    assert {paper: contrast(COLOURS[status], paper) for paper in papers() if contrast(COLOURS[status], paper) < 3} == {}


@pytest.mark.parametrize("vision", VISIONS)
def test_no_two_statuses_look_alike(vision):
    """Neither to most people nor to those who miss one kind of cone."""
    near = {
        (one, other): distance(COLOURS[one], COLOURS[other], vision)
        for one, other in itertools.combinations(COLOURS, 2)
        if distance(COLOURS[one], COLOURS[other], vision) < FAR
    }

    assert near == {}


def test_colours_that_some_people_take_for_one_are_found():
    """A blue and a violet that differ in red alone; red and green of one lightness; white is white to all."""
    assert distance("#2f7fdb", "#8e6bd8", "normal") > FAR > 5 > distance("#2f7fdb", "#8e6bd8", "protanopia")
    assert distance("#a2512b", "#6a6a2b", "deuteranopia") < FAR < distance("#a2512b", "#6a6a2b", "normal")
    assert contrast("#000000", "#ffffff") == pytest.approx(21, abs=0.01)
    assert [lab_of("#ffffff", vision) for vision in VISIONS] == [pytest.approx((100, 0, 0), abs=0.02)] * len(VISIONS)


def test_a_status_has_a_second_mark():
    """A shape of its own where it is drawn, a sign of its own where it is text."""
    assert len({look.shape for look in LOOKS.values()}) == len({look.glyph for look in LOOKS.values()}) == len(LOOKS)


@pytest.mark.parametrize(("paper", "ink"), INKS.items())
def test_the_word_of_a_status_can_be_read(paper, ink):
    """In its colour, with as much ink in it as the style sheet says."""
    (share,) = re.findall(r"\.al-word \{ color: color-mix\(in srgb, var\(--al-status\) (\d+)%", css("tree.css"))
    words = {status: mixed(colour, ink, int(share) / 100) for status, colour in COLOURS.items()}

    assert {status: contrast(word, paper) for status, word in words.items() if contrast(word, paper) < 4.5} == {}


def test_views_and_charts_have_the_colours_of_statuses_and_no_others():
    """Whatever is coloured at all is coloured by what it means, or is the accent of the theme."""
    sources = [
        *WIDGETS.glob("*.css"),
        *WIDGETS.glob("*.js"),
        *WIDGETS.glob("*.py"),
        *Path(charts.__file__).parent.glob("*.py"),
    ]
    found = {
        (source.name, colour)
        for source in sources
        for colour in HEX.findall(source.read_text("utf-8").lower())
        if is_coloured(colour) and source.name != "report.css"
    }

    assert {each for each in found if each[1] not in {*COLOURS.values(), "#1976d2"}} == set()
    assert set(REASONS) <= set(COLOURS.values())
    assert len(set(REASONS)) == len(REASONS)


def is_coloured(colour: str) -> bool:
    """Whether it is more than a grey."""
    _, a, b = lab_of(colour)
    return (a * a + b * b) ** 0.5 > 15


def css(name: str) -> str:
    """A style sheet."""
    return (WIDGETS / name).read_text("utf-8")
