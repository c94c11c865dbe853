"""Nothing an agent does is felt by another: nodes that stall, grow or die, and nodes of one's own."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agentlab import Agent, Lab, Ref, child
from agentlab.errors import AgentDown, InvalidSpec
from tests.conftest import wait_for
from tests.misbehave import hold, hold_until, is_deaf
from tests.patience import sign_of


class Quiet(Agent):
    """Answers, remembers, and can wait in the middle of a message."""

    count: int = 0

    async def add(self, n: int = 1) -> int:
        """Count."""
        self.count += n
        return self.count

    async def wait(self, seconds: float) -> int:
        """A message that is in hand for a while."""
        await asyncio.sleep(seconds)
        return await self.add()

    async def wait_for_sign(self, path: str) -> int:
        """A message that is in hand until there is a file."""
        await sign_of(path)
        return await self.add()

    async def leave_a_mark(self, path: str) -> None:
        """Something that is seen outside, and is no step."""
        with open(path, "a") as file:  # noqa: ASYNC230, PTH123  # one byte
            file.write("x")
        await asyncio.sleep(0)

    async def pid(self) -> int:
        """Where it runs."""
        return os.getpid()

    async def thread(self) -> str:
        """In which thread."""
        return threading.current_thread().name

    async def niceness(self) -> int:
        """At which priority."""
        return os.getpriority(os.PRIO_PROCESS, 0)

    async def ask(self, other: Ref) -> int:
        """Call another agent."""
        answer: int = await other.call.add(5)
        return answer


class Bad(Quiet):
    """Misbehaves in every way."""

    async def hold(self, seconds: float) -> str:
        """C code that holds the interpreter's lock."""
        hold(seconds)
        return "held"

    async def hold_until(self, gate: str) -> str:
        """The same, until somebody writes into a named pipe."""
        hold_until(gate)
        return "held"

    async def loop(self, seconds: float) -> None:
        """Never await."""
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            pass

    async def burn(self, seconds: float) -> None:
        """Never await until it has used so much CPU, however long it was kept from it."""
        end = time.thread_time() + seconds
        while time.thread_time() < end:
            pass

    async def block(self, seconds: float) -> None:
        """Block in a step."""
        await self.step(time.sleep, seconds)

    async def die(self) -> None:
        """End the process."""
        os._exit(3)

    async def eat(self, megabytes: int) -> int:
        """Use memory."""
        self._food = b"x" * (megabytes << 20)
        return len(self._food)

    async def eat_and_stay(self, megabytes: int) -> None:
        """Use memory, and be what its node runs until somebody ends that."""
        self._food = b"x" * (megabytes << 20)
        while True:
            time.sleep(0.01)  # noqa: ASYNC251  # it is what its node runs

    async def eat_later(self, megabytes: int, gate: str) -> None:
        """Use memory in a thread, which is nobody's turn, once somebody has written into a named pipe."""

        def eat() -> None:
            Path(gate).read_bytes()
            self._food = b"x" * (megabytes << 20)

        threading.Thread(target=eat, daemon=True).start()

    async def nibble(self, megabytes: int) -> None:
        """Use memory, and be between two slices half of the time."""
        self._food = b"x" * (megabytes << 20)
        while True:
            time.sleep(0.002)  # noqa: ASYNC251  # as above
            await asyncio.sleep(0.002)

    async def endless(self) -> None:
        """Never end."""
        while True:
            pass


@pytest.fixture
def one() -> Iterator[Lab]:
    """A lab with a single node, which notices stalls soon."""
    with Lab(nodes=1, stall_notice=0.1, stall_seconds=8) as lab:
        yield lab


def holds(lab: Lab, ref: Ref) -> bool:
    """Whether an agent's code is what its node runs."""
    assert lab._runtime is not None
    entry = lab._runtime.desk.entries[ref.path]
    node = lab._runtime.desk.pool.nodes.get(entry.node or 0)
    return node is not None and node.word.read()[0] == entry.place != 0


