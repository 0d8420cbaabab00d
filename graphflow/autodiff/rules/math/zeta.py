"""Gradients of the ops in `graphflow/ops/math/zeta.py`: with respect to the second operand, as in TensorFlow."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import add, multiply
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.unary import negative
from graphflow.ops.math.zeta import polygamma, zeta


@gradient_of("Zeta")
def _zeta_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    s, q = op.inputs
    return [None, sum_to_like(multiply(grad, multiply(negative(s), zeta(add(s, 1.0), q))), q)]


@gradient_of("Polygamma")
def _polygamma_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    n, x = op.inputs
    return [None, sum_to_like(multiply(grad, polygamma(add(n, 1.0), x)), x)]
