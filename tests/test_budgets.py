"""Budgets: the arithmetic, and in a real lab what is refused, kept, raised and shown."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agentlab import Agent, Assistant, Budget, Lab, Ref, Supervisor, child, open_store, tool
from agentlab.errors import IncompleteStream, InvalidSpec
from agentlab.faults import fault
from agentlab.models.prices import cost_of
from agentlab.sim import Control, control
from agentlab.supervision.budget import Account, Amounts
from tests.conftest import wait_for


def amounts(most: int = 50) -> Any:
    """Amounts of tokens."""
    return st.integers(0, most).map(lambda n: Amounts(n, n / 1000, 0.0))


@given(limit=st.integers(0, 300), calls=st.lists(st.tuples(amounts(), amounts(20), st.booleans()), max_size=30))
def test_what_is_held_back_never_passes_the_limit_and_all_of_it_is_freed(limit, calls):
    """Whatever calls come, whichever end: reserved is what is under way, used is what was settled, to the token."""
    account, spent = Account("/x", Budget(tokens=limit)), 0
    under_way: dict[int, Amounts] = {}
    for number, (wanted, used, ends) in enumerate(calls):
        taken = account.used.tokens + account.reserved.tokens
        if account.passed_by(wanted) is None:
            assert taken + wanted.tokens <= limit
            account.reserve(number, wanted)
            under_way[number] = wanted
        else:
            assert taken + wanted.tokens > limit
        if ends and under_way:
            call = next(iter(under_way))
            del under_way[call]
            account.settle(call, used, cut=False, unpriced=False)
            spent += used.tokens
    assert account.reserved.tokens == sum(each.tokens for each in under_way.values())
    assert account.used.tokens == spent
    assert account.left.tokens == max(0, limit - spent - account.reserved.tokens)


def test_seconds_are_refused_when_they_are_used_up_and_raised_with_the_rest():
    """A call cannot say how long it will take; a limit that there is not stays away."""
    account = Account("/x", Budget(seconds=1.0, tokens=10), Amounts(0, 0.0, 1.0))

    assert account.passed_by(Amounts(1, 0.0, 0.0)) == "seconds"
    account.add(Amounts(tokens=5, seconds=1.0, cost_usd=1.0))
    assert account.passed_by(Amounts(1, 0.0, 0.0)) is None
    assert account.limit == Budget(tokens=15, seconds=2.0)
    assert account.left == Amounts(15, None, 1.0)


@pytest.mark.parametrize(
    ("given_", "words"),
    [({}, "at least one of tokens"), ({"tokens": -1}, "got -1"), ({"tokens": 1.5}, "must be an int"),
     ({"cost_usd": "1"}, "got '1'"), ({"seconds": True}, "got True"), ({"cost_usd": float("nan")}, "got nan"),
     ({"tokens": 10**30}, r"an int >= 0 and below 1e\+18; got 1000")],
)  # fmt: skip
def test_a_budget_that_cannot_be_is_refused_by_name(given_, words):
    """Before anything is started; so is what is no budget."""
    with pytest.raises(InvalidSpec, match=words):
        Budget(**given_)
    with pytest.raises(InvalidSpec, match="budget"):
        child(Talker, budget=100)
    with pytest.raises(InvalidSpec, match="budget"):
        Supervisor("s", budget=100)
    with pytest.raises(InvalidSpec, match="budget"):
        Lab(budget=100)


def test_prices_are_known_or_said_to_be_not():
    """Caches are cheaper; a name that nobody lists has no price, and neither has a model of this machine."""
    plain = cost_of("claude-haiku-4-5", {"input_tokens": 1_000_000, "output_tokens": 0})
    cached = cost_of("claude-haiku-4-5", {"input_tokens": 0, "cache_read_input_tokens": 1_000_000})

    assert plain is not None
    assert cached is not None
    assert 0 < cached < plain
    assert cost_of("openai:gpt-4o", {"input_tokens": 1000}) is not None
    assert [cost_of(name, {"input_tokens": 9}) for name in ("sim", "local", "nobody-1", "x:y")] == [None] * 4


class Talker(Assistant):
    """Talks to the simulator."""

    max_tokens = 100


class Haiku:
    """A model with a price, whose first answer is cut."""

    name = "claude-haiku-4-5"

    def __init__(self) -> None:
        self.calls = 0

    async def create(self, **request: Any) -> dict[str, Any]:
        """Bill a million tokens in, half of them from the cache."""
        self.calls += 1
        usage = {"input_tokens": 500_000, "cache_read_input_tokens": 500_000, "output_tokens": 1}
        if self.calls == 1:
            raise IncompleteStream("cut", fault("cut_stream"), usage_lower_bound={"input_tokens": 500_000})
        said = [{"type": "text", "text": "yes"}]
        return {"role": "assistant", "model": self.name, "content": said, "stop_reason": "end_turn", "usage": usage}


class Priced(Talker):
    """Has a price."""

    model: ClassVar[Any] = Haiku()


class Boss(Agent):
    """Looks at budgets from inside."""

    async def look(self, ref: Ref) -> tuple[Any, Any]:
        """What is left before and after more is given."""
        before = await ref.budget.left
        await ref.budget.add(tokens=10)
        return before, await ref.budget.left


class Owner(Agent):
    """Looks at what the whole lab may spend."""

    async def more(self) -> tuple[Any, Any]:
        """What its limit is after more was given; or why it is not."""
        try:
            return await self.lab.budget.add(tokens=10), await self.lab.budget.used
        except InvalidSpec as error:
            return "refused", str(error)


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all."""
    with Lab(nodes=1, stall_notice=60.0, stall_seconds=120.0) as made:  # a busy machine moves nobody
        yield made


