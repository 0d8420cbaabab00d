"""`get_variable` and `variable_scope`: variables that are shared by name, independently of the names of ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, ExitStack
from enum import Enum
from typing import Any

from graphflow.framework import context
from graphflow.framework.build import as_array
from graphflow.framework.dtypes import DType, as_dtype, float32
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Graph, Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.framework.provenance import Location, capture
from graphflow.framework.shapes import TensorShape
from graphflow.variables.variable import Variable, init_scope, trains

__all__ = [
    "AUTO_REUSE", "VariableScope", "get_local_variable", "get_variable", "get_variable_scope", "no_regularizer",
    "variable_op_scope", "variable_scope",
]  # fmt: skip


class _ReuseMode(Enum):
    AUTO_REUSE = 1


#: ``reuse=tf.AUTO_REUSE``: make a variable the first time, share it afterwards.
AUTO_REUSE = _ReuseMode.AUTO_REUSE


def no_regularizer(_: Any) -> None:
    """A regularizer that adds nothing: overrides the regularizer of the scope for one variable."""


# ---------------------------------------------------------------------------------------------- the store


class _Store:
    """The variables of one graph by name, how often each scope was opened, and the current scope."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self.made_at: dict[str, Location] = {}
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
        base = _join(self.current.name, prefix)
        if not self.scope_counts.get(base):
            return prefix
        i = 1
        while self.scope_counts.get(f"{base}_{i}"):
            i += 1
        return f"{prefix}_{i}"


def _join(scope: str, name: str) -> str:
    return f"{scope}/{name}" if scope else name


def _store(graph: Graph | None = None) -> _Store:
    graph = context.get_default_graph() if graph is None else graph
    store = graph.scope_state.get("variable_store")
    if store is None:
        store = graph.scope_state["variable_store"] = _Store()
    found: _Store = store
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
    return _store().current


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
        store = _store(graph)
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
                full = _join(outer.name, target) if target else outer.name
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


# ---------------------------------------------------------------------------------------------- get_variable


def get_variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool | None = None,
    collections: Iterable[Any] | None = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: Any = None,
    custom_getter: Any = None,
    constraint: Any = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Any:
    """The variable `name` of the current variable scope: a new one, or, where the scope reuses, the existing one.

    Args:
        name: taken as it is under the variable scope's prefix; name scopes do not matter.
        shape: needed for a new variable unless `initializer` is a value.
        initializer: an initializer (object, class or function of shape and dtype), or a value or tensor; the default is
            glorot_uniform for floats and zeros for the rest.
        regularizer: a function of the variable; its result goes into REGULARIZATION_LOSSES.
        custom_getter: a function (getter, name, shape, ...) to be called in place of the getter.

    Raises:
        ValueError: it exists (and no reuse), does not exist (and reuse), or differs in shape or dtype.
    """
    store = _store()
    scope = store.current
    if dtype is not None and initializer is not None and not callable(initializer):
        found = _value_dtype(initializer)
        if found is not as_dtype(dtype).base_dtype:
            raise ArgumentError(f"Initializer type '{found}' and explicit dtype '{as_dtype(dtype)}' don't match.")
    arguments: dict[str, Any] = {
        "shape": shape,
        "dtype": dtype,
        "initializer": scope.initializer if initializer is None else initializer,
        "regularizer": scope.regularizer if regularizer is None else regularizer,
        "reuse": scope.reuse,
        "trainable": False if not trains(trainable, synchronization) else trainable,
        "collections": collections,
        "caching_device": scope.caching_device if caching_device is None else caching_device,
        "partitioner": scope.partitioner if partitioner is None else partitioner,
        "validate_shape": validate_shape,
        "use_resource": use_resource,
        "constraint": scope.constraint if constraint is None else constraint,
    }
    getter = custom_getter if custom_getter is not None else scope.custom_getter
    full = _join(scope.name, name)
    # The variable scope alone names a variable: at the root of name scopes.
    with context.get_default_graph().name_scope(None):
        if getter is None:
            return _get(full, **arguments)
        return getter(_get, full, **{k: v for k, v in arguments.items() if v is not None or k in _ALWAYS_PASSED})


#: what a custom getter is given even where it is None, because getters name it
_ALWAYS_PASSED = ("shape", "dtype", "initializer", "regularizer", "trainable", "collections")


def get_local_variable(name: str, *args: Any, **kwargs: Any) -> Any:
    """As get_variable, for a variable of LOCAL_VARIABLES that is not trainable."""
    # As in TensorFlow, whatever the caller says.
    kwargs["trainable"] = False
    kwargs["collections"] = [*(kwargs.get("collections") or ()), GraphKeys.LOCAL_VARIABLES]
    return get_variable(name, *args, **kwargs)


