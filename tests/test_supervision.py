"""The supervision machine: what holds for any sequence of events, and what it adds to OTP."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from agentlab.errors import InvalidSpec
from agentlab.supervision import (
    Answer,
    Arm,
    Begun,
    Call,
    ChildInfo,
    Command,
    Counts,
    Disarm,
    Due,
    Event,
    Exited,
    Fact,
    Failed,
    Ignored,
    Record,
    Refused,
    Shutdown,
    Signal,
    SignalWorker,
    Start,
    Started,
    StopSupervisor,
    Tree,
    Up,
)
from agentlab.supervision.child import Backoff, Child, Limit, Supervisor

REASONS = ["normal", "shutdown", ("shutdown", "x"), "boom", "killed"]


def worker(name: str, **options: Any) -> Child:
    """A worker; the machine does not look at what it is."""
    return Child(what="worker", id=name, **options)


def team(name: str, *children: Child, **flags: Any) -> Supervisor:
    """A supervisor of workers."""
    return Supervisor.unchecked(name, children, **flags)


def below(spec: Supervisor, **options: Any) -> Child:
    """A supervisor as a child."""
    return Child(what=spec, id=spec.name, type="supervisor", **({"shutdown": "infinity"} | options))


class Stage:
    """Carries the machine's commands out by hand, and holds every one of them against the rules."""

    def __init__(self, spec: Supervisor, **options: Any) -> None:
        self.tree = Tree(spec, **options)
        self.now = 0.0
        self.lives: dict[int, Record] = {}  # workers that start or run
        self.starting: set[int] = set()
        self.signals: dict[int, list[Any]] = {}
        self.timers: dict[int, float] = {}
        self.asked: set[int] = set()
        self.answers: dict[int, Any] = {}
        self.facts: list[Fact] = []
        self.log: list[Command] = []
        self.restarts: dict[int | Record, list[float]] = {}  # by the supervisor's life, or the child
        self.last_life = self.last_call = 0
        self.obey(self.tree.start(self.now))

    # Doing

    def do(self, event: Event, after: float = 0.0) -> list[Command]:
        """Tell the machine; check and remember what it says."""
        self.now += after
        match event:
            case Started(life):
                self.starting.discard(life)
            case Ignored(life) | Failed(life, _) | Exited(life, _):
                self.starting.discard(life)
                self.lives.pop(life, None)
            case Due(timer):
                self.timers.pop(timer, None)
            case Call() | StopSupervisor() | Shutdown():
                self.asked.add(event.call)
        commands = self.tree.handle(event, self.now)
        self.obey(commands)
        self.check_size()
        return commands

    def call(self, supervisor: str | int, op: Any, *args: Any) -> int:
        """An administration call; its number."""
        self.last_call += 1
        self.do(Call(self.last_call, supervisor, op, *args))
        return self.last_call

    def ask(self, supervisor: str | int, op: Any, *args: Any) -> Any:
        """The same with everything started and stopped as asked; its answer."""
        number = self.call(supervisor, op, *args)
        self.settle()
        return self.answers[number]

    def settle(self) -> None:
        """Let all starts succeed and all that were signalled end, until nothing is left to do."""
        while True:
            due = next((life for life in self.lives if self.signals.get(life) or life in self.starting), None)
            if due is None:
                return
            self.do(Exited(due, self.end_of(due)) if self.signals.get(due) else Started(due))

    def end_of(self, life: int) -> Any:
        """The reason a signalled worker ends with."""
        return "killed" if "kill" in self.signals[life] else self.signals[life][-1]

    def life(self, path: str) -> int:
        """Of the child at the path."""
        record = self.tree.find(path)
        assert record is not None
        assert record.life is not None
        return record.life

    def state(self, path: str) -> str | None:
        """Of the child at the path."""
        record = self.tree.find(path)
        return record.state if record else None

    def kinds(self) -> list[str]:
        """Of the facts so far, with their paths."""
        return [f"{fact.kind} {fact.path}" for fact in self.facts]

    # Rules

    def obey(self, commands: list[Command]) -> None:
        """Carry out, and check, what the machine says."""
        for command in commands:
            self.log.append(command)
            match command:
                case Start(life, record):
                    self.begin(life, record)
                case Begun(records):
                    for record in records:
                        self.begin(record.life or 0, record)
                        self.starting.discard(record.life or 0)
                case SignalWorker(life, reason):
                    assert life in self.lives, f"{command} to nobody"
                    self.signals.setdefault(life, []).append(reason)
                case Arm(timer, seconds):
                    assert timer not in self.timers
                    self.timers[timer] = seconds
                case Disarm(timer):
                    assert timer in self.timers, f"{command} of no timer"
                    del self.timers[timer]
                case Answer(call, result):
                    assert call in self.asked, f"{command} to nobody"
                    self.asked.discard(call)
                    self.answers[call] = result
                case Fact():
                    self.facts.append(command)
                    self.note(command)

    def begin(self, life: int, record: Record) -> None:
        """A life is new, and the child has no other, unless its supervisor was killed under it."""
        assert life > self.last_life
        self.last_life = life
        others = [other for other, known in self.lives.items() if known is record or known.path == record.path]
        assert all(orphaned(self.lives[other]) for other in others), f"{record} runs twice"
        self.lives[life] = record
        self.starting.add(life)

    def note(self, fact: Fact) -> None:
        """Restarts stay inside the intensity; who stops, stops in reverse start order."""
        keeper = fact.record.parent
        if fact.kind == "restarting":
            assert fact.detail.restarts <= fact.detail.allowed
            self.count(fact.record)
        if fact.kind == "parked":
            self.restarts.pop(fact.record, None)  # a child that is started again by hand has a new window
        if fact.kind == "gave_up":
            assert fact.detail.limit.restarts > fact.detail.limit.allowed
        leaving = fact.kind == "stopping" and keeper is not None and getattr(keeper, "leaving", False)
        if (
            keeper is not None
            and leaving
            and fact.record.life is not None  # one that is gone already may have been stopped before the others
            and keeper.spec.strategy != "simple_one_for_one"
            and getattr(keeper, "lanes", None) is None
        ):
            siblings = list(keeper.children.values())
            later = siblings[siblings.index(fact.record) + 1 :]
            assert all(sibling.life is None for sibling in later), f"{fact.record} stops before {later}"

    def count(self, record: Record) -> None:
        """A restart inside the intensity, counted here once more: the child's own, or its supervisor's."""
        keeper, limit = record.parent, record.spec.own_limit
        assert keeper is not None
        if limit is None and getattr(keeper, "lanes", None) is None:
            limit = Limit(keeper.spec.max_restarts, keeper.spec.max_seconds)
            times = self.restarts.setdefault(keeper.life, [])
        elif limit is not None:
            times = self.restarts.setdefault(record, [])
        else:
            return
        times.append(self.now)
        assert len([at for at in times if at >= self.now - limit.max_seconds]) <= limit.max_restarts

    def check_size(self) -> None:
        """The machine keeps what lives and what is asked of it, and nothing else."""
        board = self.tree._board
        workers = {life for life in board.lives if life not in board.processes}
        assert workers == set(self.lives)
        assert set(board.timers) == set(self.timers)
        assert set(board.waiters) <= set(board.lives)
        assert not board.ready
        assert not board.commands
        for process in board.processes.values():
            assert len(process.window.crashes) <= process.spec.max_restarts + 1
            assert len(getattr(process, "former", ())) <= len(process.children)
            assert len(getattr(process, "exits", ())) <= len(process.children)
            lanes = getattr(process, "lanes", None) or {}
            assert len(lanes) <= len(process.children)


