"""The rows of a store by name: classes, tables, statements and frames say the same columns."""

from __future__ import annotations

import re
import sqlite3
from contextlib import closing
from typing import Any, get_args, get_type_hints

import pytest

from agentlab import Lab
from agentlab.frames import tables
from agentlab.store.batch import Batch
from agentlab.store.database import Store
from agentlab.store.rows import ROWS, TABLES, FieldRow, StepRow
from agentlab.store.schema import COLUMNS, CREATE, INSERT, SUMMED, TEXTS
from tests.agents import Counter

OWN = {"id", "sum"}
"""Columns that SQLite counts, and that checksums are kept in."""

FRAMES: dict[str, tuple[dict[str, str], set[str]]] = {
    "event": (tables.EVENTS, set()),
    "message": (tables.MESSAGES, set(tables.DURATIONS)),
    "step": (tables.STEPS, set()),
    "checkpoint": (tables.CHECKPOINTS, set()),
    "restart": (tables.RESTARTS, set()),
    "dead": (tables.DEAD_LETTERS, {"number"}),
}
"""Frames by table, and the columns that they make."""


def sample(table: str) -> Any:
    """Make a row in which every value is another."""
    values: dict[str, Any] = {}
    for number, (name, hint) in enumerate(get_type_hints(ROWS[table]).items()):
        kinds = get_args(hint) or (hint,)
        values[name] = number if int in kinds else number + 0.5 if float in kinds else f"{name} {number}"
    return ROWS[table](**values)


def add(batch: Batch, row: Any) -> None:
    """Add a row by the method of its table, by name."""
    getattr(batch, f"add_{TABLES[type(row)]}")(**row._asdict())


@pytest.mark.parametrize("table", ROWS)
def test_a_row_has_the_columns_of_its_table(table):
    """In the same kinds; a column that only one of them has would be lost, or refused at the first write."""
    kinds = {int: "INTEGER", str: "TEXT", float: "REAL"}
    with closing(sqlite3.connect(":memory:")) as db:
        db.executescript(CREATE)
        info = db.execute(f"PRAGMA table_info({table})").fetchall()
    there = {name: kind for _, name, kind, *_ in info if name not in OWN - set(ROWS[table]._fields)}

    def kind_of(hint: Any) -> str:
        parts = get_args(hint) or (hint,)
        return kinds.get(parts[0], "TEXT")  # a Literal of words

    assert {name: kind_of(hint) for name, hint in get_type_hints(ROWS[table]).items()} == there
    assert COLUMNS[table] == ROWS[table]._fields


@pytest.mark.parametrize("table", [table for table in ROWS if table != "event"])
def test_a_row_says_what_its_columns_mean(table):
    """Each of them, in its order; an event's are said in ``agentlab.events``."""
    assert re.findall(r"^        (\w+): ", ROWS[table].__doc__ or "", re.MULTILINE) == list(ROWS[table]._fields)


@pytest.mark.parametrize("where", [None, "file"])
@pytest.mark.parametrize("table", ROWS)
def test_a_row_is_read_as_it_was_written(table, where, tmp_path):
    """Every value comes back under its own name, through the checksums too."""
    row = sample(table)
    assert TABLES[type(row)] == table
    store = Store(tmp_path / "run.lab" if where else None)
    batch = Batch()
    add(batch, row)

    store.commit(batch)

    assert store.select_rows(type(row)) == [row]
    store.close()


def test_large_texts_come_back_whole(tmp_path):
    """They are kept once, under their hash; who reads rows by name does not notice."""
    store = Store(tmp_path / "run.lab")
    batch = Batch()
    batch.add_field(path="/a", name="n", seq=1, value="x" * 5000)
    add(batch, sample("step")._replace(path="/a", input="y" * 5000, result="x" * 5000))

    store.commit(batch)

    assert store.select_rows(FieldRow, "WHERE path = ?", ("/a",))[0].value == "x" * 5000
    (step,) = store.select_rows(StepRow)
    assert (step.input, step.result, step.output) == ("y" * 5000, "x" * 5000, sample("step").output)
    assert store.select("SELECT count(*) FROM blob") == [(2,)]
    store.close()


@pytest.mark.parametrize("table", ROWS)
def test_a_statement_has_a_place_for_each_column(table):
    """Placeholders are counted from the columns."""
    assert INSERT[table].count("?") == len(COLUMNS[table])
    assert SUMMED[table].count("?") == len(COLUMNS[table]) + 1


def test_columns_are_named_wherever_they_are_meant():
    """What may be large is a column of its table, and so is what a frame shows and does not make."""
    assert all(column in COLUMNS[table] for table, column in TEXTS)
    for table, (spec, made) in FRAMES.items():
        assert spec.keys() - made <= set(COLUMNS[table]), table


def test_a_lab_that_is_opened_again_asks_once_for_each_state(tmp_path, monkeypatch):
    """Whether an agent may sleep, and what it comes back with, are read off one answer of the store."""
    asked: list[str] = []

    def state(self: Store, path: str, *at: int, real: Any = Store.state) -> Any:
        asked.append(path)
        return real(self, path, *at)

    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        refs = lab.start_many(Counter, 20)
        assert refs[3].call.add(5).result(60) == 5
    monkeypatch.setattr(Store, "state", state)

    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        assert len(asked) == len(set(asked)) == 20
        assert lab[refs[3].path].call.add(1).result(60) == 6
