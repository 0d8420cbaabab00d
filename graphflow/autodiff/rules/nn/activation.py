"""Gradients of the ops in `graphflow/ops/nn/activation.py`."""

from __future__ import annotations

import math

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.operands import build_binary
from graphflow.ops.array.fill import zeros_like
from graphflow.ops.math.binary import add, divide, multiply, subtract
from graphflow.ops.math.compare import greater_equal, less
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.unary import abs as absolute
from graphflow.ops.math.unary import erf, exp, negative, square
from graphflow.ops.nn.activation import (
    GELU_CUBIC,
    GELU_ROOT,
    LEAKY_RELU_GRAD,
    RELU6_GRAD,
    RELU_GRAD,
    SELU_SCALE,
    SELU_SCALED_ALPHA,
    SIGMOID_GRAD,
    TANH_GRAD,
    sigmoid,
    tanh,
)


@gradient_of("TanhGrad")
def _tanh_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    y, dy = op.inputs
    gy = multiply(multiply(grad, -2.0), multiply(dy, y))
    return [sum_to_like(gy, y), sum_to_like(build_binary(TANH_GRAD, y, grad, None), dy)]


@gradient_of("Tanh")
def _tanh_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(TANH_GRAD, op.outputs[0], grad, None)]


@gradient_of("SigmoidGrad")
def _sigmoid_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    y, dy = op.inputs
    gy = multiply(multiply(grad, dy), subtract(1.0, multiply(y, 2.0)))
    return [sum_to_like(gy, y), sum_to_like(build_binary(SIGMOID_GRAD, y, grad, None), dy)]


@gradient_of("Sigmoid")
def _sigmoid_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(SIGMOID_GRAD, op.outputs[0], grad, None)]


@gradient_of("ReluGrad")
def _relu_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    dy, y = op.inputs
    # The first gradient is linear in dy; in y it is constant almost everywhere.
    return [sum_to_like(build_binary(RELU_GRAD, grad, y, None), dy), zeros_like(y)]


@gradient_of("Relu")
def _relu_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(RELU_GRAD, grad, op.outputs[0], None)]


@gradient_of("Relu6Grad")
def _relu6_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    dy, y = op.inputs
    return [sum_to_like(build_binary(RELU6_GRAD, grad, y, None), dy), zeros_like(y)]


@gradient_of("Relu6")
def _relu6_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(RELU6_GRAD, grad, op.outputs[0], None)]


@gradient_of("LeakyRelu")
def _leaky_relu_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [build_binary(LEAKY_RELU_GRAD, grad, op.inputs[0], None, attrs=op.attrs)]


@gradient_of("LeakyReluGrad")
def _leaky_relu_grad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    dy, x = op.inputs
    return [sum_to_like(build_binary(LEAKY_RELU_GRAD, grad, x, None, attrs=op.attrs), dy), zeros_like(x)]


@gradient_of("Elu")
def _elu_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # For negative x the slope e^x is y + 1: no exponential is computed again. At 0 the right side counts, as in TensorFlow.
    return [where_v2(less(op.outputs[0], 0.0), multiply(grad, add(op.outputs[0], 1.0)), grad)]


@gradient_of("Selu")
def _selu_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # As for elu: scale * alpha * e^x is y + scale * alpha for negative x.
    y = op.outputs[0]
    return [where_v2(less(y, 0.0), multiply(grad, add(y, SELU_SCALED_ALPHA)), multiply(grad, SELU_SCALE))]


@gradient_of("Softplus")
def _softplus_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, slope_of_softplus(op.inputs[0]))]


def slope_of_softplus(x: Tensor) -> Tensor:
    """sigmoid(x), with derivatives that keep their digits for large x.

    The derivative of a sigmoid is y (1 - y), where 1 - y is 0 as soon as y rounds to 1. So for x >= 0 it is 1 - sigmoid(-x).
    """
    right = greater_equal(x, 0.0)
    small = sigmoid(where_v2(right, negative(x), x))
    return where_v2(right, subtract(1.0, small), small)


@gradient_of("Softsign")
def _softsign_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, square(add(absolute(op.inputs[0]), 1.0)))]


@gradient_of("Gelu")
def _gelu_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # The product rule on x * share(x): the share itself, and x times its slope.
    x = op.inputs[0]
    x2 = square(x)
    if op.attrs.approximate:
        share = tanh(multiply(multiply(x, add(multiply(x2, GELU_CUBIC), 1.0)), GELU_ROOT))
        inner_slope = multiply(add(multiply(x2, 3 * GELU_CUBIC), 1.0), GELU_ROOT)
        slope = multiply(multiply(x, 0.5), multiply(subtract(1.0, square(share)), inner_slope))
    else:
        share = erf(multiply(x, math.sqrt(0.5)))
        slope = multiply(multiply(x, exp(multiply(x2, -0.5))), 0.5 * GELU_ROOT)
    return [multiply(grad, add(multiply(add(share, 1.0), 0.5), slope))]
