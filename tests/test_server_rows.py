"""Model servers in the live tree: rows like any agent's, with the state of the process that serves."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from typing import Any

import pytest

from agentlab import Assistant, Lab
from tests.conftest import wait_for
from tests.test_tree_widget import Browser


class Clerk(Assistant):
    """Asks the simulator."""

    model = "sim-echo"


@pytest.fixture
def lab() -> Iterator[Lab]:
    """A lab in which nobody has asked a model yet."""
    with Lab(nodes=1) as lab:
        yield lab


def row(browser: Browser, path: str) -> dict[str, Any]:
    """What the browser knows of a place; nothing if there is none."""
    return next((row for row in list(browser.rows.values()) if row["path"] == path), {})


def test_a_model_server_is_a_row_with_the_state_of_its_process(lab: Lab) -> None:
    """It comes with the first question, says that its process ended and the next one serves, and that it is held."""
    tree, browser, clerk = lab.tree(), Browser(), lab.start(Clerk, id="clerk")
    tree.send = browser.hear
    tree._hear(tree, {"t": "hello", "looker": "me"}, [])
    wait_for(lambda: row(browser, "/clerk"))
    before = row(browser, "/servers/sim")

    assert clerk.call.ask("tea").result(60) == "tea"
    wait_for(lambda: row(browser, "/servers/sim").get("status") == "running")
    served = row(browser, "/servers/sim")
    os.kill(lab.sim.ref.call.pid().result(60), signal.SIGKILL)
    wait_for(lambda: row(browser, "/servers/sim").get("incarnation") == 2)
    wait_for(lambda: row(browser, "/servers/sim").get("status") == "running")
    again = row(browser, "/servers/sim")
    lab.sim.ref.suspend()
    wait_for(lambda: row(browser, "/servers/sim").get("status") == "suspended")
    held = row(browser, "/servers/sim")
    tree.close()

    assert before == {}
    assert (served["kind"], served["cls"], served["node"] is not None) == ("agent", "SimulatorServer", True)
    assert (served["incarnation"], served["restarts"], served["reason"]) == (1, 0, "")
    assert (again["restarts"], again["reason"][:11]) == (1, "ServerDown:")
    assert "resume" in held["can"]
    assert row(browser, "/servers")["kind"] == "supervisor"


def test_without_a_browser_the_server_is_a_line_of_its_own(lab: Lab) -> None:
    """The text and the HTML of a tree say the same."""
    address = lab.sim.base_url

    told, data = repr(lab.tree()), lab.tree()._repr_mimebundle_()[0]

    assert address.startswith("http://127.0.0.1:")
    (line,) = (line for line in told.splitlines() if "sim" in line and "SimulatorServer" in line)
    assert "running" in line
    assert "SimulatorServer" in data["text/html"]
