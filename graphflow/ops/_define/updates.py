"""Type and shape rules of assignments to variables and to rows of tensors."""

from __future__ import annotations

from typing import Any

from graphflow.framework.dtypes import DType, int32, int64
from graphflow.framework.errors import DTypeError, ShapeError
from graphflow.framework.kinds import TensorType
from graphflow.framework.registry import InferContext
from graphflow.framework.shapes import Shape
from graphflow.ops._define.types import brackets


def merge_shapes(ctx: InferContext, a: Shape | None, b: Shape | None, what: str = "") -> Shape | None:
    """The common shape of a variable and what goes into it. ShapeError, in TensorFlow's words, if there is none."""
    # Nothing to compare with: the shape that is known counts.
    if a is None or b is None:
        return a if b is None else b
    tail = f" for '{ctx.op_name}'{what} with input shapes: {brackets(a)}, {brackets(b)}."
    if len(a) != len(b):
        raise ShapeError(f"{ctx.op_name}: Shapes must be equal rank, but are {len(a)} and {len(b)}{tail}")
    known_a, known_b = a, b

    def unify(i: int) -> Any:
        x, y = known_a[i], known_b[i]
        return ctx.unify(
            x,
            y,
            lambda: (
                f"{ctx.op_name}: Dimension {i} in both shapes must be equal, but are {x} and {y}. "
                f"Shapes are {brackets(known_a)} and {brackets(known_b)}{tail}"
            ),
        )

    return tuple(unify(i) for i in range(len(a)))


def check_dtype(ctx: InferContext, name: str, found: DType, wanted: DType, like: str = "ref") -> None:
    if found is not wanted:
        raise DTypeError(
            f"Input '{name}' of '{ctx.op_name}' Op has type {found.name} that does not match type {wanted.name} of "
            f"argument '{like}'."
        )


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
            f"updates.shape {brackets(updates.shape)}, indices.shape {brackets(indices.shape)}, "
            f"ref.shape {brackets(ref.shape)}"
        )
    merge_shapes(ctx, wanted, updates.shape, " (updates as indices.shape + ref.shape[1:])")
    return (ref,)
