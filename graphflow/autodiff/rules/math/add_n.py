"""Gradients of the ops in `graphflow/ops/math/add_n.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.errors import ShapeError
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.compare import greater, less, logical_or, where_v2
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("AddN")
def _add_n_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [grad] * len(op.inputs)


@gradient_of("BiasAdd")
def _bias_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    x, bias = op.inputs
    if not op.attrs.data_format.startswith("NC"):
        return [grad, sum_to_like(grad, bias)]
    rank = x.shape.ndims
    if rank is None:
        raise ShapeError(f"the gradient of {op.name} needs the rank of {x.name}: give it a shape of known rank")
    return [grad, reduce_sum(grad, [i for i in range(rank) if i != 1])]


@gradient_of("ClipByValue")
def _clip_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    x, low, high = op.inputs
    below, above = less(x, low), greater(x, high)
    gx = where_v2(logical_or(below, above), 0.0, grad)
    return [
        sum_to_like(gx, x),
        sum_to_like(where_v2(below, grad, 0.0), low),
        sum_to_like(where_v2(above, grad, 0.0), high),
    ]
