"""What a store keeps, how it keeps it, and how an older store becomes one of today."""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab import Agent, Lab, Transcript, open_store
from agentlab.errors import InvalidSpec, StoreError
from agentlab.frames import checkpoints
from agentlab.store.batch import Batch
from agentlab.store.database import Store
from agentlab.store.retention import Trimmer
from agentlab.store.schema import VERSION
from tests import patience

LONG = "tea and more tea " * 200


class Diary(Agent):
    """Keeps a text and a conversation."""

    text: str = ""
    talk: Transcript = Transcript(["hello"])

    async def write(self, text: str) -> int:
        """Note a text, in both."""
        self.text = text
        self.talk.append(text)
        return len(self.talk)

    async def ponder(self, text: str) -> str:
        """A step with a long argument and a long result."""
        return str(await self.step(str.upper, text))


# options


@pytest.mark.parametrize("keep", [0, -1, True, 1.5, "7d", timedelta(0), timedelta(-1)])
def test_a_keep_that_says_no_amount_is_refused(keep):
    """By name, with the value and what is allowed; nothing was opened."""
    with pytest.raises(InvalidSpec, match=r"keep must be an int >= 1 .* a timedelta > 0 .* or None") as refused:
        Lab(keep=keep)
    assert refused.value.value == keep


@pytest.mark.parametrize("synchronous", ["OFF", "full", 1, None])
def test_a_synchronous_that_is_none_is_refused(tmp_path, synchronous):
    """By name, with the value and what is allowed; no file was made."""
    with pytest.raises(InvalidSpec, match="synchronous must be 'NORMAL' or 'FULL'; got"):
        Lab(tmp_path / "a.lab", synchronous=synchronous)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("synchronous", "number"), [("NORMAL", 1), ("FULL", 2)])
def test_the_writer_waits_for_the_disk_as_it_was_told(tmp_path, synchronous, number):
    """FULL waits at every commit, NORMAL does not."""
    with Lab(tmp_path / "a.lab", nodes=1, synchronous=synchronous) as lab:
        assert lab._store._db.execute("PRAGMA synchronous").fetchone() == (number,)


# retention


def trimmed(store: Store) -> None:
    """Trim until nothing is left to trim."""
    trimmer = store._trimmer
    assert trimmer is not None
    store.select("SELECT 1")  # a store in memory writes when somebody reads
    with store._lock:  # its lab may commit, or trim, at this moment
        while trimmer.work(store._db, time.monotonic() + 1):
            pass


WRITES = st.lists(
    st.tuples(
        st.sampled_from(["/a", "/b"]),
        st.sampled_from(["text", "add", "again", "empty", "forget"]),
        st.integers(0, 3),
    ),
    max_size=40,
)


def write(store: Store, seqs: dict[str, int], live: dict[str, dict[str, Any]], step: tuple[str, str, int]) -> None:
    """Commit one message of a small agent with a value and a transcript."""
    path, what, n = step
    batch = Batch()
    if what == "forget":
        batch.add("forget", path)
        batch.add("forget_items", path)
        batch.add("forget_checkpoints", path)
        live[path], seqs[path] = {}, 0
        store.commit(batch)
        return
    seq = seqs[path] = seqs.get(path, 0) + 1
    state = live.setdefault(path, {})
    talk = state.get("talk", [])
    if what == "text":
        state["text"] = LONG * n
        batch.add("field", path, "text", seq, json.dumps(LONG * n))
    else:
        start = 0 if what in ("again", "empty") else len(talk)
        if start < len(talk) or what == "empty":
            batch.add("item", path, "talk", seq, start, None)
        items = [] if what == "empty" else [f"{path} {seq} {place} {LONG * (n % 2)}" for place in range(n)]
        for place, item in enumerate(items, start):
            batch.add("item", path, "talk", seq, place, json.dumps(item))
        if start < len(talk) or items or what == "empty":
            state["talk"] = [*talk[:start], *items]
    at = time.time_ns()
    batch.add("message", path, seq, "m", "", at, at, at, 1, "ok", None, None, None)
    batch.add("checkpoint", path, seq, at, 1, 1, "Diary")
    store.commit(batch)


