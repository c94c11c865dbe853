"""Agent classes: what a class body may say, and what is refused when it is defined."""

from __future__ import annotations

import copy
import dataclasses
import enum
import json
import pickle
from collections import deque
from typing import Annotated, Any, ClassVar

import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Transcript
from agentlab.agent.base import Field, known_class
from agentlab.errors import AgentDown, InvalidSpec, InvalidState, MessageTooLarge
from agentlab.lab import Lab
from tests.states import Both, Color, Diary, Everything, Friend, Gate, Model, Odd, Printer

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda kids: st.lists(kids, max_size=3) | st.dictionaries(st.text(), kids, max_size=3),
    max_leaves=10,
)


@pytest.fixture(scope="module")
def lab():
    """One lab for all tests here, each of which starts agents of its own, and one node, also if that stalls."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:
        yield made


def agent_class(**body: Any) -> type[Agent]:
    """Define an agent class ``A`` in a class statement's way."""
    return type("A", (Agent,), {"__module__": __name__, **body})


def with_field(annotation: Any, *default: Any) -> type[Agent]:
    """Define an agent class with one field ``x``."""
    return agent_class(__annotations__={"x": annotation}, **({"x": default[0]} if default else {}))


# fields


def test_fields_and_defaults_are_those_of_the_class_body():
    """Annotated public names are state; ClassVars, private names and constants are not."""

    class A(Agent):
        n: int = 3
        needed: str
        kind: ClassVar[str] = "x"
        bare: ClassVar = 1
        _private: int = 0
        SETTING = "sim"

    assert list(A.__agent_fields__) == ["n", "needed"]
    assert A.__agent_fields__["n"].default == 3
    assert A.__agent_fields__["needed"].required
    assert A.__agent_messages__ == frozenset()


def test_every_type_that_pydantic_keeps_comes_back_as_it_was(lab):
    """After a crash the new incarnation holds equal values of the same types, in a node and in JSON."""
    ref = lab.start(Everything)
    before = ref.call.look().result()

    ref.crash()
    lab.wait_idle()
    after = ref.call.look().result()

    assert {name: type(value) for name, value in after.items()} == {n: type(v) for n, v in before.items()}
    assert repr(after.pop("floats")) == repr(before.pop("floats")) == "[nan, inf, -0.0]"
    assert after == before
    assert after["text"] == "\ud800 \x00 <script> \x1b[31m"


def test_initial_values_of_every_type_travel_to_the_agent(lab):
    """What ``lab.start`` is given is what the first incarnation holds."""
    ref = lab.start(Everything, id="given", color=Color.RED, by_number={5: Color.BLUE}, raw=b"\x80", maybe=3)

    seen = ref.call.look().result()

    assert (seen["color"], seen["by_number"], seen["raw"], seen["maybe"]) == (Color.RED, {5: Color.BLUE}, b"\x80", 3)


def test_a_mutable_default_is_copied_for_each_agent_and_from_the_class():
    """Neither another agent nor whoever changes the list in the class body shares it."""
    mine = [1]

    cls = with_field(list[int], mine)
    mine.append(2)
    first = cls.__agent_fields__["x"].fresh()
    first.append(3)

    assert cls.__agent_fields__["x"].fresh() == [1]


def test_a_default_becomes_what_would_come_back():
    """``float = 0`` is 0.0 from the first incarnation on."""
    assert repr(with_field(float, 0).__agent_fields__["x"].fresh()) == "0.0"


@dataclasses.dataclass
class Pair:
    """Cannot be the key of a JSON object."""

    x: int = 0


class Numbered(enum.Enum):
    """Values that JSON keys turn into text."""

    ONE = 1


