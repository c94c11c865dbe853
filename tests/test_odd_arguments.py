"""Odd arguments to every public method: each works, or is refused in our words, and the lab is unharmed.

One table drives all of it: what each public callable takes when it is well meant. Each of its parameters is then
given each odd value in turn, so that a method or an option that is new is tested as soon as it is there, and the
table without it fails.
"""

from __future__ import annotations

import functools
import inspect
import math
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

import agentlab
from agentlab import Agent, Backoff, Lab, Limit, Ref, Reply, Supervisor, charts, child, frames, open_store
from agentlab.chaos import Plan
from agentlab.errors import AgentLabError, InvalidArgument
from agentlab.evals import compare, evaluate, exact, open_run, samples_needed
from agentlab.lab import Frames, StoredLab
from agentlab.ref.many import Broadcast, Refs
from agentlab.ref.messages import Messages
from agentlab.ref.reply import Replies

HUGE = 10**30
ODD: dict[str, Any] = {
    "None": None, "True": True, "three": 3, "minus one": -1, "huge": HUGE, "a large float": 1e300, "NaN": math.nan,
    "infinity": math.inf, "an empty text": "", "a text": "odd", "a half character": "\ud800", "a zero": "a\0b",
    "a long text": "x" * 100_000, "bytes": b"", "a list": [], "a list of lists": [[1]], "a dict": {"a": object()},
    "a tuple": (1, "x", None), "an object": object(), "a class": int, "a function": len, "an error": KeyError("k"),
    "a time": timedelta(seconds=-1),
}  # fmt: skip
"""What nobody should give, by the name that a failed test says."""

PLAIN_SIGNATURE = re.compile(r"unexpected keyword|missing \d+ required|takes \d+|positional argument")
LONGEST = 2_000


def fault(error: BaseException) -> str | None:
    """Why an error is not one that a person should be shown; None if it is."""
    text = str(error)
    if len(text) > LONGEST:
        return f"{len(text):,} characters"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "its text cannot be printed"
    if isinstance(error, AgentLabError):
        return None if len(text) > 10 else "says nothing"
    ours = isinstance(error, (TypeError, ValueError, KeyError)) and (" got " in text or "Look: " in text)
    return None if ours or PLAIN_SIGNATURE.search(text) else "is raw"


def tried(call: Callable[..., object], given: dict[str, Any]) -> str | None:
    """What is wrong with how a call takes what it is given; None if nothing is."""
    positional = given.pop("*", ())
    try:
        call(*positional, **given)
    except BaseException as error:
        found = fault(error)
        return None if found is None else f"{type(error).__name__}: {str(error)[:150]!r} {found}"
    return None


