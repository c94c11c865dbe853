"""The order of a mailbox is the order of acceptance, per sender, whatever moves and whatever the wall clock says."""

from __future__ import annotations

from pathlib import Path

import anyio

from agentlab import Agent, Lab, Ref
from tests.test_kernel_life import read_line, start_script
from tests.test_travel import mark


class Taker(Agent):
    """Notes what it gets."""

    got: list[int] = []

    async def take(self, n: int) -> None:
        """Get a number."""
        self.got.append(n)

    async def gated(self, folder: str) -> None:
        """Do a step, and wait for a gate that is shut."""
        await self.step(mark, folder, "gated")
        if not await anyio.Path(folder, "gate").exists():
            await anyio.sleep_forever()
        self.got.append(-1)

    async def pass_on(self, other: Ref, folder: str) -> None:
        """Call a neighbour."""
        await other.call.gated(folder)


KERNEL = """
    import sys, time
    from pathlib import Path
    from agentlab import Lab
    from tests.conftest import wait_for
    from tests.test_order import Taker

    lab = Lab(sys.argv[1], nodes=1)
    taker = lab.start(Taker, id="taker")
    asker = lab.start(Taker, id="asker")
    real, back = time.time_ns, 0
    time.time_ns = lambda: real() - back
    if sys.argv[3] == "in hand":
        asker.cast.pass_on(taker, sys.argv[2])
        wait_for(lambda: Path(sys.argv[2], "gated").exists() and lab.steps()["name"].tolist() == ["mark"])
    else:
        taker.suspend()
    for n in range(5):
        taker.cast.take(n).result(20)
        back += (3600 * 10**9) * (n % 2)
    print("ready", flush=True)
    time.sleep(60)
"""
"""A kernel whose wall clock is set back while casts wait; it is killed."""


def killed(path: Path, folder: Path, what: str) -> None:
    """Run that kernel, and kill it."""
    script = start_script(KERNEL, str(path), str(folder), what)
    assert read_line(script).strip() == "ready"
    script.kill()
    script.communicate(timeout=20)


def test_a_clock_that_is_set_back_does_not_reorder_a_mailbox(tmp_path: Path) -> None:
    """What waits when the kernel dies is handled by the next one as it came in."""
    path = tmp_path / "run.lab"
    killed(path, tmp_path, "waiting")

    with Lab(path, nodes=1, resume=True) as lab:
        lab.wait_idle()
        assert lab["/taker"].state["got"] == [0, 1, 2, 3, 4]


def test_the_message_in_hand_stays_the_first(tmp_path: Path) -> None:
    """A neighbour's call that had begun is begun again before the casts that waited behind it."""
    path = tmp_path / "run.lab"
    killed(path, tmp_path, "in hand")

    (tmp_path / "gate").touch()
    with Lab(path, nodes=1, resume=True) as lab:
        lab.wait_idle()
        assert lab["/taker"].state["got"] == [-1, 0, 1, 2, 3, 4]
        assert lab.steps(path="/taker").query("replayed == 0")["name"].tolist() == ["mark"]
