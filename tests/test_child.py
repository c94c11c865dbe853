"""What a child or a supervisor must be, and how it is said when it cannot be."""

from __future__ import annotations

import math
import pickle
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab.errors import InvalidSpec, InvalidState
from agentlab.supervision.child import Backoff, Child, Limit, Supervisor, child


class Topic:
    """A field of an agent class, as this floor sees it."""

    def __init__(self, kind: type, *, required: bool = False) -> None:
        self.kind = kind
        self.required = required

    def validate(self, value: object) -> object:
        """Refuse what is not of the kind."""
        if not isinstance(value, self.kind):
            raise InvalidState(f"field must be {self.kind.__name__}; got {value!r}")
        return value


class Writer:
    """Stands for an agent class."""

    __agent_fields__: ClassVar = {"topic": Topic(str), "words": Topic(int)}


class Planner:
    """An agent class with a field that has no default."""

    __agent_fields__: ClassVar = {"goal": Topic(str, required=True)}


def refused(make: Any, *args: Any, **options: Any) -> InvalidSpec:
    """The error of something that cannot be."""
    with pytest.raises(InvalidSpec) as caught:
        make(*args, **options)
    return caught.value


def test_a_child_has_otps_defaults() -> None:
    """Permanent, five seconds, not significant; its id is the class's name in small letters."""
    made = child(Writer)

    assert (made.id, made.restart, made.shutdown, made.significant) == ("writer", "permanent", 5.0, False)
    assert (made.backoff, made.own_limit, made.restore, made.isolation) == (None, None, "checkpoint", "node")
    assert (made.type, made.fields) == ("worker", {})


def test_a_supervisor_as_a_child_waits_without_limit() -> None:
    """Its default shutdown is infinity, its id its name."""
    made = child(Supervisor("team", Writer), restart="transient")

    assert (made.id, made.type, made.shutdown, made.restart) == ("team", "supervisor", "infinity", "transient")


def test_a_supervisor_takes_children_supervisors_and_classes() -> None:
    """All become children, in order."""
    team = Supervisor("team", child(Writer, id="w1"), Supervisor("inner"), Writer)

    assert [kid.id for kid in team.children] == ["w1", "inner", "writer"]
    assert (team.strategy, team.max_restarts, team.max_seconds) == ("one_for_one", 3, 5.0)


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"restart": "always"}, "invalid_restart_type", "restart must be one of permanent, transient, temporary"),
        ({"restart": None}, "invalid_restart_type", "got None"),
        ({"shutdown": -1}, "invalid_shutdown", "seconds >= 0, 'brutal_kill' or 'infinity'; got -1"),
        ({"shutdown": math.nan}, "invalid_shutdown", "got nan"),
        ({"shutdown": math.inf}, "invalid_shutdown", "got inf"),
        ({"shutdown": True}, "invalid_shutdown", "got True"),
        ({"shutdown": "later"}, "invalid_shutdown", "got 'later'"),
        ({"significant": 1}, "invalid_significant", "significant must be True or False; got 1"),
        ({"significant": True}, "bad_combination", "a permanent child is always restarted"),
        ({"backoff": 3}, "invalid_backoff", "backoff must be a Backoff(...) or None; got 3"),
        ({"own_limit": (3, 5)}, "invalid_own_limit", "own_limit must be a Limit(...) or None"),
        ({"restore": "old"}, "invalid_restore", "restore must be one of checkpoint, fresh"),
        ({"isolation": "thread"}, "invalid_isolation", "isolation must be one of node, process, kernel"),
        ({"max_busy": 0}, "invalid_max_busy", "max_busy must be a number > 0.0; got 0"),
        ({"max_memory": 0, "isolation": "process"}, "invalid_max_memory", "max_memory must be an int >= 1; got 0"),
        ({"max_memory": 10**9}, "bad_combination", "add isolation='process'"),
        ({"id": ""}, "invalid_id", "id must be a non-empty str; got ''"),
        ({"id": 7}, "invalid_id", "got 7"),
        ({"id": "a/b"}, "invalid_id", "got 'a/b'"),
        ({"id": "a\0b"}, "invalid_id", "control characters"),
        ({"id": "a\x1bb"}, "invalid_id", "control characters"),
        ({"id": "a\ud800"}, "invalid_id", "lone surrogates"),
        (
            {"topik": "tea"},
            "invalid_field",
            "Writer has no field 'topik'; did you mean 'topic'? its fields: topic, words",
        ),
        ({"words": "many"}, "invalid_field", "must be int; got 'many'"),
    ],
)
def test_what_no_child_can_be_is_refused(options: dict[str, Any], kind: str, said: str) -> None:
    """The error has OTP's name of the fault and says field, value and what is allowed."""
    error = refused(child, Writer, **options)

    assert error.kind == kind
    assert said in str(error)
    assert str(error).startswith("child")


