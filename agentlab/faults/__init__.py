"""What went wrong, how far it reaches, and what is done about it: two tables and two pure functions.

May import: ``errors`` and ``ground``; pandas where a table is shown.
Start with: ``kinds`` (exception → ``Fault``), then ``actions`` (kind → ``Action``) and ``decisions``.
Invariant: nothing here waits, tries or raises what it judges; who does (``node/attempts``) asks first.
To add: a kind is a row in ``kinds.KINDS``, a line where it is recognised, and a row in ``actions.ACTIONS``.
"""

from agentlab.faults.actions import ACTIONS, Action, Does, Policy, checked, table
from agentlab.faults.decisions import OUTAGE, Decision, decide, rule_of
from agentlab.faults.kinds import (
    BY_CLASS,
    BY_CODE,
    BY_STATUS,
    BY_TYPE,
    KINDS,
    Fault,
    Reach,
    Scope,
    classify,
    classify_reply,
    fault,
    retry_after_of,
)

__all__ = [
    "ACTIONS", "BY_CLASS", "BY_CODE", "BY_STATUS", "BY_TYPE", "KINDS", "OUTAGE", "Action", "Decision", "Does", "Fault",
    "Policy", "Reach", "Scope", "checked", "classify", "classify_reply", "decide", "fault", "retry_after_of",
    "rule_of", "table",
]  # fmt: skip
