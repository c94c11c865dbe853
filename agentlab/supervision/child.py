"""What a supervisor keeps alive, and how: plain data, checked when it is written down.

Start with :func:`child` and :class:`Supervisor`; both refuse what cannot be with an ``InvalidSpec`` that
names the field, the value and what is allowed. ``check_child`` and ``check_supervisor`` are the same
checks for data that came another way; the supervision machine runs them again when a supervisor starts.

Source: child specifications and supervisor flags of Erlang/OTP, in OTP's order of checks and with OTP's
names of the faults; the defaults, 3 restarts in 5 s, are those of Elixir's ``Supervisor``.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from agentlab.errors import InvalidSpec
from agentlab.ground.given import shown
from agentlab.ground.words import spelt
from agentlab.supervision.budget import Budget
from agentlab.supervision.checks import (
    check_complete,
    check_count,
    check_fields,
    check_id,
    check_instance,
    check_number,
    check_one_of,
    check_period,
    check_shutdown,
    check_significant,
    refuse_secret_names,
)
from agentlab.supervision.pace import Backoff, Limit

__all__ = [
    "Backoff",
    "Child",
    "Limit",
    "Supervisor",
    "check_child",
    "check_complete",
    "child",
]

Restart = Literal["permanent", "transient", "temporary"]
ShutdownTime = float | Literal["brutal_kill", "infinity"]
Strategy = Literal["one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Restore = Literal["checkpoint", "fresh"]
Isolation = Literal["node", "process", "kernel"]

RESTARTS = ("permanent", "transient", "temporary")
STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one", "simple_one_for_one")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")
RESTORES = ("checkpoint", "fresh")
ISOLATIONS = ("node", "process", "kernel")
TYPES = ("worker", "supervisor")


@dataclass(frozen=True, slots=True)
class Child:
    """One child as plain data; make it with :func:`child`, which checks it.

    Attributes:
        what: An agent class or a :class:`Supervisor`.
        fields: Initial values of the agent's fields.
        type: ``"worker"`` for an agent, ``"supervisor"`` for a supervisor.
        checked: :func:`child` has made it, so it need not be looked at again.

    The others are the arguments of :func:`child`.
    """

    what: object
    id: str
    restart: Restart = "permanent"
    shutdown: ShutdownTime = 5.0
    significant: bool = False
    backoff: Backoff | None = None
    own_limit: Limit | None = None
    restore: Restore = "checkpoint"
    isolation: Isolation = "node"
    max_memory: int | None = None
    max_busy: float | None = None
    budget: Budget | None = None
    fields: Mapping[str, object] = field(default_factory=dict)
    type: Literal["worker", "supervisor"] = "worker"
    checked: bool = field(default=False, compare=False, repr=False)


OPTIONS = tuple(f.name for f in dataclasses.fields(Child) if f.name not in ("what", "fields", "type", "checked"))
"""What :func:`child` takes beside fields. An option is a field of ``Child``; every list of options is this one."""


@dataclass(frozen=True, init=False, repr=False)
class Supervisor:
    """Keeps its children alive; a child that ends is restarted by the rules of its strategy.

    Args:
        name: Its id among its siblings.
        children: ``child(...)``, another ``Supervisor``, or an agent class; started from left to right,
            stopped from right to left.
        strategy: Which siblings are restarted with a crashed child: none (``one_for_one``), all
            (``one_for_all``), those started after it (``rest_for_one``). ``simple_one_for_one`` takes one
            child as a template and starts instances of it on demand.
        max_restarts: Restarts allowed inside one window; one more and the supervisor gives up.
        max_seconds: Length of the window (seconds).
        auto_shutdown: Stop when any, or the last, ``significant`` child has ended by itself.
        max_children: The most children ``start_child`` may bring it to; None for no bound.
        bring_back: Children that were added while it ran come back with it when it is started again, after those
            declared here, in the order in which they were added, from their checkpoints and with their mailboxes.
            Those that were down stay down; ``temporary`` ones are gone. False: all are forgotten, as in OTP.
        budget: What all below it may spend together on models.

    Raises:
        InvalidSpec: For anything that cannot be; nothing was started.
    """

    name: str
    children: tuple[Child, ...]
    strategy: Strategy
    max_restarts: int
    max_seconds: float
    auto_shutdown: AutoShutdown
    max_children: int | None
    bring_back: bool
    budget: Budget | None

    @functools.partial(spelt, what="Supervisor")
    def __init__(
        self,
        name: str,
        *children: Child | Supervisor | type,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        max_children: int | None = None,
        bring_back: bool = True,
        budget: Budget | None = None,
    ) -> None:
        check_id(name, "supervisor", "name", kind="invalid_name")
        kept = tuple(kid if isinstance(kid, Child) else child(kid) for kid in children)
        flags = (strategy, max_restarts, max_seconds, auto_shutdown, max_children, bring_back, budget)
        _fill(self, name, kept, *flags)
        check_supervisor(self, where=repr(name))
        if strategy != "simple_one_for_one":
            for kid in kept:
                check_complete(kid.what, kid.fields, where=f"child {kid.id!r} of {name!r}")

    @classmethod
    def unchecked(
        cls,
        name: str,
        children: tuple[Child, ...],
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        auto_shutdown: AutoShutdown = "never",
        max_children: int | None = None,
        bring_back: bool = True,
        budget: Budget | None = None,
    ) -> Supervisor:
        """Make a supervisor without a look: what cannot be is refused when it starts, as OTP does."""
        made = cls.__new__(cls)
        flags = (strategy, max_restarts, max_seconds, auto_shutdown, max_children, bring_back, budget)
        _fill(made, name, children, *flags)
        return made

    def __repr__(self) -> str:
        kids = "".join(f", {kid.id!r}" for kid in self.children)
        return f"Supervisor({self.name!r}{kids}, strategy={self.strategy!r})"


FLAGS = tuple(f.name for f in dataclasses.fields(Supervisor) if f.name not in ("name", "children"))
"""What a supervisor has beside its name and its children."""


def _fill(made: Supervisor, *values: object) -> None:
    """Set the fields of a frozen value that is being made."""
    for name, value in zip(made.__dataclass_fields__, values, strict=True):
        object.__setattr__(made, name, value)


def child(
    what: object,
    *,
    id: str | None = None,
    restart: Restart = "permanent",
    shutdown: ShutdownTime | None = None,
    significant: bool = False,
    backoff: Backoff | None = None,
    own_limit: Limit | None = None,
    restore: Restore = "checkpoint",
    isolation: Isolation = "node",
    max_memory: int | None = None,
    max_busy: float | None = None,
    budget: Budget | None = None,
    **fields: object,
) -> Child:
    """What to keep alive, and how.

    Args:
        what: An agent class or a :class:`Supervisor`.
        id: Its name among its siblings; the class's name in small letters, or the supervisor's, if left out.
        restart: ``permanent``: whatever ends it; ``transient``: only after a crash; ``temporary``: never.
        shutdown: Seconds to end in when asked to, then it is killed; ``"brutal_kill"`` or ``"infinity"``.
            5 s for an agent, ``"infinity"`` for a supervisor if left out.
        significant: Its end may stop its supervisor, see ``auto_shutdown``.
        backoff: Wait before each restart; None: at once, as OTP.
        own_limit: Past it the child is parked alone and its siblings keep running; its restarts are not
            counted against its supervisor.
        restore: A restart begins from the last ``"checkpoint"`` or ``"fresh"``.
        isolation: ``"node"``: a shared pool; ``"process"``: a node of its own; ``"kernel"``: a thread of this
            process, for debugging: its code is not sliced, a loop in it cannot be ended, and what it does to the
            process it does to the notebook.
        max_memory: Bytes it may use; needs ``isolation="process"``. Far past it an allocation raises MemoryError;
            past it the node is killed.
        max_busy: Seconds of CPU or blocking inside one message before it is crashed.
        budget: What it may spend on models; of a supervisor, all below it together.
        fields: Initial values of the agent's fields.

    Raises:
        InvalidSpec: For anything that cannot be.
    """
    kind: Literal["worker", "supervisor"] = "supervisor" if isinstance(what, Supervisor) else "worker"
    named = _default_id(what) if id is None else id
    made = Child(
        what=what,
        id=named,
        restart=restart,
        shutdown=("infinity" if kind == "supervisor" else 5.0) if shutdown is None else shutdown,
        significant=significant,
        backoff=backoff,
        own_limit=own_limit,
        restore=restore,
        isolation=isolation,
        max_memory=max_memory,
        max_busy=max_busy,
        budget=budget,
        fields=fields,
        type=kind,
    )
    check_child(made)
    check_fields(what, fields, OPTIONS, where=f"child {named!r}")
    object.__setattr__(made, "checked", True)
    return made


def check_child(spec: Child, *, auto_shutdown: object = None, where: str = "") -> None:
    """Refuse a child that cannot be, in OTP's order of checks.

    Args:
        spec: The child.
        auto_shutdown: Its supervisor's flag; None while the supervisor is not known.
        where: Its supervisor, for the message.

    Raises:
        InvalidSpec: With OTP's name of the fault in ``kind``.
    """
    who = f"child {spec.id!r} of {where}" if where else f"child {spec.id!r}"
    check_id(spec.id, "child" + (f" of {where}" if where else ""), "id")
    if spec.what is None:
        raise InvalidSpec(f"{who}: there is nothing to start; give an agent class", kind="missing_start")
    if isinstance(spec.what, type):  # its names may have been set, or become secret, since it was defined
        refuse_secret_names(spec.what, ())
    check_one_of(spec.restart, RESTARTS, f"{who}: restart", "invalid_restart_type")
    check_significant(spec.significant, spec.restart, auto_shutdown, who)
    check_one_of(spec.type, TYPES, f"{who}: type", "invalid_child_type")
    check_shutdown(spec.shutdown, who)
    _check_extras(spec, who)


def check_supervisor(spec: Supervisor, *, where: str) -> None:
    """Refuse flags, then children, that cannot be; ``where`` is the supervisor in the message.

    Raises:
        InvalidSpec: The first fault in OTP's order.
    """
    check_flags(spec, where=where)
    check_children(spec, where=where)


def check_flags(spec: Supervisor, *, where: str) -> None:
    """Refuse supervisor flags that cannot be, in OTP's order.

    Raises:
        InvalidSpec: With OTP's name of the fault in ``kind``.
    """
    who = f"supervisor {where}:"
    check_one_of(spec.strategy, STRATEGIES, f"{who} strategy", "invalid_strategy")
    check_count(spec.max_restarts, f"{who} max_restarts", "invalid_intensity")
    check_period(spec.max_seconds, f"{who} max_seconds")
    check_one_of(spec.auto_shutdown, AUTO_SHUTDOWNS, f"{who} auto_shutdown", "invalid_auto_shutdown")
    if spec.max_children is not None:
        check_count(spec.max_children, f"{who} max_children", "invalid_max_children")
    if not isinstance(spec.bring_back, bool):
        raise InvalidSpec(
            f"{who} bring_back must be True or False; got {shown(spec.bring_back)}",
            kind="invalid_bring_back",
            value=spec.bring_back,
        )
    if spec.budget is not None:
        check_instance(spec.budget, Budget, f"{who} budget", "invalid_budget")


def check_children(spec: Supervisor, *, where: str) -> None:
    """Refuse children that cannot be, one by one, then ids that occur twice.

    Raises:
        InvalidSpec: With OTP's name of the fault in ``kind``.
    """
    simple = spec.strategy == "simple_one_for_one"
    if simple and len(spec.children) != 1:
        raise InvalidSpec(
            f"supervisor {where}: simple_one_for_one takes exactly one child, the template; got {len(spec.children)}",
            kind="bad_start_spec",
            value=tuple(kid.id for kid in spec.children),
        )
    seen: set[str] = set()
    for kid in spec.children:
        check_child(kid, auto_shutdown=spec.auto_shutdown, where=where)
        if kid.id in seen:
            raise InvalidSpec(
                f"supervisor {where}: two children have the id {kid.id!r}; give one of them id=...",
                kind="duplicate_child_name",
                value=kid.id,
            )
        seen.add(kid.id)
    if spec.max_children is not None and not simple and len(spec.children) > spec.max_children:
        raise InvalidSpec(
            f"supervisor {where}: max_children is {spec.max_children}, yet it has {len(spec.children)} children",
            kind="invalid_max_children",
            value=spec.max_children,
        )


def _default_id(what: object) -> str:
    if isinstance(what, Supervisor):
        return what.name
    if isinstance(what, type) and hasattr(what, "__agent_fields__"):
        return what.__name__.lower()
    got = f"{shown(what)} (already a child)" if isinstance(what, Child) else shown(what)
    raise InvalidSpec(
        f"child: what to start must be an agent class or a Supervisor; got {got}", kind="invalid_start", value=what
    )


def _check_extras(spec: Child, who: str) -> None:
    """Refuse options that OTP does not have, after all that it has."""
    if spec.backoff is not None:
        check_instance(spec.backoff, Backoff, f"{who}: backoff", "invalid_backoff")
    if spec.own_limit is not None:
        check_instance(spec.own_limit, Limit, f"{who}: own_limit", "invalid_own_limit")
    if spec.budget is not None:
        check_instance(spec.budget, Budget, f"{who}: budget", "invalid_budget")
    check_one_of(spec.restore, RESTORES, f"{who}: restore", "invalid_restore")
    check_one_of(spec.isolation, ISOLATIONS, f"{who}: isolation", "invalid_isolation")
    if spec.max_busy is not None:
        check_number(spec.max_busy, f"{who}: max_busy", "invalid_max_busy", above=0.0)
        if spec.isolation == "kernel":
            raise InvalidSpec(
                f"{who}: max_busy cannot be held in the kernel's process, where code is not sliced; "
                "choose isolation='node' or 'process'",
                kind="bad_combination",
                value=(("isolation", spec.isolation), ("max_busy", spec.max_busy)),
            )
    if spec.max_memory is None:
        return
    check_count(spec.max_memory, f"{who}: max_memory", "invalid_max_memory", least=1)
    if spec.isolation != "process":
        raise InvalidSpec(
            f"{who}: max_memory holds only for a node of its own; add isolation='process'",
            kind="bad_combination",
            value=(("isolation", spec.isolation), ("max_memory", spec.max_memory)),
        )
