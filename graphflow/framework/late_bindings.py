"""What stands above the framework and is needed below: the op library and the Session, bound when the package is imported.

The table of ops must not know the op library, and files must not know the runtime; but an op may be asked for by name before
its family is loaded, an op may be the gradient of others, and a loaded model opens a session. So the package says, when it is
imported, how each is had.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol


class OpLibrary(Protocol):
    """The functions of the module `graphflow.ops`."""

    def family_of(self, op: str) -> str | None: ...

    def load(self, op: str) -> None: ...

    def load_all(self) -> None: ...


_op_library: Callable[[], Any] | None = None
_rules: Callable[[], object] | None = None
_gradients: Callable[[], Any] | None = None
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


def bind_gradients(load: Callable[[], Any]) -> None:
    """`load` gives the function ``gradients(ys, xs, grad_ys)`` that gives a tensor for each x."""
    global _gradients
    _gradients = load


def dense_gradients(ys: Sequence[Any], xs: Sequence[Any], grad_ys: Sequence[Any]) -> list[Any]:
    """The gradients of ys with respect to xs as tensors; zeros where they do not depend on one."""
    assert _gradients is not None, "the package binds it when it is imported"
    found: list[Any] = _gradients()(ys, xs, grad_ys)
    return found


def bind_rules(load: Callable[[], object]) -> None:
    """`load` loads the gradients of all families of the library, which are loaded one by one otherwise, and the losses."""
    global _rules
    _rules = load


def load_rules() -> None:
    """Has the whole op library, all of its gradients and the losses loaded: whatever has functions that may be put off."""
    op_library().load_all()
    if _rules is not None:
        _rules()


def bind_session(load: Callable[[], Any]) -> None:
    """`load` gives the class Session."""
    global _session_class
    _session_class = load


def new_session(**options: Any) -> Any:
    """A Session with these options."""
    assert _session_class is not None, "the package binds it when it is imported"
    return _session_class()(**options)
