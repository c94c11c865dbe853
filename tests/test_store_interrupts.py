"""Whoever is interrupted while reading loses nothing, and whoever reads meanwhile, in the same thread, sees all."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import agentlab
from agentlab import Lab
from agentlab.store.batch import Batch, Rows
from agentlab.store.database import Store
from tests.agents import Counter
from tests.conftest import wait_for

PACKAGE = str(Path(agentlab.__file__).parent)


def events(*numbers: int) -> Batch:
    """Return a batch of events with these numbers."""
    batch = Batch()
    for number in numbers:
        batch.add("event", number, number, "log", "/a", 1, 1, None, "", None)
    return batch


def bulk(*numbers: int, then: Callable[[], object]) -> Batch:
    """Return events that are made when they are written; ``then`` is called in the middle of that, once."""
    calls = [then]

    def rows() -> Iterator[tuple[Any, ...]]:
        for number in numbers:
            if number == numbers[-1] and calls:
                calls.pop()()
            yield (number, number, "log", "/a", 1, 1, None, "", None)

    batch = Batch()
    batch.add_many("event", Rows(rows, len(numbers)))
    return batch


def seqs(store: Store) -> list[int]:
    """Return the numbers of the events that are there."""
    return [seq for (seq,) in store.select("SELECT seq FROM event ORDER BY seq")]


@contextmanager
def handler(number: int, does: Callable[[], object]) -> Iterator[Callable[[], None]]:
    """Handle a signal; gives what sends it and returns when its handler has begun."""
    begun = threading.Event()

    def handle(*_: object) -> None:
        begun.set()
        does()

    def send() -> None:
        os.kill(os.getpid(), number)
        begun.wait(60)

    before = signal.signal(number, handle)
    try:
        yield send
    finally:
        signal.signal(number, before)


def interrupt() -> None:
    """Do what Ctrl-C does."""
    raise KeyboardInterrupt


@pytest.mark.parametrize("where", [None, "a.lab"])
def test_an_interrupt_while_rows_are_written_loses_none(tmp_path, where):
    """Ctrl-C ends the wait of who reads; each row is there once, those before and behind it too."""
    store = Store(tmp_path / where if where else None)
    store.commit(events(1, 2))

    with handler(signal.SIGINT, interrupt) as send:
        with pytest.raises(KeyboardInterrupt) as caught:
            store.read("SELECT 1", (), lambda pieces: (send(), list(pieces)))
        assert caught.traceback  # it holds the reader's frames, and these must hold no lock
        if where is None:
            store.commit(bulk(3, 4, 5, then=send))
            store.commit(events(6))
            with pytest.raises(KeyboardInterrupt):
                seqs(store)
        else:
            store.commit(events(3, 4, 5, 6))

    assert seqs(store) == [1, 2, 3, 4, 5, 6]
    found: list[object] = []
    other = threading.Thread(target=lambda: found.append(store.state("/a")))
    other.start()
    other.join(60)
    assert found == [{}]
    store.close()


def test_an_interrupt_at_any_place_loses_no_row():
    """The reader is interrupted at each of its bytecodes in turn; rows are neither lost nor doubled."""
    at, interrupted = 0, True
    while interrupted:
        store = Store()
        store.commit(events(*range(20)))

        interrupted = _interrupted_at(at, lambda store=store: store.select("SELECT count(*) FROM event"))
        store.commit(events(20))

        assert seqs(store) == list(range(21)), at
        store.close()
        at += 1
    assert at > 20


def _interrupted_at(number: int, work: Callable[[], object]) -> bool:
    """Interrupt what this thread does in the package before the bytecode with that number; whether there is one."""
    left = number

    def trace(frame: FrameType, event: str, _: object) -> Any:
        nonlocal left
        if not frame.f_code.co_filename.startswith(PACKAGE):
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left < 0:
                sys.settrace(None)
                raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys._getframe().f_trace_opcodes = True  # Python 3.12 looks for one such frame when tracing is switched on
    sys.settrace(trace)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def test_a_signal_handler_reads_while_its_thread_reads():
    """The handler gets whole answers, and so does whoever it interrupted; nothing is written twice."""
    store, seen = Store(), []
    store.commit(events(1, 2))

    def handle() -> None:
        store.commit(events(6))
        seen.append(seqs(store))

    with handler(signal.SIGUSR1, handle) as send:
        store.commit(bulk(3, 4, 5, then=send))
        outer = seqs(store)

    assert outer[:5] == [1, 2, 3, 4, 5]
    assert seen == [[1, 2, 3, 4, 5, 6]]
    assert seqs(store) == [1, 2, 3, 4, 5, 6]
    store.close()


def test_a_handler_that_waits_for_a_message_is_answered_while_a_frame_is_read():
    """What a frame holds while it is made, no message needs."""
    with Lab(nodes=1) as lab:
        counter, heard = lab.start(Counter, id="c"), []

        with handler(signal.SIGUSR1, lambda: heard.append(counter.call.add(1).result(60))) as send:
            lab._store.read("SELECT 1 FROM event", (), lambda pieces: (send(), list(pieces)))

        wait_for(lambda: heard == [1])
        assert len(lab.messages()) == 1


@pytest.mark.parametrize("where", [None, "a.lab"])
def test_a_finalizer_that_reads_while_its_thread_writes_harms_nothing(tmp_path, where):
    """It sees what is written so far, or committed; what is being written is there once."""
    store, seen = Store(tmp_path / where if where else None), []
    store.commit(events(1, 2))
    batch = bulk(3, 4, 5, then=lambda: seen.append((seqs(store), store.state("/a"))))
    batch.add("field", "/a", "n", 1, "1")

    writer = threading.Thread(target=lambda: (store.commit(batch), seqs(store)))
    writer.start()
    writer.join(60)

    assert [state for _, state in seen] == [{}]
    assert all(set(numbers) <= {1, 2, 3, 4} for numbers, _ in seen)
    assert seqs(store) == [1, 2, 3, 4, 5]
    assert store.state("/a") == {"n": "1"}
    store.close()
