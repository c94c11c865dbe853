"""Imported by the process from which the tests' nodes are forked, so that no node has to import it for itself.

A node imports the module of the class that it runs. When that is a test module, pytest and Hypothesis come with it:
twice what a node costs otherwise, for each node of each test. An assistant's node imports anthropic, which is more
than all of these together.
"""

import anthropic  # noqa: F401
import hypothesis  # noqa: F401
import psutil  # noqa: F401
import pytest  # noqa: F401
