"""Checks of arguments that must be known while the graph is built, and of operands that steer shapes."""

from __future__ import annotations

import operator
from typing import Any

import numpy as np

from graphflow.framework.build import convert_to_tensor, is_tensor_like
from graphflow.framework.deferred import NotKnownYet
from graphflow.framework.dtypes import int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.shapes import Dim, Dimension, TensorShape, static_shape
from graphflow.framework.tensor import Tensor


def static_int(value: Any, what: str) -> int:
    """An integer argument, also where it is given as a constant tensor or a list of one.

    Raises:
        NotKnownYet: a tensor whose value is not known while the graph is built.
        DTypeError: not an integer.
    """
    if is_tensor_like(value):
        known = convert_to_tensor(value).static_value()
        if isinstance(known, tuple) and len(known) == 1:
            known = known[0]
        if not isinstance(known, int):
            raise NotKnownYet(f"{what} must be known while the graph is built, got {value!r}")
        return known
    if isinstance(value, (list, tuple)) and len(value) == 1:
        return static_int(value[0], what)
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    elif isinstance(value, (list, tuple, np.ndarray)):
        raise ArgumentError(f"{what} must be a single integer, got {value!r}")
    return whole(value, what)


def whole(value: Any, what: str) -> int:
    """A Python, numpy or Dimension integer as int. DTypeError for anything else (bools and floats too)."""
    # `operator.index` takes bools for 0 and 1; True as an axis or a size is a mistake.
    if not isinstance(value, (bool, np.bool_)):
        try:
            return operator.index(value)
        except TypeError:
            pass
    raise DTypeError(f"{what} must be an integer, got {value!r} of type '{type(value).__name__}'")


def static_ints(value: Any, what: str) -> tuple[int, ...]:
    """A list of integers (an integer alone counts as a list of one), also where it is given as a constant tensor.

    Raises:
        NotKnownYet: a tensor, or one in the list, whose value is not known while the graph is built.
    """
    if is_tensor_like(value):
        known = convert_to_tensor(value).static_value()
        items: tuple[Dim, ...] = known if isinstance(known, tuple) else () if known is None else (known,)
        found = tuple(d for d in items if isinstance(d, int))
        if known is None or len(found) != len(items):
            raise NotKnownYet(f"{what} must be known while the graph is built, got {value!r}")
        return found
    if isinstance(value, (list, tuple, range, np.ndarray)):
        for v in value:
            _refuse_nested(v, what)
        return tuple(static_int(v, what) for v in value)
    return (whole(value, what),)


def known_rank(op: str, x: Tensor) -> int:
    """NotKnownYet if only a run knows it."""
    if x._shape is None:
        raise NotKnownYet(f"{op}: the rank of {x.name} must be known; call set_shape on it")
    return len(x._shape)


def _refuse_nested(value: Any, what: str) -> None:
    """ShapeError if the entry of a vector is a vector itself."""
    if isinstance(value, (list, tuple)) or (isinstance(value, np.ndarray) and value.ndim):
        raise ShapeError(f"{what}: Shape must be rank 1 but is rank {1 + np.ndim(value)}")


def normal_axis(op: str, axis: int, rank: int) -> int:
    """`axis` counted from the front. ArgumentError if there is none."""
    if not -rank <= axis < rank:
        raise ArgumentError(
            f"{op}: axis {axis} is out of range: dimension must be in the range [{-rank}, {rank}); it is out of valid range"
        )
    return axis + rank if axis < 0 else axis


def static_sizes(value: Any) -> tuple[int, ...] | None:
    """A shape-like argument as ints; None where a tensor in it is not known while the graph is built.

    Raises:
        DTypeError: not of integers.
        ShapeError: a size is None.
    """
    if is_tensor_like(value):
        known = convert_to_tensor(value).static_value()
        return None if known is None else static_shape(known if isinstance(known, tuple) else (known,))
    if isinstance(value, TensorShape):
        if not value.is_fully_defined():
            raise ShapeError(f"Cannot convert a partially known TensorShape {value} to a Tensor.")
        return tuple(int(d) for d in value)
    if not isinstance(value, (list, tuple, range, np.ndarray)):
        return (_size(value),)
    # A list may mix numbers and scalar tensors, as [n, tf.shape(x)[1]] does: one that is
    # unknown makes the whole unknown.
    found: list[int] = []
    for v in value:
        if is_tensor_like(v):
            dim = convert_to_tensor(v).static_value()
            if not isinstance(dim, int):
                return None
            found.append(dim)
        else:
            found.append(_size(v))
    return tuple(found)


def _size(value: Any) -> int:
    if value is None or (isinstance(value, Dimension) and value.value is None):
        raise ShapeError(
            "None values not supported: a size that is not known while the graph is built cannot be part of a shape "
            "argument; use -1 in tf.reshape, or tf.shape(x)[k]"
        )
    _refuse_nested(value, "a shape")
    return whole(value, "a dimension")


def shape_operand(value: Any, name: str = "shape") -> Tensor:
    """A shape-like argument (ints, Dimensions, tensors among them, or an integer tensor) as an integer tensor."""
    if not is_tensor_like(value):
        sizes = static_sizes(value)
        if sizes is not None:
            # int32 where it fits, as TensorFlow; an int64 array of the user's stays one.
            wide = any(not -(2**31) <= d < 2**31 for d in sizes) or (isinstance(value, np.ndarray) and value.dtype == np.int64)
            return convert_to_tensor(np.array(sizes, np.int64 if wide else np.int32), name=name)
        value = [v if is_tensor_like(v) else _size(v) for v in value]
    t = convert_to_tensor(value, name=name)
    if t.base_dtype not in (int32, int64):
        raise DTypeError(f"{name} must be of integers (int32 or int64), got {t.base_dtype.name}")
    return t
