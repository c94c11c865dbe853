"""How a status looks wherever it is drawn."""

from __future__ import annotations

from typing import NamedTuple


class Look(NamedTuple):
    """How one status is drawn: never by colour alone.

    Attributes:
        colour: CSS colour.
        glyph: One character, for text and static HTML.
        shape: SVG path inside the box from -1 to 1; Vega, canvas and SVG all read it.
    """

    colour: str
    glyph: str
    shape: str


LOOKS: dict[str, Look] = {
    "running": Look("#008650", "●", "M-0.8,0A0.8,0.8,0,1,1,0.8,0A0.8,0.8,0,1,1,-0.8,0Z"),
    "busy": Look("#3f68c6", "◆", "M0,-1L1,0L0,1L-1,0Z"),
    "waiting": Look("#9454ff", "⧗", "M-0.8,-0.9L0.8,-0.9L-0.8,0.9L0.8,0.9Z"),
    "starting": Look("#139ed5", "+", "M-0.25,-0.9H0.25V-0.25H0.9V0.25H0.25V0.9H-0.25V0.25H-0.9V-0.25H-0.25Z"),
    "backing_off": Look("#df7900", "▲", "M0,-0.95L0.95,0.8L-0.95,0.8Z"),
    "suspended": Look("#7b9995", "‖", "M-0.75,-0.85H-0.2V0.85H-0.75ZM0.2,-0.85H0.75V0.85H0.2Z"),
    "parked": Look("#be4114", "■", "M-0.8,-0.8H0.8V0.8H-0.8Z"),
    "stopped": Look(
        "#6b688a",
        "✕",
        "M-0.9,-0.55L-0.55,-0.9L0,-0.35L0.55,-0.9L0.9,-0.55L0.35,0L0.9,0.55L0.55,0.9L0,0.35L-0.55,0.9L-0.9,0.55L-0.35,0Z",
    ),
}


CRASH = "#f32255"


class State(NamedTuple):
    """How a state of a breaker is drawn: its word and its CSS colour."""

    word: str
    colour: str


BREAKER = {
    "breaker_opened": State("open", CRASH),
    "breaker_half_open": State("half open", LOOKS["backing_off"].colour),
    "breaker_closed": State("closed", LOOKS["running"].colour),
}
"""By the event with which it begins."""