@pytest.mark.parametrize(
    ("flags", "kind", "said"),
    [
        ({"strategy": "none_for_one"}, "invalid_strategy", "strategy must be one of one_for_one, one_for_all"),
        ({"max_restarts": -1}, "invalid_intensity", "max_restarts must be an int >= 0; got -1"),
        ({"max_restarts": 1.5}, "invalid_intensity", "got 1.5"),
        ({"max_restarts": True}, "invalid_intensity", "got True"),
        ({"max_seconds": 0}, "invalid_period", "max_seconds must be seconds > 0; got 0"),
        ({"max_seconds": math.nan}, "invalid_period", "got nan"),
        ({"max_seconds": math.inf}, "invalid_period", "got inf"),
        ({"auto_shutdown": "sometimes"}, "invalid_auto_shutdown", "never, any_significant, all_significant"),
        ({"max_children": -1}, "invalid_max_children", "max_children must be an int >= 0; got -1"),
        ({"max_children": 0}, "invalid_max_children", "max_children is 0, yet it has 1 children"),
    ],
)
def test_what_no_supervisor_can_be_is_refused(flags: dict[str, Any], kind: str, said: str) -> None:
    """The same for its flags, before any child is looked at."""
    error = refused(Supervisor, "team", Writer, **flags)

    assert error.kind == kind
    assert said in str(error)
    assert "'team'" in str(error)


def test_the_message_says_whose_child_it_is() -> None:
    """A fault that only its supervisor can see names both."""
    kid = child(Writer, id="w1", restart="transient", significant=True)

    error = refused(Supervisor, "team", kid)

    assert error.kind == "bad_combination"
    assert error.value == (("auto_shutdown", "never"), ("significant", True))
    assert str(error).startswith("child 'w1' of 'team': significant=True means nothing")


def test_faults_are_found_in_otps_order() -> None:
    """Restart before significant before shutdown; flags before children."""
    both = Child(what=Writer, id="w", restart="always", significant="maybe", shutdown=-1)  # type: ignore[arg-type]  # wrong on purpose

    assert refused(Supervisor, "team", both).kind == "invalid_restart_type"
    assert refused(Supervisor, "team", both, max_restarts=-1).kind == "invalid_intensity"


def test_an_unknown_field_lists_the_known() -> None:
    """Also when none of them looks like it."""
    assert str(refused(child, Writer, x=1)) == "child 'writer': Writer has no field 'x'; its fields: topic, words"


def test_two_children_with_one_id_are_refused() -> None:
    """The error names the id."""
    error = refused(Supervisor, "team", child(Writer, id="w"), child(Writer, id="w"))

    assert (error.kind, error.value) == ("duplicate_child_name", "w")


def test_a_template_is_one_child() -> None:
    """simple_one_for_one takes exactly one."""
    for kids in ((), (child(Writer, id="a"), child(Writer, id="b"))):
        assert refused(Supervisor, "pool", *kids, strategy="simple_one_for_one").kind == "bad_start_spec"


def test_a_field_without_a_default_must_be_given() -> None:
    """At once, except in a template, whose instances may give it."""
    error = refused(Supervisor, "team", Planner)
    Supervisor("pool", Planner, strategy="simple_one_for_one")
    Supervisor("team", child(Planner, goal="tea"))

    assert "child 'planner' of 'team': Planner needs a value for goal" in str(error)


@pytest.mark.parametrize("what", [None, 3, "Writer", object, child(Writer)])
def test_only_agent_classes_and_supervisors_can_be_started(what: object) -> None:
    """Anything else is refused by name."""
    assert refused(child, what).kind == "invalid_start"


def test_a_supervisor_has_no_fields() -> None:
    """Fields are an agent's."""
    assert "a supervisor has no fields; got topic='tea'" in str(refused(child, Supervisor("team"), topic="tea"))


def test_specifications_are_values() -> None:
    """They cannot be changed, compare by value, and travel by pickle."""
    team = Supervisor("team", child(Writer, id="w", topic="tea", backoff=Backoff(), own_limit=Limit()))

    with pytest.raises(AttributeError):
        team.name = "other"  # type: ignore[misc]  # refused, as it should be
    with pytest.raises(AttributeError):
        team.children[0].restart = "temporary"  # type: ignore[misc]  # the same
    assert pickle.loads(pickle.dumps(team)) == team
    assert team != Supervisor("team")
    assert repr(team) == "Supervisor('team', 'w', strategy='one_for_one')"


@pytest.mark.parametrize(
    "options",
    [{"initial": -1}, {"factor": 0.5}, {"maximum": 0.01}, {"jitter": 2}, {"initial": math.nan}, {"jitter": True}],
)
def test_what_no_backoff_can_be_is_refused(options: dict[str, float]) -> None:
    """Each number names its bounds."""
    error = refused(Backoff, **options)

    assert error.kind == "invalid_backoff"
    assert str(error).startswith(f"backoff: {next(iter(options))} must be a number >= ")


def test_what_no_limit_can_be_is_refused() -> None:
    """As a supervisor's intensity and period."""
    assert refused(Limit, -1).kind == "invalid_intensity"
    assert refused(Limit, 1, 0).kind == "invalid_period"


@given(st.floats(0, 10), st.floats(1, 10), st.floats(10, 1e6), st.floats(0, 1), st.integers(1, 10**6), st.floats(0, 1))
def test_a_delay_stays_inside_its_bounds(  # noqa: PLR0917  # one for each number of a back-off
    initial: float, factor: float, maximum: float, jitter: float, attempt: int, random: float
) -> None:
    """Never negative, never beyond the longest wait, and off by no more than the jitter."""
    backoff = Backoff(initial, factor, maximum, jitter)

    delay = backoff.delay(attempt, random)

    middle = Backoff(initial, factor, maximum, 0.0).delay(attempt, 0.5)
    assert 0.0 <= delay <= maximum
    assert middle * (1 - jitter) - 1e-9 <= delay <= middle * (1 + jitter) + 1e-9
