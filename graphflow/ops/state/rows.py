"""Updates of a variable's rows: tf.scatter_update, scatter_add ... and tf.scatter_nd_update, scatter_nd_add."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.dtypes import ALL, FLOATS, NUMERIC, DType, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Elementwise, ExpandContext, Scatter, StateUpdate, TensorType
from graphflow.framework.registry import InferContext, NoAttrs, OpDef, Sample, not_differentiable, register
from graphflow.framework.tensor import Tensor
from graphflow.ops.math.cast import CAST, CastAttrs
from graphflow.ops.math.reduce import ReduceAttrs
from graphflow.ops.state.variable import check_dtype, merge_shapes, mutable, plain_shape

_ASSIGNED = "an assignment changes a variable; it is no function of it"

#: combine -> how one row is combined with the row of an update (None: replaced by it)
_COMBINE: dict[str, Callable[[Any, Any], Any] | None] = {
    "set": None, "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide,
    "min": np.minimum, "max": np.maximum,
}  # fmt: skip


def check_indices(ctx: InferContext, indices: TensorType) -> None:
    if indices.dtype not in (int32, int64):
        raise DTypeError(
            f"Value passed to parameter 'indices' of '{ctx.op_name}' has DataType {indices.dtype.name} not in list of "
            "allowed values: int32, int64"
        )


def rows_infer(
    ctx: InferContext, attrs: Any, ref: TensorType, indices: TensorType, updates: TensorType
) -> tuple[TensorType, ...]:
    """Checks base [n, ...], indices [k...], updates [k..., ...] or a scalar; the result is like the base."""
    check_dtype(ctx, "updates", updates.dtype, ref.dtype)
    check_indices(ctx, indices)
    if ref.shape is not None and not ref.shape:
        raise ShapeError(f"{ctx.op_name}: Shape must be at least rank 1 but is rank 0: a scalar has no rows")
    if ref.shape is None or indices.shape is None or updates.shape is None or not updates.shape:
        return (ref,)
    wanted = indices.shape + ref.shape[1:]
    if len(wanted) != len(updates.shape):
        raise ShapeError(
            f"{ctx.op_name}: Must have updates.shape = indices.shape + ref.shape[1:] or updates.shape = [], got "
            f"updates.shape {plain_shape(updates.shape)}, indices.shape {plain_shape(indices.shape)}, "
            f"ref.shape {plain_shape(ref.shape)}"
        )
    merge_shapes(ctx, wanted, updates.shape, " (updates as indices.shape + ref.shape[1:])")
    return (ref,)


def _rows_reference(combine: str) -> Callable[..., Any]:
    function = _COMBINE[combine]

    def reference(attrs: Any, ref: Any, indices: Any, updates: Any) -> Any:
        out = np.array(ref)
        flat = np.asarray(indices).reshape(-1)
        rows = np.broadcast_to(updates, np.shape(indices) + out.shape[1:]).reshape((flat.size, *out.shape[1:]))
        with np.errstate(all="ignore"):
            for i, row in zip(flat, rows, strict=True):
                out[i] = row if function is None else function(out[i], row)
        return out

    return reference


def _rows_samples(scalar_updates: bool) -> list[Sample]:
    ref = np.arange(1, 13, dtype=np.float32).reshape(4, 3)
    updates = np.linspace(1, 2, 9, dtype=np.float32).reshape(3, 3)
    cases = [
        Sample((ref, np.array([1, 3, 1], np.int32), updates), gradient=False),
        Sample((ref, np.int32(2), updates[0]), gradient=False),
        Sample((ref[:, 0], np.array([], np.int32), np.zeros((0,), np.float32)), gradient=False),
    ]
    if scalar_updates:
        cases.append(Sample((ref, np.array([[0], [2]], np.int64), np.float32(2)), gradient=False))
    return cases


# ---------------------------------------------------------------------------------------------- on values


def _row_op(name: str, combine: Any, doc: str) -> OpDef:
    return OpDef(
        name,
        Scatter(combine),
        rows_infer,
        _rows_reference(combine),
        lambda: _rows_samples(False),
        grad=not_differentiable("a building block of variable updates"),
        dtypes=ALL if combine == "set" else FLOATS if combine == "div" else NUMERIC,
        doc=doc,
    )


ROWS_UPDATE = register(_row_op("RowsUpdate", "set", "base with rows overwritten; the last one wins."))
ROWS_ADD = register(_row_op("RowsAdd", "add", "base with rows added to; repeated rows add up."))
ROWS_SUB = register(_row_op("RowsSub", "sub", "base with rows subtracted from."))
ROWS_MUL = register(_row_op("RowsMul", "mul", "base with rows multiplied."))
ROWS_DIV = register(_row_op("RowsDiv", "div", "base with rows divided."))
ROWS_MIN = register(_row_op("RowsMin", "min", "The smaller of base and updates, by row."))
ROWS_MAX = register(_row_op("RowsMax", "max", "The larger of base and updates, by row."))


def full_rows(p: ExpandContext, base: Any, indices: Any, updates: Any) -> Any:
    """`updates` with a row per index, where a scalar stands for all of them."""
    if p.type(updates).shape != ():
        return updates
    base_shape, index_shape = p.type(base).shape, p.type(indices).shape
    assert base_shape is not None and index_shape is not None
    return p.broadcast_to(updates, index_shape + base_shape[1:])


# ---------------------------------------------------------------------------------------------- on variables


def _update(name: str, combine: str, row_op: OpDef, doc: str) -> OpDef:
    on_values = _rows_reference(combine)
    return OpDef(
        name,
        StateUpdate(
            (0,),
            lambda p, ref, indices, updates: p.op(row_op.name, ref, indices, full_rows(p, ref, indices, updates)),
            checks=True,
        ),
        rows_infer,
        lambda attrs, ref, indices, updates: (on_values(attrs, ref, indices, updates),),
        lambda: _rows_samples(True),
        grad=not_differentiable(_ASSIGNED),
        dtypes=row_op.dtypes,
        doc=doc,
    )


SCATTER_UPDATE = register(_update("ScatterUpdate", "set", ROWS_UPDATE, "Overwrites rows of a variable; the last one wins."))
SCATTER_ADD = register(_update("ScatterAdd", "add", ROWS_ADD, "Adds to rows of a variable; repeated rows add up."))
SCATTER_SUB = register(_update("ScatterSub", "sub", ROWS_SUB, "Subtracts from rows of a variable."))
SCATTER_MUL = register(_update("ScatterMul", "mul", ROWS_MUL, "Multiplies rows of a variable."))
SCATTER_DIV = register(_update("ScatterDiv", "div", ROWS_DIV, "Divides rows of a variable."))
SCATTER_MIN = register(_update("ScatterMin", "min", ROWS_MIN, "The smaller of a variable and updates, by row."))
SCATTER_MAX = register(_update("ScatterMax", "max", ROWS_MAX, "The larger of a variable and updates, by row."))


def build_rows(op: OpDef, ref: Any, indices: Any, updates: Any, name: str | None) -> Tensor:
    target = mutable(ref, op.name)
    with target.graph.as_default(), target.graph.name_scope(name or op.name) as scope:
        i = convert_to_tensor(indices, name="indices")
        u = convert_to_tensor(updates, target.base_dtype, name="updates")
        return build(op, (target, i, u), NoAttrs(), scope)


def scatter_update(ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None) -> Tensor:
    """``ref[indices] = updates`` in place; yields the whole new value.

    Args:
        ref: a Variable of shape [n, ...].
        indices: int32 or int64, any shape [k...]; each in [0, n), else InvalidArgumentError at run time.
        updates: shape [k..., ...], or a scalar. Of repeated rows the last one wins.
    """
    return build_rows(SCATTER_UPDATE, ref, indices, updates, name)


def scatter_add(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """``ref[indices] += updates`` in place, repeated rows adding up; yields the whole new value."""
    return build_rows(SCATTER_ADD, ref, indices, updates, name)


def scatter_sub(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """``ref[indices] -= updates`` in place; yields the whole new value."""
    return build_rows(SCATTER_SUB, ref, indices, updates, name)


def scatter_mul(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """``ref[indices] *= updates`` in place; yields the whole new value."""
    return build_rows(SCATTER_MUL, ref, indices, updates, name)


def scatter_div(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """``ref[indices] /= updates`` in place; yields the whole new value."""
    return build_rows(SCATTER_DIV, ref, indices, updates, name)


def scatter_min(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """``ref[indices] = min(ref[indices], updates)`` in place; yields the whole new value."""
    return build_rows(SCATTER_MIN, ref, indices, updates, name)


def scatter_max(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """``ref[indices] = max(ref[indices], updates)`` in place; yields the whole new value."""
    return build_rows(SCATTER_MAX, ref, indices, updates, name)


# ---------------------------------------------------------------------------------------------- elements by coordinates


def _depth(indices: TensorType) -> int:
    last = indices.shape[-1] if indices.shape else None
    if not isinstance(last, int):
        raise ArgumentError("scatter_nd: the last dimension of indices, the number of coordinates, must be known")
    return last


def _nd_infer(
    ctx: InferContext, attrs: Any, ref: TensorType, indices: TensorType, updates: TensorType
) -> tuple[TensorType, ...]:
    check_dtype(ctx, "updates", updates.dtype, ref.dtype)
    check_indices(ctx, indices)
    if ref.shape is None or indices.shape is None or updates.shape is None:
        return (ref,)
    depth = _depth(indices)
    if depth > len(ref.shape):
        raise ShapeError(
            f"{ctx.op_name}: indices.shape[-1] must be <= ref.rank, but saw indices.shape {plain_shape(indices.shape)} "
            f"and ref.shape {plain_shape(ref.shape)}"
        )
    merge_shapes(ctx, indices.shape[:-1] + ref.shape[depth:], updates.shape, " (updates)")
    return (ref,)


CHECKED_COORDINATES = register(
    OpDef(
        "CheckedCoordinates",
        Elementwise(
            lambda b, attrs, index, size: index,
            check=lambda b, attrs, index, size: b.or_(b.lt(index, 0), b.ge(index, size)),
            check_message="scatter_nd: an index does not index into the variable's shape",
        ),
        lambda ctx, attrs, index, size: (index,),
        lambda attrs, index, size: index,
        lambda: [Sample((np.array([[1, 2], [0, 0]], np.int32), np.array([2, 3], np.int32)), gradient=False)],
        grad=not_differentiable("integers"),
        dtypes=(int32, int64),
        doc="Coordinates [k..., depth], unchanged; the run fails unless each is at least 0 and below its size [depth].",
    )
)


def _nd_expand(row_op: OpDef) -> Callable[..., Any]:
    """Coordinates become row numbers of the variable with its first `depth` dimensions flattened."""

    def expand(p: ExpandContext, ref: Any, indices: Any, updates: Any) -> Any:
        shape, index_shape = p.type(ref).shape, p.type(indices).shape
        assert shape is not None and index_shape is not None
        depth = _depth(p.type(indices))
        sizes = [d for d in shape[:depth] if isinstance(d, int)]
        assert len(sizes) == depth  # a variable's sizes are known by now
        strides = [math.prod(sizes[i + 1 :]) for i in range(depth)]
        wide = p.op(CAST.name, indices, attrs=CastAttrs(int64))
        checked = p.op(CHECKED_COORDINATES.name, wide, p.const(sizes, int64))
        terms = p.op("Mul", checked, p.const(strides, int64))
        rows = p.op("Sum", terms, attrs=ReduceAttrs((len(index_shape) - 1,), False))
        flat = p.reshape(ref, (math.prod(sizes), *shape[depth:]))
        return p.reshape(p.op(row_op.name, flat, rows, updates), shape)

    return expand


def _nd_reference(function: Callable[[Any, Any], Any] | None) -> Callable[..., Any]:
    def reference(attrs: Any, ref: Any, indices: Any, updates: Any) -> tuple[Any, ...]:
        out = np.array(ref)
        for place in np.ndindex(indices.shape[:-1]):
            at = tuple(indices[place])
            out[at] = updates[place] if function is None else function(out[at], updates[place])
        return (out,)

    return reference


def _nd_samples() -> list[Sample]:
    ref = np.arange(12, dtype=np.float32).reshape(4, 3)
    return [
        Sample((ref, np.array([[1], [3]], np.int32), np.ones((2, 3), np.float32)), gradient=False),
        Sample((ref, np.array([[1, 2], [1, 2], [0, 0]], np.int32), np.array([5, 6, 7], np.float32)), gradient=False),
    ]


def _nd(name: str, row_op: OpDef, function: Callable[[Any, Any], Any] | None, dtypes: tuple[DType, ...], doc: str) -> OpDef:
    return OpDef(
        name,
        StateUpdate((0,), _nd_expand(row_op), checks=True),
        _nd_infer,
        _nd_reference(function),
        _nd_samples,
        grad=not_differentiable(_ASSIGNED),
        dtypes=dtypes,
        doc=doc,
    )


SCATTER_ND_UPDATE = register(_nd("ScatterNdUpdate", ROWS_UPDATE, None, ALL, "Overwrites elements or slices."))
SCATTER_ND_ADD = register(_nd("ScatterNdAdd", ROWS_ADD, np.add, NUMERIC, "Adds to elements or slices."))
SCATTER_ND_SUB = register(_nd("ScatterNdSub", ROWS_SUB, np.subtract, NUMERIC, "Subtracts from elements or slices."))


def scatter_nd_update(ref: Any, indices: Any, updates: Any, use_locking: bool = True, name: str | None = None) -> Tensor:
    """``ref[indices[i]] = updates[i]`` in place, ``indices[i]`` being the first coordinates; yields the new value.

    Args:
        ref: a Variable. indices: int32 or int64 of shape [k..., depth]. updates: shape [k...] + ref.shape[depth:].
    """
    return build_rows(SCATTER_ND_UPDATE, ref, indices, updates, name)


def scatter_nd_add(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """As scatter_nd_update, adding; repeated places add up."""
    return build_rows(SCATTER_ND_ADD, ref, indices, updates, name)


def scatter_nd_sub(ref: Any, indices: Any, updates: Any, use_locking: bool = False, name: str | None = None) -> Tensor:
    """As scatter_nd_update, subtracting."""
    return build_rows(SCATTER_ND_SUB, ref, indices, updates, name)


__all__ = [
    "full_rows", "scatter_add", "scatter_div", "scatter_max", "scatter_min", "scatter_mul", "scatter_nd_add",
    "scatter_nd_sub", "scatter_nd_update", "scatter_sub", "scatter_update",
]  # fmt: skip
