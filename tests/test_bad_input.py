"""Bad input and bad days: an error that names the field, the value and what is allowed, and nothing started."""

from __future__ import annotations

import math
from typing import Any

import pytest

from agentlab import Agent, Backoff, Lab, Limit, Supervisor, child
from agentlab.errors import AgentDown, AlreadyStarted, InvalidSpec, InvalidState, NotRunning, StartFailed
from tests.agents import Counter, Stillborn
from tests.states import Diary, Odd


@pytest.fixture(scope="module")
def lab():
    """One lab for all tests here."""
    with Lab(nodes=1) as made:
        yield made


@pytest.fixture(autouse=True)
def nothing_started(lab):
    """After each test there is in the lab what was there before, and no event tells of more."""
    before = list(lab.agents()["path"])
    yield
    assert list(lab.agents()["path"]) == before


def refused(what: Any, *said: str) -> None:
    """Check that ``what`` raises InvalidSpec with all of ``said`` in its message."""
    with pytest.raises(InvalidSpec) as error:
        what()
    missing = [text for text in said if text not in str(error.value)]
    assert missing == [], str(error.value)
    assert isinstance(error.value, ValueError)
    assert error.value.kind


# the first row of the table: definitions and specifications


CHILD: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"restart": "always"}, ("restart", "permanent, transient, temporary", "'always'")),
    ({"restart": None}, ("restart", "None")),
    ({"shutdown": -1}, ("shutdown", ">= 0", "-1")),
    ({"shutdown": math.nan}, ("shutdown", "nan")),
    ({"shutdown": "soon"}, ("shutdown", "'brutal_kill' or 'infinity'", "'soon'")),
    ({"significant": "yes"}, ("significant", "True or False", "'yes'")),
    ({"backoff": 1.0}, ("backoff", "Backoff", "1.0")),
    ({"own_limit": (3, 5.0)}, ("own_limit", "Limit", "(3, 5.0)")),
    ({"restore": "newest"}, ("restore", "checkpoint, fresh", "'newest'")),
    ({"isolation": "thread"}, ("isolation", "node, process, kernel", "'thread'")),
    ({"max_memory": 1}, ("max_memory", "isolation='process'")),
    ({"max_memory": -1, "isolation": "process"}, ("max_memory", ">= 1", "-1")),
    ({"max_busy": 0}, ("max_busy", "> 0", "0")),
    ({"count": "many"}, ("count", "int", "'many'")),
    ({"cuont": 1}, ("cuont", "did you mean 'count'", "count")),
    ({"id": ""}, ("id", "''")),
    ({"id": "a/b"}, ("id", "'/'", "'a/b'")),
    ({"id": "a\nb"}, ("id", "control characters", "'a\\nb'")),
    ({"id": "\ud800"}, ("id", "lone surrogates")),
    ({"id": 7}, ("id", "str", "7")),
]


@pytest.mark.parametrize(("options", "said"), CHILD, ids=lambda value: str(value) if isinstance(value, dict) else "")
def test_a_child_that_cannot_be_is_refused(lab, options, said):
    """By ``child``, by ``lab.start`` and inside a supervisor, in the same words."""
    refused(lambda: child(Counter, **options), *said)
    refused(lambda: lab.start(Counter, **options), *said)
    refused(lambda: Supervisor("team", child(Counter, **options)), *said)


SUPERVISOR: list[tuple[dict[str, Any], tuple[str, ...]]] = [
    ({"strategy": "one_for_none"}, ("strategy", "one_for_one", "rest_for_one", "'one_for_none'")),
    ({"max_restarts": -1}, ("max_restarts", ">= 0", "-1")),
    ({"max_restarts": 1.5}, ("max_restarts", "int", "1.5")),
    ({"max_seconds": 0}, ("max_seconds", "> 0", "0")),
    ({"max_seconds": math.inf}, ("max_seconds", "inf")),
    ({"auto_shutdown": True}, ("auto_shutdown", "never", "True")),
    ({"max_children": -1}, ("max_children", ">= 0", "-1")),
]


@pytest.mark.parametrize(
    ("options", "said"), SUPERVISOR, ids=lambda value: str(value) if isinstance(value, dict) else ""
)
def test_a_supervisor_that_cannot_be_is_refused(options, said):
    """With the flag, what is allowed and what came."""
    refused(lambda: Supervisor("team", **options), "team", *said)


def test_two_children_with_one_id_are_refused(lab):
    """Below one supervisor, by name; below the root, as OTP does."""
    refused(lambda: Supervisor("team", child(Counter, id="a"), child(Odd, id="a")), "team", "'a'")
    first = lab.start(Counter, id="twice")

    with pytest.raises(AlreadyStarted, match="twice"):
        lab.start(Counter, id="twice")

    assert first.call.add(1).result() == 1
    first.stop()
    first._link.control("delete_child", "/", "twice")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"initial": -1}, ("initial", "-1")),
        ({"factor": 0.5}, ("factor", "0.5")),
        ({"jitter": 2}, ("jitter", "2")),
        ({"maximum": math.nan}, ("maximum", "nan")),
    ],
)
def test_a_backoff_that_cannot_be_is_refused(options, said):
    """Each number has its range."""
    refused(lambda: Backoff(**options), *said)


