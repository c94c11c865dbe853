"""The pytest plugin: fixtures ``lab``, ``lab_path``, ``sim``. One of the same name in a conftest stands before ours.

What a test leaves behind in its lab fails the test: a message that nobody has handled, an agent that waits for an
answer, a step that ran twice, a process of a dead node. A test that means to leave that says so:
``@pytest.mark.agentlab(may_leave=True)``.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from agentlab.control.simulated import Sim
    from agentlab.lab import Lab

MARK = "agentlab"

_labs = pytest.StashKey["Lab"]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers",
        "agentlab(nodes=2, may_leave=False): options of the fixture `lab`; may_leave: messages may be left in it",
    )


def _options(node: pytest.Item) -> dict[str, Any]:
    marker = node.get_closest_marker(MARK)
    return dict(marker.kwargs) if marker is not None else {}


@pytest.fixture
def lab(request: pytest.FixtureRequest) -> Iterator[Lab]:
    """A lab in memory, closed after the test; the test fails if it leaves anything behind in it.

    ``@pytest.mark.agentlab(nodes=1)``: any option of ``Lab``.
    """
    from agentlab.lab import Lab

    options = _options(request.node)
    options.pop("may_leave", None)
    with Lab(**options) as made:
        request.node.stash[_labs] = made
        yield made


@pytest.fixture
def lab_path(tmp_path: Path) -> Path:
    """Where a lab may be kept in a file, in a folder of the test's own: ``Lab(lab_path)``."""
    return tmp_path / "run.lab"


@pytest.fixture
def sim(lab: Lab) -> Sim:
    """The simulator of the fixture ``lab``, which answers for ``model = "sim"``: to steer it, and to see its log."""
    return lab.sim


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, None, None]:
    """After a test that has passed, before its fixtures end: has it left anything behind?"""
    yield
    lab = item.stash.get(_labs, None)
    if lab is None or lab.closed or _options(item).get("may_leave"):
        return
    from agentlab.chaos import invariants
    from agentlab.errors import InvariantBroken

    try:
        invariants(lab)
    except InvariantBroken as broken:
        pytest.fail(f"the test left something behind in its lab:\n{broken.report!r}", pytrace=False)
