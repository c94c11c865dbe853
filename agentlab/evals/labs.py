"""What a worker of a cluster does for a run: it keeps a whole lab open, and works on chunks of samples in it.

These functions are Dask's tasks. A lab is opened with the first chunk and stays open between chunks; it is closed when
the run ends, or when nobody has come for a minute, since the kernel that would have come may be dead. What it knows is
in a store of its own: rows that did not come up any more, and journals of samples that were under way. Whoever works on
that host next finds them there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import json
import os
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from agentlab.errors import StoreDamaged, StoreError, StoreLocked
from agentlab.evals.driver import Driver
from agentlab.evals.here import Here
from agentlab.evals.ledger import rows_of, run_path
from agentlab.evals.machines import probed
from agentlab.evals.opening import Setting, open_lab
from agentlab.evals.plan import Plan, Row
from agentlab.evals.results import deeds
from agentlab.lab import open_store
from agentlab.store.database import Store
from agentlab.wire.pickles import load

BEAT = 0.5
"""Seconds between two reports of what has come of a chunk."""

IDLE = 60.0
"""Seconds after which a lab is closed that nobody uses."""

LOCKED = 5.0
"""Seconds to wait for the store of a worker that is just dying."""


@dataclass(frozen=True)
class Folder:
    """Where the stores of a run's labs are.

    Args:
        key: The run's, the same for all its life.
        beside: The folder beside the run's own store; used by workers on that host.
        host: Which is that.
    """

    key: str
    beside: str
    host: str

    def found(self) -> Path:
        """The folder on this host; it is there when this returns.

        Raises:
            StoreError: Somebody else has made the one in the machine's temporary folder, which anybody may.
        """
        if self.host == probed()["host"] and Path(self.beside).parent.is_dir():
            where = Path(self.beside)
        else:
            above = Path(tempfile.gettempdir(), f"agentlab-{os.getuid()}")
            above.mkdir(mode=0o700, exist_ok=True)
            if above.lstat().st_uid != os.getuid() or above.is_symlink():
                raise StoreError(f"{above} belongs to somebody else, who could read and change the samples: remove it")
            where = above / self.key
        where.mkdir(mode=0o700, parents=True, exist_ok=True)
        return where


@dataclass(frozen=True)
class Errand:
    """A chunk of samples, and all that is needed to work on it.

    Args:
        folder: Where its store is.
        plan: The chunk.
        setting: What the lab is opened with.
        store: The store in which these samples were begun; None: any.
        topic: Under which reports go to the kernel.
        solver: What the class of its agents is called, with where it was defined: no pickle keeps that, and by it a
            store that is opened again finds the class.
    """

    folder: Folder
    plan: Plan
    setting: Setting
    store: str | None
    topic: str
    solver: str


class Kept:
    """A lab that this worker keeps open for a run, and the chunk that is worked on in it."""

    def __init__(self, store: Path, lab: Any, ending: contextlib.ExitStack) -> None:
        self.store, self.lab = store, lab
        self._ending = ending
        self._driver: Driver | None = None
        self._timer: threading.Timer | None = None

    def begin(self, plan: Plan, came: list[Row]) -> Driver:
        """Work on a chunk; one that a dead kernel has left is stopped, its samples go on from their journals."""
        self.stop()
        self._driver = Driver(self.lab, plan, Here(self.lab, plan), at_end=_nothing, heard=came.extend)
        self._driver.start()
        return self._driver

    def rest(self, key: str) -> None:
        """Close it by and by, unless somebody comes."""
        self._timer = threading.Timer(IDLE, _close_idle, [key, self])
        self._timer.daemon = True
        self._timer.start()

    def stop(self) -> None:
        """End what is going on in it, in good order."""
        if self._timer is not None:
            self._timer.cancel()
        if self._driver is not None:
            self._driver.stop()

    def idle(self) -> bool:
        """Whether no chunk is worked on."""
        return self._driver is None or self._driver.over.is_set()

    def close(self) -> None:
        """Close the lab."""
        self.stop()
        self._ending.close()


_kept: dict[str, Kept] = {}
"""The labs that are open in this worker, by the keys of their runs."""

_lock = threading.RLock()
"""Held while one is opened, closed, or gets a chunk."""


CALL = "__import__('agentlab.evals.labs', fromlist=['labs']).call(function, given)"
"""A task as a text: one whose function a worker cannot unpickle would end that worker, for whoever uses it."""


def call(function: str, given: bytes) -> str:
    """Do one of the three things that a worker is asked for."""
    tasks: dict[str, Callable[..., str]] = {"look": look, "work": work, "close": close}
    return tasks[function](*load(given))


def look(name: str, folder: Folder) -> str:
    """What is left on this host of a run: its stores, the rows in them, and who was begun; as JSON."""
    found = []
    for path in sorted(folder.found().glob("*.lab")):
        with contextlib.suppress(StoreError, OSError), open_store(path) as stored:  # one that is just being made
            store = stored._read()
            held = folder.key in _kept and _kept[folder.key].store == path
            rows = _told(rows_of(store, name), store, name, path)
            found.append({"path": str(path), "rows": rows, "begun": _begun(store, name), "held": held})
    return json.dumps(found)


def work(errand: Errand) -> str:
    """Work on a chunk; its rows, as JSON. Reports go out meanwhile."""
    dask = importlib.import_module("distributed")
    worker = dask.get_worker()
    dask.secede()  # the thread is not needed: nodes work
    errand.plan.attempt.__qualname__ = errand.solver
    came: list[Row] = []
    with _lock:
        kept = _ready(errand, worker.state.nthreads)
        # Before anybody begins: if this worker dies, its samples wait for whoever opens this store.
        worker.log_event(errand.topic, _opened(kept, worker))
        driver = kept.begin(dataclasses.replace(errand.plan, worker=str(worker.name)), came)
    done, pause = 0, BEAT
    try:
        while not driver.over.wait(pause):
            if _is_leaving(worker):
                driver.stop()  # Dask retires it: what is under way stays in its journals
            began = time.monotonic()
            fresh, done = came[done:], len(came)
            worker.log_event(errand.topic, _report(errand, kept, driver, fresh, worker))
            pause = max(BEAT, 10 * (time.monotonic() - began))
    finally:
        kept.rest(errand.folder.key)
    if driver.error is not None:
        raise driver.error
    report = _report(errand, kept, driver, came, worker)
    if _is_leaving(worker):
        close(errand.folder.key, remove=False)
    return report


def _is_leaving(worker: Any) -> bool:
    return worker.status.name not in ("running", "paused")


def close(key: str, remove: bool) -> str:
    """Close the lab of a run.

    Args:
        key: The run's.
        remove: Whether its store is to go, since the run was not to be kept.
    """
    with _lock:
        kept = _kept.pop(key, None)
        if kept is not None:
            kept.close()
            if remove:
                for each in kept.store.parent.glob(f"{kept.store.name}*"):
                    each.unlink(missing_ok=True)
    return "null"


def _close_idle(key: str, kept: Kept) -> None:
    with _lock:
        if _kept.get(key) is kept and kept.idle():
            close(key, remove=False)


def _ready(errand: Errand, threads: int) -> Kept:
    """The lab that is open, if its store is the one that is wanted; else one that is opened now."""
    key, wanted = errand.folder.key, errand.store
    kept = _kept.get(key)
    if kept is not None and wanted in (None, str(kept.store)):
        return kept
    close(key, remove=False)
    last: StoreError | None = None
    for store in _stores(errand.folder, wanted):
        try:
            lab, ending = open_lab(errand.setting.on(threads), store)
        except (StoreLocked, StoreDamaged) as error:  # by a neighbour; by a death while it was made
            last = error
            continue
        _kept[key] = Kept(store, lab, ending)
        return _kept[key]
    raise last or StoreLocked(f"no store in {errand.folder.found()} can be opened")


def _stores(folder: Folder, wanted: str | None) -> Iterator[Path]:
    """Stores to try: the one that is wanted for a while, then each; the first that is new is free."""
    where, end = folder.found(), time.monotonic() + LOCKED
    if wanted is not None and Path(wanted).exists():
        while time.monotonic() < end:
            yield Path(wanted)
            time.sleep(0.1)
    for number in range(10_000):
        yield where / f"lab-{number}.lab"


def _opened(kept: Kept, worker: Any) -> str:
    nothing = {"rows": [], "running": 0, "waiting": 0, "cost_usd": None}
    return json.dumps({"worker": worker.address, "store": str(kept.store), **nothing})


def _report(errand: Errand, kept: Kept, driver: Driver, rows: list[Row], worker: Any) -> str:
    """What has come of a chunk, as JSON."""
    busy = driver.place.busy()
    told = _told(rows, kept.lab._read(), errand.plan.name, kept.store) if rows else []
    return json.dumps({
        "worker": worker.address, "store": str(kept.store), "rows": told,
        "running": busy.running, "waiting": busy.waiting, "cost_usd": busy.cost_usd,
    })  # fmt: skip


def _told(rows: list[Row], store: Store, name: str, path: Path) -> list[Row]:
    """Rows with what their agents did, which only this store knows."""
    done = deeds(store, name)
    return [{**row, "deeds": done.get(row["path"], {}), "store": str(path)} for row in rows]


def _begun(store: Store, name: str) -> list[str]:
    """The places of samples that have agents in a store."""
    above = run_path(name) + "/"
    return [
        str(path).removeprefix(above)
        for (path,) in store.select("SELECT path FROM child WHERE path LIKE ?", (above + "%",))
    ]


def _nothing() -> None:
    """The lab stays open."""
