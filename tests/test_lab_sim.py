"""``lab.sim``: the simulator as a child of the lab, steered from a cell."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from agentlab import Assistant, Lab
from agentlab.sim import control
from tests.conftest import wait_for
from tests.test_kernel_life import runs


class Echo(Assistant):
    model = "sim-echo"


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """One lab for all: a simulator takes longer to start than a test."""
    with Lab(nodes=1) as made:
        yield made


@pytest.fixture
def echo(lab: Lab, request: pytest.FixtureRequest) -> Iterator[object]:
    """An agent that talks to it, with nothing set and nothing seen."""
    lab.sim.clear()
    lab.sim.forget()
    yield lab.start(Echo, id=request.node.name.replace("[", "-").replace("]", "").replace(" ", "-"))
    lab.wait_idle(60)


def test_it_is_no_part_of_a_lab_that_does_not_use_it() -> None:
    """The tree is what was started; one use, and there are a supervisor of the lab's own and a child."""
    with Lab(nodes=1) as lab:
        before = lab.agents()["path"].tolist()
        shown = repr(lab.sim)
        address = lab.sim.base_url

        assert before == ["/"]
        assert shown == "Sim(not started)"
        assert lab.agents()["path"].tolist() == ["/", "/servers", "/servers/sim"]
        assert repr(lab.sim) == f"Sim({address}, running)"


@pytest.mark.parametrize("end", ["crash", "kill", "restart", "process"])
def test_it_comes_back_where_it_was_with_what_it_knew(lab: Lab, echo, end: str) -> None:
    """Address, log, profile with its counts, scripts: the next process has what the one before had."""
    lab.sim.scripts(sim_greeter=["Hello."])
    lab.sim.profile([{"mode": "529", "nth": 2}])
    address, pid, life = lab.sim.base_url, lab.sim.ref.call.pid().result(60), lab.sim.ref.incarnation
    assert echo.call.ask("one").result(60) == "one"
    wait_for(lambda: lab.sim.log()["finished"].tolist() == [True])  # it is noted once the last byte has gone

    if end == "process":
        os.kill(pid, signal.SIGKILL)
    else:
        getattr(lab.sim, end)()
    wait_for(lambda: not runs(pid) and lab.sim.ref.incarnation > life)
    lab.wait_idle(60)

    assert lab.sim.base_url == address
    assert lab.sim.log()["prompt"].tolist() == ["one"]
    assert echo.call.ask("two").result(60) == "two"
    log = lab.sim.log()
    assert log["prompt"].tolist() == ["one", "two", "two"]
    assert log["status"].tolist() == [200, 529, 200]
    assert log["finished"].tolist() == [True, False, True]
    assert log["repeat"].tolist() == [1, 1, 2]
    assert lab.sim.struck() == [1]


def test_an_agent_in_a_call_goes_on_when_it_dies(lab: Lab, echo) -> None:
    """It meets a connection fault, and its message is answered all the same."""
    lab.sim.profile(latency_s=30)
    answer = echo.call.ask("are you there?")
    wait_for(lambda: len(lab.sim.log()) == 1)

    lab.sim.clear()  # whoever asks from now on is answered at once
    lab.sim.crash()

    assert answer.result(60) == "are you there?"
    assert lab.sim.log()["finished"].tolist()[0] is False
    assert lab.sim.log()["finished"].tolist()[-1] is True
    assert lab.sim.log()["key"].nunique() == 1


def test_the_log_is_a_frame(lab: Lab, echo) -> None:
    """Its columns and their types are the same without rows; a struck request says by what."""
    empty = lab.sim.log()
    lab.sim.profile([{"mode": "500", "agent": echo.path, "times": 1}])
    echo.call.ask("x").result(60)

    log = lab.sim.log()
    assert list(map(str, empty.dtypes)) == list(map(str, log.dtypes))
    assert list(log.columns[:9]) == ["n", "at", "path", "model", "key", "status", "mode", "finished", "retry_count"]
    assert log["mode"].isna().tolist() == [False, True]
    assert log["path"].unique().tolist() == ["/v1/messages"]
    assert str(log["at"].dt.tz) == "UTC"
    assert log["user"].unique().tolist() == [echo.path]


def test_a_rule_that_cannot_be_is_refused_and_the_old_profile_stays(lab: Lab) -> None:
    """The error names what is allowed."""
    lab.sim.profile([{"mode": "529", "nth": 1000}])

    with pytest.raises(ValueError, match="unknown mode 'rain'; allowed: 400, "):
        lab.sim.profile([{"mode": "rain"}])
    with pytest.raises(ValueError, match=r"faults must be a list of rules, .*; got \{'mode': '529'\}"):
        lab.sim.profile({"mode": "529"})
    with pytest.raises(ValueError, match=r"takes what JSON can hold: .*object"):
        lab.sim.profile([{"mode": "429", "retry_after": object()}])

    assert lab.sim.struck() == [0]


@pytest.mark.parametrize("turns", ["Hello.", None, [5], [{}], [[]], [{"tool": 5}], [{"tool": "add", "input": 5}]])
def test_turns_that_nobody_can_say_are_refused(lab: Lab, turns) -> None:
    """Where they are set, with what a turn is; not in an answer an hour later."""
    with pytest.raises(ValueError, match=r"must be a list of turns|a turn is a text, "):
        lab.sim.scripts(sim_odd=turns)


def test_its_end_leaves_no_file_and_no_process() -> None:
    """What it remembers lasts as long as its lab."""
    with Lab(nodes=1) as lab:
        lab.sim.profile()
        pid = lab.sim.ref.call.pid().result(60)
        notes = Path(lab._runtime.scratch())
        assert [file.name for file in notes.iterdir()] == ["sim.jsonl"]

    assert not notes.exists()
    wait_for(lambda: not runs(pid))


def test_the_command_prints_its_address_and_serves() -> None:
    """``python -m agentlab.sim --port 0``, for any client."""
    heard = signal.signal(signal.SIGINT, signal.default_int_handler)  # a child inherits that it is ignored, as by nohup
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "agentlab.sim", "--port", "0"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
    finally:
        signal.signal(signal.SIGINT, heard)
    try:
        address = process.stdout.readline().strip()
        told = dict(word.split("=", 1) for word in process.stdout.readline().split())
        assert address.startswith("http://127.0.0.1:")
        assert told["ANTHROPIC_BASE_URL"] == address
        endpoint = {"base_url": address, "api_key": told["ANTHROPIC_API_KEY"]}
        assert control(endpoint).requests() == 0
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
