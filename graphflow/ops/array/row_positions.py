"""Positions with several coordinates as row numbers of the tensor with its first axes merged, for gather and scatter."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.framework.build import build, constant
from graphflow.framework.dtypes import ALL, int32, int64
from graphflow.framework.errors import DTypeError, ShapeError
from graphflow.framework.kinds import Composite, Elementwise, ExpandContext, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import static_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.bad_elements import refuse_positions, refuse_rows
from graphflow.ops._define.types import brackets
from graphflow.ops.array.axis import AxisSizeAttrs, PositionAttrs
from graphflow.ops.array.concat import concat
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.split import PartAttrs
from graphflow.ops.array.strided_slice import slice_axis
from graphflow.ops.math.cast import CastAttrs

_INTEGERS = not_differentiable("positions are integers")

CHECKED_ROW = register(
    OpDef(
        "CheckedRow",
        Elementwise(
            lambda b, attrs, row, outside: row,
            check=lambda b, attrs, row, outside: outside,
            check_message="indices are out of range: one does not index into the shape",
        ),
        lambda ctx, attrs, row, outside: (row,),
        lambda attrs, row, outside: row,
        lambda: [Sample((np.array([1, 0], np.int64), np.zeros(2, np.bool_)), gradient=False)],
        grad=_INTEGERS,
        dtypes=(int64,),
        doc="Row numbers, unchanged; the run fails where the second operand is true.",
    )
)


def _index(p: ExpandContext, index: Any, x: Any, axis: int) -> tuple[Any, Any, Any]:
    """An index along an axis of x, whether it is outside, and the size of the axis.

    In int64, because row numbers, which are products of sizes, may not fit into int32.
    """
    size = p.op("AxisSize", x, attrs=AxisSizeAttrs(axis))
    wide = p.op("Cast", index, attrs=CastAttrs(int64))
    outside = p.op("LogicalOr", p.op("Less", wide, p.const(0, int64)), p.op("GreaterEqual", wide, size))
    return wide, outside, size


def _refuse_floats(indices: TensorType) -> None:
    if indices.dtype not in (int32, int64):
        raise DTypeError(
            f"Value passed to parameter 'indices' has DataType {indices.dtype.name} not in list of allowed values: int32, int64"
        )


@record(frozen=True, slots=True)
class RowPositionsAttrs:
    """How many coordinates a position has, and what the error calls the shape that it does not index into."""

    depth: int
    what: str = "shape"


def _infer(ctx: InferContext, attrs: RowPositionsAttrs, indices: TensorType, x: TensorType) -> tuple[TensorType, ...]:
    _refuse_floats(indices)
    if x.shape is not None and attrs.depth > len(x.shape):
        raise ShapeError(
            f"index innermost dimension length must be <= params rank; saw: {attrs.depth} vs. {len(x.shape)}, positions in a "
            f"tensor of shape {brackets(x.shape)}"
        )
    if indices.shape is None:
        return (TensorType(int64, None),)
    if not indices.shape:
        raise ShapeError("indices must be at least a vector: its last axis holds the coordinates of a position")
    ctx.unify(indices.shape[-1], attrs.depth, f"positions of {attrs.depth} coordinates, but {indices.shape[-1]} are given")
    return (TensorType(int64, indices.shape[:-1]),)


def _expand(p: ExpandContext, indices: Any, x: Any) -> Any:
    shape = p.type(indices).shape
    assert shape is not None
    total: Any = None
    outside: Any = None
    for k in range(p.attrs.depth):
        part = p.op("Part", indices, attrs=PartAttrs(len(shape) - 1, (k,), (1,)))
        # Each coordinate alone: one that is out of range may well give a row number within.
        index, bad, size = _index(p, p.reshape(part, shape[:-1]), x, k)
        total = index if k == 0 else p.op("AddV2", p.op("Mul", total, size), index)
        outside = bad if k == 0 else p.op("LogicalOr", outside, bad)
    # A position of no coordinates is the one row that there is then.
    return p.broadcast_to(p.const(0, int64), shape[:-1]) if total is None else p.op("CheckedRow", total, outside)


def _reference(attrs: RowPositionsAttrs, indices: Any, x: Any) -> Any:
    refuse_positions(indices, x.shape, attrs.what)
    strides = np.array([math.prod(x.shape[k + 1 : attrs.depth]) for k in range(attrs.depth)], np.int64)
    return np.sum(indices.astype(np.int64) * strides, axis=-1)


ROW_POSITIONS = register(
    OpDef(
        "RowPositions",
        Composite(_expand, checks=True),
        _infer,
        _reference,
        lambda: [
            Sample((np.array(i, np.int32), np.zeros((2, 3), np.float32)), RowPositionsAttrs(depth), gradient=False)
            for i, depth in (([[1, 2], [0, 1]], 2), ([[1]], 1), ([1, 0], 2), ([[[0, 0]], [[1, 2]]], 2))
        ],
        grad=_INTEGERS,
        attrs=RowPositionsAttrs,
        dtypes=ALL,
        doc="Positions in a tensor, along the last axis of the indices, as row numbers of its merged first axes (int64).",
    )
)


def row_positions(indices: Tensor, x: Tensor, depth: int, what: str = "shape") -> Tensor:
    """The row number of each position ``indices[..., :depth]`` in x with its first `depth` axes merged.

    Raises:
        InvalidArgumentError: (in a run) a position is outside of x. The message calls its shape `what`.
    """
    return build(ROW_POSITIONS, (indices, x), RowPositionsAttrs(depth, what))


# ---------------------------------------------------------------------------------------------- in batches


@record(frozen=True, slots=True)
class BatchRowsAttrs:
    batch_dims: int


def _batch_infer(ctx: InferContext, attrs: BatchRowsAttrs, indices: TensorType, x: TensorType) -> tuple[TensorType, ...]:
    _refuse_floats(indices)
    if indices.shape is None or x.shape is None:
        return (TensorType(int64, indices.shape),)
    n = attrs.batch_dims
    for a, b in zip(indices.shape[:n], x.shape[:n], strict=True):
        ctx.unify(a, b, f"the batches of params {brackets(x.shape)} and indices {brackets(indices.shape)} must be equal")
    return (TensorType(int64, indices.shape),)


def _batch_expand(p: ExpandContext, indices: Any, x: Any) -> Any:
    shape = p.type(indices).shape
    assert shape is not None
    index, outside, count = _index(p, indices, x, p.attrs.batch_dims)
    batch: Any = None
    for k in range(p.attrs.batch_dims):
        position = p.op("AxisPosition", attrs=PositionAttrs(shape, k, int64))
        size = p.op("AxisSize", x, attrs=AxisSizeAttrs(k))
        batch = position if batch is None else p.op("AddV2", p.op("Mul", batch, size), position)
    return p.op("CheckedRow", p.op("AddV2", p.op("Mul", batch, count), index), outside)


def _batch_reference(attrs: BatchRowsAttrs, indices: Any, x: Any) -> Any:
    n = attrs.batch_dims
    refuse_rows("indices", indices, x.shape[n])
    batch = np.arange(math.prod(x.shape[:n]), dtype=np.int64).reshape(*x.shape[:n], *[1] * (indices.ndim - n))
    return batch * x.shape[n] + indices


BATCH_ROW_POSITIONS = register(
    OpDef(
        "BatchRowPositions",
        Composite(_batch_expand, checks=True),
        _batch_infer,
        _batch_reference,
        lambda: [
            Sample((np.array([[1, 0], [2, 2]], np.int32), np.zeros((2, 3, 2), np.float32)), BatchRowsAttrs(1), gradient=False),
            Sample((np.zeros((2, 3), np.int64), np.zeros((2, 3, 4), np.float32)), BatchRowsAttrs(2), gradient=False),
        ],
        grad=_INTEGERS,
        attrs=BatchRowsAttrs,
        dtypes=ALL,
        doc="Indices along the axis behind the batch axes, as row numbers of a tensor with all of these merged (int64).",
    )
)


def batch_row_positions(indices: Tensor, x: Tensor, batch_dims: int) -> Tensor:
    """For ``x[b..., indices[b..., i...]]`` with `batch_dims` axes b: the rows of x with its first axes merged.

    Raises:
        InvalidArgumentError: (in a run) an index is out of range.
    """
    return build(BATCH_ROW_POSITIONS, (indices, x), BatchRowsAttrs(batch_dims))


def merged_shape(x: Tensor, start: int, stop: int) -> Tensor:
    """The shape of x with its axes start, ..., stop - 1 merged into one. (-1 would not do: other sizes may be 0.)"""
    static = None if x._shape is None else static_shape(x._shape)
    if static is not None:
        with x.graph.as_default():
            return constant(np.array([*static[:start], math.prod(static[start:stop]), *static[stop:]], np.int32), name="Shape")
    sizes = shape_tensor(x)
    count: Any = 1
    for k in range(start, stop):
        count = sizes[k] * count
    return concat([slice_axis(sizes, 0, 0, start), [count], slice_axis(sizes, 0, stop, None)], 0)
