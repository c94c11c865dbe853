"""DataFrames: the columns and dtypes of the contract, on a live lab and a stored one, with and without rows."""

from __future__ import annotations

import io
import json
import pickle
import sqlite3
from contextlib import closing

import numpy as np
import pandas as pd
import pytest

from agentlab import Lab, Supervisor, child, open_store
from agentlab.errors import AgentDown, StoreDamaged
from agentlab.store.batch import Batch
from agentlab.store.database import Store
from tests.agents import Counter
from tests.hostile import Dying
from tests.states import Diary, Odd

TIME, WORD = "datetime64[ns, UTC]", "category"

# Name, order and dtype as the public contract lists them.
COLUMNS = {
    "agents": "path:object status:W id:object kind:W incarnation:Int64 restarts:Int64 node:Int64 mailbox:Int64 "
    "messages:Int64 since:T tokens_in:Int64 tokens_out:Int64 cost_usd:float64",
    "events": "seq:Int64 at:T kind:W path:W incarnation:Int64 node:Int64 reason:W detail:object took_s:float64",
    "messages": "path:W seq:Int64 method:W sender:W sent_at:T started_at:T ended_at:T wait_s:float64 took_s:float64 "
    "deliveries:Int64 outcome:W error:object",
    "steps": "path:W message_seq:Int64 step:Int64 attempt:Int64 kind:W name:W started_at:T took_s:float64 outcome:W "
    "fault:W tokens_in:Int64 tokens_out:Int64 cost_usd:float64 replayed:Int64 input:object output:object",
    "checkpoints": "path:W seq:Int64 at:T incarnation:Int64 bytes:Int64",
    "restarts": "path:W at:T incarnation:Int64 reason:W fault:W supervisor:W strategy:W backoff_s:float64 "
    "downtime_s:float64 rewound:Int64",
}


def contract(frame: str) -> dict[str, str]:
    """Return the contract's columns and dtypes of a frame."""
    pairs = (column.split(":") for column in COLUMNS[frame].split())
    return {name: {"T": TIME, "W": WORD}.get(kind, kind) for name, kind in pairs}


def dtypes(frame: pd.DataFrame) -> dict[str, str]:
    """Return a frame's columns and dtypes, in order."""
    return {name: str(dtype) for name, dtype in frame.dtypes.items()}


def fill(lab: Lab) -> None:
    """Let a little of everything happen."""
    lab.start(Supervisor("team", child(Counter, id="a"), child(Counter, id="b")))
    odd = lab.start(Odd, id="odd", n=3)
    odd.call.put("items", [1, 2]).result()
    with pytest.raises(AgentDown):
        odd.call(redeliver=False).spoil().result()
    lab.wait_idle(60)
    odd.call.put("n", 5).result()
    lab["/team/a"].call.say("<b>\x1b[31m \x00 \ud800 é").result()
    dying = lab.start(Dying, id="dying")
    dying.call.step_with("tea").result()
    dying.call.step_with("unshown").result()
    lab.start(Diary, id="diary").call.say("one").result()
    lab["/diary"].call.say("two").result()
    lab.wait_idle(60)


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    """A store in which a little of everything happened."""
    return tmp_path_factory.mktemp("frames") / "run.lab"


@pytest.fixture(scope="module")
def live(path):
    """Its lab, still running."""
    with Lab(path, nodes=1) as made:
        fill(made)
        yield made


@pytest.fixture(params=["live", "stored"])
def source(request, live, path):
    """The lab that runs, and its store read by somebody else."""
    if request.param == "live":
        yield live
    else:
        with open_store(path) as stored:
            yield stored


@pytest.mark.parametrize("name", COLUMNS)
def test_a_frame_has_the_columns_of_the_contract(source, name):
    """Names, order and dtypes; times are UTC nanoseconds."""
    frame = getattr(source, name)()

    assert len(frame) > 0
    assert dtypes(frame) == contract(name)


@pytest.mark.parametrize("where", ["memory", "file"])
@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "agents"])
def test_an_empty_frame_has_them_too(tmp_path, name, where):
    """So that a chart of a lab in which nothing happened needs no special case."""
    store = Store(None if where == "memory" else tmp_path / "a.lab")
    from agentlab import frames

    frame = getattr(frames, name)(store)
    store.close()

    assert (len(frame), dtypes(frame)) == (0, contract(name))
    assert dtypes(pd.concat([frame, frame])) == contract(name)