@settings(max_examples=60)
@given(WRITES, st.integers(1, 4), st.sampled_from([None, "file"]))
def test_kept_checkpoints_are_rebuilt_as_they_were(tmp_path_factory, writes, keep, where):
    """Whatever was trimmed: the state, and the states of the kept checkpoints, are those of a store that keeps all."""
    folder = tmp_path_factory.mktemp("keep")
    stores = [Store(folder / f"{n}.lab" if where else None, keep=k) for n, k in enumerate((None, keep))]
    live: dict[str, dict[str, Any]] = {}
    for store in stores:
        live, seqs = {}, {}
        for number, step in enumerate(writes):
            write(store, seqs, live, step)
            if store is stores[1] and number % 7 == 0:
                trimmed(store)
    trimmed(stores[1])

    found = [{path: (store.state(path), checkpoints(store, path=path)) for path in live} for store in stores]
    for store in stores:
        store.close()

    for path, state in live.items():
        (_, whole), (left, kept) = (by_path[path] for by_path in found)
        assert left == {name: texts(value) for name, value in state.items()}
        assert len(kept) == min(keep, len(whole))
        names = ["seq", *(name for name in kept if name.startswith("state."))]
        for name in names:
            assert known(kept[name]) == known(whole[name].tail(keep)), name


def texts(value: Any) -> str | list[str]:
    """A field as a store has it."""
    return [json.dumps(item) for item in value] if isinstance(value, list) else json.dumps(value)


def known(column: Any) -> list[Any]:
    """A column's values; an empty transcript is none."""
    return [None if value in (None, []) else value for value in column.tolist()]


def test_a_lab_keeps_the_last_so_many_of_each(tmp_path):
    """Checkpoints, messages, steps and events alike; the states and the newest checkpoint stay, also when reopened."""
    path = tmp_path / "a.lab"
    with Lab(path, nodes=1, keep=3) as lab:
        diary = lab.start(Diary, id="d")
        quiet = lab.start(Diary, id="quiet")
        quiet.call.write("once").result(60)
        for number in range(150):
            diary.call.write(f"{number} {LONG}").result(60)
            diary.call.ponder(f"{number} {LONG}").result(60)
            diary.call.ponder(f"{number}").result(60)
        trimmed(lab._store)

        assert lab.messages(path="/d")["seq"].tolist() == [448, 449, 450]
        assert lab.checkpoints("/d")["seq"].tolist() == [442, 445, 448]
        assert set(lab.steps()["message_seq"]) == {449, 450}
        assert len(lab.events(path="/d")) <= 3
        assert len(lab.checkpoints(quiet)) == 2
        (texts,) = lab._store.select("SELECT count(*) FROM blob")[0]
        assert texts <= 3 * 150
    with Lab(path, nodes=1) as lab:
        assert lab["/d"].state["text"] == f"149 {LONG}"
        assert [line.split(" ")[0] for line in lab["/d"].state["talk"][1:]] == [str(n) for n in range(150)]
        assert lab["/quiet"].state["text"] == "once"


def test_texts_that_no_row_uses_are_let_go(tmp_path):
    """A value that changes with every message leaves no growing heap of old ones."""
    store = Store(tmp_path / "a.lab", keep=2)
    for seq in range(1, 400):
        batch = Batch()
        batch.add("field", "/a", "text", seq, f"{seq} {LONG}")
        batch.add("checkpoint", "/a", seq, time.time_ns(), 1, 1, "Diary")
        store.commit(batch)
        store.trim()
    trimmed(store)
    for _ in range(20):
        trimmed(store)

    assert store.select("SELECT count(*) FROM blob") == [(2,)]
    assert store.state("/a") == {"text": f"399 {LONG}"}
    store.close()