names = st.sampled_from(["a", "b", "c", "d"])
restarts = st.sampled_from(["permanent", "permanent", "transient", "temporary"])


@st.composite
def workers(draw: Callable[..., Any], name: str) -> Child:
    """A worker with any options."""
    return worker(
        name,
        restart=draw(restarts),
        shutdown=draw(st.sampled_from([5.0, 0.5, "brutal_kill", "infinity"])),
        backoff=draw(st.sampled_from([None, Backoff(1.0, 2.0, 4.0)])),
        own_limit=draw(st.sampled_from([None, None, Limit(1, 5.0)])),
    )


@st.composite
def teams(draw: Callable[..., Any], name: str = "root", depth: int = 2) -> Supervisor:
    """A supervisor with any flags and up to three children, some of them supervisors."""
    strategy = draw(st.sampled_from(["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]))
    ids = ["a"] if strategy == "simple_one_for_one" else ["a", "b", "c"][: draw(st.integers(0, 3))]
    kids = []
    for kid in ids:
        if depth and strategy != "simple_one_for_one" and draw(st.booleans()):
            kids.append(below(draw(teams(kid, depth - 1)), restart=draw(restarts)))
        else:
            kids.append(draw(workers(kid)))
    return team(name, *kids, strategy=strategy, max_restarts=draw(st.integers(0, 3)), max_seconds=5.0)


def any_event(draw: Callable[..., Any], stage: Stage) -> None:
    """Let something happen: answered starts, exits, calls, signals, timers, and nonsense."""
    after = draw(st.sampled_from([0.0, 0.0, 0.1, 2.0, 6.0]))
    lives = sorted(stage.lives)
    supervisors = [r.path for r in reversed(list(stage.tree.records())) if r.is_supervisor]
    choice = draw(st.integers(0, 11))
    if choice <= 5 and lives:
        any_life_event(draw, stage, draw(st.sampled_from(lives)), after)
    elif choice == 6 and stage.timers:
        stage.do(Due(draw(st.sampled_from(sorted(stage.timers)))), after)
    elif choice == 7:
        record = stage.tree.find(draw(st.sampled_from(supervisors)))
        stage.do(Signal((record.life if record else None) or 999_999, draw(st.sampled_from(["kill", "boom"]))), after)
    elif choice == 8:
        stage.last_call += 1
        reason = draw(st.sampled_from(REASONS))
        stage.do(StopSupervisor(stage.last_call, draw(st.sampled_from(supervisors)), reason), after)
    elif choice == 9:
        stage.do(draw(st.sampled_from([Started(999_999), Exited(999_999, "boom"), Due(999_999), Ignored(1)])), after)
    else:
        any_call(draw, stage, draw(st.sampled_from(supervisors)))


def any_life_event(draw: Callable[..., Any], stage: Stage, life: int, after: float) -> None:
    """What a world may say of a life: one that was signalled no longer comes up."""
    told = stage.signals.get(life, [])
    if life in stage.starting and told:
        stage.do(Failed(life, "killed"), after)
    elif life in stage.starting:
        stage.do(draw(st.sampled_from([Started(life), Started(life), Failed(life, "no"), Ignored(life)])), after)
    else:
        stage.do(Exited(life, stage.end_of(life) if told else draw(st.sampled_from(REASONS))), after)


def any_call(draw: Callable[..., Any], stage: Stage, path: str) -> None:
    """Any administration call with any argument."""
    record = stage.tree.find(path)
    simple = record is not None and record.spec.what.strategy == "simple_one_for_one"  # type: ignore[attr-defined]  # a supervisor
    name = draw(names)
    op = draw(st.sampled_from(["start", "bulk", "terminate_child", "restart_child", "delete_child", "park_child"]))
    if op in ("start", "bulk"):
        new: Any = (name, None) if simple else (draw(workers(name)),)
        if op == "start":
            stage.call(path, "start_child", *new)
        else:
            more = (None, None) if simple else (draw(workers("e")),)
            stage.call(path, draw(st.sampled_from(["start_children", "add_running"])), [new, more])
    else:
        target = draw(st.sampled_from([*stage.lives, 999_999])) if simple and op == "terminate_child" else name
        stage.call(path, op, target)
    for question in ("which_children", "count_children"):
        stage.call(path, question)


def orphaned(record: Record) -> bool:
    """Whether a supervisor above it was killed: what is below goes on by itself until it has ended."""
    keeper = record.parent
    while keeper is not None:
        if keeper.dead:
            return True
        keeper = keeper.record.parent
    return False


def end(stage: Stage) -> None:
    """Shut down, and see that nothing is left."""
    stage.last_call += 1
    stage.do(Shutdown(stage.last_call))
    stage.settle()
    board = stage.tree._board
    assert not stage.tree.alive
    assert not stage.lives
    assert not board.lives
    assert not board.processes
    assert not board.waiters
    assert not stage.timers
    assert not stage.asked
    assert stage.tree.idle


@pytest.mark.timeout(400)  # seconds of plain work, which take minutes on a machine with other work
@settings(max_examples=250)
@given(st.data())
def test_any_sequence_of_events_keeps_the_rules(data: st.DataObject) -> None:
    """No child runs twice, no command is about something unknown, limits and orders hold, nothing is left over."""
    stage = Stage(data.draw(teams()), random=lambda: 0.5)

    for _ in range(data.draw(st.integers(0, 40))):
        any_event(data.draw, stage)

    end(stage)


@settings(max_examples=100)
@given(st.data())
def test_any_sequence_of_events_keeps_the_rules_under_an_independent_root(data: st.DataObject) -> None:
    """The same for the laboratory's own root, whose children have a lane each."""
    stage = Stage(team("lab"), independent_root=True, root_limit=Limit(2, 5.0))
    stage.call("/", "start_child", below(data.draw(teams("team", depth=1))))

    for _ in range(data.draw(st.integers(0, 40))):
        any_event(data.draw, stage)
        if not stage.tree.alive:
            return

    end(stage)


def test_a_child_is_started_again_in_its_place() -> None:
    """one_for_one restarts the child that crashed and nobody else."""
    stage = Stage(team("team", worker("a"), worker("b")))
    stage.settle()
    before = stage.life("/b")

    stage.do(Exited(stage.life("/a"), "boom"))
    stage.settle()

    a = stage.tree.find("/a")
    assert a is not None
    assert (a.state, a.restarts, stage.life("/b")) == ("running", 1, before)


def test_the_window_is_exact_seconds() -> None:
    """A restart as old as the window still counts, an older one does not."""
    for gap, gives_up in ((5.0, True), (5.001, False)):
        stage = Stage(team("team", worker("a"), max_restarts=1, max_seconds=5.0))
        stage.settle()

        for after in (0.0, gap):
            stage.do(Exited(stage.life("/a"), "boom"), after)
            if stage.tree.alive:
                stage.settle()

        assert stage.tree.alive is not gives_up


def test_giving_up_says_why() -> None:
    """The fact names the child, the limit, and each crash inside the window with its reason."""
    stage = Stage(team("team", worker("a"), worker("b"), max_restarts=1))
    stage.settle()

    stage.do(Exited(stage.life("/b"), "first"), 1.0)
    stage.settle()
    stage.do(Exited(stage.life("/a"), "second"), 1.0)
    stage.settle()

    gave_up = next(fact for fact in stage.facts if fact.kind == "gave_up")
    assert gave_up.detail.record.id == "a"
    assert gave_up.detail.crashes == ((1.0, "b", "first"), (2.0, "a", "second"))
    assert gave_up.detail.limit == (2, 1, 5.0)
    assert (gave_up.path, gave_up.reason) == ("/", "shutdown")


def test_asked_to_stop_is_told_from_ended_by_itself() -> None:
    """The fact of a child that is down says whether somebody asked, and how it ended."""
    stage = Stage(team("team", worker("a"), worker("b", restart="transient")))
    stage.settle()

    stage.ask("/", "terminate_child", "a")
    stage.do(Exited(stage.life("/b"), "normal"))

    down = {fact.path: (fact.reason, fact.detail) for fact in stage.facts if fact.kind == "down"}
    assert down == {"/a": ("shutdown", "asked"), "/b": ("normal", None)}


def test_a_backoff_waits_longer_after_each_restart_in_a_row() -> None:
    """0.1 s, 0.2 s, 0.4 s; and from the start again once the child has run for the longest wait."""
    backoff = Backoff(initial=0.1, factor=2.0, maximum=0.4, jitter=0.0)
    stage = Stage(team("team", worker("a", backoff=backoff), max_restarts=100))
    stage.settle()

    waits = []
    for ran in (0.0, 0.0, 0.0, 0.0, 0.4):
        stage.do(Exited(stage.life("/a"), "boom"), ran)
        [(timer, seconds)] = stage.timers.items()
        waits.append(seconds)
        assert stage.state("/a") == "backing_off"
        stage.do(Due(timer))
        stage.settle()

    assert waits == pytest.approx([0.1, 0.2, 0.4, 0.4, 0.1])


def test_a_backing_off_child_is_shown_as_restarting() -> None:
    """which_children says restarting, and restart and delete are refused as OTP refuses them."""
    stage = Stage(team("team", worker("a", backoff=Backoff())))
    stage.settle()
    stage.do(Exited(stage.life("/a"), "boom"))

    shown = stage.ask("/", "which_children")
    refused = [stage.ask("/", op, "a").kind for op in ("restart_child", "delete_child")]

    assert [info.life for info in shown] == ["restarting"]
    assert isinstance(shown[0], ChildInfo)
    assert refused == ["restarting", "restarting"]
    assert stage.ask("/", "count_children") == Counts(1, 0, 0, 1)


def test_terminate_child_cancels_a_backoff() -> None:
    """The timer is disarmed and the child stays down, also if the timer was already on its way."""
    stage = Stage(team("team", worker("a", backoff=Backoff())))
    stage.settle()
    stage.do(Exited(stage.life("/a"), "boom"))
    [timer] = stage.timers

    stage.ask("/", "terminate_child", "a")
    late = stage.tree.handle(Due(timer), stage.now)

    assert stage.timers == {}
    assert late == []
    assert stage.state("/a") == "undefined"


def test_a_group_waits_for_the_backoff_of_the_child_that_crashed() -> None:
    """one_for_all stops the siblings at once and starts all of them after the wait."""
    kids = (worker("a"), worker("b", backoff=Backoff()))
    stage = Stage(team("team", *kids, strategy="one_for_all"))
    stage.settle()

    stage.do(Exited(stage.life("/b"), "boom"))
    stage.settle()
    waiting = (stage.state("/a"), stage.state("/b"))
    stage.do(Due(next(iter(stage.timers))))
    stage.settle()

    assert waiting == ("undefined", "backing_off")
    assert (stage.state("/a"), stage.state("/b")) == ("running", "running")


def test_past_its_own_limit_a_child_is_parked_alone() -> None:
    """Its siblings keep their lives, the supervisor's intensity is untouched, restart_child unparks it."""
    kids = (worker("a", own_limit=Limit(1, 5.0)), worker("b"))
    stage = Stage(team("team", *kids, max_restarts=0))
    stage.settle()
    sibling = stage.life("/b")

    for _ in range(2):
        stage.do(Exited(stage.life("/a"), "boom"))
        stage.settle()

    parked = next(fact for fact in stage.facts if fact.kind == "parked")
    keeper = stage.tree.root.keeper
    assert stage.state("/a") == "parked"
    assert (parked.reason, [crash[2] for crash in parked.detail.crashes]) == ("boom", ["boom", "boom"])
    assert stage.life("/b") == sibling
    assert keeper is not None
    assert keeper.window.used(stage.now) == 0

    unparked = stage.ask("/", "restart_child", "a")

    assert isinstance(unparked, Up)
    assert stage.state("/a") == "running"


def test_a_siblings_crash_does_not_unpark() -> None:
    """A parked child waits for a person; a group restart passes it by."""
    kids = (worker("a", own_limit=Limit(0, 5.0)), worker("b"))
    stage = Stage(team("team", *kids, strategy="one_for_all"))
    stage.settle()
    stage.do(Exited(stage.life("/a"), "boom"))

    stage.do(Exited(stage.life("/b"), "boom"))
    stage.settle()

    assert (stage.state("/a"), stage.state("/b")) == ("parked", "running")


def test_an_exit_may_ask_for_parking() -> None:
    """What no restart mends is parked at once and counted nowhere."""
    stage = Stage(team("team", worker("a"), max_restarts=0))
    stage.settle()

    stage.do(Exited(stage.life("/a"), "spend limit", "park"))

    assert stage.tree.alive
    assert stage.state("/a") == "parked"


def test_an_exit_may_ask_for_another_start() -> None:
    """Who did nothing wrong is started again alone and uncounted, whatever its restart type and the strategy."""
    kids = (worker("a"), worker("t", restart="temporary"), worker("b"))
    stage = Stage(team("team", *kids, strategy="one_for_all", max_restarts=0))
    stage.settle()
    before = stage.life("/a"), stage.life("/b")

    stage.do(Exited(stage.life("/t"), "killed", "again"))
    stage.settle()

    assert stage.state("/t") == "running"
    assert (stage.life("/a"), stage.life("/b")) == before
    assert "restarting" not in [fact.kind for fact in stage.facts]


@pytest.mark.parametrize("how", ["exit", "call"])
def test_another_start_that_fails_is_retried_and_counted(how: str) -> None:
    """From its failure on it is a restart as any other: it is tried again, until the limit is passed."""
    stage = Stage(team("team", worker("a"), max_restarts=1))
    stage.settle()
    if how == "exit":
        stage.do(Exited(stage.life("/a"), "killed", "again"))
    else:
        stage.do(Exited(stage.life("/a"), "a doubt", "park"))
        number = stage.call("/", "start_again", "a")

    stage.do(Failed(stage.life("/a"), "killed"))
    retried = stage.state("/a")
    stage.do(Failed(stage.life("/a"), "killed"))

    assert retried == "starting"
    assert [fact.kind for fact in stage.facts].count("restarting") == 1
    assert not stage.tree.alive
    assert how == "exit" or stage.answers[number].life is None


def test_another_start_of_a_temporary_child_that_fails_is_its_end() -> None:
    """Nobody retries it."""
    stage = Stage(team("team", worker("t", restart="temporary")))
    stage.settle()

    stage.do(Exited(stage.life("/t"), "killed", "again"))
    stage.do(Failed(stage.life("/t"), "killed"))

    assert stage.tree.find("/t") is None
    assert stage.tree.alive


def test_max_children_bounds_start_child() -> None:
    """A child too many is refused, and one that restarts keeps its place."""
    spec = team("pool", worker("a", backoff=Backoff()), strategy="simple_one_for_one", max_children=2)
    stage = Stage(spec)
    first, _ = stage.ask("/", "start_children", [(None, None), ("x", {"n": 1})])
    stage.do(Exited(first.life, "boom"))

    refused = stage.ask("/", "start_child", None, None)

    assert isinstance(refused, Refused)
    assert refused.kind == "max_children"
    assert [info.id for info in stage.ask("/", "which_children")] == ["x", "a-1"]


def test_an_instance_keeps_its_fields_over_a_restart() -> None:
    """The record of an instance is its template and what it was started with."""
    spec = team("pool", worker("a", fields={"n": 0, "m": 0}), strategy="simple_one_for_one")
    stage = Stage(spec)
    up = stage.ask("/", "start_child", "x", {"n": 1})

    stage.do(Exited(up.life, "boom"))
    stage.settle()

    record = stage.tree.find("/x")
    assert record is up.record
    assert record.initial == {"n": 1, "m": 0}


def test_many_may_share_one_child() -> None:
    """start_children gives each its id and fields; get_childspec shows them as if each had its own."""
    stage = Stage(team("team"))
    shared = worker("agent", fields={"n": 0})

    ups = stage.ask("/", "start_children", [(f"x{n}", {"n": n}, shared) for n in range(3)])

    assert [up.record.id for up in ups] == ["x0", "x1", "x2"]
    spec = stage.ask("/", "get_childspec", "x2")
    assert (spec.id, spec.fields) == ("x2", {"n": 2})


def test_a_bulk_start_is_one_batch_and_answers_in_order() -> None:
    """All starts leave together; what failed, or cannot be, is told apart in the list of results."""
    stage = Stage(team("team"), independent_root=True)

    number = stage.call("/", "start_children", [worker("a"), worker("b"), worker("a"), worker("c", restart="x")])
    a, b = sorted(stage.starting)
    stage.do(Failed(b, "no"))
    stage.do(Started(a))

    up, failed, twice, illegal = stage.answers[number]
    assert up == Up(stage.tree.find("/a"), a)
    assert (failed.kind, failed.reason) == ("start_failed", "no")
    assert twice.kind == "already_started"
    assert (illegal.kind, illegal.reason) == ("invalid_spec", ("invalid_restart_type", "x"))
    assert isinstance(illegal.cause, InvalidSpec)


def test_what_needs_nothing_to_be_started_runs_at_once() -> None:
    """add_running answers in the same turn, with no start to be carried out; such children end and restart as any."""
    stage = Stage(team("team", max_children=3))
    shared = worker("agent", fields={"n": 0})

    items = [("x0", None, shared), ("x1", {"n": 1}, shared), ("x0", None, shared), worker("y"), worker("z")]
    number = stage.call("/", "add_running", items)

    first, second, twice, last, refused = stage.answers[number]
    assert [record.state for record in (first, second, last)] == ["running"] * 3
    assert (twice.kind, twice.life, refused.kind) == ("already_started", first.life, "max_children")
    assert not stage.starting
    assert stage.tree.idle
    stage.do(Exited(second.life, "boom"))
    assert stage.starting == {stage.life("/x1")}
    stage.settle()
    assert (second.restarts, second.initial) == (1, {"n": 1})
    assert stage.ask("/", "count_children") == Counts(3, 3, 0, 3)
    assert stage.ask("/", "terminate_child", "x0") is None


def test_a_slow_start_holds_up_nobody_else_under_an_independent_root() -> None:
    """Starts, restarts and calls about others go on; a call about the same id waits its turn."""
    stage = Stage(team("lab"), independent_root=True)
    quick = stage.ask("/", "start_child", worker("quick"))
    slow = stage.call("/", "start_child", worker("slow"))

    same = stage.call("/", "terminate_child", "slow")
    stage.do(Exited(quick.life, "boom"))
    stage.do(Started(stage.life("/quick")))
    other = stage.call("/", "start_child", worker("other"))
    stage.do(Started(stage.life("/other")))

    assert stage.state("/quick") == "running"
    assert other in stage.answers
    assert slow not in stage.answers
    assert same not in stage.answers
    stage.settle()
    assert isinstance(stage.answers[slow], Up)
    assert stage.answers[same] is None
    assert stage.state("/slow") == "undefined"


def test_a_call_about_one_of_a_bulk_waits_for_that_one_only() -> None:
    """The rest of the bulk may take as long as it likes."""
    stage = Stage(team("lab"), independent_root=True)
    bulk = stage.call("/", "start_children", [worker("a"), worker("b")])

    same = stage.call("/", "restart_child", "a")
    before = dict(stage.answers)
    stage.do(Started(stage.life("/a")))

    assert before == {}
    assert stage.answers[same].kind == "running"
    assert bulk not in stage.answers


def test_a_slow_stop_holds_up_nobody_else_under_an_independent_root() -> None:
    """A sibling is restarted while a child takes its time to end."""
    stage = Stage(team("lab"), independent_root=True)
    a, b = stage.ask("/", "start_children", [worker("a"), worker("b")])
    stage.call("/", "terminate_child", "a")

    stage.do(Exited(b.life, "boom"))
    stage.do(Started(stage.life("/b")))

    assert (stage.state("/a"), stage.state("/b")) == ("stopping", "running")
    assert a.life in stage.lives


def test_a_declared_supervisor_serves_nobody_while_a_child_starts() -> None:
    """As OTP: one mailbox, and a start is waited for."""
    stage = Stage(team("team", worker("a")))
    stage.settle()
    stage.call("/", "start_child", worker("slow"))

    counted = stage.call("/", "count_children")

    assert counted not in stage.answers
    stage.settle()
    assert stage.answers[counted] == Counts(2, 2, 0, 2)


def test_the_independent_root_has_no_limit_of_its_own() -> None:
    """Its children are parked one by one at ``root_limit``, never the root's end."""
    stage = Stage(team("lab", max_restarts=0), independent_root=True, root_limit=Limit(3, 5.0))
    stage.ask("/", "start_children", [worker("bad"), worker("good"), worker("own", own_limit=Limit(0, 5.0))])

    for name, crashes in (("bad", 4), ("own", 1)):
        for _ in range(crashes):
            stage.do(Exited(stage.life(f"/{name}"), "boom"))
            stage.settle()

    assert [stage.state(f"/{name}") for name in ("bad", "good", "own")] == ["parked", "running", "parked"]
    assert stage.tree.alive


def test_an_independent_root_stops_all_side_by_side() -> None:
    """Signals leave in reverse start order, none waits for another; what starts is stopped too."""
    stage = Stage(team("lab"), independent_root=True)
    a, b = stage.ask("/", "start_children", [worker("a"), worker("b")])
    pending = stage.call("/", "start_child", worker("c"))
    c = stage.life("/c")

    stage.last_call += 1
    commands = stage.do(Shutdown(stage.last_call))
    stage.do(Failed(c, "shutdown"))
    stage.do(Exited(a.life, "shutdown"))
    stage.do(Exited(b.life, "shutdown"))

    assert [command.life for command in commands if isinstance(command, SignalWorker)] == [c, b.life, a.life]
    assert stage.answers[pending] == Refused("exit", "shutdown")
    assert stage.answers[stage.last_call] is None
    assert not stage.tree.alive


def test_a_child_that_does_not_end_is_killed_after_its_time() -> None:
    """``shutdown`` seconds after it was asked, and the supervisor then waits without limit."""
    stage = Stage(team("team", worker("a", shutdown=2.0)))
    stage.settle()
    life = stage.life("/a")

    number = stage.call("/", "terminate_child", "a")
    [(timer, seconds)] = stage.timers.items()
    stage.do(Due(timer), seconds)

    assert seconds == 2.0
    assert stage.signals[life] == ["shutdown", "kill"]
    assert number not in stage.answers
    stage.do(Exited(life, "killed"))
    assert number in stage.answers


def test_dynamic_children_are_removed_with_their_supervisor() -> None:
    """With ``bring_back=False`` a restarted supervisor starts those of its spec only; the others are told gone."""
    stage = Stage(team("root", below(team("team", worker("static"), bring_back=False))))
    stage.settle()
    stage.ask("/team", "start_child", worker("dynamic"))

    stage.do(Signal(stage.life("/team"), "kill"))
    stage.settle()

    assert "removed /team/dynamic" in stage.kinds()
    assert "removed /team/static" not in stage.kinds()
    assert [record.path for record in stage.tree.records()] == ["/", "/team", "/team/static"]


def test_a_killed_supervisor_tells_its_children_by_their_links() -> None:
    """All get ``killed`` at once, and their successors start without waiting for them."""
    stage = Stage(team("root", below(team("team", worker("a"), worker("b")))))
    stage.settle()
    old = [stage.life("/team/a"), stage.life("/team/b")]

    stage.do(Signal(stage.life("/team"), "kill"))

    assert [stage.signals[life] for life in old] == [["killed"], ["killed"]]
    assert stage.life("/team/a") not in old
    assert set(old) < set(stage.lives)


def test_a_killed_supervisor_leaves_no_timer_behind() -> None:
    """Neither that of a back-off nor that of a child that was about to be stopped."""
    kids = (worker("a", backoff=Backoff()), worker("b", shutdown=5.0))
    stage = Stage(team("root", below(team("team", *kids), restart="temporary")))
    stage.settle()
    stage.do(Exited(stage.life("/team/a"), "boom"))
    stage.call("/team", "terminate_child", "b")
    before = len(stage.timers)

    stage.do(Signal(stage.life("/team"), "kill"))

    assert (before, stage.timers) == (2, {})
    assert stage.answers[stage.last_call] == Refused("exit", "killed")


def test_calls_to_a_supervisor_that_ends_are_answered() -> None:
    """Whoever waits in its mailbox hears its exit reason; later calls hear noproc."""
    stage = Stage(team("root", below(team("team", worker("a")), restart="temporary")))
    stage.settle()
    life = stage.life("/team")
    stage.last_call += 1
    stage.do(StopSupervisor(stage.last_call, life, "normal"))

    queued = stage.call(life, "count_children")
    stage.settle()
    late = stage.call(life, "count_children")

    assert stage.answers[queued] == Refused("exit", "normal")
    assert stage.answers[late] == Refused("noproc")


def test_an_independent_root_is_one_for_one_and_starts_empty() -> None:
    """Anything else would tie its children together."""
    with pytest.raises(InvalidSpec, match="independent root"):
        Tree(team("lab", worker("a")), independent_root=True)


def test_a_tree_can_be_looked_through() -> None:
    """Records come in start order, depth first; a path finds its record."""
    stage = Stage(team("root", below(team("team", worker("a"))), worker("b")))
    stage.settle()

    paths = [record.path for record in stage.tree.records()]

    assert paths == ["/", "/team", "/team/a", "/b"]
    assert stage.tree.find("/team/a") is stage.tree.find_life(stage.life("/team/a"))
    assert stage.tree.find("/team/none") is None
    assert stage.tree.find("/b/none") is None
