"""`variable_scope`: where `get_variable` looks for variables, independently of the names of ops, and its defaults."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import AbstractContextManager, ExitStack
from enum import Enum
from typing import Any

from graphflow.framework import context
from graphflow.framework.dtypes import DType, as_dtype, float32
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Graph
from graphflow.framework.graph_keys import GraphKeys
from graphflow.framework.provenance import Location

__all__ = [
    "AUTO_REUSE", "VariableScope", "get_variable_scope", "no_regularizer", "variable_op_scope", "variable_scope",
]  # fmt: skip


class _ReuseMode(Enum):
    AUTO_REUSE = 1


#: ``reuse=tf.AUTO_REUSE``: make a variable the first time, share it afterwards.
AUTO_REUSE = _ReuseMode.AUTO_REUSE


def no_regularizer(_: Any) -> None:
    """A regularizer that adds nothing: overrides the regularizer of the scope for one variable."""


# ---------------------------------------------------------------------------------------------- the store


class Made:
    """The variables of one graph by name."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        #: Those that are made of parts, each of which is also in `variables`.
        self.partitioned: dict[str, Any] = {}
        self.at: dict[str, Location] = {}


class Store(threading.local):
    """The variables of one graph; and, for each thread, the current scope and how often each scope was opened."""

    def __init__(self, made: Made) -> None:  # called in each thread that looks at it
        self.made = made
        self.scope_counts: dict[str, int] = {}
        self.current = VariableScope()

    def open(self, scope: str) -> None:
        self.scope_counts[scope] = self.scope_counts.get(scope, 0) + 1

    def close_subscopes(self, scope: str) -> None:
        # Numbers of default names start anew each time a scope is entered: layers
        # made in it again get the same names.
        prefix = scope + "/"
        for name in self.scope_counts:
            if name.startswith(prefix):
                self.scope_counts[name] = 0

    def unique(self, prefix: str) -> str:
        """`prefix` with the first free number in the current scope."""
        base = join(self.current.name, prefix)
        if not self.scope_counts.get(base):
            return prefix
        i = 1
        while self.scope_counts.get(f"{base}_{i}"):
            i += 1
        return f"{prefix}_{i}"


def join(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope else name


def store_of(graph: Graph | None = None) -> Store:
    graph = context.get_default_graph() if graph is None else graph
    store = graph.scope_state.get("variable_store")
    if store is None:
        # Two threads that start at once must get the same one.
        store = graph.scope_state.setdefault("variable_store", Store(Made()))
    found: Store = store
    return found


# ---------------------------------------------------------------------------------------------- the scope


class VariableScope:
    """Name prefix and defaults of `get_variable`. Users get one from ``with variable_scope(...) as scope:``."""

    def __init__(
        self,
        reuse: Any = False,
        name: str = "",
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        name_scope: str = "",
        dtype: Any = float32,
        use_resource: Any = None,
        constraint: Any = None,
    ) -> None:
        self._name = name
        self._initializer = initializer
        self._regularizer = regularizer
        self._reuse = reuse
        self._caching_device = caching_device
        self._partitioner = partitioner
        self._custom_getter = custom_getter
        self._name_scope = name_scope
        self._dtype: DType = as_dtype(dtype)
        self._use_resource = use_resource
        self._constraint = constraint

    name = property(lambda self: self._name)
    original_name_scope = property(lambda self: self._name_scope, doc="The name scope of the scope's first entry, with ``/``.")
    reuse = property(lambda self: self._reuse)
    initializer = property(lambda self: self._initializer)
    regularizer = property(lambda self: self._regularizer)
    caching_device = property(lambda self: self._caching_device)
    partitioner = property(lambda self: self._partitioner)
    custom_getter = property(lambda self: self._custom_getter)
    dtype = property(lambda self: self._dtype)
    use_resource = property(lambda self: self._use_resource)
    constraint = property(lambda self: self._constraint)

    def copy(self, **changes: Any) -> VariableScope:
        new = VariableScope.__new__(VariableScope)
        new.__dict__.update(self.__dict__)
        # Straight into the fields: the constructor would convert again what is converted.
        new.__dict__.update({f"_{k}": v for k, v in changes.items()})
        return new

    def reuse_variables(self) -> None:
        """From here on `get_variable` only shares."""
        self._reuse = True

    def set_initializer(self, initializer: Any) -> None:
        self._initializer = initializer

    def set_regularizer(self, regularizer: Any) -> None:
        self._regularizer = regularizer

    def set_dtype(self, dtype: Any) -> None:
        self._dtype = as_dtype(dtype)

    def set_caching_device(self, caching_device: Any) -> None:
        self._caching_device = caching_device

    def set_partitioner(self, partitioner: Any) -> None:
        self._partitioner = partitioner

    def set_custom_getter(self, custom_getter: Any) -> None:
        self._custom_getter = custom_getter

    def set_use_resource(self, use_resource: Any) -> None:
        self._use_resource = use_resource

    def get_collection(self, name: Any) -> list[Any]:
        """The items of a collection whose names are in this scope."""
        return context.get_default_graph().get_collection(name, self._name + "/" if self._name else "")

    def trainable_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.TRAINABLE_VARIABLES)

    def global_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.GLOBAL_VARIABLES)

    def local_variables(self) -> list[Any]:
        return self.get_collection(GraphKeys.LOCAL_VARIABLES)