@pytest.fixture
def sim(lab: Lab) -> Iterator[Control]:
    """The lab's simulator, with nothing set and nothing seen."""
    steer = control(lab.simulator())
    steer.clear()
    steer.forget()
    yield steer
    steer.clear()


def test_a_budget_is_used_up_and_raised(lab, sim):
    """At the limit the call is not made and the agent is parked with its message; raised, it goes on with that."""
    talker = lab.start(Talker, id="talker", budget=Budget(tokens=130))
    talker.call.ask("one two three four five six seven eight").result(60)
    used = talker.budget.used

    talker.cast.ask("and more of the same, please")
    wait_for(lambda: talker.status == "parked")
    assert sim.requests() == 1
    assert "tokens=130" in lab.explain(talker)
    talker.budget.add(tokens=1000)

    wait_for(lambda: len(talker.state["messages"]) == 4)
    assert used.tokens == used["tokens"] > 0
    assert talker.budget.limit.tokens == 1130
    assert talker.budget.reserved == Amounts(0, 0.0, 0.0)
    assert repr(talker.budget).startswith("Budget('/talker': tokens ")


def test_a_supervisors_budget_is_that_of_all_below_it(lab, sim):
    """Nested supervisors each have theirs; who is refused is told whose budget it was, and how to raise it."""
    inner = Supervisor("inner", child(Talker, id="a"), child(Talker, id="b"), budget=Budget(tokens=150))
    lab.start(Supervisor("outer", inner, child(Talker, id="c")), budget=Budget(tokens=10_000))
    lab["/outer/inner/a"].call.ask("one two three four five six seven eight nine ten").result(60)
    b = lab["/outer/inner/b"]

    b.cast.ask("one two three four five six seven eight nine ten")
    b.cast.ask("one two three four five six seven eight nine ten")
    wait_for(lambda: b.status == "parked")
    lab["/outer/c"].call.ask("I may").result(60)

    outer, inside = lab["/outer"].budget.used.tokens, lab["/outer/inner"].budget.used.tokens
    assert outer > inside > 0
    assert "lab['/outer/inner'].budget.add(tokens=...)" in lab.events().query("path == '/outer/inner/b'").to_csv()
    lab["/outer/inner"].budget.add(tokens=10_000)
    lab.wait_idle(60)
    assert len(b.state["messages"]) == 4


def test_many_who_want_the_last_tokens_at_once_pass_no_limit(lab, sim):
    """What calls under way may use counts for all; who was refused has called nobody, and goes on when it is raised."""
    team = lab.start(Supervisor("race", *(child(Talker, id=f"r{n}") for n in range(12)), budget=Budget(tokens=250)))
    runners = [lab[f"/race/r{n}"] for n in range(12)]
    sim.faults(latency_s=0.2)
    for runner in runners:
        runner.cast.ask("one two three")
    wait_for(lambda: all(each.status == "parked" or len(each.state["messages"]) == 2 for each in runners))
    answered, used = sim.requests(), team.budget.used.tokens
    parked = sum(runner.status == "parked" for runner in runners)

    team.budget.add(tokens=10_000)
    lab.wait_idle(60)

    assert 0 < used <= 250
    assert (answered + parked, parked > 0) == (12, True)
    assert [len(runner.state["messages"]) for runner in runners] == [2] * 12
    assert sim.requests() == 12
    assert lab.spend(by="supervisor").set_index("who").loc["/race", "calls"] == 12


