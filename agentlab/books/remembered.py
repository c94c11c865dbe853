"""The tree as the store has it, for a lab that is opened again: its places, and which of them wait.

The store names agent classes and never holds them. A place whose class this process has not defined waits, and so
does everything in a notebook until a person says ``lab.resume()``. What waits below a supervisor is in no process;
it is known by its place here, so that it can be seen and read all the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from agentlab.agent.snapshot import plain
from agentlab.books.messages import Message
from agentlab.books.specs import class_named, is_missing, known, load, to_run
from agentlab.store.database import Store
from agentlab.store.rows import ChildRow
from agentlab.supervision.child import Child, Supervisor

AGAIN = "the lab was opened again"
"""Why the incarnation before ended, of an agent that is back."""

ASKED = "the lab was opened again; lab.resume() runs it"


@dataclass
class Place:
    """One place of the stored tree, with what is below it.

    Attributes:
        down: Why it did not run when the lab ended, if it did not.
        why: Why it waits; None once it does not.
    """

    path: str
    spec: str
    dynamic: bool
    status: str
    past: tuple[int, int, int]
    below: list[Place] = field(default_factory=list)
    down: str = ""
    why: str | None = None

    @functools.cached_property
    def names(self) -> tuple[str, str] | None:
        """Module and name of its class; None for a supervisor of several."""
        return class_named(self.spec)

    @property
    def is_missing(self) -> bool:
        """Whether its class is not defined here (yet)."""
        return self.names is not None and known(*self.names) is None

    @functools.cached_property
    def strategy(self) -> str | None:
        """The strategy of a supervisor; None for an agent."""
        flags = json.loads(self.spec).get("supervisor")
        return None if flags is None else str(flags["strategy"])

    @property
    def cls_name(self) -> str:
        """What a ref shows."""
        return "Supervisor" if self.strategy is not None or self.names is None else self.names[1].rsplit(".", 1)[-1]

    @property
    def parent(self) -> str:
        """The path of its supervisor."""
        return self.path.rsplit("/", 1)[0] or "/"

    @property
    def id(self) -> str:
        """The last part of the path."""
        return self.path.rsplit("/", 1)[1]

    def child(self) -> Child:
        """The child spec, with the static children of a supervisor."""
        return load(self.spec, tuple(place.child() for place in self.below if not place.dynamic))

    def walk(self) -> Iterator[Place]:
        """This place and all below it."""
        yield self
        for child in self.below:
            yield from child.walk()

    def state(self, store: Store) -> dict[str, Any]:
        """The last committed state as JSON values; no class is needed for it."""
        given: dict[str, Any] = json.loads(self.spec).get("fields", {})
        return given | plain(store.state(self.path))


def remembered(store: Store) -> list[Place]:
    """The children of the root that the store holds, each with its tree."""
    seqs = dict(
        store.select(
            "SELECT path, max(seq) FROM (SELECT path, max(seq) seq FROM message GROUP BY path"
            " UNION ALL SELECT path, max(seq) FROM checkpoint GROUP BY path) GROUP BY path"
        )
    )
    children = store.select_rows(ChildRow, "ORDER BY rowid")
    places: dict[str, Place] = {}
    top: list[Place] = []
    for row in children:
        past = row.incarnation, row.restarts, max(row.seq, seqs.get(row.path, 0))
        places[row.path] = Place(row.path, row.spec, bool(row.dynamic), row.status, past)
    if any(place.status == "parked" for place in places.values()):
        for path, reason, _ in store.select(
            "SELECT path, reason, max(seq) FROM event WHERE kind = 'parked' GROUP BY path"
        ):
            if path in places:
                places[path].down = reason
    for row in children:
        if row.parent in places:
            places[row.parent].below.append(places[row.path])
        elif row.parent == "/":  # else its supervisor did not come up: the caller that asked for that one asks again
            top.append(places[row.path])
    return top


class Waiting:
    """What a lab that was opened again has not resumed.

    Attributes:
        places: Those that a supervisor keeps, parked; by path, in the order of the tree. A team that was parked before
            the lab ended is among them, for those below it come back with it; it is resumed by its ``restart()`` alone.
        mail: Messages for those below them, which are in no process and have no mailbox; by path.
    """

    def __init__(self) -> None:
        self.places: dict[str, Place] = {}
        self.mail: dict[str, list[Message]] = {}
        self._below: dict[str, Place] = {}

    def add(self, place: Place, why: str) -> None:
        """A place waits, and all below it with it."""
        self.places[place.path], place.why = place, why
        how = f"waits: {why}" if place.status == "running" else f"is parked: {why}. Its restart() brings this one back"
        for found in place.walk():
            if found is not place:
                self._below[found.path] = found
                found.why = ASKED if why == ASKED else f"{place.path} {how}"

    def remove(self, place: Place) -> None:
        """Forget a place that is resumed, or gone."""
        self.places.pop(place.path, None)
        for found in place.walk():
            found.why = None
            self._below.pop(found.path, None)

    def below(self, path: str) -> Place | None:
        """What waits at a path below a supervisor that waits; None for what the tree itself has."""
        return self._below.get(path)

    def takes(self, path: str, most: int) -> bool:
        """Whether a message may wait for what is there."""
        return path in self._below and len(self.mail.get(path, ())) < most

    def named(self, id: str) -> Place | None:
        """The first of those with that id."""
        return next((place for place in self._below.values() if place.id == id), None)

    def missing(self) -> dict[tuple[str, str], list[str]]:
        """The classes that are still not defined, by module and name, with the paths that need each."""
        needed: dict[tuple[str, str], list[str]] = {}
        for place in (below for top in self.places.values() if top.status == "running" for below in top.walk()):
            if place.names is not None:
                needed.setdefault(place.names, []).append(place.path)
        return {names: paths for names, paths in needed.items() if known(*names) is None}


def missing_line(missing: dict[tuple[str, str], list[str]]) -> str:
    """What to tell a person about classes that are not defined, in one line, however many; empty if there are none."""
    if not missing:
        return ""
    paths = [path for needing in missing.values() for path in needing]
    if len(missing) == 1:
        (name,) = missing
        return f"{name[1]} is not defined, so {_shown(paths)} parked: {to_run(*name)}, then lab.resume()."
    names = [name for _, name in missing]
    cells = all(module == "__main__" for module, _ in missing)
    how = "run their cells" if cells else "run their cells, import their modules"
    return f"{_listed(names)} are not defined, so {_shown(paths)} parked: define them ({how}), then lab.resume()."


def _shown(paths: list[str]) -> str:
    return f"{_listed(paths)} {'stays' if len(paths) == 1 else 'stay'}"


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:3])}{f' and {len(words) - 3:,} more' if len(words) > 3 else ''}"


def missing_of(spec: Child) -> str | None:
    """What to run before this child can start; None if nothing is missing."""
    names = list(dict.fromkeys(_stand_ins(spec)))
    if not names:
        return None
    told = f"{'; '.join(to_run(*name) for name in names)}, then lab.resume()"
    if not isinstance(spec.what, Supervisor):
        return f"its class is not defined: {told}"
    which = "the class of a child is" if len(names) == 1 else "classes of its children are"
    return f"{which} not defined: {told}"


def _stand_ins(spec: Child) -> Iterator[tuple[str, str]]:
    if isinstance(spec.what, Supervisor):
        for kid in spec.what.children:
            yield from _stand_ins(kid)
    elif isinstance(spec.what, type) and is_missing(spec.what):
        yield spec.what.__module__, spec.what.__qualname__
