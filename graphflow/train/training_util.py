"""The global step: an int64 scalar variable that counts training steps."""

from __future__ import annotations

from typing import Any

from graphflow.framework import context
from graphflow.framework.dtypes import int64
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Graph
from graphflow.framework.graph_keys import GraphKeys
from graphflow.variables.initializers import Zeros
from graphflow.variables.scope import get_variable

__all__ = ["assert_global_step", "create_global_step", "get_global_step", "get_or_create_global_step", "global_step"]


def get_global_step(graph: Graph | None = None) -> Any:
    """The global step variable of the graph (the default one), or None.

    Raises:
        TypeError: it is not an integer scalar.
    """
    graph = context.get_default_graph() if graph is None else graph
    registered = graph.get_collection(GraphKeys.GLOBAL_STEP)
    # As in TensorFlow: several of them are none.
    if len(registered) > 1:
        return None
    found = registered or [
        v for v in graph.get_collection(GraphKeys.GLOBAL_VARIABLES) if v.name == f"{GraphKeys.GLOBAL_STEP}:0"
    ]
    if not found:
        return None
    assert_global_step(found[0])
    return found[0]


def create_global_step(graph: Graph | None = None) -> Any:
    """Makes the global step variable ``global_step``. Raises ValueError if there is one."""
    graph = context.get_default_graph() if graph is None else graph
    if get_global_step(graph) is not None:
        raise ArgumentError('"global_step" already exists.')
    # Always called "global_step", whatever scope is open: checkpoints and scripts find it by that name.
    with graph.as_default(), graph.name_scope(None):
        return get_variable(
            GraphKeys.GLOBAL_STEP,
            shape=[],
            dtype=int64,
            initializer=Zeros(),
            trainable=False,
            collections=[GraphKeys.GLOBAL_VARIABLES, GraphKeys.GLOBAL_STEP],
        )


def get_or_create_global_step(graph: Graph | None = None) -> Any:
    graph = context.get_default_graph() if graph is None else graph
    found = get_global_step(graph)
    return create_global_step(graph) if found is None else found


def assert_global_step(global_step_tensor: Any) -> None:
    """Raises TypeError unless the global step is an integer scalar."""
    if not global_step_tensor.dtype.base_dtype.is_integer:
        raise TypeError(f'Existing "global_step" does not have integer type: {global_step_tensor.dtype}')
    if global_step_tensor.shape.ndims not in (None, 0):
        raise TypeError(f'Existing "global_step" is not scalar: {global_step_tensor.shape}')


def global_step(sess: Any, global_step_tensor: Any) -> int:
    """The value of the global step in a session, as an int."""
    return int(sess.run(global_step_tensor))
