"""The supervision machine: a whole tree of supervisors as a pure state machine.

May import: the ground floor; it knows no agent, no ref and no lab.
Start with: ``tree``, then ``process``, ``restarts``, ``calls``; ``child`` is what a person says.
Invariant: events and the time go in, commands come out; no I/O, no clock. Recordings of Erlang/OTP replay exactly.
To add: a child option is a field of ``child.Child``, checked there, used where it acts.
"""

from agentlab.supervision.tree import *  # noqa: F403  # its __all__ is what is public
from agentlab.supervision.tree import __all__ as __all__
