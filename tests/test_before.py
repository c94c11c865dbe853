"""A lab that was stored before the package was cut into folders opens as if nothing had happened.

Its kernel was cut off in the middle of its work. What is compared with was read by the code that wrote it
(``tests/before/write.py``): columns, rows of a table and options that came later may be more, none may be other.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from agentlab import Lab, check
from tests.before.people import THINGS
from tests.before.reading import FRAMES, LAB, RESUMED, STORED, asleep, resumed, stored, written_down

HERE = Path(__file__).parent / "before"


@pytest.fixture
def before(tmp_path: Path) -> Path:
    """The stored lab; its kernel was killed, and all that it had committed is in the one file."""
    path = tmp_path / "before.lab"
    path.write_bytes(gzip.decompress((HERE / LAB).read_bytes()))
    path.with_name(f"{path.name}-wal").touch()
    return path


def as_json(found: Any) -> Any:
    """As it was written down."""
    return json.loads(json.dumps(found, default=str))


def as_counted_now(was: Any) -> Any:
    """A supervisor's restarts are all starts after its first since, as an agent's always were; then only a crash's."""
    if isinstance(was, list):
        return [as_counted_now(each) for each in was]
    if not isinstance(was, dict):
        return was
    counted = {"restarts": was["incarnation"] - 1} if was.get("kind") == "supervisor" and was.get("incarnation") else {}
    return {key: as_counted_now(value) for key, value in was.items()} | counted


def differences(was: Any, found: Any, where: str = "") -> list[str]:
    """What was there and is other now; what is more is none."""
    if isinstance(was, dict) and isinstance(found, dict):
        return [text for key in was for text in differences(was[key], found.get(key), f"{where}.{key}")]
    if isinstance(was, list) and isinstance(found, list) and len(was) == len(found):
        return [
            text for n, pair in enumerate(zip(was, found, strict=True)) for text in differences(*pair, f"{where}[{n}]")
        ]
    if str(was).startswith("toolu_") and str(found).startswith("toolu_"):  # by the simulator, after the whole request
        return []
    return [] if was == found else [f"{where}: {was!r:.200} is {found!r:.200}"]


def test_a_lab_from_before_is_whole_and_reads_as_it_did(before):
    """``check`` finds no damage, and each frame has the rows that it had."""
    was, found = written_down(HERE / STORED), as_json(stored(before))

    assert check(before).whole
    assert all(was["frames"][name] for name in FRAMES)
    assert differences(was, found) == []


def test_a_lab_from_before_is_shown_as_it_was(before):
    """With ``resume="ask"`` everybody is there, parked, with state, restarts and mailbox."""
    was, found = written_down(HERE / RESUMED)["asleep"], as_json(asleep(before))

    assert was.keys() == found.keys()
    assert differences(was, found) == []


@pytest.mark.slow
def test_a_lab_from_before_goes_on(before):
    """Messages that waited are handled, finished steps are not repeated, who was in doubt asks, all take new work."""
    was, found = as_counted_now(written_down(HERE / RESUMED)), as_json(resumed(before))

    assert differences(was, found) == []
    assert found["idle"]["/slow"]["mailbox"] == 0
    assert len(found["idle"]["/slow"]["state"]["done"]) == 3
    assert found["idle"]["/late"]["state"]["rung"] == 1
    assert [doubt["name"] for doubt in found["doubts"]] == ["pay"]


def test_what_waited_from_before_is_read_back_as_it_was_sent(before):
    """Every kind of value comes back as itself, among arguments and among results of steps."""
    with Lab(before, nodes=2, resume=True) as lab:
        lab.wait_idle(60)
        kept = lab["/box"].state["kept"]

    assert kept[: len(THINGS)] == [*map(repr, THINGS)]
    assert kept[len(THINGS) + 1 : 2 * len(THINGS) + 1] == [*map(repr, THINGS)]
    assert len(kept) == 2 * (2 * len(THINGS) + 1)
