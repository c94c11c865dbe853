"""What may be asked of a running lab, each operation once; cells and agents come in by two doors.

May import: the floors below.
Start with: ``operations``, the table; cells come in by ``cells`` and block, agents by ``askers`` and await.
Invariant: an operation looks the same from both doors, and no node is waited for in the lab's own thread.
To add: a function in the file of its subject, a row in ``operations`` and one in ``wire/operations``.
"""
