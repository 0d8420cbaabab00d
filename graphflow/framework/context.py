"""Thread-local default stacks: the default graph and the default session."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from graphflow.framework.graph import Graph

T = TypeVar("T")


class DefaultStack(threading.local, Generic[T]):
    """A stack per thread; entered with ``with stack.entered(x):``."""

    def __init__(self) -> None:
        self.stack: list[T] = []

    @contextmanager
    def entered(self, item: T, enforce_nesting: bool = True) -> Iterator[T]:
        self.stack.append(item)
        try:
            yield item
        finally:
            if enforce_nesting:
                if not self.stack or self.stack[-1] is not item:
                    raise AssertionError(f"Nesting violated for default stack of {type(item).__name__} objects")
                self.stack.pop()
            elif item in self.stack:
                self.stack.remove(item)

    def top(self) -> T | None:
        return self.stack[-1] if self.stack else None


class _Differentiation(threading.local):
    """The question that a running `gradients` call of this thread answers: is a gradient with respect to this tensor needed?"""

    wanted: Callable[[Any], bool] | None = None


differentiation = _Differentiation()


def gradient_is_wanted(t: Any) -> bool:
    """Whether a gradient function should build the gradient with respect to its input t.

    Most constants and placeholders need none: their gradients would be ops that nothing reads. True outside of `gradients`.
    """
    wanted = differentiation.wanted
    return wanted is None or wanted(t)


graphs: DefaultStack[Graph] = DefaultStack()
sessions: DefaultStack[Any] = DefaultStack()
_global_graph: Graph | None = None
_lock = threading.Lock()


def get_default_graph() -> Graph:
    """The graph that ops are added to: the innermost ``with g.as_default()`` of this thread, else one global graph."""
    global _global_graph
    top = graphs.top()
    if top is not None:
        return top
    # Two threads that start at once must get the same global graph.
    with _lock:
        if _global_graph is None:
            # Imported here because `graph` imports this module.
            from graphflow.framework.graph import Graph

            _global_graph = Graph()
        return _global_graph


def reset_default_graph() -> None:
    """Replaces the global default graph by an empty one. AssertionError inside a ``with g.as_default()`` block."""
    global _global_graph
    if graphs.stack:
        raise AssertionError(
            "Do not use tf.reset_default_graph() to clear nested graphs. If you need a cleared graph, exit the nesting "
            "and create a new graph."
        )
    from graphflow.framework.graph import Graph

    with _lock:
        _global_graph = Graph()


def get_default_session() -> Any:
    """The session of the innermost ``with session:`` block of this thread, or None."""
    return sessions.top()
