"""Gradients of the ops in `graphflow/ops/array/concat.py`."""

from __future__ import annotations

from typing import Any

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.errors import ArgumentError
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.arguments import normal_axis
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.split import split_by, unstack
from graphflow.ops.array.strided_slice import slice_axis


@gradient_of("ConcatV2")
def _concat_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    axis = op.attrs.axis
    shapes = [t._shape for t in op.inputs]
    if any(s is None for s in shapes):
        raise ArgumentError("the gradient of concat needs inputs of known rank")
    axis = normal_axis("ConcatV2", axis, len(shapes[0] or ()))
    sizes = [(s or ())[axis] for s in shapes]
    known = [d for d in sizes if isinstance(d, int)]
    # Known sizes make one Split instead of a slice per operand.
    if len(known) == len(sizes):
        return split_by(grad, known, axis)
    pieces: list[Tensor] = []
    start: Any = 0
    for t in op.inputs:
        stop = start + shape_tensor(t)[axis]
        pieces.append(slice_axis(grad, axis, start, stop))
        start = stop
    return pieces


@gradient_of("Pack")
def _pack_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return unstack(grad, len(op.inputs), op.attrs.axis)
