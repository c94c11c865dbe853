"""The DataFrames of a store as methods: of a live lab and of one that is only read."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from agentlab.agent.base import Agent
from agentlab.events import Row
from agentlab.frames import tables
from agentlab.frames.breakers import stored_breakers
from agentlab.frames.chaos import chaos_log
from agentlab.frames.places import stored_agents, stored_rows
from agentlab.frames.spending import By, spend
from agentlab.ground.given import file_of, path_of, text_of
from agentlab.ref.ref import Ref
from agentlab.store.database import Store

if TYPE_CHECKING:
    import pandas as pd


class Frames:
    """The DataFrames of a store; a live lab and a stored one have the same."""

    _store: Store

    def events(self, *, path: str | None = None) -> pd.DataFrame:
        """What happened, one row per fact, oldest first. See ``agentlab.frames.events``."""
        return tables.events(self._read(), path=path)

    def messages(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per handled message."""
        return tables.messages(self._read(), path=path)

    def steps(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per attempt at one effect."""
        return tables.steps(self._read(), path=path)

    def restarts(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per restart."""
        return tables.restarts(self._read(), path=path)

    def dead_letters(self, *, path: str | None = None) -> pd.DataFrame:
        """One row per message that could not be handled; ``lab.retry(number)`` sends it again."""
        return tables.dead_letters(self._read(), path=path)

    def approvals(self) -> pd.DataFrame:
        """One row per call of a tool that waits for a person; ``ref.approve(step)`` is the person's word."""
        return tables.stored_approvals(self._read())

    def spend(self, by: By = "path") -> pd.DataFrame:
        """What model calls have cost, by ``"path"``, ``"model"`` or ``"supervisor"``. See ``agentlab.frames.spend``."""
        return spend(self._read(), by=by, held=self._held())

    def breakers(self) -> pd.DataFrame:
        """One row per breaker: what agents depend on, and whether calls to it go through. As far as events tell."""
        return stored_breakers(self._read())

    def chaos_log(self) -> pd.DataFrame:
        """One row per strike of a plan of chaos. See ``agentlab.frames.chaos_log``."""
        return chaos_log(self._read())

    def checkpoints(self, what: type[Agent] | Ref | str | None = None) -> pd.DataFrame:
        """One row per committed state; for one agent or one agent class with its fields as columns.

        Args:
            what: A ref or a path (``"/team/writer"``) for one agent; a class, or its name, for all of that class.
        """
        if isinstance(what, type) or (isinstance(what, str) and not what.startswith("/")):
            text_of(getattr(what, "__name__", what), "checkpoints: a class", "an agent class, or its name", "what")
            return tables.checkpoints(self._read(), cls=what if isinstance(what, str) else what.__name__)
        path = what.path if isinstance(what, Ref) else what
        return tables.checkpoints(self._read(), path=path)

    def report(self, path: str | os.PathLike[str]) -> Path:
        """Write what happened as one HTML file, which opens without a network: what one reads after a night's run.

        Who is parked and why, tools that wait for a word, dead letters, what it cost, breakers, charts and the tree.

        Raises:
            InvalidArgument: The file cannot be written there.
        """
        written: Path = importlib.import_module("agentlab_widgets.report").write_report(self, path)
        return written

    def dashboard(self) -> Any:
        """The whole lab in one widget: tree, inspector and transcript of the agent that is selected, events, charts.

        Of ``open_store("run.lab")`` it shows what the store has, and follows it while the lab runs elsewhere; there it
        only shows.
        """
        return importlib.import_module("agentlab_widgets").DashboardWidget(self)

    def charts(self, *names: str) -> Any:
        """Charts that are drawn anew while the lab runs; a span of time that is brushed above them filters them all.

            lab.charts()                         # restarts, lifelines and latency
            lab.charts("faults", "breaker")

        Args:
            names: Which of ``agentlab.charts``: ``restarts``, ``downtime``, ``lifelines``, ``intensity``, ``latency``,
                ``sequence``, ``flame``, ``faults``, ``breaker``, ``spend`` (this one always of the whole time).

        Raises:
            InvalidArgument: There is no such chart of a lab.
        """
        return importlib.import_module("agentlab_widgets").ChartsWidget(self, *names)

    def _read(self) -> Store:
        return self._store

    def _held(self) -> dict[tuple[str, str], int]:
        """Tokens that are held back for model calls under way, by path and model."""
        return {}


class StoredLab(Frames):
    """A lab's store, read only: the frames of a lab that runs elsewhere, or ran once."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self._store = Store(file_of(path, "open_store: path"), read_only=True)

    def agents(self) -> pd.DataFrame:
        """One row per agent and supervisor, as last committed."""
        return stored_agents(self._store)

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        """The tree as plain rows, as last committed, in start order, depth first; only ``paths`` if given."""
        rows = stored_rows(self._store)
        wanted = None if paths is None else {path_of(path, "rows", "each of paths") for path in paths}
        return [row for row in rows if wanted is None or row.path in wanted]

    def tree(self) -> Any:
        """The supervision tree as last committed, as a widget to search, fold and sort; nothing can be done to it."""
        return importlib.import_module("agentlab_widgets").TreeWidget(self)

    @property
    def closed(self) -> bool:
        """Whether nothing can be done to it: True, it is only read."""
        return True

    @property
    def _last(self) -> list[Row]:
        return stored_rows(self._store)

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StoredLab({str(self._store.path)!r})"


def open_store(path: str | os.PathLike[str]) -> StoredLab:
    """Read a lab's store, also while the lab runs: ``open_store("run.lab").events()``."""
    return StoredLab(path)
