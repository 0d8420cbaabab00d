"""Parts of a tensor: slice, strided_slice and Python's indexing."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from graphflow.core.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.core.kinds import Composite, IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.core.registry import InferContext, OpDef, Sample, register
from graphflow.core.tensor import Operation, Tensor
from graphflow.dtypes import ALL, int32
from graphflow.errors import ArgumentError, ShapeError
from graphflow.ops.array import shape, shape_operand
from graphflow.shapes import Dim, Shape, SymDim, format_shape, fresh_dim, maximum, minimum


@dataclass(frozen=True, slots=True)
class StridedSliceAttrs:
    """Bit k of a mask speaks of entry k of begin, end and strides, as in TensorFlow."""

    begin_mask: int = 0
    end_mask: int = 0
    ellipsis_mask: int = 0
    new_axis_mask: int = 0
    shrink_axis_mask: int = 0


@dataclass(frozen=True, slots=True)
class AxisSlice:
    """What is taken from one input axis: `size` elements from `start` in steps of `stride`; None: not known yet."""

    start: Dim | None
    stride: int
    size: Dim
    shrink: bool = False


def plan_slices(
    dims: Shape,
    attrs: StridedSliceAttrs,
    begin: Sequence[Dim | None],
    end: Sequence[Dim | None],
    strides: Sequence[Dim | None],
) -> list[AxisSlice | None]:
    """One entry per item: an AxisSlice for each input axis in order, None for each new axis."""
    count = len(begin)
    used = sum(1 for k in builtins.range(count) if not (attrs.ellipsis_mask | attrs.new_axis_mask) >> k & 1)
    if used > len(dims):
        raise ShapeError(f"Index out of range using input dim {len(dims)}; input has only {len(dims)} dims for strided_slice")
    result: list[AxisSlice | None] = []
    axis = 0
    for k in builtins.range(count):
        if attrs.ellipsis_mask >> k & 1:
            rest = sum(1 for j in builtins.range(k + 1, count) if not attrs.new_axis_mask >> j & 1)
            while axis < len(dims) - rest:
                result.append(AxisSlice(0, 1, dims[axis]))
                axis += 1
            continue
        if attrs.new_axis_mask >> k & 1:
            result.append(None)
            continue
        d = dims[axis]
        axis += 1
        stride = strides[k]
        if not isinstance(stride, int):
            raise ArgumentError("strided_slice: strides must be known while the graph is built")
        if stride == 0:
            raise ArgumentError(f"slice step cannot be zero: strides[{k}] must be non-zero")
        if attrs.shrink_axis_mask >> k & 1:
            b = begin[k]
            if isinstance(b, int):
                if isinstance(d, int) and not -d <= b < d:
                    raise ShapeError(f"slice index {b} of dimension {axis - 1} out of bounds.")
                b = b + d if b < 0 else b
            result.append(AxisSlice(b, 1, 1, shrink=True))
            continue
        result.append(_one_axis(d, None if attrs.begin_mask >> k & 1 else begin[k], None if attrs.end_mask >> k & 1 else end[k],
                                stride, bool(attrs.begin_mask >> k & 1), bool(attrs.end_mask >> k & 1)))  # fmt: skip
    while axis < len(dims):
        result.append(AxisSlice(0, 1, dims[axis]))
        axis += 1
    return result


def _one_axis(d: Dim, b: Dim | None, e: Dim | None, stride: int, open_begin: bool, open_end: bool) -> AxisSlice:
    if (b is None and not open_begin) or (e is None and not open_end):
        return AxisSlice(None, stride, fresh_dim())

    def place(v: Dim, low: int) -> Dim:
        """A bound counted from the front and clamped to [low, d + low]."""
        at = v + d if isinstance(v, int) and v < 0 else v
        if isinstance(at, int) and isinstance(d, int):
            return max(low, min(at, d + low))
        if at == d or (isinstance(at, int) and at == 0):
            return at
        return maximum(minimum(at, d + low if low else d), 0)

    if stride > 0:
        start = 0 if open_begin or b is None else place(b, 0)
        stop = d if open_end or e is None else place(e, 0)
        return AxisSlice(start, stride, maximum((stop - start + (stride - 1)) // stride, 0))
    start = d - 1 if open_begin or b is None else place(b, -1)
    stop = -1 if open_end or e is None else place(e, -1)
    return AxisSlice(start, stride, maximum((start - stop + (-stride - 1)) // -stride, 0))


def _vectors(values: Sequence[ShapeValue | None], types: Sequence[TensorType]) -> list[list[Dim | None]]:
    """begin, end and strides, entry by entry; unknown operands give unknown entries."""
    count = next(
        (len(v) for v in values[1:4] if isinstance(v, tuple)),
        next((s[0] for t in types[1:4] if (s := t.shape) and isinstance(s[0], int)), 0),
    )
    return [list(v) if isinstance(v, tuple) else [None] * count for v in values[1:4]]


def _infer(
    ctx: InferContext, attrs: StridedSliceAttrs, x: TensorType, b: TensorType, e: TensorType, s: TensorType
) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (TensorType(x.dtype, None),)
    begin, end, strides = _vectors([None, *(ctx.vector(k) for k in (1, 2, 3))], (x, b, e, s))
    plan = plan_slices(x.shape, attrs, begin, end, strides)
    return (TensorType(x.dtype, tuple(1 if p is None else p.size for p in plan if p is None or not p.shrink)),)


def _pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    begin, end, strides = _vectors(ctx.values, ctx.inputs)
    plan = plan_slices(ctx.inputs[0].shape or (), ctx.attrs, begin, end, strides)
    at = []
    position = 0
    for p in plan:
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


def _index(attrs: StridedSliceAttrs, begin: Any, end: Any, strides: Any) -> tuple[Any, ...]:
    """The numpy index that means the same."""
    items: list[Any] = []
    for k in builtins.range(len(begin)):
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


def _reference(attrs: StridedSliceAttrs, x: Any, begin: Any, end: Any, strides: Any) -> Any:
    return np.array(x[_index(attrs, begin, end, strides)])


def _value(attrs: StridedSliceAttrs, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    x, begin, end, strides = values
    if not isinstance(x, tuple) or not all(isinstance(v, tuple) and len(v) == 1 for v in (begin, end, strides)):
        return None
    numbers = [v[0] for v in (begin, end, strides)]  # type: ignore[index]
    if not all(isinstance(n, int) for n in numbers) or attrs.new_axis_mask:
        return None
    try:
        found: ShapeValue = x[_index(attrs, *[[n] for n in numbers])[0]]
    except IndexError:
        return None
    return found


def _grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, begin, end, strides = op.inputs
    return [build(STRIDED_SLICE_GRAD, (shape(x), begin, end, strides, grad), op.attrs), None, None, None]


def _samples() -> list[Sample]:
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
    ]


STRIDED_SLICE = register(
    OpDef(
        "StridedSlice",
        IndexMap(_pieces),
        _infer,
        _grad,
        _reference,
        _samples,
        attrs=StridedSliceAttrs,
        shape_operands=(1, 2, 3),
        shape_value=_value,
        dtypes=ALL,
        onnx="Slice",
        doc="Python's indexing with integers, slices, an ellipsis and new axes.",
    )
)


def _grad_infer(
    ctx: InferContext,
    attrs: StridedSliceAttrs,
    s: TensorType,
    b: TensorType,
    e: TensorType,
    t: TensorType,
    dy: TensorType,
) -> tuple[TensorType, ...]:
    return (TensorType(dy.dtype, ctx.vector(0)),)


def _grad_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    dims: Shape = ctx.outputs[0].shape or ()
    begin, end, strides = _vectors(ctx.values, ctx.inputs)
    plan = plan_slices(dims, ctx.attrs, begin, end, strides)
    at: list[Any] = []
    bounds: list[tuple[int, Dim, Dim]] = []
    axis = 0
    for p in plan:
        if p is None:
            at.append(ix.mul(0, 0))
            continue
        if p.start is None:
            raise ArgumentError("strided_slice: begin and end must be known while the graph is compiled")
        i = index[axis]
        last = p.start + (p.size - 1) * p.stride
        low, high = (p.start, last + 1) if p.stride > 0 else (last, p.start + 1)
        bounds.append((axis, low, high))
        if not p.shrink:
            at.append(ix.floordiv(ix.sub(i, p.start) if p.stride > 0 else ix.sub(p.start, i), abs(p.stride)))
        axis += 1
    return [Piece(4, tuple(at), tuple(bounds))]


def _scatter(attrs: StridedSliceAttrs, s: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
    result = np.zeros(tuple(int(d) for d in s), np.asarray(dy).dtype)
    result[_index(attrs, begin, end, strides)] = dy
    return result


def _expand_grad(p: Any, s: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
    """Steps other than 1 leave gaps, which a mask puts zeros into."""
    dims = p.outputs[0].shape
    b, e, t = _vectors(p.values, p.inputs)
    spread = p.same("SliceScatter", dy)
    plan = [q for q in plan_slices(dims, p.attrs, b, e, t) if q is not None]
    for axis, q in enumerate(plan):
        if abs(q.stride) > 1:
            if not isinstance(dims[axis], int) or not isinstance(q.start, int) or not isinstance(q.size, int):
                raise ArgumentError("the gradient of a slice with steps needs a size known while the graph is built")
            hit = np.zeros(dims[axis], bool)
            hit[[q.start + k * q.stride for k in builtins.range(q.size)]] = True
            mask = p.const(hit.reshape([-1 if k == axis else 1 for k in builtins.range(len(dims))]), _bool())
            spread = p.op("SelectV2", mask, spread, p.const(0, p.outputs[0].dtype))
    return spread


def _bool() -> Any:
    from graphflow.dtypes import bool_

    return bool_


def _grad_samples() -> list[Sample]:
    found = []
    for s in _samples():
        x, b, e, t = s.inputs
        dy = _reference(s.attrs, x, b, e, t)
        found.append(Sample((np.array(x.shape, np.int32), b, e, t, dy), s.attrs))
    return found


def _grad_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    _, begin, end, strides, _dy = op.inputs
    return [None, None, None, None, build(STRIDED_SLICE, (grad, begin, end, strides), op.attrs)]


def _slice_scatter(name: str, kind: Any, doc: str) -> OpDef:
    return OpDef(
        name,
        kind,
        _grad_infer,
        _grad_grad,
        _scatter,
        _grad_samples,
        attrs=StridedSliceAttrs,
        shape_operands=(0, 1, 2, 3),
        dtypes=tuple(d for d in ALL if d.kind in "fiu"),
        doc=doc,
    )


STRIDED_SLICE_GRAD = register(
    _slice_scatter(
        "StridedSliceGrad", Composite(_expand_grad), "Zeros with a tensor put where a strided slice would take it from."
    )
)
SLICE_SCATTER = register(
    replace(
        _slice_scatter(
            "SliceScatter",
            IndexMap(_grad_pieces, lambda ctx: 0),
            "As StridedSliceGrad, with what lies between steps undefined.",
        ),
        samples=lambda: [s for s in _grad_samples() if all(abs(int(t)) == 1 for t in s.inputs[3])],
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
        steps = shape_operand(np.ones(int(first.shape[0]), np.int32) if strides is None else strides, "strides")
        attrs = StridedSliceAttrs(begin_mask, end_mask, ellipsis_mask, new_axis_mask, shrink_axis_mask)
        return build(STRIDED_SLICE, (x, first, shape_operand(end, "end"), steps), attrs, scope)


def slice_(input_: Any, begin: Any, size: Any, name: str | None = None) -> Tensor:
    """``size[k]`` elements from ``begin[k]`` of each axis; a size of -1 takes the rest."""
    x = convert_to_tensor(input_)
    with name_scope(name, "Slice", [x]) as scope:
        sizes = size.static_value() if isinstance(size, Tensor) else list(size)
        starts = begin.static_value() if isinstance(begin, Tensor) else list(begin)
        if isinstance(sizes, (list, tuple)) and isinstance(starts, (list, tuple)):
            mask = sum(1 << k for k, s in enumerate(sizes) if isinstance(s, (int, np.integer)) and s == -1)
            ends: Any = [0 if mask >> k & 1 else b + s for k, (b, s) in enumerate(zip(starts, sizes, strict=True))]
            _check_bounds(x, starts, ends, mask)
            if any(isinstance(v, SymDim) for v in (*starts, *ends)):
                starts, ends = begin, begin + size
        else:
            mask, starts, ends = 0, begin, convert_to_tensor(begin) + convert_to_tensor(size)
        return strided_slice(x, starts, ends, end_mask=mask, name=scope)


def _check_bounds(x: Tensor, starts: Sequence[Any], ends: Sequence[Any], mask: int) -> None:
    if x._shape is None:
        return
    if len(starts) != len(x._shape):
        raise ShapeError(f"slice: begin has {len(starts)} entries for a tensor of shape {format_shape(x._shape)}")
    for k, (b, e, d) in enumerate(zip(starts, ends, x._shape, strict=True)):
        if all(isinstance(v, (int, np.integer)) for v in (b, e, d)) and not (0 <= b <= d and (mask >> k & 1 or b <= e <= d)):
            raise ShapeError(f"slice: Expected begin[{k}] and size[{k}] in [0, {d}], but got {b} and {e - b}")


def slice_axis(x: Tensor, axis: int, start: int, stop: int | None) -> Tensor:
    """Elements start to stop of one axis, all of the others."""
    count = axis + 1
    whole = (1 << axis) - 1
    end_mask = whole | (1 << axis if stop is None else 0)
    begin, end = [0] * axis + [start], [0] * axis + [stop or 0]
    return strided_slice(x, begin, end, [1] * count, begin_mask=whole, end_mask=end_mask)


newaxis = None


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]`` for integers, slices, Ellipsis, tf.newaxis and scalar integer tensors.

    Raises:
        TypeError: anything else; there is no indexing by arrays (use tf.gather or tf.boolean_mask).
    """
    if isinstance(key, (list, np.ndarray)) and isinstance(key, list):
        key = tuple(key)
    items = list(key) if isinstance(key, tuple) else [key]
    with name_scope("strided_slice", values=[x]) as scope:
        runtime = [k for k, item in enumerate(items) if is_tensor_like(item) and not _known(item)]
        if runtime:
            return _runtime_index(x, items, scope)
        begin: list[Any] = []
        end: list[Any] = []
        strides: list[Any] = []
        masks = {"begin": 0, "end": 0, "ellipsis": 0, "new_axis": 0, "shrink_axis": 0}
        for k, item in enumerate(items):
            bit = 1 << k
            b: Any = 0
            e: Any = 0
            s: Any = 1
            if isinstance(item, slice):
                b, e, s = item.start, item.stop, 1 if item.step is None else item.step
                masks["begin"] |= bit if b is None else 0
                masks["end"] |= bit if e is None else 0
                b, e = 0 if b is None else b, 0 if e is None else e
            elif item is Ellipsis:
                if masks["ellipsis"]:
                    raise ArgumentError("Multiple ellipses in slice spec not allowed")
                masks["ellipsis"] |= bit
            elif item is None:
                masks["new_axis"] |= bit
            else:
                _check_index(item)
                b, e = item, _after(item)
                masks["shrink_axis"] |= bit
            begin.append(b)
            end.append(e)
            strides.append(s)
        names = {f"{k}_mask": v for k, v in masks.items()}
        vectors = [_vector(v, n) for v, n in ((begin, "begin"), (end, "end"), (strides, "strides"))]
        return build(STRIDED_SLICE, (x, *vectors), StridedSliceAttrs(**names), scope)


