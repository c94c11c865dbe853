"""A ref as cells and scripts hold it: what is asked of it blocks, and gives the value itself."""

from __future__ import annotations

from agentlab.ref.ref import Ref


class RefInCell(Ref):
    """A ``Ref`` in the process of its lab: ``ref.status`` is the word itself, ``ref.info()`` the dict."""

    __slots__ = ()

    def __repr__(self) -> str:
        if not self._link.may_wait():
            return super().__repr__()
        return f"Ref({self.path!r}, {self._cls_name}, {self.status})"
