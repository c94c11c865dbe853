"""Exit reasons: what counts as a crash is said once, for the event log and for the supervisor."""

from __future__ import annotations

from typing import Any

import pytest

from agentlab import Agent, Exit, Lab
from agentlab.exits import Crash, has_diverged, is_graceful, reason_text


class Leaver(Agent):
    """Ends as it is told."""

    async def leave(self, *parts: str) -> None:
        """End with a tuple of these parts."""
        raise Exit(parts)


@pytest.mark.parametrize(
    ("reason", "graceful"),
    [
        ("normal", True),
        ("shutdown", True),
        (("shutdown", "done"), True),
        (("shutdown",), False),
        (("shutdown", "a", "b"), False),
        ((), False),
        ("killed", False),
        (None, False),
        (Crash("ValueError", "x"), False),
        (["shutdown", "done"], False),
    ],
)
def test_what_is_no_crash(reason: Any, graceful: bool) -> None:
    """OTP's rule: normal, shutdown, and a pair that begins with shutdown."""
    assert is_graceful(reason) is graceful


@pytest.mark.parametrize(
    ("parts", "kind", "restarted"), [(("shutdown", "a", "b"), "crashed", True), (("shutdown", "done"), "exited", False)]
)
def test_log_and_supervisor_agree_on_what_a_crash_is(parts: tuple[str, ...], kind: str, restarted: bool) -> None:
    """What the event log calls a crash, a transient child is restarted after; nothing else."""
    with Lab(nodes=1) as lab:
        ref = lab.start(Leaver, id="leaver", restart="transient")
        ref.cast.leave(*parts)
        lab.wait_idle(60)

        ends = lab.events(path=ref).query("kind in ('crashed', 'exited')")["kind"]
        assert set(ends) == {kind}
        assert (ref.status == "running") is restarted


def test_a_reason_in_words() -> None:
    """Tuples are joined, crashes have their class, and what cannot be encoded is shown all the same."""
    assert reason_text(("shutdown", "done")) == "shutdown: done"
    assert reason_text(Crash("ValueError", "no tea")) == "ValueError: no tea"
    assert reason_text(ValueError("no tea")) == "ValueError: no tea"
    assert reason_text("\ud800") == "\\ud800"
    assert len(reason_text("x" * 10_000)) == 2000


def test_a_divergence_is_a_reason_of_its_own() -> None:
    """A handler that did not ask again for what cannot be taken back parks its agent, whatever the rest says."""
    assert has_diverged(("diverged", "add did not ask again for step 1"))
    assert not any(has_diverged(reason) for reason in ("diverged", (), ("shutdown", "diverged"), None))
