"""What anybody holds to reach an agent: a ref, and the replies that it gives.

May import: the ground floor.
Start with: ``ref``, which knows its lab only as a ``Link``; ``cell`` and ``inside`` are its two kinds.
Invariant: a ref stays good across restarts, moves and reopened labs, and keeps nothing alive.
To add: an operation is a method here, and a row of the table in ``control/operations``.
"""
