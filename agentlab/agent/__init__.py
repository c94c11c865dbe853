"""The agent class: fields are state, methods are messages.

May import: the ground floor, and ``ref``.
Start with: ``base``, where a class is read; ``fields`` and ``arguments`` say what a value may be.
Invariant: everything is decided when the class is made, so that a mistake is an error in its own cell.
To add: an attribute that classes set goes into ``base``, a type of field into ``fields``.
"""