def test_an_agent_sees_and_raises_a_budget_from_inside(lab):
    """As a cell does, awaited."""
    talker = lab.start(Talker, id="watched", budget=Budget(tokens=100))
    boss = lab.start(Boss, id="boss")

    assert boss.call.look(talker).result(60) == (Amounts(100), Amounts(110))
    with pytest.raises(InvalidSpec, match="no limit of cost_usd"):
        talker.budget.add(cost_usd=1)
    with pytest.raises(InvalidSpec, match="of what is the limit of '/watched' to be raised"):
        talker.budget.add()
    with pytest.raises(InvalidSpec, match="no limit"):
        boss.budget.add(tokens=1)
    assert repr(boss.budget) == "Budget('/boss': no limit)"


def test_an_agent_raises_the_labs_budget_and_goes_on_where_it_has_none(lab):
    """Where there is no limit it is told so: that is an error to catch, and none of its lives."""
    owner = lab.start(Owner, id="owner")

    assert owner.call.more().result(60)[0] == "refused"
    assert "'/' has no limit of tokens" in owner.call.more().result(60)[1]
    with Lab(nodes=1, budget=Budget(tokens=90)) as limited:
        assert limited.start(Owner).call.more().result(60) == (Amounts(100), Amounts(0, 0.0, 0.0))
        assert limited.budget.limit.tokens == 100


def test_what_is_spent_outlives_the_kernel_and_is_shown_from_the_file(tmp_path):
    """The account of a lab that is opened again begins with what its steps have used, and what it was raised by."""
    path = tmp_path / "spend.lab"
    with Lab(path, nodes=1, resume=True, budget=Budget(tokens=100_000)) as lab:
        lab.start(Supervisor("team", child(Talker, id="t"), budget=Budget(tokens=400)))
        lab["/team"].budget.add(tokens=100)
        lab["/team/t"].call.ask("hello there").result(60)
        used, whole = lab["/team"].budget.used.tokens, lab.budget.used.tokens
        seen = lab.spend(by="supervisor")

    with Lab(path, nodes=1, resume=True, budget=Budget(tokens=100_000)) as lab:
        again = lab["/team"].budget
        assert (again.used.tokens, again.limit.tokens, lab.budget.used.tokens) == (used, 500, whole)
        agents = lab.agents().set_index("path")
    with open_store(path) as stored:
        assert stored.spend(by="supervisor").equals(seen)
        (row,) = stored.spend().to_dict("records")
    assert (row["who"], row["model"], row["calls"], row["replayed"], row["reserved"]) == ("/team/t", "sim", 1, 0, 0)
    assert row["tokens_in"] + row["tokens_out"] == used == whole
    assert agents.loc["/team/t", "tokens_in"] == row["tokens_in"]


def test_cost_is_reckoned_and_what_was_wasted_is_told(lab):
    """A cut stream settles at what it was billed at least, and is marked; half of the tokens came from the cache."""
    priced = lab.start(Priced, id="priced", budget=Budget(cost_usd=100.0))

    assert priced.call.ask("Really?").result(60) == "yes"

    (row,) = lab.spend().query("who == '/priced'").to_dict("records")
    used = priced.budget.used
    assert (row["calls"], row["tokens_in"], row["tokens_cached"]) == (2, 1_500_000, 500_000)
    assert 0 < row["wasted_usd"] < row["cost_usd"]
    assert used.cost_usd == pytest.approx(row["cost_usd"])
    assert "1 cut short, so at least" in repr(priced.budget)
    assert lab.agents().set_index("path").loc["/priced", "cost_usd"] == pytest.approx(row["cost_usd"])
    assert lab.steps(path="/priced")["cost_usd"].sum() == pytest.approx(row["cost_usd"])


