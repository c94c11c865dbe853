"""Python code in turns: code that computes gives its thread to its neighbours after two milliseconds.

May import: nothing of agentlab.
Start with: ``slices``, whose first lines say how a slice ends; ``places`` says where code must not be left.
Invariant: code is left only between two lines of its own, never inside this folder or ``node``.
To add: a place that must be finished once begun is a line in ``places``.
"""
