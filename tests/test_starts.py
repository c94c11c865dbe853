"""Every start has a deadline and cleans up: what cannot begin says why, holds nothing, and can be tried again."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from agentlab import Lab
from agentlab.errors import NodeDown
from agentlab.pool import fork
from tests.agents import Counter
from tests.conftest import WARM, wait_for
from tests.held import threads
from tests.patience import LONG
from tests.test_kernel_life import start_script


@pytest.fixture
def no_zygote(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A process that has not started its zygote yet, and starts it without what tests/warm has for a thousand nodes."""
    monkeypatch.setattr(fork, "_shared", None)
    monkeypatch.setattr(sys, "path", [place for place in sys.path if place != WARM])
    monkeypatch.setattr(fork, "needs", list)  # what other tests' agents need takes longer to import than all of this
    yield
    if fork._shared is not None:
        fork._shared.close()


def interpreter(path: Path, body: str) -> str:
    """A program that is started where Python should be."""
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


@pytest.mark.usefixtures("no_zygote")
@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("exit 3", "exit code 3"),
        ("echo 'no module named agentlab' >&2; exit 1", "no module named agentlab"),
        ("kill -9 $$", "signal 9"),
    ],
)
def test_a_zygote_that_ends_at_once_is_an_error_that_quotes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, said: str
) -> None:
    """``Lab()`` raises, says what the process said last, and the next one opens."""
    store, before = tmp_path / "run.lab", threads()
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", interpreter(tmp_path / "python", body))
        with pytest.raises(NodeDown, match=said):
            Lab(store, nodes=1)

    wait_for(lambda: threads() == before)
    with Lab(store, nodes=1) as lab:
        assert lab.start(Counter, id="c").call.add(2).result(60) == 2


@pytest.mark.usefixtures("no_zygote")
def test_an_interpreter_that_is_gone_is_said_and_hinders_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after an upgrade below a running notebook: an error that says what to do, and no lock is held."""
    with monkeypatch.context() as broken:
        broken.setattr(sys, "executable", str(tmp_path / "gone"))
        for _ in range(2):
            with pytest.raises(NodeDown, match="restart the kernel"):
                Lab(nodes=1)

    with Lab(nodes=1) as lab:
        assert lab.start(Counter, id="c").call.add(2).result(60) == 2


@pytest.mark.usefixtures("no_zygote")
def test_a_zygote_that_never_says_a_word_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """There is a deadline, and what was started is ended."""
    before = set(psutil.Process().children())
    with monkeypatch.context() as broken:
        broken.setattr(fork, "START_SECONDS", 1.0)
        broken.setattr(sys, "executable", interpreter(tmp_path / "python", "exec sleep 1000"))
        with pytest.raises(NodeDown, match="not ready after 1 s"):
            Lab(nodes=1)

    wait_for(lambda: set(psutil.Process().children()) <= before)
    with Lab(nodes=1) as lab:
        assert lab.start(Counter, id="c").call.add(2).result(60) == 2


def test_a_lab_opens_where_the_folder_was_removed(tmp_path: Path) -> None:
    """The nodes stay in the zygote's folder."""
    (gone := tmp_path / "gone").mkdir()
    before = Path.cwd()
    try:
        os.chdir(gone)
        gone.rmdir()
        with Lab(nodes=1) as lab:
            assert lab.start(Counter, id="c").call.add(2).result(60) == 2
    finally:
        os.chdir(before)


def test_without_descriptors_a_lab_says_so_and_opens_when_there_are_some(tmp_path: Path) -> None:
    """However many are left, up to those that suffice: never a wait without end, nothing stays open."""
    script = start_script(
        """
        import os, resource, sys
        from agentlab import Lab
        from agentlab.errors import AgentLabError
        from tests.agents import Counter
        from tests.patience import wait_for
        from tests.held import held

        before, (_, hard), refused = held(), resource.getrlimit(resource.RLIMIT_NOFILE), 0
        for spare in range(60):
            resource.setrlimit(resource.RLIMIT_NOFILE, (before[1] + spare, hard))
            try:
                Lab(sys.argv[1], nodes=1).close()
                break
            except AgentLabError as error:
                refused += 1
                said = str(error)
            except OSError as error:  # of the lab's own loop, or SQLite's
                refused += 1
                assert error.errno == 24, error
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            wait_for(lambda: held() == before)
        print(3 < refused < 59, "ulimit -n" in said, flush=True)
        with Lab(sys.argv[1], nodes=1) as lab:
            print(lab.start(Counter, id="c").call.add(2).result(60))
        """,
        str(tmp_path / "run.lab"),
    )
    out, _ = script.communicate(timeout=100)
    assert out.splitlines()[-2:] == ["True True", "2"], out


