"""`tf.slice`: a box of a tensor, also at a place that only a run knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import ALL, int32, int64
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import Elementwise, IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Dim, format_shape, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import shape_operand, static_int
from graphflow.ops.array.axis import AxisAttrs
from graphflow.ops.array.gather import gather_dense
from graphflow.ops.array.identity import identity
from graphflow.ops.array.range import range as range_
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.math.cast import cast


def _outside(what: str, axis: int, limit: Any, got: Any) -> str:
    return f"slice: Expected {what}[{axis}] in [0, {limit}], but got {got}"


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
        # 0 <= begin <= d, 0 <= size and begin + size <= d.
        begins, takes = _outside("begin", k, d, b), _outside("size", k, d - b, s)
        for value, least, message in ((b, 0, begins), (d, b, begins), (taken, 0, takes), (d, b + taken, takes)):
            ctx.at_least(value, least, message)
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
        if not 0 <= b <= d:
            raise ValueError(_outside("begin", k, d, b))
        if not 0 <= s <= d - b:
            raise ValueError(_outside("size", k, d - b, size[k]))
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


def _begin_reference(attrs: AxisAttrs, begin: Any, size: Any, taken: Any) -> Any:
    if not 0 <= begin <= size:
        raise ValueError(_outside("begin", attrs.axis, size, begin))
    if begin + taken > size:
        raise ValueError(_outside("size", attrs.axis, size - begin, taken))
    return begin


CHECKED_BEGIN = register(
    OpDef(
        "CheckedBegin",
        Elementwise(
            lambda b, attrs, begin, size, taken: begin,
            check=lambda b, attrs, begin, size, taken: b.or_(b.lt(begin, 0), b.gt(begin, b.sub(size, taken))),
            check_message=lambda attrs: f"slice: begin[{attrs.axis}] and size[{attrs.axis}] lead out of the tensor",
        ),
        lambda ctx, attrs, begin, size, taken: (begin,),
        _begin_reference,
        lambda: [Sample(tuple(np.asarray(n, np.int32) for n in (1, 4, 3)), AxisAttrs(0), gradient=False)],
        grad=not_differentiable("integers"),
        attrs=AxisAttrs,
        dtypes=(int32, int64),
        doc="Where a part of an axis begins; the run fails unless the axis has so many elements from there.",
    )
)


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
        count = shape_tensor(x)[axis] - b if s == -1 else sizes[axis]
        if not fixed:
            size = cast(shape_tensor(x)[axis], starts.base_dtype)
            b = build(CHECKED_BEGIN, (b, size, cast(count, starts.base_dtype)), AxisAttrs(axis))
        x = gather_dense(x, range_(count, dtype=starts.base_dtype) + b, axis)
    return identity(x, name=scope)