@pytest.mark.parametrize(
    ("annotation", "why"),
    [
        (range, "range cannot be checkpointed"),
        (type, "type cannot be checkpointed"),
        (Exception, "Exception cannot be checkpointed"),
        (dict[tuple[int, int], int], r"tuple\[int, int\] comes back otherwise"),
        (dict[Numbered, int], "Numbered comes back otherwise"),
        (dict[str | None, int], "NoneType comes back otherwise"),
        (list[dict[Pair, int]], "Pair comes back otherwise"),
        (Transcript | None, "Transcript stands alone"),
        (pydantic.SecretStr, "belongs into the environment"),
    ],
)
def test_a_field_type_that_json_cannot_hold_is_refused(annotation, why):
    """When the class is defined, with the field's name, the type and the way out."""
    with pytest.raises(InvalidSpec, match=why) as refused:
        with_field(annotation)

    assert str(refused.value).startswith("A.x")
    assert refused.value.kind == "invalid_field"


@pytest.mark.parametrize(
    ("annotation", "default", "why"),
    [
        (int, "1", "got '1'"),
        (int, True, "got True"),
        (int, None, "got None"),
        (list[int], (1,), r"got \(1,\)"),
        (Annotated[int, pydantic.Field(ge=0)], -1, "greater than or equal to 0"),
        (int, pydantic.Field(default=1), "a default is a plain value"),
        (list[int], dataclasses.field(default_factory=list), "a default is a plain value"),
        (str | bytes, b"a", "would come back from its checkpoint as"),
        (deque[int], deque([1], maxlen=3), "would come back from its checkpoint as"),
        (Any, object(), "Unable to serialize unknown type.*underscore in front: _x"),
        (Any, (1, 2), "would come back from its checkpoint as"),
        (dict, {1: 2}, "would come back from its checkpoint as"),
    ],
)
def test_a_default_that_does_not_fit_or_not_come_back_is_refused(annotation, default, why):
    """The error names the field, the type, the value and the reason."""
    with pytest.raises(InvalidSpec, match=why) as refused:
        with_field(annotation, default)

    assert str(refused.value).startswith("A.x")
    assert refused.value.kind == "invalid_default"


@pytest.mark.parametrize(
    "name", ["id", "under", "restart", "backoff", "max_busy", "path", "step", "stop", "lab", "on_start"]
)
def test_a_field_cannot_have_a_name_that_is_taken(name):
    """Names of the base class, its hooks and the start options are refused, and said."""
    with pytest.raises(InvalidSpec, match=f"A.{name}: '{name}' cannot be the name of a field") as refused:
        agent_class(__annotations__={name: int}, **{name: 1})

    assert refused.value.kind == "reserved_name"


@pytest.mark.parametrize("name", ["id", "emit", "stop", "step", "under", "monitor", "every", "now"])
def test_a_message_cannot_have_a_name_that_is_taken(name):
    """Also names of what the base class will do one day."""
    with pytest.raises(InvalidSpec, match="cannot be the name of a message"):
        agent_class(**{name: lambda self: None})


def test_an_annotation_that_cannot_be_resolved_is_refused():
    """``from __future__ import annotations`` leaves text; an unknown name in it is named."""
    with pytest.raises(InvalidSpec, match=r"A.x: the annotation 'Nowhere' cannot be resolved"):
        with_field("Nowhere", 1)


def test_annotations_are_looked_up_where_the_class_stands():
    """Types of the function around it and of its own body count, and a private name's type does not."""

    class Local(pydantic.BaseModel):
        n: int = 0

    class A(Agent):
        class Mode(enum.Enum):
            FAST = "fast"

        mode: Mode = Mode.FAST
        local: Local = Local()
        _later: Nowhere = None  # noqa: F821  # the point of it

    assert A.__agent_fields__["mode"].annotation is A.Mode
    assert A.__agent_fields__["local"].annotation is Local


# messages and hooks


def test_public_methods_are_messages():
    """Plain and async functions; not hooks, private names, properties, static or class methods."""

    class A(Agent):
        async def ask(self): ...
        def tell(self): ...
        def _own(self): ...
        async def on_start(self): ...
        @property
        def shown(self): ...
        @staticmethod
        def helper(): ...
        @classmethod
        def make(cls): ...

    assert A.__agent_messages__ == {"ask", "tell"}


