"""Tracebacks that teach: the lines of their reader, by the names of their cells, and nothing of how it got there.

An agent's class may come from a notebook's cell. Its node has no such file, so the cells' sources and names travel
with the class (``sources`` there, ``learn`` here). What an agent raised shows the agent's own frames; an error of
agentlab in a notebook shows the cell's and, once, the agent's, in a dozen lines. ``AGENTLAB_FULL_TRACEBACKS=1`` shows
all frames there are.
"""

from __future__ import annotations

import importlib.util
import linecache
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import CodeType, FunctionType, TracebackType
from typing import Any

from agentlab.ground.texts import clean, safe

LINES = 12
"""Lines of an error of ours in a notebook."""

IN_THE_AGENT = "In the agent:\n"
"""How the note begins that says where an agent raised it."""

MOST_FRAMES, MOST_PLACES, MOST_CELLS = 50, 2000, 200
MOST_TOLD = 8
"""Exceptions of a group that are told in its message."""

Source = tuple[str, str]
"""A cell's name and its text."""

_names: dict[str, str] = {}  # of cells by their file names, as they came with classes
_places: dict[tuple[CodeType, int, bool], str] = {}


def full() -> bool:
    """Whether all frames are to be shown."""
    return os.environ.get("AGENTLAB_FULL_TRACEBACKS", "") not in ("", "0")


# cells that travel


def sources(cls: type) -> dict[str, Source]:
    """The cells in which a class stands, with whatever of its module its methods use: by file name."""
    found: dict[str, Source] = {}
    seen: set[int] = set()
    todo: list[Any] = [cls]
    while todo and len(seen) < 20 * MOST_CELLS:
        thing = todo.pop()
        if id(thing) not in seen:
            seen.add(id(thing))
            todo += _parts(thing, cls, found)
    return found


def _parts(thing: Any, cls: type, found: dict[str, Source]) -> Iterator[Any]:
    """What a thing is made of; the cell of a function is noted."""
    if isinstance(thing, FunctionType):
        yield from _used(thing, found)
    elif isinstance(thing, (classmethod, staticmethod)):
        yield thing.__func__
    elif isinstance(thing, property):
        yield from (thing.fget, thing.fset)
    elif isinstance(thing, type):
        if thing in cls.__mro__ or thing.__module__ == cls.__module__:
            for base in thing.__mro__:
                if not base.__module__.startswith(("agentlab", "builtins")):
                    yield from list(vars(base).values())
    elif type(thing).__module__.startswith("agentlab.") and hasattr(thing, "__dict__"):  # a tool
        yield from list(vars(thing).values())


def _used(function: FunctionType, found: dict[str, Source]) -> Iterator[Any]:
    name = function.__code__.co_filename
    if name not in found:
        source = _cell(name)
        if source is None:
            return
        found[name] = source
    for code in _codes(function.__code__):
        yield from (function.__globals__[word] for word in code.co_names if word in function.__globals__)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _codes(inner)


def _cell(file: str) -> Source | None:
    entry = linecache.cache.get(file)
    if entry is None or len(entry) != 4 or entry[1] is not None or Path(file).exists():
        return None  # a file that the node can read
    return name_of(file), "".join(entry[2])


def learn(cells: dict[str, Source]) -> None:
    """Keep the cells of a class that has come: a traceback that is formatted here finds their lines."""
    for file, (name, text) in cells.items():
        _names[file] = name
        linecache.cache[file] = (len(text), None, text.splitlines(keepends=True), file)


def name_of(file: str) -> str:
    """``Cell In[2]`` for a cell's file, as far as this process knows; else ``File "..."``."""
    shell: Any = _shell()
    found = None if shell is None else getattr(shell.compile, "format_code_name", lambda file: None)(file)
    return " ".join(found) if found else _names.get(file, f'File "{file}"')


def _shell() -> Any:
    module: Any = sys.modules.get("IPython")
    return None if module is None else module.get_ipython()


# in the agent


def _homes(*names: str) -> tuple[str, ...]:
    """The folders of packages, found without importing them."""
    found = [spec.origin for name in names if (spec := importlib.util.find_spec(name)) is not None and spec.origin]
    return tuple(str(Path(origin).parent) + os.sep for origin in found)


HOUSE = (str(Path(__file__).parent.parent) + os.sep, *_homes("asyncio", "anyio", "concurrent.futures"))
"""Where frames come from that say nothing to the agent's author."""


def traceback_of(error: BaseException) -> str:
    """As ``traceback.format_exception``, without the frames of the house, and with cells by their names.

    What is found out about a place is kept for the next crash there.
    """
    everything = full()
    chained = error.__cause__ or error.__context__ or isinstance(error, BaseExceptionGroup)
    places = [] if chained else _shown_places(error.__traceback__, everything)
    if chained or len(places) > MOST_FRAMES:
        return _chain(error, everything)
    return "".join(["Traceback (most recent call last):\n", *places, *traceback.format_exception_only(error)])


def _shown_places(at: TracebackType | None, everything: bool) -> list[str]:
    lines: list[str] = []
    while at is not None and len(lines) <= MOST_FRAMES:
        place = (at.tb_frame.f_code, at.tb_lasti, everything)
        if place not in _places:
            if len(_places) >= MOST_PLACES:
                _places.clear()
            shown = everything or not at.tb_frame.f_code.co_filename.startswith(HOUSE)
            _places[place] = _named("".join(traceback.format_tb(at, limit=1))) if shown else ""
        if _places[place]:
            lines.append(_places[place])
        at = at.tb_next
    return lines


