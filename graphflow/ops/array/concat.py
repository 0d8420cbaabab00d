"""`concat` and `stack`: tensors put together along an axis. Taking them apart is in `split`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.deferred import Arguments, deferrable
from graphflow.framework.dtypes import ALL, int32
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, Shape, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import normal_axis, static_int
from graphflow.ops._define.deferred_types import open_shape
from graphflow.ops._define.samples import normal_arrays
from graphflow.ops._define.types import brackets
from graphflow.ops.array.identity import identity
from graphflow.ops.array.split import unstack


@record(frozen=True, slots=True)
class JoinAttrs:
    axis: int


def _same_dtypes(op: str, types: Sequence[TensorType]) -> None:
    if any(t.dtype is not types[0].dtype for t in types):
        raise DTypeError(
            f"Tensors in list passed to 'values' of '{op}' Op have types [{', '.join(t.dtype.name for t in types)}] "
            "that don't all match."
        )


def _concat_infer(ctx: InferContext, attrs: JoinAttrs, *values: TensorType) -> tuple[TensorType, ...]:
    _same_dtypes(ctx.op_name, values)
    known = [v.shape for v in values if v.shape is not None]
    if not known:
        return (TensorType(values[0].dtype, None),)
    rank = _common_rank(known)
    axis = normal_axis(ctx.op_name, attrs.axis, rank)
    out = list(known[0])
    for s in known[1:]:
        for k, d in enumerate(s):
            if k == axis:
                out[k] = out[k] + d
                continue
            out[k] = ctx.unify(out[k], d, partial(_differ, known, out[k], s, k, axis))
    if len(known) < len(values):
        out[axis] = fresh_dim()
    return (TensorType(values[0].dtype, tuple(out)),)


def _common_rank(known: Sequence[Shape]) -> int:
    rank = len(known[0])
    if rank == 0:
        raise ShapeError("Can't concatenate scalars (use tf.stack instead) for 'concat'")
    for s in known[1:]:
        if len(s) != rank:
            shapes = ", ".join(brackets(k) for k in known)
            raise ShapeError(f"Shape must be rank {rank} but is rank {len(s)} for 'concat' with input shapes: {shapes}.")
    return rank


def _differ(known: Sequence[Shape], first: Dim, other: Shape, k: int, axis: int) -> str:
    """The error for dimension `k`, as a function so that the text, which names all shapes, is written only when needed."""
    rest = [brackets((*s[:axis], *s[axis + 1 :])) for s in (known[0], other)]
    return (
        f"Dimension {k - (k > axis)} in both shapes must be equal, but are {first} and {other[k]}. "
        f"Shapes are {rest[0]} and {rest[1]}. for 'concat' with input shapes: {', '.join(map(brackets, known))}."
    )


def _concat_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis = ctx.attrs.axis % ctx.outputs[0].rank
    found = []
    start: Dim = 0
    for k, t in enumerate(ctx.inputs):
        assert t.shape is not None
        end = start + t.shape[axis]
        at = tuple(ix.sub(i, start) if a == axis else i for a, i in enumerate(index))
        # One operand alone covers all positions, so no position needs a test.
        found.append(Piece(k, at, ((axis, start, end),) if len(ctx.inputs) > 1 else ()))
        start = end
    return found


def _concat_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    found: list[Dim] = []
    for v in values:
        if not isinstance(v, tuple):
            return None
        found += v
    return tuple(found)


CONCAT = register(
    OpDef(
        "ConcatV2",
        IndexMap(_concat_pieces),
        _concat_infer,
        lambda attrs, *values: np.concatenate(values, attrs.axis),
        lambda: [
            Sample(normal_arrays((3,), (2,)), JoinAttrs(0)),
            Sample(normal_arrays((2, 3), (2, 1), (2, 4)), JoinAttrs(1)),
            Sample(normal_arrays((2, 3), (0, 3)), JoinAttrs(0)),
            Sample(normal_arrays((2, 1, 9), (2, 1, 11)), JoinAttrs(-1)),
        ],
        attrs=JoinAttrs,
        shape_value=_concat_value,
        dtypes=ALL,
        onnx="Concat",
        doc="Tensors one after the other along an axis.",
    )
)


def concat(values: Any, axis: Any, name: str | None = "concat") -> Tensor:
    """`values` one after the other along `axis`. One tensor alone is returned as an identity.

    Raises:
        ShapeError: ranks differ, or a dimension other than `axis` does.
        DTypeError: dtypes differ.
    """
    items = list(values) if isinstance(values, (list, tuple)) else [values]
    if not items:
        raise ArgumentError("concat needs at least one tensor: Expected a list of tensors for 'values', got []")
    with name_scope(name, "concat", [v for v in items if isinstance(v, Tensor)]) as scope:
        return _concat(same_dtype_tensors(items), axis, scope)


def _concat_types(a: Arguments) -> list[TensorType]:
    rank = next((len(t._shape) for t in a["tensors"] if t._shape is not None), None)
    return [TensorType(a["tensors"][0].base_dtype, None if rank is None else open_shape(rank))]


@deferrable(_concat_types, "axis")
def _concat(tensors: list[Tensor], axis: Any, name: str | None = None) -> Tensor:
    if is_tensor_like(axis) or isinstance(axis, (list, tuple, np.ndarray)):
        # What is wrong whatever the axis will be is said now.
        axis = convert_to_tensor(axis, int32 if len(tensors) == 1 else None, name="concat_dim")
        if axis._shape:
            raise ShapeError(f"concat: axis must be a scalar: Shape must be rank 0 but is rank {len(axis._shape)}")
        known = [t._shape for t in tensors if t._shape is not None]
        if known and len(tensors) > 1:
            _common_rank(known)
    where = static_int(axis, "concat: axis")
    # As in TensorFlow: the result is a new tensor in any case, named as asked.
    if len(tensors) == 1:
        return identity(tensors[0], name=name)
    return build(CONCAT, tensors, JoinAttrs(where), name)


def same_dtype_tensors(items: Sequence[Any]) -> list[Tensor]:
    """The items as tensors; numbers and arrays take the dtype of the first tensor among them."""
    tensors = [convert_to_tensor(v) if is_tensor_like(v) else None for v in items]
    dtype = next((t.base_dtype for t in tensors if t is not None), None)
    return [
        convert_to_tensor(v, dtype, name=f"values_{k}") if t is None else t
        for k, (v, t) in enumerate(zip(items, tensors, strict=True))
    ]


# ---------------------------------------------------------------------------------------------- stack


def _pack_infer(ctx: InferContext, attrs: JoinAttrs, *values: TensorType) -> tuple[TensorType, ...]:
    _same_dtypes(ctx.op_name, values)
    known = [v.shape for v in values if v.shape is not None]
    if not known:
        return (TensorType(values[0].dtype, None),)
    out = known[0]
    for s in known[1:]:
        shapes = f"Shapes are {brackets(known[0])} and {brackets(s)}."
        if len(out) != len(s):
            raise ShapeError(f"Shapes must be equal rank, but are {len(out)} and {len(s)}. {shapes} for 'stack'")
        out = tuple(
            ctx.unify(a, b, f"Dimension {k} in both shapes must be equal, but are {a} and {b}. {shapes} for 'stack'")
            for k, (a, b) in enumerate(zip(out, s, strict=True))
        )
    # Counted in the result, which has one axis more.
    axis = normal_axis("stack", attrs.axis, len(out) + 1)
    return (TensorType(values[0].dtype, (*out[:axis], len(values), *out[axis:])),)


def _pack_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis = ctx.attrs.axis % len(index)
    rest = (*index[:axis], *index[axis + 1 :])
    count = len(ctx.inputs)
    return [Piece(0, rest)] if count == 1 else [Piece(k, rest, ((axis, k, k + 1),)) for k in range(count)]


def _pack_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    found = tuple(v for v in values if v is not None and not isinstance(v, tuple))
    # Scalars only: a stack of vectors is a matrix, which is no shape.
    return found if attrs.axis in (0, -1) and len(found) == len(values) else None


PACK = register(
    OpDef(
        "Pack",
        IndexMap(_pack_pieces),
        _pack_infer,
        lambda attrs, *values: np.stack(values, attrs.axis),
        lambda: [
            Sample(normal_arrays((), ()), JoinAttrs(0)),
            Sample(normal_arrays((3,), (3,)), JoinAttrs(1)),
            Sample(normal_arrays((2, 3), (2, 3), (2, 3)), JoinAttrs(-1)),
            Sample(normal_arrays((0,), (0,)), JoinAttrs(0)),
            Sample(normal_arrays((2,)), JoinAttrs(0)),
        ],
        attrs=JoinAttrs,
        shape_value=_pack_value,
        dtypes=ALL,
        doc="Tensors of one shape along a new axis.",
    )
)


def stack(values: Any, axis: Any = 0, name: str | None = "stack") -> Tensor:
    """Tensors of one shape along a new axis."""
    where = static_int(axis, "stack: axis")
    if isinstance(values, Tensor):
        values = unstack(values)
    items = list(values)
    if not items:
        raise ArgumentError("stack needs at least one tensor: Expected a list of tensors for 'values', got []")
    with name_scope(name, "stack", [v for v in items if isinstance(v, Tensor)]) as scope:
        return build(PACK, same_dtype_tensors(items), JoinAttrs(where), scope)


parallel_stack = stack
