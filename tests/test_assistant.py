"""An agent that talks to a model, in a real lab, over the real client, against the real simulator."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from agentlab import Assistant, Lab, tool
from agentlab.errors import AgentDown, InvalidArgument
from agentlab.sim import Control, control


@tool
def add(a: float, b: float) -> float:
    """Add two numbers."""
    return a + b


@tool
def multiply(a: float, b: float) -> float:
    """Multiply two numbers."""
    return a * b


@tool
def calculate(expression: str) -> str:
    """Work out an arithmetic expression."""
    raise RuntimeError(f"the battery is empty, {expression} must wait")


class Echo(Assistant):
    """The plainest assistant."""


class Reckoner(Assistant):
    """Reckons with tools."""

    system = "Use the tools."
    tools = (add, multiply)


class Brittle(Reckoner):
    """A failed model call is its crash."""

    on_fault = {"server_error": "crash", "overloaded": "crash"}


class Clumsy(Assistant):
    """Its only tool always fails."""

    tools = (calculate,)


class Scripted(Assistant):
    """Its model says what the test wants."""

    model = "sim-scripted"
    tools = (add,)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all: a simulator and its nodes take longer to start than a test."""
    with Lab(stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


@pytest.fixture
def sim(lab: Lab) -> Iterator[Control]:
    """The lab's simulator, with nothing set and nothing seen."""
    steer = control(lab.simulator())
    steer.clear()
    steer.forget()
    yield steer
    steer.clear()


def texts(state: dict[str, Any]) -> list[str]:
    """The conversation's plain texts."""
    said = [m["content"] if isinstance(m["content"], str) else m["content"][0].get("text") for m in state["messages"]]
    return [text for text in said if text is not None]


def test_it_answers_and_remembers(lab, sim):
    """The conversation is state; each call sends all of it."""
    echo = lab.start(Echo, id="remembers")

    answers = [echo.call.ask("good morning").result(20), echo.call.ask("good night").result(20)]

    assert answers == ["good morning", "good night"]
    assert texts(echo.state) == ["good morning", "good morning", "good night", "good night"]
    assert [row["messages"] for row in sim.log()] == [1, 3]


def test_a_lone_surrogate_reaches_the_model_as_a_replacement_character(lab, sim):
    """No request holds one; what was said is stored whole, and markup, terminal codes and NUL go through unchanged."""
    odd = "<script>\x00\x1b[31m\ud800 evil"
    echo = lab.start(Echo, id="odd")

    answer = echo.call.ask(odd).result(30)

    assert answer == odd.replace("\ud800", "\ufffd")
    assert texts(echo.state) == [odd, answer]


def test_it_uses_tools_until_the_answer_is_there(lab, sim):
    """Each use is followed by its result; the conversation stays one the API takes."""
    reckoner = lab.start(Reckoner, id="reckons")

    answer = reckoner.call.ask("What is 2 + 3 * 4?").result(20)
    again = reckoner.call.ask("thanks").result(20)

    blocks = [b for m in reckoner.state["messages"] if isinstance(m["content"], list) for b in m["content"]]
    assert (answer, again) == ("2 + 3 * 4 = 14", "thanks")
    assert [b["input"] for b in blocks if b["type"] == "tool_use"] == [{"a": 3, "b": 4}, {"a": 2, "b": 12}]
    assert [b["content"] for b in blocks if b["type"] == "tool_result"] == ["12.0", "14.0"]
    assert [row["status"] for row in sim.log()] == [200] * 4


def test_a_class_may_crash_of_a_529_and_the_conversation_goes_on(lab, sim):
    """The next incarnation has the checkpoint from before the message, gets the message again, and answers."""
    echo = lab.start(Brittle, id="overloaded")
    echo.call.ask("before").result(20)
    sim.faults([{"mode": "529", "times": 1}])

    answer = echo.call.ask("after").result(20)

    assert answer == "after"
    assert echo.incarnation == 2
    assert texts(echo.state) == ["before", "before", "after", "after"]
    assert [row["status"] for row in sim.log()] == [200, 529, 200]


@pytest.mark.parametrize("mode", ["abort_mid_chunk", "clean_eof_no_stop", "mid_stream_overloaded", "rst"])
def test_a_stream_cut_in_the_middle_leaves_nothing_behind(lab, sim, mode):
    """Half an answer is none: what is stored is the whole one that came after."""
    echo = lab.start(Echo, id=f"cut-{mode}")
    long = "A sentence long enough to be cut in its middle, and then some more of it."
    sim.faults([{"mode": mode, "times": 1}])

    answer = echo.call.ask(long).result(20)

    assert answer == long
    assert echo.incarnation == 1
    assert texts(echo.state) == [long, long]


def test_a_crash_between_tool_and_answer_stores_no_tool_use_without_its_result(lab, sim):
    """The message is a transaction: the second model call fails, and the whole exchange is made again."""
    reckoner = lab.start(Brittle, id="between")
    sim.faults([{"mode": "500", "nth": 2}])

    answer = reckoner.call.ask("2 + 2?").result(20)

    assert answer == "2 + 2 = 4"
    assert reckoner.incarnation == 2
    assert [m["role"] for m in reckoner.state["messages"]] == ["user", "assistant", "user", "assistant"]


def test_when_the_provider_stays_down_the_caller_learns_why(lab, sim):
    """After the last delivery the call fails with the fault; the state is as before, nothing half-done."""
    echo = lab.start(Brittle, id="down")
    sim.faults([{"mode": "529", "prompt": "poison"}])

    with pytest.raises(AgentDown) as caught:
        echo.call.ask("poison").result(20)

    assert "overloaded" in str(caught.value)
    assert echo.state["messages"] == []


def test_a_tool_that_fails_is_told_to_the_model(lab, sim):
    """As an error result, which the model may answer; the agent lives."""
    clumsy = lab.start(Clumsy, id="clumsy")

    answer = clumsy.call.ask("2 + 2?").result(20)

    assert "the battery is empty, 2 + 2 must wait" in answer
    assert clumsy.incarnation == 1
    assert [row["messages"] for row in sim.log()] == [1, 3, 5]


@pytest.mark.parametrize(
    ("call", "told"),
    [
        ({"tool": "launch", "input": {}}, "There is no tool 'launch'. The tools are: add."),
        ({"tool": "add", "input": {"a": "<script>", "b": 1}}, "add was not run, its input does not fit:\n- a: "),
    ],
)
def test_a_model_that_asks_for_nonsense_is_told_so(lab, sim, call, told):
    """An unknown tool, arguments that do not fit: an error result, and no code runs."""
    sim.scripts(sim_scripted=[call, "never mind"])
    scripted = lab.start(Scripted, id=f"nonsense-{call['tool']}")

    answer = scripted.call.ask("go").result(20)

    (result,) = scripted.state["messages"][2]["content"]
    assert answer == "never mind"
    assert (result["is_error"], result["content"][: len(told)]) == (True, told)


def test_a_model_that_never_does_better_is_given_up(lab, sim):
    """max_repairs turns in a row are told, the next is a crash."""
    sim.scripts(sim_scripted=[{"tool": "launch", "input": {}}])
    scripted = lab.start(Scripted, id="hopeless")

    with pytest.raises(AgentDown) as caught:
        scripted.call.ask("go").result(20)

    assert "Tools failed in 3 turns in a row" in str(caught.value)
    assert scripted.state["messages"] == []


class Bounded(Assistant):
    """Stops after two turns."""

    model = "sim-bounded"
    tools = (add,)
    max_turns = 2


class Thrifty(Assistant):
    """May use few tokens."""

    max_tokens = 100
    budget = 90


def test_turns_and_tokens_have_limits(lab, sim):
    """A loop of tool calls ends; a call whose answer might pass the budget is not made."""
    sim.scripts(sim_bounded=[{"tool": "add", "input": {"a": 1, "b": 1}}])

    with pytest.raises(AgentDown, match="max_turns=2"):
        lab.start(Bounded, id="bounded").call.ask("go").result(20)
    sim.forget()
    with pytest.raises(AgentDown, match="budget=90"):
        lab.start(Thrifty, id="thrifty").call.ask("go").result(20)

    assert sim.requests() == 0


class Short(Assistant):
    """Its answers are cut."""

    max_tokens = 3


class ShortOfBreath(Scripted):
    """Stopped by its model's limit while it asks for a tool."""

    model = "sim-short"


def test_an_answer_cut_by_max_tokens_is_kept_and_its_tool_call_is_not_run(lab, sim):
    """Text cut off is text; a tool call cut off may be half of what was meant, so the model is told and asks again."""
    short = lab.start(Short, id="short")
    sim.scripts(sim_short=[{"tool": "add", "input": {"a": 1, "b": 1}}, {"tool": "add", "input": {"a": 1, "b": 2}}, "3"])
    breathless = lab.start(ShortOfBreath, id="breathless")

    answer = short.call.ask("one two three four five").result(60)
    sim.faults([{"mode": "max_tokens", "model": "sim-short", "times": 1}])
    after = breathless.call.ask("go").result(60)

    assert (answer, after) == ("one two three", "3")
    assert breathless.incarnation == 1
    assert list(lab.steps().query("path == '/breathless' and kind == 'tool'")["output"]) == ["'3.0'"]
    assert "cut off after 1024 tokens, inside the call of tool 'add'" in breathless.state["messages"][2]["content"]


def test_many_assistants_talk_at_once(lab, sim):
    """A model call waits; the agents beside it do not."""
    sim.faults(latency_s=0.3)
    many = [lab.start(Echo, id=f"many-{i}") for i in range(40)]

    replies = [agent.call.ask(f"I am {i}") for i, agent in enumerate(many)]
    answers = [reply.result(30) for reply in replies]

    assert answers == [f"I am {i}" for i in range(40)]


def test_the_token_is_in_no_state_event_or_log(lab, sim):
    """API keys stay in memory."""
    echo = lab.start(Echo, id="secret")
    sim.faults([{"mode": "401", "message": f"bad key {sim.endpoint.api_key}", "times": 1}])
    with pytest.raises(AgentDown) as told:
        echo.call.ask("hi").result(20)

    shown = str(told.value) + lab.events().to_csv() + str(echo.state) + str(sim.log()) + repr(sim) + repr(lab)

    assert "unauthorized" in shown
    assert sim.endpoint.api_key not in shown


@pytest.mark.paid
def test_the_same_code_talks_to_the_real_api(lab):
    """Only the model's name differs."""

    class Real(Assistant):
        model = "claude-haiku-4-5"
        max_tokens = 20

    assert "4" in lab.start(Real, id="real").call.ask("2+2? Answer with the number only.").result(60)


@pytest.mark.parametrize("said", ["", " \n", [], [{"type": "text", "text": ""}], [{"type": "image"}], [{"type": "x"}]])
def test_what_no_model_takes_is_refused_where_the_call_is_made(lab, said):
    """Whoever presses Enter too early ends nobody."""
    clerk = lab.start(Echo)

    for asks in (clerk.call.ask, clerk.cast.ask, lambda text: clerk.call.ask_for(int, text)):
        with pytest.raises(InvalidArgument, match=r"something to say\]; got .*: (text|block 0) .*Nothing was done"):
            asks(said)

    assert (clerk.incarnation, clerk.status) == (1, "running")


def test_images_and_documents_reach_the_model_with_the_question(lab, sim, tmp_path):
    """As blocks of the one message, which stay in the conversation: each later call has them too."""
    page, picture = tmp_path / "tea.txt", b"\x89PNG\r\n\x1a\n" + bytes(6000)
    page.write_text("Assam, 4 minutes. " * 200)
    echo = lab.start(Echo, id="shown")

    answers = [
        echo.call.ask("What is it?", images=[picture, "https://x.org/a.png"], documents=[str(page)]).result(60),
        echo.call.ask([{"type": "text", "text": "And now?"}]).result(60),
    ]

    document, image, address, text = echo.state["messages"][0]["content"]
    assert answers == ["What is it?", "And now?"]
    assert document["source"]["data"] == page.read_text()
    assert base64.b64decode(image["source"]["data"]) == picture
    assert (address["source"]["type"], text["text"]) == ("url", "What is it?")
    sent = (len(image["source"]["data"]) + len(document["source"]["data"])) / 4  # of which it makes so many tokens
    assert [row["tokens_in"] > sent for row in sim.log()] == [True, True]
    assert image["source"]["data"][:100] not in lab.steps(path="/shown").to_csv()


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"images": ["no_such.png"]}, "No such file"),
        ({"images": [Path("/no/such.png")]}, "No such file"),
        ({"images": [b"text"]}, "an image must be PNG"),
        ({"documents": ["no_such.pdf"]}, "No such file"),
        ({"documents": [b""]}, "is empty"),
        ({"documents": [b"\xff"]}, "PDF or UTF-8"),
    ],
)
def test_what_cannot_be_shown_to_a_model_is_refused_where_the_call_is_made(lab, given, why):
    """A misspelt name of a picture ends nobody; the error says which."""
    clerk = lab.start(Echo)

    for asks in (clerk.call.ask, clerk.cast.ask, lambda text, **given: clerk.call.ask_for(int, text, **given)):
        with pytest.raises(InvalidArgument, match=rf"that can be read\]; got .*{why}.*Nothing was done"):
            asks("What is this?", **given)

    assert (clerk.incarnation, clerk.status) == (1, "running")
