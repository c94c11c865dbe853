"""The live supervision tree: ``lab.tree()``.

The kernel owns the state, the browser only draws: this file joins the widget's messages to the pusher and to the lab's
control operations.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, Protocol

from agentlab.events import Row
from agentlab.ground.texts import clean
from agentlab_widgets import breakers
from agentlab_widgets.live import LiveWidget, Pane, Watched, assets, name_of
from agentlab_widgets.mirror import ACTIONS, asked, comes_again
from agentlab_widgets.pusher import Pusher
from agentlab_widgets.sift import Wanted
from agentlab_widgets.text import tree_html, tree_text

AGAIN = "; permanent: its supervisor starts it again"


class Kept(Watched, Protocol):
    """A lab that remembers its tree when it is closed."""

    _last: list[Row]


class TreePane(Pane):
    """What the tree says and hears."""

    def _tell(self) -> Pusher:
        return Pusher(self._lab, self.send, functools.partial(last_rows, self._lab))

    def _said(self, pusher: Any, content: dict[str, Any]) -> None:
        """A row was selected, or a button pressed."""
        match content.get("t"):
            case "select":
                pusher.select(int(content["epoch"]), int(content["slot"]))
            case "find":
                pusher.find(Wanted.of(content))
            case "trace":
                pusher.trace(int(content["epoch"]), int(content["slot"]))
            case "do" if content.get("what") in ACTIONS:
                path = pusher.path(int(content["epoch"]), int(content["slot"]))
                self._aside(self._do, pusher, path, content["what"])
            case "answer":
                path = pusher.path(int(content["epoch"]), int(content["slot"]))
                self._aside(self._answer, pusher, path, content.get("asks"), content.get("yes") is True)
            case "breaker" if content.get("what") in breakers.ACTIONS:
                self._turn(clean(str(content.get("name")), 60), content["what"])

    def _aside(self, work: Callable[..., None], *args: Any) -> None:
        """Carry out a click in a thread of its own, since it may wait."""
        threading.Thread(target=work, args=args, daemon=True).start()

    def _turn(self, name: str, what: str) -> None:
        """Open or close the breaker that is shown by this name, as code would."""
        who = name_of(self._lab, "/").removesuffix("['/']")
        self._carry_out(f"{who}.breaker({name!r}).{what}()", lambda: breakers.turn(self._lab, name, what))

    def _do(self, pusher: Pusher, path: str | None, what: str) -> None:
        """Carry out a click: the same operation as in code."""
        if path is None:
            _refuse(pusher, "the tree was redrawn meanwhile: select again")
            return
        again = what == "stop" and any(comes_again(row) for row in self._lab.rows([path]))
        ref = self._lab[path]
        self._work(pusher, f"{name_of(self._lab, path)}.{what}()", getattr(ref, what), f"done{AGAIN if again else ''}")

    def _answer(self, pusher: Pusher, path: str | None, asks: object, yes: bool) -> None:
        """A person's word about the call that was shown; about no other, though it came in its place meanwhile."""
        found = [] if path is None else self._lab.rows([path])
        if path is None or not found or found[0].asks is None or asked(found[0]) != asks:
            _refuse(pusher, "that call does not wait any more: look what does, and answer again")
            return
        step = found[0].asks[0]
        code = f"{name_of(self._lab, path)}.approve({step}{'' if yes else ', yes=False'})"
        approve = functools.partial(self._lab[path].approve, step, yes=yes)
        self._work(pusher, code, approve, "allowed" if yes else "refused")


DRAWN = ("sift.js", "rows.js", "heat.js", "cells.js", "map.js", "breakers.js", "nodes.js", "tree.js")
"""What draws a tree, in the order in which it is joined."""


class TreeWidget(LiveWidget):
    """The supervision tree of a lab as it lives, with buttons to crash, kill and restart.

    Without a live browser it is text and static HTML, the same for the same tree.

    Args:
        lab: Whose tree it is; of a closed one the last state is shown.
    """

    _esm = assets(
        "live.js", "sift.js", "rows.js", "heat.js", "cells.js", "map.js", "breakers.js", "nodes.js", "tree.js"
    )
    _css = assets("live.css", "tree.css")

    def __init__(self, lab: Kept) -> None:
        super().__init__(functools.partial(TreePane, lab))
        self._lab = lab

    def _outages(self) -> list[breakers.Seen]:
        """The breakers that let not everybody through: those that do are no news where nothing lives."""
        return [breaker for breaker in breakers.seen(self._lab) if breaker.state != "closed"]

    def __repr__(self) -> str:
        return tree_text(repr(self._lab), last_rows(self._lab), self._outages())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        told = repr(self._lab), last_rows(self._lab), self._outages()
        data |= {"text/plain": tree_text(*told), "text/html": tree_html(*told)}
        return data, metadata


def last_rows(lab: Kept) -> list[Row]:
    """The tree now, or as it was before the lab was closed."""
    return lab._last if lab.closed else lab.rows()


def _refuse(pusher: Pusher, why: str) -> None:
    pusher.say({"t": "did", "code": "", "text": why, "ok": False})