def test_an_agent_class_cannot_define_init():
    """It is built from its fields; the error says which hook to use."""
    with pytest.raises(InvalidSpec, match=r"A.__init__: an agent is built from its fields. Use async def on_start"):
        agent_class(__init__=lambda self: None)


def test_an_agent_is_started_and_not_called():
    """``Counter()`` is a mistake that says what to do."""
    with pytest.raises(TypeError, match=r"Diary is not called but started: lab.start\(Diary, ...\)"):
        Diary()


def test_a_message_that_yields_is_refused():
    """Its answer could not travel, so the class is refused, not the call."""

    def items(self):
        yield 1

    async def stream(self):
        yield 1

    for function in (items, stream):
        with pytest.raises(InvalidSpec, match="cannot yield"):
            agent_class(work=function)


@pytest.mark.parametrize(
    ("name", "hook"),
    [
        ("on_start", lambda self, more: None),
        ("on_stop", lambda self: None),
        ("on_exit", lambda self, ref: None),
        ("on_down", lambda self: None),
        ("migrate", lambda self, state: state),
    ],
)
def test_a_hook_that_could_not_be_called_is_refused(name, hook):
    """A wrong hook is found when the class is defined, not when the agent stops at night."""
    with pytest.raises(InvalidSpec, match=f"A.{name}: "):
        agent_class(**{name: hook})


def test_a_message_without_self_is_refused():
    """It could not be called."""
    with pytest.raises(InvalidSpec, match="takes self"):
        agent_class(work=lambda: None)


def test_a_name_is_a_field_or_a_message():
    """A subclass cannot turn one into the other."""
    base = with_field(int, 1)

    with pytest.raises(InvalidSpec, match=r"A.x is a field and a message at once"):
        type("A", (base,), {"__module__": __name__, "x": lambda self: None})


# inheritance


def test_a_class_has_the_fields_and_messages_of_all_its_bases(lab):
    """As Python looks names up; plain mixins count, and a bare assignment is another default."""
    ref = lab.start(Both)

    ref.call.count().result()

    assert Both.__agent_messages__ == {"count"}
    assert ref.state == {"tally": 1, "a": 1, "shared": "left", "b": 3}


def test_another_default_must_fit_the_inherited_type():
    """``b = "three"`` in a subclass is refused as it would be in the base."""
    base = with_field(int, 1)

    with pytest.raises(InvalidSpec, match=r"A.x is int; got 'three'"):
        type("A", (base,), {"__module__": __name__, "x": "three"})


def test_a_base_that_reads_classes_itself_does_not_hide_the_scope():
    """Annotations are resolved where the class stands, whatever ``__init_subclass__`` is between."""

    class Local(pydantic.BaseModel):
        pass

    class Registered(Agent):
        def __init_subclass__(cls, **kwargs):
            super().__init_subclass__(**kwargs)

    class A(Registered):
        local: Local = Local()

    assert A.__agent_fields__["local"].annotation is Local


# transcripts


@given(st.lists(JSON, max_size=5))
def test_a_transcript_comes_back_from_json(items):
    """Whatever JSON holds, in order, through pydantic and piece by piece."""
    field = Field("A", "x", Transcript, Transcript())

    kept = Transcript(items)

    assert list(field.load(field.dump(kept))) == items
    assert field.load(f"[{','.join(kept.dump())}]") == kept
    assert [json.loads(text) for text in kept.dump(1)] == items[1:]


def test_a_transcript_shares_nothing():
    """What goes in and what comes out are copies."""
    item = {"content": ["a"]}
    kept = Transcript([item])

    item["content"].append("b")
    kept[0]["content"].append("c")
    next(iter(kept))["content"].append("d")
    kept[:][0]["content"].append("e")

    assert list(kept) == [{"content": ["a"]}]


@pytest.mark.parametrize(
    ("item", "why"),
    [
        ({1, 2}, "not JSON serializable"),
        ({1: "a", "1": "b"}, "key 1 is no text"),
        ([[object()]], "not JSON serializable"),
    ],
)
def test_what_json_cannot_hold_is_no_item(item, why):
    """The error counts the items, and the transcript stays as it was."""
    kept = Transcript(["a"])

    with pytest.raises(InvalidState, match=f"transcript item 1: .*{why}"):
        kept.append(item)

    assert list(kept) == ["a"]


