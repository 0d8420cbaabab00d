"""`gather`, `gather_nd` and `boolean_mask`: elements picked by index."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, constant, convert_to_tensor, name_scope
from graphflow.framework.deferred import Arguments, NotKnownYet, deferrable
from graphflow.framework.dtypes import ALL, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Gather, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import format_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import known_rank, normal_axis, static_int
from graphflow.ops._define.bad_elements import refuse_rows
from graphflow.ops._define.deferred_types import any_shape, open_shape, rank_of
from graphflow.ops.array.concat import concat
from graphflow.ops.array.movement import broadcast_to, transpose
from graphflow.ops.array.one_hot_where_unique import where_indices
from graphflow.ops.array.reshape import reshape, squeeze
from graphflow.ops.array.row_positions import batch_row_positions, merged_shape, row_positions
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.strided_slice import slice_axis


@record(frozen=True, slots=True)
class GatherAttrs:
    """`dense_gradient`: the gradient is a tensor, not IndexedSlices, also along axis 0 (indexing by ``x[t]``)."""

    axis: int = 0
    dense_gradient: bool = False


def _infer(ctx: InferContext, attrs: GatherAttrs, params: TensorType, indices: TensorType) -> tuple[TensorType, ...]:
    if indices.dtype not in (int32, int64):
        raise DTypeError(
            f"Value passed to parameter 'indices' has DataType {indices.dtype.name} not in list of allowed values: int32, int64"
        )
    if params.shape is None or indices.shape is None:
        return (TensorType(params.dtype, None),)
    if not params.shape:
        raise ShapeError("Shape must be at least rank 1 but is rank 0 for 'GatherV2'")
    if attrs.axis >= len(params.shape):
        raise ShapeError(f"Shape must be at least rank {attrs.axis + 1} but is rank {len(params.shape)} for 'GatherV2'")
    return (TensorType(params.dtype, params.shape[: attrs.axis] + indices.shape + params.shape[attrs.axis + 1 :]),)


def _reference(attrs: GatherAttrs, params: Any, indices: Any) -> Any:
    refuse_rows("indices", indices, params.shape[attrs.axis])
    return np.take(params, np.asarray(indices), attrs.axis)


def _samples() -> list[Sample]:
    rng = np.random.default_rng(13)
    cases: list[tuple[tuple[int, ...], Any, int]] = [
        ((5,), 3, 0), ((5,), [0, 4, 4], 0), ((4, 3), [[1, 0], [3, 3]], 0), ((2, 5, 3), [4, 0], 1), ((3, 4), [], 0),
        ((2, 3), [2, 2, 0, 1], 1), ((2, 3, 2), 1, 2), ((2, 0), [1, 1], 0),
    ]  # fmt: skip
    found = [Sample((rng.normal(size=s).astype(np.float32), np.array(i, np.int32)), GatherAttrs(a)) for s, i, a in cases]
    wide = np.array([2, 0], np.int64)
    return [*found, Sample((rng.normal(size=(3, 2)).astype(np.float32), wide), GatherAttrs(0, dense_gradient=True))]


def _value(attrs: GatherAttrs, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    x, i = values
    if not isinstance(x, tuple) or i is None:
        return None
    # Shapes are picked apart often (``tf.gather(tf.shape(x), 0)``), and stay known this way.
    picks = [k for k in (i if isinstance(i, tuple) else (i,)) if isinstance(k, int) and 0 <= k < len(x)]
    if len(picks) != (len(i) if isinstance(i, tuple) else 1):
        return None
    return tuple(x[k] for k in picks) if isinstance(i, tuple) else x[picks[0]]


GATHER = register(
    OpDef(
        "GatherV2",
        Gather(),
        _infer,
        _reference,
        _samples,
        attrs=GatherAttrs,
        shape_value=_value,
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
    batch_dims: Any = 0,
) -> Tensor:
    """Slices of `params` along `axis` (default `batch_dims`), picked by `indices` (int32 or int64, any shape).

    Raises:
        ShapeError: params is a scalar.
        InvalidArgumentError: (in a run) an index is negative or too large.
    """
    p, i = convert_to_tensor(params, name="params"), convert_to_tensor(indices, name="indices")
    if i._shape is not None and 0 in i._shape and i.op.type == "Const" and i.base_dtype.is_floating:
        i = constant(np.zeros([int(d) for d in i.shape], np.int32))  # an empty list has no dtype of its own
    batch = static_int(batch_dims, "gather: batch_dims")
    return _gather(p, i, batch if axis is None else axis, batch, name)


def _gather_types(a: Arguments) -> list[TensorType]:
    p, i, batch = a["p"], rank_of(a["i"]), a["batch"]
    rank = rank_of(p)
    if rank is None or i is None:
        return [TensorType(p.base_dtype, None)]
    return [TensorType(p.base_dtype, open_shape(max(rank - 1 + i - (batch + i if batch < 0 else batch), 0)))]


@deferrable(_gather_types, "axis", op_name="GatherV2")
def _gather(p: Tensor, i: Tensor, axis: Any, batch: int, name: str | None = None) -> Tensor:
    where = static_int(axis, "gather: axis")
    if p._shape or where < 0:
        where = normal_axis("GatherV2", where, known_rank("gather", p))
    if batch:
        return _batched(p, i, where, batch, name)
    return build(GATHER, (p, i), GatherAttrs(where), name)


def gather_dense(params: Tensor, indices: Tensor, axis: int, name: str | None = None) -> Tensor:
    """As `gather`, with a gradient that is a tensor."""
    return build(GATHER, (params, indices), GatherAttrs(axis, dense_gradient=True), name)


def _batched(p: Tensor, i: Tensor, axis: int, batch_dims: int, name: str | None) -> Tensor:
    """`gather` with batch dimensions: each batch gathers from its own params, by positions in the flattened batch."""
    rank, indices = known_rank("gather", p), known_rank("gather", i)
    if batch_dims < 0:
        batch_dims += indices
    if not 0 < batch_dims <= min(axis, indices):
        raise ArgumentError(f"gather: batch_dims {batch_dims} must be at most axis {axis} and the rank of indices")
    kept = indices - batch_dims
    with name_scope(name, "GatherV2", [p]) as scope:
        # The gathered axis moves to just behind the batch axes; afterwards the `kept` axes that it became move back.
        between = axis - batch_dims
        p = transpose(p, [*range(batch_dims), axis, *range(batch_dims, axis), *range(axis + 1, rank)]) if between else p
        rows = batch_row_positions(i, p, batch_dims)
        flat = reshape(p, merged_shape(p, 0, batch_dims + 1))
        if not between:
            return build(GATHER, (flat, rows), GatherAttrs(0), scope)
        found = build(GATHER, (flat, rows), GatherAttrs(0))
        end = batch_dims + kept
        order = [
            *range(batch_dims),
            *range(end, end + between),
            *range(batch_dims, end),
            *range(end + between, rank - 1 + kept),
        ]
        return transpose(found, order, scope)


def batch_gather(params: Any, indices: Any, name: str | None = None) -> Tensor:
    """Along the last axis of `indices`, from the params of the same batch."""
    return _batch_gather(convert_to_tensor(params), convert_to_tensor(indices), name)


@deferrable(any_shape("p"), op_name="GatherV2")
def _batch_gather(p: Tensor, i: Tensor, name: str | None = None) -> Tensor:
    return gather(p, i, name=name, batch_dims=known_rank("batch_gather", i) - 1)


def gather_nd(params: Any, indices: Any, name: str | None = None, batch_dims: int = 0) -> Tensor:
    """``params[indices[..., 0], indices[..., 1], ...]``: the last axis of `indices` is a position in `params`.

    Raises:
        ShapeError: a position has more entries than params has axes.
        InvalidArgumentError: (in a run) a position outside params.
    """
    p, i = convert_to_tensor(params, name="params"), convert_to_tensor(indices, name="indices")
    if batch_dims:
        raise ArgumentError("gather_nd: batch_dims other than 0 are not supported; use tf.gather with batch_dims")
    return _gather_nd(p, i, name)


def _gather_nd_types(a: Arguments) -> list[TensorType]:
    p, i = a["p"]._shape, a["i"]._shape
    known = p is not None and i and isinstance(i[-1], int)
    return [TensorType(a["p"].base_dtype, (*i[:-1], *p[i[-1] :]) if known else None)]


@deferrable(_gather_nd_types, op_name="GatherNd")
def _gather_nd(p: Tensor, i: Tensor, name: str | None = None) -> Tensor:
    rank, outer = known_rank("gather_nd", p), known_rank("gather_nd", i) - 1
    if outer < 0:
        raise ShapeError("gather_nd: indices must be at least a vector: Shape must be at least rank 1 but is rank 0")
    depth = (i._shape or ())[-1]
    if not isinstance(depth, int):
        raise NotKnownYet("gather_nd: the last dimension of indices must be known")
    if depth > rank:
        raise ShapeError(f"index innermost dimension length must be <= params rank; saw: {depth} vs. {rank}")
    with name_scope(name, "GatherNd", [p]) as scope:
        # A position without coordinates means the whole tensor, once for each.
        if depth == 0:
            return broadcast_to(p, concat([slice_axis(shape_tensor(i), 0, 0, outer), shape_tensor(p)], 0), name=scope)
        rows = row_positions(i, p, depth, "param shape")
        if depth == 1:
            # As in TensorFlow, a list of row numbers has IndexedSlices as gradient.
            return build(GATHER, (p, rows), GatherAttrs(0, outer != 1), scope)
        # With a dense gradient: rows of the merged axes are no rows of params, so IndexedSlices would not fit them.
        return build(GATHER, (reshape(p, merged_shape(p, 0, depth)), rows), GatherAttrs(0, True), scope)


def boolean_mask(tensor: Any, mask: Any, name: str | None = "boolean_mask", axis: Any = None) -> Tensor:
    """The slices of `tensor` where `mask` is true, along the axes the mask covers (starting at `axis`).

    Raises:
        ArgumentError: the mask is a scalar, or its rank is not known while the graph is built.
        ShapeError: the mask does not have the shape of those axes.
    """
    x, m = convert_to_tensor(tensor), convert_to_tensor(mask)
    if m._shape is None:
        raise ArgumentError("Number of mask dimensions must be specified, even if some dimensions are None.")
    if not m._shape:
        raise ArgumentError("mask cannot be scalar.")
    return _boolean_mask(x, m, axis, name)


def _boolean_mask_types(a: Arguments) -> list[TensorType]:
    rank, mask = rank_of(a["x"]), len(a["m"]._shape)
    return [TensorType(a["x"].base_dtype, None if rank is None else open_shape(max(rank - mask + 1, 0)))]


@deferrable(_boolean_mask_types, "axis", op_name="boolean_mask")
def _boolean_mask(x: Tensor, m: Tensor, axis: Any, name: str | None = None) -> Tensor:
    assert m._shape is not None
    rank = known_rank("boolean_mask", x)
    where = 0 if axis is None else normal_axis("boolean_mask", static_int(axis, "boolean_mask: axis"), rank)
    covered = (x._shape or ())[where : where + len(m._shape)]
    if len(covered) < len(m._shape) or any(
        a != b for a, b in zip(covered, m._shape, strict=True) if isinstance(a, int) and isinstance(b, int)
    ):
        raise ShapeError(f"Shapes {format_shape(covered)} and {format_shape(m._shape)} are incompatible")
    with name_scope(name, "boolean_mask", [x]):
        # The masked axes become one, and the mask a vector of the positions along it.
        flat = reshape(x, merged_shape(x, where, where + len(m._shape)))
        return gather(flat, squeeze(where_indices(reshape(m, [-1])), [1]), axis=where)
