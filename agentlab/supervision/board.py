"""What the supervisor processes of one tree share, and the lanes in which they handle their messages.

A supervisor is a little process: messages wait in a FIFO, one is handled at a time, and a handler is a
generator that reads like OTP's code and says ``yield`` where OTP would block: for a start to be answered,
for a child to be gone, for a timer. Whatever it waited for is sent into it later. So a supervisor at rest
is a few objects and no generator, and one that waits holds up nobody else.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator
from types import GeneratorType
from typing import Any, NamedTuple, Protocol

from agentlab.supervision.records import Keeper, Record, State
from agentlab.supervision.words import Answer, Arm, Command, Disarm, Fact, FactKind, Refused, SignalWorker, Then


class News(NamedTuple):
    """What a waiting handler is told; ``number`` is a life, or a timer for ``due``."""

    kind: str  # started, ignored, failed, exited, due
    number: int
    value: Any = None  # info or reason: any term


Waiting = Generator[None, News, Any]  # what a handler returns is the answer to its call: by operation
Handler = Callable[..., Any]  # (process, lane, *args) -> Waiting or, if it need not wait, the answer


class Waiter(Protocol):
    """A part of the machine that waits for news of a life."""

    @property
    def lane(self) -> Lane:
        """The lane in which messages about its child wait meanwhile."""

    def tell_news(self, kind: str, life: int, value: Any) -> None:  # any term
        """The news."""


class Message(NamedTuple):
    """What waits in a lane: a handler and its arguments; ``key`` is the child id it is about."""

    handler: Handler
    call: int | None
    args: tuple[Any, ...]  # the handler's own
    key: str | None


class Host(Keeper, ABC):
    """A supervisor process as the board and its lanes know it."""

    __slots__ = ("board",)

    board: Board

    @abstractmethod
    def post(self, handler: Handler, *args: Any, call: int | None = None, key: str | None = None) -> None:  # its own
        """Put a message last in the mailbox; ``key`` is the child id it is about."""

    @abstractmethod
    def lane_rests(self, lane: Lane) -> None:
        """The lane has nothing more to do."""

    @abstractmethod
    def child_exited(self, record: Record, life: int, reason: Any, then: Then) -> None:  # any term
        """A child ended by itself."""

    @abstractmethod
    def parent_exited(self, reason: Any, call: int | None = None) -> None:  # any term
        """An exit signal from the parent, or a request to stop: end in an orderly way."""

    @abstractmethod
    def kill(self) -> None:
        """Die at once; the children are told by their links, all at the same time."""


class Lane:
    """A FIFO of messages and the one in hand."""

    __slots__ = ("busy", "call", "key", "process", "queue", "timer", "waiting")

    def __init__(self, process: Host, key: str | None = None) -> None:
        self.process = process
        self.key = key
        self.queue: deque[Message] = deque()
        self.busy = False  # a message is in hand, or the lane is about to take one
        self.call: int | None = None  # the call in hand
        self.waiting: Waiting | None = None  # the handler in hand, if it waits
        self.timer: int | None = None  # of a shutdown in hand

    @property
    def lane(self) -> Lane:
        """Itself: where messages wait while it waits."""
        return self

    def tell_news(self, kind: str, life: int, value: Any) -> None:  # any term
        """Go on with the message in hand, soon: the caller may itself be in the middle of one."""
        self.process.board.ready.append((self, News(kind, life, value)))

    def post(self, message: Message) -> None:
        """Put a message last."""
        self.queue.append(message)
        if not self.busy:
            self.busy = True
            self.process.board.ready.append((self, None))

    def run(self, news: News | None) -> None:
        """Take the next message, or go on with the one in hand, which waited for this news."""
        waiting = self.waiting
        if waiting is None:
            if news is not None or not self.queue:
                return  # the message that waited for it is gone
            message = self.queue.popleft()
            self.call = message.call
            result = message.handler(self.process, self, *message.args)
            if type(result) is not GeneratorType:
                self._finish(result)
                return
            waiting = self.waiting = result
        try:
            waiting.send(news)  # type: ignore[arg-type]  # a generator that has just begun is sent None
        except StopIteration as done:
            self.waiting = None
            self._finish(done.value)

    def _finish(self, result: Any) -> None:  # by operation
        board = self.process.board
        if self.call is not None:
            board.commands.append(Answer(self.call, result))
            self.call = None
        if self.queue:
            board.ready.append((self, None))
        else:
            self.busy = False
            self.process.lane_rests(self)

    def close(self, refusal: Refused) -> None:
        """Give up the message in hand and all that wait."""
        if self.waiting is not None:
            self.waiting.close()
            self.waiting = None
        self.process.board.disarm(self.timer)
        if self.call is not None:
            self.process.board.commands.append(Answer(self.call, refusal))
        self.call = self.timer = None
        self.refuse(refusal)

    def refuse(self, refusal: Refused) -> None:
        """Give up all that wait."""
        calls = [message.call for message in self.queue if message.call is not None]
        self.queue.clear()
        self.process.board.commands.extend(Answer(call, refusal) for call in calls)


class Board:
    """Which lives there are, which lanes wait for what, and which commands are to be given."""

    __slots__ = (
        "asks",
        "commands",
        "lives",
        "now",
        "numbers",
        "processes",
        "random",
        "ready",
        "stays_down",
        "timers",
        "waiters",
    )

    def __init__(self, random: Callable[[], float], asks: bool) -> None:
        self.random = random
        self.asks = asks  # whether a supervisor's start is a command too
        self.now = 0.0
        self.numbers = [0, 0]  # the last life, the last timer
        self.commands: list[Command] = []
        self.lives: dict[int, Record] = {}  # of whatever starts or runs
        self.processes: dict[int, Host] = {}  # of the supervisors among them
        self.waiters: dict[int, Waiter] = {}  # by life: the waiter for its news
        self.timers: dict[int, tuple[Lane | None, Record | None]] = {}  # a shutdown's lane, or a back-off's record
        self.ready: deque[tuple[Lane, News | None]] = deque()
        self.stays_down: dict[str, tuple[State, Any]] = {}  # declared children that the next start leaves so

    def say(self, kind: FactKind, record: Record, reason: Any = None, detail: Any = None) -> None:  # any term
        """Append a fact; of a child between two lives it is about the one that ended."""
        life = record.life
        if life is None and record.trouble is not None:
            life = record.trouble.last
        self.commands.append(Fact(kind, record, life, reason, detail))

    def new_life(self, record: Record) -> int:
        """Give the record's next start attempt its number."""
        life = self.numbers[0] = self.numbers[0] + 1
        record.life = life
        record.state = "starting"
        self.lives[life] = record
        return life

    def run_at_once(self, record: Record) -> None:
        """Give the record a life that runs already."""
        life = self.numbers[0] = self.numbers[0] + 1
        record.life = life
        record.state = "running"
        self.lives[life] = record

    def arm(self, seconds: float, lane: Lane | None = None, record: Record | None = None) -> int:
        """A new timer, for a lane's shutdown or a record's back-off."""
        timer = self.numbers[1] = self.numbers[1] + 1
        self.timers[timer] = (lane, record)
        self.commands.append(Arm(timer, seconds))
        return timer

    def disarm(self, timer: int | None) -> None:
        """Forget a timer, if it still runs."""
        if timer is not None and self.timers.pop(timer, None) is not None:
            self.commands.append(Disarm(timer))

    def signal(self, record: Record, reason: Any) -> None:  # any term
        """Send the record's life an exit signal from its supervisor."""
        life = record.life
        if life is None:
            return
        process = self.processes.get(life)
        if process is None:
            self.commands.append(SignalWorker(life, reason))
        elif reason == "kill":
            process.kill()
        else:
            process.parent_exited(reason)

    def started(self, record: Record, info: Any) -> None:  # any term
        """The life in hand came up: tell its waiter, unless it is already wanted gone."""
        if record.state == "starting" and record.life is not None:
            record.state = "running"
            self._tell("started", record.life, info)

    def ended(self, record: Record, kind: str, reason: Any, then: Then = "") -> None:  # any term
        """The life is over: tell its waiter, or its supervisor, as an exit signal would."""
        life, parent = record.life, record.parent
        if life is None:
            return
        del self.lives[life]
        if self._tell(kind, life, reason):
            return
        if parent is None or parent.dead:
            record.life = None
            record.state = "undefined"
            return
        self.processes[parent.life].child_exited(record, life, reason, then)

    def _tell(self, kind: str, life: int, value: Any) -> bool:  # any term
        waiter = self.waiters.pop(life, None)
        if waiter is None:
            return False
        waiter.tell_news(kind, life, value)
        return True

    def pump(self) -> list[Command]:
        """Run every lane until all wait or rest; what they said."""
        ready = self.ready
        while ready:
            lane, news = ready.popleft()
            lane.run(news)
        said, self.commands = self.commands, []
        return said
