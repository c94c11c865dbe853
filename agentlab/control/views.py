"""What a living lab shows: its agents as they are now, its breakers, its budget, its widgets."""

from __future__ import annotations

import importlib
import time
from abc import abstractmethod
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from agentlab import frames
from agentlab.control.approvals import all_approvals
from agentlab.control.breakers import LabBreaker
from agentlab.control.cells import BLOCKING, KernelLink
from agentlab.control.rows import paths_of
from agentlab.control.rows import rows as make_rows
from agentlab.events import Feed, Row
from agentlab.frames.stored import Frames
from agentlab.ground.given import path_of, text_of
from agentlab.ground.prose import Prose
from agentlab.kernel.runtime import Runtime
from agentlab.ref.budget import BudgetOf
from agentlab.ref.ref import Ref
from agentlab.store.database import Store

if TYPE_CHECKING:
    import pandas as pd


class Views(Frames):
    """Adds to the frames of a store what only the runtime knows; of a closed lab it shows the last state."""

    _store: Store
    _runtime: Runtime | None
    _link: KernelLink
    _last: list[Row]  # the tree as it was before the lab was closed, for widgets

    @property
    @abstractmethod
    def _live(self) -> Runtime:
        """The runtime; raises LabClosed where there is none."""

    @property
    @abstractmethod
    def closed(self) -> bool:
        """Whether the lab has ended."""

    @abstractmethod
    def __getitem__(self, path: str) -> Ref:
        """The ref at a path."""

    def agents(self) -> pd.DataFrame:
        """One row per agent and supervisor as it is now."""
        return frames.stored_agents(self._store) if self._runtime is None else frames.agents(self.rows())

    def approvals(self) -> pd.DataFrame:
        """One row per call of a tool that waits for a person; ``ref.approve(step)`` is the person's word."""
        if self._runtime is None or self._runtime.closed:
            return super().approvals()
        return frames.approvals(self._runtime.run(all_approvals, self._runtime))

    def breaker(self, name: str) -> LabBreaker:
        """The circuit breaker of one dependency: ``sim``, ``anthropic``, ``openai``, ``mcp:files`` ...

        It opens by itself when many agents fail there; ``open()`` and ``close()`` are for people.

        Raises:
            InvalidArgument: Nothing depends on that; names what there is.
        """
        return LabBreaker(self._live, text_of(name, "breaker: name", "a text like 'anthropic'", "name"))

    def breakers(self) -> pd.DataFrame:
        """One row per breaker that was asked for, as it is now. See ``agentlab.frames.breakers``."""
        runtime = self._runtime
        if runtime is None or runtime.closed:
            return frames.stored_breakers(self._store)
        now = time.time_ns()
        return frames.breakers(runtime.run(lambda: [room.row(now) for room in runtime.breakers]))

    def rows(self, paths: Iterable[str] | None = None) -> list[Row]:
        """The tree as plain rows, in start order, depth first; only ``paths`` if given. Any thread.

        Of a closed lab: the rows as they were, all stopped.
        """
        runtime = self._live
        wanted = None if paths is None else paths_of(paths)
        if runtime.closed:
            ended = (row._replace(status="stopped", mailbox=0, node=None) for row in self._last)
            return [row for row in ended if wanted is None or row.path in wanted]
        found: list[Row] = runtime.run(make_rows, runtime, wanted)
        return found

    def feed(self) -> Feed:
        """An inbox of committed events and of the places that changed; close it when done."""
        return self._live.hub.open()

    def tree(self) -> Any:
        """The live supervision tree, as a widget."""
        if self._runtime is not None and self._runtime.thread.away:
            self._runtime.thread.check()
        return importlib.import_module("agentlab_widgets").TreeWidget(self)

    def watch(self, ref: Ref | str) -> Any:
        """A live look into one agent, as ``ref.watch()``: state, message in hand, mailbox, lives, checkpoints, log."""
        return self[path_of(ref, "watch", "ref")].watch()

    @property
    def budget(self) -> BudgetOf:
        """What all agents together may spend on models, and have: ``limit``, ``used``, ``left``; ``add`` raises it."""
        return BudgetOf(self._link, "/")

    def _held(self) -> dict[tuple[str, str], int]:
        found: dict[tuple[str, str], int] = {}
        return found if self.closed else self._live.run(self._live.desk.ledger.messages.accounts.reserved)

    def explain(self, ref: Ref | str) -> str:
        """Why an agent is in the state it is in, in a paragraph, from its events."""
        path = path_of(ref, "explain", "ref")
        return Prose(BLOCKING["explain"](self._live, path if path.startswith("/") else "/" + path))
