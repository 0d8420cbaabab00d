"""The module-level functions that act on the default graph, such as `tf.device` and `tf.control_dependencies`."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Any

from graphflow.framework.build import name_scope
from graphflow.framework.context import get_default_graph


def control_dependencies(control_inputs: Iterable[Any] | None) -> AbstractContextManager[None]:
    """Ops made inside run after `control_inputs`; None drops the control dependencies of the blocks around it."""
    return get_default_graph().control_dependencies(control_inputs)


def device(device_name_or_function: Any) -> AbstractContextManager[None]:
    """Requests a device for the ops made inside."""
    return get_default_graph().device(device_name_or_function)


def colocate_with(op: Any, ignore_existing: bool = False) -> AbstractContextManager[None]:
    """Asks for the device of `op` for the ops made inside."""
    return get_default_graph().colocate_with(getattr(op, "op", op), ignore_existing)


def add_to_collection(name: Any, value: Any) -> None:
    get_default_graph().add_to_collection(name, value)


def add_to_collections(names: Any, value: Any) -> None:
    get_default_graph().add_to_collections(names, value)


def get_collection(key: Any, scope: str | None = None) -> list[Any]:
    """A copy of a collection of the default graph."""
    return get_default_graph().get_collection(key, scope)


def get_collection_ref(key: Any) -> list[Any]:
    """The collection itself."""
    return get_default_graph().get_collection_ref(key)


def op_scope(values: Any, name: str | None, default_name: str | None = None) -> AbstractContextManager[str]:
    """The old spelling of name_scope."""
    return name_scope(name, default_name, values)
