"""`get_variable` and `variable_scope`: variables that are shared by name, independently of the names of ops."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from typing import Any

from graphflow.framework import context
from graphflow.framework.build import as_array
from graphflow.framework.dtypes import DType, as_dtype
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.framework.provenance import Location, capture
from graphflow.framework.shapes import TensorShape
from graphflow.variables.store import (
    AUTO_REUSE,
    VariableScope,
    get_variable_scope,
    join,
    no_regularizer,
    store_of,
    variable_op_scope,
    variable_scope,
)
from graphflow.variables.variable import Variable, init_scope, may_train

__all__ = [
    "AUTO_REUSE", "VariableScope", "get_local_variable", "get_variable", "get_variable_scope", "no_regularizer",
    "variable_op_scope", "variable_scope",
]  # fmt: skip


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
        caching_device: the device of the op that reads the variable.
        partitioner: a function of (shape, dtype) that says into how many parts each axis is to be cut, such as
            `fixed_size_partitioner`; then this is a PartitionedVariable.

    Raises:
        ValueError: it exists (and no reuse), does not exist (and reuse), or differs in shape or dtype.
    """
    store = store_of()
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
        "trainable": False if not may_train(trainable, synchronization) else trainable,
        "collections": collections,
        "caching_device": scope.caching_device if caching_device is None else caching_device,
        "partitioner": scope.partitioner if partitioner is None else partitioner,
        "validate_shape": validate_shape,
        "use_resource": use_resource,
        "constraint": scope.constraint if constraint is None else constraint,
        "synchronization": synchronization,
        "aggregation": aggregation,
    }
    getter = custom_getter if custom_getter is not None else scope.custom_getter
    if getter is not None and not callable(getter):
        raise ArgumentError(f"Passed a custom_getter which is not callable: {getter}")
    full = join(scope.name, name)
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
    synchronization: Any = None,
    **ignored: Any,
) -> Any:
    """The variable of the full name `name`; what a custom getter calls."""
    made, trainable = store_of().made, may_train(trainable, synchronization)
    # A scalar has no axis to be cut, whatever the scope says.
    partitioner = None if shape is not None and TensorShape(shape).ndims == 0 else partitioner
    if partitioner is not None or (reuse and name in made.partitioned):
        from graphflow.variables.partitioned import get_partitioned  # loaded by programs that have such variables

        return get_partitioned(
            name, shape, dtype, initializer, regularizer, reuse, trainable, collections, caching_device, partitioner,
            validate_shape, constraint,
        )  # fmt: skip
    if f"{name}/part_0" in made.variables:
        raise ArgumentError(
            f"No partitioner was provided, but a partitioned version of the variable was found: {name}/part_0. Perhaps a "
            "variable of the same name was already created with partitioning?"
        )
    return get_single(
        name, shape, dtype, initializer, regularizer, reuse, trainable, collections, caching_device, validate_shape, constraint
    )


def get_single(
    name: str,
    shape: Any,
    dtype: Any,
    initializer: Any,
    regularizer: Any,
    reuse: Any,
    trainable: bool | None,
    collections: Any,
    caching_device: Any,
    validate_shape: bool,
    constraint: Any,
    partition_info: Any = None,
) -> Any:
    """The Variable of the full name `name`, which may be a part of another one."""
    store = store_of()
    made = store.made
    wanted = TensorShape(shape)
    found = made.variables.get(name)
    if found is not None:
        if not reuse:
            raise ArgumentError(
                f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or reuse=tf.AUTO_REUSE in "
                f"VarScope? Originally defined at:\n\n  {made.at[name]}"
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
        initial_value=initializer if from_value else _initial_value(name, initializer, wanted, element, partition_info),
        name=name,
        trainable=trainable,
        collections=collections,
        caching_device=caching_device,
        dtype=None if from_value else element,
        validate_shape=validate_shape,
        constraint=constraint,
    )
    made.variables[name] = variable
    made.at[name] = Location(capture())
    # Once, when the variable is made: sharing it must not add its loss again. Like the initial
    # value, the loss must not depend on what control dependencies surround the call.
    if regularizer is not None and regularizer is not no_regularizer:
        graph = variable.graph
        with graph.name_scope(name + "/Regularizer/"), init_scope(graph):
            loss = regularizer(variable)
        if loss is not None:
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)
    return variable


def _initial_value(name: str, initializer: Any, shape: TensorShape, dtype: DType, partition_info: Any) -> Callable[[], Any]:
    """A function that makes the initial value."""
    from graphflow.variables import initializers

    if initializer is None:
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
        return lambda: _call_initializer(initializer, dims, dtype, partition_info)
    if _takes_nothing(initializer):
        made: Callable[[], Any] = initializer
        return made
    raise ArgumentError(
        f"Shape of a new variable ({name}) must be fully defined, but instead was {shape}: the initializer "
        f"{initializer!r} needs it"
    )


def _call_initializer(initializer: Any, shape: list[int | None], dtype: DType, partition_info: Any) -> Any:
    """TensorFlow passes the dtype by keyword; plain functions of shape alone, or of nothing, are taken too."""
    of_part = {} if partition_info is None else {"partition_info": partition_info}
    try:
        parameters = inspect.signature(initializer).parameters.values()
    # Some callables written in C have no signature to look at.
    except (TypeError, ValueError):
        return initializer(shape, dtype=dtype)
    named = {p.name for p in parameters}
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters)
    if "dtype" in named or takes_any:
        return initializer(shape, dtype=dtype, **(of_part if "partition_info" in named or takes_any else {}))
    positional = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
    return initializer(shape, dtype) if len(positional) > 1 else initializer(shape) if positional else initializer()


def _takes_nothing(function: Any) -> bool:
    parameters = inspect.signature(function).parameters.values()
    return all(p.default is not p.empty or p.kind in (p.VAR_POSITIONAL, p.VAR_KEYWORD) for p in parameters)
