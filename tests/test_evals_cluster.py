"""Evals on a Dask cluster: what is refused. A cluster runs in a notebook, and in tests/test_evals_cluster_deaths.py."""

from __future__ import annotations

import os
import tempfile

import pytest

from agentlab.errors import InsecureCluster, InvalidSpec, StoreError
from agentlab.evals import evaluate, exact
from agentlab.evals.labs import Folder
from agentlab.evals.machines import as_table, check_private, differing, probed
from tests.evaluated import Worker


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
