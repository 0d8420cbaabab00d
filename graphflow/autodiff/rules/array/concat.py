"""Gradients of the ops in `graphflow/ops/array/concat.py`."""

from __future__ import annotations

from typing import Any

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.deferred import deferrable
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.arguments import known_rank, normal_axis
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.split import split_by, unstack
from graphflow.ops.array.strided_slice import slice_axis


@gradient_of("ConcatV2")
def _concat_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return _concat_parts(grad, list(op.inputs), op.attrs.axis)


@deferrable(lambda a: [t.type for t in a["inputs"]])
def _concat_parts(grad: Tensor, inputs: list[Tensor], axis: int) -> list[Tensor]:
    ranks = [known_rank("the gradient of concat", t) for t in inputs]
    axis = normal_axis("ConcatV2", axis, ranks[0])
    sizes = [(t._shape or ())[axis] for t in inputs]
    known = [d for d in sizes if isinstance(d, int)]
    # Known sizes make one Split instead of a slice per operand.
    if len(known) == len(sizes):
        return split_by(grad, known, axis)
    pieces: list[Tensor] = []
    start: Any = 0
    for t in inputs:
        stop = start + shape_tensor(t)[axis]
        pieces.append(slice_axis(grad, axis, start, stop))
        start = stop
    return pieces


@gradient_of("Pack")
def _pack_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return unstack(grad, len(op.inputs), op.attrs.axis)
