"""Updates of rows of a variable, such as `tf.scatter_add`, and of its elements, such as `tf.scatter_nd_add`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.dtypes import ALL, NUMERIC, DType
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import ExpandContext, StateUpdate, TensorType
from graphflow.framework.registry import InferContext, NoAttrs, OpDef, Sample, not_differentiable, register, undefined_gradient
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.bad_elements import refuse_positions
from graphflow.ops._define.types import brackets
from graphflow.ops._define.updates import check_dtype, check_indices, merge_shapes, rows_infer
from graphflow.ops.array.row_positions import ROW_POSITIONS, RowPositionsAttrs
from graphflow.ops.array.row_updates import (
    ROWS_ADD,
    ROWS_DIV,
    ROWS_MAX,
    ROWS_MIN,
    ROWS_MUL,
    ROWS_SUB,
    ROWS_UPDATE,
    full_rows,
    rows_reference,
    rows_samples,
)
from graphflow.ops.state.variable import mutable

_ASSIGNED = "an assignment changes a variable; it is no function of it"


# ---------------------------------------------------------------------------------------------- on variables


def _update(name: str, combine: str, row_op: OpDef, doc: str) -> OpDef:
    on_values = rows_reference(combine)
    return OpDef(
        name,
        StateUpdate(
            (0,),
            lambda p, ref, indices, updates: p.op(row_op.name, ref, indices, full_rows(p, ref, indices, updates)),
            checks=True,
        ),
        rows_infer,
        lambda attrs, ref, indices, updates: (on_values(attrs, ref, indices, updates),),
        lambda: rows_samples(True),
        # TensorFlow passes over those that calculate, and refuses the others.
        grad=undefined_gradient(_ASSIGNED) if combine in ("set", "min", "max") else not_differentiable(_ASSIGNED),
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
            f"{ctx.op_name}: indices.shape[-1] must be <= ref.rank, but saw indices.shape {brackets(indices.shape)} "
            f"and ref.shape {brackets(ref.shape)}"
        )
    merge_shapes(ctx, indices.shape[:-1] + ref.shape[depth:], updates.shape, " (updates)")
    return (ref,)


def _nd_expand(row_op: OpDef) -> Callable[..., Any]:
    """Coordinates become row numbers of the variable with its first `depth` dimensions flattened."""

    def expand(p: ExpandContext, ref: Any, indices: Any, updates: Any) -> Any:
        shape = p.type(ref).shape
        assert shape is not None
        depth = _depth(p.type(indices))
        sizes = [d for d in shape[:depth] if isinstance(d, int)]
        assert len(sizes) == depth  # a variable's sizes are known by now
        rows = p.op(ROW_POSITIONS.name, indices, ref, attrs=RowPositionsAttrs(depth))
        flat = p.reshape(ref, (math.prod(sizes), *shape[depth:]))
        return p.reshape(p.op(row_op.name, flat, rows, updates), shape)

    return expand


def _nd_reference(function: Callable[[Any, Any], Any] | None) -> Callable[..., Any]:
    def reference(attrs: Any, ref: Any, indices: Any, updates: Any) -> tuple[Any, ...]:
        out = np.array(ref)
        refuse_positions(indices, out.shape, "shape")
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
    "scatter_add", "scatter_div", "scatter_max", "scatter_min", "scatter_mul", "scatter_nd_add", "scatter_nd_sub",
    "scatter_nd_update", "scatter_sub", "scatter_update",
]  # fmt: skip
