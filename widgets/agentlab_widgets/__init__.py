"""Live views for Jupyter: ``lab.tree()``, ``ref.transcript()``, ``ref.watch()``, ``run.progress()``."""

from agentlab_widgets.inspector import InspectorWidget
from agentlab_widgets.progress import ProgressWidget
from agentlab_widgets.transcript import TranscriptWidget
from agentlab_widgets.tree import TreeWidget

__all__ = ["InspectorWidget", "ProgressWidget", "TranscriptWidget", "TreeWidget"]
