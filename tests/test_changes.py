"""Who waits for a change is woken by it, after the commit, and by nothing else."""

from __future__ import annotations

import asyncio

from agentlab.kernel.changes import Changes


async def _waits(changes: Changes, facts: list[str]) -> asyncio.Task[bool]:
    waiting = asyncio.create_task(changes.until(lambda: "over" in facts, "/a"))
    await asyncio.sleep(0)
    return waiting


def test_a_change_wakes_who_waits_for_it() -> None:
    """It looks again, and goes on waiting where that was not what it waits for."""

    async def go() -> bool:
        changes, facts = Changes(asyncio.get_running_loop()), []
        waiting = await _waits(changes, facts)
        facts.append("begun")
        changes.tell({"/a"})
        await asyncio.sleep(0)
        assert not waiting.done()
        facts.append("over")
        changes.tell({"/b"})
        changes.tell({"/a"})
        return await waiting

    assert asyncio.run(go())


def test_what_is_so_already_is_not_waited_for() -> None:
    """And what is not so in time is said not to be."""

    async def go() -> tuple[bool, bool]:
        changes = Changes(asyncio.get_running_loop())
        return await changes.until(lambda: True, "/a"), await changes.until(lambda: False, "/a", end=0.0)

    assert asyncio.run(go()) == (True, False)


def test_nothing_is_left_of_who_waits_no_more() -> None:
    """Its time was up, or it was cancelled."""

    async def go() -> Changes:
        changes = Changes(loop := asyncio.get_running_loop())
        await changes.until(lambda: False, "/a", end=loop.time() + 0.001)
        waiting = await _waits(changes, [])
        waiting.cancel()
        await asyncio.wait([waiting])
        return changes

    assert asyncio.run(go()).waiting == {}