def test_an_age_trims_what_is_older_and_never_the_newest(tmp_path):
    """Rows older than the age go, also of agents that rest; the newest checkpoint of each stays."""
    store = Store(tmp_path / "a.lab", keep=timedelta(hours=1))
    now = time.time_ns()
    batch = Batch()
    for seq, age_s in enumerate((9000, 8000, 7000, 60, 0), 1):
        at = now - int(age_s * 1e9)
        batch.add("field", "/a", "n", seq, str(seq))
        batch.add("checkpoint", "/a", seq, at, 1, 1, "Diary")
        batch.add("event", seq, at, "log", "/a", 1, 1, None, "", None)
    batch.add("checkpoint", "/old", 1, 0, 1, 1, "Diary")
    batch.add("field", "/old", "n", 1, "7")
    store.commit(batch)
    trimmed(store)

    assert store.select("SELECT path, seq FROM checkpoint ORDER BY id") == [("/a", 4), ("/a", 5), ("/old", 1)]
    assert store.select("SELECT seq FROM event") == [(4,), (5,)]
    assert checkpoints(store, path="/a")["state.n"].tolist() == [4, 5]
    assert store.state("/old") == {"n": "7"}
    store.close()


def test_steps_of_a_message_in_hand_are_never_trimmed(tmp_path):
    """They answer for it when it is delivered again."""
    store = Store(tmp_path / "a.lab", keep=1)
    batch = Batch()
    batch.add("inbox", 7, "/a", "m", "[]", "", 0, 1, 0, None, None, 7)
    for key in (7, 8):
        batch.add(
            "step", "/a", 1, 1, 1, "step", "f", 0, 0.0, "ok", None, None, None, None, 0, "", "", key, "[]", "1", 0, None
        )
    for seq in range(5):
        batch.add("message", "/a", seq, "m", "", 5, 5, 5, 1, "ok", None, None, None)
    store.commit(batch)
    trimmed(store)

    assert store.select("SELECT message_key FROM step") == [(7,)]
    store.close()


def test_a_look_at_what_may_go_is_short(tmp_path):
    """However much there is, one look takes a few hundred rows of a table; the next looks take the rest."""
    store = Store(tmp_path / "a.lab", keep=10)
    batch = Batch()
    for seq in range(1, 20_001):
        batch.add("event", seq, 0, "log", "/a", 1, 1, None, "", None)
    store.commit(batch)
    assert store._trimmer is not None
    store._trimmer.work(store._db, 0.0)
    before = store.select("SELECT count(*) FROM event")
    store._trimmer.work(store._db, time.monotonic() + 1e-9)

    assert before == [(20_000,)]
    assert store.select("SELECT count(*) FROM event")[0][0] >= 20_000 - Trimmer.ROWS
    trimmed(store)
    assert store.select("SELECT min(seq), max(seq) FROM event") == [(19_991, 20_000)]
    store.close()


# long texts


def test_a_long_text_is_kept_once(tmp_path):
    """However many agents hold it and however many steps gave it; all that reads it sees it whole."""
    path = tmp_path / "a.lab"
    text = LONG * 300  # about a megabyte
    with Lab(path, nodes=1) as lab:
        for number in range(10):
            lab.start(Diary, id=f"d{number}").call.write(text).result(60)
        assert lab["/d3"].call.ponder(text).result(60) == text.upper()
        assert lab["/d4"].call.ponder(text).result(60) == text.upper()
        assert lab.checkpoints("/d3")["state.text"].iloc[-1] == text
        assert set(lab.steps()["output"].str.len()) == {2000}
    assert path.stat().st_size < 5 * len(text)
    with Lab(path, nodes=1) as lab:
        assert lab["/d9"].state == {"text": text, "talk": ["hello", text]}


