"""Live views of one agent: made by the package of widgets, which stands above this one and is found when asked for."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from agentlab.errors import InvalidArgument

if TYPE_CHECKING:
    from agentlab.ref.ref import Ref


def view_of(ref: Ref, kind: str, *args: Any) -> Any:  # a widget, whose class this floor does not know
    """A view of that kind.

    Raises:
        InvalidArgument: An agent asks: views are for people.
    """
    here = ref._link.here()
    if here is not None:
        raise InvalidArgument(f"{here} asks to see {ref.path}: views are for cells. In an agent: await ref.info().")
    return getattr(importlib.import_module("agentlab_widgets"), kind).of(ref, *args)
