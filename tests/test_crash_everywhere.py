"""Crash everywhere: agents, nodes and kernels die at every boundary there is, and afterwards every book balances."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agentlab import Lab, Ref, Reply
from tests.crashes.books import ORDERS, check_aides, check_states, settle
from tests.crashes.family import family
from tests.crashes.watch import Watch
from tests.crashes.world import PLAN, breaches, count, lines
from tests.patience import LONG

OWN = ("raise", "exit")
OTHERS = ("kill", "crash", "node", "sibling")
STEP = 1 if LONG else 6
"""Each boundary meets so many-th of the ways to die: the sample meets every boundary, and every way, not all pairs."""
Plan = dict[str, list[str | None]]


class Run:
    """One lab, in which one family after the other lives through one schedule of deaths."""

    def __init__(self, lab: Lab, root: Path) -> None:
        self.lab, self.root = lab, root
        self.watch = Watch(lab._store)
        assert lab._runtime is not None
        lab._runtime.desk.pool.BURST = 10_000  # nodes that die by the dozen are no sign of trouble here
        self.number = 0

    def schedule(self, plan: Plan, *, once: bool = False, strategy: str = "one_for_one", cut: Cut | None = None) -> str:
        """Send the orders, let the deaths of the plan happen, and see that nothing is lost, doubled or half done."""
        self.number += 1
        folder = self.root / str(self.number)
        folder.mkdir()
        (folder / PLAN).write_text(json.dumps(plan))
        world = str(folder)
        self.watch.begin(world)
        team = self.lab.start(family(f"f{self.number}", world, strategy))
        clerk = self.lab[f"{team.path}/clerk"]
        self.watch.begin(world, None if cut is None else lambda commits: cut.look(self.lab, team.path, commits))
        called = 1 if once else 2  # a parked agent refuses the calls that wait, and keeps the casts
        replies = [clerk.call(timeout=120).work(order, once) for order in ORDERS[:called]]
        for order in ORDERS[called:]:
            clerk.cast.work(order, once)
        self.finish(clerk, world, replies)
        self.check(team, world, replies, once=once)
        self.watch.begin(None)
        team.stop("shutdown")
        return world

    def finish(self, clerk: Ref, world: str, replies: list[Reply]) -> None:
        """Wait for the end, and say what became of steps in doubt, as a person who looked at the world would."""
        end = time.monotonic() + 60
        while time.monotonic() < end:
            self.lab.wait_idle(60)
            if clerk.status == "parked":
                settle(clerk, world)
            elif all(reply.done() for reply in replies) and len(clerk.state["done"]) == 2 * len(ORDERS):
                return
            else:
                time.sleep(0.001)  # a timer that is due has not fired yet
        raise AssertionError(f"not over: {clerk.info()} {lines(world)}")

    def check(self, team: Ref, world: str, replies: list[Reply], *, once: bool) -> None:
        """What must be true after any schedule."""
        assert [reply.result(0) for reply in replies] == [f"{order} taken" for order in ORDERS[: len(replies)]]
        states = {name: self.lab[f"{team.path}/{name}"].state for name in ("clerk", "bank", "book")}
        check_states(states)
        check_aides(self.lab.agents(), team.path)
        assert breaches(world) == []
        if once:
            assert [count(world, "run", f"{order}.pay") for order in ORDERS] == [1, 1, 1]

    def check_frames(self) -> None:
        """The frames count what was taken back as the world saw it."""
        worlds = [lines(str(self.root / str(number))) for number in range(1, self.number + 1)]
        rewound = sum(word[0] == "rewound" for world in worlds for word in world)
        assert (self.lab.steps()["outcome"] == "rewound").sum() == rewound
        assert self.lab.restarts()["rewound"].sum() == rewound


class Cut:
    """Somebody dies right after the n-th commit."""

    def __init__(self, number: int, how: str, victim: str) -> None:
        self.number, self.how, self.victim = number, how, victim

    def look(self, lab: Lab, path: str, commits: int) -> None:
        """A commit was made; runs in the runtime's thread."""
        if commits != self.number or lab._runtime is None:
            return
        runtime = lab._runtime
        entry = runtime.desk.entries[f"{path}/{self.victim}"]
        if not entry.life:
            return
        if self.how == "node":
            node = runtime.desk.pool.nodes.get(entry.node or 0)
            if node is not None:
                node.process.kill()  # also one that is not forked yet
        else:
            runtime.desk.loop.call_soon(runtime.lives.end, entry, "killed")


