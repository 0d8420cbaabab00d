"""Gradients of the ops in `graphflow/ops/math/top_k.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.one_hot_where_unique import one_hot
from graphflow.ops.array.reshape import expand_dims
from graphflow.ops.math.binary import multiply
from graphflow.ops.math.reduce import reduce_sum


@gradient_of("TopKV2")
def _top_k_grad(op: Operation, grad: Tensor | None, _: Tensor | None = None) -> list[Tensor | None]:
    if grad is None:
        return [None, None]
    x = op.inputs[0]
    # Each gradient goes to the element that it was taken from: a product with one-hot rows, summed over k.
    places = one_hot(op.outputs[1], axis_size(x, -1), dtype=x.base_dtype)
    return [reduce_sum(multiply(expand_dims(grad, -1), places), -2), None]