def test_a_lab_in_which_nothing_happened_shows_itself():
    """One row of agents: the lab; restarts and steps are empty."""
    with Lab(nodes=1) as lab:
        agents = lab.agents()

        assert (list(agents["path"]), dtypes(agents)) == (["/"], contract("agents"))
        assert (len(lab.restarts()), len(lab.steps()), len(lab.checkpoints(Counter))) == (0, 0, 0)
    assert dtypes(lab.agents()) == contract("agents")


def test_the_stored_tree_is_the_live_tree(live, path):
    """The same places in the same order, with the same counts."""
    alike = ["path", "id", "kind", "incarnation", "messages"]

    with open_store(path) as stored:
        seen = stored.agents()

    pd.testing.assert_frame_equal(seen[alike], live.agents()[alike], check_categorical=False)
    assert list(seen["path"]) == ["/", "/team", "/team/a", "/team/b", "/odd", "/dying", "/diary"]
    assert seen["since"].notna().sum() >= 6


@pytest.mark.parametrize("name", [name for name in COLUMNS if name != "agents"])
def test_a_stored_lab_has_the_same_rows(live, path, name):
    """What the live lab shows is what the file holds."""
    before = getattr(live, name)()

    with open_store(path) as stored:
        seen = getattr(stored, name)()

    pd.testing.assert_frame_equal(before, seen.head(len(before)), check_categorical=False)


def test_frames_can_be_asked_for_one_agent(source):
    """By path or by ref; an agent that never was has no rows."""
    whole = source.events()
    one = source.events(path="/odd")

    assert len(one) == (whole["path"] == "/odd").sum() > 0
    assert len(source.messages(path="/nobody")) == 0
    assert dtypes(source.messages(path="/nobody")) == contract("messages")


def test_a_ref_stands_for_its_path(live):
    """Where a frame takes a path."""
    from agentlab import frames

    ref = live["/odd"]

    pd.testing.assert_frame_equal(frames.events(live._read(), path=ref), live.events(path="/odd"))
    pd.testing.assert_frame_equal(live.checkpoints(ref), live.checkpoints("/odd"))
    pd.testing.assert_frame_equal(ref.checkpoints(), live.checkpoints("/odd"))


@pytest.mark.parametrize("wrong", [5, object(), Counter, ["/odd"]])
def test_a_path_is_a_path(source, wrong):
    """Anything else is a mistake, not an empty frame."""
    with pytest.raises(TypeError, match="path must be a path like '/team/writer', or a ref; got"):
        source.events(path=wrong)


def test_events_are_numbered_and_in_order(source):
    """``seq`` grows by one, ``at`` never goes back."""
    events = source.events()

    assert list(events["seq"]) == list(range(1, len(events) + 1))
    assert events["at"].is_monotonic_increasing
    assert {"started", "crashed", "log"} <= set(events["kind"])


def test_durations_are_seconds_and_never_negative(source):
    """Waiting, handling, downtime."""
    messages, restarts = source.messages(), source.restarts()

    assert (messages["wait_s"] >= 0).all()
    assert messages["took_s"].between(0, 60).all()
    assert restarts["downtime_s"].between(0, 60).all()
    assert list(restarts["fault"]) == ["InvalidState"]
    assert list(restarts["supervisor"]) == ["/"]


def test_a_failed_message_says_why(source):
    """Its outcome and its error; the others have none."""
    messages = source.messages(path="/odd")

    assert list(messages["outcome"]) == ["ok", "failed", "ok"]
    assert messages["error"].isna().tolist() == [True, False, True]
    assert "Odd.model is Model" in messages["error"][1]


def test_steps_show_what_they_were_given_and_gave(source):
    """As text; what cannot be shown does not break the effect."""
    steps = source.steps()

    assert list(steps["name"]) == ["shout", "shout"]
    assert list(steps["output"]) == ["'TEA'", "'UNSHOWN'"]
    assert list(steps["input"]) == ["'tea', loud=True", "(its repr raised RuntimeError), loud=True"]


