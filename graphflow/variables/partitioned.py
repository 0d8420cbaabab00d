"""Partitioned variables: tables whose parts are variables of their own, and the partitioners that say how many there are."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, register_tensor_conversion
from graphflow.framework.dtypes import DType, as_dtype, float32, string
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Tensor
from graphflow.framework.records import record
from graphflow.framework.shapes import TensorShape
from graphflow.ops.array.concat import concat
from graphflow.ops.array.identity import identity
from graphflow.ops.array.slicing import slice_
from graphflow.ops.array.split import split
from graphflow.variables.scope import get_single
from graphflow.variables.store import store_of, variable_scope
from graphflow.variables.variable import Variable, init_scope

__all__ = [
    "PartitionInfo", "PartitionedVariable", "SaveSliceInfo", "create_partitioned_variables", "fixed_size_partitioner",
    "min_max_variable_partitioner", "variable_axis_size_partitioner",
]  # fmt: skip

#: What says into how many parts each axis is to be cut, from the keyword arguments `shape` and `dtype`.
Partitioner = Callable[..., Sequence[int]]


@record(frozen=True)
class PartitionInfo:
    """What the initializer of a part is told: the shape of the whole, and where the part begins in it."""

    full_shape: list[int]
    var_offset: list[int]

    def single_slice_dim(self, shape: Sequence[int]) -> int | None:
        """The axis that is cut, given the part's shape; None if there is one part."""
        return next((i for i, (n, whole) in enumerate(zip(shape, self.full_shape, strict=True)) if n < whole), None)

    def single_offset(self, shape: Sequence[int]) -> int:
        """Where the part begins on the axis that is cut."""
        axis = self.single_slice_dim(shape)
        return 0 if axis is None else self.var_offset[axis]


@record(frozen=True)
class SaveSliceInfo:
    """Which part of which variable a Variable is: checkpoints hold the whole, so that it can be cut differently later."""

    full_name: str
    full_shape: list[int]
    var_offset: list[int]
    var_shape: list[int]

    @property
    def spec(self) -> str:
        """``<full shape> <offset>,<size>:<offset>,<size>``"""
        places = ":".join(f"{o},{n}" for o, n in zip(self.var_offset, self.var_shape, strict=True))
        return " ".join(map(str, [*self.full_shape, places]))


