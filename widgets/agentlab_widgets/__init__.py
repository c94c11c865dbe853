"""Live views for Jupyter: ``lab.tree()``, ``ref.transcript()``."""

from agentlab_widgets.transcript import TranscriptWidget
from agentlab_widgets.tree import TreeWidget

__all__ = ["TranscriptWidget", "TreeWidget"]
