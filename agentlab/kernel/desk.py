"""What the parts of the runtime share: the books, the ledger, the pool, the tree, and one word of status."""

from __future__ import annotations

from collections import deque

from agentlab.books.agents import Entry
from agentlab.books.classes import Kinds
from agentlab.books.dormant import Entries
from agentlab.books.messages import NOTHING
from agentlab.books.numbers import Numbers
from agentlab.books.remembered import Waiting
from agentlab.books.supervisors import Supervisors
from agentlab.exits import reason_text
from agentlab.ground.turns import TurnLoop
from agentlab.kernel.changes import Changes
from agentlab.kernel.turn import Ledger
from agentlab.pool.pool import Node, Pool
from agentlab.supervision.tree import Tree


class Desk:
    """Everything here belongs to the runtime's thread.

    Attributes:
        loop: The lab's own; its thread runs it.
        tree: The supervision machine, which only its driver feeds.
        pool: The nodes.
        numbers: For messages, placements, timers, tickets and calls of the machine.
        entries: Every agent in the books, by path.
        lives: Every life that runs or is being started, by number; also one whose successor runs already.
        placed: The same by placement: a node knows a life by the number of its placement there, which is never
            used again. So what a node says of a life that was moved or ended meanwhile is not heard.
        supervisors: Those that run, by life.
        crowds: How many children a supervisor must have before it is looked at again for a limit that many share.
        remarks: What is to be said in a notebook, by the way.
        active: Agents that keep the lab from being idle.
        topics: Subscribers by topic, in the order in which they came.
        changes: For those who wait until something is so.
        waiting: What a lab that was opened again has not resumed.
    """

    def __init__(self, ledger: Ledger, loop: TurnLoop, tree: Tree, pool: Pool) -> None:
        self.ledger = ledger
        self.loop = loop
        self.tree = tree
        self.pool = pool
        self.kinds = Kinds()
        self.lives: dict[int, Entry] = {}
        self.placed: dict[int, Entry] = {}
        self.entries = Entries(tree.find, self.lives)
        self.supervisors = Supervisors()
        self.crowds: dict[str, float] = {}
        self.remarks: deque[str] = deque(maxlen=100)
        self.active: set[Entry] = set()
        self.topics: dict[str, dict[str, None]] = {}
        self.waiting = Waiting()
        self.numbers = Numbers()
        self.changes = Changes(loop)

    def due(self) -> None:
        """Have this turn's work committed and sent at its end."""
        self.loop.due = True

    def present(self, life: int) -> Entry | None:
        """The agent whose present life this is; None for a life that has a successor."""
        entry = self.lives.get(life)
        return entry if entry is not None and not self.is_outlived(entry) else None

    def is_outlived(self, entry: Entry) -> bool:
        """Whether its life only ends still: the agent goes on in another, under another entry."""
        return self.entries.peek(entry.path) is not entry

    def noted(self, node: Node) -> None:
        """A node has noted something: it is told when that is committed."""
        if node.heard == node.told:
            self.ledger.after_commit(self._tell_settled, node)
        node.heard += 1

    def _tell_settled(self, node: Node) -> None:
        node.told = node.heard
        node.say.settled(count=node.heard)
        self.due()

    def living(self, life: int) -> Entry | None:
        """The agent whose life this is, dormant ones too."""
        entry = self.lives.get(life)
        return entry if entry is not None else self.entries.make(self.tree.find_life(life))

    def status(self, entry: Entry) -> str:
        """The agent's status, a word of the contract."""
        return entry.status(closing=self.ledger.closing)

    def settle(self, entry: Entry) -> None:
        """Note whether the agent rests, so that who waits for that can be woken."""
        if not entry.pending:
            entry.pending = NOTHING
        if entry.is_active:
            self.active.add(entry)
        else:
            self.active.discard(entry)
        self.ledger.events.touch_path(entry.path)
        self.loop.due = True

    def why_not(self, path: str, method: str) -> str:
        """Why nobody reads a message, for the error."""
        entry = self.entries.get(path)
        place = self.waiting.below(path) or self.waiting.places.get(path)
        if place is not None and (entry is None or not entry.life):
            return f"{path}.{method}: the agent is parked ({place.why})."
        if self.ledger.closing and (entry is None or not entry.life):
            return f"{path}.{method}: the lab is closing, and the agent has ended. Start another: Lab()."
        if entry is None:
            return f"{path}.{method}: there is no agent {path!r} in this lab. Look: lab.agents()."
        why = f" ({reason_text(entry.reason)})" if entry.reason is not None else ""
        team = entry.record.parked_above if entry.is_down else None
        if team is not None:
            return f"{path}.{method}: its supervisor {team.path!r} is parked. That one's restart() brings both back."
        return f"{path}.{method}: the agent is {self.status(entry)}{why}. Start it again: ref.restart()."
