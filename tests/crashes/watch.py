"""What the kernel knows, written into the outside world: the test's own eyes at every commit of a store."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from agentlab.store.batch import Batch
from agentlab.store.database import Store
from agentlab.store.rows import InboxRow, StepRow
from tests.crashes.world import write


class Watch:
    """Looks at each batch of a store when it is committed, and lets somebody die there.

    Attributes:
        folder: The outside world that is told; None tells nobody.
        after: Called with the number of commits since ``begin``, after each of them.
    """

    def __init__(self, store: Store) -> None:
        self.folder: str | None = None
        self.after: Callable[[int], None] | None = None
        self.commits = 0
        self._labels: dict[tuple[int, int], str] = {}
        self._commit, self._select = store.commit, store.select
        store.commit = self.commit  # type: ignore[method-assign]  # the seam of this test: nothing in the product knows

    def begin(self, folder: str | None, after: Callable[[int], None] | None = None) -> None:
        """Tell another world from now on."""
        self.folder, self.after, self.commits = folder, after, 0

    def commit(self, batch: Batch) -> None:
        """The store's own, and then a look at what became durable."""
        self._commit(batch)
        if self.folder is None:
            return
        for table, row in batch.rows:
            self._tell(self.folder, table, row)
        self.commits += 1
        write(self.folder, "commit")
        if self.after is not None:
            self.after(self.commits)

    def recall(self) -> None:
        """A kernel that is opened again tells first what its store holds as finished."""
        assert self.folder is not None
        sql = "SELECT message_key, step, input FROM step WHERE outcome = 'ok' AND replayed = 0 AND kind = 'step'"
        self._labels = {(key, number): label_of(given) for key, number, given in self._select(sql) if given}
        write(self.folder, "known", *self._labels.values())

    def _tell(self, folder: str, table: str, row: tuple[Any, ...]) -> None:
        if table == "step":
            step = StepRow(*row)
            if step.kind == "step" and step.outcome == "ok" and not step.replayed and step.input:  # settled: no run
                label = label_of(step.input)
                self._labels[step.message_key, step.step] = label
                write(folder, "finished", label)
        elif table == "rewound":
            write(folder, "rewound", self._labels[row])
        elif table == "inbox" and InboxRow(*row).method == "work":
            write(folder, "accepted", label_of(InboxRow(*row).payload))


def label_of(text: str) -> str:
    """The label of an effect, or of an order, among its arguments as text."""
    return re.findall(r"['\"](o\d+[\w.-]*)['\"]", text)[0]
