"""Elements picked by index, and put back by index."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphflow.core.build import build, build_op, constant, convert_to_tensor, name_scope, register_tensor_conversion
from graphflow.core.indexed_slices import IndexedSlices
from graphflow.core.kinds import Composite, Gather, Host, Scatter, ShapeValue, TensorType
from graphflow.core.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.core.tensor import Operation, Tensor
from graphflow.dtypes import ALL, FLOATS, INTEGERS, DType, as_dtype, bool_, float32, int32, int64
from graphflow.errors import ArgumentError, DTypeError, ShapeError
from graphflow.ops.array import expand_dims, normal_axis, reshape, shape, squeeze, static_int, transpose
from graphflow.ops.axis import PositionAttrs
from graphflow.ops.shape_ops import shape_tensor
from graphflow.shapes import Dim, format_shape, fresh_dim

_INDEX = (int32, int64)


@dataclass(frozen=True, slots=True)
class GatherAttrs:
    axis: int = 0


def _gather_infer(ctx: InferContext, attrs: GatherAttrs, params: TensorType, indices: TensorType) -> tuple[TensorType, ...]:
    if indices.dtype not in _INDEX:
        raise DTypeError(
            f"Value passed to parameter 'indices' has DataType {indices.dtype.name} not in list of allowed values: int32, int64"
        )
    if params.shape is None or indices.shape is None:
        return (TensorType(params.dtype, None),)
    if attrs.axis >= len(params.shape):
        raise ShapeError(f"gather: axis {attrs.axis} of params of shape {format_shape(params.shape)}")
    return (TensorType(params.dtype, params.shape[: attrs.axis] + indices.shape + params.shape[attrs.axis + 1 :]),)


def _gather_grad(op: Operation, grad: Tensor) -> list[Any]:
    params, indices = op.inputs
    flat = reshape(indices, [-1])
    if op.attrs.axis == 0:
        from graphflow.ops.joining import concat

        rows = shape_tensor(params)
        assert params._shape is not None
        target = concat([constant([-1]), rows[1:]], 0) if len(params._shape) > 1 else [-1]
        return [IndexedSlices(reshape(grad, target), flat, rows), None]
    assert params._shape is not None and indices._shape is not None
    axis, rank, k = op.attrs.axis, len(params._shape), len(indices._shape)
    # The gathered axes to the front, added up by row, and the axis back to its place.
    front = [*range(axis, axis + k), *range(axis), *range(axis + k, rank + k - 1)]
    moved = transpose(grad, front)
    summed = unsorted_segment_sum(moved, indices, shape_tensor(params)[axis])
    back = [*range(1, axis + 1), 0, *range(axis + 1, rank)]
    return [transpose(summed, back), None]


def _take(attrs: GatherAttrs, params: Any, indices: Any) -> Any:
    limit = params.shape[attrs.axis]
    bad = (np.asarray(indices) < 0) | (np.asarray(indices) >= limit)
    if np.any(bad):
        where = np.argwhere(bad)[0]
        raise ValueError(
            f"indices{where.tolist()} = {np.asarray(indices)[tuple(where)]} is not in [0, {limit}): "
            f"indices are out of range [0, {limit})"
        )
    return np.take(params, indices, attrs.axis)


def _gather_samples() -> list[Sample]:
    rng = np.random.default_rng(13)

    def case(s: tuple[int, ...], indices: Any, axis: int = 0) -> Sample:
        return Sample((rng.normal(size=s).astype(np.float32), np.array(indices, np.int32)), GatherAttrs(axis))

    return [
        case((5,), 3), case((5,), [0, 4, 4]), case((4, 3), [[1, 0], [3, 3]]), case((2, 5, 3), [4, 0], 1), case((3, 4), [], 0),
        case((2, 3), [2, 2, 0, 1], 1),
    ]  # fmt: skip


def _gather_value(attrs: GatherAttrs, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    x, i = values
    if not isinstance(x, tuple) or i is None:
        return None
    picks = i if isinstance(i, tuple) else (i,)
    if not all(isinstance(k, int) and 0 <= k < len(x) for k in picks):
        return None
    found = tuple(x[k] for k in picks)  # type: ignore[index]
    return found if isinstance(i, tuple) else found[0]


GATHER = register(
    OpDef(
        "GatherV2",
        Gather(),
        _gather_infer,
        _gather_grad,
        _take,
        _gather_samples,
        attrs=GatherAttrs,
        shape_value=_gather_value,
        dtypes=ALL,
        onnx="Gather",
        doc="Slices of a tensor along an axis, picked by index.",
    )
)


def gather(
    params: Any,
    indices: Any,
    validate_indices: Any = None,
    name: str | None = None,
    axis: Any = None,
    batch_dims: int = 0,
) -> Tensor:
    """Slices of `params` along `axis` (default `batch_dims`), picked by `indices` (int32 or int64, any shape).

    Raises (at run time):
        InvalidArgumentError: an index is negative or too large.
    """
    p, i = convert_to_tensor(params), convert_to_tensor(indices)
    where = static_int(batch_dims if axis is None else axis, "gather: axis")
    if p._shape is not None:
        where = normal_axis("GatherV2", where, len(p._shape)) if p._shape else where
        if not p._shape:
            raise ShapeError("gather: params must be at least a vector: Shape must be at least rank 1 but is rank 0")
    elif where < 0:
        raise ArgumentError("gather: a negative axis needs params of known rank")
    if batch_dims:
        return _batched(p, i, where, batch_dims, name)
    return build(GATHER, (p, i), GatherAttrs(where), name or "GatherV2")


def _batched(p: Tensor, i: Tensor, axis: int, batch_dims: int, name: str | None) -> Tensor:
    """Each batch gathers from its own params: indices become positions in the flattened batch."""
    if axis != batch_dims or p._shape is None or i._shape is None:
        raise ArgumentError("gather: with batch_dims, axis must equal batch_dims and ranks must be known")
    from graphflow.ops.fill import range as range_
    from graphflow.ops.joining import concat
    from graphflow.ops.reduce import reduce_prod

    with name_scope(name, "GatherV2", [p]) as scope:
        sizes = shape_tensor(p)
        batch = reduce_prod(sizes[:batch_dims])
        rows = sizes[batch_dims]
        offsets = reshape(
            range_(batch) * rows, concat([sizes[:batch_dims], constant([1] * (len(i._shape) - batch_dims), int32)], 0)
        )
        from graphflow.ops.cast import cast

        flat = reshape(p, concat([constant([-1]), sizes[batch_dims + 1 :]], 0))
        return build(GATHER, (flat, i + cast(offsets, i.base_dtype)), GatherAttrs(0), scope)


# ---------------------------------------------------------------------------------------------- putting back


@dataclass(frozen=True, slots=True)
class RowsAttrs:
    """Whether rows of negative index are left out instead of being an error."""

    drop_negative: bool = False


def _rows_infer(
    ctx: InferContext, attrs: RowsAttrs, base: TensorType, indices: TensorType, updates: TensorType
) -> tuple[TensorType, ...]:
    return (base,)


def _add_rows(attrs: RowsAttrs, base: Any, indices: Any, updates: Any) -> Any:
    result = np.array(base, copy=True)
    limit = result.shape[0]
    keep = np.asarray(indices) >= 0 if attrs.drop_negative else np.ones(np.shape(indices), bool)
    if np.any(np.asarray(indices)[keep] >= limit) or np.any(np.asarray(indices)[keep] < 0):
        raise ValueError(f"indices are out of range [0, {limit})")
    np.add.at(result, np.asarray(indices)[keep], np.asarray(updates)[keep])
    return result


def _add_rows_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [grad, None, gather(grad, op.inputs[1])]


SEGMENT_ADD = register(
    OpDef(
        "SegmentAdd",
        Scatter("add"),
        _rows_infer,
        _add_rows_grad,
        _add_rows,
        lambda: [
            Sample(
                (
                    np.zeros((4, 2), np.float32),
                    np.array([1, 3, 1], np.int32),
                    np.arange(6, dtype=np.float32).reshape(3, 2),
                ),
                RowsAttrs(),
            )
        ],
        attrs=RowsAttrs,
        dtypes=(*FLOATS, *INTEGERS),
        doc="A tensor with rows added to it by index, in order.",
    )
)


def _segment_infer(
    ctx: InferContext, attrs: Any, data: TensorType, ids: TensorType, number: TensorType
) -> tuple[TensorType, ...]:
    count = ctx.value(2)
    if data.shape is None or ids.shape is None:
        return (TensorType(data.dtype, None),)
    for a, b in zip(data.shape, ids.shape, strict=False):
        ctx.unify(a, b, f"segment_sum: ids of shape {format_shape(ids.shape)} for data of shape {format_shape(data.shape)}")
    rows: Dim = fresh_dim() if count is None or isinstance(count, tuple) else count
    return (TensorType(data.dtype, (rows, *data.shape[len(ids.shape) :])),)


def _segment_expand(p: Any, data: Any, ids: Any, number: Any) -> Any:
    out = p.outputs[0]
    k: Dim = 1
    for d in p.inputs[1].shape:
        k = k * d
    zero = p.broadcast_to(p.const(0, out.dtype), out.shape)
    rows = p.reshape(data, (k, *out.shape[1:]))
    return p.op("SegmentAdd", zero, p.reshape(ids, (k,)), rows, attrs=RowsAttrs(drop_negative=True))


def _segment_reference(attrs: Any, data: Any, ids: Any, number: Any) -> Any:
    ids = np.asarray(ids)
    zero = np.zeros((int(number), *data.shape[ids.ndim :]), data.dtype)
    return _add_rows(RowsAttrs(True), zero, ids.reshape(-1), data.reshape(-1, *data.shape[ids.ndim :]))


def _segment_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    from graphflow.ops.binary import maximum
    from graphflow.ops.compare import greater_equal, where_v2

    ids = op.inputs[1]
    found = gather(grad, maximum(ids, 0))
    keep = greater_equal(ids, 0)
    assert found._shape is not None and ids._shape is not None
    for _ in range(len(found._shape) - len(ids._shape)):
        keep = expand_dims(keep, -1)
    return [where_v2(keep, found, 0.0), None, None]


UNSORTED_SEGMENT_SUM = register(
    OpDef(
        "UnsortedSegmentSum",
        Composite(_segment_expand),
        _segment_infer,
        _segment_grad,
        _segment_reference,
        lambda: (
            [
                Sample((np.arange(6, dtype=np.float32).reshape(3, 2), np.array(i, np.int32), np.array(4, np.int32)))
                for i in ([0, 3, 0], [1, -1, 2])
            ]
            + [Sample((np.zeros((0, 2), np.float32), np.zeros((0,), np.int32), np.array(2, np.int32)))]
        ),
        shape_operands=(2,),
        dtypes=(*FLOATS, *INTEGERS),
        doc="Sums of the rows that share a segment; rows of negative segment are left out.",
    )
)


def unsorted_segment_sum(data: Any, segment_ids: Any, num_segments: Any, name: str | None = None) -> Tensor:
    """Row s of the result is the sum of the rows of `data` whose segment id is s; negative ids are dropped."""
    d, i = convert_to_tensor(data), convert_to_tensor(segment_ids)
    return build(UNSORTED_SEGMENT_SUM, (d, i, convert_to_tensor(num_segments)), NO_ATTRS, name)


def _densify(value: IndexedSlices, dtype: DType | None, name: str | None) -> Tensor:
    if value.dense_shape is None:
        raise ArgumentError(f"Tensor conversion requested for IndexedSlices without dense_shape: {value!r}")
    return unsorted_segment_sum(value.values, value.indices, value.dense_shape[0], name=name)


register_tensor_conversion(IndexedSlices, _densify)

# ---------------------------------------------------------------------------------------------- one-hot


@dataclass(frozen=True, slots=True)
class OneHotAttrs:
    axis: int


def _one_hot_infer(
    ctx: InferContext, attrs: OneHotAttrs, indices: TensorType, depth: TensorType, on: TensorType, off: TensorType
) -> tuple[TensorType, ...]:
    count = ctx.value(1)
    if indices.shape is None:
        return (TensorType(on.dtype, None),)
    size: Dim = fresh_dim() if count is None or isinstance(count, tuple) else count
    axis = normal_axis("OneHot", attrs.axis, len(indices.shape) + 1)
    return (TensorType(on.dtype, (*indices.shape[:axis], size, *indices.shape[axis:])),)


def _one_hot_expand(p: Any, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    out = p.outputs[0].shape
    axis = p.attrs.axis % len(out)
    shown = (*out[:axis], 1, *out[axis + 1 :])
    position = p.op("AxisPosition", attrs=PositionAttrs(out, axis, p.inputs[0].dtype))
    return p.op("SelectV2", p.op("Equal", p.reshape(indices, shown), position), on, off)


def _one_hot_reference(attrs: OneHotAttrs, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    axis = attrs.axis % (np.ndim(indices) + 1)
    hit = np.expand_dims(np.asarray(indices), axis) == np.arange(int(depth)).reshape(
        [-1 if k == axis else 1 for k in range(np.ndim(indices) + 1)]
    )
    return np.where(hit, on, off).astype(np.asarray(on).dtype)


ONE_HOT = register(
    OpDef(
        "OneHot",
        Composite(_one_hot_expand),
        _one_hot_infer,
        not_differentiable("positions are integers"),
        _one_hot_reference,
        lambda: [
            Sample(
                (np.array(i, np.int32), np.array(4, np.int32), np.array(2.0, np.float32), np.array(-1.0, np.float32)),
                OneHotAttrs(a),
                gradient=False,
            )
            for i, a in ((2, -1), ([0, 3, 5, -1], -1), ([[1], [2]], 0), ([[1, 0]], 1), ([], -1))
        ],
        attrs=OneHotAttrs,
        shape_operands=(1,),
        dtypes=(float32,),
        onnx="OneHot",
        doc="on_value at the index, off_value elsewhere, along a new axis.",
    )
)


def one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None,
    name: str = "one_hot",
) -> Tensor:  # fmt: skip
    """A new axis of size `depth` with `on_value` (1) at the index and `off_value` (0) elsewhere; an index out of range gives
    off_value everywhere."""
    with name_scope(name, "one_hot") as scope:
        i = convert_to_tensor(indices, name="indices")
        want = as_dtype(dtype) if dtype is not None else None
        if want is None:
            given = [v for v in (on_value, off_value) if v is not None]
            want = convert_to_tensor(given[0]).base_dtype if given else float32
        on = convert_to_tensor(_number(1 if on_value is None else on_value, want), want, name="on_value")
        off = convert_to_tensor(_number(0 if off_value is None else off_value, want), want, name="off_value")
        where = -1 if axis is None else static_int(axis, "one_hot: axis")
        return build(ONE_HOT, (i, convert_to_tensor(depth, int32, name="depth"), on, off), OneHotAttrs(where), scope)


def _number(value: Any, dtype: DType) -> Any:
    return bool(value) if dtype is bool_ and isinstance(value, int) else value


# ---------------------------------------------------------------------------------------------- shapes that depend on data


def _where_infer(ctx: InferContext, attrs: Any, condition: TensorType) -> tuple[TensorType, ...]:
    rank: Dim = fresh_dim() if condition.shape is None else len(condition.shape)
    return (TensorType(int64, (fresh_dim(), rank)),)


WHERE = register(
    OpDef(
        "Where",
        Host(),
        _where_infer,
        not_differentiable("positions are integers"),
        lambda attrs, condition: np.argwhere(condition).astype(np.int64).reshape(-1, np.ndim(condition)),
        lambda: [Sample((np.array(c, np.float32),), gradient=False) for c in ([1, 0, 2], [[0, 1], [1, 0]], [0.0, 0.0])],
        dtypes=(bool_, *FLOATS, *INTEGERS),
        onnx="NonZero",
        doc="The positions of the elements that are true (not zero).",
    )
)


def where_indices(condition: Any, name: str | None = None) -> Tensor:
    """The positions of the true elements, int64 [n, rank], in row-major order."""
    return build(WHERE, (convert_to_tensor(condition),), NO_ATTRS, name)


def _unique_infer(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is not None and len(x.shape) != 1:
        raise ShapeError(f"unique expects a 1D vector. Shape must be rank 1 but is rank {len(x.shape)}")
    size: Dim = fresh_dim() if x.shape is None else x.shape[0]
    return TensorType(x.dtype, (fresh_dim(),)), TensorType(int32, (size,))


def _unique(attrs: Any, x: Any) -> tuple[Any, Any]:
    values, first, inverse = np.unique(x, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    return values[order], place[inverse.reshape(-1)].astype(np.int32)


UNIQUE = register(
    OpDef(
        "Unique",
        Host(),
        _unique_infer,
        not_differentiable("which elements are equal does not change smoothly"),
        _unique,
        lambda: [Sample((np.array(v, np.float32),), gradient=False) for v in ([3, 1, 3, 2, 1], [], [5])],
        dtypes=(*FLOATS, *INTEGERS),
        onnx="Unique",
        doc="The distinct elements in order of first appearance, and for each element its place among them.",
    )
)


def unique(x: Any, out_idx: Any = int32, name: str | None = None) -> tuple[Tensor, Tensor]:
    """(distinct elements in order of first appearance, index of each element among them)."""
    op = build_op(UNIQUE, (convert_to_tensor(x),), NO_ATTRS, name)
    return op.outputs[0], op.outputs[1]


def boolean_mask(tensor: Any, mask: Any, name: str = "boolean_mask", axis: Any = None) -> Tensor:
    """The slices of `tensor` where `mask` is true, along the axes the mask covers (starting at `axis`)."""
    with name_scope(name, "boolean_mask"):
        x, m = convert_to_tensor(tensor), convert_to_tensor(mask)
        if m._shape is None or x._shape is None:
            raise ArgumentError("Number of mask dimensions must be specified, even if some dimensions are None.")
        if not m._shape:
            raise ArgumentError("mask cannot be scalar.")
        where = 0 if axis is None else normal_axis("boolean_mask", static_int(axis, "boolean_mask: axis"), len(x._shape))
        from graphflow.ops.joining import concat

        sizes = shape_tensor(x)
        target = concat([sizes[:where], constant([-1]), sizes[where + len(m._shape) :]], 0)
        flat = reshape(x, target)
        return gather(flat, squeeze(where_indices(reshape(m, [-1])), [1]), axis=where)


def gather_nd(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """``params[indices[..., 0], indices[..., 1], ...]``: the last axis of `indices` is a position in `params`."""
    from graphflow.ops.cast import cast
    from graphflow.ops.joining import concat

    p, i = convert_to_tensor(params), convert_to_tensor(indices)
    if p._shape is None or i._shape is None or not isinstance(i._shape[-1], int):
        raise ArgumentError("gather_nd: ranks, and the last dimension of indices, must be known")
    depth = i._shape[-1]
    if depth > len(p._shape):
        raise ShapeError(f"gather_nd: indices of depth {depth} into a tensor of shape {format_shape(p._shape)}")
    with name_scope(name, "GatherNd", [p]) as scope:
        sizes = cast(shape_tensor(p), i.base_dtype)
        flat = reshape(p, concat([constant([-1]), shape_tensor(p)[depth:]], 0))
        position = sum_positions(i, [sizes[k] for k in range(depth)])
        return build(GATHER, (flat, position), GatherAttrs(0), scope)


def sum_positions(indices: Tensor, sizes: Sequence[Tensor]) -> Tensor:
    """Row-major offset of positions; a coordinate out of its range gives an offset out of range, so it is still refused."""
    from graphflow.ops.binary import add, multiply
    from graphflow.ops.compare import greater_equal, less, logical_or, where_v2
    from graphflow.ops.joining import unstack

    parts = unstack(indices, len(sizes), axis=-1)
    total, bad = parts[0], logical_or(less(parts[0], 0), greater_equal(parts[0], sizes[0]))
    for part, size in zip(parts[1:], sizes[1:], strict=True):
        total = add(multiply(total, size), part)
        bad = logical_or(bad, logical_or(less(part, 0), greater_equal(part, size)))
    return where_v2(bad, convert_to_tensor(-1, indices.base_dtype), total)


def scatter_nd(indices: Any, updates: Any, shape: Any, name: str | None = None) -> Tensor:
    """Zeros of `shape` with `updates` added at the positions `indices` (last axis: a position)."""
    from graphflow.ops.cast import cast
    from graphflow.ops.joining import concat
    from graphflow.ops.reduce import reduce_prod

    i, u = convert_to_tensor(indices), convert_to_tensor(updates)
    target = convert_to_tensor(shape)
    if i._shape is None or not isinstance(i._shape[-1], int):
        raise ArgumentError("scatter_nd: the rank and last dimension of indices must be known")
    depth = i._shape[-1]
    with name_scope(name, "ScatterNd") as scope:
        sizes = cast(target, i.base_dtype)
        rows = reshape(u, concat([constant([-1]), cast(target[depth:], int32)], 0))
        position = reshape(sum_positions(i, [sizes[k] for k in range(depth)]), [-1])
        flat = unsorted_segment_sum(rows, position, reduce_prod(target[:depth]))
        return reshape(flat, target, name=scope)


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """The permutation that undoes x."""
    t = convert_to_tensor(x)
    with name_scope(name, "InvertPermutation", [t]):
        from graphflow.ops.cast import cast
        from graphflow.ops.fill import range as range_

        count = shape(t)[0]
        return unsorted_segment_sum(cast(range_(count), t.base_dtype), t, count)


__all__ = [
    "boolean_mask", "gather", "gather_nd", "invert_permutation", "one_hot", "scatter_nd", "unique", "unsorted_segment_sum",
    "where_indices",
]  # fmt: skip