def each(call: Callable[..., object], good: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each parameter of a callable with each odd value, the others well meant."""
    for number, parameter in enumerate(inspect.signature(call).parameters.values()):
        for name, odd in ODD.items():
            given = dict(good)
            if parameter.kind is parameter.VAR_POSITIONAL:
                given["*"] = (*good.get("*", ()), odd)
            elif parameter.kind is parameter.VAR_KEYWORD:
                given["count"] = odd
            elif parameter.kind is parameter.POSITIONAL_ONLY or (number == 0 and "*" in good):
                given["*"] = (odd, *good.get("*", ())[1:])
            else:
                given[parameter.name] = odd
            yield f"{parameter.name}={name}", given


class Wild(Agent):
    """What is done to it is odd."""

    count: int = 0

    async def add(self, n: int = 1) -> int:
        """Add and say the sum."""
        self.count += n
        return self.count


@pytest.fixture(scope="module")
def one() -> Iterator[Lab]:
    """One lab for all of it: none of it may harm it."""
    with Lab(nodes=1) as lab:
        lab.start(Wild, id="innocent")
        yield lab


@pytest.fixture(autouse=True)
def unharmed(one: Lab, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """After each test the lab is alive: an agent answers, frames are read, agents start. Files go to a folder apart."""
    monkeypatch.chdir(tmp_path)
    innocent = one["/innocent"]
    before = innocent.call.add(0).result(30)
    yield
    assert innocent.call.add(1).result(30) == before + 1
    assert innocent.incarnation == 1
    assert len(one.events()) > 0
    fresh = one.start(Wild)
    assert fresh.call.add(1).result(30) == 1
    fresh.stop()


def public(cls: type) -> set[str]:
    """The public methods of a class, those with arguments among Python's own too."""
    return {
        name
        for base in cls.__mro__[:-1]
        for name, value in vars(base).items()
        if name in {"__getitem__", "__call__", "__contains__"} or (name[0] != "_" and inspect.isroutine(value))
    }


LAB: dict[str, dict[str, Any]] = {
    "agents": {}, "approvals": {}, "breaker": {"name": "sim"}, "breakers": {}, "chaos": {"plan": Plan()},
    "chaos_log": {}, "charts": {},
    "checkpoints": {}, "close": {}, "dashboard": {}, "dead_letters": {}, "events": {}, "explain": {"ref": "/innocent"},
    "endpoint": {"ref": "/innocent"}, "feed": {}, "messages": {}, "publish": {"topic": "tea", "method": "add"},
    "report": {"path": "night.html"}, "restarts": {}, "resume": {}, "retry": {},
    "rows": {}, "simulator": {}, "start": {"what": Wild}, "start_many": {"cls": Wild, "n_or_fields": 1}, "steps": {},
    "spend": {}, "tree": {}, "upgrade": {"cls": Wild}, "watch": {"ref": "/innocent"},
    "wait_idle": {}, "whereis": {"id": "innocent"}, "__getitem__": {"path": "/"},
}  # fmt: skip
"""The methods of a lab, and what they need."""

REF: dict[str, dict[str, Any]] = {
    "approvals": {}, "approve": {"step": 1},
    "checkpoints": {}, "count_children": {}, "crash": {}, "delete_child": {"id": "kid"}, "doubts": {}, "exit": {},
    "fork": {}, "get_childspec": {"id": "kid"}, "info": {}, "kill": {}, "log": {}, "replace_state": {}, "restart": {},
    "restart_child": {"id": "kid"}, "resume": {}, "rewind": {"to": 0}, "settle": {"step": 1, "retry": True}, "skip": {},
    "start_child": {"spec": child(Wild, id="kid")}, "stop": {}, "suspend": {}, "terminate_child": {"id": "kid"},
    "trace": {}, "transcript": {}, "watch": {}, "which_children": {},
}  # fmt: skip
"""The methods of a ref; a supervisor's are tried on one, all others on both."""

OTHERS: dict[str, tuple[type, set[str]]] = {
    "Messages": (Messages, {"__call__"}),
    "Broadcast": (Broadcast, {"__call__"}),
    "Refs": (Refs, {"__getitem__", "wait", "index", "count", "__contains__"}),
    "Reply": (Reply, {"cancel", "done", "result"}),
    "Replies": (Replies, {"__getitem__", "cancel", "result", "index", "count", "__contains__"}),
}


def test_the_table_has_every_public_method() -> None:
    """A method that is new is tried with odd arguments from its first day."""
    assert public(Lab) | public(Frames) == set(LAB)
    assert public(Ref) == set(REF)
    assert public(StoredLab) == public(Frames) | {"agents", "close", "rows", "tree"}
    for cls, names in OTHERS.values():
        assert public(cls) == names
    assert {name for name, value in vars(frames).items() if inspect.isfunction(value)} == set(FRAMES)
    assert set(dir(charts)) == set(CHARTS)


@pytest.mark.parametrize("method", sorted(set(LAB) - {"close"}))
def test_a_lab_takes_odd_arguments_or_says_why_not(one: Lab, method: str) -> None:
    """Whatever is given, nothing of the lab breaks, and what is said is said in our words."""
    wrong = {
        how: found for how, given in each(getattr(one, method), LAB[method])
        if (found := tried(getattr(one, method), given)) is not None
    }  # fmt: skip

    assert wrong == {}


@pytest.mark.parametrize("method", sorted(REF))
@pytest.mark.parametrize("kind", ["agent", "supervisor"])
def test_a_ref_takes_odd_arguments_or_says_why_not(one: Lab, method: str, kind: str) -> None:
    """An agent's and a supervisor's; whoever was ended by it is followed by another."""
    wrong = {}
    ref = victim(one, kind)
    for how, given in each(getattr(ref, method), REF[method]):
        if ref.status != "running":
            ref = victim(one, kind)
        found = tried(getattr(ref, method), given)
        if found is not None:
            wrong[how] = found

    assert wrong == {}


def refused_badly(calls: list[tuple[Callable[..., object], dict[str, Any]]]) -> list[tuple[object, str, str]]:
    """Which call took which odd value, and answered with something that teaches nobody."""
    return [
        (call, how, found) for call, good in calls for how, given in each(call, good)
        if (found := tried(call, given)) is not None
    ]  # fmt: skip


def victim(lab: Lab, kind: str) -> Ref:
    """Somebody new to whom odd things are done."""
    what = Wild if kind == "agent" else Supervisor(f"team-{len(lab.rows())}", child(Wild, id="kid"))
    ref = lab.start(what)
    lab.wait_idle(30)
    return ref


def test_many_refs_and_replies_take_odd_arguments_or_say_why_not(one: Lab) -> None:
    """Waiting, taking one of many, and the options of calls."""
    refs = one.start_many(Wild, 2)
    reply, replies = refs[0].call.add(0), refs.call.add(0)
    replies.result(30)
    calls: list[tuple[Callable[..., object], dict[str, Any]]] = [
        (reply.result, {}), (replies.result, {}), (refs.wait, {}),
        (refs[0].call, {}), (refs.call, {}), (refs[0].cast, {}), (refs[0].call.add, {}), (refs.call.add, {}),
        (refs.__contains__, {}), (replies.__contains__, {}), (refs.count, {}), (replies.count, {}),
    ]  # fmt: skip

    wrong = refused_badly(calls)

    assert wrong == []


class Same(Agent):
    """Says what it hears."""

    async def solve(self, what: str) -> str:
        """Do it."""
        return what


def test_evals_and_their_figures_take_odd_arguments_or_say_why_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a run is asked for, two of them, and how many samples it takes."""
    monkeypatch.chdir(tmp_path)
    run = evaluate(Same, [{"id": n, "input": n, "target": "a"} for n in "abc"], exact(), path="run.lab", nodes=1)
    calls: list[tuple[Callable[..., object], dict[str, Any]]] = [
        (run.transcript, {"id": "a"}), (run.summary, {}), (run.result, {}), (run.to_parquet, {"path": "run.parquet"}),
        (run.to_inspect, {"path": "run.json"}), (compare, {"a": run, "b": run}),
        (samples_needed, {"effect": 0.1, "power": 0.8}), (open_run, {"path": "run.lab"}),
    ]  # fmt: skip

    wrong = refused_badly(calls)

    assert wrong == []
    with pytest.raises(InvalidArgument, match="method must be 'bootstrap'"):
        run.summary(method="bayes")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgument, match="level must be a share"):
        run.summary(level=95)


@pytest.mark.parametrize("parameter", [*inspect.signature(Lab).parameters])
def test_a_lab_that_cannot_be_is_refused(parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each option; a lab that can be is closed again."""
    monkeypatch.chdir(tmp_path)

    def opened(**given: Any) -> None:
        Lab(**{"nodes": 1, **given}).close()

    wrong = {
        name: found for name, odd in ODD.items() if not (parameter == "nodes" and odd in (3, HUGE))
        if (found := tried(opened, {parameter: odd})) is not None
    }  # fmt: skip

    assert wrong == {}


def test_a_lab_that_is_not_told_how_to_close_goes_on() -> None:
    """A timeout that is none closes nothing."""
    lab = Lab(nodes=1)
    wild = lab.start(Wild)

    refused = [odd for odd in ODD.values() if not (isinstance(odd, (int, float)) and odd is not True and odd >= 0)]
    wrong = [found for odd in refused if (found := tried(lab.close, {"timeout": odd})) is not None]

    assert wrong == []
    assert wild.call.add(1).result(30) == 1
    lab.close(HUGE)
    assert lab.closed


DRAWN = (
    "path", "reason", "method", "wait_s", "took_s", "x", "y", "kind", "at", "detail", "fault", "name",
    "who", "calls", "tokens_in", "tokens_out", "tokens_cached", "cost_usd", "replayed", "wasted_usd",
)  # fmt: skip
CHARTS: dict[str, dict[str, Any]] = {
    "breaker": {}, "restarts": {}, "latency": {}, "spend": {}, "faults": {}, "outcomes": {"x": "x", "y": "y"},
    "downtime": {}, "lifelines": {}, "intensity": {}, "sequence": {}, "flame": {}, "scores": {}, "by_sample": {},
    "timeline": {}, "cost": {},
}  # fmt: skip
FRAMES = {
    "agents", "approvals", "breaker_history", "breakers",
    "chaos_log", "checkpoints", "dead_letters", "events", "messages", "requests", "restarts", "spend",
    "steps", "stored_agents", "stored_approvals", "stored_breakers", "stored_rows", "upgrades",
}  # fmt: skip


LISTS = {
    "agents", "breaker_history", "breakers", "chaos_log", "requests", "spend", "stored_agents", "stored_breakers",
    "stored_rows",
    "upgrades",
}  # fmt: skip
"""Frames that are of no agent's path."""


@pytest.mark.parametrize("chart", CHARTS)
def test_a_chart_of_nothing_that_can_be_drawn_says_so(chart: str) -> None:
    """Also of a frame that has not the columns, or other things in them."""
    import pandas as pd  # not in each node that runs an agent of this file

    draw = getattr(charts, chart)
    good = {**CHARTS[chart], **({"frame": pd.DataFrame({"x": [1], "y": [2]})} if chart == "outcomes" else {})}
    name = "frame" if chart == "outcomes" else "source"
    odd_frames = [pd.DataFrame({"z": [1]}), pd.DataFrame({column: [object()] for column in DRAWN})]

    given = [*each(draw, good), *((str(odd), {**good, name: odd}) for odd in odd_frames)]
    wrong = {how: found for how, odd in given if (found := tried(draw, odd)) is not None}

    assert wrong == {}


@pytest.mark.parametrize("name", sorted(FRAMES - LISTS))
def test_a_frame_of_no_path_says_so(one: Lab, name: str, tmp_path: Path) -> None:
    """From a live lab and from a file."""
    with Lab(tmp_path / "run.lab", nodes=1) as lab:
        lab.start(Wild)
    function = getattr(frames, name)
    with open_store(tmp_path / "run.lab") as stored:
        for store in (one._read(), stored._read()):
            call = functools.partial(function, store)
            wrong = {how: found for how, given in each(call, {}) if (found := tried(call, given)) is not None}
            assert wrong == {}


@pytest.mark.parametrize("make", [child, Supervisor, Backoff, Limit, agentlab.check, open_store])
def test_what_is_made_of_odd_things_is_refused(make: Callable[..., Any], tmp_path: Path, monkeypatch: Any) -> None:
    """Child specs, supervisors, and files that are no stores."""
    monkeypatch.chdir(tmp_path)
    good = {"child": {"what": Wild}, "Supervisor": {"*": ("team", Wild)}}.get(make.__name__, {})

    wrong = {how: found for how, given in each(make, good) if (found := tried(make, given)) is not None}

    assert wrong == {}
