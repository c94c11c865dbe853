"""What crosses a process border: frames, values, classes, exceptions, and one word of shared memory.

May import: the floors below.
Start with: ``codec``; ``packing`` what people pass, ``values`` how it is stored, ``exceptions`` what is raised.
Invariant: the kernel reads nothing here that could run code: what people pass stays bytes until its reader asks.
To add: a type of value is a row in ``values``, both ways.
"""
