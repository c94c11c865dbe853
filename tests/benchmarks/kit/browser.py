"""What a page in a browser draws."""

from __future__ import annotations

from typing import Any

FRAMES = """
async (seconds) => {
    let frames = 0;
    const end = performance.now() + 1000 * seconds;
    while (performance.now() < end) {
        await new Promise(requestAnimationFrame);
        frames += 1;
    }
    return frames / seconds;
}
"""


def frames_a_second(page: Any, seconds: float) -> float:
    """How many frames a second a page of Playwright draws, counted for so long."""
    return float(page.evaluate(FRAMES, seconds))
