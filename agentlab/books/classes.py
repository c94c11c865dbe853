"""Agent classes in the books: a number, a name, and the bytes in which a class travels to nodes."""

from __future__ import annotations

from collections.abc import Mapping

from agentlab.agent.base import Agent, Transcript
from agentlab.agent.snapshot import Image
from agentlab.wire.packing import pack, pack_class

NONE_GIVEN: Image = {}
"""What a child spec sets that sets no field; all share it, and none changes it."""


class Kind:
    """An agent class as the books know it: a number, a name, and the bytes in which it travels."""

    __slots__ = ("_data", "cls", "number")

    def __init__(self, number: int, cls: type[Agent]) -> None:
        self.number = number
        self.cls = cls
        self._data: bytes | None = vars(cls).get("_travels_as")  # a stand-in: the bytes of what it stands for

    @property
    def name(self) -> str:
        """The class's name."""
        return self.cls.__name__

    @property
    def data(self) -> bytes:
        """The class for a node; made once. One that cannot travel is an error there, when it is to be started."""
        if self._data is None:
            try:
                self._data = pack_class(self.cls)
            except Exception as error:  # whatever a global of one of its methods raises
                why = (
                    f"{self.name} cannot travel to a node, with the globals that its methods use: {error}. Make "
                    "such an object in on_start, or inside the method, or in a module that the class imports."
                )
                self._data = pack(TypeError(why), self.name)
        return self._data

    @property
    def traps_shutdown(self) -> bool:
        """Whether its supervisor's shutdown waits for ``on_stop``: as the class says, else if it has that hook."""
        traps = self.cls.trap_exit
        return hasattr(self.cls, "on_stop") if traps is None else traps

    def first(self, fields: Mapping[str, object]) -> Image:
        """The whole state that an agent without ``on_start`` begins with, as its node would commit it."""
        given = self.initial(fields)
        image: Image = {}
        for name, field in self.cls.__agent_fields__.items():
            saved = given.get(name)
            if saved is None:
                saved = field.default.dump() if field.grows else field.dump(field.default)
            if saved or not field.grows:
                image[name] = saved
        return image

    def initial(self, fields: Mapping[str, object]) -> Image:
        """The fields that the child spec sets, as JSON texts."""
        if not fields:
            return NONE_GIVEN
        image: Image = {}
        for name, value in fields.items():
            field = self.cls.__agent_fields__[name]
            if field.annotation is Transcript:
                items = value if isinstance(value, Transcript) else Transcript(value)  # type: ignore[arg-type]  # checked
                image[name] = items.dump()
            else:
                image[name] = field.dump_given(value)
        return image


class Kinds:
    """The agent classes of a lab; a class that a cell defines anew is a new kind."""

    def __init__(self) -> None:
        self._by_class: dict[type[Agent], Kind] = {}
        self._by_number: list[Kind] = []

    def of(self, cls: type[Agent]) -> Kind:
        """The kind of a class."""
        kind = self._by_class.get(cls)
        if kind is None:
            kind = self._by_class[cls] = Kind(len(self._by_number), cls)
            self._by_number.append(kind)
        return kind

    def __getitem__(self, number: int) -> Kind:
        return self._by_number[number]
