"""Ops that add rows to a tensor by index: segment sums, scatter_nd, tensor_scatter_*, dense tensors from IndexedSlices."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.dtypes import FLOATS, INTEGERS
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.kinds import Composite, Scatter, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, format_shape, fresh_dim, product
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import shape_operand
from graphflow.ops._define.bad_elements import first
from graphflow.ops.array.concat import concat
from graphflow.ops.array.fill import zeros
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.row_positions import merged_shape, row_positions
from graphflow.ops.array.row_updates import ROWS_UPDATE
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.strided_slice import slice_axis


@record(frozen=True, slots=True)
class SegmentAddAttrs:
    """Whether rows of negative index are left out instead of being an error."""

    drop_negative: bool = False


def _add_infer(
    ctx: InferContext, attrs: SegmentAddAttrs, base: TensorType, indices: TensorType, updates: TensorType
) -> tuple[TensorType, ...]:
    return (base,)


def _add_reference(attrs: SegmentAddAttrs, base: Any, indices: Any, updates: Any) -> Any:
    result = np.array(base, copy=True)
    found, limit = np.asarray(indices), result.shape[0]
    keep = found >= 0 if attrs.drop_negative else np.ones(found.shape, bool)
    bad = keep & ((found < 0) | (found >= limit))
    if np.any(bad):
        raise ValueError(f"{first('segment_ids', found, bad)} is out of range [0, {limit})")
    # Unlike `result[found] += ...`, which adds repeated rows once only.
    np.add.at(result, found[keep], np.asarray(updates)[keep])
    return result


def _add_samples() -> list[Sample]:
    updates = np.arange(6, dtype=np.float32).reshape(3, 2)
    ids = [([1, 3, 1], False), ([0, -1, 2], True)]
    return [Sample((np.ones((4, 2), np.float32), np.array(i, np.int32), updates), SegmentAddAttrs(d)) for i, d in ids]


SEGMENT_ADD = register(
    OpDef(
        "SegmentAdd",
        Scatter("add"),
        _add_infer,
        _add_reference,
        _add_samples,
        attrs=SegmentAddAttrs,
        dtypes=(*FLOATS, *INTEGERS),
        doc="A tensor with rows added to it by index, in order.",
    )
)


# ---------------------------------------------------------------------------------------------- segment sums


def _segment_infer(
    ctx: InferContext, attrs: Any, data: TensorType, ids: TensorType, number: TensorType
) -> tuple[TensorType, ...]:
    count = ctx.value(2)
    if data.shape is None or ids.shape is None:
        return (TensorType(data.dtype, None),)
    message = f"data.shape = {format_shape(data.shape)} does not start with segment_ids.shape = {format_shape(ids.shape)}"
    if len(ids.shape) > len(data.shape):
        raise ShapeError(message)
    for a, b in zip(data.shape, ids.shape, strict=False):
        ctx.unify(a, b, message)
    rows: Dim = fresh_dim() if count is None or isinstance(count, tuple) else count
    if isinstance(rows, int) and rows < 0:
        raise ShapeError(f"unsorted_segment_sum: num_segments must be non-negative, got {rows}")
    return (TensorType(data.dtype, (rows, *data.shape[len(ids.shape) :])),)


def _segment_expand(p: Any, data: Any, ids: Any, number: Any) -> Any:
    out = p.outputs[0]
    k = product(p.type(ids).shape)
    zero = p.broadcast_to(p.const(0, out.dtype), out.shape)
    rows = p.reshape(data, (k, *out.shape[1:]))
    return p.op("SegmentAdd", zero, p.reshape(ids, (k,)), rows, attrs=SegmentAddAttrs(drop_negative=True))


def _segment_reference(attrs: Any, data: Any, ids: Any, number: Any) -> Any:
    ids = np.asarray(ids)
    zero = np.zeros((int(number), *data.shape[ids.ndim :]), data.dtype)
    # Not -1: rows may be of no elements.
    return _add_reference(SegmentAddAttrs(True), zero, ids.reshape(-1), data.reshape(ids.size, *data.shape[ids.ndim :]))


def _segment_samples() -> list[Sample]:
    data = np.arange(6, dtype=np.float32).reshape(3, 2)
    four = np.array(4, np.int32)
    return [
        Sample((data, np.array([0, 3, 0], np.int32), four)),
        Sample((data, np.array([1, -1, 2], np.int32), four)),
        Sample((data, np.array([[0, 3], [1, 1], [0, -2]], np.int64), four)),
        Sample((data[0], np.array(2, np.int32), four)),
        Sample((data[:0], np.zeros((0,), np.int32), np.array(2, np.int32))),
    ]


UNSORTED_SEGMENT_SUM = register(
    OpDef(
        "UnsortedSegmentSum",
        Composite(_segment_expand),
        _segment_infer,
        _segment_reference,
        _segment_samples,
        shape_operands=(2,),
        dtypes=(*FLOATS, *INTEGERS),
        doc="Sums of the rows that share a segment; rows of negative segment are left out.",
    )
)


def unsorted_segment_sum(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Row s of the result is the sum of the rows of `data` whose segment id is s; negative ids are dropped.

    Raises:
        ShapeError: the shape of `data` does not start with that of `segment_ids`.
        InvalidArgumentError: (in a run) an id is num_segments or more.
    """
    d, i = convert_to_tensor(data), convert_to_tensor(segment_ids)
    count = convert_to_tensor(num_segments, name="num_segments")
    return build(UNSORTED_SEGMENT_SUM, (d, i, count), NO_ATTRS, name)