def test_a_transcript_that_began_anew_stays_so(tmp_path):
    """Replaced by another, by nothing, running or parked: the store says what the agent says."""
    path = tmp_path / "a.lab"
    with Lab(path, nodes=1) as lab:
        one, two, three = (lab.start(Diary, id=name) for name in ("one", "two", "three"))
        for diary in (one, two, three):
            diary.call.write("x").result(60)
        one.replace_state(talk=Transcript())
        two.replace_state(talk=Transcript(["a"]))
        three.stop()
        three.replace_state(talk=Transcript(["parked"]))
        three.restart()
        assert two.call.write("y").result(60) == 2
        assert three.call.write("z").result(60) == 2
        said = [diary.state["talk"] for diary in (one, two, three)]
    with Lab(path, nodes=1) as lab:
        found = [lab[f"/{name}"].state["talk"] for name in ("one", "two", "three")]

    assert said == found == [[], ["a", "y"], ["parked", "z"]]


def test_a_conversation_costs_less_than_twice_its_text(tmp_path):
    """Turns of 5 KB, each different."""
    path = tmp_path / "a.lab"
    raw = 0
    with Lab(path, nodes=1) as lab:
        diary = lab.start(Talker, id="t")
        for number in range(1000 if patience.LONG else 200):
            turn = f"{number} " + "".join(chr(97 + (number * 31 + n * n) % 26) for n in range(5000))
            raw += len(turn)
            diary.call.say(turn).result(60)
        size = sum(file.stat().st_size for file in tmp_path.iterdir() if not file.name.endswith("-wal"))

    assert path.stat().st_size < 2 * raw
    assert size < 2 * raw


class Talker(Agent):
    """Keeps a conversation."""

    talk: Transcript = Transcript()

    async def say(self, text: str) -> None:
        """One turn."""
        self.talk.append({"role": "user", "content": text})


# older stores

VERSION_1 = """
PRAGMA application_id = 1634159714;
PRAGMA user_version = 1;
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE child (
    path TEXT PRIMARY KEY, parent TEXT, spec TEXT, dynamic INTEGER, status TEXT,
    incarnation INTEGER, restarts INTEGER, seq INTEGER
);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT, path TEXT, incarnation INTEGER, node INTEGER,
    reason TEXT, detail TEXT, took_s REAL
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, path TEXT, seq INTEGER, method TEXT, sender TEXT, sent_at INTEGER, started_at INTEGER,
    ended_at INTEGER, deliveries INTEGER, outcome TEXT, error TEXT
);
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY, path TEXT, seq INTEGER, at INTEGER, incarnation INTEGER, bytes INTEGER, cls TEXT
);
CREATE TABLE field (path TEXT, name TEXT, seq INTEGER, value TEXT);
CREATE TABLE item (path TEXT, name TEXT, seq INTEGER, place INTEGER, value TEXT);
CREATE TABLE step (
    id INTEGER PRIMARY KEY, path TEXT, message_seq INTEGER, step INTEGER, attempt INTEGER, kind TEXT, name TEXT,
    started_at INTEGER, took_s REAL, outcome TEXT, fault TEXT, tokens_in INTEGER, tokens_out INTEGER,
    cost_usd REAL, replayed INTEGER, input TEXT, output TEXT, message_key INTEGER, mark TEXT, result TEXT
);
CREATE TABLE begun (
    message_key INTEGER, step INTEGER, mark TEXT, once INTEGER, at INTEGER, PRIMARY KEY (message_key, step)
);
CREATE TABLE inbox (
    key INTEGER PRIMARY KEY, path TEXT, method TEXT, payload TEXT, sender TEXT, sent_at INTEGER, redeliver INTEGER,
    deliveries INTEGER, asker INTEGER, asker_step INTEGER
);
CREATE TABLE answer (asker INTEGER, asker_step INTEGER, payload TEXT, PRIMARY KEY (asker, asker_step));
CREATE TABLE timer (id INTEGER PRIMARY KEY, path TEXT, method TEXT, payload TEXT, due_at INTEGER, every_s REAL);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY, at INTEGER, path TEXT, method TEXT, payload TEXT, sender TEXT, deliveries INTEGER,
    reason TEXT
);
CREATE TABLE restart (
    id INTEGER PRIMARY KEY, path TEXT, at INTEGER, incarnation INTEGER, reason TEXT, fault TEXT, supervisor TEXT,
    strategy TEXT, backoff_s REAL, downtime_s REAL, rewound INTEGER
);
CREATE INDEX step_message ON step (message_key);
CREATE INDEX checkpoint_path ON checkpoint (path, seq);
CREATE INDEX field_path ON field (path, name, seq);
CREATE INDEX item_path ON item (path, name, place);
INSERT INTO child VALUES
  ('/d', '/', '{"id": "d", "agent": ["tests.test_store_keep", "Diary"], "fields": {}, "restart": "permanent",
    "shutdown": 5.0, "significant": false, "backoff": null, "own_limit": null, "restore": "checkpoint",
    "isolation": "node", "max_memory": null, "max_busy": null}', 1, 'running', 1, 0, 2);
INSERT INTO checkpoint VALUES (1, '/d', 0, 1, 1, 9, 'Diary'), (2, '/d', 1, 2, 1, 9, 'Diary');
INSERT INTO message VALUES (1, '/d', 1, 'write', '', 1, 1, 2, 1, 'ok', NULL);
INSERT INTO field VALUES ('/d', 'text', 0, '""'), ('/d', 'text', 1, '"first"');
INSERT INTO item VALUES ('/d', 'talk', 0, 0, '"hello"'), ('/d', 'talk', 1, 1, '"first"');
INSERT INTO step VALUES (1, '/d', 2, 1, 1, 'step', 'upper', 3, 0.1, 'ok', NULL, NULL, NULL, NULL, 0,
  '''tea''', '''TEA''', 5, '["step", "upper", "x", 0]', '"TEA"');
INSERT INTO event VALUES (1, 1, 'started', '/d', 1, 1, NULL, NULL, NULL);
"""
"""A store as the first version made it."""


