"""What crosses a process border: frames, values, classes, exceptions, and one word of shared memory.

May import: the floors below.
Start with: ``frames``, all that kernel and node say; ``packing`` is what people pass, ``values`` how it is stored.
Invariant: the kernel reads nothing here that could run code: what people pass stays bytes until its reader asks.
To add: a frame is a method in ``frames``; a type of value is a row in ``values``, both ways.
"""