def densify(value: IndexedSlices, name: str | None) -> Tensor:
    """Slices as the tensor that they stand for, in which rows that no slice names are 0."""
    if value.dense_shape is None:
        raise ArgumentError(f"Tensor conversion requested for IndexedSlices without dense_shape: {value!r}")
    # Rows that occur more than once add up, as gradients must.
    return unsorted_segment_sum(value.values, value.indices, value.dense_shape[0], name=name)


def _rows_at(base: Tensor, indices: Tensor, updates: Tensor, what: str) -> tuple[Tensor, Tensor, Tensor]:
    """Base, positions and updates, reshaped so that each position is the number of one row."""
    if not indices._shape or not isinstance(indices._shape[-1], int) or indices._shape[-1] < 1:
        raise ArgumentError(f"{what}: the rank and last dimension of indices must be known, and at least 1")
    depth = indices._shape[-1]
    if base._shape is not None and depth > len(base._shape):
        raise ShapeError(f"{what}: indices of depth {depth} into a tensor of shape {format_shape(base._shape)}")
    flat = reshape(row_positions(indices, base, depth), [-1])
    row = slice_axis(shape_tensor(base), 0, depth, None)
    return reshape(base, merged_shape(base, 0, depth)), flat, reshape(updates, concat([shape_tensor(flat), row], 0))


def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """Zeros of `shape` with `updates` added at the positions `indices` (last axis: a position).

    Raises:
        InvalidArgumentError: (in a run) a position outside the shape.
    """
    i, u = convert_to_tensor(indices, name="indices"), convert_to_tensor(updates, name="updates")
    with name_scope(name, "ScatterNd", [u]) as scope:
        target = shape_operand(shape)
        base, rows, values = _rows_at(zeros(target, u.base_dtype), i, u, "scatter_nd")
        return reshape(build(SEGMENT_ADD, (base, rows, values), SegmentAddAttrs()), target, name=scope)


def tensor_scatter_add(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """`tensor` with `updates` added at the positions `indices` (last axis: a position)."""
    return _tensor_scatter(SEGMENT_ADD, SegmentAddAttrs(), tensor, indices, updates, name, "TensorScatterAdd")


def tensor_scatter_sub(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """`tensor` with `updates` subtracted at the positions `indices`."""
    u = convert_to_tensor(updates)
    return _tensor_scatter(SEGMENT_ADD, SegmentAddAttrs(), tensor, indices, -u, name, "TensorScatterSub")


def tensor_scatter_update(tensor: Any, indices: Any, updates: Any, name: str | None = None) -> Tensor:
    """`tensor` with the elements at the positions `indices` replaced; the last one wins."""
    return _tensor_scatter(ROWS_UPDATE, NO_ATTRS, tensor, indices, updates, name, "TensorScatterUpdate")


def _tensor_scatter(op: OpDef, attrs: Any, tensor: Any, indices: Any, updates: Any, name: str | None, default: str) -> Tensor:
    x, i = convert_to_tensor(tensor), convert_to_tensor(indices)
    u = convert_to_tensor(updates, x.base_dtype)
    with name_scope(name, default, [x]) as scope:
        rows = build(op, _rows_at(x, i, u, default), attrs)
        return reshape(rows, shape_tensor(x), name=scope)
