"""A run: how far it is, and its results as DataFrames."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import math
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from agentlab.control.progress import in_notebook
from agentlab.errors import CallTimeout, InvalidArgument, SamplesFailed
from agentlab.evals import figures
from agentlab.evals.conversations import as_text, conversation, said_frame
from agentlab.evals.dispositions import DISPOSITIONS
from agentlab.evals.ledger import JUDGES, key_of, of_each_row, run_path, runs_in
from agentlab.evals.progress import Standings, show
from agentlab.evals.reducers import Reducer
from agentlab.evals.results import Lines, deeds, reduced_frame
from agentlab.evals.samples import Sample, places
from agentlab.ground.given import file_of, share_of, shown
from agentlab.ground.interrupts import whole
from agentlab.ground.texts import safe
from agentlab.ground.words import counted
from agentlab.lab import Frames, Lab, open_store

if TYPE_CHECKING:
    import pandas as pd

    from agentlab.evals.driver import Driver

OnFailure = Literal["zero", "drop", "raise"]


@dataclasses.dataclass(frozen=True)
class Stored:
    """Where a run is kept: in a lab that runs, or in a file."""

    name: str
    path: Path | None
    lab: Lab | None

    @contextlib.contextmanager
    def read(self) -> Iterator[Frames]:
        """The frames of its lab."""
        if self.lab is not None:
            yield self.lab
            return
        assert self.path is not None
        with open_store(self.path) as stored:
            yield stored


class Run:
    """One ``evaluate``: its results, also while it goes on and after its process is gone (``open_run``)."""

    def __init__(
        self, kept: Stored, reduce: Reducer, on_failure: OnFailure, *, seed: int = 0, epochs: int | None = None,
        driver: Driver | None = None,
    ) -> None:  # fmt: skip
        self._kept, self._reduce, self._on_failure, self._seed = kept, reduce, on_failure, seed
        self._driver, self._epochs = driver, epochs
        self._standings = Standings(driver) if driver is not None else None
        self._shown_in: Any = None

    @property
    def name(self) -> str:
        """Its name."""
        return self._kept.name

    @property
    def path(self) -> Path | None:
        """The store that keeps it; None if a lab of yours does."""
        return self._kept.path

    # going on

    def done(self) -> bool:
        """Whether nobody works on it here."""
        return self._driver is None or self._driver.over.is_set()

    def result(self, timeout: float | None = None) -> Run:
        """Wait until all is done; the run itself.

        Raises:
            CallTimeout: It is not done after ``timeout`` seconds; it goes on.
            SamplesFailed: Samples were not scored, with ``on_failure="raise"``.
            Exception: What ended it early.
        """
        driver = self._driver
        if driver is not None and not driver.over.wait(timeout):
            tally = driver.tally
            raise CallTimeout(
                f"run {self.name!r}: {tally.done} of {tally.total} samples after {timeout:g} s; it goes on. Wait "
                "longer: run.result(seconds). Stop it: run.stop()."
            )
        if driver is not None and driver.error is not None:
            raise driver.error
        if self._on_failure == "raise":
            self._raise_failures()
        return self

    def shown_until_over(self) -> Run:
        """Wait for the end with a bar; an interrupt stops the run in good order."""
        try:
            if self._driver is not None:
                show(self, self._driver)
        except KeyboardInterrupt:
            whole(self.stop)
            raise KeyboardInterrupt(f"{self!r} is stopped. The same call goes on where it stands.") from None
        self.result()
        if in_notebook():
            self._ipython_display_()
        return self

    def stop(self) -> None:
        """Stop it in good order; the same ``evaluate`` goes on where it stands."""
        if self._driver is not None:
            self._driver.stop()

    def progress(self) -> Any:  # a widget of the package above this one
        """A live bar: done, running, waiting for a provider, failed, spent, time left; it goes on by itself."""
        return importlib.import_module("agentlab_widgets").ProgressWidget(self)

    def standing(self) -> tuple[float, str]:
        """How far it is: the share that is done, 0 to 1, and a line."""
        if self._standings is None or self.done():
            return 1.0, repr(self)
        now = self._standings.look()
        return now.share, str(now)

    def counts(self) -> dict[str, int]:
        """How many samples ended how; they add up to all that there are."""
        found = self.samples()["disposition"].value_counts()
        return {word: int(found.get(word, 0)) for word in DISPOSITIONS}

    def _raise_failures(self) -> None:
        found = self.samples().query("disposition != 'scored'")
        if len(found):
            first = found.iloc[0]
            where = f"open_run({str(self.path)!r})" if self.path else "the same call with on_failure='zero'"
            raise SamplesFailed(
                f"run {self.name!r}: {counted(len(found), 'sample')} not scored; the first: {first['id']} "
                f"({first['disposition']}): {first['error']}. All: {where}.samples()."
            )

    # results

    def samples(self) -> pd.DataFrame:
        """One row per sample and epoch, in the order of the samples; those that nobody works on are ``stopped``."""
        failed = 0.0 if self._on_failure == "zero" else math.nan
        with self._kept.read() as lab:
            store = lab._read()
            about = self._about(runs_in(store))
            asked = {str(sample["id"]): sample for sample in about["samples"]}
            line = Lines(asked, deeds(store, self.name), self._names(about), failed)
            lines = dict(of_each_row(store, self.name, lambda row: (key_of(row), line.of(row))))
        epochs = self._epochs or max([about["epochs"], *(epoch for _, epoch in lines)])
        absent = {"disposition": "stopped" if self.done() else None, "output": None}
        ordered = (
            lines.get((id_, epoch)) or line.of({"id": id_, "epoch": epoch, **absent})
            for id_ in asked
            for epoch in range(1, epochs + 1)
        )
        return line.frame(ordered)

    def to_parquet(self, path: str | os.PathLike[str]) -> Path:
        """Write ``samples()`` as a parquet file (extra ``parquet``), values that are no texts as JSON; its path."""
        import pandas as pd

        where, frame = file_of(path, "to_parquet: path"), self.samples()
        for name in ("input", "target", "output"):
            known = [None if each is pd.NA else each for each in frame[name]]
            frame[name] = [each if each is None or isinstance(each, str) else json.dumps(each) for each in known]
        frame.to_parquet(where)
        return where

    def to_inspect(self, path: str | os.PathLike[str]) -> Path:
        """Write it as a log of Inspect AI (extra ``inspect``), ``.eval`` or ``.json``; its path.

        ``inspect_ai.log.read_eval_log`` reads it and ``inspect view`` shows it, messages and tool calls included.
        """
        from agentlab.evals.inspect_logs import write_log

        return write_log(self, file_of(path, "to_inspect: path"))

    def by_sample(self) -> pd.DataFrame:
        """One row per sample: its reduced score, and the spread over its epochs."""
        names = self._names()
        return reduced_frame(self.samples(), names, self._reduce)

    def summary(self, *, method: Literal["bootstrap"] | None = None, level: float = figures.LEVEL) -> pd.DataFrame:
        """One row per metric: n, mean, standard error (clustered by sample), interval, and how it was made.

        The columns that end in ``_not_rerolled`` are the same without samples of which a model's answer was drawn again
        for its content: those are no longer from the same distribution.

        Args:
            method: ``"bootstrap"``: the interval from samples that are drawn again.
            level: How often the interval shall hold the truth.

        Raises:
            InvalidArgument: It is another method, or no such share.
        """
        import pandas as pd

        level = share_of(level, "summary: level")
        if method is not None and not (isinstance(method, str) and method == "bootstrap"):
            raise InvalidArgument(
                f"summary: method must be 'bootstrap', or left out; got {shown(method)}", argument="method"
            )
        frame, names = self.samples(), self._names()
        table = reduced_frame(frame, names, self._reduce)
        rows = []
        for name in names:
            found = self._estimated(table, frame, name, method, level)
            own = table.loc[~table["rerolled"]]
            kept = self._estimated(own, frame, name, method, level)
            rows.append({
                "metric": name, "n": found.n, "mean": found.mean, "stderr": found.stderr, "ci_low": found.low,
                "ci_high": found.high, "method": found.method, "n_not_rerolled": kept.n,
                "mean_not_rerolled": kept.mean, "stderr_not_rerolled": kept.stderr, "ci_low_not_rerolled": kept.low,
                "ci_high_not_rerolled": kept.high, "method_not_rerolled": kept.method,
            })  # fmt: skip
        return pd.DataFrame(rows)

    def _estimated(self, table: Any, frame: Any, name: str, method: str | None, level: float) -> figures.Estimate:
        column = f"score.{name}"
        values = table[["id", column]].dropna()
        if method == "bootstrap":
            return figures.bootstrap(values[column].tolist(), level=level, seed=self._seed)
        epochs = frame.dropna(subset=[column])
        passes = bool(epochs[column].isin([0.0, 1.0]).all()) and self._reduce.__name__ in ("fmean", "mean")
        counts = epochs.groupby("id").size()
        clustered = passes and len(counts) and int(counts.max()) > 1
        sizes = [int(counts[id_]) for id_ in values["id"]] if clustered else None
        return figures.estimate(values[column].tolist(), sizes, level=level)

    def steps(self) -> pd.DataFrame:
        """The lab's frame of steps, of this run's samples, with id and epoch; a cluster's if they are on this host."""
        return self._joined(lambda lab: lab.steps())

    def messages(self) -> pd.DataFrame:
        """The lab's frame of messages, of this run's samples, with id and epoch."""
        return self._joined(lambda lab: lab.messages())

    def events(self) -> pd.DataFrame:
        """The lab's frame of events, of this run's samples, with id and epoch."""
        return self._joined(lambda lab: lab.events())

    def transcript(self, id: str, epoch: int = 1) -> pd.DataFrame:
        """What the agent of a sample and its model said, one row per block, oldest first.

        ``role`` is user or assistant, ``kind`` text, tool_use or tool_result, ``name`` the tool's, ``text`` what was
        said. It is there when the agent has long been removed; without a row if no model was called.

        Args:
            id: The sample's.
            epoch: Which of its epochs, from 1.

        Raises:
            InvalidArgument: The run has no such sample or epoch.
        """
        found = self._conversations([(id, epoch)])
        if not found:
            raise InvalidArgument(
                f"transcript: run {self.name!r} has no sample {shown(id)} with an epoch {shown(epoch)}. "
                "What it has: run.samples()[['id', 'epoch']]."
            )
        return said_frame(found[id, epoch])

    def _said(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], str]:
        """What was said for some samples and epochs, each as one text; a chart shows it of the cell that is clicked."""
        return {key: as_text(messages) for key, messages in self._conversations(keys).items()}

    def _conversations(self, keys: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
        """The conversations of some samples and epochs, of those that the run has."""
        found = {key: place for place, key in self._keys().items() if key in keys}
        with self._labs() as labs:
            homes = dict(of_each_row(labs[None]._read(), self.name, lambda row: (key_of(row), row.get("store"))))
            return {
                key: conversation(labs.get(homes.get(key), labs[None])._read(), f"{run_path(self.name)}/{place}")
                for key, place in found.items()
            }

    def _joined(self, take: Callable[[Frames], pd.DataFrame]) -> pd.DataFrame:
        import pandas as pd

        with self._labs() as labs:
            frames = [take(lab) for lab in labs.values()]
        frame = pd.concat([each for each in frames if len(each)] or frames[:1], ignore_index=True)
        own = frame.loc[frame["path"].astype("str").str.startswith(run_path(self.name) + "/")].copy()
        keys = self._keys()
        who = [keys.get(_place(str(path)), (None, None)) for path in own["path"]]
        own.insert(0, "id", [id_ for id_, _ in who])
        own.insert(1, "epoch", pd.Series([epoch for _, epoch in who], own.index, dtype="Int64"))
        return own.loc[own["id"].notna()].reset_index(drop=True)

    @contextlib.contextmanager
    def _labs(self) -> Iterator[dict[str | None, Frames]]:
        """The run's own lab, and those of a cluster's workers by their stores, as far as they are on this host."""
        with contextlib.ExitStack() as stack:
            own = stack.enter_context(self._kept.read())
            named = set(of_each_row(own._read(), self.name, lambda row: row.get("store")))
            stores = sorted(store for store in named if store is not None)
            there = [store for store in stores if Path(store).exists()]
            if len(there) < len(stores):
                warnings.warn(
                    f"run {self.name!r}: what these labs of its workers know is on their hosts, and left out: "
                    f"{', '.join(sorted(set(stores) - set(there)))}",
                    stacklevel=2,
                )
            yield {None: own, **{store: stack.enter_context(open_store(store)) for store in there}}

    def _keys(self) -> dict[str, tuple[str, int]]:
        """Which sample and epoch an agent of this run works on, or a grader of it, by its place in the tree."""
        about = self._about()
        samples = [Sample(**sample) for sample in about["samples"]]
        epochs = self._epochs or max([about["epochs"], *self.samples()["epoch"]])
        return {
            f"{place}.{epoch}": (str(sample.id), epoch)
            for sample, place in zip(samples, places(samples), strict=True)
            for epoch in range(1, epochs + 1)
        }

    def _about(self, runs: dict[str, Any] | None = None) -> dict[str, Any]:
        if runs is None:
            with self._kept.read() as lab:
                runs = runs_in(lab._read())
        if self.name not in runs and self._driver is not None:  # it has only just begun
            return dict(json.loads(self._driver.plan.identity))
        return dict(runs[self.name])

    def _names(self, about: dict[str, Any] | None = None) -> list[str]:
        return list((about or self._about())["identity"]["scorers"])

    def __repr__(self) -> str:
        if self._driver is None or self.done():
            ended = ", ".join(f"{count} {word}" for word, count in self.counts().items() if count)
            return f"Run({self.name!r}: {ended or 'nothing yet'})"
        tally = self._driver.tally
        return f"Run({self.name!r}: {tally.done} of {tally.total} samples, {self._driver.place.busy().running} running)"

    def _ipython_display_(self) -> None:  # IPython's protocol
        """Show the table, once in a cell: ``evaluate`` does so at its end, and may be a cell's last expression."""
        shell = importlib.import_module("IPython").get_ipython()
        cell = getattr(shell, "execution_count", None)
        if cell is not None and self._shown_in == cell:
            return
        self._shown_in = cell
        bundle = {"text/plain": repr(self), "text/html": self._repr_html_()}
        importlib.import_module("IPython.display").display(bundle, raw=True)

    def _repr_html_(self) -> str:
        summary = self.summary()
        summary = summary.drop(columns=[name for name in summary if str(name).endswith("_rerolled")])
        html: str = summary.to_html(index=False, float_format=lambda value: f"{value:.3f}")
        return f"<p>{escape(repr(self))}</p>{safe(html)}"


def _place(path: str) -> str:
    """The place of a sample's agent or of one that grades it, ``/evals/<run>/<place>[~<scorer>]``."""
    part = path.split("/")[3]
    return part.partition(JUDGES)[0]