@pytest.fixture
def old(tmp_path):
    """A store of version 1."""
    path = tmp_path / "old.lab"
    with closing(sqlite3.connect(path)) as db:
        db.executescript(VERSION_1)
    return path


def shape(db: sqlite3.Connection) -> set[tuple[Any, ...]]:
    """The tables and indexes of a store, however their text is laid out."""
    rows = db.execute("SELECT type, name, sql FROM sqlite_master WHERE sql IS NOT NULL")
    return {(kind, name, "".join(sql.split())) for kind, name, sql in rows}


def test_an_old_store_becomes_one_of_today(old, tmp_path):
    """Its lab runs on; its tables are those of a new store."""
    Store(tmp_path / "new.lab").close()

    with Lab(old, nodes=1) as lab:
        assert lab["/d"].state == {"text": "first", "talk": ["hello", "first"]}
        lab["/d"].call.write(LONG).result(60)
        assert lab.checkpoints("/d")["state.text"].tolist() == ["", "first", LONG]
        assert lab.steps()["output"].tolist() == ["'TEA'"]

    with closing(sqlite3.connect(old)) as was, closing(sqlite3.connect(tmp_path / "new.lab")) as new:
        assert was.execute("PRAGMA user_version").fetchone() == (VERSION,)
        assert shape(was) == shape(new)


def test_an_old_store_is_read_as_it_is(old):
    """Somebody who only looks changes nothing, and sees all there is."""
    before = old.read_bytes()

    with open_store(old) as stored:
        assert stored.checkpoints("/d")["state.talk"].tolist() == [["hello"], ["hello", "first"]]
        assert len(stored.steps()) == len(stored.events()) == 1

    assert old.read_bytes() == before


def test_a_migration_that_fails_changes_nothing(old):
    """All of it or nothing: the store stays what it was."""
    with closing(sqlite3.connect(old)) as db:
        db.execute("CREATE TABLE blob (in_the_way TEXT)")
    before = old.read_bytes()

    with pytest.raises(StoreError, match="already exists"):
        Store(old)

    with closing(sqlite3.connect(old)) as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,)
        assert db.execute("SELECT count(*) FROM field").fetchone() == (2,)
    assert len(before) == old.stat().st_size
