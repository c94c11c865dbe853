"""A node: an operating-system process in which agents run, beside the kernel that supervises them.

May import: the floors below; neither store nor kernel.
Start with: ``host``, and ``orders``, which hears the kernel; ``resident`` is one life, ``steps`` one effect.
Invariant: nothing that an agent does or raises ends the node, and no state leaves it before its handler has ended.
To add: something that agents may do is a function in ``acts``, and a row of the table in ``control/operations``.
"""
