"""The live supervision tree: ``lab.tree()``.

The kernel owns the state, the browser only draws: this file joins the widget's messages to the pusher and to the lab's
control operations. Handlers of messages may run on any thread, so they only hand over.
"""

from __future__ import annotations

import contextvars
import threading
from pathlib import Path
from typing import Any, Protocol

import anywidget

from agentlab.events import Row
from agentlab.looks import clean
from agentlab_widgets.mirror import ACTIONS, comes_again
from agentlab_widgets.pusher import Pusher, Watched, be_no_cells_child
from agentlab_widgets.text import tree_html, tree_text

HERE = Path(__file__).parent
AGAIN = "; permanent: its supervisor starts it again"


class Kept(Watched, Protocol):
    """A lab that remembers its tree when it is closed."""

    _last: list[Row]


class TreeWidget(anywidget.AnyWidget):
    """The supervision tree of a lab as it lives, with buttons to crash, kill and restart.

    Without a live browser it is text and static HTML, the same for the same tree.

    Args:
        lab: Whose tree it is; of a closed one the last state is shown.
    """

    _esm = "\n".join((HERE / name).read_text("utf-8") for name in ("cells.js", "tree.js"))
    _css = (HERE / "tree.css").read_text("utf-8")

    def __init__(self, lab: Kept) -> None:
        # A comm is answered where its last message came from. Were that this cell, its clicks would wait for cells.
        contextvars.copy_context().run(self._open)
        self._lab = lab
        self._starting = threading.Lock()
        self._pusher: Pusher | None = None
        self.on_msg(self._hear)

    def _open(self) -> None:
        be_no_cells_child()
        super().__init__()

    def close(self) -> None:
        """End the view; the lab goes on."""
        if self._pusher:
            self._pusher.end()
        super().close()

    def _hear(self, _widget: object, content: dict[str, Any], _buffers: object) -> None:
        """A browser said something; on any thread, so nothing is done here."""
        pusher = self._push()
        match content.get("t"):
            case "hello":
                pusher.hello(str(content.get("looker")))
            case "hidden":
                pusher.hidden(str(content.get("looker")))
            case "select":
                pusher.select(int(content["epoch"]), int(content["slot"]))
            case "do" if content.get("what") in ACTIONS:
                path = pusher.path(int(content["epoch"]), int(content["slot"]))
                work = threading.Thread(target=self._do, args=(pusher, path, content["what"]), daemon=True)
                work.start()

    def _push(self) -> Pusher:
        """The pusher; it starts when the first browser asks, so a tree nobody sees costs nothing."""
        with self._starting:
            if self._pusher is None:
                self._pusher = Pusher(self._lab, self.send, self._read)
                self._pusher.start()
            return self._pusher

    def _do(self, pusher: Pusher, path: str | None, what: str) -> None:
        """Carry out a click: the same operation as in code, in a thread of its own since it may wait."""
        be_no_cells_child()
        if path is None:
            pusher.say({"t": "did", "code": "", "text": "the tree was redrawn meanwhile: select again", "ok": False})
            return
        code = f"{name_of(self._lab, path)}.{what}()"
        pusher.say({"t": "doing", "code": code})
        again = what == "stop" and any(comes_again(row) for row in self._lab.rows([path]))
        try:
            getattr(self._lab[path], what)()
        except Exception as error:  # whatever it is, the person who clicked must read it
            pusher.say({"t": "did", "code": code, "ok": False, "text": clean(f"{type(error).__name__}: {error}", 400)})
        else:
            pusher.say({"t": "did", "code": code, "ok": True, "text": f"done{AGAIN if again else ''}"})

    def _read(self) -> list[Row]:
        """The tree now, or as it was before the lab was closed."""
        return self._lab._last if self._lab.closed else self._lab.rows()

    def __repr__(self) -> str:
        return tree_text(repr(self._lab), self._read())

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:  # IPython's protocol
        data, metadata = super()._repr_mimebundle_(**kwargs) or ({}, {})
        rows, label = self._read(), repr(self._lab)
        data |= {"text/plain": tree_text(label, rows), "text/html": tree_html(label, rows)}
        return data, metadata


def name_of(lab: Watched, path: str) -> str:
    """How code in this notebook would write the ref: by its variable if there is one, else by its path."""
    from IPython.core.getipython import get_ipython

    shell = get_ipython()
    names = dict(shell.user_ns) if shell else {}
    ref = lab[path]
    for name, value in names.items():
        if not name.startswith("_") and type(value) is type(ref) and value == ref:
            return str(name)
    labs = [name for name, value in names.items() if value is lab and not name.startswith("_")]
    return f"{labs[0] if labs else 'lab'}[{path!r}]"
