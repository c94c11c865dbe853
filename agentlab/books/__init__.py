"""What the kernel knows: agents, messages, classes, timers, links, and the tree as the store has it.

May import: the floors below; it reads the store and never writes it.
Start with: ``agents``, one entry each.
Invariant: data and its legal changes; no loop, no node, no clock of its own.
To add: what is known of every agent is a slot of its entry, of few agents a dictionary beside it.
"""
