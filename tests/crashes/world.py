"""The outside world: one file to which steps, agents and the watched store append, and a plan of deaths.

A *boundary* is a place that an agent reaches: before and after a step's effect, and between steps. The plan
says who dies when a boundary is reached for the first, second, ... time. Lines are appended whole, so the file
is in the order in which things happened, whichever process wrote them.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections import Counter
from pathlib import Path

import anyio

from agentlab import Exit
from agentlab.node.resident import Resident, current
from agentlab.wire.asks import write_control

FILE, PLAN, KERNEL = "world", "plan", "kernel"


def write(folder: str, *words: object) -> None:
    """Append one line."""
    line = " ".join(map(str, words)) + "\n"
    file = os.open(f"{folder}/{FILE}", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(file, line.encode())
    finally:
        os.close(file)


def lines(folder: str) -> list[list[str]]:
    """Everything that happened, as words."""
    file = Path(folder, FILE)
    return [line.split() for line in file.read_text().splitlines()] if file.exists() else []


def count(folder: str, *words: object) -> int:
    """How often this happened."""
    wanted = [str(word) for word in words]
    return sum(line[: len(wanted)] == wanted for line in lines(folder))


async def at(folder: str, boundary: str) -> None:
    """A boundary is reached: note it, and die if the plan says so."""
    write(folder, "at", boundary)
    how = planned(folder, boundary)
    if how:
        await die(folder, how)


def planned(folder: str, boundary: str) -> str | None:
    """The death that the plan holds for this visit of a boundary."""
    deaths = json.loads(Path(folder, PLAN).read_text()).get(boundary, [])
    visit = count(folder, "at", boundary)
    return deaths[visit - 1] if visit <= len(deaths) else None


def end_kernel(folder: str) -> None:
    """Kill the kernel above this node, and wait to go with it."""
    os.kill(int(Path(folder, KERNEL).read_text()), signal.SIGKILL)
    time.sleep(60)  # never over: the node dies with its kernel


async def die(folder: str, how: str) -> None:
    """Bring about one death, from where the agent stands; those that others bring about are no step of its handler."""
    write(folder, "death", how)
    resident = current.get()
    assert resident is not None
    agent = resident.agent
    if how == "raise":
        raise ValueError("planned")
    if how == "exit":
        raise Exit("planned")
    if how == "node":
        os.kill(os.getpid(), signal.SIGKILL)
    elif how == "kernel":
        end_kernel(folder)
    elif how == "sibling":
        await ask(resident, "kill", agent.path.rsplit("/", 1)[0] + "/book")
    else:
        await ask(resident, how, agent.path)
    await anyio.sleep_forever()


async def ask(resident: Resident, op: str, path: str) -> None:
    """Have the kernel do it, as a ref does, but not as a step."""
    given = (None,) if op == "crash" else ()
    await resident.host.ask("control", op, path, write_control(op, given, resident.host.number_of))


async def effect(folder: str, label: str) -> int:
    """A step with a boundary on either side; how often it has run."""
    await at(folder, f"{label}<")
    resident = current.get()
    assert resident is not None
    write(folder, "run", label, resident.agent.incarnation)
    await at(folder, f"{label}>")
    return count(folder, "run", label)


async def pay(folder: str, label: str) -> int:
    """The same, never to be repeated."""
    return await effect(folder, label)


pay.once = True  # type: ignore[attr-defined]  # what @tool(once=True) sets


def breaches(folder: str) -> list[str]:
    """Steps that ran although the kernel knew that they had finished, and had not taken them back."""
    finished: Counter[str] = Counter()
    found = []
    for word, *rest in lines(folder):
        if word == "finished":
            finished[rest[0]] += 1
        elif word == "rewound":
            finished[rest[0]] -= 1
        elif word == "known":  # what the store of a new kernel holds
            finished = Counter(rest)
        elif word == "run" and finished[rest[0]]:
            found.append(f"{rest[0]} ran after it had finished")
    return found
