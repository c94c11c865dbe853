"""Live views of a lab for Jupyter: ``lab.tree()`` makes a ``TreeWidget``."""

from agentlab_widgets.tree import TreeWidget

__all__ = ["TreeWidget"]
