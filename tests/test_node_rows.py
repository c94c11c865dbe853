"""The nodes below the live tree: what travels of each, what becomes of it when one is lost, and what it costs."""

from __future__ import annotations

import os
import signal
from typing import Any

from agentlab import Agent, Lab, child
from agentlab_widgets.nodes import COLOURS, Nodes, Seen, seen
from tests.conftest import wait_for
from tests.test_tree_widget import Browser


class Idler(Agent):
    """Does nothing."""

    async def pid(self) -> int:
        """Of its node."""
        return os.getpid()


def test_a_tree_tells_of_its_nodes_and_of_one_that_was_replaced():
    """State, agents, memory and restarts of each; of agents with a process of their own together."""
    with Lab(nodes=1) as lab:
        first = lab.start(Idler, id="first")
        for id in ("own", "too"):
            lab.start(child(Idler, id=id, isolation="process"))
        pid = first.call.pid().result(60)
        tree, browser = lab.tree(), Browser()
        tree.send = browser.hear

        tree._hear(tree, {"t": "hello", "looker": "me"}, [])
        wait_for(lambda: "snapshot" in browser.kinds())
        told = browser.heard[0]["nodes"]
        os.kill(pid, signal.SIGKILL)
        first.call.pid().result(60)  # an agent at rest has no node until somebody needs it
        wait_for(lambda: "1 restart" in about(browser, 0) and "1 agent " in about(browser, 0))
        tree.close()

    assert [(row["name"], row["nodes"], row["state"]) for row in told] == [
        ("1", 1, "running"), ("2 of one agent each", 2, "running"),
    ]  # fmt: skip
    assert [row["about"].partition(" · ")[0] for row in told] == ["1 agent", "2 agents"]
    assert all(row["about"].endswith(" MB") for row in told)


def about(browser: Browser, row: int) -> str:
    """What is said last of a node that runs; empty while none does."""
    rows: list[dict[str, Any]] = next((said["nodes"] for said in reversed(browser.heard) if said.get("nodes")), [])
    return rows[row]["about"] if len(rows) > row and rows[row]["state"] == "running" else ""


def test_a_node_that_somebody_holds_says_who():
    """Its text is cleaned: a path may hold anything."""
    held = Seen("3", "stalled", "/a\x1b[31m holds it", 2, None, 1)

    facts = held.facts()

    assert facts["about"] == "2 agents · 1 restart · /a\ufffd[31m holds it"
    assert (facts["name"], facts["state"], facts["colour"]) == ("3", "stalled", COLOURS["stalled"])


def test_a_lab_that_does_not_run_has_no_nodes():
    """Neither a closed one, nor is the last thing that was read shown on."""
    lab = Lab(nodes=2)
    nodes = Nodes(lab)
    before = len(nodes.facts())

    lab.close()

    assert before == 2
    assert nodes.facts() == seen(lab) == []


def test_nodes_are_read_once_a_second_at_most(monkeypatch):
    """However often the tree changes: it costs the kernel nothing more."""
    with Lab(nodes=1) as lab:
        nodes = Nodes(lab)
        first = nodes.facts()
        monkeypatch.setattr("agentlab_widgets.nodes.AGE", float("inf"))

        assert all(nodes.facts() is first for _ in range(100))
        monkeypatch.setattr("agentlab_widgets.nodes.AGE", 0.0)
        assert nodes.facts() is not first
