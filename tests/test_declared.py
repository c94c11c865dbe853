"""What an agent class declares is its state; a public name that looks like state and is none is refused."""

from __future__ import annotations

import types
from functools import cached_property
from typing import Any, ClassVar

import pytest

from agentlab import Agent, Assistant, Lab, Transcript, tool
from agentlab.errors import AgentDown, InvalidSpec
from tests.conftest import wait_for

ADVICE = r"Write in the class body: {0}: {1} to make it state; {0}: ClassVar\[{1}\] if all .*; or call it _{0} if"


class Mixin:
    """No agent: its names are declared, whatever they are."""

    shared = 1


class Sets(Mixin, Agent):
    """Sets what it is asked to set."""

    count: int = 0
    limit: ClassVar[int] = 3
    note: ClassVar[str]
    LIMIT = 5
    messages: Transcript = Transcript()

    async def put(self, name: str, value: Any) -> Any:
        """Set it as any assignment does; what the name is then."""
        setattr(self, name, value)
        return getattr(self, name)

    async def stray(self) -> None:
        """Set what is no field."""
        self.other = 5  # type: ignore[attr-defined]  # on purpose

    @property
    def doubled(self) -> int:
        """Twice the count."""
        return self.count * 2

    @doubled.setter
    def doubled(self, value: int) -> None:
        self.count = value // 2


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [
        ("count", 0, "int"), ("items", [], "list"), ("name", None, r"str \| None"), ("notes", {}, "dict"),
        ("messages", Transcript(), "Transcript"), ("maxTries", 3, "int"),
    ],
)  # fmt: skip
def test_data_without_an_annotation_is_refused_where_the_class_is_defined(name, value, kind):
    """It would be silently no state; the error says how to write it."""
    with pytest.raises(InvalidSpec, match=f"Sorter.{name} has no annotation.*{ADVICE.format(name, kind)}") as refused:
        types.new_class("Sorter", (Agent,), {}, lambda body: body.update({name: value}))
    assert refused.value.value == name


@pytest.mark.parametrize("name", ["id", "path", "restart", "isolation", "draft"])
def test_a_name_that_agentlab_needs_is_refused_too(name):
    """As a field of that name is."""
    with pytest.raises(InvalidSpec, match=name):
        types.new_class("Sorter", (Agent,), {}, lambda body: body.update({name: "x"}))


def test_whatever_is_no_data_needs_no_annotation():
    """Constants, transient names, what a base class declares, functions of any kind, tools, classes."""

    class Base(Mixin, Agent):
        """Declares."""

        count: int = 0
        size: ClassVar[int] = 1
        note: ClassVar[str]

    class Fine(Base):
        """All of it is allowed."""

        LIMIT = 3
        Inner = int
        _cache: ClassVar[dict[str, int]] = {}
        _plain = {}  # without an annotation, on purpose
        count = 5
        size = 2
        note = "declared above, without a value"
        shared = 3
        trap_exit = True
        kind = staticmethod(int)
        build = classmethod(lambda cls: cls)
        maths = types

        @tool
        def search(query: str) -> str:  # noqa: N805  # a tool takes no self
            """Look it up."""
            return query

        @cached_property
        def long(self) -> int:
            """Made once a life."""
            return 5

    assert Fine.__agent_fields__["count"].default == 5
    assert set(Fine.__agent_fields__) == {"count"}


def test_an_assistants_settings_are_written_as_before():
    """``model``, ``system``, ``tools``: a base class declares them."""

    class Clerk(Assistant):
        """Settings without annotations."""

        model = "sim"
        system = "Be short."
        tools = ()
        max_tokens = 10

    assert list(Clerk.__agent_fields__) == ["messages"]


def test_an_undeclared_name_is_refused_inside_the_agent(lab: Lab) -> None:
    """Where it is set, with the same advice; the state is as it was."""
    agent = lab.start(Sets, id="s")

    with pytest.raises(
        AgentDown, match=f"InvalidState: self.other = .* no declared field.*{ADVICE.format('other', 'int')}"
    ):
        agent.call(redeliver=False).stray().result(20)
    with pytest.raises(AgentDown, match=r"Sets\.put is one of its methods"):
        agent.call(redeliver=False).put("put", 5).result(20)

    wait_for(lambda: agent.status == "running")
    assert agent.state == {"count": 0, "messages": []}


def test_what_is_declared_may_be_set(lab: Lab) -> None:
    """Fields, settings for this life, properties with a setter, transient names, a setting without a value."""
    agent = lab.start(Sets, id="s")

    for name, value in {
        "count": 1, "limit": 4, "note": "n", "LIMIT": 6, "shared": 2, "_cache": {"a": 1}, "doubled": 8,
    }.items():  # fmt: skip
        assert agent.call.put(name, value).result(60) == value

    assert agent.incarnation == 1
    assert agent.state["count"] == 4
