"""`strided_slice`: parts of a tensor. Python's indexing, which is made of it, is in `indexing`."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import ALL
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, Shape, fresh_dim, maximum, minimum, never_negative
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import shape_operand, static_ints
from graphflow.ops._define.deferred_types import any_shape

newaxis = None


@record(frozen=True, slots=True)
class StridedSliceAttrs:
    """Bit k of a mask speaks of entry k of begin, end and strides, as in TensorFlow."""

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0


@record(frozen=True, slots=True)
class AxisSlice:
    """What is taken from one input axis: `size` elements from `start` in steps of `stride`; start None: not known yet."""

    start: Dim | None
    stride: int
    size: Dim
    shrink: bool = False


def resolved_slices(dims: Shape, attrs: StridedSliceAttrs, bounds: Sequence[Sequence[Dim | None]]) -> list[AxisSlice | None]:
    """One entry per item: an AxisSlice for each input axis in order, None for each new axis.

    `bounds` are begin, end and strides, entry by entry; None stands for a value that only a run knows.
    """
    begin, end, strides = bounds
    count = len(begin)
    # New axes and the ellipsis take no particular axis of the input.
    used = sum(1 for k in builtins.range(count) if not (attrs.ellipsis_mask | attrs.new_axis_mask) >> k & 1)
    if used > len(dims):
        raise ShapeError(f"Index out of range using input dim {len(dims)}; input has only {len(dims)} dims for strided_slice")
    result: list[AxisSlice | None] = []
    axis = 0
    for k in builtins.range(count):
        if attrs.ellipsis_mask >> k & 1:
            # The ellipsis takes every axis that the entries behind it leave over.
            rest = sum(1 for j in builtins.range(k + 1, count) if not attrs.new_axis_mask >> j & 1)
            while axis < len(dims) - rest:
                result.append(AxisSlice(0, 1, dims[axis]))
                axis += 1
            continue
        if attrs.new_axis_mask >> k & 1:
            result.append(None)
            continue
        d, stride = dims[axis], strides[k]
        axis += 1
        if not isinstance(stride, int):
            raise ArgumentError("strided_slice: strides must be known while the graph is built")
        if stride == 0:
            raise ArgumentError(f"slice step cannot be zero: strides[{k}] must be non-zero")
        if attrs.shrink_axis_mask >> k & 1:
            b = begin[k]
            if isinstance(b, int) and isinstance(d, int) and not -d <= b < d:
                raise ShapeError(f"slice index {b} of dimension {axis - 1} out of bounds.")
            # One element, whatever `end` and `strides` say, and the axis goes.
            result.append(AxisSlice(None if b is None else from_front(b, d), 1, 1, shrink=True))
            continue
        open_begin, open_end = bool(attrs.begin_mask >> k & 1), bool(attrs.end_mask >> k & 1)
        result.append(_one_axis(d, begin[k], end[k], stride, open_begin, open_end))
    # Axes behind the last entry are taken whole, as in Python.
    result += [AxisSlice(0, 1, d) for d in dims[axis:]]
    return result


def from_front(v: Dim, d: Dim) -> Dim:
    """A bound counted from the front of an axis of size d: ``v + d`` where v is negative, else v."""
    if isinstance(v, int):
        return v + d if v < 0 else v
    # d - 1 is negative only where d is 0, and then nothing is taken either way.
    if never_negative(v) or v == d - 1:
        return v
    return v + d * minimum(maximum(v * -1, 0), 1)


def _one_axis(d: Dim, b: Dim | None, e: Dim | None, stride: int, open_begin: bool, open_end: bool) -> AxisSlice:
    if (b is None and not open_begin) or (e is None and not open_end):
        return AxisSlice(None, stride, fresh_dim())
    # Bounds are clamped to the axis, as Python's are: out of range means an empty or a whole slice, never an error.
    if stride > 0:
        start = 0 if open_begin or b is None else maximum(from_front(b, d), 0)
        stop = d if open_end or e is None else minimum(from_front(e, d), d)
        span = stop - start
        if stop == d and isinstance(b, int) and b < 0 and not open_begin:
            span = minimum(-b, d)  # x[-b:]: the same size, without one clamp inside another
    else:
        start = d - 1 if open_begin or b is None else minimum(from_front(b, d), d - 1)
        # -1 is one before the first element here, not the last one.
        stop = -1 if open_end or e is None else maximum(from_front(e, d), -1)
        span = start - stop
    return AxisSlice(start, stride, maximum((span + (abs(stride) - 1)) // abs(stride), 0))


def bounds_of(values: Sequence[Dim | tuple[Dim | None, ...] | None], types: Sequence[TensorType]) -> list[list[Dim | None]]:
    """begin, end and strides (inputs 1 to 3), entry by entry; unknown operands give unknown entries."""
    count = next(
        (len(v) for v in values[1:4] if isinstance(v, tuple)),
        next((s[0] for t in types[1:4] if (s := t.shape) and isinstance(s[0], int)), 0),
    )
    return [list(v) if isinstance(v, tuple) else [None] * count for v in values[1:4]]


def _strided_infer(
    ctx: InferContext, attrs: StridedSliceAttrs, x: TensorType, b: TensorType, e: TensorType, s: TensorType
) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (TensorType(x.dtype, None),)
    slices = resolved_slices(x.shape, attrs, bounds_of([None, *(ctx.entries(k) for k in (1, 2, 3))], (x, b, e, s)))
    axis = 0
    for p in slices:
        if p is None:
            continue
        if p.shrink and p.start is not None:
            message = partial("slice index {} of dimension {} out of bounds.".format, p.start, axis)
            ctx.at_least(p.start, 0, message)
            ctx.at_least(x.shape[axis], p.start + 1, message)
        axis += 1
    return (TensorType(x.dtype, tuple(1 if p is None else p.size for p in slices if p is None or not p.shrink)),)


def _strided_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    at = []
    position = 0
    for p in resolved_slices(ctx.inputs[0].shape or (), ctx.attrs, bounds_of(ctx.values, ctx.inputs)):
        if p is None:
            position += 1
            continue
        if p.start is None:
            raise ArgumentError("strided_slice: begin and end must be known while the graph is compiled")
        if p.shrink:
            at.append(ix.add(p.start, 0))
            continue
        at.append(ix.add(ix.mul(index[position], p.stride), p.start))
        position += 1
    return [Piece(0, tuple(at))]


def numpy_index(attrs: StridedSliceAttrs, begin: Any, end: Any, strides: Any) -> tuple[Any, ...]:
    """The numpy index that means the same."""
    items: list[Any] = []
    for k in builtins.range(len(begin)):
        # The masks in the order in which TensorFlow lets them win: ellipsis, new axis, shrink.
        if attrs.ellipsis_mask >> k & 1:
            items.append(Ellipsis)
        elif attrs.new_axis_mask >> k & 1:
            items.append(None)
        elif attrs.shrink_axis_mask >> k & 1:
            items.append(int(begin[k]))
        else:
            b = None if attrs.begin_mask >> k & 1 else int(begin[k])
            e = None if attrs.end_mask >> k & 1 else int(end[k])
            items.append(slice(b, e, int(strides[k])))
    return tuple(items)


def _strided_reference(attrs: StridedSliceAttrs, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    try:
        return np.array(x[numpy_index(attrs, begin, end, strides)])
    except IndexError as e:
        raise ValueError(f"slice index out of bounds: {e}") from None


def _strided_value(attrs: StridedSliceAttrs, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    x, *bounds = values
    if not isinstance(x, tuple) or attrs.new_axis_mask:
        return None
    numbers = [v[0] for v in bounds if isinstance(v, tuple) and len(v) == 1]
    if len(numbers) != 3 or not all(isinstance(n, int) for n in numbers):
        return None
    try:
        found: ShapeValue = x[numpy_index(attrs, *([n] for n in numbers))[0]]
    except (IndexError, TypeError):
        return None
    return found


def strided_samples() -> list[Sample]:
    rng = np.random.default_rng(12)

    def case(s: tuple[int, ...], begin: Any, end: Any, strides: Any, **masks: int) -> Sample:
        vectors = tuple(np.array(v, np.int32) for v in (begin, end, strides))
        return Sample((rng.normal(size=s).astype(np.float32), *vectors), StridedSliceAttrs(**masks))

    return [
        case((5,), [1], [4], [1]),
        case((7,), [0], [0], [2], begin_mask=1, end_mask=1),
        case((7,), [0], [0], [-1], begin_mask=1, end_mask=1),
        case((4, 5), [1, 0], [2, 4], [1, 1], shrink_axis_mask=1),
        case((4, 5), [0, -1], [0, 0], [1, 1], ellipsis_mask=1, shrink_axis_mask=2),
        case((3, 4), [0, 0, 1], [0, 0, 3], [1, 1, 1], new_axis_mask=2, begin_mask=1, end_mask=1),
        case((3,), [2], [1], [1]),
        case((9,), [7], [0], [-3]),
        case((6, 4), [-4, -9], [-1, 9], [1, 2]),
        case((0, 2), [0], [3], [1]),
    ]


STRIDED_SLICE = register(
    OpDef(
        "StridedSlice",
        IndexMap(_strided_pieces),
        _strided_infer,
        _strided_reference,
        strided_samples,
        attrs=StridedSliceAttrs,
        shape_operands=(1, 2, 3),
        shape_value=_strided_value,
        dtypes=ALL,
        onnx="Slice",
        doc="Python's indexing with integers, slices, an ellipsis and new axes.",
    )
)


def strided_slice(
    input_: Any,
    begin: Any,
    end: Any,
    strides: Any = None,
    begin_mask: int = 0,
    end_mask: int = 0,
    ellipsis_mask: int = 0,
    new_axis_mask: int = 0,
    shrink_axis_mask: int = 0,
    var: Any = None,
    name: str | None = None,
) -> Tensor:
    """Elements begin, begin + stride, ... before end of each axis; bit k of a mask changes what entry k means."""
    x = convert_to_tensor(input_)
    with name_scope(name, "StridedSlice", [x]) as scope:
        first = shape_operand(begin, "begin")
        if strides is None:
            if first._shape is None or not isinstance(first._shape[0], int):
                raise ArgumentError("strided_slice: strides must be given where the number of entries is not known")
            strides = np.ones(first._shape[0], np.int32)
        attrs = StridedSliceAttrs(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
        return sliced(x, first, shape_operand(end, "end"), shape_operand(strides, "strides"), attrs, scope)


def sliced(x: Tensor, begin: Tensor, end: Tensor, strides: Tensor, attrs: StridedSliceAttrs, name: str | None = None) -> Tensor:
    """`strided_slice` of bounds that are tensors already."""
    masks = attrs.begin_mask, attrs.end_mask, attrs.ellipsis_mask, attrs.new_axis_mask, attrs.shrink_axis_mask
    return _sliced(x, begin, end, strides, masks, name)


@deferrable(any_shape("x"), "strides", op_name="StridedSlice")
def _sliced(x: Tensor, begin: Tensor, end: Tensor, strides: Tensor, masks: Sequence[int], name: str | None = None) -> Tensor:
    static_ints(strides, "strided_slice: the strides")
    return build(STRIDED_SLICE, (x, begin, end, strides), StridedSliceAttrs(*masks), name)


def slice_axis(x: Tensor, axis: int, start: Any, stop: Any) -> Tensor:
    """Elements start to stop (None: the end) of one axis, all of the others. Bounds may be scalar tensors."""
    others = (1 << axis) - 1
    end_mask = others | (1 << axis if stop is None else 0)
    begin, end = [0] * axis + [start], [0] * axis + [0 if stop is None else stop]
    return strided_slice(x, begin, end, [1] * (axis + 1), begin_mask=others, end_mask=end_mask)
