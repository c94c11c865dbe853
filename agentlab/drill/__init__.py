"""The drill of three in the morning: a provider goes down in the middle of the night, with everybody at work.

May import: everything; nothing of agentlab imports it.
Start with: ``night``, which tells the story; ``people`` are the agents in it, ``report`` counts what came of it.
Invariant: what is reported was counted in the lab's store and the simulator's log, not by the drill's own agents.
To add: a figure is a line in ``report``, and a rule there if the drill is to fail of it.
"""

from agentlab.drill.night import How, Night, drill, rules_at
from agentlab.drill.people import Bystander, Clerk, Loner
from agentlab.drill.report import Report

__all__ = ["Bystander", "Clerk", "How", "Loner", "Night", "Report", "drill", "rules_at"]