def is_held(lab: Lab, ref: Ref) -> bool:
    """Whether an agent holds its node in C code: it is what runs there, and the node hears nothing any more."""
    assert lab._runtime is not None
    node = lab._runtime.desk.pool.nodes.get(lab._runtime.desk.entries[ref.path].node or 0)
    return node is not None and holds(lab, ref) and is_deaf(node.process.pid)


def kinds(lab: Lab, path: str) -> list[str]:
    """What happened to an agent."""
    return lab.events(path=path)["kind"].astype(str).tolist()


def test_who_rests_on_a_stalled_node_is_served_by_another(one: Lab, tmp_path: Path) -> None:
    """C code holds the node; its neighbours answer meanwhile, with their states, and the restart of nobody counts."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    bad, good = one.start(Bad, id="bad"), one.start(Quiet, id="good")
    good.call.add(2).result(60)
    held = bad.call.hold_until(str(gate))
    wait_for(lambda: is_held(one, bad))

    assert good.call.add().result(60) == 3
    assert not held.done()
    gate.write_bytes(b"!")
    assert held.result(60) == "held"
    assert (good.info()["restarts"], bad.info()["restarts"]) == (0, 0)
    assert bad.incarnation == 1
    assert "node_stalled" in kinds(one, "/good")
    wait_for(lambda: "node_back" in kinds(one, "/"))
    assert good.call.add().result(60) == 4


def test_a_begun_message_stays_on_its_stalled_node(one: Lab, tmp_path: Path) -> None:
    """What an agent has begun there is not begun again elsewhere: it waits until the node is back."""
    gate, sign = tmp_path / "gate", tmp_path / "sign"
    os.mkfifo(gate)
    bad, good = one.start(Bad, id="bad"), one.start(Quiet, id="good")
    waiting = good.call.wait_for_sign(str(sign))
    wait_for(lambda: good.info()["message"] == "wait_for_sign")
    held = bad.call.hold_until(str(gate))
    wait_for(lambda: is_held(one, bad) and "node_stalled" in kinds(one, "/"))
    sign.touch()

    assert not waiting.done()
    gate.write_bytes(b"!")
    assert waiting.result(60) == 1
    assert held.result(60) == "held"
    assert good.incarnation == 1


def test_a_node_that_stalls_for_long_is_killed_and_its_holder_blamed(one: Lab) -> None:
    """The restart of who held it counts, its message is charged; a begun message of a neighbour is not."""
    bad, good = one.start(Bad, id="bad"), one.start(Quiet, id="good")
    waiting = good.call.wait(0.3)
    wait_for(lambda: good.info()["message"] == "wait")
    holding = bad.call(redeliver=False).hold(60)

    with pytest.raises(AgentDown, match="it made no progress for") as told:
        holding.result(20)
    assert "NodeDown" in str(told.value)
    assert waiting.result(20) == 1
    one.wait_idle(60)
    assert (bad.info()["restarts"], good.info()["restarts"]) == (1, 0)
    assert (one.messages(path="/good")["deliveries"] == 1).all()


def test_who_brings_two_nodes_down_gets_one_of_its_own(one: Lab) -> None:
    """The third time it takes nobody along."""
    bad, good = one.start(Bad, id="bad"), one.start(Quiet, id="good")
    for _ in range(2):
        with pytest.raises(AgentDown, match="exit code 3"):
            bad.call(redeliver=False).die().result(20)
    one.wait_idle(60)
    moved = good.incarnation

    assert "isolated" in kinds(one, "/bad")
    assert "It has a node of its own: it brought 2 nodes down" in one.explain(bad)
    assert bad.call.pid().result(60) != good.call.pid().result(60)
    with pytest.raises(AgentDown):
        bad.call(redeliver=False).die().result(20)
    assert good.call.add().result(60) == 1
    assert good.incarnation == moved
    assert good.info()["restarts"] == 0


def test_a_killed_node_is_blamed_on_nobody_at_rest(one: Lab) -> None:
    """A signal from outside, while nobody runs: all move, uncounted."""
    refs = [one.start(Quiet, id=f"a{number}") for number in range(5)]
    for ref in refs:
        ref.call.add(7).result(60)

    os.kill(refs[0].call.pid().result(60), signal.SIGKILL)

    assert [ref.call.add().result(20) for ref in refs] == [8] * 5
    assert [ref.info()["restarts"] for ref in refs] == [0] * 5


def test_an_agent_may_have_a_process_of_its_own(lab: Lab) -> None:
    """It lives and dies with its agent; each incarnation has a new one."""
    own = lab.start(child(Bad, id="own", isolation="process"))
    shared = lab.start(Quiet, id="shared")
    first = own.call.pid().result(60)
    assert own.call.ask(shared).result(60) == 5

    own.call.add(4).result(60)
    own.kill()
    second = own.call.pid().result(60)

    assert len({first, second, shared.call.pid().result(60)}) == 3
    assert own.call.add().result(60) == 5
    own.stop()
    wait_for(lambda: not psutil.pid_exists(first) and not psutil.pid_exists(second))


def test_an_endless_loop_in_its_own_process_can_be_crashed(lab: Lab) -> None:
    """As in the pool."""
    own = lab.start(child(Bad, id="own", isolation="process"))
    looping = own.call(redeliver=False).endless()
    wait_for(lambda: holds(lab, own))

    own.crash(ValueError("enough"))

    with pytest.raises(AgentDown, match="enough"):
        looping.result(60)
    assert own.call.add().result(60) == 1


def test_the_death_of_its_own_process_is_the_agents(lab: Lab) -> None:
    """Whoever killed it: nobody else lived there."""
    own = lab.start(child(Quiet, id="own", isolation="process"))
    os.kill(own.call.pid().result(60), signal.SIGKILL)

    wait_for(lambda: own.incarnation == 2)

    assert own.info()["restarts"] == 1
    assert own.call.add().result(60) == 1


def test_memory_past_the_limit_ends_its_agent_only(lab: Lab) -> None:
    """A little past it the node is killed and its agent told why; far past it the allocation fails."""
    own = lab.start(child(Bad, id="own", isolation="process", max_memory=20 << 20))
    other = lab.start(Quiet, id="other")

    with pytest.raises(AgentDown, match="may use 20,971,520"):
        own.call(redeliver=False).eat_and_stay(50).result(60)
    with pytest.raises(AgentDown, match="MemoryError"):
        own.call(redeliver=False).eat_and_stay(500).result(60)

    assert own.call.eat(1).result(20) == 1 << 20
    assert other.incarnation == 1


def test_a_pool_node_has_its_share_of_the_memory() -> None:
    """Past it the node is killed before the machine swaps, and who ate it is blamed."""
    with Lab(nodes=1, node_memory=60 << 20) as lab:
        bad, good = lab.start(Bad, id="bad"), lab.start(Quiet, id="good")
        good.call.add().result(60)

        with pytest.raises(AgentDown, match="may use 62,914,560"):
            bad.call(redeliver=False).eat_and_stay(200).result(60)

        assert good.call.add().result(20) == 2
        assert (bad.info()["restarts"], good.info()["restarts"]) == (1, 0)


def test_who_ate_the_memory_is_blamed_also_between_two_slices() -> None:
    """A node that is found too big while nobody's code runs is looked at again, until somebody's does."""
    with Lab(nodes=1, node_memory=60 << 20) as lab:
        for number in range(5):
            bad = lab.start(Bad, id=f"bad-{number}")

            with pytest.raises(AgentDown, match="may use 62,914,560"):
                bad.call(redeliver=False).nibble(200).result(20)


def test_a_node_on_which_nobody_runs_is_killed_for_its_memory_too(tmp_path: Path) -> None:
    """Nobody is to blame: who was there goes on elsewhere."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    with Lab(nodes=1, node_memory=60 << 20) as lab:
        bad = lab.start(Bad, id="bad")
        bad.call.eat_later(200, str(gate)).result(20)
        gate.write_bytes(b"!")

        wait_for(lambda: "node_down" in kinds(lab, "/"))
        assert bad.call.add().result(20) == 1
        assert bad.info()["restarts"] == 0