def opened(store: Path | None, root: Path, nodes: int) -> Iterator[Run]:
    """A lab for all schedules of a kind."""
    with Lab(store, nodes=nodes) as lab:
        yield Run(lab, root)


@pytest.fixture(scope="module")
def in_memory(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A lab in memory with one node: every call stays within it."""
    yield from opened(None, tmp_path_factory.mktemp("memory"), nodes=1)


@pytest.fixture(scope="module")
def in_file(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    """A lab with a file and two nodes: some calls stay within one, others go by the kernel."""
    root = tmp_path_factory.mktemp("file")
    yield from opened(root / "run.lab", root, nodes=2)


@pytest.fixture(scope="module")
def places(in_memory: Run) -> list[str]:
    """The boundaries of the first order and of what follows from it, as a life without deaths meets them."""
    world = in_memory.schedule({}, once=True)
    return list(dict.fromkeys(word[1] for word in lines(world) if word[0] == "at" and word[1].startswith("o1")))


def meets(how: str, number: int) -> bool:
    """Whether this way to die is tried at the boundary of that number."""
    return ((*OWN, *OTHERS).index(how) + number) % STEP == 0


def strategy_for(how: str) -> str:
    """A sibling's death is everybody's only where they start again together."""
    return "one_for_all" if how == "sibling" else "one_for_one"


@pytest.mark.slow
@pytest.mark.parametrize("how", [*OWN, *OTHERS])
def test_one_death_at_every_boundary_of_the_code(in_memory: Run, places: list[str], how: str) -> None:
    """Before and after each effect, between steps, at the handler's end: nothing is lost, doubled or half done."""
    for number, place in enumerate(place for place in places if ".pay" not in place):
        if meets(how, number):
            in_memory.schedule({place: [how]}, strategy=strategy_for(how))


@pytest.mark.parametrize("victim", ["clerk", "bank", "book"])
@pytest.mark.parametrize("how", ["kill", "node"])
def test_one_death_after_every_commit(in_file: Run, how: str, victim: str) -> None:
    """A step's start and end, an outcome and what follows from it: whoever dies when it is committed, all goes on."""
    commits = sum(word[0] == "commit" for word in lines(in_file.schedule({})))
    step = STEP * (3 if how == "node" else 2)  # the victims take turns
    for number in range(1 + ("clerk", "bank", "book").index(victim) * step // 3, commits + 1, step):
        in_file.schedule({}, cut=Cut(number, how, victim))


@pytest.mark.slow
@pytest.mark.parametrize("how", [*OWN, *OTHERS])
def test_once_steps_never_run_twice(in_memory: Run, places: list[str], how: str) -> None:
    """Wherever its agent dies a ``once`` step runs once; where nobody can know, it is reported and a person decides."""
    ours = [place for place in places if place.count(".") == 1 and place[3] not in "tub"]
    for place in [place for number, place in enumerate(ours) if meets(how, number)]:
        in_memory.schedule({place: [how]}, once=True, strategy=strategy_for(how))
    turn = OTHERS.index(how) if how in OTHERS else 4
    commits = range(turn + 1, 26, 5)
    for number in commits if LONG else [commits[turn]]:
        in_memory.schedule({}, once=True, cut=Cut(number, "node" if how == "node" else "kill", "clerk"))


def any_schedule(seed: int, known: list[str]) -> dict[str, Any]:
    """Some deaths at some boundaries, several in a row; none that charges one message three times."""
    chance = random.Random(seed)
    plan: Plan = {}
    charged: Counter[str] = Counter()
    for _ in range(chance.randint(1, 5)):
        boundary, how = chance.choice(known), chance.choice([*OWN, *OTHERS])
        message = boundary.split(".")[0] + str(boundary.endswith(("t<", "t>", "u<", "u>", "bank", "bank-end")))
        charged[message] += how in {*OWN, "node"}  # a node's death is charged to the message that it ran
        if charged[message] < 3:
            plan.setdefault(boundary, []).append(how)
    once = chance.random() < 0.4
    if not once and chance.random() < 0.5:  # who settles a doubt starts the agent, and is told when that fails
        plan["clerk.start"] = [None, chance.choice(["raise", "kill", "node"])]
    cut = Cut(chance.randint(1, 40), chance.choice(["kill", "node"]), chance.choice(["clerk", "bank", "book"]))
    if max(charged.values(), default=0) > 1:
        cut.how = "kill"  # a node that dies under a message would charge it a third time
    grouped = chance.random() < 0.5 or any("sibling" in deaths for deaths in plan.values())
    return {
        "plan": plan, "once": once, "strategy": "one_for_all" if grouped else "one_for_one",
        "cut": cut if chance.random() < 0.5 else None,
    }  # fmt: skip


@pytest.mark.parametrize("seed", range(500 if LONG else 20))
def test_many_deaths_in_a_row(in_memory: Run, in_file: Run, places: list[str], seed: int) -> None:
    """Whatever dies when, and again before it has recovered: the books balance. A seed's number plays it again."""
    (in_file if seed % 2 else in_memory).schedule(**any_schedule(seed, places))


def test_what_was_taken_back_is_counted(in_memory: Run, in_file: Run) -> None:
    """After all of the above the frames count the rewound steps that the world has seen."""
    in_memory.check_frames()
    in_file.check_frames()


def live(kernels: subprocess.Popen[str], *life: object) -> int:
    """One kernel, in a process of its own, from its beginning to its death or the end of the work; its exit code."""
    assert kernels.stdin is not None
    assert kernels.stdout is not None
    kernels.stdin.write(f"{json.dumps(life)}\n")
    kernels.stdin.flush()
    return int(kernels.stdout.readline())


def kernels(folder: Path, seed: int) -> str:
    """Let one kernel after the other die somewhere, the last one finish; what is wrong, or nothing."""
    chance = random.Random(seed)
    world = folder / str(seed)
    world.mkdir()
    plan: Plan = {f"o{chance.randint(1, 3)}.{chance.choice(PLACES)}": ["kernel"] for _ in range(2)}
    (world / PLAN).write_text(json.dumps(plan))
    if chance.random() < 0.5:
        (world / "once").touch()
    deaths = [(chance.choice(["statement", "commit"]), int(chance.triangular(1, 120, 20))) for _ in range(4)]
    with (world / "said").open("w+") as said, subprocess.Popen(
        [sys.executable, "-m", "tests.crashes.kernel"], cwd=Path(__file__).parent.parent, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said,
    ) as process:  # fmt: skip
        for when, number in [*deaths, *[("never", 0)] * 3]:
            code = live(process, str(world / "run.lab"), str(world), when, number)
            if code == 0:
                break
            if code != -signal.SIGKILL:
                return f"seed {seed}: {plan} {deaths}: {(world / 'said').read_text()[-6000:]} {lines(str(world))}"
    wrong = breaches(str(world)) if code == 0 else ["it never ended"]
    paid = [count(str(world), "run", f"{order}.pay") for order in ORDERS]
    if (world / "once").exists() and paid != [1, 1, 1]:
        wrong.append(f"paid {paid} times")
    return f"seed {seed}: {plan} {deaths}: {wrong} {lines(str(world))}" if wrong else ""


PLACES = (
    "begin",
    "a<",
    "a>",
    "before-call",
    "started",
    "published",
    "t<",
    "bank",
    "u>",
    "bank-end",
    "x>",
    "y<",
    "end",
    "clerk.note>",
    "ring<",
)


@pytest.mark.parametrize("seeds", [(1, 2), *([(0, 3), (4, 5), (6, 7)] if LONG else [])], ids=str)
def test_kernels_die_one_after_the_other(tmp_path: Path, seeds: tuple[int, int]) -> None:
    """Before any statement of a write, after any commit, in any step: the next kernel goes on, the last one is done."""
    with ThreadPoolExecutor(2) as both:
        wrong = [found for found in both.map(lambda seed: kernels(tmp_path, seed), seeds) if found]
    assert not wrong, "\n".join(wrong)