def _value_dtype(value: Any) -> DType:
    dtype = getattr(value, "dtype", None)
    if isinstance(value, (Tensor, Variable)):
        return value.dtype.base_dtype
    return as_dtype(as_array(value).dtype) if dtype is None else as_dtype(dtype)


def _get(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    reuse: Any = None,
    trainable: bool | None = None,
    collections: Any = None,
    caching_device: Any = None,
    partitioner: Any = None,
    validate_shape: bool = True,
    use_resource: Any = None,
    constraint: Any = None,
    **ignored: Any,
) -> Any:
    """The variable of the full name `name`; what a custom getter calls."""
    store = _store()
    wanted = TensorShape(shape)
    found = store.variables.get(name)
    if found is not None:
        if not reuse:
            raise ArgumentError(
                f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or reuse=tf.AUTO_REUSE in "
                f"VarScope? Originally defined at:\n\n  {store.made_at[name]}"
            )
        if not wanted.is_compatible_with(found.get_shape()):
            raise ArgumentError(
                f"Trying to share variable {name}, but specified shape {wanted} and found shape {found.get_shape()}."
            )
        if dtype is not None and not as_dtype(dtype).is_compatible_with(found.dtype):
            raise ArgumentError(
                f"Trying to share variable {name}, but specified dtype {as_dtype(dtype).name} and found dtype "
                f"{found.dtype.name}."
            )
        return found
    # AUTO_REUSE makes what is missing; True does not.
    if reuse is True:
        raise ArgumentError(
            f"Variable {name} does not exist, or was not created with tf.get_variable(). Did you mean to set "
            "reuse=tf.AUTO_REUSE in VarScope?"
        )
    from_value = initializer is not None and not callable(initializer)
    if from_value and shape is not None:
        raise ArgumentError("If initializer is a constant, do not specify shape.")
    element = store.current.dtype if dtype is None else as_dtype(dtype).base_dtype
    variable = Variable(
        initial_value=initializer if from_value else _initial_value(name, initializer, wanted, element),
        name=name,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        dtype=None if from_value else element,
        validate_shape=validate_shape,
        constraint=constraint,
    )
    store.variables[name] = variable
    store.made_at[name] = Location(capture())
    # Once, when the variable is made: sharing it must not add its loss again. Like the initial
    # value, the loss must not depend on what control dependencies surround the call.
    if regularizer is not None and regularizer is not no_regularizer:
        graph = variable.graph
        with graph.name_scope(name + "/Regularizer/"), init_scope(graph):
            loss = regularizer(variable)
        if loss is not None:
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
    return variable


def _initial_value(name: str, initializer: Any, shape: TensorShape, dtype: DType) -> Callable[[], Any]:
    """A function that makes the initial value."""
    from graphflow.variables import initializers

    if initializer is None:
        if dtype.base_dtype.name == "string":
            raise ArgumentError(f"An initializer for variable {name} of {dtype} is required")
        initializer = initializers.glorot_uniform_initializer() if dtype.is_floating else initializers.zeros_initializer()
        if not shape.is_fully_defined():
            raise ArgumentError(
                f"Variable {name} did not get an initializer, so its `shape` argument must be specified. Shape of a "
                f"new variable ({name}) must be fully defined, but instead was {shape}."
            )
    if inspect.isclass(initializer):
        initializer = initializer()
    if shape.is_fully_defined():
        dims = shape.as_list()
        # A function, because the ops of the initial value belong under the name scope that `Variable` opens.
        return lambda: _call_initializer(initializer, dims, dtype)
    if _takes_nothing(initializer):
        made: Callable[[], Any] = initializer
        return made
    raise ArgumentError(
        f"Shape of a new variable ({name}) must be fully defined, but instead was {shape}: the initializer "
        f"{initializer!r} needs it"
    )


def _call_initializer(initializer: Any, shape: list[int | None], dtype: DType) -> Any:
    """TensorFlow passes the dtype by keyword; plain functions of shape alone, or of nothing, are taken too."""
    try:
        parameters = inspect.signature(initializer).parameters.values()
    # Some callables written in C have no signature to look at.
    except (TypeError, ValueError):
        return initializer(shape, dtype=dtype)
    named = {p.name for p in parameters}
    if "dtype" in named or any(p.kind is p.VAR_KEYWORD for p in parameters):
        return initializer(shape, dtype=dtype)
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return initializer(shape, dtype) if len(positional) > 1 else initializer(shape) if positional else initializer()


def _takes_nothing(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