def test_the_state_stands_beside_its_checkpoints(source):
    """For one agent or one class: each field as it was then, numbers as numbers, each list its own."""
    frame = source.checkpoints("/odd")

    fields = ["state.n", "state.anything", "state.items", "state.share", "state.model", "state.shouted"]
    assert sorted(frame.columns[5:]) == sorted(fields)
    assert frame["state.n"].tolist() == [3] * (len(frame) - 1) + [5]
    assert [str(frame[name].dtype) for name in ("state.n", "state.share")] == ["Int64", "float64"]
    assert frame["state.items"].tolist()[-2:] == [[1, 2], [1, 2]]
    assert {name: str(frame[name].dtype) for name in contract("checkpoints")} == contract("checkpoints")


def test_a_class_stands_for_all_its_agents(live):
    """``checkpoints(Counter)`` has the fields of every counter."""
    frame = live.checkpoints(Counter)

    assert set(frame["path"]) == {"/team/a", "/team/b"}
    assert list(frame.columns[5:]) == ["state.count"]
    assert frame["state.count"].tolist() == [0] * len(frame)


def test_a_transcript_grows_from_checkpoint_to_checkpoint(source):
    """Each row has the conversation as it was then."""
    frame = source.checkpoints("/diary")

    said = [[item["content"] for item in items] for items in frame["state.messages"]]
    assert said == [["Be brief."], ["Be brief.", "one"], ["Be brief.", "one", "two"]]


def test_a_transcript_that_began_anew_leaves_its_old_items_behind():
    """``restore="fresh"`` after a crash: the checkpoints after it show the new conversation only."""
    from agentlab import frames

    store, batch = Store(), Batch()
    for seq, place, text in ((0, 0, "a"), (1, 1, "b"), (1, 2, "c"), (2, 0, "A"), (3, 1, "B")):
        batch.add("item", "/a", "log", seq, place, json.dumps(text))
    for seq in range(4):
        batch.add("checkpoint", "/a", seq, seq, 1, 3, "A")
    store.commit(batch)

    frame = frames.checkpoints(store, path="/a")

    assert frame["state.log"].tolist() == [["a"], ["a", "b", "c"], ["A"], ["A", "B"]]


def test_values_that_change_their_kind_are_kept_as_they_are():
    """Only columns of one kind become numbers; huge integers stay whole; missing ones are missing."""
    from agentlab import frames

    store, batch = Store(), Batch()
    values = {"mixed": [1, "a", None], "ints": [1, None, 3], "huge": [1, 2**70, 3], "flags": [True, None, False]}
    for seq in range(3):
        for name, column in values.items():
            batch.add("field", "/a", name, seq, json.dumps(column[seq]))
        batch.add("checkpoint", "/a", seq, seq, 1, 3, "A")
    store.commit(batch)

    frame = frames.checkpoints(store, path="/a")

    kinds = {name: str(frame[f"state.{name}"].dtype) for name in values}
    assert kinds == {"mixed": "object", "ints": "Int64", "huge": "object", "flags": "boolean"}
    assert frame["state.huge"].tolist() == values["huge"]
    assert frame["state.ints"].isna().tolist() == [False, True, False]


def test_what_is_missing_looks_the_same_in_every_column(source):
    """NA in words, texts and integers, in all frames; floats and times have NaN and NaT, as pandas has them."""
    for name in COLUMNS:
        frame = getattr(source, name)()
        for column in frame.select_dtypes(["category", "object", "Int64"]):
            assert all(value is pd.NA for value in frame[column] if pd.api.types.is_scalar(value) and pd.isna(value))
    assert "None" not in repr(source.messages()[["path", "error"]])
    assert "NaN" not in repr(source.events()[["reason", "detail", "incarnation"]])


