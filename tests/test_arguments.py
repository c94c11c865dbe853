"""Arguments are checked against the annotations where the call is made; nobody dies of a wrong one."""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack

import pytest
from pydantic import AfterValidator, BaseModel, Field
from typing_extensions import TypedDict  # pydantic asks for this one before Python 3.12

from agentlab import Agent, Lab, Ref
from agentlab.agent.arguments import MOST_FIT, Signature
from agentlab.errors import AgentDown, AgentLabError, InvalidArgument
from tests.conftest import wait_for


class Colour(enum.Enum):
    """One of two."""

    RED = "red"


@dataclass
class Spot:
    """A dataclass."""

    x: int


class Place(BaseModel):
    """A model."""

    city: str


class Size(TypedDict):
    """A typed dict."""

    width: int


class Oven:
    """A class that pydantic knows nothing of."""


class Counter(Agent):
    """Counts, and is told what to count."""

    count: int = 0
    log: list[str] = []

    async def add(self, n: int = 1) -> int:
        """Add and say the sum."""
        self.count += n
        return self.count

    async def note(self, text: str) -> None:
        """Note a text."""
        self.log.append(text)

    async def later(self, what: Any) -> str:
        """Send itself something by a timer."""
        try:
            self.after(0).note(what)
        except InvalidArgument as error:
            return str(error)
        return "set"

    async def listen(self, topic: str) -> None:
        """Subscribe."""
        await self.subscribe(topic)


class Boss(Agent):
    """Calls others, wrongly on demand."""

    async def ask(self, ref: Ref, what: Any) -> str:
        """Call, and say what came of it."""
        try:
            return str(await ref.call.add(what))
        except InvalidArgument as error:
            return str(error)

    async def tell(self, ref: Ref, what: Any) -> None:
        """Cast."""
        ref.cast.note(what)

    async def shout(self, topic: str, what: Any) -> None:
        """Publish."""
        await self.lab.publish(topic, "note", what)


def takes(annotation: Any, default: Any = ...) -> Signature:
    """A message with one parameter, ``value``, of this type."""

    def message(self: Any, value: Any) -> None:
        """Take it."""

    message.__annotations__["value"] = annotation
    message.__defaults__ = () if default is ... else (default,)
    return Signature(message)


