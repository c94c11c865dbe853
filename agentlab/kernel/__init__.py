"""One lab's loop: it takes reports, decides by the supervision machine, commits once a turn, then tells.

May import: the floors below.
Start with: ``runtime``; ``mail`` is the way of a message, ``lives`` that of a crash.
Invariant: commit before reply; publish after commit; everything here belongs to one thread.
To add: what nodes report is a row in ``reports`` and a method ``on_...`` of the part that it concerns; what the store
must know of it is a method of ``eventlog``, ``messagelog`` or ``childlog``, which write on the turn's ``page``.
"""
