"""Imported by the process from which the tests' nodes are forked, so that no node has to import it for itself.

A node imports the module of the class that it runs. When that is a test module, pytest, Hypothesis and the kernel's own
modules (``from agentlab import Lab``) come with it: four times what a node costs otherwise, for each node of each test.
An assistant's node imports anthropic, which is more than all of these together. Other interpreters that get the same
path (each call of an isolated tool, a server) import nothing here: they fork no nodes.
"""

import sys

if sys.orig_argv[1:3] == ["-m", "agentlab.node"]:
    import anthropic  # noqa: F401
    import hypothesis  # noqa: F401
    import psutil  # noqa: F401
    import pytest  # noqa: F401

    import tests.agents
    import tests.conftest  # noqa: F401
    from agentlab import Assistant, Lab  # noqa: F401
