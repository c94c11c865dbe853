"""One supervisor process: its mailbox, how it begins and ends, how it starts and stops its children.

The rules and their order are OTP's ``supervisor`` (stdlib 4.2, as measured); a handler that says ``yield``
blocks this supervisor, and only this one, as a synchronous start or a shutdown does in OTP.

The lab's root is different in one thing (``lanes``): each child id has a lane of its own, so a slow start
or stop holds up nothing but messages about the same id, and all are stopped side by side at the end.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from agentlab.errors import InvalidSpec
from agentlab.exits import is_graceful
from agentlab.supervision.board import Board, Handler, Host, Lane, Message, News, Waiter, Waiting
from agentlab.supervision.child import Limit, Supervisor, check_children, check_flags
from agentlab.supervision.past import bring_back, note_past, who_comes_back
from agentlab.supervision.records import Record, State, SupervisorRecord, Trouble
from agentlab.supervision.words import Answer, GaveUp, Refused, Start, Then


class Process(Host):
    """A supervisor that runs: its mailbox, how it begins and ends, and how it starts and stops children.

    Attributes:
        exits: Children that ended and whose end still waits in the mailbox: record, reason, and what then.
        former: Under ``simple_one_for_one``: instances between two lives, by the life that ended.
        lane: Its mailbox; of an independent root only what is about no child in particular.
        lanes: The lanes by child id of an independent root; None for all others.
        bulks: Of an independent root: the lanes of ``start_children``.
        child_limit: The ``own_limit`` of children that have none.
        serial: The last number given to an instance without a name.
    """

    __slots__ = ("bulks", "child_limit", "exits", "former", "info", "lane", "lanes", "leaving", "serial")

    def __init__(self, board: Board, record: SupervisorRecord, spec: Supervisor, info: Any) -> None:  # any term
        super().__init__(record, record.life or 0, spec)
        self.board = board
        self.info = info
        self.exits: dict[int, tuple[Record, Any, Then]] = {}
        self.former: dict[int, Record] = {}
        self.lane = Lane(self)
        self.lanes: dict[str, Lane] | None = None
        self.bulks: list[Lane] = []
        self.child_limit: Limit | None = None
        self.leaving = False
        self.serial = 0
        record.keeper = self
        board.processes[self.life] = self

    @classmethod
    def boot(cls, board: Board, record: SupervisorRecord, info: Any = None) -> Process:  # any term
        """Run a supervisor whose start has begun."""
        if not isinstance(record.spec.what, Supervisor):
            raise TypeError(f"{record!r} is kept as a supervisor, yet it is {record.spec.what!r}")
        process = cls(board, record, record.spec.what, info)
        process.post(Process.init)
        return process

    @property
    def is_simple(self) -> bool:
        """Whether it starts instances of one template."""
        return self.spec.strategy == "simple_one_for_one"

    # Mailbox

    def post(self, handler: Handler, *args: Any, call: int | None = None, key: str | None = None) -> None:  # its own
        """Put a message last in the mailbox; ``key`` is the child id it is about."""
        if self.dead:
            if call is not None:
                self.board.commands.append(Answer(call, Refused("noproc")))
            return
        lane = self.lane
        if self.lanes is not None and not self.leaving:
            lane = Lane(self) if key is None else self._lane_about(self.lanes, key)
        lane.post(Message(handler, call, args, key))

    def _lane_about(self, lanes: dict[str, Lane], key: str) -> Lane:
        """The lane of the message in hand about this child id, also if it is one of a bulk; else a new one."""
        lane, record = lanes.get(key), self.children.get(key)
        if lane is None and record is not None and record.life in self.board.waiters:
            lane = self.board.waiters[record.life].lane
        if lane is None:
            lane = lanes[key] = Lane(self, key)
        return lane

    def release(self, key: str, lane: Lane) -> None:
        """The bulk in the lane is done with this id: what waits for it there need wait no longer."""
        if self.lanes is not None:
            for message in [message for message in lane.queue if message.key == key]:
                lane.queue.remove(message)
                self.post(message.handler, *message.args, call=message.call, key=key)

    def lane_rests(self, lane: Lane) -> None:
        """The lane has nothing more to do."""
        if lane.key is not None and self.lanes is not None and self.lanes.get(lane.key) is lane:
            del self.lanes[lane.key]

    def parent_exited(self, reason: Any, call: int | None = None) -> None:  # any term
        """An exit signal from the parent, or a request to stop: end in an orderly way."""
        self.lane.post(Message(Process.leave, call, (reason,), None))

    # Beginning and end

    def init(self, lane: Lane) -> Waiting:
        """Start the static children from left to right; the first that fails takes the rest along."""
        self.board.say("supervisor_init", self.record)
        problem = self._problem()
        if problem is not None:
            self._fail(problem)
            return
        for spec in self.spec.children if not self.is_simple else ():
            self.add(spec.id, spec)
        added, down = bring_back(self)
        for record in list(self.children.values())[: len(self.children) - len(added) - len(down)]:
            if record.path in self.board.stays_down:
                self._leave_down(record, *self.board.stays_down.pop(record.path))
                continue
            news = yield from self.start(lane, record)
            if news.kind == "failed":
                self.board.say("start_error", record, news.value)
                note_past(self)
                yield from self._stop_in_turn(lane)
                self._fail(("shutdown", ("failed_to_start_child", record.id, news.value)))
                return
            if news.kind == "ignored":
                self.put_down(record, "ignored")
        yield from self.start_added(lane, added)
        for record in down:
            reason = record.trouble.reason if record.trouble is not None else "normal"
            self.board.say("parked" if record.state == "parked" else "down", record, reason)
        self.board.say("supervisor_started", self.record)
        self.board.started(self.record, self.info)

    def _leave_down(self, record: Record, state: State, reason: Any) -> None:  # any term
        """A stored tree comes back: this child did not run when it ended."""
        if state == "parked":
            self.park(record, reason)
        else:
            self.board.say("down", record, reason, "asked")

    def _problem(self) -> Any:  # a start error, as OTP spells it
        where = repr(self.record.path)
        try:
            check_flags(self.spec, where=where)
        except InvalidSpec as error:
            return ("supervisor_data", (error.kind, error.value))
        try:
            check_children(self.spec, where=where)
        except InvalidSpec as error:
            if error.kind == "bad_start_spec":
                return ("bad_start_spec",)
            return ("start_spec", (error.kind, error.value))
        return None

    def _fail(self, reason: Any) -> None:  # any term
        self._end(reason)
        self.board.say("supervisor_failed", self.record, reason)
        self.board.ended(self.record, "failed", reason)

    def leave(self, lane: Lane, reason: Any) -> Waiting:  # any term
        """Stop all children, then exit with the reason."""
        self.leaving = True
        note_past(self)
        for other in [*(self.lanes or {}).values(), *self.bulks]:
            other.close(Refused("exit", reason))
        if self.is_simple or self.lanes is not None:
            yield from self._stop_together(lane)
        else:
            yield from self._stop_in_turn(lane)
        self._exit(reason)

    def _exit(self, reason: Any) -> None:  # any term
        self._end(reason)
        self.board.say("supervisor_exited", self.record, reason)
        self.board.ended(self.record, "exited", reason)

    def _end(self, reason: Any) -> None:  # any term
        """No message is handled any more; children that no restart of this supervisor brings back are gone."""
        self.dead = True
        del self.board.processes[self.life]
        back = who_comes_back(self)
        for record in self.children.values():
            self.forget_backoff(record)
            if record.life is None and record.state in ("restarting", "backing_off"):
                record.state = "undefined"  # this process starts it no more
            if record.id not in back:
                self.board.say("removed", record, reason)
        self.lane.refuse(Refused("exit", reason))
        self.record.keeper = None

    def kill(self) -> None:
        """Die at once; the children are told by their links, all at the same time."""
        note_past(self)
        self._end("killed")
        self.board.say("supervisor_exited", self.record, "killed")
        for lane in [self.lane, *(self.lanes or {}).values(), *self.bulks]:
            lane.close(Refused("exit", "killed"))
        for record in self.children.values():
            if record.life is not None and record.life in self.board.lives:
                self.board.waiters.pop(record.life, None)
                self.board.signal(record, "killed")
        self.board.ended(self.record, "exited", "killed")

    # One child

    @abstractmethod
    def start_added(self, lane: Lane, records: list[Record]) -> Waiting:
        """Start children that come back although no spec says so; one that fails is retried, as in any restart."""

    def begin(self, waiter: Waiter, record: Record) -> None:
        """Begin a start attempt; the waiter is told how it went."""
        board = self.board
        life = board.new_life(record)
        board.waiters[life] = waiter
        if isinstance(record, SupervisorRecord) and not board.asks:
            type(self).boot(board, record)
        else:
            board.commands.append(Start(life, record))

    def start(self, lane: Lane, record: Record) -> Waiting:
        """Start the child and wait; the news is ``started``, ``ignored`` or ``failed``."""
        self.begin(lane, record)
        news = yield
        return self.note_start(record, news)

    def note_start(self, record: Record, news: News) -> News:
        """Note how a start went."""
        if news.kind == "started":
            if record.trouble is not None:
                record.trouble.began = self.board.now
            return news
        record.life = None
        record.state = "undefined"
        return news if news.kind == "ignored" else News("failed", news.number, news.value)

    def stop(self, lane: Lane, record: Record) -> Waiting:
        """OTP's shutdown protocol for one child; afterwards it has no process. Returns its exit reason."""
        self.forget_backoff(record)
        life, shutdown = record.life, record.spec.shutdown
        reason: Any = None  # any term
        if life in self.exits:
            reason = self.exits.pop(life)[1]
            self._judge(record, reason)
        elif life is not None:
            self._ask_to_stop(lane, record)
            if not isinstance(shutdown, str):
                lane.timer = self.board.arm(shutdown, lane=lane)
            news = yield
            if news.kind == "due":
                self.board.signal(record, "kill")
                news = yield
            self.board.disarm(lane.timer)
            lane.timer = None
            reason = news.value
            self._judge(record, reason)
        record.life = None
        record.state = "undefined"
        return reason

    def _ask_to_stop(self, lane: Lane, record: Record) -> None:
        if record.life is None:
            return
        self.board.waiters[record.life] = lane
        record.state = "stopping"
        reason = "kill" if record.spec.shutdown == "brutal_kill" else "shutdown"
        self.board.say("stopping", record, reason)
        self.board.signal(record, reason)

    def _judge(self, record: Record, reason: Any, errors: list[Any] | None = None) -> None:  # any terms
        """Report a child that did not end as asked; under ``simple_one_for_one`` gather the reasons."""
        wanted = "killed" if record.spec.shutdown == "brutal_kill" else "shutdown"
        if reason == wanted or (is_graceful(reason) and record.spec.restart != "permanent"):
            return
        if errors is None:
            self.board.say("shutdown_error", record, reason)
        else:
            errors.append(reason)

    def _stop_in_turn(self, lane: Lane) -> Waiting:
        """Stop the children one after another, in reverse start order."""
        for record in reversed(list(self.children.values())):
            yield from self.stop(lane, record)

    def _stop_together(self, lane: Lane) -> Waiting:
        """Ask all children in reverse start order, without a wait before the next; one timer per timeout."""
        waiting: dict[int, Record] = {}
        errors: list[Any] | None = [] if self.is_simple else None  # any terms
        for record in reversed(list(self.children.values())):
            self.forget_backoff(record)
            if record.life in self.exits:
                self._judge(record, self.exits.pop(record.life)[1], errors)
            elif record.life is not None:
                self._ask_to_stop(lane, record)
                waiting[record.life] = record
        timeouts = {record.spec.shutdown for record in waiting.values()} - {"brutal_kill", "infinity"}
        timers = {self.board.arm(float(seconds), lane=lane): seconds for seconds in sorted(timeouts)}
        while waiting:
            news = yield
            if news.kind == "due":
                late = timers.pop(news.number)
                for record in [record for record in waiting.values() if record.spec.shutdown == late]:
                    self.board.signal(record, "kill")
                continue
            record = waiting.pop(news.number)
            record.life = None
            record.state = "undefined"
            self._judge(record, news.value, errors)
        for timer in timers:
            self.board.disarm(timer)
        self._report_together(errors or [])

    def _report_together(self, errors: list[Any]) -> None:  # any terms
        """Report each reason once, with the number of instances; a reason need not be hashable."""
        while errors:
            reason = errors[0]
            alike = [error for error in errors if error == reason]
            errors = [error for error in errors if error != reason]
            self.board.say("shutdown_error", self.record, reason, len(alike))

    def put_down(self, record: Record, reason: Any, *, asked: bool = False) -> None:  # any term
        """No process any more: keep the record, or drop it if nothing ever starts it again."""
        self.forget_backoff(record)
        record.state = "undefined"
        if record.spec.restart == "temporary" or self.is_simple:
            self.forget_record(record, reason)
        else:
            self.board.say("down", record, reason, "asked" if asked else None)
        record.life = None

    def forget_record(self, record: Record, reason: Any) -> None:  # any term
        """Forget the record for good."""
        self.forget_former(record)
        if self.children.get(record.id) is record:
            del self.children[record.id]
        self.board.say("removed", record, reason)
        record.life = None

    def park(self, record: Record, reason: Any, detail: GaveUp | None = None) -> None:  # any term
        """Keep the record, but leave it down until ``restart_child``; a new start has a new window."""
        self.forget_backoff(record)
        trouble = self.trouble_of(record)
        trouble.reason, trouble.window, trouble.attempt = reason, None, 0
        record.life = None
        record.state = "parked"
        self.board.say("parked", record, reason, detail)

    # Small print

    def trouble_of(self, record: Record) -> Trouble:
        """What is kept of a child in trouble."""
        if record.trouble is None:
            record.trouble = Trouble()
        return record.trouble

    def forget_backoff(self, record: Record) -> None:
        """Cancel the wait before a restart."""
        if record.trouble is not None and record.trouble.timer is not None:
            self.board.disarm(record.trouble.timer)
            record.trouble.timer = None

    def remember_former(self, record: Record) -> None:
        """Know an instance between two lives by the one that ended, as OTP keeps it under its old pid."""
        if self.is_simple and record.trouble is not None and record.trouble.last is not None:
            self.former[record.trouble.last] = record

    def forget_former(self, record: Record) -> None:
        """Forget the old life of an instance: it is between two lives no longer."""
        if record.trouble is not None and record.trouble.last is not None:
            self.former.pop(record.trouble.last, None)
