"""Live views for Jupyter: ``lab.tree()``, ``ref.transcript()``, ``ref.watch()``."""

from agentlab_widgets.inspector import InspectorWidget
from agentlab_widgets.transcript import TranscriptWidget
from agentlab_widgets.tree import TreeWidget

__all__ = ["InspectorWidget", "TranscriptWidget", "TreeWidget"]
