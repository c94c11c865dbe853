"""The store: what is committed is there, what cannot be used is named, and nothing is harmed."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import subprocess
import sys
import textwrap
import threading
from contextlib import closing
from pathlib import Path

import pytest

from agentlab import Lab, open_store
from agentlab.errors import StoreDamaged, StoreError, StoreFull, StoreLocked, StoreReadOnly, StoreTooNew
from agentlab.store.batch import Batch, Rows
from agentlab.store.database import Store
from agentlab.store.schema import VERSION
from tests.agents import Counter


def events(*numbers: int, detail: str = "") -> Batch:
    """Return a batch of events with these numbers."""
    batch = Batch()
    for number in numbers:
        batch.add("event", number, number, "log", "/a", 1, 1, None, detail, None)
    return batch


def seqs(store: Store) -> list[int]:
    """Return the numbers of the events that are there."""
    return [seq for (seq,) in store.select("SELECT seq FROM event ORDER BY seq")]


def fingerprint(path: Path) -> str:
    """Return a hash of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def names(folder: Path) -> list[str]:
    """Return what is in a folder."""
    return sorted(path.name for path in folder.iterdir())


def filled(path: Path, rows: int = 10, detail: str = "x" * 1000) -> Path:
    """Make a store with some events, closed."""
    store = Store(path)
    store.commit(events(*range(1, rows + 1), detail=detail))
    store.close()
    return path


