"""Agents of other frameworks in a handler: a death in the middle repeats nothing that was finished.

The frameworks are imported where they are used: they take seconds to load, and each node imports this file.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from agentlab import Agent, Lab
from agentlab.models.frameworks import recorded, recorded_model

if TYPE_CHECKING:
    from pydantic_ai.messages import ModelMessage
    from pydantic_ai.models.function import AgentInfo


def note(ledger: str, line: str) -> int:
    """Write a line; how many there were of it before."""
    path = Path(ledger)
    before = path.read_text().splitlines().count(line) if path.exists() else 0
    with path.open("a") as file:
        file.write(line + "\n")
    return before


class Shopper(Agent):
    """A pydantic-ai agent that looks a price up, then pays; its node dies the first time it is about to pay."""

    async def buy(self, what: str, ledger: str) -> str:
        """Buy it."""
        import pydantic_ai
        from pydantic_ai.messages import ModelResponse, TextPart, ToolCallPart
        from pydantic_ai.models.function import FunctionModel

        def price(thing: str) -> int:
            """What it costs."""
            note(ledger, "price")
            return 7

        def pay(amount: int) -> str:
            """Pay."""
            if not note(ledger, "pay"):
                os._exit(3)
            return f"paid {amount}"

        def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            turn = sum(message.kind == "response" for message in messages)
            note(ledger, f"think {turn}")
            last: Any = messages[-1].parts[-1]
            calls = [ToolCallPart("price", {"thing": what}), ToolCallPart("pay", {"amount": last.content})]
            return ModelResponse([*calls, TextPart(f"{what}: {last.content}")][turn : turn + 1])

        theirs = pydantic_ai.Agent(
            recorded_model(self, FunctionModel(think)), tools=[recorded(self, price), recorded(self, pay)]
        )
        return str((await theirs.run(f"Buy {what}.")).output)


class Trip(TypedDict, total=False):
    """A graph's state."""

    goal: str
    ledger: str
    found: int
    said: str


def search(state: Trip) -> Trip:
    """Find something."""
    note(state["ledger"], "search")
    return {"found": 3}


async def book(state: Trip) -> Trip:
    """Book it; the node dies the first time."""
    if not note(state["ledger"], "book"):
        os._exit(3)
    return {"said": f"{state['found']} {state['goal']} booked"}


class Traveller(Agent):
    """A LangGraph graph of two nodes."""

    async def travel(self, goal: str, ledger: str) -> str:
        """Go."""
        from langgraph.graph import END, START, StateGraph

        graph: Any = StateGraph(Trip)
        graph.add_node("search", recorded(self, search))
        graph.add_node("book", recorded(self, book))
        graph.add_edge(START, "search")
        graph.add_edge("search", "book")
        graph.add_edge("book", END)
        return str((await graph.compile().ainvoke({"goal": goal, "ledger": ledger}))["said"])


def test_a_pydantic_ai_agent_goes_on_where_its_node_died(tmp_path):
    """Models and tools that had answered are not asked again; the payment in hand is made by the next life."""
    ledger = tmp_path / "ledger"
    with Lab(nodes=1) as lab:
        answer = lab.start(Shopper, id="shopper").call.buy("tea", str(ledger)).result(60)
        asked = lab.steps().query("kind == 'model' and replayed == 0")
        spent = lab.spend(by="model")

    assert answer == "tea: paid 7"
    assert (asked["tokens_out"] > 0).all()
    assert list(spent["tokens_out"]) == [asked["tokens_out"].sum()]
    assert ledger.read_text().split("\n")[:-1] == ["think 0", "price", "think 1", "pay", "pay", "think 2"]


class Asker(Agent):
    """Asks a model through pydantic-ai."""

    async def ask(self) -> str:
        """Ask once."""
        import pydantic_ai
        from pydantic_ai.exceptions import ModelHTTPError
        from pydantic_ai.messages import ModelResponse, TextPart
        from pydantic_ai.models.function import FunctionModel

        def think(messages: list[ModelMessage], info: AgentInfo) -> ModelResponse:
            if not self.lab_has_failed():
                raise ModelHTTPError(529, "thinker")
            return ModelResponse([TextPart(f"I know {TOKEN}.")])

        return str(
            (await pydantic_ai.Agent(recorded_model(self, FunctionModel(think, model_name="m"))).run("?")).output
        )

    def lab_has_failed(self) -> bool:
        """Whether it was asked before in this life."""
        before, self._asked = getattr(self, "_asked", False), True
        return before


TOKEN = "ghp_" + "a1B2" * 9


def test_a_frameworks_model_meets_the_fault_table_and_the_journal_keeps_no_key(tmp_path):
    """An overload is waited for inside the step, and what looks like a key is redacted, as a model's of ours is."""
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        answer = lab.start(Asker, id="asker").call.ask().result(60)
        steps = lab.steps()

    assert answer == "I know ***."
    assert list(steps["fault"].dropna()) == ["overloaded"]


def test_a_langgraph_graph_goes_on_where_its_node_died(tmp_path):
    """In a lab with a file too: what its nodes say is journaled as data."""
    ledger = tmp_path / "ledger"
    with Lab(tmp_path / "run.lab", nodes=1, resume=True) as lab:
        answer = lab.start(Traveller, id="traveller").call.travel("nights", str(ledger)).result(60)
        steps = lab.steps()

    assert answer == "3 nights booked"
    assert ledger.read_text().split() == ["search", "book", "book"]
    assert set(steps["name"]) == {"search", "book"}