def test_an_endless_item_is_refused():
    """A list within itself, or nested beyond reason, is no JSON."""
    knot: list[Any] = []
    knot.append(knot)

    with pytest.raises(InvalidState, match="transcript item 0"):
        Transcript([knot])


@pytest.mark.parametrize("items", ["hello", b"hello", {"role": "user"}])
def test_one_text_is_not_a_list_of_items(items):
    """``Transcript("hello")`` would be five items."""
    with pytest.raises(InvalidState, match=r"Use append\(\)"):
        Transcript(items)


def test_a_transcript_grows_and_survives(lab):
    """What was committed is there after a crash, once; what was not is not; undeclared attributes are gone."""
    ref = lab.start(Diary)
    ref.call.say("one").result()
    with pytest.raises(AgentDown):
        ref.call(redeliver=False).say_and_crash("two").result()
    lab.wait_idle()

    noted = ref.call.noted().result()
    ref.call.say("three").result()

    assert noted is None
    assert [m["content"] for m in ref.state["messages"]] == ["Be brief.", "one", "three"]


def test_a_transcript_cannot_be_replaced_or_deleted(lab):
    """It would be lost with the next crash; the error says what to do instead."""
    ref = lab.start(Diary, id="replaced")

    with pytest.raises(AgentDown) as replaced:
        ref.call(redeliver=False).start_over().result()
    with pytest.raises(AgentDown) as torn:
        ref.call(redeliver=False).tear_up().result()

    assert "only grows" in str(replaced.value.__cause__)
    assert "cannot be deleted" in str(torn.value.__cause__)


# states that became invalid


@pytest.mark.parametrize(
    ("field", "value", "why"),
    [
        ("n", "many", "Odd.n is int; got 'many'"),
        ("n", 1.5, "Odd.n is int; got 1.5"),
        ("n", True, "Odd.n is int; got True"),
        pytest.param("n", 10**5000, "Odd.n is int; got a int whose repr raised ValueError", id="huge"),
        ("items", [1, "2"], r"Odd.items is list\[int\]; got \[1, '2'\]"),
        ("share", 1.5, "less than or equal to 1"),
        ("anything", {1, 2}, "would come back from its checkpoint as"),
        ("anything", {"a": (1, 2)}, "would come back from its checkpoint as"),
        ("anything", {1: 2}, "would come back from its checkpoint as"),
        ("anything", Color, "Odd.anything is Any; got <enum 'Color'>"),
    ],
)
def test_a_state_that_became_invalid_is_a_crash(lab, field, value, why):
    """AgentDown with InvalidState as its cause, naming field and value; the last checkpoint stands."""
    ref = lab.start(Odd, n=7, own_limit=None)

    with pytest.raises(AgentDown) as down:
        ref.call(redeliver=False).put(field, value).result()

    assert isinstance(down.value.__cause__, InvalidState)
    with pytest.raises(InvalidState, match=why):
        raise down.value.__cause__
    assert ref.state["n"] == 7
    assert ref.state["items"] == []


def test_a_wrong_value_inside_a_model_is_found_before_it_is_stored(lab):
    """Pydantic does not look into a model again; a checkpoint that could not be read back is no checkpoint."""
    ref = lab.start(Odd)

    with pytest.raises(AgentDown) as spoiled:
        ref.call(redeliver=False).spoil().result()
    with pytest.raises(AgentDown) as lost:
        ref.call(redeliver=False).lose().result()

    assert "Odd.model is Model" in str(spoiled.value.__cause__)
    assert "Odd.n was deleted" in str(lost.value.__cause__)
    assert ref.state["model"] == {"x": 0, "below": None}


def test_ten_megabytes_of_text_are_a_state(lab):
    """Stored whole, and whole again after a crash."""
    ref = lab.start(Odd)
    ref.call.grow(10_000_000).result()

    ref.crash()
    lab.wait_idle()

    assert ref.call.length().result() == 10_000_000
    assert len(ref.state["shouted"]) == 10_000_000


