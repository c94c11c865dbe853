"""The tables of a store, how a new one is made, an old one brought up to date, and a row of each kind written.

To change the tables: change ``SCHEMA`` and the row in ``rows``, count ``VERSION`` up, and say in ``MIGRATIONS`` how a
store of the version before gets there. Tests hold the three against each other.
"""

from __future__ import annotations

from agentlab.store.rows import ROWS

APPLICATION_ID = 0x61674C62  # "agLb"
VERSION = 6

FORK = """
CREATE TABLE fork (
    path TEXT PRIMARY KEY, base_path TEXT, base_seq INTEGER, key INTEGER, base_key INTEGER, base_step INTEGER
);
CREATE INDEX fork_base ON fork (base_path);
"""
"""A fork's past is that of its base, up to a ``seq``: no checkpoint is copied. If it handles a message again
(its ``key``), the steps of the base's message (``base_key``) before ``base_step`` are answered by the journal."""

SCHEMA = f"""
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT);
CREATE TABLE child (
    path TEXT PRIMARY KEY, parent TEXT, spec TEXT, dynamic INTEGER, status TEXT,
    incarnation INTEGER, restarts INTEGER, seq INTEGER, sum INTEGER
);
CREATE TABLE event (
    seq INTEGER PRIMARY KEY, at INTEGER, kind TEXT, path TEXT, incarnation INTEGER, node INTEGER,
    reason TEXT, detail TEXT, took_s REAL, sum INTEGER
);
CREATE TABLE message (
    id INTEGER PRIMARY KEY, path TEXT, seq INTEGER, method TEXT, sender TEXT, sent_at INTEGER, started_at INTEGER,
    ended_at INTEGER, deliveries INTEGER, outcome TEXT, error TEXT, key INTEGER, payload TEXT, sum INTEGER
);
CREATE TABLE checkpoint (
    id INTEGER PRIMARY KEY, path TEXT, seq INTEGER, at INTEGER, incarnation INTEGER, bytes INTEGER, cls TEXT,
    sum INTEGER
);
CREATE TABLE field (path TEXT, name TEXT, seq INTEGER, value TEXT, sum INTEGER);
CREATE TABLE item (path TEXT, name TEXT, seq INTEGER, place INTEGER, value TEXT, sum INTEGER);
CREATE TABLE step (
    id INTEGER PRIMARY KEY, path TEXT, message_seq INTEGER, step INTEGER, attempt INTEGER, kind TEXT, name TEXT,
    started_at INTEGER, took_s REAL, outcome TEXT, fault TEXT, tokens_in INTEGER, tokens_out INTEGER,
    cost_usd REAL, replayed INTEGER, input TEXT, output TEXT, message_key INTEGER, mark TEXT, result TEXT,
    once INTEGER, sum INTEGER, tokens_cached INTEGER
);
CREATE TABLE begun (
    message_key INTEGER, step INTEGER, mark TEXT, once INTEGER, at INTEGER, sum INTEGER,
    PRIMARY KEY (message_key, step)
);
CREATE TABLE inbox (
    key INTEGER PRIMARY KEY, path TEXT, method TEXT, payload TEXT, sender TEXT, sent_at INTEGER, redeliver INTEGER,
    deliveries INTEGER, asker INTEGER, asker_step INTEGER, place INTEGER, sum INTEGER
);
CREATE TABLE answer (asker INTEGER, asker_step INTEGER, payload TEXT, sum INTEGER, PRIMARY KEY (asker, asker_step));
CREATE TABLE timer (
    id INTEGER PRIMARY KEY, path TEXT, method TEXT, payload TEXT, due_at INTEGER, every_s REAL, sum INTEGER
);
CREATE TABLE dead (
    id INTEGER PRIMARY KEY, at INTEGER, path TEXT, method TEXT, payload TEXT, sender TEXT, deliveries INTEGER,
    reason TEXT, sum INTEGER
);
CREATE TABLE restart (
    id INTEGER PRIMARY KEY, path TEXT, at INTEGER, incarnation INTEGER, reason TEXT, fault TEXT, supervisor TEXT,
    strategy TEXT, backoff_s REAL, downtime_s REAL, rewound INTEGER, sum INTEGER
);
CREATE TABLE blob (hash TEXT PRIMARY KEY, text TEXT);
{FORK}
ALTER TABLE fork ADD COLUMN sum INTEGER;
CREATE INDEX step_message ON step (message_key);
CREATE INDEX checkpoint_path ON checkpoint (path, seq);
CREATE INDEX field_path ON field (path, name, seq);
CREATE INDEX item_path ON item (path, name, place);
"""
"""What a new store gets, beside what ``uses`` says."""

LARGE = {"field": ("value",), "item": ("value",), "step": ("input", "output", "result"), "message": ("payload",)}
"""Which columns may hold large texts: the same text is kept once, and the row holds its hash."""

TEXTS = tuple((table, column) for table, columns in LARGE.items() for column in columns)
"""The same as tables and columns."""


def uses(*texts: tuple[str, str]) -> str:
    """Indexes that find the rows that use a text, so that a text that nothing uses any more can go."""
    return "\n".join(
        f"CREATE INDEX {table}_{column}_blob ON {table} ({column}) WHERE typeof({column}) = 'blob';"
        for table, column in texts
    )


COLUMNS: dict[str, tuple[str, ...]] = {table: row._fields for table, row in ROWS.items()}
"""What a row of each table that has checksums is written as; SQLite may add a number of its own."""

