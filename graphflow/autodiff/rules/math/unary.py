"""Gradients of the ops in `graphflow/ops/math/unary.py`."""

from __future__ import annotations

import math

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.operands import build_binary
from graphflow.ops.array.fill import zeros_like
from graphflow.ops.math.binary import add, divide, multiply
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.unary import RECIPROCAL_GRAD, RSQRT_GRAD, SQRT_GRAD, digamma, exp, negative, sign, square
from graphflow.ops.math.zeta import polygamma


@gradient_of("Neg")
def _neg_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [negative(grad)]


@gradient_of("Abs")
def _abs_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, sign(op.inputs[0]))]


@gradient_of("Sign")
def _sign_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # 0 and not "no gradient", as in TensorFlow.
    return [zeros_like(op.inputs[0])]


@gradient_of("Square")
def _square_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # Doubled last: 2 x may overflow where the gradient, which a root made of the square, is 0.
    return [multiply(multiply(grad, op.inputs[0]), 2.0)]


@gradient_of("Sqrt")
def _sqrt_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # By the result, with an op of its own for the case that no gradient arrives at sqrt(0).
    return [build_binary(SQRT_GRAD, op.outputs[0], grad, None)]


@gradient_of("SqrtGrad")
def _sqrt_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    y, dy = op.inputs
    scaled = divide(grad, y)
    return [sum_to_like(negative(multiply(scaled, op.outputs[0])), y), sum_to_like(multiply(scaled, 0.5), dy)]


@gradient_of("RsqrtGrad")
def _rsqrt_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    y, dy = op.inputs
    gy = multiply(multiply(grad, -1.5), multiply(dy, square(y)))
    return [sum_to_like(gy, y), sum_to_like(build_binary(RSQRT_GRAD, y, grad, None), dy)]


@gradient_of("Rsqrt")
def _rsqrt_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(RSQRT_GRAD, op.outputs[0], grad, None)]


@gradient_of("ReciprocalGrad")
def _reciprocal_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    y, dy = op.inputs
    gy = multiply(multiply(grad, -2.0), multiply(dy, y))
    return [sum_to_like(gy, y), sum_to_like(build_binary(RECIPROCAL_GRAD, y, grad, None), dy)]


@gradient_of("Reciprocal")
def _reciprocal_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(RECIPROCAL_GRAD, op.outputs[0], grad, None)]


@gradient_of("Exp")
def _exp_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, op.outputs[0])]


@gradient_of("Expm1")
def _expm1_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, exp(op.inputs[0]))]


@gradient_of("Log")
def _log_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, op.inputs[0])]


@gradient_of("Log1p")
def _log1p_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, add(op.inputs[0], 1.0))]


# The derivative of erf at 0.
_SLOPE = 2.0 / math.sqrt(math.pi)


def _erf_slope(op: Operation, grad: Tensor, factor: float) -> list[Tensor]:
    return [multiply(grad, multiply(exp(negative(square(op.inputs[0]))), factor))]


@gradient_of("Erf")
def _erf_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return _erf_slope(op, grad, _SLOPE)


@gradient_of("Erfc")
def _erfc_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return _erf_slope(op, grad, -_SLOPE)


@gradient_of("Lgamma")
def _lgamma_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, digamma(op.inputs[0]))]


@gradient_of("Digamma")
def _digamma_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, polygamma(1.0, op.inputs[0]))]