def test_a_field_that_is_too_large_is_refused_with_its_size():
    """Nothing of it is committed; the error says how large it is and how large it may be."""
    field = Field("A", "x", str, "")

    with pytest.raises(MessageTooLarge, match=r"A.x takes 70,000,002 bytes; a field holds up to 67,108,864"):
        field.dump("x" * 70_000_000)


def test_a_key_from_the_environment_never_reaches_a_state(monkeypatch):
    """A field that holds it is refused without showing it; a transcript keeps stars in its place."""
    secret = "sk-test-0123456789abcdef"
    monkeypatch.setenv("SOME_PROVIDER_API_KEY", secret)
    field = Field("A", "x", Any, None)

    with pytest.raises(InvalidState, match=r"holds the value of .SOME_PROVIDER_API_KEY") as refused:
        field.dump({"header": f"Bearer {secret}"})
    kept = Transcript([{"content": f"the key is {secret}"}])

    assert secret not in str(refused.value)
    assert list(kept) == [{"content": "the key is ***"}]


def test_a_repr_that_fails_does_not_hide_the_error():
    """The value is named by its class."""

    class Shy:
        def __repr__(self):
            raise RuntimeError("no")

    with pytest.raises(InvalidState, match=r"A.x is int; got a Shy whose repr raised RuntimeError"):
        Field("A", "x", int, 0).validate(Shy())


def test_a_field_travels():
    """Its type and default, not its adapter; a default of None is not a missing one."""
    for field in (Field("A", "x", int | None, None), Everything.__agent_fields__["model"]):
        field.check()

        back = pickle.loads(pickle.dumps(field))

        assert (back.name, back.annotation, back.default, back.required) == (
            field.name, field.annotation, field.default, False,
        )  # fmt: skip
        assert back.load(back.dump(back.default)) == field.default


# refs in a state


def test_a_ref_can_be_kept_in_a_state(lab):
    """It works again after a crash; the state shows where it leads."""
    from tests.agents import Counter

    counter = lab.start(Counter, id="kept")
    friend = lab.start(Friend)
    friend.call.meet(counter).result()

    friend.crash()
    lab.wait_idle()

    assert friend.call.ask().result() == 1
    assert friend.state["other"] == {"path": "/kept", "agent": "Counter"}
    assert friend.call.show().result() == "Ref('/kept', Counter)"


def test_calls_inside_an_agent_are_sent_when_they_are_made(lab):
    """Two calls that need each other both get their answers."""
    first, second, friend = lab.start(Gate), lab.start(Gate), lab.start(Friend, id="between")

    assert friend.call.ask_both_at_once(first, second).result(20) == [1, 2]


# what agents print


def test_whatever_an_agent_prints_lands_in_its_log(lab, capfd):
    """Both streams, threads and the logging module; nothing reaches the terminal or a cell."""
    ref = lab.start(Printer)

    ref.call.everywhere().result()
    lab.wait_idle()

    assert sorted(ref.log().splitlines()) == sorted(["out", "err", "thread", "pieces", "hot", "a", "b"])
    assert capfd.readouterr() == ("", "")


# classes named by a store


def test_a_class_is_looked_up_without_running_code():
    """Only what is defined counts: a module that imports on demand imports nothing."""
    import agentlab

    vars(agentlab).pop("Assistant", None)

    assert known_class("tests.states", "Diary") is Diary
    assert known_class("tests.states", "Model") is None
    assert known_class("agentlab", "Assistant") is None
    assert "Assistant" not in vars(agentlab)
    assert known_class("os", "system") is None
    assert known_class("no.such.module", "A") is None


def test_models_compare_and_copy(lab):
    """A model in a state is the agent's own: what a caller does with its copy changes nothing."""
    ref = lab.start(Odd)
    mine = Model(x=5)

    ref.call.put("model", mine).result()
    copy.deepcopy(mine).x = 6
    mine.x = 7

    assert ref.state["model"]["x"] == 5
