"""What comes of a task in whose middle a model call goes wrong: each way to fail of the simulator, in a real lab."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Lab, Ref
from agentlab.errors import AgentDown
from agentlab.faults import ACTIONS
from agentlab.ref.reply import Reply
from agentlab.sim.checks import check_request
from agentlab.sim.modes import MODES
from tests.clerks import (
    ANSWER,
    HANGS,
    OF_THE_ANSWER,
    QUESTION,
    SIX,
    Clerk,
    Filler,
    HastyClerk,
    Total,
    add,
    rule_for,
)
from tests.conftest import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("outcomes")]  # one run of all of them is enough

ALONE = ("connect_refused",)
"""Modes that strike whoever calls at that moment."""

PATIENCE = 180.0
"""Seconds for one agent's task, beside seventy others on a busy machine."""


class Run:
    """A lab in which an agent has met each way to fail."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.refs: dict[str, Any] = {}
        self.answers: dict[str, object] = {}
        lab.sim.scripts(sim_six=SIX)
        lab.sim.profile([rule_for(mode, path_of(mode)) for mode in MODES])
        self.run([mode for mode in MODES if mode not in (*HANGS, *ALONE)])
        self.run(HANGS)  # apart: so little patience would strike others too while the machine is busy
        self.run(ALONE)
        self.outcomes = {mode: self.outcome(mode) for mode in MODES}

    def run(self, modes: Any) -> None:
        """Let one agent a mode do its task, all at once."""
        asked = {mode: self.begin(mode) for mode in modes}
        for mode, reply in asked.items():
            try:
                self.answers[mode] = reply.result(PATIENCE)
            except AgentDown as down:
                self.answers[mode] = down
        self.lab.wait_idle(PATIENCE)

    def begin(self, mode: str) -> Reply[Any]:
        """Ask the agent of a mode for its task."""
        cls = HastyClerk if mode in HANGS else Filler if mode in OF_THE_ANSWER else Clerk
        ref: Any = self.lab.start(cls, id=path_of(mode)[1:])
        self.refs[mode] = ref
        call = ref.call(timeout=PATIENCE)
        reply: Reply[Any] = call.ask_for(Total, "go") if mode in OF_THE_ANSWER else call.ask(QUESTION)
        return reply

    def is_answered(self, mode: str) -> bool:
        """Whether the right answer came."""
        return self.answers[mode] == (Total(total=28) if mode in OF_THE_ANSWER else ANSWER)

    def outcome(self, mode: str) -> str:
        """What came of it, in a word of the table in DESIGN.md."""
        ref, path = self.refs[mode], path_of(mode)
        if not self.is_answered(mode):
            return "parked" if ref.status == "parked" else "given up"
        restarts = self.lab.restarts()
        if (restarts["path"].eq(path) & ~restarts["reason"].isin(["node_down", "node_stalled"])).any():
            return "restarted"
        steps = self.lab.steps(path=path).query("outcome == 'failed'")
        does = {ACTIONS[kind].does for kind in steps["fault"].dropna()}
        if does & {"wait", "retry_step"}:
            return "waited" if "wait" in does else "retried"
        return "repaired" if does or was_told(ref) else "taken"


def path_of(mode: str) -> str:
    """Where the agent of a mode lives."""
    return f"/meets-{mode}"


def was_told(ref: Ref) -> bool:
    """Whether the conversation has more in it from the user's side than the question and results."""
    said = [m["content"] for m in ref.state["messages"] if m["role"] == "user"]
    return sum(isinstance(content, str) for content in said) > 1


@pytest.fixture(scope="module")
def run() -> Iterator[Run]:
    """One run for all."""
    with Lab(nodes=2) as lab:
        yield Run(lab)


def documented() -> dict[str, str]:
    """The table in DESIGN.md: what comes of which mode."""
    text = (Path(__file__).parent.parent / "DESIGN.md").read_text(encoding="utf-8")
    section = text.split("## What comes of a model call that goes wrong")[1].split("\n## ")[0]
    rows = [line.strip("| ").split(" | ") for line in section.splitlines() if line.startswith("| ")][2:]
    return {mode: row[0] for row in rows for mode in re.findall(r"`(\w+)`", row[2])}


def repeated(log: Any) -> list[tuple[str, int]]:
    """Requests that came again though they had been answered whole: who asked, and which request it was."""
    finished: set[str] = set()
    again = []
    for row in log.itertuples():
        if row.key in finished:
            again.append((str(row.user), int(row.n)))
        if row.finished:
            finished.add(row.key)
    return again


def test_what_comes_of_each_is_what_the_design_says(run: Run) -> None:
    """Repaired, retried, waited, restarted and rewound, parked: the table that people read is what is measured."""
    assert run.outcomes == documented()


def test_each_mode_struck(run: Run) -> None:
    """An outcome says nothing about a mode that was never met."""
    log = run.lab.sim.log()

    assert set(log["mode"].dropna()) == set(MODES)


def test_no_finished_call_was_repeated(run: Run) -> None:
    """By the simulator's own log, whatever was retried, restarted and rewound."""
    assert repeated(run.lab.sim.log()) == []


def test_no_conversation_was_stored_that_the_api_would_refuse(run: Run) -> None:
    """Each checkpoint of each agent, asked to go on."""
    seen = 0
    for ref in run.refs.values():
        for said in ref.checkpoints().get("state.messages", ()):  # none, where no message was handled
            more = [] if said and said[-1]["role"] == "user" else [{"role": "user", "content": "Go on."}]
            check_request({"model": "sim", "max_tokens": 9, "messages": said + more, "tools": [add.spec()]})
            seen += 1

    assert seen >= sum(map(run.is_answered, MODES))


def test_who_was_parked_goes_on_by_a_restart(run: Run) -> None:
    """The cause is gone: the task ends, with what was finished before not done again."""
    parked = [mode for mode, outcome in run.outcomes.items() if outcome == "parked"]
    assert len(parked) > 5

    for mode in parked:
        run.refs[mode].restart()

    for mode in parked:
        wait_for(lambda ref=run.refs[mode]: ANSWER in str(ref.state["messages"][-1:]))
    assert repeated(run.lab.sim.log()) == []
