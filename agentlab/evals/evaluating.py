"""``evaluate``: samples, a solver and a scorer become a run."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import tempfile
import uuid
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from agentlab.agent.base import Agent
from agentlab.chaos.plan import Plan as Chaos
from agentlab.errors import InvalidSpec
from agentlab.evals.attempt import attempt_class, message_of
from agentlab.evals.driver import Driver
from agentlab.evals.here import Here
from agentlab.evals.identity import check_same, identity_of, is_solver
from agentlab.evals.judges import model_graded
from agentlab.evals.ledger import key_of, of_each_row, runs_in
from agentlab.evals.opening import Setting, open_lab
from agentlab.evals.pace import Concurrency
from agentlab.evals.plan import Plan, Workplace
from agentlab.evals.reducers import Reducer, reducer_of
from agentlab.evals.run import OnFailure, Run, Stored
from agentlab.evals.samples import places, read
from agentlab.evals.scorers import named
from agentlab.ground.given import file_of, seconds, shown
from agentlab.lab import Lab, open_store
from agentlab.models.assistant import Assistant
from agentlab.pool.fork import shared
from agentlab.supervision.budget import Budget
from agentlab.supervision.checks import check_id, check_instance
from agentlab.supervision.child import Child, child

ON_FAILURE = ("zero", "drop", "raise")

Faults = Sequence[Mapping[str, Any]] | Mapping[str, Any]
"""Rules of the simulator, or its whole profile."""


def evaluate(  # noqa: PLR0913 - a run's options, each by its name
    solver: type[Agent] | Child, samples: Any, scorer: Any, *, message: str | None = None, epochs: int = 1,
    reducer: str | Reducer = "mean", concurrency: Concurrency = 64, budget: Budget | None = None,
    timeout: float | None = None, faults: Faults | None = None, chaos: Chaos | None = None, seed: int = 0,
    name: str | None = None, tags: Sequence[str] = (), path: str | os.PathLike[str] | None = None,
    lab: Lab | None = None, on_failure: OnFailure = "zero", nodes: int | None = None, wait: bool = True,
    cluster: Any = None, insecure: bool = False,
) -> Run:  # fmt: skip
    """Let an agent work on each sample, score what it answers, and keep how each of them ended.

    Called again with the same samples, solver, scorers and seed on the same path, a run goes on: what is finished is
    not run again, what was under way goes on from its journal. Ctrl-C stops it in good order.

    Args:
        solver: An ``Agent`` class or ``child(...)``; its message ``solve`` (an assistant's ``ask``) gets the input.
        samples: A DataFrame, a list of dicts or ``Sample``, a ``.jsonl``, ``.csv`` or ``.parquet`` file, a dataset.
        scorer: A scorer, or ``{"name": scorer, ...}``.
        message: Another message of the solver.
        epochs: How often each sample is worked on.
        reducer: What becomes of a sample's epochs: mean, median, mode, max, ``pass_at(k)``, ``at_least(k)``.
        concurrency: Samples at once; ``"auto"``: as many as the provider bears, found while it runs: one more with
            each that ends, half as many when it refuses calls.
        budget: What one sample may spend on models.
        timeout: Seconds that one sample may take; they stand still while it waits for a provider.
        faults: What goes wrong at the lab's simulator: rules as of ``lab.sim.profile``, or a dict with ``faults``,
            ``latency_s``, ``delta_s``. A lab of yours has at the end what was set there before.
        chaos: What is done to its agents and nodes meanwhile; ``lab.chaos_log()`` says what was done.
        seed: Of all chance: which requests the simulator's faults strike, and what figures draw. Part of what makes
            the run.
        name: The run's; the solver's class if left out.
        tags: Words to find it by.
        path: The store that keeps it. If left out, a temporary file, which is gone with the run and at the
            program's end: give one to what is to be resumed or kept.
        lab: A lab that runs already, instead of ``path``.
        on_failure: Samples that were not scored count as ``"zero"``, are left out (``"drop"``) or end in an error
            (``"raise"``); they are counted and shown either way.
        nodes: Processes that work on it, if it opens a lab of its own.
        wait: Whether to return when all is done.
        cluster: A Dask client or cluster (extra ``cluster``), or its scheduler's address: the samples run on its
            workers, each with a whole lab of its own. ``concurrency``, ``nodes`` (a worker's threads if left out),
            ``faults`` and ``chaos`` are each lab's then, and so are its stores: beside ``path`` on this host, in the
            temporary folder on others. A lost worker costs its unfinished samples, which go on from their journals
            where its store is still there.
        insecure: Take a cluster beyond this machine whose lines are not encrypted: who is on the way may read the
            samples, and run code here.

    Raises:
        InvalidSpec: Something that cannot be; nothing was started.
        RunDiffers: There is another run at the path; it is left as it was.
        InsecureCluster: The cluster is beyond this machine, and not encrypted.
        WorkerRefused: No worker has this process's versions of Python, agentlab and cloudpickle.
        ClusterLost: The scheduler went away; the same call goes on.
        SamplesFailed: With ``on_failure="raise"``.
    """
    spec = _spec(solver, budget)
    cls: Any = spec.what
    _check(epochs, concurrency, on_failure, seed, lab, path)
    profile, door = _profile(faults), _door(cluster, lab, insecure=insecure)
    if chaos is not None:
        check_instance(chaos, Chaos, "evaluate: chaos", "invalid_chaos")
    reduce, made, scored = reducer_of(reducer), read(samples), named(scorer)
    message = message_of(cls, message)
    identity = identity_of(spec, message, made, scored, seed)
    attempt = attempt_class(cls, message, {n: s for n, s in scored.items() if not isinstance(s, model_graded)})
    where = None if lab is not None else _place(path)
    title = _settled(lab, where, name, cls.__name__.lower(), identity)
    limit = None if timeout is None else seconds(timeout, "evaluate: timeout")
    kept_key, kept = _key_of(lab, where, title), Stored(title, where, lab)
    about = json.dumps({
        "identity": identity, "samples": [sample.as_data() for sample in made], "tags": list(tags), "epochs": epochs,
        "key": kept_key,
    })  # fmt: skip
    plan = Plan(title, made, places(made), epochs, spec, attempt, scored, concurrency, limit, about)
    if where is not None and _is_over(where, plan):
        return Run(kept, reduce, on_failure, seed=seed, epochs=epochs).result()
    setting = Setting(profile, chaos, seed, nodes, models=bool(plan.judges) or issubclass(cls, Assistant))
    if door is None:
        opened, ending = open_lab(setting, where, lab)
        place: Workplace = Here(opened, plan)
    else:
        assert where is not None
        place = _on(door, plan, setting, where, kept_key, insecure=insecure, kept=path is not None)
        opened, ending = open_lab(Setting(nodes=1), where)
    driver = Driver(opened, plan, place, at_end=ending.close)
    if where is not None and path is None:
        weakref.finalize(driver, shutil.rmtree, where.parent, ignore_errors=True)
    run = Run(kept, reduce, on_failure, seed=seed, epochs=epochs, driver=driver)
    driver.start()
    return run.shown_until_over() if wait else run


def _door(cluster: Any, lab: Lab | None, *, insecure: bool) -> Any:
    """How the cluster is reached, if there is one."""
    if cluster is None:
        return None
    if lab is not None:
        raise InvalidSpec(
            "evaluate: give a lab or a cluster, not both; each worker of a cluster opens a lab of its own.",
            kind="invalid_cluster", value=lab,
        )  # fmt: skip
    from agentlab.evals.machines import check_private, door_of

    door = door_of(cluster)
    check_private(door.address, insecure=insecure)
    return door


def _on(door: Any, plan: Plan, setting: Setting, where: Path, key: str, **options: bool) -> Workplace:
    """The cluster as a place of work."""
    from agentlab.evals.cluster import Cluster
    from agentlab.evals.labs import Folder
    from agentlab.evals.machines import probed

    folder = Folder(key, str(where.absolute().with_name(f"{where.name}.workers")), probed()["host"])
    return Cluster(door, plan, setting, folder, **options)


def _key_of(lab: Lab | None, where: Path | None, title: str) -> str:
    """What tells this run from all others, for ever."""
    kept: dict[str, Any] = {}
    if lab is not None:
        kept = runs_in(lab._read())
    elif where is not None and where.exists():
        with open_store(where) as store:
            kept = runs_in(store._read())
    return str(kept.get(title, {}).get("key") or uuid.uuid4().hex)


def open_run(
    path: str | os.PathLike[str], name: str | None = None, *, reducer: str | Reducer = "mean",
    on_failure: OnFailure = "zero",
) -> Run:  # fmt: skip
    """Read a run from its store, also while it runs elsewhere.

    Args:
        path: The store.
        name: Which run, if it has more than one.
        reducer: As for ``evaluate``.
        on_failure: As for ``evaluate``.

    Raises:
        InvalidSpec: There is no such run.
    """
    where = file_of(path, "open_run: path")
    with open_store(where) as store:
        found = list(runs_in(store._read()))
    if (name is None and len(found) != 1) or (name is not None and name not in found):
        raise InvalidSpec(
            f"open_run: {str(where)!r} holds {', '.join(found) or 'no run'}"
            + (f"; there is no {shown(name)}." if name is not None else "; say which: open_run(path, name)."),
            kind="invalid_run", value=name,
        )  # fmt: skip
    return Run(Stored(name or found[0], where, None), reducer_of(reducer), on_failure)


def _spec(solver: Any, budget: Budget | None) -> Child:
    spec = solver if isinstance(solver, Child) else child(solver) if is_solver(solver) else None
    if spec is None or not is_solver(spec.what):
        raise InvalidSpec(
            f"evaluate: the solver must be an Agent class or child(...); got {shown(solver)}",
            kind="invalid_solver", value=solver,
        )  # fmt: skip
    if budget is not None:
        check_instance(budget, Budget, "evaluate: budget", "invalid_budget")
        spec = dataclasses.replace(spec, budget=budget)
    return spec


def _profile(faults: Any) -> dict[str, Any] | None:
    """The simulator's profile, checked before anything starts."""
    if not faults and not isinstance(faults, str):
        return None
    from agentlab.sim.rules import Profile

    given = [faults] if isinstance(faults, Mapping) and "mode" in faults else faults
    try:
        read = Profile.read(dict(given) if isinstance(given, Mapping) else list(given))
    except (TypeError, ValueError) as error:
        raise InvalidSpec(f"evaluate: faults: {error}", kind="invalid_faults", value=faults) from None
    made: dict[str, Any] = read.model_dump(mode="json", exclude={"seed"})
    made["faults"] = [{name: value for name, value in rule.items() if value is not None} for rule in made["faults"]]
    return made


def _check(epochs: Any, concurrency: Any, on_failure: Any, seed: Any, lab: Any, path: Any) -> None:  # noqa: PLR0917  # as evaluate
    for what, value in (("epochs", epochs), ("concurrency", 1 if concurrency == "auto" else concurrency)):
        if isinstance(value, bool) or not isinstance(value, int) or value < 1:
            auto = ', or "auto"' if what == "concurrency" else ""
            raise InvalidSpec(f"evaluate: {what} must be an int >= 1{auto}; got {shown(value)}", kind=f"invalid_{what}")
    if isinstance(seed, bool) or not isinstance(seed, int):
        raise InvalidSpec(f"evaluate: seed must be an int; got {shown(seed)}", kind="invalid_seed", value=seed)
    if on_failure not in ON_FAILURE:
        raise InvalidSpec(
            f"evaluate: on_failure must be one of {', '.join(ON_FAILURE)}; got {shown(on_failure)}",
            kind="invalid_on_failure", value=on_failure,
        )  # fmt: skip
    if lab is not None and path is not None:
        raise InvalidSpec("evaluate: give a path or a lab, not both; a lab has its own store.", kind="invalid_path")


def _place(path: str | os.PathLike[str] | None) -> Path:
    if path is None:
        folder = tempfile.mkdtemp(prefix="agentlab-eval-")
        shared().keep(folder)  # a process that is killed sweeps nothing
        return Path(folder) / "run.lab"
    found = file_of(path, "evaluate: path")
    found.parent.mkdir(parents=True, exist_ok=True)
    return found


def _is_over(where: Path, plan: Plan) -> bool:
    """Whether all that is asked for is in the store, so that no lab need be opened."""
    if not where.exists():
        return False
    with open_store(where) as store:
        ended = set(of_each_row(store._read(), plan.name, key_of))
    return all(job.key in ended for job in plan.jobs)


def _settled(lab: Lab | None, where: Path | None, name: str | None, base: str, identity: dict[str, Any]) -> str:
    """The run's name; one that is there already must be the same run."""
    found: dict[str, dict[str, Any]] = {}
    if lab is not None:
        found = runs_in(lab._read())
    elif where is not None and where.exists():
        with open_store(where) as store:
            found = runs_in(store._read())
    if name is not None:
        check_id(name, "evaluate", "name", kind="invalid_name")
    same = [title for title, kept in found.items() if kept["identity"] == identity]
    title = name or (same[0] if same else base)
    kept = found.get(title) or (next(iter(found.values())) if found and name is None else None)
    if kept is not None:
        check_same(kept["identity"], identity, str(where) if where is not None else repr(lab))
    return title
