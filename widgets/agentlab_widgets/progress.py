"""``run.progress()``: how far an eval is, as a bar that goes on while other cells run."""

from __future__ import annotations

import contextvars
import html
import threading
from typing import Any

import anywidget
import traitlets

from agentlab_widgets.live import assets, be_no_cells_child

BEAT = 0.5
"""Seconds between two looks."""


class ProgressWidget(anywidget.AnyWidget):
    """The bar of one run; it follows the run to its end, also while no cell runs.

    Args:
        run: An ``agentlab.evals.Run``.
    """

    _esm = assets("progress.js")
    _css = assets("progress.css")
    text = traitlets.Unicode("").tag(sync=True)
    share = traitlets.Float(0.0).tag(sync=True)
    over = traitlets.Bool(default_value=False).tag(sync=True)

    def __init__(self, run: Any) -> None:
        self._run = run
        self._ended = threading.Event()
        contextvars.copy_context().run(self._open)  # it is no child of this cell: it goes on when that has ended
        self._look()
        self._thread = threading.Thread(target=self._follow, name="agentlab-progress", daemon=True)
        self._thread.start()

    def _open(self) -> None:
        be_no_cells_child()
        super().__init__()

    def end(self) -> None:
        """Look for the last time, and no more."""
        self._ended.set()
        self._thread.join()

    def close(self) -> None:
        """End the view; the run goes on."""
        self._ended.set()
        super().close()

    def _follow(self) -> None:
        be_no_cells_child()
        while not self._run.done() and not self._ended.wait(BEAT):
            self._look()
        self._look()

    def _look(self) -> None:
        share, text = self._run.standing()
        with self.hold_sync():
            self.share, self.text, self.over = share, text, self._run.done()

    def __repr__(self) -> str:
        return f"the progress of run {self._run.name!r}"

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        data |= {"text/plain": repr(self), "text/html": f"<p>{html.escape(repr(self))}</p>"}
        return data, metadata
