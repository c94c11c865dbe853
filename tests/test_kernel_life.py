"""The kernel's life and death, each in a process of its own: nothing outlives it, nothing dies before it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import psutil

from agentlab import Lab, open_store
from tests.agents import Counter
from tests.conftest import wait_for


def start_script(body: str, *args: str) -> subprocess.Popen[str]:
    """Run a script as a kernel would run: a process of its own, its output read by the test."""
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(body), *args],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=Path(__file__).parent.parent,
    )  # fmt: skip


def runs(pid: int) -> bool:
    """Whether the process runs (a zombie does not)."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def read_line(process: subprocess.Popen[str]) -> str:
    """One line of its output."""
    assert process.stdout is not None
    return process.stdout.readline()


BUSY = """
    import sys, time
    from agentlab import Agent, Lab
    from tests.held import nodes_of

    class Busy(Agent):
        def loop(self):
            while True:
                pass

        def in_c(self):
            sum(range(10**12))

    lab = Lab(nodes=3, stall_seconds=600)  # nobody but the test ends the node that C code holds
    a, b, c = (lab.start(Busy, id=name) for name in "abc")
    a.cast.loop()
    b.cast.in_c()
    lab.simulator()
    pid = lab.sim.ref.call.pid().result(60)
    print(*nodes_of(lab), pid, flush=True)
    time.sleep(600)
"""


def test_nothing_is_left_after_kill_9() -> None:
    """Nodes end with the kernel: at rest, in a tight loop, and in C code that holds its lock; its folder goes too."""
    kernel = start_script(BUSY)
    pids = [int(word) for word in read_line(kernel).split()]
    assert len(pids) == 5  # the simulator has a node of its own
    assert all(runs(pid) for pid in pids)
    words = psutil.Process(pids[-1]).cmdline()
    scratch = Path(words[words.index("--notes") + 1]).parent
    assert scratch.is_dir()

    kernel.kill()
    kernel.wait(60)
    wait_for(lambda: not any(runs(pid) for pid in pids))
    wait_for(lambda: not scratch.exists())

    kernel.stdout.close()  # type: ignore[union-attr]  # it is a pipe


def test_a_lab_left_open_is_closed_at_exit() -> None:
    """A script that forgets ``close`` ends by itself, and its nodes with it."""
    script = start_script(
        """
        from agentlab import Agent, Lab

        class Hello(Agent):
            def hi(self):
                return "hi"

        lab = Lab()
        print(lab.start(Hello).call.hi().result(20), flush=True)
        print(*(node.process.pid for node in lab._runtime.desk.pool.nodes.values()), flush=True)
        """
    )
    out, _ = script.communicate(timeout=60)
    assert script.returncode == 0, out
    hi, pids = out.splitlines()
    assert hi == "hi"
    wait_for(lambda: not any(runs(int(pid)) for pid in pids.split()))


def test_an_interrupt_ends_the_wait_and_no_agent(tmp_path: Path) -> None:
    """Ctrl-C reaches whoever waits; the agents go on, also those of a terminal's process group."""
    script = start_script(
        """
        import signal, sys, threading
        from pathlib import Path
        from agentlab import Agent, Lab
        from tests.patience import sign_of, wait_for

        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Slow(Agent):
            done: int = 0

            async def work(self, gate):
                await sign_of(gate)
                self.done += 1
                return self.done

        lab = Lab()
        slow = lab.start(Slow, id="slow")
        reply = slow.call.work(sys.argv[1])

        def waits():
            frame = sys._current_frames()[threading.main_thread().ident]
            while frame is not None and frame.f_code.co_name != "result":
                frame = frame.f_back
            return frame

        def tell():
            wait_for(waits)
            print("waiting", flush=True)

        threading.Thread(target=tell).start()
        try:
            reply.result()
        except KeyboardInterrupt:
            Path(sys.argv[1]).touch()
            print("interrupted", reply.result(20), slow.incarnation, flush=True)
        lab.close()
        """,
        str(tmp_path / "gate"),
    )
    assert read_line(script).strip() == "waiting"
    script.send_signal(signal.SIGINT)
    out, _ = script.communicate(timeout=60)
    assert out.strip() == "interrupted 1 1"


def test_an_interrupt_is_felt_whenever_it_comes() -> None:
    """Also just before a wait begins, when the system wakes nobody: 300 waits are interrupted as they begin."""
    script = start_script(
        """
        import signal, threading
        from agentlab import Lab
        from tests.agents import Counter
        from tests.patience import wait_for

        signal.signal(signal.SIGINT, signal.default_int_handler)

        def interrupt(begins, thread):
            begins.wait()
            signal.pthread_kill(thread, signal.SIGINT)

        lab = Lab(nodes=1)
        reply = lab.start(Counter, id="c").call(timeout=600).hang()
        wait_for(lambda: lab["/c"].status == "busy")
        felt = 0
        for _ in range(300):
            begins = threading.Event()
            helper = threading.Thread(target=interrupt, args=(begins, threading.get_ident()))
            helper.start()
            try:
                try:
                    begins.set()
                    reply.result()
                finally:
                    helper.join()
            except KeyboardInterrupt:
                felt += 1
        print(felt, lab["/c"].incarnation, lab["/c"].status, flush=True)
        lab.close()
        """
    )
    out, _ = script.communicate(timeout=60)
    assert out.strip() == "300 1 busy"


def test_a_lab_of_a_killed_kernel_comes_back_with_all_it_acknowledged(tmp_path: Path) -> None:
    """``kill -9`` of the kernel under load: whatever it acknowledged is in the store."""
    path = tmp_path / "run.lab"
    script = start_script(
        """
        import sys
        from agentlab import Lab
        from tests.agents import Counter

        lab = Lab(sys.argv[1])
        counter = lab.start(Counter, id="c")
        while True:
            print(counter.call.add(1).result(20), flush=True)
        """,
        str(path),
    )
    assert script.stdout is not None
    last = 0
    while last < 200:
        last = int(script.stdout.readline())
    os.kill(script.pid, signal.SIGKILL)
    acknowledged = [int(line) for line in script.stdout.read().split()]
    script.wait(60)
    script.stdout.close()
    last = max([last, *acknowledged])

    with open_store(path) as stored:
        assert stored.agents()["path"].tolist() == ["/", "/c"]
    with Lab(path) as lab:
        counted = lab["/c"].state["count"]
        assert counted in (last, last + 1)  # one may be committed and not yet acknowledged
        assert lab["/c"].call.add(1).result(20) == counted + 1
        assert lab["/c"].incarnation == 2
        assert isinstance(lab["/c"], type(lab.start(Counter, id="other")))


def test_a_busy_cell_does_not_stop_the_supervisor() -> None:
    """While the main thread runs a tight loop, a crashed agent is restarted."""
    script = start_script(
        """
        import time
        from agentlab import Lab
        from tests.agents import Counter

        lab = Lab()
        counter = lab.start(Counter, id="c")
        feed = lab.feed()
        counter.crash()
        reply = counter.call.add(1)
        end = time.monotonic() + 40
        while not reply.done() and time.monotonic() < end:
            pass
        print(reply.done(), flush=True)
        lab.close()
        """
    )
    out, _ = script.communicate(timeout=60)
    assert out.strip() == "True"
