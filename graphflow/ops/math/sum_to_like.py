"""`sum_to_like`: the sum over all axes along which an operand was broadcast, which its gradient needs."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build
from graphflow.framework.dtypes import NUMERIC
from graphflow.framework.errors import ShapeError
from graphflow.framework.kinds import Composite, ExpandContext, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Shape, format_shape, fresh_dim, static_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape
from graphflow.ops.math.reduce import SUM, ReduceAttrs, numpy_reduction


def _broadcast_axes(source: Shape, target: Shape) -> tuple[int, ...]:
    """The axes of `source` along which `target` was repeated to give it."""
    extra = len(source) - len(target)
    ones = (extra + i for i, d in enumerate(target) if d == 1 and source[extra + i] != 1)
    return (*range(extra), *ones)


def _sum_to_infer(ctx: InferContext, attrs: Any, grad: TensorType, shape: TensorType) -> tuple[TensorType, ...]:
    target = ctx.vector(1)
    if target is None and shape.shape is not None and isinstance(shape.shape[0], int):
        target = tuple(fresh_dim() for _ in range(shape.shape[0]))
    elif target and grad.shape is not None:
        message = f"Incompatible shapes: {format_shape(grad.shape)} is no broadcast of {format_shape(target)}"
        if len(grad.shape) < len(target):
            raise ShapeError(message)
        for s, t in zip(grad.shape[len(grad.shape) - len(target) :], target, strict=True):
            if t != 1:
                ctx.unify(s, t, message)
    return (TensorType(grad.dtype, target),)


def _sum_to_expand(p: ExpandContext, grad: Any, shape: Any = None) -> Any:
    source, target = p.inputs[0].shape, p.outputs[0].shape
    assert source is not None and target is not None
    axes = _broadcast_axes(source, target)
    if axes:
        grad = p.op("Sum", grad, attrs=ReduceAttrs(axes))
    return p.reshape(grad, target)


def _sum_to_reference(attrs: Any, grad: Any, shape: Any) -> Any:
    target = tuple(int(d) for d in shape)
    axes = _broadcast_axes(np.shape(grad), target)
    return numpy_reduction(np.add, lambda dtype: 0)(ReduceAttrs(axes), grad).reshape(target)


def _sum_to_samples() -> list[Sample]:
    x = np.linspace(-1, 2, 24, dtype=np.float32).reshape(2, 3, 4)
    shapes: list[list[int]] = [[2, 3, 4], [3, 1], [4], [1, 3, 4], [1]]
    return [Sample((x, np.array(s, np.int32)), wrt=(0,), rtol=1e-4) for s in shapes]


SUM_TO_LIKE = register(
    OpDef(
        "SumToLike",
        Composite(_sum_to_expand),
        _sum_to_infer,
        _sum_to_reference,
        _sum_to_samples,
        shape_operands=(1,),
        dtypes=NUMERIC,
        doc="Sums over the axes along which an operand of the given shape was broadcast.",
    )
)


def sum_to_like(grad: Tensor, x: Tensor) -> Tensor:
    """`grad` summed to the shape of x, of which only the shape matters; `grad` itself where the shapes are the same.

    What to sum over is decided here where the shapes are known well enough, else in the run.
    """
    source, target = grad._shape, x._shape
    if source is not None and source == target:
        return grad
    # A size of the target that may be 1 in a run decides there: the op is expanded when the sizes are known.
    if source is None or target is None or not _certain(source, target):
        return build(SUM_TO_LIKE, (grad, shape(x)))
    axes = _broadcast_axes(source, target)
    summed = build(SUM, (grad,), ReduceAttrs(axes)) if axes else grad
    if summed._shape == target:
        return summed
    known = static_shape(target)
    return reshape(summed, list(known) if known is not None else shape(x))


def _certain(source: Shape, target: Shape) -> bool:
    """Whether it is known, axis by axis, that the target has size 1 or the size of the source."""
    aligned = source[len(source) - len(target) :] if target else ()
    return len(source) >= len(target) and all(
        t == 1 or s == t or (isinstance(t, int) and not isinstance(s, int)) for s, t in zip(aligned, target, strict=True)
    )