FITS: list[tuple[Any, Any]] = [
    (int, 5), (float, 5), (float, 5.0), (str, ""), (bytes, b""), (bool, True), (type(None), None), (Any, Oven()),
    (object, Oven()), (int | None, None), (list[int], [1]), (dict[str, list[int]], {"a": [1]}), (Sequence[str], ("a",)),
    (Literal["a", "b"], "b"), (Annotated[int, Field(ge=0)], 0), (date, date(2026, 1, 1)),
    (Decimal, Decimal(1)),
    (Colour, Colour.RED), (Spot, Spot(1)), (Place, Place(city="Bern")), (list[Spot], [Spot(1)]), (Oven, Oven()),
    (list[Oven], [Oven()]), (Path, Path()), (type[Oven], Oven), ("int", 5),
    ("no_such_type", 5), (tuple[int, ...], (1,)),
    (Size, {"width": 5}), (5, "what is annotated with no type"),
    (list[Place], [Place(city="Bern")]), (Iterable[int], [1, 2]), (Callable[[], int], int),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value"), FITS)
def test_what_fits_passes(annotation, value):
    """Whatever the annotation allows; one that names nothing is not checked."""
    signature = takes(annotation)

    signature.check((value,), {})
    signature.check((), {"value": value})


MISFITS: list[tuple[Any, Any, str]] = [
    (int, "five", r"value must be int; got 'five' \(str\): Input should be a valid integer"),
    (int, "5", r"got '5' \(str\)"), (int, True, r"got True \(bool\)"), (int, 5.0, "5.0"), (str, 5, "must be str"),
    (int | None, "x", r"value must be int | None; got 'x'"), (list[int], [1, "two"], r"where \[1\] is 'two'"),
    (dict[str, list[int]], {"a": ["b"]}, r"where \['a'\]\[0\] is 'b'"), (Literal["a", "b"], "c", "'a' or 'b'"),
    (Annotated[int, Field(ge=0)], -1, "greater than or equal to 0"), (Colour, "red", "must be Colour"),
    (Spot, {"x": 1}, "must be Spot"), (Place, {"city": "Bern"}, "must be Place"),
    (list[Place], [{"city": "B"}], "Place"), (list[Place], [5], r", where \[0\] is 5"),
    (Size, {"width": "w"}, "Size"), (list[Spot], [1], "where"),
    (Oven, 5, "must be Oven; got 5"), (Path, "a", "must be Path"), (Sequence[str], "abc", "Sequence"),
    ("int", "five", "value must be int"),
    (Ref, "/a", "must be Ref"), (Ref, {"path": "/a", "agent": "A"}, "must be Ref"),
    (list[int], ["y" * 10_000], r"\.\.\. \(list\)"),
]  # fmt: skip


@pytest.mark.parametrize(("annotation", "value", "says"), MISFITS)
def test_what_does_not_fit_is_refused_by_name(annotation, value, says):
    """Which argument, what it is, what is allowed; nothing is converted, and long values are cut."""
    signature = takes(annotation)

    for args, kwargs in (((value,), {}), ((), {"value": value})):
        with pytest.raises(InvalidArgument, match=says) as refused:
            signature.check(args, kwargs)
        assert refused.value.argument == "value"
        assert isinstance(refused.value, (TypeError, AgentLabError))
        assert len(str(refused.value)) < 600


def test_a_parameters_own_default_is_allowed():
    """``n: int = None`` is common, and None is what leaving it out gives."""
    takes(int, None).check((None,), {})
    takes(Path, "here").check(("here!"[:4],), {})  # equal, but another object, as one that has travelled

    with pytest.raises(InvalidArgument):
        takes(int, None).check(("x",), {})


@pytest.mark.parametrize("error", [TypeError("not that"), KeyError("x"), ZeroDivisionError()])
def test_a_check_of_the_annotation_that_raises_anything_refuses_the_argument(error: Exception) -> None:
    """Pydantic lets through what is no ValueError; it must not become the crash of the agent that is called."""

    def fail(value: str) -> str:
        raise error

    with pytest.raises(InvalidArgument, match=f"value must be .* its check raised {type(error).__name__}"):
        takes(Annotated[str, AfterValidator(fail)]).check(("x",), {})


def test_more_arguments_by_place_and_by_name_are_checked_too():
    """``*args: int`` and ``**kwargs: str`` mean each of them."""

    def message(self: Any, first: str, *numbers: int, key: bool = False, **texts: str) -> None:
        """Take them."""

    signature = Signature(message)

    signature.check(("a", 1, 2), {"key": True, "b": "c"})
    for args, kwargs, name in (
        (("a", 1, "2"), {}, "numbers"),
        (("a",), {"key": 1}, "key"),
        (("a",), {"b": 1}, "texts"),
    ):
        with pytest.raises(InvalidArgument, match=f"{name} must be"):
            signature.check(args, kwargs)


def test_what_has_passed_once_says_nothing_of_other_values():
    """Only of classes whose every value fits are others let through, and under the same name."""
    several = takes(list[int])
    several.check(([1],), {})
    with pytest.raises(InvalidArgument):
        several.check((["x"],), {})

    def message(self: Any, a: int = 0, b: str = "") -> None:
        """Take them."""

    named = Signature(message)
    named.check((), {"a": 1})
    with pytest.raises(InvalidArgument, match="b must be str"):
        named.check((), {"b": 1})


def test_numbers_and_texts_that_have_passed_need_no_other_look():
    """That is the way of nearly all calls; how many kinds of calls are remembered has a limit."""

    def message(self: Any, n: int, **texts: str) -> None:
        """Take them."""

    signature = Signature(message)
    signature.check((5,), {})
    assert signature._fit == {(int,)}

    for number in range(2 * MOST_FIT):
        signature.check((5,), {f"text_{number}": "t"})
    assert len(signature._fit) == MOST_FIT


def test_each_argument_is_checked_whatever_the_ones_before_it_were():
    """Also after one whose class says nothing of other values."""

    def message(self: Any, a: list[int], b: int) -> None:
        """Take them."""

    with pytest.raises(InvalidArgument, match="b must be int"):
        Signature(message).check(([], "x"), {})


def test_a_call_without_what_is_required_is_refused():
    """A keyword too; and a method that takes anything by name is not said to lack a name."""

    def keyword(self: Any, *, key: int) -> None:
        """Take it."""

    def anything(self: Any, a: int, **others: Any) -> None:
        """Take them."""

    with pytest.raises(InvalidArgument, match=r"missing a required.* 'key'"):
        Signature(keyword).check((), {})
    with pytest.raises(InvalidArgument, match="missing a required argument: 'a'") as refused:
        Signature(anything).check((), {"b": 1})
    assert "It has no" not in str(refused.value)


def test_a_method_without_self_of_its_own_and_types_of_a_module_that_is_gone():
    """``*args`` has the agent among them; names are looked up where the function was written."""

    def anything(*args: Any) -> None:
        """Take them."""

    def typed(self: Any, oven: Oven, **sizes: Unpack[Size]) -> None:
        """Take them."""

    Signature(anything).check((1, "x"), {})
    typed.__module__ = "a module that is gone"
    Signature(typed).check((Oven(),), {"width": 5})
    with pytest.raises(InvalidArgument, match="oven must be Oven"):
        Signature(typed).check((5,), {})


def test_a_wrong_argument_in_a_cell_costs_the_agent_nothing(lab: Lab) -> None:
    """Calls, casts, many at once and what is published: nothing is sent."""
    counter = lab.start(Counter, id="c")
    counter.call.listen("news").result(60)

    for send in (
        lambda: counter.call.add("five"),  # type: ignore[arg-type]  # on purpose
        lambda: counter.cast.note(5),
        lambda: lab.start_many(Counter, 2).call.add("five"),
        lambda: lab.publish("news", "note", 5),
    ):
        with pytest.raises(InvalidArgument, match=r"^/[^ ]+\.(add|note)\(.* must be (int|str); got"):
            send()

    lab.wait_idle()
    assert (counter.incarnation, counter.info()["handled"], counter.state["count"]) == (1, 1, 0)
    assert lab.dead_letters().empty


def test_a_misspelt_argument_is_told_what_it_may_have_been(lab: Lab) -> None:
    """Python alone would say that another one is missing."""
    counter = lab.start(Counter, id="c")

    with pytest.raises(InvalidArgument, match=r"missing .* 'text'\. It has no 'txt'; did you mean 'text'\? Nothing"):
        counter.call.note(txt="tea")  # type: ignore[call-arg]  # on purpose


def test_a_wrong_argument_of_an_agent_is_its_own_error_wherever_the_other_lives(lab: Lab) -> None:
    """On the same node and on another: the caller may go on, the callee has seen nothing."""
    boss = lab.start(Boss, id="boss")
    refs = [lab.start(Counter, id=f"c{n}") for n in range(4)]

    answers = [boss.call.ask(ref, "five").result(60) for ref in refs]

    assert {ref.node == boss.node for ref in refs} == {True, False}
    for ref, answer in zip(refs, answers, strict=True):
        assert f"{ref.path}.add(n: 'int' = 1): n must be int; got 'five' (str)" in answer
        assert boss.call.ask(ref, 2).result(60) == "2"
        assert ref.incarnation == boss.incarnation == 1


def test_a_wrong_cast_of_an_agent_does_not_reach_the_other(lab: Lab) -> None:
    """It is the sender's crash where the class is known on its node, else a dead letter that says why."""
    boss = lab.start(Boss, id="boss")
    refs = [lab.start(Counter, id=f"c{n}") for n in range(4)]

    for ref in refs:
        if ref.node == boss.node:
            with pytest.raises(AgentDown, match="text must be str"):
                boss.call(redeliver=False).tell(ref, 5).result(20)
            wait_for(lambda: boss.status == "running")
        else:
            boss.call.tell(ref, 5).result(60)
            lab.wait_idle()
            assert "text must be str; got 5 (int)" in lab.dead_letters()["reason"].iloc[-1]

    lab.wait_idle()
    assert [(ref.incarnation, ref.state["log"]) for ref in refs] == [(1, [])] * 4


def test_what_an_agent_publishes_is_refused_by_each_that_does_not_take_it(lab: Lab) -> None:
    """A dead letter; nobody dies."""
    boss, counter = lab.start(Boss, id="boss"), lab.start(Counter, id="c")
    counter.call.listen("news").result(60)

    boss.call.shout("news", 5).result(60)
    boss.call.shout("news", "tea").result(60)

    lab.wait_idle()
    assert len(lab.dead_letters()) == 1
    assert (counter.incarnation, counter.state["log"]) == (1, ["tea"])


def test_a_timer_checks_what_it_will_send(lab: Lab) -> None:
    """When it is set."""
    counter = lab.start(Counter, id="c")

    assert "text must be str; got 5 (int)" in counter.call.later(5).result(60)
    assert counter.call.later("tea").result(60) == "set"
    wait_for(lambda: counter.state["log"] == ["tea"])


def test_what_is_refused_is_a_failed_message_in_the_frames(lab: Lab) -> None:
    """With its error; it changed nothing, and what waits behind it is handled."""
    boss = lab.start(Boss, id="boss")
    ref = next(r for r in (lab.start(Counter, id=f"c{n}") for n in range(4)) if r.node != boss.node)

    boss.call.ask(ref, "five").result(60)
    assert boss.call.ask(ref, 1).result(60) == "1"

    lab.wait_idle()
    rows = lab.messages().query("path == @ref.path")
    assert list(rows["outcome"]) == ["failed", "ok"]
    assert "n must be int" in rows["error"].iloc[0]
    assert len(lab.checkpoints().query("path == @ref.path and seq > 1")) == 1
