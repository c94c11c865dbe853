"""A damaged store never gives wrong data: what is read is as it was written, or the error says what is not."""

from __future__ import annotations

import dataclasses
import enum
import os
import random
import sqlite3
import stat
import subprocess
import sys
import textwrap
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import agentlab
from agentlab import Agent, Lab, Transcript, open_store
from agentlab.errors import AgentLabError, InvalidState, StoreDamaged, StoreError
from agentlab.store.batch import Batch
from agentlab.store.checksums import with_sums
from agentlab.store.database import Store
from agentlab.store.schema import COLUMNS, listed
from tests.conftest import wait_for

PAGE = 4096


class Diary(Agent):
    """Has a field of each kind, steps, timers, and long texts."""

    text: str = ""
    talk: Transcript = Transcript()

    async def write(self, text: str) -> str:
        """Remember it, and do a step."""
        self.text = text
        self.talk.append({"text": text})
        self.after(3600).write("later")
        print("wrote", len(text))
        return await self.step(str.upper, text)

    async def fail(self) -> None:
        """Crash."""
        raise ValueError("no tea")


def made(path: Path) -> Path:
    """Make a store as a lab leaves it."""
    with Lab(path, nodes=1) as lab:
        for name in ("a", "b"):
            diary = lab.start(Diary, id=name)
            for n in range(12):
                diary.call.write(f"{name}{n} " * (1 + 400 * (n % 3 == 0))).result(60)
        with pytest.raises(Exception, match="no tea"):
            lab["/a"].call(redeliver=False).fail().result(60)
        lab["/b"].suspend()
        lab["/b"].cast.write("waits").result(60)
        lab.wait_idle(60)
    return path


def everything(path: Path) -> list[Any]:
    """Read all that the package reads of a store."""
    store = Store(path, read_only=True)
    try:
        rows: list[Any] = [store.select(f"SELECT {listed(table)} FROM {table} ORDER BY rowid") for table in COLUMNS]
        rows += [store.select(f"SELECT {listed(table)} FROM {table} WHERE path = '/a'") for table in ("event", "step")]
        return [*rows, *(store.state(agent) for agent in ("/a", "/b"))]
    finally:
        store.close()


