"""The two ends of a vocabulary, made from its protocol, so that they cannot disagree about the order of a frame.

Who says something calls a method of a ``sender`` by keyword; it becomes a tuple: the frame's name, then its parts
in the order of the protocol. Who hears it has its method called by keyword again. Both are written out as code once,
when a module is loaded, as a named tuple's constructor is: matching names for each frame would cost more than all
the rest of its way.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from agentlab.wire.codec import Frame

Words = TypeVar("Words")
Who = TypeVar("Who")
Parts = ParamSpec("Parts")


def vocabulary(words: type) -> dict[str, tuple[str, ...]]:
    """The frames of a protocol: their names, and the names of their parts in their order."""
    return {name: _parts(word) for name, word in vars(words).items() if inspect.isfunction(word) and name[0] != "_"}


def named(words: type, frame: Frame) -> dict[str, Any]:
    """The parts of a frame by their names."""
    return dict(zip(vocabulary(words)[frame[0]], frame[1:], strict=True))


def sender(words: type[Words], module: str) -> Callable[[Callable[[Frame], object]], Words]:
    """What makes the speaking end of a vocabulary, of the function that takes each frame.

    Args:
        words: Its protocol.
        module: The file of whose code it is a part: a life is not left in the middle of what its node says.
    """
    lines = ["class Sender:", " __slots__ = ('queue',)", " def __init__(self, queue): self.queue = queue"]
    for name, parts in vocabulary(words).items():
        lines += [f" def {name}(self, *, {', '.join(parts)}): self.queue(({name!r}, {', '.join(parts)}))"]
    made: Callable[[Callable[[Frame], object]], Words] = _written(lines, module)["Sender"]
    return made


def hearing(words: type[Words]) -> Callable[[Words], dict[str, Callable[[Frame], None]]]:
    """What makes, of a receiver, the table of what to do with each frame: call its method of that name."""
    readers = {name: _reader(name, parts, "") for name, parts in vocabulary(words).items()}
    return lambda receiver: {name: reader(getattr(receiver, name)) for name, reader in readers.items()}


class Heard(Generic[Parts]):
    """A frame that several speakers send: ``Heard(ToKernel.done).by(on_done)``, so that mypy compares the two."""

    def __init__(self, word: Callable[Concatenate[Any, Parts], None]) -> None:
        self._word: Any = word

    def by(self, handler: Callable[Concatenate[Who, Parts], None]) -> tuple[str, Callable[[Who, Frame], None]]:
        """A row of the table of what to do: call the handler with who spoke, then with the frame's parts by name."""
        name: str = self._word.__name__
        return name, _reader(name, _parts(self._word), "who, ")(handler)


@functools.cache  # each lab makes its table anew, and each node reads its first frame by name
def _parts(word: Callable[..., None]) -> tuple[str, ...]:
    return tuple(inspect.signature(word).parameters)[1:]


@functools.cache
def _reader(name: str, parts: tuple[str, ...], who: str) -> Callable[[Callable[..., None]], Any]:
    """Makes, of a handler, what takes a frame and calls it; ``who``: with the speaker before the parts."""
    lines = [
        "def reader(handler):",
        f" def {name}({who}frame):",
        f"  _, {', '.join(parts)} = frame",
        f"  handler({who}{', '.join(f'{part}={part}' for part in parts)})",
        f" return {name}",
    ]
    made: Callable[[Callable[..., None]], Any] = _written(lines, __file__)["reader"]
    return made


def _written(lines: list[str], module: str) -> dict[str, Any]:
    """What Python makes of these lines, as code that lies in the module's folder."""
    space: dict[str, Any] = {}
    exec(compile("\n".join(lines), str(Path(module).with_name("<stubs>")), "exec"), space)  # noqa: S102  # our own words
    return space