def test_times_are_shown_in_milliseconds_and_kept_in_nanoseconds(source):
    """In text and in a notebook, as a column and as the index, after rows and columns were chosen too, or taken out."""
    events = source.events()
    sooner = events.assign(at=pd.Timestamp(1_700_000_000_123_456_789, tz="UTC"))[["at", "kind"]].head(3)

    for shown in (
        repr(sooner),
        sooner._repr_html_(),
        repr(sooner.set_index("at")),
        sooner.set_index("at")._repr_html_(),
        repr(sooner["at"]),
    ):
        assert "2023-11-14 22:13:20.123+00:00" in shown
    assert sooner["at"].iloc[0].value == 1_700_000_000_123_456_789
    assert repr(pickle.loads(pickle.dumps(sooner))) == repr(sooner)


def test_hostile_text_survives_its_way_out_of_pandas(source):
    """Markup, terminal codes, NUL and lone surrogates, through JSON, CSV and UTF-8."""
    (text,) = source.events(path="/team/a").query("kind == 'log'")["detail"]
    frame = source.events()

    assert text == "<b>\x1b[31m \x00 \\ud800 é"
    back = pd.read_json(io.StringIO(frame.to_json(orient="records", date_format="iso")), orient="records")
    assert text in set(back["detail"].dropna())
    assert "<b>\x1b[31m" in frame.to_csv().encode("utf-8").decode("utf-8")
    assert "<b>" not in frame.to_html()


def test_a_table_of_many_rows_is_the_sum_of_its_chunks():
    """Chunks with and without missing values, with words that appear late, make one column each."""
    from agentlab import frames

    store, batch = Store(), Batch()
    for n in range(2 * Store.CHUNK + 7):
        fault = f"fault {n // Store.CHUNK}" if n % 3 else None
        row = ("/a", n, 1, 1, "step", "tool", n, None if n % 2 else 0.5, "ok", fault, n if n > 600 else None)
        batch.add("step", *row, None, None, 0, None, str(n), n, "[]", None, 0, None)
    store.commit(batch)

    frame = frames.steps(store)

    assert dtypes(frame) == contract("steps")
    assert frame["message_seq"].tolist() == list(range(len(frame)))
    assert frame["tokens_in"].isna().sum() == 601
    assert frame["tokens_in"].dropna().tolist() == list(range(601, len(frame)))
    assert frame["fault"].cat.categories.tolist() == ["fault 0", "fault 1", "fault 2"]
    assert frame["fault"].isna().tolist() == [n % 3 == 0 for n in range(len(frame))]
    assert np.isnan(frame["took_s"]).tolist() == [n % 2 == 1 for n in range(len(frame))]
    assert frame["started_at"][1] - frame["started_at"][0] == pd.Timedelta(1, "ns")


@pytest.mark.parametrize(("column", "value"), [("at", "noon"), ("incarnation", "first"), ("took_s", b"long")])
def test_a_value_that_is_none_for_its_column_is_damage(tmp_path, column, value):
    """SQLite holds anything anywhere; a store from somebody else may too."""
    path = tmp_path / "a.lab"
    store = Store(path)
    batch = Batch()
    batch.add("event", 1, 1, "log", "/a", 1, 1, None, None, None)
    store.commit(batch)
    store.close()
    with closing(sqlite3.connect(path)) as db:
        db.execute(f"UPDATE event SET {column} = ?, sum = NULL", (value,))
        db.commit()

    with open_store(path) as stored, pytest.raises(StoreDamaged, match=f"the column '{column}' holds"):
        stored.events()


def test_a_key_in_a_log_line_or_a_step_reaches_no_frame(tmp_path, monkeypatch):
    """Neither the events nor the steps nor the bytes of the file hold it."""
    secret = "sk-test-0123456789abcdef"
    monkeypatch.setenv("SOME_API_KEY", secret)
    path = tmp_path / "a.lab"

    with Lab(path, nodes=1) as lab:
        lab.start(Counter, id="counter").call.say(f"the key is {secret}").result()
        lab.start(Dying, id="dying").call.step_with(secret).result()
        lab.start(Diary, id="diary").call.say(secret).result()
        with pytest.raises(AgentDown):
            lab["/counter"].call(redeliver=False).boom(secret).result()
        lab.wait_idle(60)
        text = "".join(frame.to_csv() for frame in (lab.events(), lab.steps(), lab.messages(), lab.restarts()))

    assert "the key is ***" in text
    assert secret not in text
    assert not any(secret.encode() in file.read_bytes() for file in tmp_path.iterdir())
