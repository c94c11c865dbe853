"""When a child ends: whether it is restarted, when, with which siblings, and when the supervisor gives up.

Rules: OTP's exit table, restart strategies, intensity, ``auto_shutdown``. Beyond OTP: ``backoff`` delays a
restart (the siblings that restart with the child are stopped before the wait and started after it), and
past its ``own_limit`` a child is parked, which no restart of a sibling undoes.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from agentlab.exits import is_graceful
from agentlab.supervision.board import Lane, News, Waiting
from agentlab.supervision.pace import Backoff, Limit
from agentlab.supervision.past import note_past
from agentlab.supervision.process import Process
from agentlab.supervision.records import Record, Trouble, Window
from agentlab.supervision.words import GaveUp, Then, Used

PART = 500
"""So many children are brought back at once; then the world goes on with whatever else it has to do."""


class Supervising(Process):
    """A supervisor that runs, and restarts what ends."""

    __slots__ = ()

    def child_exited(self, record: Record, life: int, reason: Any, then: Then) -> None:  # any term
        """A child ended by itself."""
        self.exits[life] = (record, reason, then)
        self.post(Supervising.on_exit, life, key=record.id)

    def on_exit(self, lane: Lane, life: int) -> Waiting:
        """A child ended by itself, and nobody has judged it since."""
        if life not in self.exits:
            return
        record, reason, then = self.exits.pop(life)
        restart = record.spec.restart
        if then == "again":
            self.trouble_of(record).last = life
            yield from self.start_again(lane, record)
            return
        if restart == "permanent" or not is_graceful(reason):
            self.board.say("child_terminated", record, reason)
        if then == "park":
            self.trouble_of(record).last = life
            self.park(record, reason)
        elif restart == "permanent" or (restart == "transient" and not is_graceful(reason)):
            self.trouble_of(record).last = life
            record.life = None
            yield from self._recover(lane, record, reason)
        else:
            self.put_down(record, reason)
            if self._shuts_down(record):
                yield from self.leave(lane, "shutdown")

    def _shuts_down(self, ended: Record) -> bool:
        """Whether this child's own end is the end of its supervisor."""
        if not ended.spec.significant or self.spec.auto_shutdown == "never":
            return False
        if self.spec.auto_shutdown == "any_significant":
            return True
        return not any(
            record.spec.significant and (record.life is not None or record.state in ("restarting", "backing_off"))
            for record in self.children.values()
        )

    def _recover(self, lane: Lane, record: Record, reason: Any) -> Waiting:  # any term
        """Count this restart; then restart, wait before it, park the child, or give up."""
        trouble = self.trouble_of(record)
        trouble.reason = reason
        gave_up = self._count(record, reason)
        if gave_up is not None and self._limit(record) is not None:
            self.park(record, reason, gave_up)
        elif gave_up is not None:
            self.board.say("gave_up", self.record, "shutdown", gave_up)
            record.state = "restarting"  # it is owed a restart, by the next process
            note_past(self)
            record.state = "undefined"
            yield from self.leave(lane, "shutdown")
        elif record.spec.backoff is not None:
            yield from self._clear(lane, record)
            self._back_off(record, trouble, record.spec.backoff)
        else:
            yield from self._restart(lane, record)

    def _limit(self, record: Record) -> Limit | None:
        return record.spec.own_limit or self.child_limit

    def _count(self, record: Record, reason: Any) -> GaveUp | None:  # any term
        """Count a restart against the child's own limit, or the supervisor's; why not, if it was too many."""
        limit = self._limit(record)
        allowed, window = float(self.spec.max_restarts), self.window
        if limit is not None:
            trouble = self.trouble_of(record)
            window = trouble.window = trouble.window or Window(limit.max_seconds)
            allowed = limit.max_restarts
        elif self.lanes is not None:
            self.board.say("restarting", record, reason, Used(0, float("inf"), window.max_seconds))
            return None
        used = Used(window.add(self.board.now, record.id, reason), allowed, window.max_seconds)
        if used.restarts > allowed:
            return GaveUp(record, tuple(window.crashes), used)
        self.board.say("restarting", record, reason, used)
        return None

    def _back_off(self, record: Record, trouble: Trouble, backoff: Backoff) -> None:
        """Wait before the restart; longer after each in a row, from the start again if it had run well."""
        board = self.board
        if trouble.began is not None and board.now - trouble.began >= backoff.maximum:
            trouble.attempt = 0
        trouble.began = None
        trouble.attempt += 1
        seconds = backoff.delay(trouble.attempt, board.random())
        trouble.timer = board.arm(seconds, record=record)
        record.state = "backing_off"
        self.remember_former(record)
        board.say("backing_off", record, trouble.reason, seconds)

    def on_due(self, lane: Lane, record: Record, timer: int) -> Waiting:
        """The wait before a restart is over, unless it was cancelled."""
        if record.state == "backing_off" and record.trouble is not None and record.trouble.timer == timer:
            record.trouble.timer = None
            yield from self._restart(lane, record)

    def on_retry(self, lane: Lane, child: str) -> Waiting:
        """A start failed during a restart: count and try again, unless a call has settled it since."""
        record = self.children.get(child)
        if record is not None and record.state == "restarting" and record.trouble is not None:
            yield from self._recover(lane, record, record.trouble.reason)

    def _restart(self, lane: Lane, record: Record) -> Waiting:
        """Start the child again, and by the strategy its siblings; the first that fails is retried later."""
        group = yield from self._clear(lane, record)
        for member in group:
            news = yield from self.start_again(lane, member)
            if news.kind == "failed":
                return

    def start_again(self, lane: Lane, record: Record) -> Waiting:
        """Start a child that had a life before; a start that fails is retried, and counted then. How it went."""
        news: News = yield from self.start(lane, record)
        self._came_up(record, news)
        return news

    def start_added(self, lane: Lane, records: list[Record]) -> Waiting:
        """Start those that come back although no spec says so: side by side where they are independent.

        It goes in parts: between two of them it answers nobody, for it still starts; told to end, it starts no more.
        """
        if self.spec.strategy in ("one_for_all", "rest_for_one"):
            yield from self._start_in_turn(lane, records)
            return
        rest, waiting = deque(records), dict[int, Record]()
        while rest or waiting:
            if rest and lane.timer is None:
                for record in [rest.popleft() for _ in range(min(PART, len(rest)))]:
                    self.begin(lane, record)
                    waiting[record.life or 0] = record
                if rest:
                    lane.timer = self.board.arm(0.0, lane=lane)
            news = yield
            if news.kind == "due":
                lane.timer = None
                if self._is_to_leave(lane):
                    rest.clear()
            else:
                record = waiting.pop(news.number)
                self._came_up(record, self.note_start(record, news))

    def _start_in_turn(self, lane: Lane, records: list[Record]) -> Waiting:
        for start in range(0, len(records), PART):
            if start:
                lane.timer = self.board.arm(0.0, lane=lane)
                yield
                lane.timer = None
            if self._is_to_leave(lane):
                return
            for record in records[start : start + PART]:
                yield from self.start_again(lane, record)

    def _is_to_leave(self, lane: Lane) -> bool:
        return any(message.handler is Process.leave for message in lane.queue)

    def _came_up(self, record: Record, news: News) -> None:
        if news.kind == "failed":
            self.board.say("start_error", record, news.value)
            if record.spec.restart == "temporary":
                self.forget_record(record, news.value)
                return
            self.trouble_of(record).reason = news.value
            record.state = "restarting"
            self.remember_former(record)
            self.post(Supervising.on_retry, record.id, key=record.id)
            return
        self.forget_former(record)
        if news.kind == "ignored":
            self.put_down(record, "ignored")
        else:
            record.restarts += 1

    def _clear(self, lane: Lane, record: Record) -> Waiting:
        """Stop the siblings that the strategy restarts with this child, last first; those to start, in order."""
        if self.spec.strategy in ("one_for_one", "simple_one_for_one"):
            return [record]
        group = list(self.children.values())
        if self.spec.strategy == "rest_for_one":
            group = group[group.index(record) :]
        group = [member for member in group if member.state != "parked"]
        for member in reversed(group):
            reason = yield from self.stop(lane, member)
            if member.spec.restart == "temporary":
                self.forget_record(member, reason)
        return [member for member in group if member.spec.restart != "temporary"]