CELLS = """
    import gc, os, random, signal, sys, threading
    from agentlab import Lab
    from tests.agents import Counter
    from tests.patience import wait_for
    from tests.held import held, nodes

    signal.signal(signal.SIGINT, signal.default_int_handler)
    what, store, rounds, dice, felt = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), random.Random(9), 0

    def cell():
        "Opens a lab, or closes it; a signal comes at some moment of that, or a little later."
        timer = threading.Timer(dice.choice([0.001, 0.005, 0.02, 0.1]) * dice.uniform(0, 2),
                                os.kill, (os.getpid(), signal.SIGINT))
        if what == "open":
            timer.start()
        lab = Lab(store, nodes=1, resume=True)
        try:
            if what == "close":
                timer.start()
        finally:
            lab.close()
        timer.join()

    before = None
    for _ in range(rounds):
        try:
            cell()
        except KeyboardInterrupt:
            felt += 1
        while any(isinstance(t, threading.Timer) for t in threading.enumerate()):
            try:
                for thread in threading.enumerate():
                    if isinstance(thread, threading.Timer):
                        thread.join()
            except KeyboardInterrupt:
                pass
        gc.collect()
        with Lab(store, nodes=1, resume=True) as lab:
            lab.start(Counter, id="c", restart="temporary").call.add(1).result(60)
            lab["/c"].stop()
        before = before or (held(), nodes())
        wait_for(lambda: (held(), nodes()) == before)
    print(felt > 2, before[0][0], before[1])
"""


@pytest.mark.parametrize("what", ["open", "close"])
@pytest.mark.parametrize("stored", [False, True], ids=["memory", "file"])
def test_an_interrupt_leaves_no_half_of_a_lab(tmp_path: Path, what: str, stored: bool) -> None:
    """Ctrl-C at any moment while a lab opens or closes leaves no thread, node, lock or descriptor; the next opens."""
    script = start_script(CELLS, what, str(tmp_path / "run.lab") if stored else "", "24" if LONG else "6")
    out, _ = script.communicate(timeout=110)
    assert out == "True set() []\n"


def test_an_interrupt_ends_the_wait_for_an_agent_that_never_starts_or_stops(tmp_path: Path) -> None:
    """A cell that opens or closes a lab is never stuck with its agents: the lab is closed, its file can be opened."""
    script = start_script(
        """
        import os, signal, sys, threading
        from pathlib import Path
        import anyio
        from agentlab import Agent, Lab
        from tests.patience import wait_for
        from tests.held import threads

        signal.signal(signal.SIGINT, signal.default_int_handler)

        class Endless(Agent):
            place: str

            async def on_start(self):
                if self.incarnation > 1:
                    Path(self.place, "starts").touch()
                    await anyio.sleep_forever()

            async def on_stop(self, reason):
                Path(self.place, "stops").touch()
                await anyio.sleep_forever()

        def interrupt_when_it(does):
            wait_for(Path(place, does).exists)
            os.kill(os.getpid(), signal.SIGINT)

        path, place = sys.argv[1:]
        lab = Lab(path, nodes=1)
        ref = lab.start(Endless, id="e", place=place, shutdown="infinity")
        try:
            threading.Thread(target=interrupt_when_it, args=("stops",)).start()
            lab.close(timeout=600)
        except KeyboardInterrupt:
            print("closed", lab.closed, flush=True)
        try:
            threading.Thread(target=interrupt_when_it, args=("starts",)).start()
            Lab(path, nodes=1, resume=True)
        except KeyboardInterrupt:
            wait_for(lambda: not {name for name in threads() if "zygote" not in name})
            print("interrupted", flush=True)
        with Lab(path, nodes=1, resume="ask") as lab:
            print(lab["/e"].status)
        """,
        str(tmp_path / "run.lab"),
        str(tmp_path),
    )
    out, _ = script.communicate(timeout=110)
    closed, interrupted, _, status = out.splitlines()
    assert (closed, interrupted, status) == ("closed True", "interrupted", "parked"), out