def frames(path: Path) -> list[str]:
    """Read the frames of a store."""
    with open_store(path) as lab:
        found = [lab.events(), lab.messages(), lab.steps(), lab.restarts(), lab.agents(), lab.checkpoints("/a")]
    return [frame.to_csv() for frame in found]


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A store, and what is in it."""
    path = made(tmp_path_factory.mktemp("whole") / "a.lab")
    assert not path.with_name("a.lab-wal").exists()
    return path.read_bytes(), everything(path), frames(path)


def summed(table: str, row: tuple[Any, ...]) -> int:
    """Return the checksum of a row."""
    return next(with_sums(table, [row]))[-1]


def damaged(data: bytes, seed: int) -> bytes:
    """Return the file with one bit flipped, or a page zeroed."""
    chance, found = random.Random(seed), bytearray(data)
    if seed % 4 == 0:
        page = chance.randrange(len(data) // PAGE)
        found[page * PAGE : (page + 1) * PAGE] = bytes(PAGE)
    else:
        found[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
    return bytes(found)


@pytest.mark.parametrize("part", range(10))
def test_damage_is_noticed_or_harmless(tmp_path, whole, part):
    """Of 300 flipped bits and zeroed pages each read gives what was written, or an error of the store."""
    data, rows, shown = whole
    told = 0
    for seed in range(30 * part, 30 * part + 30):
        path = tmp_path / f"{seed}.lab"
        path.write_bytes(damaged(data, seed))
        try:
            assert everything(path) == rows, seed
            if seed % 10 == 0:
                assert frames(path) == shown, seed
        except StoreError:
            told += 1
            assert not agentlab.check(path).whole, seed
    assert told


def test_a_flipped_bit_is_named_with_its_table_and_row(tmp_path, whole):
    """Whoever reads the row is told which; what does not need it goes on; check tells of all."""
    path = tmp_path / "a.lab"
    path.write_bytes(whole[0])
    with closing(sqlite3.connect(path)) as db:
        db.execute("UPDATE field SET value = '\"other\"' WHERE rowid = 3")
        db.execute("UPDATE event SET path = '/b' WHERE seq = 2")
        db.execute("UPDATE blob SET text = text || ' ' WHERE rowid = 1")
        db.commit()

    with open_store(path) as stored:
        with pytest.raises(StoreDamaged, match=r"a\.lab: row 3 of table 'field' is not as it was written"):
            stored.checkpoints("/a")
        with pytest.raises(StoreDamaged, match=r"row 2 of table 'event'.*agentlab\.check"):
            stored.events()
        assert len(stored.messages()) > 20
    found = agentlab.check(path)
    assert not found.whole
    assert found.damage == [
        "row 2 of table 'event' is not as it was written",
        "row 3 of table 'field' is not as it was written",
        "row 1 of table 'blob' is not as it was written",
    ]
    assert "a.lab is damaged:\n  row 2 of table 'event'" in repr(found)


def test_a_text_that_is_gone_is_damage(tmp_path, whole):
    """A row that holds a hash needs its text: without it a field would seem to be no more."""
    path = tmp_path / "a.lab"
    path.write_bytes(whole[0])
    with closing(sqlite3.connect(path)) as db:
        db.execute("DELETE FROM blob")
        db.commit()

    with open_store(path) as stored, pytest.raises(StoreDamaged, match="table 'blob' has no text with the hash"):
        stored.steps()
    assert any("without 'value', which is lost" in what for what in agentlab.check(path).damage)


def test_check_says_what_a_whole_store_holds(tmp_path, whole):
    """Also while its lab runs; a path without a store is an error."""
    path = tmp_path / "a.lab"
    path.write_bytes(whole[0])

    assert repr(agentlab.check(path)).startswith(f"{path} is whole. Rows read: 2 child, ")
    with Lab(path, nodes=1, resume="ask"):
        assert agentlab.check(path).whole
    with pytest.raises(StoreError, match="no such store"):
        agentlab.check(tmp_path / "none.lab")


@pytest.mark.parametrize(
    "sql",
    [
        (
            "DROP TABLE event; CREATE VIEW event AS WITH RECURSIVE n (seq) AS (SELECT 1 UNION ALL SELECT seq FROM n)"
            " SELECT seq, seq AS at, '' AS kind, '' AS path, 0 AS incarnation, 0 AS node, '' AS reason, '' AS detail,"
            " 0.0 AS took_s, NULL AS sum FROM n"
        ),
        "CREATE TRIGGER endless AFTER INSERT ON event BEGIN DELETE FROM event; END",
    ],
    ids=["view", "trigger"],
)
@pytest.mark.parametrize("opened", [open_store, Lab])
def test_a_store_that_somebody_made_to_run_is_refused(tmp_path, sql, opened):
    """A view without an end would keep its reader for ever; a trigger would act for the writer."""
    path = tmp_path / "a.lab"
    Store(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.executescript(sql)

    with pytest.raises(StoreDamaged, match=r"holds a (view 'event'|trigger 'endless'), and a store holds tables"):
        opened(path)


def test_state_that_is_no_json_is_damage(tmp_path):
    """Of a store that has no checksums, say: no other error leaves."""
    path = tmp_path / "a.lab"
    store, batch = Store(path), Batch()
    batch.add("checkpoint", "/a", 1, 1, 1, 1, "Diary")
    batch.add("field", "/a", "text", 1, "{")
    store.commit(batch)
    store.close()

    with open_store(path) as stored, pytest.raises(StoreDamaged, match="a state of '/a' is no JSON"):
        stored.checkpoints("/a")


def test_a_store_that_is_deleted_below_its_lab_is_noticed(tmp_path):
    """Nobody is told that something is durable in a file that nobody finds; moved back, the lab goes on."""
    path, away = tmp_path / "a.lab", tmp_path / "away"
    with Lab(path, nodes=1) as lab:
        diary = lab.start(Diary, id="a")
        diary.call.write("one").result(60)
        path.rename(away)

        with pytest.raises(StoreError, match=r"a\.lab was deleted or moved while its lab runs"):
            diary.cast.write("two").result(60)
        with pytest.raises(StoreError, match=r"was deleted or moved"):
            lab.events()
        path.write_bytes(b"another")
        with pytest.raises(StoreError, match=r"was replaced by another file"):
            lab.events()
        away.rename(path)

        wait_for(lambda: told(lambda: diary.call.write("three").result(60)) == "THREE")
        assert lab["/a"].state["text"] == "three"
    assert agentlab.check(path).whole


def told(call: Callable[[], str]) -> str:
    """Return an answer, or the error."""
    try:
        return call()
    except AgentLabError as error:
        return str(error)


@pytest.mark.parametrize("opened", [open_store, Lab])
def test_a_killed_lab_without_its_last_commits_is_noticed(tmp_path, opened):
    """They are in the file beside the store; who accepts the loss says so, with an empty file."""
    path, wal = tmp_path / "a.lab", tmp_path / "a.lab-wal"
    script = """
        import os, signal, sys
        from agentlab import Lab
        from tests.agents import Counter
        lab = Lab(sys.argv[1], nodes=1)
        lab.start(Counter, id="counter").call.add(5).result(60)
        os.kill(os.getpid(), signal.SIGKILL)
    """
    run = [sys.executable, "-c", textwrap.dedent(script), str(path)]
    subprocess.run(run, timeout=120, check=False)
    assert wal.stat().st_size
    wal.unlink()

    with pytest.raises(StoreDamaged, match=r"'a\.lab-wal' beside it, with its last commits, is gone"):
        opened(path)
    assert not agentlab.check(path).whole
    wal.touch()
    opened(path).close()
    assert agentlab.check(path).whole
    with open_store(path) as stored:
        assert stored.messages().empty


def test_a_lab_that_was_closed_opens_without_the_file_beside_it(tmp_path):
    """A clean end leaves one file, also of a lab that failed to open, or was opened again."""
    path = tmp_path / "a.lab"
    for _ in range(2):
        with Lab(path, nodes=1) as lab:
            lab.start(Diary, id="a", exist_ok=True)
        assert [file.name for file in tmp_path.iterdir()] == ["a.lab"]
    with open_store(path) as stored:
        assert not stored.events().empty


def test_the_files_of_a_store_are_its_owners(tmp_path):
    """Nobody else reads what agents said, whatever the umask."""
    before = os.umask(0)
    try:
        store = Store(tmp_path / "a.lab")
        batch = Batch()
        batch.add("field", "/a", "n", 1, "1")
        store.commit(batch)
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
        store.close()
    finally:
        os.umask(before)

    assert modes == dict.fromkeys(("a.lab", "a.lab-wal", "a.lab-shm"), 0o600)


class Colour(enum.IntEnum):
    """Members that equal ints."""

    RED = 1


@dataclasses.dataclass
class Anything:
    """Holds anything."""

    part: Any


@pytest.mark.parametrize("value", [Colour.RED, [Colour.RED], {"a": [Colour.RED]}, Anything(Colour.RED), (1, 2)])
def test_what_would_come_back_as_something_else_is_refused(value):
    """In a field of any type, and in a transcript: a checkpoint holds what was, or nothing is stored."""

    class Holder(Agent):
        """Holds anything."""

        any: Any = None
        well: list[Colour] = [Colour.RED]  # a field's default is copied

    with pytest.raises(InvalidState, match="come back"):
        Holder.__agent_fields__["any"].dump(value)
    with pytest.raises(InvalidState):
        Transcript([{"nested": [value]}])
    assert Holder.__agent_fields__["well"].load(Holder.__agent_fields__["well"].dump([Colour.RED])) == [Colour.RED]


def test_a_checksum_is_the_same_for_ever():
    """Stores outlive versions of Python: these numbers may never change."""
    rows = [
        ("event", (1, 2**60, "log", "/ä", None, -1, "x" * 300, "\U0001f375", 0.25), 3794989571),
        ("field", ("/a", "n", 0, b"\x00\xff"), 3594575413),
        ("timer", (1, "/a", "m", "{}", 5, 3), 887800247),
    ]

    assert [summed(table, row) for table, row, _ in rows] == [number for *_, number in rows]
    assert summed("timer", (1, "", "", "", 5, 3)) == summed("timer", (1, "", "", "", 5, 3.0))