class Clever:
    """A model with a price: it asks for a tool, then answers."""

    name = "claude-haiku-4-5"

    async def create(self, *, messages: Any, **request: Any) -> dict[str, Any]:
        """Bill a million tokens in."""
        block: dict[str, Any] = {"type": "text", "text": "yes"}
        if isinstance(messages[-1]["content"], str):
            block = {"type": "tool_use", "id": "use-1", "name": "look", "input": {}}
        stop = "tool_use" if block["type"] == "tool_use" else "end_turn"
        usage = {"input_tokens": 1_000_000, "output_tokens": 1}
        return {"role": "assistant", "model": self.name, "content": [block], "stop_reason": stop, "usage": usage}


@tool
def look() -> str:
    """Look."""
    return "seen"


class Unsteady(Assistant):
    """Has its answer, and dies of it in its first life."""

    model: ClassVar[Any] = Clever()
    tools = (look,)

    async def brood(self) -> None:
        """Ask, and make nothing of it."""
        await self.ask("Or not?")
        await asyncio.Event().wait()

    async def decide(self) -> str:
        """Ask."""
        said = await self.ask("Shall we?")
        if self.incarnation == 1:
            raise ValueError("I cannot believe it")
        return said


def test_what_was_useful_replayed_for_nothing_and_wasted_is_told_apart(lab):
    """A step before a crash is made again: paid twice, once in vain. So is all of a message that was taken back."""
    unsteady = lab.start(Unsteady, id="unsteady", budget=Budget(cost_usd=100.0))

    assert unsteady.call.decide().result(60) == "yes"

    steps = lab.steps(path="/unsteady").query("kind == 'model'")
    (row,) = lab.spend().query("who == '/unsteady'").to_dict("records")
    assert steps["outcome"].tolist() == ["ok", "rewound", "ok", "ok"]
    assert steps["replayed"].tolist() == [0, 0, 1, 0]
    assert (row["calls"], row["replayed"], row["tokens_out"]) == (3, 1, 3)
    assert row["wasted_usd"] == pytest.approx(row["cost_usd"] / 3)
    assert unsteady.budget.used.cost_usd == pytest.approx(row["cost_usd"])

    reply = unsteady.call.brood()
    wait_for(lambda: len(lab.steps(path="/unsteady").query("kind == 'model'")) == 6)
    assert lab.spend().query("who == '/unsteady'")["wasted_usd"].item() == pytest.approx(row["wasted_usd"])
    assert reply.cancel()
    wait_for(reply.done)
    lab.wait_idle(60)

    (after,) = lab.spend().query("who == '/unsteady'").to_dict("records")
    assert after["cost_usd"] == pytest.approx(row["cost_usd"] / 3 * 5)
    assert after["wasted_usd"] == pytest.approx(row["cost_usd"])  # the one before, and both of the message


def test_an_unknown_price_is_said(lab):
    """In the agent's log and beside the budget; nothing is guessed."""
    talker = lab.start(Talker, id="cheap", budget=Budget(cost_usd=1.0))

    talker.call.ask("hello").result(60)

    assert "nobody knows the price of 'sim'" in talker.log()
    assert "1 calls of unknown price, not counted" in repr(talker.budget)
    assert talker.budget.used.cost_usd == 0.0


def test_what_is_held_back_is_seen_and_freed_when_the_life_ends(lab, sim):
    """A call under way is shown; a kill in the middle leaves nothing held back."""
    talker = lab.start(Talker, id="held", budget=Budget(tokens=1000))
    sim.faults([{"mode": "hang_headers", "times": 1}])
    talker.cast.ask("hello")
    wait_for(lambda: talker.budget.reserved.tokens == 100)
    assert lab.spend().set_index("who").loc["/held", "reserved"] == 100

    wait_for(lambda: sim.struck() == [1])  # else it would be the next life's call that hangs
    talker.kill()
    lab.wait_idle(60)

    assert talker.budget.reserved.tokens == 0
    assert len(talker.state["messages"]) == 2


def test_another_child_under_the_same_id_begins_with_nothing_spent(lab):
    """As a later child begins with a fresh state."""
    first = lab.start(Talker, id="again", budget=Budget(tokens=1000))
    first.call.ask("hello").result(60)
    assert first.budget.used.tokens > 0
    first.stop()

    assert lab.start(Talker, id="again", budget=Budget(tokens=1000)).budget.used.tokens == 0
