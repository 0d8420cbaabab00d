"""What stands above the framework and is needed below: op libraries and the Session, bound when the package is imported.

The table of ops must not know the op library, and files must not know the runtime; but a name of an op may be asked for before
its library is loaded, and a loaded model opens a session. So the package says, when it is imported, how either is had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

_libraries: list[Callable[[], object]] = []
_session_class: Callable[[], Any] | None = None


def add_op_library(load: Callable[[], object]) -> None:
    """Adds a library. `load` registers its ops; it is called often, and does nothing after the first time."""
    _libraries.append(load)


def load_op_libraries() -> None:
    """Has every op of every library registered."""
    for load in _libraries:
        load()


def bind_session(load: Callable[[], Any]) -> None:
    """`load` gives the class Session."""
    global _session_class
    _session_class = load


def new_session(**options: Any) -> Any:
    """A Session with these options."""
    assert _session_class is not None, "the package binds it when it is imported"
    return _session_class()(**options)
