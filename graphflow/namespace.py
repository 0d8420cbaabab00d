"""`namespace`: gives a module the names that `public_names` lists for it, each loaded when it is first used."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from graphflow.framework.late_bindings import op_library
from graphflow.public_names import homes


def namespace(name: str, members: dict[str, Any]) -> tuple[Callable[[str], Any], Callable[[], list[str]], list[str]]:
    """``__getattr__``, ``__dir__`` and ``__all__`` of the module that is the namespace `name`.

    Args:
        name: as in `public_names.PUBLIC`.
        members: the module's ``globals()``: a name is looked up once, then it stands there.
    """
    table = homes(name)
    public = sorted(table)

    def getattribute(attribute: str) -> Any:
        if attribute not in table:
            raise AttributeError(f"module 'graphflow.{name}' has no attribute {attribute!r}{near(attribute, public)}")
        # Kept in the module, so that each name is looked up once.
        members[attribute] = value = resolve(*table[attribute])
        return value

    return getattribute, lambda: public, public


def resolve(module: str, attribute: str) -> Any:
    """The value of a public name."""
    # Whatever makes tensors needs their operators, which come with the library.
    op_library()
    return getattr(importlib.import_module(module), attribute)


def near(attribute: str, names: list[str]) -> str:
    """Suggestions for a misspelt name, as the end of an error text; empty if nothing is close."""
    # Python itself asks for such names (``__path__``, ``__wrapped__``), and needs no advice.
    if attribute.startswith("_"):
        return ""
    import difflib

    close = difflib.get_close_matches(attribute, names, 3)
    return f". Close: {', '.join(close)}" if close else ""