PAYLOAD = ("message", "payload")

MIGRATIONS: dict[int, str] = {
    2: f"CREATE TABLE blob (hash TEXT PRIMARY KEY, text TEXT);\n{uses(*(text for text in TEXTS if text != PAYLOAD))}",
    3: "ALTER TABLE message ADD COLUMN key INTEGER;\nALTER TABLE message ADD COLUMN payload TEXT;\n"
    f"ALTER TABLE step ADD COLUMN once INTEGER;\n{uses(PAYLOAD)}\n{FORK}",
    4: "ALTER TABLE inbox ADD COLUMN place INTEGER;\nUPDATE inbox SET place = place_of.n FROM"
    " (SELECT key, row_number() OVER (ORDER BY sent_at, key) n FROM inbox) place_of WHERE inbox.key = place_of.key;",
    5: "\n".join(f"ALTER TABLE {table} ADD COLUMN sum INTEGER;" for table in COLUMNS),
    6: "ALTER TABLE step ADD COLUMN tokens_cached INTEGER;\nUPDATE step SET sum = NULL;",
}
"""How a store of the version before becomes one of this version."""


SPENT = (
    "SELECT path, sum(tokens_in), sum(coalesce(tokens_out, 0)), sum(cost_usd) FROM step"
    " WHERE tokens_in IS NOT NULL GROUP BY path"
)
"""Tokens and cost by path."""


def whole(column: str) -> str:
    """The SQL for a text that may stand elsewhere: bytes in a row are the hash of a text in ``blob``."""
    kept = f"(SELECT text FROM blob WHERE hash = {column})"  # noqa: S608  # a column's name, one of ours
    return f"CASE typeof({column}) WHEN 'blob' THEN coalesce({kept}, lost({column})) ELSE {column} END"


def migration(version: int) -> str:
    """The script that brings a store of an older version up to date, all of it or nothing."""
    steps = "\n".join(MIGRATIONS[number] for number in range(version + 1, VERSION + 1))
    return f"BEGIN;\n{steps}\nPRAGMA user_version = {VERSION};\nCOMMIT;"


def listed(table: str) -> str:
    """A table's columns as a query names them."""
    return ", ".join(COLUMNS[table])


def listed_whole(table: str) -> str:
    """The same, with the texts that stand elsewhere."""
    return ", ".join(whole(name) if name in LARGE.get(table, ()) else name for name in COLUMNS[table])


def _insert(table: str, *more: str) -> str:
    verb = "INSERT OR REPLACE" if table in ("begun", "inbox", "answer", "timer", "fork") else "INSERT"
    names = (*COLUMNS[table], *more)
    sql = f"{verb} INTO {table} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"
    if table != "child":
        return sql
    return f"{sql} ON CONFLICT (path) DO UPDATE SET {', '.join(f'{name} = excluded.{name}' for name in names[1:])}"


SUMMED = {table: _insert(table, "sum") for table in COLUMNS}
"""Statements that write a row with its checksum."""

INSERT = {
    **{table: _insert(table) for table in COLUMNS},
    "gone": "DELETE FROM child WHERE path = ?",
    "gone_below": "WITH above (start) AS (VALUES (?)) DELETE FROM child"
    " WHERE substr(path, 1, (SELECT length(start) FROM above)) = (SELECT start FROM above)",
    "forget": "DELETE FROM field WHERE path = ?",
    "forget_items": "DELETE FROM item WHERE path = ?",
    "forget_checkpoints": "DELETE FROM checkpoint WHERE path = ?",
    "forget_fork": "DELETE FROM fork WHERE path = ?",
    "moved": "UPDATE field SET path = ?, sum = NULL WHERE path = ?",
    "moved_items": "UPDATE item SET path = ?, sum = NULL WHERE path = ?",
    "moved_checkpoints": "UPDATE checkpoint SET path = ?, sum = NULL WHERE path = ?",
    "moved_fork": "UPDATE fork SET path = ?, sum = NULL WHERE path = ?",
    "moved_base": "UPDATE fork SET base_path = ?, sum = NULL WHERE base_path = ?",
    "blob": "INSERT OR IGNORE INTO blob VALUES (?,?)",
    "rewound": "UPDATE step SET outcome = 'rewound', sum = NULL WHERE message_key = ? AND step = ?"
    " AND outcome = 'ok' AND replayed = 0",
    "not_begun": "DELETE FROM begun WHERE message_key = ? AND step = ?",
    "delivered": "UPDATE inbox SET deliveries = ? WHERE key = ?",
    "not_answered": "DELETE FROM answer WHERE asker = ? AND asker_step = ?",
    "out": "DELETE FROM inbox WHERE key = ?",
    "out_begun": "DELETE FROM begun WHERE message_key = ?",
    "out_answer": "DELETE FROM answer WHERE asker = ?",
    "timer_gone": "DELETE FROM timer WHERE id = ?",
    "dead_gone": "DELETE FROM dead WHERE id = ?",
}

APART = frozenset({"event", "message", "checkpoint", "restart", "dead", "blob"})
"""Tables to which rows are only added: their rows may be written after all others of a batch, in bulk."""


CREATE = f"""
BEGIN;
PRAGMA application_id = {APPLICATION_ID};
PRAGMA user_version = {VERSION};
{SCHEMA}
{uses(*TEXTS)}
COMMIT;
"""
"""A store that is half created would be no store, so it is one transaction."""
