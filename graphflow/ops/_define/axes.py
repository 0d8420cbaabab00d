"""Axis arguments: ints, lists of them or known tensors, under their new and old names."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import is_tensor_like
from graphflow.framework.deferred import NotKnownYet
from graphflow.framework.errors import ArgumentError, DTypeError
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import static_ints


def check_axes(op_name: str, axes: Sequence[int], rank: int) -> None:
    for a in axes:
        if not -rank <= a < rank:
            raise ArgumentError(
                f"{op_name}: Invalid reduction dimension ({a} for input with {rank} dimension(s)): Invalid reduction "
                f"dimension {a} for input with {rank} dimensions."
            )


def axis_values(axis: Any, op_name: str) -> tuple[int, ...] | None:
    """`axis` as ints: an int, a sequence, an array, or a tensor whose value is known while the graph is built."""
    if axis is None:
        return None
    if isinstance(axis, Tensor):
        known = axis.static_value()
        flat = known if isinstance(known, tuple) else (known,)
        ints = tuple(a for a in flat if isinstance(a, int))
        if len(ints) != len(flat):
            raise NotKnownYet(
                f"{op_name}: the axes must be known while the graph is built, but {axis!r} has a value only in a run"
            )
        return ints
    if isinstance(axis, (list, tuple)) and any(map(is_tensor_like, axis)):
        return static_ints(axis, f"{op_name}: the axes")
    # An empty list has no dtype of its own (numpy makes it float64), and means "no axes".
    array = np.asarray(axis)
    if array.ndim > 1:
        raise ArgumentError(f"{op_name}: Shape must be at most rank 1 but is rank {array.ndim}: the axes are {axis!r}")
    if array.size and array.dtype.kind not in "iu":
        raise DTypeError(f"{op_name}: axis must be int32 or int64, got {axis!r}. Expected int32")
    return tuple(int(a) for a in array.ravel())


def normal_axes(axis: Any, rank: int | None, op_name: str) -> tuple[int, ...]:
    """The axes as ascending non-negative ints. ArgumentError for one out of range or named twice."""
    values = axis_values(axis, op_name)
    if values is None:
        if rank is None:
            raise NotKnownYet(f"{op_name}: an input of unknown rank needs explicit axes; call set_shape on it first")
        return tuple(range(rank))
    # Nothing can be normalised without the rank: negative axes are refused, the others are taken as they are.
    if rank is None:
        if any(a < 0 for a in values):
            raise NotKnownYet(
                f"{op_name}: axis {values} counts from the end, but the rank of the input is unknown; set_shape it"
            )
        return tuple(sorted(set(values)))
    check_axes(op_name, values, rank)
    wrapped = [a % rank for a in values]
    if len(set(wrapped)) != len(wrapped):
        raise ArgumentError(f"{op_name}: Invalid reduction arguments: Axes contains duplicate dimension: {list(values)}")
    return tuple(sorted(wrapped))


def old_names(axis: Any, keepdims: Any, reduction_indices: Any, keep_dims: Any) -> tuple[Any, bool]:
    """axis and keepdims, either of which may come under the name that it had before TensorFlow 1.5."""
    if reduction_indices is not None:
        if axis is not None:
            raise ArgumentError("Cannot specify both 'axis' and 'reduction_indices'")
        axis = reduction_indices
    if keep_dims is not None:
        if keepdims is not None:
            raise ArgumentError("Cannot specify both 'keepdims' and 'keep_dims'")
        keepdims = keep_dims
    return axis, bool(keepdims)


def one_position(op_name: str, axis: Any, x: Tensor, default: int) -> int:
    """The one axis of x that `axis` names, not negative."""
    values = axis_values(axis, op_name) or (default,)
    rank = None if x._shape is None else len(x._shape)
    if len(values) != 1:
        raise ArgumentError(f"{op_name}: one axis is needed, got {values}")
    if rank is None:
        if values[0] < 0:
            raise NotKnownYet(f"{op_name}: a negative axis needs an input of known rank; call set_shape on it")
        return values[0]
    check_axes(op_name, values, rank)
    return values[0] % rank
