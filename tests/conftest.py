"""What all tests share: a lab per test, waiting for a condition with a deadline, and how many run at once."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from agentlab import Lab
from tests.patience import wait_for

__all__ = ["wait_for"]

# How long an example takes on a busy machine is no property of the code. The same examples each time: a red
# run is never chance; ``--hypothesis-profile=search`` looks for new ones.
settings.register_profile("agentlab", deadline=None, derandomize=True)
settings.register_profile("search", deadline=None)
settings.load_profile("agentlab")

# The process from which nodes are forked gets this path, and finds tests/warm/sitecustomize.py on it.
WARM = str(Path(__file__).parent / "warm")


def pytest_configure() -> None:
    """Here, not where this file is imported: scripts of the tests import it too, and fork a node or two each."""
    if WARM not in sys.path:
        sys.path.append(WARM)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """So many tests run at once with ``-n auto``: one more than there are processors, since tests wait a lot.

    With two more a whole run, in which other checks run beside them, takes an eighth more processor time.
    """
    return min(16, (os.cpu_count() or 1) + 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that take longest begin, so that nobody waits for the last one."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def pytest_collection_finish() -> None:
    """What was imported is never garbage: no collection looks at it again."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    """Async tests run in asyncio; tests/test_everywhere.py has the other loops."""
    return "asyncio"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab in memory with two nodes, closed at the end."""
    with Lab(nodes=2) as made:
        yield made


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 1 MB of its own, where this user may mount one."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if not shutil.which("mount") or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small disk")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=False)