def test_a_limit_that_cannot_be_is_refused():
    """A count and a length of time."""
    refused(lambda: Limit(-1, 5.0), "max_restarts", "-1")
    refused(lambda: Limit(3, 0.0), "max_seconds", "0")


@pytest.mark.parametrize("what", [None, "Counter", Counter.add, object, dict, 3, Agent.__init__])
def test_only_agents_and_supervisors_can_be_started(lab, what):
    """Anything else is shown and refused."""
    refused(lambda: lab.start(what), "agent class or a Supervisor")
    refused(lambda: child(what), "agent class or a Supervisor")


def test_a_place_to_start_must_be_a_supervisor(lab):
    """``under`` something that is not there, or an agent."""
    with pytest.raises(NotRunning, match="/nobody"):
        lab.start(Counter, under="/nobody")


@pytest.mark.parametrize("nodes", [0, -1, 1.5, True, "2"])
def test_a_lab_has_at_least_one_node(nodes):
    """Before a store is made or a process started."""
    refused(lambda: Lab(nodes=nodes), "nodes must be an int >= 1", repr(nodes))


def test_a_way_to_resume_is_one_of_three(tmp_path):
    """And nothing is written."""
    refused(lambda: Lab(tmp_path / "a.lab", resume="later"), "resume", "'later'")

    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("count", [-1, True, [{"cuont": 1}], [{"count": "many"}]])
def test_many_agents_are_refused_as_one_is(lab, count):
    """A number that is none, or one bad agent among them: none is started."""
    refused(lambda: lab.start_many(Counter, count), "got" if not isinstance(count, list) else "cou")


def test_one_bad_child_keeps_its_whole_supervisor_from_starting(lab):
    """A child that does not come up takes what was started before it down again."""
    with pytest.raises(StartFailed, match=r"'team' under '/'.*b: LookupError: no such kettle\. Nothing was kept"):
        lab.start(Supervisor("team", child(Counter, id="a"), child(Stillborn, id="b")))

    assert lab.whereis("team") is None
    assert lab.whereis("/team/a") is None


def test_a_first_start_that_fails_leaves_nothing_behind(lab):
    """What ``on_start`` raised is raised here; the id is free."""
    with pytest.raises(LookupError, match="no such kettle"):
        lab.start(Stillborn, id="kettle")

    assert lab.whereis("kettle") is None


def test_an_initial_value_that_would_not_come_back_is_refused(lab):
    """What its checkpoint could not hold is found before the agent is started, not by the runtime."""
    refused(lambda: lab.start(Odd, anything={1, 2}), "Odd.anything", "would come back from its checkpoint as [1, 2]")
    refused(lambda: lab.start_many(Odd, [{}, {"anything": {1: 2}}]), "Odd.anything")
    refused(lambda: lab.start(Diary, messages="hello"), "Use append()")
    refused(lambda: lab.start(Diary, messages=5), "Diary.messages")


# the second row: a state that became invalid


def test_a_state_that_became_invalid_is_a_crash_and_the_last_checkpoint_stands():
    """Three deliveries, each with InvalidState; then the caller hears it, and the agent is as before."""
    with Lab(nodes=1) as lab:
        ref = lab.start(Odd, id="odd", n=1, own_limit=Limit(10, 60.0))
        ref.call.put("n", 2).result()

        with pytest.raises(AgentDown, match="after 3 deliveries") as down:
            ref.call.put("n", "three").result()
        lab.wait_idle()

        assert isinstance(down.value.__cause__, InvalidState)
        assert "Odd.n is int; got 'three'" in str(down.value.__cause__)
        assert ref.state["n"] == 2
        assert ref.call.put("n", 4).result() == 4
        assert (ref.status, ref.incarnation) == ("running", 4)
        assert "Odd.n is int; got 'three'" in lab.restarts()["reason"][0]


def test_a_cast_that_spoils_the_state_becomes_a_dead_letter():
    """Nobody waits for it; an event tells."""
    with Lab(nodes=1) as lab:
        ref = lab.start(Odd, own_limit=Limit(10, 60.0))

        ref.cast.put("n", None)
        lab.wait_idle()

        letters = lab.events().query("kind == 'dead_letter'")
        assert list(letters["detail"]) == ["put"]
        assert "Odd.n is int; got None" in letters["reason"].iloc[0]


def test_a_conversation_that_was_not_committed_never_was():
    """An item that JSON cannot hold kills the handler; the items before it in that message go with it."""
    with Lab(nodes=1) as lab:
        ref = lab.start(Diary, own_limit=Limit(10, 60.0))
        ref.call.say("one").result()

        with pytest.raises(AgentDown) as down:
            ref.call.say({1, 2}).result()

        assert "transcript item 2" in str(down.value.__cause__)
        assert [item["content"] for item in ref.state["messages"]] == ["Be brief.", "one"]