def _known(item: Any) -> bool:
    return convert_to_tensor(item).static_value() is not None


def _after(item: Any) -> Any:
    return item + 1


def _vector(items: list[Any], name: str) -> Tensor:
    if any(is_tensor_like(i) for i in items):
        from graphflow.ops.cast import cast
        from graphflow.ops.joining import stack

        return stack([cast(i, int32) if is_tensor_like(i) else int(i) for i in items], name=name)
    return convert_to_tensor(np.array([int(i) for i in items], np.int32), name=name)


def _check_index(item: Any) -> None:
    if is_tensor_like(item):
        t = convert_to_tensor(item)
        if t.base_dtype.is_integer and t._shape in ((), None):
            return
    elif (isinstance(item, (int, np.integer)) and not isinstance(item, bool)) or type(item).__name__ == "Dimension":
        return
    raise TypeError(
        "Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar tf.int32/tf.int64 tensors are valid "
        f"indices, got {item!r}"
    )


def _runtime_index(x: Tensor, items: list[Any], scope: str) -> Tensor:
    """An index whose value only a run knows: the axis is gathered, the other items follow as usual."""
    from graphflow.ops.array import identity
    from graphflow.ops.gather import gather

    if any(item is Ellipsis for item in items[: _last_runtime(items) + 1]):
        raise ArgumentError("an index known only at run time cannot stand behind an ellipsis: move it before")
    axis = 0
    rest: list[Any] = []
    for item in items:
        if is_tensor_like(item) and not _known(item):
            _check_index(item)
            x = gather(x, item, axis=axis)
            continue
        rest.append(item)
        if item is None or isinstance(item, slice):
            if isinstance(item, slice) and any(is_tensor_like(p) for p in (item.start, item.stop)):
                x = strided_slice(x, *_bounds(item, axis))
                rest[-1] = slice(None)
            axis += 0 if item is None else 1
        elif item is not Ellipsis:
            axis += 1
    if all(r == slice(None) for r in rest):
        return identity(x, name=scope)
    return getitem(x, tuple(rest))


def _last_runtime(items: list[Any]) -> int:
    return max(k for k, item in enumerate(items) if is_tensor_like(item) and not _known(item))


def _bounds(item: slice, axis: int) -> tuple[Any, Any, Any, int, int]:
    whole = (1 << axis) - 1
    begin = _vector([0] * axis + [0 if item.start is None else item.start], "begin")
    end = _vector([0] * axis + [0 if item.stop is None else item.stop], "end")
    bit = 1 << axis
    return (
        begin,
        end,
        [1] * axis + [item.step or 1],
        whole | (bit if item.start is None else 0),
        whole | (bit if item.stop is None else 0),
    )
