"""Which paths are below which: found without looking at all of them."""

from __future__ import annotations


class Below:
    """A set of paths, in the order in which they came, by the path above each."""

    def __init__(self) -> None:
        self._members: set[str] = set()
        self._under: dict[str, dict[str, None]] = {}  # members, and what has members below it

    def add(self, path: str) -> None:
        """Take a path in."""
        self._members.add(path)
        while path:
            above = path.rpartition("/")[0]
            kids = self._under.setdefault(above, {})
            if path in kids:
                return
            kids[path] = None
            path = above

    def remove(self, path: str) -> None:
        """Leave a path out again, and what stood above nothing else."""
        self._members.discard(path)
        while path and path not in self._members and path not in self._under:
            above = path.rpartition("/")[0]
            kids = self._under.get(above, {})
            kids.pop(path, None)
            if kids:
                return
            self._under.pop(above, None)
            path = above

    def of(self, path: str) -> list[str]:
        """The members below a path, each before those below it."""
        found: list[str] = []
        stack = [path.rstrip("/")]
        while stack:
            place = stack.pop()
            if place in self._members and place != path:
                found.append(place)
            stack += reversed(self._under.get(place, {}))
        return found
