"""What ``model=`` may be: names, addresses, and objects of one's own, which travel with their class."""

from __future__ import annotations

from typing import Any

import pytest

from agentlab import Assistant, Budget, Lab, open_store, tool
from agentlab.errors import AgentDown, InvalidSpec, ModelFailed
from agentlab.faults import classify, fault
from agentlab.models.model import choose


class Parrot:
    """A model of somebody's own: it asks for a tool, then says what it was told."""

    name = "parrot"
    dependency = "parrots"

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix

    async def create(self, *, messages, max_tokens, system=None, tools=None, on_text=None, **options) -> dict[str, Any]:
        """Answer as the Messages API does."""
        said = messages[-1]["content"]
        block: dict[str, Any] = {"type": "text", "text": f"{self.prefix}{said if isinstance(said, str) else 'done'}"}
        if tools and isinstance(said, str):
            block = {"type": "tool_use", "id": "use_1", "name": tools[0]["name"], "input": {"text": said}}
        stop = "tool_use" if block["type"] == "tool_use" else "end_turn"
        return {"role": "assistant", "content": [block], "stop_reason": stop, "usage": {"output_tokens": 7}}


class Liar:
    """A model whose answers are none."""

    async def create(self, **request: Any) -> Any:
        """Something that is no message."""
        return {"role": "assistant", "content": "yes"}


class Vandal:
    """A model that does as it likes to what it is given."""

    async def create(self, *, messages, **request: Any) -> dict[str, Any]:
        """Answer, with the request spoilt."""
        messages[0]["content"] = "spoilt"
        messages.clear()
        return {"role": "assistant", "content": [{"type": "text", "text": "done"}], "stop_reason": "end_turn"}


class Vandalized(Assistant):
    """Talks to it."""

    model = Vandal()


@tool
def repeat(text: str) -> str:
    """Say it again."""
    return text + text


@pytest.mark.parametrize(
    ("model", "base_url", "dependency"),
    [
        ("sim", None, "sim"),
        ("sim-planner", None, "sim"),
        ("claude-haiku-4-5", None, "anthropic"),
        ("claude-haiku-4-5", "http://127.0.0.1:9", "anthropic"),
        ("some-weights", "http://user:secret@127.0.0.1:9/v1", "127.0.0.1:9"),
    ],
)
def test_a_name_says_which_breaker_its_calls_go_through(model, base_url, dependency):
    """Two servers are two dependencies, however many models they have; Claude is one wherever it is reached."""
    choice = choose(model, base_url)

    assert (choice.name, choice.dependency) == (model, dependency)


def test_an_object_says_its_own_name_and_breaker():
    """Without them its steps are called as its class, and no breaker is asked."""
    ours, theirs = choose(Parrot("")), choose(Liar())

    assert (ours.name, ours.dependency) == ("parrot", "parrots")
    assert (theirs.name, theirs.dependency) == ("Liar", None)


@pytest.mark.parametrize("model", ["gpt-9", "", "claude", "simulator", 7, Parrot])
def test_what_is_no_model_is_refused_with_what_there_is(model):
    """A class is no object with ``create`` yet; a name needs its provider."""
    with pytest.raises(InvalidSpec, match=r"'sim'.*'claude-\.\.\.'.*base_url.*create") as refused:
        choose(model)

    assert refused.value.kind == "unknown_model"


def test_a_misspelt_name_is_refused_where_the_class_is_written():
    """Before anything of it was started."""
    with pytest.raises(InvalidSpec, match="model='calude-haiku' names no model"):

        class Typo(Assistant):
            model = "calude-haiku"


def test_an_object_travels_with_its_class_and_its_calls_are_steps():
    """The class is written here, as in a cell: nodes have it, and the object in it, by value."""

    class Bird(Assistant):
        model = Parrot("krah: ")
        tools = (repeat,)

    with Lab(nodes=1) as lab:
        bird = lab.start(Bird, id="bird")
        answer = bird.call.ask("hello").result(60)
        bird.kill()
        again = bird.call.ask("hello").result(60)
        steps = lab.steps()

    assert (answer, again) == ("krah: done", "krah: done")
    assert list(steps["name"]) == ["parrot", "repeat", "parrot"] * 2
    assert list(steps["tokens_out"].dropna()) == [7] * 4


def test_what_an_object_answers_is_checked_before_it_is_remembered():
    """An answer that is no message is garbage, as a provider's would be."""

    class Fooled(Assistant):
        model = Liar()

    with Lab(nodes=1) as lab:
        fooled = lab.start(Fooled, id="fooled")
        with pytest.raises(AgentDown) as down:
            fooled.call.ask("hello").result(60)

    cause = down.value.__cause__
    assert cause is not None
    assert classify(cause).kind == "garbage"


class Boaster:
    """A model that has, by its own account, used more than there is; also where it fails."""

    def __init__(self, count: Any) -> None:
        self.count = count

    async def create(self, *, messages: Any, **request: Any) -> dict[str, Any]:
        """Say yes, or fail."""
        usage = {"input_tokens": self.count, "cache_read_input_tokens": self.count, "output_tokens": 2}
        if messages[-1]["content"] == "Fail!":
            failed = ModelFailed("no more", fault("bad_request"), usage=usage)
            failed.cost_usd = float("inf")
            raise failed
        block = {"type": "text", "text": "yes"}
        return {"role": "assistant", "content": [block], "stop_reason": "end_turn", "usage": usage}


@pytest.mark.parametrize("count", [10**30, -(10**30), float("nan"), "many"], ids=repr)
def test_counts_that_make_no_sense_are_in_no_book(tmp_path, count):
    """One that no store can hold would keep it from all that was to be stored with it, whoever's it was."""

    class Vain(Assistant):
        model = Boaster(count)

    with Lab(tmp_path / "vain.lab", nodes=1) as lab:
        vain = lab.start(Vain, id="vain", budget=Budget(tokens=10_000, cost_usd=1.0))
        assert vain.call.ask("Well?").result(60) == "yes"
        with pytest.raises(AgentDown, match="no more"):
            vain.call.ask("Fail!").result(60)
        steps, used = lab.steps(), vain.budget.used

    assert list(steps["tokens_in"]) == [0, 0]
    assert list(steps["tokens_out"]) == [2, 2]
    assert (used.tokens, used.cost_usd) == (4, 0.0)
    assert len(open_store(tmp_path / "vain.lab").steps()) == 2


def test_what_a_model_of_ones_own_does_to_its_request_is_no_change_of_the_state():
    """It may work on the list that it was given; the conversation is the agent's."""
    with Lab() as lab:
        ref = lab.start(Vandalized)
        assert ref.call.ask("tea").result(60) == "done"
        assert next(iter(ref.state["messages"])) == {"role": "user", "content": "tea"}
