"""Gradients of the ops in `graphflow/ops/nn/bias.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.errors import ShapeError
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("BiasAdd")
def _bias_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    x, bias = op.inputs
    if not op.attrs.data_format.startswith("NC"):
        return [grad, sum_to_like(grad, bias)]
    rank = x.shape.ndims
    if rank is None:
        raise ShapeError(f"the gradient of {op.name} needs the rank of {x.name}: give it a shape of known rank")
    return [grad, reduce_sum(grad, [i for i in range(rank) if i != 1])]
