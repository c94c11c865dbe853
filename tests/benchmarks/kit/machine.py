"""What processes cost: processor time and memory, as the operating system counts them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable

import psutil


def family() -> list[psutil.Process]:
    """This process and all below it."""
    me = psutil.Process()
    return [me, *me.children(recursive=True)]


def cpu(processes: Iterable[psutil.Process]) -> float:
    """Seconds of processor time that they have used so far; those that are gone count as nothing."""
    total = 0.0
    for process in processes:
        try:
            used = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += used.user + used.system
    return total


def cpu_with_ended(processes: Iterable[psutil.Process]) -> float:
    """The same, with what their own children used that have ended."""
    processes = list(processes)
    ended = [process.cpu_times() for process in processes if process.is_running()]
    return cpu(processes) + sum(used.children_user + used.children_system for used in ended)


def cpu_of_thread(native_id: int | None) -> float:
    """Seconds of processor time of one thread of this process."""
    return sum(each.user_time + each.system_time for each in psutil.Process().threads() if each.id == native_id)


def pss(process: psutil.Process) -> int:
    """Bytes of memory, what is shared divided by those who share it."""
    return int(process.memory_full_info().pss)


def wait_for(condition: Callable[[], object], patience: float, what: str) -> None:
    """Until it is true; raises TimeoutError after ``patience`` seconds."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(f"{what} did not happen within {patience:g} s")
        time.sleep(0.002)
