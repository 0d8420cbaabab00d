"""What stands above the framework and is needed below: the op library and the Session, bound when the package is imported.

The table of ops must not know the op library, and files must not know the runtime; but an op may be asked for by name before
its family is loaded, and a loaded model opens a session. So the package says, when it is imported, how either is had.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class OpLibrary(Protocol):
    """The functions of the module `graphflow.ops`."""

    def family_of(self, op: str) -> str | None: ...

    def load(self, op: str) -> None: ...

    def load_all(self) -> None: ...


_op_library: Callable[[], Any] | None = None
_session_class: Callable[[], Any] | None = None


def bind_op_library(load: Callable[[], Any]) -> None:
    """`load` gives the module `graphflow.ops`. It is called often."""
    global _op_library
    _op_library = load


def op_library() -> OpLibrary:
    """The op library. With it Tensors have their operators; its families load when they are asked for."""
    assert _op_library is not None, "the package binds it when it is imported"
    library: OpLibrary = _op_library()
    return library


def bind_session(load: Callable[[], Any]) -> None:
    """`load` gives the class Session."""
    global _session_class
    _session_class = load


def new_session(**options: Any) -> Any:
    """A Session with these options."""
    assert _session_class is not None, "the package binds it when it is imported"
    return _session_class()(**options)
