"""The op that is the gradient of a slice: zeros, with a tensor in the places that the slice reads."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build
from graphflow.framework.dtypes import FLOATS, INTEGERS
from graphflow.framework.errors import ArgumentError
from graphflow.framework.kinds import Composite, IndexMap, LowerContext, Piece, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, register, undefined_gradient
from graphflow.framework.shapes import Dim, Shape
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.pad import PadAttrs
from graphflow.ops.array.strided_slice import (
    AxisSlice,
    StridedSliceAttrs,
    bounds_of,
    numpy_index,
    resolved_slices,
    strided_samples,
)


def _infer(
    ctx: InferContext, attrs: StridedSliceAttrs, s: TensorType, b: TensorType, e: TensorType, t: TensorType, dy: TensorType
) -> tuple[TensorType, ...]:
    return (TensorType(dy.dtype, ctx.vector(0)),)


def _slices(ctx: Any) -> list[AxisSlice | None]:
    """What the slice took; `ctx` is a LowerContext or ExpandContext of an op with inputs (shape, begin, end, strides, dy)."""
    return resolved_slices(ctx.outputs[0].shape or (), ctx.attrs, bounds_of(ctx.values, ctx.inputs))


def _put_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    at: list[Any] = []
    bounds: list[tuple[int, Dim, Dim]] = []
    axis = 0
    for p in _slices(ctx):
        if p is None:
            # A new axis of the slice has the size 1: its position is 0.
            at.append(ix.mul(0, 0))
            continue
        if p.start is None:
            raise ArgumentError("strided_slice: begin and end must be known while the graph is compiled")
        last = p.start + (p.size - 1) * p.stride
        bounds.append((axis, p.start, last + 1) if p.stride > 0 else (axis, last, p.start + 1))
        if not p.shrink:
            at.append(ix.sub(index[axis], p.start) if p.stride > 0 else ix.sub(p.start, index[axis]))
        axis += 1
    return [Piece(4, tuple(at), tuple(bounds))]


def _put(attrs: StridedSliceAttrs, s: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
    result = np.zeros(tuple(int(d) for d in s), np.asarray(dy).dtype)
    result[numpy_index(attrs, begin, end, strides)] = dy
    return result


def _expand(p: Any, s: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
    """Expands to a scatter in one piece. Steps other than 1 leave gaps, so zeros are put between the elements first."""
    shape: Shape = p.type(dy).shape
    position = 0
    for taken in _slices(p):
        if taken is not None and taken.shrink:
            continue
        step = 1 if taken is None else abs(taken.stride)
        if step > 1:
            before, n, after = shape[:position], shape[position], shape[position + 1 :]
            paddings = tuple((0, step - 1 if k == position + 1 else 0) for k in range(len(shape) + 1))
            # As a pad of an axis of size 1 behind the sliced one: [n, 1] becomes [n, step], read as [n * step].
            apart = p.op("PadV2", p.reshape(dy, (*before, n, 1, *after)), attrs=PadAttrs(paddings))
            shape = (*before, n * step, *after)
            dy = p.reshape(apart, shape)
        position += 1
    return p.same("SliceScatter", dy)


def _put_apart(attrs: StridedSliceAttrs, s: Any, begin: Any, end: Any, strides: Any, dy: Any) -> Any:
    """As _put, of a tensor whose elements are as far apart as the slice's."""
    taken = np.zeros(tuple(int(d) for d in s))[numpy_index(attrs, begin, end, strides)].shape
    steps = [n // k if k else 1 for n, k in zip(np.shape(dy), taken, strict=True)]
    return _put(attrs, s, begin, end, strides, np.asarray(dy)[tuple(slice(None, None, step) for step in steps)])


def _samples() -> list[Sample]:
    found = []
    for sample in strided_samples():
        x, b, e, t = sample.inputs
        dy = x[numpy_index(sample.attrs, b, e, t)]
        found.append(Sample((np.array(x.shape, np.int32), b, e, t, np.array(dy)), sample.attrs))
    return found


STRIDED_SLICE_GRAD = register(
    OpDef(
        "StridedSliceGrad",
        Composite(_expand),
        _infer,
        _put,
        _samples,
        attrs=StridedSliceAttrs,
        shape_operands=(0, 1, 2, 3),
        dtypes=(*FLOATS, *INTEGERS),
        doc="Zeros with a tensor put where a strided slice would take it from.",
    )
)
SLICE_SCATTER = register(
    OpDef(
        "SliceScatter",
        IndexMap(_put_pieces, lambda ctx: 0),
        _infer,
        _put_apart,
        lambda: [s for s in _samples() if all(abs(int(t)) == 1 for t in s.inputs[3])],
        grad=undefined_gradient("it appears only where StridedSliceGrad, which has a gradient, is expanded"),
        attrs=StridedSliceAttrs,
        shape_operands=(0, 1, 2, 3),
        dtypes=(*FLOATS, *INTEGERS),
        doc="As StridedSliceGrad, of a tensor that has its zeros between the steps already.",
    )
)


def strided_slice_grad(
    shape: Tensor, begin: Tensor, end: Tensor, strides: Tensor, dy: Tensor, attrs: StridedSliceAttrs
) -> Tensor:
    """Zeros of `shape` with `dy` where ``strided_slice(x, begin, end, strides, masks)`` takes it from."""
    return build(STRIDED_SLICE_GRAD, (shape, begin, end, strides, dy), attrs)
