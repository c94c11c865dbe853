"""What every floor stands on, and what knows nothing of agents: words, tracebacks, interrupts, redaction.

May import: ``errors``, and nothing else of agentlab.
Start with: ``words``, which almost every message to a person goes through.
Invariant: whatever is here could be used in another project as it is.
To add: one file with one idea. What only one folder needs belongs into that folder.
"""
