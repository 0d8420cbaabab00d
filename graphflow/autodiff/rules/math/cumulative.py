"""Gradients of running sums and products."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import multiply, realdiv
from graphflow.ops.math.cumulative import cumsum


@gradient_of("Cumsum")
def _cumsum_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    a = op.attrs
    # x[k] is part of every later sum, so its gradient is the sum from k on: the same sum in the other direction.
    return [cumsum(grad, a.axis, a.exclusive, not a.reverse)]


@gradient_of("Cumprod")
def _cumprod_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    a = op.attrs
    # Each later product contains x[k] as a factor, so its derivative is that product over
    # x[k]: NaN at 0, as in TensorFlow.
    return [realdiv(cumsum(multiply(op.outputs[0], grad), a.axis, a.exclusive, not a.reverse), op.inputs[0])]
