"""Evals on a Dask cluster: what is refused. A cluster runs in a notebook, and in tests/test_evals_cluster_deaths.py."""

from __future__ import annotations

import copyreg
import os
import tempfile
import threading
from collections import deque

import pytest

from agentlab.errors import InsecureCluster, InvalidSpec, StoreError
from agentlab.evals import Sample, evaluate, exact
from agentlab.evals.cluster import Cluster, Site
from agentlab.evals.labs import Folder
from agentlab.evals.machines import Door, as_table, check_private, differing, probed
from agentlab.evals.opening import Setting
from agentlab.evals.plan import Plan
from agentlab.exits import Crash
from agentlab.supervision.child import child
from agentlab.wire.exceptions import describe, revive
from tests.evaluated import Worker
from tests.hostile import Deaf, Needy


@pytest.mark.parametrize(
    ("address", "private"),
    [
        ("tls://10.0.0.7:8786", True),
        ("tcp://127.0.0.1:8786", True),
        ("tcp://[::1]:8786", True),
        ("tcp://localhost:8786", True),
        ("tcp://10.0.0.7:8786", False),
        ("tcp://node-7.cluster:8786", False),
        ("ws://10.0.0.7:8786", False),
    ],
)
def test_only_what_nobody_on_the_way_can_read_or_change_is_taken(address, private):
    """Loopback and TLS; another line only if a person says so."""
    check_private(address, insecure=True)
    if private:
        check_private(address, insecure=False)
    else:
        with pytest.raises(InsecureCluster, match=r"security=True.*insecure=True"):
            check_private(address, insecure=False)


def test_a_cluster_in_the_clear_is_refused_before_anything_starts(tmp_path):
    """Not even a store is made."""
    path = tmp_path / "run.lab"
    with pytest.raises(InsecureCluster, match=r"tcp://192\.0\.2\.1:8786 is beyond this machine"):
        evaluate(Worker, ["tea"], exact(), path=path, cluster="tcp://192.0.2.1:8786")

    assert not path.exists()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"cluster": 3}, r"a distributed\.Client.*got 3"),
        ({"cluster": "here"}, "a scheduler's address"),
        ({"cluster": "inproc://10.0.0.7/1/1"}, "threads of one process"),
        ({"cluster": "tcp://127.0.0.1:1", "lab": object()}, "a lab or a cluster, not both"),
    ],
)
def test_what_is_no_cluster_is_refused(wrong, words):
    """Each with what would do."""
    with pytest.raises(InvalidSpec, match=words):
        evaluate(Worker, ["tea"], exact(), **wrong)


def test_what_two_processes_must_have_in_common_is_a_table():
    """The same process has all; another Python and a missing agentlab are two lines."""
    here = probed()
    there = {**here, "Python": "3.9", "agentlab": "missing", "host": "another"}
    rows = differing(here, there)

    assert differing(here, here) == []
    assert rows == [("Python", here["Python"], "3.9"), ("agentlab", here["agentlab"], "missing")]
    assert as_table(rows).splitlines()[0].split() == ["what", "here", "there"]
    assert as_table(rows).splitlines()[2].split() == ["agentlab", here["agentlab"], "missing"]


def test_a_folder_that_somebody_else_has_made_is_not_used(tmp_path, monkeypatch):
    """Whoever may write into the machine's temporary folder could have put a link there; one's own is used again."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    folder = Folder("key", str(tmp_path / "elsewhere" / "run"), "another host")
    own = folder.found()
    assert own == folder.found() == tmp_path / f"agentlab-{os.getuid()}" / "key"

    own.parent.rename(tmp_path / "away")
    own.parent.symlink_to(tmp_path / "away")
    with pytest.raises(StoreError, match="belongs to somebody else"):
        folder.found()


def test_a_store_that_a_worker_holds_is_his_whoever_looks_at_it_after_him(tmp_path):
    """After a kernel's death each worker tells of all stores of its host: those that it has not open are not free."""
    samples = [Sample(input="tea", id="a"), Sample(input="milk", id="b")]
    plan = Plan("tea", samples, ["a", "b"], 1, child(Worker), Worker, {"exact": exact()}, 4, None, "{}")
    cluster = Cluster(
        Door("tcp://127.0.0.1:1", None),
        plan,
        Setting(),
        Folder("key", str(tmp_path), "host"),
        insecure=False,
        kept=True,
    )
    cluster._left, cluster._queue = {job.key: job for job in plan.jobs}, deque(plan.jobs)
    first, second = Site("tcp://1", "first", "host"), Site("tcp://2", "second", "host")
    cluster._sites = {first.address: first, second.address: second}
    for site, held in ((first, "one.lab"), (second, "two.lab")):
        for path, begun in (("one.lab", "a.1"), ("two.lab", "b.1")):
            cluster._sort_begun(site, {"path": path, "begun": [begun], "held": path == held})

    given = {site.name: cluster._next(site) for site in (second, first)}

    assert {name: ([job.place for job in jobs], store) for name, (jobs, store) in given.items()} == {
        "second": (["b.1"], "two.lab"),
        "first": (["a.1"], "one.lab"),
    }


class Lost(Exception):
    """Comes back as itself."""


def test_exceptions_travel_the_same_way_where_dask_is_loaded(monkeypatch):
    """Dask has each exception of a process packed with its stack and its causes, and with whatever these hold."""
    from tblib import pickling_support  # which Dask brings

    for cls in (Lost, Needy):
        monkeypatch.setitem(copyreg.dispatch_table, cls, pickling_support.pickle_exception)

    back, stand_in = map(travelled, (Lost("on the way"), Needy(1, 2)))

    assert (type(back), str(back), back.__traceback__, back.__cause__) == (Lost, "on the way", None, None)
    assert (type(stand_in).__name__, isinstance(stand_in, RuntimeError)) == ("Needy", True)


def travelled(error):
    """The exception at the other end; its cause holds what cannot be packed."""
    try:
        raise error from Deaf(threading.Lock())
    except type(error) as raised:
        return revive(Crash(*describe(raised)))
