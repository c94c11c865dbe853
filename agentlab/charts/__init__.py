"""Altair charts from the frames of a lab, ``lab.restarts()`` say, or from the lab itself.

May import: ``errors``, ``ground``, ``looks``; Altair and pandas where one is drawn.
Start with: ``bars`` (how often), ``times``, ``lives``, ``traffic``, ``spending``, ``runs``; all on ``drawing``.
Invariant: rows are counted before they reach Altair, so a chart of a million messages is as small as one of ten.
To add: a function that ends with ``drawing.finish``, its name in ``__all__``, a row in ``tests/test_odd_arguments``.

Nothing is fetched from another host: in a notebook a chart is drawn as SVG by vl-convert (``ground/still``), unless
another renderer was chosen before. The first chart of a process imports Altair, which takes some seconds. Nothing is
printed meanwhile, and nothing imports it earlier: a line would stay in the notebook, or clearing it would take along
what the cell has printed, and three seconds of imports in a thread of the kernel would slow every call of those who
never draw.
"""

from agentlab.charts.bars import faults, outcomes, restarts
from agentlab.charts.lives import intensity, lifelines
from agentlab.charts.runs import by_sample, cost, scores, timeline
from agentlab.charts.spending import spend
from agentlab.charts.times import breaker, downtime, latency
from agentlab.charts.traffic import flame, sequence

__all__ = [
    "breaker", "by_sample", "cost", "downtime", "faults", "flame", "intensity", "latency", "lifelines", "outcomes",
    "restarts", "scores", "sequence", "spend", "timeline",
]  # fmt: skip


def __dir__() -> list[str]:
    """What TAB shows: the charts."""
    return __all__