def test_who_burns_its_slices_goes_on_at_low_priority(one: Lab) -> None:
    """Between two messages, with its state and its mailbox, uncounted; an event says so."""
    bad, good = one.start(Bad, id="bad"), one.start(Quiet, id="good")
    bad.call.add(3).result(60)

    replies = [bad.call.burn(0.4) for _ in range(2)]
    nice = bad.call.niceness()
    for reply in replies:
        reply.result(30)

    assert nice.result(30) == 19
    assert good.call.niceness().result(60) < 19
    assert bad.call.add().result(60) == 4
    assert bad.info()["restarts"] == 0
    assert "low_priority" in kinds(one, "/bad")
    assert "it goes on at low priority" in one.explain(bad)
    bad.restart()
    assert bad.call.niceness().result(60) < 19


def test_an_agent_may_run_in_the_kernels_process(lab: Lab) -> None:
    """For debugging: the same process, another thread; steps, calls and crashes work as elsewhere."""
    inside = lab.start(child(Bad, id="inside", isolation="kernel"))
    other = lab.start(Quiet, id="other")

    assert inside.call.pid().result(60) == os.getpid()
    assert inside.call.thread().result(60) == "agentlab-node"
    assert inside.call.ask(other).result(60) == 5
    assert other.call.ask(inside).result(60) == 5
    inside.call.block(0.01).result(60)
    inside.crash()
    assert inside.call.add().result(60) == 6
    assert lab.steps(path="/inside")["name"].astype(str).tolist() == ["/other.add", "sleep"]


