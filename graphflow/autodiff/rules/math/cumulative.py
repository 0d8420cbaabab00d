"""Gradients of running sums and products."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import multiply, realdiv
from graphflow.ops.math.cumulative import cumsum


@gradient_of("Cumsum")
def _cumsum_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    a = op.attrs
    return [cumsum(grad, a.axis, a.exclusive, not a.reverse)]


@gradient_of("Cumprod")
def _cumprod_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    a = op.attrs
    return [realdiv(cumsum(multiply(op.outputs[0], grad), a.axis, a.exclusive, not a.reverse), op.inputs[0])]
