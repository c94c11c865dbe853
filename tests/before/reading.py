"""What is read in the stored lab, by the code that wrote it and by today's: the two must be the same."""

from __future__ import annotations

import dataclasses
import gzip
import json
from pathlib import Path
from typing import Any

from agentlab import Lab, check, open_store
from tests.before.people import Clerk

LAB, STORED, RESUMED = "before.lab.gz", "stored.json.gz", "resumed.json.gz"
FRAMES = ("agents", "events", "messages", "steps", "restarts", "dead_letters", "checkpoints")


def stored(path: Path) -> dict[str, Any]:
    """What a reader finds: whether the store is whole, every frame, and every state of the agents of one class."""
    found = check(path)
    with open_store(path) as lab:
        frames = {name: rows_of(getattr(lab, name)()) for name in FRAMES}
        frames["checkpoints of /origin"] = rows_of(lab.checkpoints("/origin"))
    return {"damage": found.damage, "rows": found.rows, "unchecked": found.unchecked, "frames": frames}


def asleep(path: Path) -> dict[str, Any]:
    """The lab as it is shown before it goes on: who is there, in which state, with how much in the mailbox."""
    with Lab(path, nodes=2, resume="ask") as lab:
        return tree(lab)


def resumed(path: Path) -> dict[str, Any]:
    """The lab before it goes on, then when everything that waited was handled, and then at work again."""
    before = asleep(path)
    with Lab(path, nodes=2, resume=True) as lab:
        lab.wait_idle(60)
        after = tree(lab)
        doubts = lab["/house/team/payer"].doubts()
        answers = work(lab)
        return {"asleep": before, "idle": after, "doubts": doubts, "answers": answers, "worked": tree(lab)}


def work(lab: Lab) -> dict[str, Any]:
    """Ask one of each kind for something: its past is there, and it goes on from it."""
    payer, quiet = lab["/house/team/payer"], lab["/quiet"]
    payer.settle("pay", "paid 9, as the bank says")
    quiet.resume()
    lab["/lost"].restart()
    lab.wait_idle(60)
    answers = {
        "payer": payer.call.settle_up(1).result(60),
        "quiet": quiet.call.add(1).result(60),
        "lost": lab["/lost"].call.add(1).result(60),
        "hand": lab.start(Clerk, under="/house/crew", count=9).call.add(1).result(60),
        "reckoner": lab["/reckoner"].call.ask("What is 3 * 5?").result(60),
        "rung": lab.publish("bells", "ring"),
        "retried": lab.retry("/poor"),
        "spec": options_of(lab["/house"].get_childspec("desk")),
    }
    lab["/house/desk"].crash()
    lab.wait_idle(60)
    return answers


def options_of(spec: Any) -> dict[str, str]:
    """A child's options as text."""
    return {option.name: repr(getattr(spec, option.name)) for option in dataclasses.fields(spec) if option.repr}


def tree(lab: Lab) -> dict[str, Any]:
    """Every row of the tree, with the committed state of each agent."""
    known = ("kind", "cls", "status", "incarnation", "restarts", "mailbox")
    return {
        row.path: {
            **{name: getattr(row, name) for name in known},
            "state": None if row.kind == "supervisor" else lab[row.path].state,
        }
        for row in lab.rows()
    }


def rows_of(frame: Any) -> list[dict[str, Any]]:
    """A frame as plain rows."""
    return json.loads(frame.to_json(orient="records", date_format="iso", date_unit="ns", default_handler=str))


def write_down(path: Path, found: dict[str, Any]) -> None:
    """As JSON, for the tests to compare."""
    path.write_bytes(gzip.compress(json.dumps(found, indent=1, sort_keys=True, default=str).encode(), 9, mtime=0))


def written_down(path: Path) -> Any:
    """What ``write_down`` wrote."""
    return json.loads(gzip.decompress(path.read_bytes()))
