"""Live views.

``lab.tree()``, ``lab.dashboard()``, ``lab.charts()``, ``ref.watch()``, ``ref.transcript()``, ``run.progress()``.
"""

from agentlab_widgets.charts import ChartsWidget
from agentlab_widgets.dashboard import DashboardWidget
from agentlab_widgets.inspector import InspectorWidget
from agentlab_widgets.progress import ProgressWidget
from agentlab_widgets.transcript import TranscriptWidget
from agentlab_widgets.tree import TreeWidget

__all__ = ["ChartsWidget", "DashboardWidget", "InspectorWidget", "ProgressWidget", "TranscriptWidget", "TreeWidget"]