class PartitionedVariable:
    """A variable in parts along one axis. Iteration gives the parts; where a tensor is wanted, it is their concatenation."""

    def __init__(
        self, name: str, shape: TensorShape, dtype: DType, parts: Sequence[Variable], partitions: Sequence[int]
    ) -> None:
        self._name, self._shape, self._dtype = name, shape, dtype
        self._parts, self._partitions = list(parts), list(partitions)
        self._axis = next((i for i, n in enumerate(partitions) if n > 1), 0)

    name = property(lambda self: self._name)
    dtype = property(lambda self: self._dtype)
    shape = property(lambda self: self._shape)

    def get_shape(self) -> TensorShape:
        return self._shape

    def __iter__(self) -> Iterator[Variable]:
        return iter(self._parts)

    def __len__(self) -> int:
        return len(self._parts)

    def __repr__(self) -> str:
        what = f"shape={self._shape} dtype={self._dtype.name} partitions={self._partitions}"
        return f"<tf.PartitionedVariable '{self._name}' {what}>"

    def _get_variable_list(self) -> list[Variable]:
        return self._parts

    def _get_partitions(self) -> list[int]:
        return self._partitions

    def as_tensor(self) -> Tensor:
        """The parts put together; as the value of a Variable, it does not wait for control dependencies."""
        with init_scope(self._parts[0].graph):
            return self._concat()

    def _concat(self) -> Tensor:
        """The parts put together after what the code around it waits for."""
        graph = self._parts[0].graph
        whole: Any = self._parts[0]
        if len(self._parts) > 1:
            with graph.name_scope(self._name + "/ConcatPartitions/"):
                whole = concat([p.value() for p in self._parts], self._axis)
        with graph.name_scope(None):
            return identity(whole, name=self._name)

    def _each(self, method: str, value: Any, name: str | None, options: dict[str, Any]) -> list[Any]:
        sizes = [p.shape[self._axis].value for p in self._parts]
        pieces = split(convert_to_tensor(value, self._dtype), sizes, self._axis)
        return [
            getattr(part, method)(piece, name=None if name is None else f"{name}_{i}", **options)
            for i, (part, piece) in enumerate(zip(self._parts, pieces, strict=True))
        ]

    def assign(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> list[Any]:
        """Assigns `value`, of the shape of the whole; yields what assigning to each part yields. So the methods below."""
        return self._each("assign", value, name, {"use_locking": use_locking, "read_value": read_value})

    def assign_add(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> list[Any]:
        return self._each("assign_add", value, name, {"use_locking": use_locking, "read_value": read_value})

    def assign_sub(self, value: Any, use_locking: bool = False, name: str | None = None, read_value: bool = True) -> list[Any]:
        return self._each("assign_sub", value, name, {"use_locking": use_locking, "read_value": read_value})


def _convert(value: PartitionedVariable, dtype: DType | None, name: str | None) -> Tensor:
    if dtype is not None and not dtype.is_compatible_with(value.dtype):
        raise ArgumentError(
            f"Incompatible type conversion requested to type '{dtype.name}' for variable of type '{value.dtype.name}'"
        )
    return value.as_tensor()


register_tensor_conversion(PartitionedVariable, _convert)


# ---------------------------------------------------------------------------------------------- making and sharing them


def get_partitioned(
    name: str,
    shape: Any,
    dtype: Any,
    initializer: Any,
    regularizer: Any,
    reuse: Any,
    trainable: bool | None,
    collections: Any,
    caching_device: Any,
    partitioner: Partitioner | None,
    validate_shape: bool,
    constraint: Any,
) -> PartitionedVariable:
    """The PartitionedVariable of the full name `name`; without a partitioner only one that exists.

    Raises:
        ValueError: as of `get_variable`; or it exists unpartitioned, or in other parts, or the partitioner's answer is wrong.
    """
    store = store_of()
    made = store.made
    if partitioner is not None and not callable(partitioner):
        raise ArgumentError(f"Partitioner must be callable, but received: {partitioner}")
    if name in made.variables:
        raise ArgumentError(
            f"A partitioner was provided, but an unpartitioned version of the variable was found: {name}.  Perhaps a "
            "variable of the same name was already created without partitioning?"
        )
    whole = TensorShape(shape)
    element = store.current.dtype if dtype is None else as_dtype(dtype).base_dtype
    if isinstance(initializer, (Tensor, Variable)):
        whole = whole.merge_with(initializer.get_shape())
    partitions = None if partitioner is None else _partitions(name, partitioner, whole, element)
    found: PartitionedVariable | None = made.partitioned.get(name)
    if found is not None:
        if not reuse:
            raise ArgumentError(
                f"Partitioned variable with name {name} already exists. Did you mean to set reuse=True or "
                "reuse=tf.AUTO_REUSE in VarScope?"
            )
        where = f"Trying to reuse partitioned variable {name}, but specified"
        if not whole.is_compatible_with(found.shape):
            raise ArgumentError(f"{where} shape {whole} and found shape {found.shape}.")
        if dtype is not None and not element.is_compatible_with(found.dtype):
            raise ArgumentError(f"{where} dtype {element.name} and found dtype {found.dtype.name}.")
        if partitions is not None and partitions != found._get_partitions():
            raise ArgumentError(f"{where} partitions {partitions} and found partitions {found._get_partitions()}.")
        return found
    if reuse is True or partitions is None:
        raise ArgumentError(
            f"PartitionedVariable {name} does not exist, or was not created with tf.get_variable(). Did you mean to set "
            "reuse=False or reuse=tf.AUTO_REUSE in VarScope?"
        )
    full = [int(n) for n in whole]
    axis = next((i for i, n in enumerate(partitions) if n > 1), 0)
    if callable(initializer) or initializer is None:
        value = None
    else:
        value = convert_to_tensor(initializer, None if isinstance(initializer, (Tensor, Variable)) else element)
        element = value.base_dtype
    graph = context.get_default_graph()
    parts = []
    for i, (begin, size) in enumerate(_ranges(full[axis], partitions[axis])):
        offset, extent = [0] * len(full), list(full)
        offset[axis], extent[axis] = begin, size
        part_name = f"{name}/part_{i}"
        initial = initializer
        if value is not None:
            with graph.name_scope(part_name + "/PartitionedInitializer"), init_scope(graph):
                initial = slice_(value, offset, extent)
        with graph.name_scope(None):
            part = get_single(
                part_name, extent if value is None else None, element, initial, regularizer, reuse, trainable, collections,
                caching_device, validate_shape, constraint, PartitionInfo(full, offset),
            )  # fmt: skip
        part._set_save_slice_info(SaveSliceInfo(name, full, offset, extent))
        parts.append(part)
    new = made.partitioned[name] = PartitionedVariable(name, whole, element, parts, partitions)
    return new


def _ranges(size: int, count: int) -> Iterator[tuple[int, int]]:
    """(begin, size) of each of `count` parts, the first of which are longer by one if they differ."""
    least, longer = divmod(size, count)
    begin = 0
    for i in range(count):
        length = least + (i < longer)
        yield begin, length
        begin += length


def _partitions(name: str, partitioner: Partitioner, shape: TensorShape, dtype: DType) -> list[int]:
    """The partitioner's answer, checked."""
    if not shape.is_fully_defined():
        raise ArgumentError(f"Shape of a new partitioned variable ({name}) must be fully defined, but instead was {shape}.")
    dims = [int(n) for n in shape]
    if not dims:
        raise ArgumentError(f"A partitioned Variable must have rank at least 1, shape: {shape}")
    found: Any = partitioner(shape=shape, dtype=dtype)
    if not isinstance(found, Sequence) or isinstance(found, str):
        raise ArgumentError(f"Partitioner must return a sequence, but saw: {found}")
    if len(found) != len(dims):
        raise ArgumentError(
            f"Partitioner returned a partition list that does not match the Variable's rank: {found} vs. {shape}"
        )
    if any(n < 1 for n in found):
        raise ArgumentError(f"Partitioner returned zero partitions for some axes: {found}")
    for n, size in zip(found, dims, strict=True):
        if size < n:
            raise ArgumentError(f"Cannot create {n} slices for size {size}. shape: {dims}, slicing: {list(found)}")
    if sum(n > 1 for n in found) > 1:
        raise ArgumentError(f"Can only slice a variable along one dimension: shape: {dims}, slicing: {list(found)}")
    return [int(n) for n in found]


def create_partitioned_variables(
    shape: Sequence[int],
    slicing: Sequence[int],
    initializer: Any,
    dtype: Any = float32,
    trainable: bool = True,
    collections: Any = None,
    name: str | None = None,
    reuse: Any = None,
) -> list[Variable]:
    """The parts of a variable that is cut into ``slicing[i]`` parts along axis i; only one axis can be cut.

    Args:
        initializer: a value of the whole shape, or an initializer, which is called for each part.
        dtype: for an initializer; a tensor has its own.
        name: of the whole, made unique if it is None (``PartitionedVariable``).

    Raises:
        ValueError: the arguments do not go together, or as of `get_variable`.
    """
    if len(shape) != len(slicing):
        raise ArgumentError(
            "The 'shape' and 'slicing' of a partitioned Variable must have the length: shape: "
            f"{list(shape)}, slicing: {list(slicing)}"
        )
    if len(shape) < 1:
        raise ArgumentError(f"A partitioned Variable must have rank at least 1: shape: {list(shape)}")
    with variable_scope(name, "PartitionedVariable", reuse=reuse) as scope:
        if scope.custom_getter is not None:
            raise ArgumentError(
                "create_partitioned_variables cannot be used where a custom getter is set. Current custom getter: "
                f"{scope.custom_getter}. It is used by: {scope.name}"
            )
        # A tensor says the type of a new variable, but that of an existing one must be the one that is asked for.
        whole = get_partitioned(
            scope.name, shape, dtype, initializer, scope.regularizer, scope.reuse, trainable, collections,
            scope.caching_device, lambda **_: list(slicing), True, scope.constraint,
        )  # fmt: skip
    return list(whole)


# ---------------------------------------------------------------------------------------------- partitioners


def _cut(shape: TensorShape, axis: int, parts: int) -> list[int]:
    partitions = [1] * len(shape)
    partitions[axis] = parts
    return partitions


def _row_bytes(dtype: DType, bytes_per_string_element: int) -> int:
    return bytes_per_string_element if dtype.base_dtype is string else dtype.size


def fixed_size_partitioner(num_shards: int, axis: int = 0) -> Partitioner:
    """Cuts `axis` into `num_shards` parts, or into as many as it is long."""

    def partitioner(shape: TensorShape, **_: Any) -> list[int]:
        return _cut(shape, axis, min(num_shards, int(shape[axis])))

    return partitioner


def variable_axis_size_partitioner(
    max_shard_bytes: int, axis: int = 0, bytes_per_string_element: int = 16, max_shards: int | None = None
) -> Partitioner:
    """Cuts `axis` so that no part is larger than `max_shard_bytes`, as far as `max_shards` and its length allow.

    Raises:
        ValueError: a number that must be positive is not.
    """
    if max_shard_bytes < 1 or bytes_per_string_element < 1:
        raise ArgumentError("Both max_shard_bytes and bytes_per_string_element must be positive.")
    if max_shards and max_shards < 1:
        raise ArgumentError("max_shards must be positive.")

    def partitioner(shape: TensorShape, dtype: DType, **_: Any) -> list[int]:
        if not isinstance(shape, TensorShape) or not shape.is_fully_defined():
            raise ArgumentError(f"shape is not a fully defined TensorShape: {shape}")
        if not isinstance(dtype, DType):
            raise ArgumentError(f"dtype is not a DType: {dtype}")
        size = int(shape[axis])
        slice_bytes = math.prod(int(n) for n in shape) // max(size, 1) * _row_bytes(dtype, bytes_per_string_element)
        slices = max(1, max_shard_bytes // slice_bytes) if slice_bytes else max(size, 1)
        # A variable without elements is one part.
        parts = max(1, -(-size // slices))
        return _cut(shape, axis, min(max_shards, parts) if max_shards else parts)

    return partitioner


def min_max_variable_partitioner(
    max_partitions: int = 1, axis: int = 0, min_slice_size: int = 256 << 10, bytes_per_string_element: int = 16
) -> Partitioner:
    """Cuts `axis` into parts of about `min_slice_size` bytes, at most `max_partitions`."""

    def partitioner(shape: TensorShape, dtype: DType, **_: Any) -> list[int]:
        if axis >= len(shape):
            raise ArgumentError(f"Can not partition variable along axis {axis} when shape is only {shape}")
        total = math.prod(int(n) for n in shape) * _row_bytes(dtype, bytes_per_string_element)
        return _cut(shape, axis, max(1, min(int(shape[axis]), max_partitions, math.ceil(total / min_slice_size))))

    return partitioner