def test_max_busy_is_charged_to_the_message(lab: Lab) -> None:
    """Three times it is tried, then it fails; the agent goes on with the next."""
    bad = lab.start(child(Bad, id="bad", max_busy=0.1))
    with pytest.raises(AgentDown, match=r"max_busy=0\.1"):
        bad.call.endless().result(30)

    assert bad.call.add().result(60) == 1
    assert lab.messages(path="/bad")["deliveries"].tolist()[0] == 3
    assert bad.call.wait(0.3).result(60) == 2, "waiting is not being busy"


@pytest.mark.parametrize("options", [{"stall_notice": 0}, {"stall_seconds": "long"}, {"node_memory": 1.5}])
def test_limits_are_checked(options: dict[str, object]) -> None:
    """A limit that cannot be is refused by name, and nothing is started."""
    with pytest.raises(InvalidSpec, match=next(iter(options))):
        Lab(**options)  # type: ignore[arg-type]


def test_a_message_that_is_not_delivered_again_is_begun_once(one: Lab, tmp_path: Path) -> None:
    """The kernel knows that it began before it begins, whatever its node is busy with afterwards."""
    bad, others = one.start(Bad, id="bad"), one.start_many(Quiet, 20)
    seen = tmp_path / "seen"

    replies = [ref.call(redeliver=False).leave_a_mark(str(seen)) for ref in others]
    holding = bad.call(redeliver=False).hold(1)
    assert [reply.result(20) for reply in replies] == [None] * 20

    assert holding.result(20) == "held"
    assert seen.read_text() == "x" * 20


def test_a_class_that_cannot_travel_is_refused_with_its_reason(lab: Lab) -> None:
    """It is said what cannot, and what to do; nothing is kept, and the lab goes on."""
    lock = threading.Lock()

    class Locked(Agent):
        async def hold(self) -> int:
            with lock:
                return 1

    for _ in range(2):
        with pytest.raises(RuntimeError, match=r"Locked cannot travel to a node.*lock.*in on_start"):
            lab.start(Locked, id="locked")
    assert lab.whereis("locked") is None
    lab.wait_idle(60)