def _chain(error: BaseException, everything: bool) -> str:
    made = traceback.TracebackException.from_exception(error)
    todo: list[Any] = [] if everything else [made]
    while todo:
        part = todo.pop()
        if part is not None:
            if part.stack is not None:
                part.stack[:] = [frame for frame in part.stack if not frame.filename.startswith(HOUSE)]
            todo += [part.__cause__, part.__context__, *(part.exceptions or ())]
    return _named("".join(made.format()))


def _named(text: str) -> str:
    return _FILE.sub(lambda found: name_of(found[1]), text)


_FILE = re.compile(r'File "([^"\n]+)"')


# in a notebook


def render(error: BaseException) -> list[str]:
    """An error as a notebook shows it: the cell's lines, what happened, and where in the agent, in a dozen lines."""
    if full():
        return _everything(error)
    name = clean(type(error).__name__)
    head = f"{_red(name)}{' ' * max(1, 42 - len(name))}Traceback (most recent call last)"
    first, *more = safe(message_of(error)).splitlines() or [""]
    lines = [head, *_own_frames(error.__traceback__), "", f"{_red(name)}: {first}", *more]
    return lines + _because(error, LINES - len(lines))


def _everything(error: BaseException) -> list[str]:
    shell = _shell()
    if shell is None:
        return safe("".join(traceback.format_exception(error))).splitlines()
    found: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, error.__traceback__)
    return found


def _own_frames(at: TracebackType | None) -> list[str]:
    """The frames of the caller: the outermost and the innermost."""
    found = []
    hidden = (*HOUSE, *_homes("IPython", "ipykernel"))
    while at is not None:
        code = at.tb_frame.f_code
        if not code.co_filename.startswith(hidden):
            found.append(_frame(code, at.tb_lineno))
        at = at.tb_next
    shown = found if len(found) < 3 else [found[0], found[-1]]
    return [line for frame in shown for line in frame]


def _frame(code: CodeType, line: int) -> list[str]:
    where = f", in {code.co_name}" if code.co_name != "<module>" else ""
    text = linecache.getline(code.co_filename, line).strip()
    return [f"  {name_of(code.co_filename)}, line {line}{where}", f"    {text}"]


def _because(error: BaseException, room: int) -> list[str]:
    """The place in the agent where it was raised; else what our error came from, in a line."""
    causes = [error] if error.__cause__ is None else [error, error.__cause__]
    note = next((note for cause in causes for note in _notes(cause) if note.startswith(IN_THE_AGENT)), None)
    if note is not None:
        return _agents_lines(note, max(room, 5))
    cause = error.__cause__
    if cause is None:
        return []
    return [safe(f"Because of {type(cause).__name__}: {message_of(cause)}").partition("\n")[0]]


def _agents_lines(note: str, room: int) -> list[str]:
    """The error and its frames, as many as there is room for; of a chain, both ends."""
    lines = [line for line in safe(note).splitlines()[1:] if line.strip(" ^~") and not line.startswith("Traceback (")]
    links: list[list[str]] = [[]]
    for line in lines:
        if line in CHAINS:
            links.append([])
        else:
            links[-1].append(line.removeprefix("agentlab.errors."))
    if len(links) > 1:
        return [IN_THE_AGENT.strip(), *_last_frame(links[0]), *_last_frame(links[-1])]
    found = links[0]
    if len(found) > room - 1:
        cut = max(1, len(_last_frame(found)), room - 2)
        found = ["  ... (all frames: AGENTLAB_FULL_TRACEBACKS=1, or lab.events())", *found[-cut:]]
    return [IN_THE_AGENT.strip(), *found]


CHAINS = (
    "The above exception was the direct cause of the following exception:",
    "During handling of the above exception, another exception occurred:",
)


def _last_frame(lines: list[str]) -> list[str]:
    """The innermost frame, and the first line of what was raised there."""
    frames = [n for n, line in enumerate(lines) if line.startswith("  ") and not line.startswith("   ")]
    start = frames[-1] if frames else 0
    said = next((n for n, line in enumerate(lines) if n >= start and not line.startswith("  ")), len(lines) - 1)
    return lines[start : said + 1]


def _notes(error: BaseException) -> list[str]:
    return [note for note in getattr(error, "__notes__", ()) if isinstance(note, str)]


def leaves(error: BaseException) -> list[BaseException]:
    """What is inside a group of exceptions, however deep, in its order; of any other the exception itself."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in leaves(each)]


def message_of(error: BaseException) -> str:
    """What an exception says, whatever its ``__str__`` does; a group says what is in it, too."""
    try:
        said = str.__str__(str(error))
        if not isinstance(error, BaseExceptionGroup):
            return said
        told = [f"{type(each).__name__}: {message_of(each)}" for each in leaves(error)[:MOST_TOLD]]
        return f"{said}: {'; '.join(told)}"
    except BaseException as failed:  # a __str__ may raise anything
        return f"(its message raised {type(failed).__name__})"


def _red(text: str) -> str:
    return f"\x1b[31m{text}\x1b[39m"
