"""Where nodes come from: forked from a process that has done its imports, or a thread of the kernel.

May import: the floors below.
Start with: ``pool``; ``fork`` is the way of ordinary nodes.
Invariant: no process outlives its lab, whichever dies first; every start has a deadline.
To add: another kind of node answers as ``fork.NodeProcess`` does.
"""
