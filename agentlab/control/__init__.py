"""What may be asked of a running lab, each operation once; cells and agents come in by two doors.

May import: the floors below.
Start with: ``doors``, which has the table of operations; each operation is a function in the file of its subject.
Invariant: an operation looks the same from both doors, and no node is waited for in the lab's own thread.
To add: a function in the file of its subject, and its row in the table.
"""