def run(script: str, *args: object) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own."""
    command = [sys.executable, "-c", textwrap.dedent(script), *map(str, args)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


# what is committed


@pytest.mark.parametrize("where", ["memory", "file"])
def test_what_was_committed_is_read(tmp_path, where):
    """In memory and in a file, by any thread, as rows and in pieces."""
    store = Store(None if where == "memory" else tmp_path / "a.lab")
    store.commit(events(*range(1, 1202)))

    found: list[list[int]] = []
    reader = threading.Thread(target=lambda: found.append(seqs(store)))
    reader.start()
    reader.join()
    pieces = store.read("SELECT seq FROM event", (), lambda pieces: [len(rows) for rows in pieces])
    store.close()

    assert found == [list(range(1, 1202))]
    assert pieces == [500, 500, 201]


@pytest.mark.parametrize("where", ["memory", "file"])
def test_a_batch_is_committed_whole_or_not_at_all(tmp_path, where):
    """One row that cannot be stored takes all of its batch with it, and the next batch is fine."""
    store = Store(None if where == "memory" else tmp_path / "a.lab")
    store.commit(events(1))
    bad = events(2, 3)
    bad.add("event", 1, 0, "twice", "/a", None, None, None, None, None)

    def write_bad() -> None:
        store.commit(bad)
        store.select("SELECT 1")  # a store in memory writes when somebody reads

    with pytest.raises(StoreError, match="UNIQUE"):
        write_bad()
    store.commit(events(4))

    assert seqs(store) == [1, 4]
    store.close()


def test_rows_that_replace_or_delete_keep_their_place_in_a_batch():
    """What is deleted and written again is there; bulk statements do not move past them."""
    store = Store()
    batch = Batch()
    for n, table in enumerate(["field", "forget", "field", "forget"], 1):
        batch.add(table, *(("/a", "n", n, str(n)) if table == "field" else ("/a",)))
    batch.add("field", "/a", "n", 5, "5")
    batch.add("field", "/b", "n", 1, "1")

    store.commit(batch)

    assert store.state("/a") == {"n": "5"}
    assert store.state("/b") == {"n": "1"}


def test_a_reader_sees_only_what_was_committed(tmp_path):
    """While a writer is in the middle of a batch, another connection sees the last commit."""
    path = tmp_path / "a.lab"
    store = Store(path)
    store.commit(events(1))
    store._db.execute("BEGIN")
    store._db.execute("DELETE FROM event")

    with_writer = Store(path, read_only=True)
    seen = (seqs(with_writer), seqs(store))
    store._db.execute("COMMIT")
    after = seqs(with_writer)
    with_writer.close()
    store.close()

    assert seen == ([1], [1])
    assert after == []


def test_a_long_read_does_not_hold_up_the_writer():
    """A store in memory takes batches while somebody is in the middle of a table; they are read next time."""
    store = Store()
    store.commit(events(*range(1, 1501)))
    writer = threading.Thread(target=lambda: store.commit(events(*range(1501, 1501 + 2 * Store.FLUSH))))

    def made(pieces):
        next(pieces)
        writer.start()
        writer.join(60)
        return writer.is_alive(), sum(map(len, pieces))

    held_up, others = store.read("SELECT seq FROM event ORDER BY seq", (), made)

    assert not held_up
    assert others == 1000
    assert len(seqs(store)) == 1500 + 2 * Store.FLUSH


def test_text_that_utf8_cannot_hold_is_stored_readably(tmp_path):
    """Lone surrogates are spelt out, NUL and 10 MB lines stay as they are; nothing else of the batch changes."""
    store = Store(tmp_path / "a.lab")
    batch = events(1, detail="plain")
    for seq, detail in ((2, "bad \ud800 \udfff"), (3, "nul \x00 end \x1b[31m"), (4, "é" * 10_000_000)):
        batch.add("event", seq, 0, "log", "/a", 1, 1, None, detail, None)

    store.commit(batch)
    details = [detail for (detail,) in store.select("SELECT detail FROM event ORDER BY seq")]
    store.close()

    assert details[:3] == ["plain", "bad \\ud800 \\udfff", "nul \x00 end \x1b[31m"]
    assert details[3] == "é" * 10_000_000


@pytest.mark.parametrize("where", [None, "a.lab"])
def test_rows_that_are_made_when_they_are_written_are_as_others(tmp_path, where):
    """In their place among the others, with long texts kept once; one that SQLite refuses takes its batch along."""
    store = Store(tmp_path / where if where else None)
    batch = Batch()
    batch.add("field", "/1", "n", 0, "before")
    batch.add_many("field", Rows(lambda: ((f"/{n}", "n", 0, "x" * 5000) for n in range(100)), 100))
    batch.add("field", "/2", "n", 1, "after")
    batch.add_many("event", Rows(lambda: (row for _, row in events(*range(1, 101), detail="bad \ud800").rows), 100))
    bad = Batch()
    bad.add_many("event", Rows(lambda: [(200, 0, "log", "/a", 1, 1, None, "", None), (1,)], 2))

    store.commit(batch)

    assert [store.state(f"/{n}") for n in (1, 2, 99)] == [{"n": "x" * 5000}, {"n": "after"}, {"n": "x" * 5000}]
    assert store.select("SELECT count(*) FROM blob") == [(1,)]
    assert store.select("SELECT DISTINCT detail FROM event") == [("bad \\ud800",)]

    def written():
        store.commit(bad)
        seqs(store)  # in memory they are written when somebody reads

    with pytest.raises(StoreError):
        written()
    assert seqs(store) == list(range(1, 101))
    store.close()


def test_a_bulk_in_memory_is_written_bit_by_bit():
    """Rows that are not made yet hold up no commit: each flush takes about so many, the oldest first."""
    store = Store()
    size, made = Store.FLUSH, []

    def rows(start):
        made.append(start)
        return ((n, n, "log", "/a", 1, 1, None, "", None) for n in range(start, start + size))

    for number in range(4):
        batch = Batch()
        batch.add_many("event", Rows(lambda start=number * size: rows(start), size))
        store.commit(batch)
    assert made == []

    store.commit(events(*range(10**9, 10**9 + size + 1)))
    assert made == [0, size]
    assert len(seqs(store)) == 5 * size + 1


def test_the_state_is_the_last_one_written():
    """Also when two checkpoints carry one number, and when a transcript began anew."""
    store = Store()
    batch = Batch()
    for value in ("1", "2"):
        batch.add("field", "/a", "n", 0, value)
    for place, value in ((0, "a"), (1, "b"), (2, "c"), (0, "A"), (1, "B")):
        batch.add("item", "/a", "log", 0, place, json.dumps(value))

    store.commit(batch)

    assert store.state("/a") == {"n": "2", "log": ['"A"', '"B"']}


def test_a_store_in_memory_can_be_read_after_it_was_closed():
    """The frames of a lab that has ended are still there."""
    store = Store()
    store.commit(events(1))

    store.close()

    assert seqs(store) == [1]


def test_a_store_in_a_file_that_was_closed_says_so(tmp_path):
    """Neither damaged nor locked: closed."""
    store = Store(filled(tmp_path / "a.lab"), read_only=True)
    store.close()

    with pytest.raises(StoreError, match="closed database") as refused:
        seqs(store)

    assert type(refused.value) is StoreError


# who holds it


def test_a_second_writer_is_refused_and_told_who_holds_the_store(tmp_path):
    """In this process and in another; the first one notices nothing, and its end frees the store."""
    path = tmp_path / "a.lab"
    holder = Store(path)
    script = "import sys; from agentlab.store.database import *; Store(Path(sys.argv[1]))"

    with pytest.raises(StoreLocked, match=rf"held by another live lab \(process {os.getpid()}, this one\)"):
        Store(path)
    other = run(script, path)
    holder.commit(events(1))
    holder.close()

    assert f"StoreLocked: {path} is held by another live lab (process {os.getpid()})" in other.stderr
    assert seqs(Store(path, read_only=True)) == [1]
    Store(path).close()


def test_a_refused_writer_does_not_drop_the_holders_locks(tmp_path):
    """Another program still sees that the store is in use, so it does not throw away what was committed last."""
    path = tmp_path / "a.lab"
    holder = Store(path)
    with pytest.raises(StoreLocked):
        Store(path)
    holder.commit(events(1))

    run("import sys, sqlite3; db = sqlite3.connect(sys.argv[1]); db.execute('select * from event'); db.close()", path)
    holder.commit(events(2))

    assert path.with_name("a.lab-wal").exists()
    holder.close()
    assert seqs(Store(path, read_only=True)) == [1, 2]


def test_a_killed_holder_leaves_the_store_free_and_whole(tmp_path):
    """``kill -9`` after a commit: the next one opens it and finds the commit."""
    path = tmp_path / "a.lab"
    script = """
        import os, sys
        from tests.test_store import Path, Store, events
        store = Store(Path(sys.argv[1]))
        store.commit(events(1, 2))
        os.kill(os.getpid(), 9)
    """

    killed = run(script, path)
    reader = Store(path, read_only=True)
    seen = seqs(reader)
    reader.close()
    store = Store(path)
    store.commit(events(3))

    assert killed.returncode == -9
    assert seen == [1, 2]
    assert seqs(store) == [1, 2, 3]
    store.close()


def test_another_program_that_writes_is_no_damage(tmp_path):
    """A batch that has to wait for it too long fails as locked, and can be committed later."""
    store = Store(tmp_path / "a.lab")
    store._db.execute("PRAGMA busy_timeout = 1")
    with closing(sqlite3.connect(tmp_path / "a.lab", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")

        with pytest.raises(StoreLocked, match=r"SQLITE_BUSY.*Another program has it open"):
            store.commit(events(1))
    store.commit(events(1))

    assert seqs(store) == [1]
    store.close()


# what cannot be used


@pytest.mark.parametrize("read_only", [True, False])
@pytest.mark.parametrize(
    "content",
    [b"x", b"no store at all" * 1000, os.urandom(8192), b"SQLite format 3\x00" + b"\xff" * 5000],
    ids=["a letter", "text", "noise", "a header"],
)
def test_a_file_that_is_no_store_is_refused_and_left_alone(tmp_path, content, read_only):
    """StoreDamaged; not one byte changes and nothing is put beside it."""
    path = tmp_path / "a.lab"
    path.write_bytes(content)

    with pytest.raises(StoreDamaged, match=r"a\.lab"):
        Store(path, read_only=read_only)

    assert path.read_bytes() == content
    assert names(tmp_path) == ["a.lab"]


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_the_database_of_another_program_is_refused_and_left_alone(tmp_path, mode):
    """It does not even get another journal mode."""
    path = tmp_path / "browser.db"
    with closing(sqlite3.connect(path)) as other:
        other.execute(f"PRAGMA journal_mode = {mode}")
        other.execute("CREATE TABLE history (url TEXT)")
        other.commit()
    before = fingerprint(path)

    with pytest.raises(StoreDamaged, match=r"is an SQLite file but no agentlab store. Choose another path"):
        Store(path)

    assert fingerprint(path) == before
    assert names(tmp_path) == ["browser.db"]


@pytest.mark.parametrize("read_only", [True, False])
def test_a_damaged_page_is_found_before_anything_is_written(tmp_path, read_only):
    """StoreDamaged, the file as it was."""
    path = filled(tmp_path / "a.lab", rows=200)
    data = bytearray(path.read_bytes())
    for page in range(4096 * 16, len(data) - 4096, 4096):
        data[page : page + 64] = os.urandom(64)
    path.write_bytes(data)
    before = fingerprint(path)

    with pytest.raises(StoreDamaged, match="The file was left as it is; restore it from a copy"):
        Store(path, read_only=read_only)

    assert fingerprint(path) == before


def test_a_cut_file_is_damaged(tmp_path):
    """Half a store, as a full disk or an aborted copy leaves it."""
    path = filled(tmp_path / "a.lab", rows=200)
    os.truncate(path, path.stat().st_size // 2)
    before = fingerprint(path)

    with pytest.raises(StoreDamaged, match=r"restore it from a copy"):
        Lab(path)

    assert fingerprint(path) == before


def test_a_store_without_its_tables_is_damaged(tmp_path):
    """A reader says what is missing."""
    path = filled(tmp_path / "a.lab")
    with closing(sqlite3.connect(path)) as db:
        db.execute("DROP TABLE event")
        db.commit()

    with pytest.raises(StoreDamaged, match=r"no such table: main\.event"):
        open_store(path).events()


@pytest.mark.parametrize("read_only", [True, False])
def test_a_store_of_a_newer_version_is_refused_and_left_alone(tmp_path, read_only):
    """StoreTooNew says both versions and what to upgrade."""
    path = filled(tmp_path / "a.lab")
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"PRAGMA user_version = {VERSION + 1}")
    before = fingerprint(path)

    with pytest.raises(
        StoreTooNew, match=rf"store version {VERSION + 1}; this agentlab reads up to {VERSION}\. Upgrade"
    ):
        Store(path, read_only=read_only)

    assert fingerprint(path) == before


def test_a_store_that_is_not_there_is_not_made_by_looking(tmp_path):
    """Reading says that there is nothing, and how to make one."""
    path = tmp_path / "none.lab"

    with pytest.raises(StoreError, match=r"no such store. Check the path, or make one with Lab"):
        open_store(path)

    assert names(tmp_path) == []


@pytest.mark.parametrize("place", ["file/run.lab", "", "nul\0.lab"])
def test_a_place_that_cannot_be_written_is_refused(tmp_path, place):
    """Below a file, a folder itself, a name that cannot be: StoreReadOnly, and what to do."""
    (tmp_path / "file").write_text("not a folder")

    with pytest.raises(StoreReadOnly, match="Give write permission to the file and its folder, or choose another path"):
        Store(tmp_path / place)


def test_a_read_only_disk_is_named_and_still_read(small_disk):
    """StoreReadOnly for a writer; a reader needs no permission to write."""
    path = filled(small_disk / "a.lab")
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    before = fingerprint(path)

    with pytest.raises(StoreReadOnly, match=r"Read-only file system. Give write permission"):
        Store(path)
    with open_store(path) as stored:
        seen = len(stored.events())

    assert seen == 10
    assert fingerprint(path) == before


def test_a_full_disk_is_named_and_the_last_commit_stands(small_disk):
    """StoreFull, nothing of the batch, and the lab goes on when there is space again."""
    ballast = small_disk / "ballast"
    store = Store(small_disk / "a.lab")
    store.commit(events(1))
    ballast.write_bytes(b"x" * (800 * 1024 - sum(f.stat().st_size for f in small_disk.iterdir())))

    with pytest.raises(StoreFull, match="Nothing was committed; free some space"):
        store.commit(events(2, detail="x" * 900_000))
    seen = seqs(store)
    ballast.unlink()
    store.commit(events(3, detail="x" * 100_000))

    assert seen == [1]
    assert seqs(store) == [1, 3]
    store.close()


def test_a_store_that_could_not_be_created_leaves_nothing_that_looks_like_one(small_disk):
    """A disk that is full from the start: StoreFull, and an empty file at most."""
    path = small_disk / "a.lab"
    (small_disk / "ballast").write_bytes(b"x" * (1024 * 1024 - 4096))

    with pytest.raises(StoreError, match=r"a\.lab"):
        Store(path)
    (small_disk / "ballast").unlink()

    assert [f.stat().st_size for f in small_disk.glob("a.lab*")] in ([], [0])
    Store(path).close()


def test_a_quota_is_named_as_a_full_disk(tmp_path):
    """A file that may not grow: StoreFull, and what was committed before is read."""
    script = """
        import resource, sys
        from tests.test_store import Path, Store, events, seqs
        from agentlab.errors import StoreFull
        store = Store(Path(sys.argv[1]))
        store.commit(events(1))
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
        try:
            store.commit(events(2, detail="x" * 500_000))
        except StoreFull as error:
            print(error)
        print(seqs(store))
    """

    done = run(script, tmp_path / "a.lab")

    assert "your quota of it, may be full" in done.stdout, done.stderr
    assert done.stdout.splitlines()[-1] == "[1]"


# a store from somebody else


def test_opening_a_store_runs_no_code_and_imports_nothing(tmp_path):
    """Its specs name a module that would be imported and a class that would be found; neither happens."""
    path, trace = tmp_path / "a.lab", tmp_path / "trace"
    (tmp_path / "trap.py").write_text(f"open({str(trace)!r}, 'w').close()\n")
    with Lab(path, nodes=1) as lab:
        lab.start(Counter, id="counter").call.add(1).result()
    with closing(sqlite3.connect(path)) as db:
        (spec,) = db.execute("SELECT spec FROM child").fetchone()
        db.execute(
            "UPDATE child SET spec = ?, sum = NULL", (json.dumps({**json.loads(spec), "agent": ["trap", "Trap"]}),)
        )
        db.commit()
    script = """
        import sys
        sys.path.insert(0, sys.argv[2])
        from agentlab import Lab, open_store
        with open_store(sys.argv[1]) as stored:
            print(stored.agents()["kind"][1], len(stored.checkpoints()))
        with Lab(sys.argv[1], nodes=1) as lab:
            print(lab["/counter"].status, "trap" in sys.modules)
    """

    done = run(script, path, tmp_path)

    assert done.stdout.splitlines() == ["Trap 2", "parked False"], done.stderr
    assert not trace.exists()


@pytest.mark.parametrize("spec", ["", "[]", "null", '{"id": "a"}', '{"agent": 1, "id": "x"}', "[" * 100_000])
def test_a_spec_that_is_none_is_damage(tmp_path, spec):
    """Whatever somebody wrote into the file."""
    path = filled(tmp_path / "a.lab")
    with closing(sqlite3.connect(path)) as db:
        db.execute("INSERT INTO child VALUES ('/a', '/', ?, 1, 'running', 1, 0, 0, NULL)", (spec,))
        db.commit()

    with open_store(path) as stored, pytest.raises(StoreDamaged, match="the spec of '/a' is no child spec"):
        stored.agents()