def get_variable_scope() -> VariableScope:
    """The current variable scope of the default graph."""
    return store_of().current


class variable_scope(AbstractContextManager[VariableScope]):
    """``with variable_scope("layer1"):`` prefixes variables (and ops), and sets defaults for `get_variable` inside.

    Args:
        name_or_scope: a name, a VariableScope to enter again, or None (then `default_name`, made unique).
        reuse: True shares existing variables, AUTO_REUSE makes what is missing, None and False inherit.
        initializer, regularizer, dtype, custom_getter, constraint: defaults of `get_variable` inside.
        auxiliary_name_scope: False leaves op names alone.

    Raises:
        ValueError: neither a name nor a default name, or `reuse` with a default name only.
    """

    def __init__(
        self,
        name_or_scope: str | VariableScope | None,
        default_name: str | None = None,
        values: Iterable[Any] | None = None,
        initializer: Any = None,
        regularizer: Any = None,
        caching_device: Any = None,
        partitioner: Any = None,
        custom_getter: Any = None,
        reuse: Any = None,
        dtype: Any = None,
        use_resource: Any = None,
        constraint: Any = None,
        auxiliary_name_scope: bool = True,
    ) -> None:
        if name_or_scope is None and default_name is None:
            raise TypeError("If default_name is None then name_or_scope is required")
        if name_or_scope is not None and not isinstance(name_or_scope, (str, VariableScope)):
            raise TypeError(f"VariableScope: name_or_scope must be a string or VariableScope, got {name_or_scope!r}")
        if reuse not in (None, True, False, AUTO_REUSE):
            raise ArgumentError(f"The reuse parameter must be True or False or None, got {reuse!r}")
        if not isinstance(auxiliary_name_scope, bool):
            raise TypeError(f"The auxiliary_name_scope must be `True` or `False`, while get {auxiliary_name_scope}")
        if name_or_scope is None and reuse is True:
            raise ArgumentError("reuse=True cannot be used without a name_or_scope")
        self._target = name_or_scope
        self._default_name = default_name
        self._values = list(values or ())
        # False means "inherit", as None does: reuse cannot be switched off inside a scope that reuses.
        self._reuse = reuse or None
        self._custom_getter = custom_getter
        self._with_names = auxiliary_name_scope
        self._changes = {
            k: v
            for k, v in (
                ("initializer", initializer),
                ("regularizer", regularizer),
                ("caching_device", caching_device),
                ("partitioner", partitioner),
                ("dtype", None if dtype is None else as_dtype(dtype)),
                ("use_resource", use_resource),
                ("constraint", constraint),
            )
            if v is not None
        }
        self._exits: list[ExitStack] = []  # one object may be entered several times

    def __enter__(self) -> VariableScope:
        # The graph of the tensors that are passed, as for name scopes.
        graph = next((v.graph for v in self._values if hasattr(v, "graph")), None) or context.get_default_graph()
        store = store_of(graph)
        with ExitStack() as stack:
            stack.enter_context(graph.as_default())
            outer = store.current
            target = store.unique(self._default_name or "") if self._target is None else self._target
            # A scope that is entered again opens a new name scope of its last part, as in TensorFlow.
            entered = target.name.split("/")[-1] if isinstance(target, VariableScope) else target
            names = graph.get_name_scope() + "/" if graph.get_name_scope() else ""
            if self._with_names and entered:
                names = stack.enter_context(graph.name_scope(entered))
            changes = dict(self._changes)
            if isinstance(target, VariableScope):
                base = target
                # Entered again, a scope must not use up default names for the code around it.
                counts = dict(store.scope_counts)
                stack.callback(lambda: setattr(store, "scope_counts", counts))
                changes["reuse"] = self._reuse or target.reuse
                store.open(target.name)
            else:
                base = outer
                full = join(outer.name, target) if target else outer.name
                changes.update(name=full, name_scope=names, reuse=self._reuse or outer.reuse)
                store.open(full)
            stack.callback(setattr, store, "current", outer)
            # A copy, so that changes of defaults inside end with the block.
            scope = base.copy(**changes)
            if self._custom_getter is not None:
                scope._custom_getter = _compose_getters(self._custom_getter, base.custom_getter)
            stack.callback(store.close_subscopes, scope.name)
            store.current = scope
            # Nothing has failed so far: the exits now belong to __exit__.
            self._exits.append(stack.pop_all())
        return scope

    def __exit__(self, *exc: Any) -> None:
        self._exits.pop().__exit__(*exc)


def variable_op_scope(values: Any, name_or_scope: Any, default_name: str | None = None, **kwargs: Any) -> variable_scope:
    """The old spelling of ``variable_scope(name_or_scope, default_name, values)``."""
    return variable_scope(name_or_scope, default_name, values, **kwargs)


def _compose_getters(inner: Any, outer: Any) -> Any:
    if outer is None:
        return inner
    # The inner getter is asked first, and what it calls as its getter is the outer one.
    return lambda getter, *args, **kwargs: inner(lambda *a, **k: outer(getter, *a, **k), *args, **kwargs)
