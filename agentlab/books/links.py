"""Links and monitors between lives, as OTP has them: pure books, no signals of their own.

A link is symmetric and idempotent; a monitor points one way, and each one is answered once. Both belong to
lives: an incarnation that ends takes its own along, and the next one makes its own.

Source: "Links" and "Monitors" in the Erlang reference manual.
"""

from __future__ import annotations

from collections import Counter


class Links:
    """Which lives are linked, and which monitor which."""

    def __init__(self) -> None:
        self._links: dict[int, set[int]] = {}
        self._watchers: dict[int, Counter[int]] = {}  # target: watcher: how often
        self._watches: dict[int, set[int]] = {}  # watcher: targets

    def link(self, one: int, other: int) -> None:
        """Tie two lives together; twice is once, and no life is linked to itself."""
        if one != other:
            self._links.setdefault(one, set()).add(other)
            self._links.setdefault(other, set()).add(one)

    def unlink(self, one: int, other: int) -> None:
        """Cut the tie, if there is one."""
        for life, peer in ((one, other), (other, one)):
            peers = self._links.get(life)
            if peers is not None:
                peers.discard(peer)
                if not peers:
                    del self._links[life]

    def monitor(self, watcher: int, target: int) -> None:
        """Promise ``watcher`` one more word when ``target`` ends."""
        self._watchers.setdefault(target, Counter())[watcher] += 1
        self._watches.setdefault(watcher, set()).add(target)

    def demonitor(self, watcher: int, target: int) -> None:
        """Take one promised word back; nothing if there was none."""
        words = self._watchers.get(target)
        if words is None or watcher not in words:
            return
        words[watcher] -= 1
        if not words[watcher]:
            self._drop(watcher, target)

    def linked(self, life: int) -> frozenset[int]:
        """The lives that are linked to this one."""
        return frozenset(self._links.get(life, ()))

    def watched(self, life: int) -> frozenset[int]:
        """The lives that this one monitors."""
        return frozenset(self._watches.get(life, ()))

    def end(self, life: int) -> tuple[list[int], list[int]]:
        """A life ends and is forgotten; the lives linked to it, and its watchers, one entry per monitor."""
        peers = sorted(self._links.pop(life, ()))
        for peer in peers:
            self.unlink(peer, life)
        words = self._watchers.pop(life, None)
        watchers = sorted(words.elements()) if words else []
        for watcher in set(watchers):
            self._forget_watch(watcher, life)
        for target in list(self._watches.get(life, ())):
            self._drop(life, target)
        return peers, watchers

    def _drop(self, watcher: int, target: int) -> None:
        words = self._watchers.get(target)
        if words is not None:
            words.pop(watcher, None)
            if not words:
                del self._watchers[target]
        self._forget_watch(watcher, target)

    def _forget_watch(self, watcher: int, target: int) -> None:
        targets = self._watches.get(watcher)
        if targets is not None:
            targets.discard(target)
            if not targets:
                del self._watches[watcher]

    def __len__(self) -> int:
        return len(self._links) + len(self._watchers)
