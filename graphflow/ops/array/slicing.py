"""`tf.slice`: a box of a tensor, also at a place that only a run knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import ALL
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, format_shape, fresh_dim, maximum, minimum
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import shape_operand, static_int
from graphflow.ops.array.gather import gather_dense
from graphflow.ops.array.identity import identity
from graphflow.ops.array.range import range as range_
from graphflow.ops.array.shape import shape_tensor


def _slice_infer(ctx: InferContext, attrs: Any, x: TensorType, begin: TensorType, size: TensorType) -> tuple[TensorType, ...]:
    starts, sizes = ctx.entries(1), ctx.entries(2)
    counts = [len(v) for v in (starts, sizes) if v is not None]
    counts += [t.shape[0] for t in (begin, size) if t.shape and isinstance(t.shape[0], int)]
    if x.shape is None and not counts:
        return (TensorType(x.dtype, None),)
    rank = counts[0] if x.shape is None else len(x.shape)
    for what, given in (("begin", starts), ("size", sizes)):
        if given is not None and len(given) != rank:
            raise ShapeError(
                f"slice: Expected {what} to be a vector of length {rank} for shape {format_shape(x.shape)}, got {len(given)}"
            )
    dims: Sequence[Dim | None] = (None,) * rank if x.shape is None else x.shape
    starts, sizes = starts or (None,) * rank, sizes or (None,) * rank
    out: list[Dim] = []
    for k, (d, b, s) in enumerate(zip(dims, starts, sizes, strict=True)):
        if s is None or d is None or b is None:
            out.append(fresh_dim() if s is None or s == -1 else s)
            continue
        # A size of -1 takes the rest of the axis.
        taken = d - b if s == -1 else s
        outside = f"slice: Expected begin[{k}] and size[{k}] in [0, {d}], but got {b} and {taken}"
        # 0 <= begin, 0 <= size and begin + size <= d, as equations of sizes.
        for value, inside in ((b, maximum(b, 0)), (taken, maximum(taken, 0)), (b + taken, minimum(b + taken, d))):
            ctx.unify(value, inside, outside)
        out.append(taken)
    return (TensorType(x.dtype, tuple(out)),)


def _slice_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    starts = ctx.values[1]
    if not isinstance(starts, tuple):
        raise ArgumentError("slice: begin must be known while the graph is compiled")
    return [Piece(0, tuple(ix.add(i, b) for i, b in zip(index, starts, strict=True)))]


def _slice_reference(attrs: Any, x: Any, begin: Any, size: Any) -> Any:
    taken = [int(d) - int(b) if s == -1 else int(s) for d, b, s in zip(x.shape, begin, size, strict=True)]
    for k, (d, b, s) in enumerate(zip(x.shape, begin, taken, strict=True)):
        if not (0 <= b <= d and 0 <= s <= d - b):
            raise ValueError(f"slice: Expected begin[{k}] and size[{k}] in [0, {d}], but got {b} and {s}")
    return np.array(x[tuple(slice(int(b), int(b) + s) for b, s in zip(begin, taken, strict=True))])


def _slice_samples() -> list[Sample]:
    rng = np.random.default_rng(14)
    cases: list[tuple[tuple[int, ...], list[int], list[int]]] = [
        ((), [], []), ((5,), [1], [3]), ((4, 3), [1, 0], [-1, 2]), ((2, 3), [2, 0], [0, 3]), ((0, 2), [0, 1], [-1, 1]),
    ]  # fmt: skip
    return [Sample((rng.normal(size=s).astype(np.float32), np.array(b, np.int32), np.array(n, np.int32))) for s, b, n in cases]


SLICE = register(
    OpDef(
        "Slice",
        IndexMap(_slice_pieces),
        _slice_infer,
        _slice_reference,
        _slice_samples,
        shape_operands=(1, 2),
        shape_value=lambda attrs, types, values: _slice_value(values),
        dtypes=ALL,
        onnx="Slice",
        doc="A box: so many elements from so far along each axis.",
    )
)


def _slice_value(values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    x, begin, size = (v if isinstance(v, tuple) else None for v in values)
    if x is None or begin is None or size is None or len(begin) != 1 or len(size) != 1:
        return None
    b, s = begin[0], size[0]
    if not isinstance(b, int) or not isinstance(s, int):
        return None
    return x[b:] if s == -1 else x[b : b + s]


def slice_(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """``size[k]`` elements from ``begin[k]`` of each axis; a size of -1 takes the rest.

    Raises:
        ShapeError: the box is not inside the tensor.
    """
    x = convert_to_tensor(input_)
    with name_scope(name, "Slice", [x]) as scope:
        starts, sizes = shape_operand(begin, "begin"), shape_operand(size, "size")
        window = _moving_window(x, begin, starts, sizes, scope) if starts.static_value() is None else None
        return build(SLICE, (x, starts, sizes), NO_ATTRS, scope) if window is None else window


def _moving_window(x: Tensor, begin: Any, starts: Tensor, sizes: Tensor, scope: str) -> Tensor | None:
    """A box of known size at a place that only a run knows, by gathers: so its shape is static. None where that fails."""
    known = sizes.static_value()
    if not isinstance(known, tuple) or x._shape is None:
        return None
    for axis, s in enumerate(known):
        b = begin[axis] if isinstance(begin, (list, tuple)) else starts[axis]
        fixed = not is_tensor_like(b)
        if s == -1 and not fixed:
            return None
        if fixed and static_int(b, "begin") == 0 and (s == -1 or s == x._shape[axis]):
            continue
        at = range_(shape_tensor(x)[axis] - b if s == -1 else sizes[axis], dtype=starts.base_dtype) + b
        x = gather_dense(x, at, axis)
    return identity(x, name=scope)
