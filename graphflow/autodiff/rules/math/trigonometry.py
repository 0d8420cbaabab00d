"""Gradients of the ops in `graphflow/ops/math/trigonometry.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import add, divide, multiply, subtract
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.trigonometry import cos, cosh, sin, sinh
from graphflow.ops.math.unary import negative, sqrt, square


@gradient_of("Sin")
def _sin_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, cos(op.inputs[0]))]


@gradient_of("Cos")
def _cos_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, negative(sin(op.inputs[0])))]


@gradient_of("Tan")
def _tan_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, square(cos(op.inputs[0])))]


def _root_of_rest(op: Operation) -> Tensor:
    return sqrt(subtract(1.0, square(op.inputs[0])))


@gradient_of("Asin")
def _asin_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, _root_of_rest(op))]


@gradient_of("Acos")
def _acos_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(negative(grad), _root_of_rest(op))]


@gradient_of("Atan")
def _atan_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, add(square(op.inputs[0]), 1.0))]


@gradient_of("Atan2")
def _atan2_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    y, x = op.inputs
    scaled = divide(grad, add(square(x), square(y)))
    return [sum_to_like(multiply(x, scaled), y), sum_to_like(negative(multiply(y, scaled)), x)]


@gradient_of("Sinh")
def _sinh_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, cosh(op.inputs[0]))]


@gradient_of("Cosh")
def _cosh_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(grad, sinh(op.inputs[0]))]


@gradient_of("Asinh")
def _asinh_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # By the result y: 1 / sqrt(x^2 + 1) is 1 / cosh(y), without an x^2 that may overflow.
    return [divide(grad, cosh(op.outputs[0]))]


@gradient_of("Acosh")
def _acosh_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # 1 / sqrt(x^2 - 1) is 1 / sinh(y).
    return [divide(grad, sinh(op.outputs[0]))]


@gradient_of("Atanh")
def _atanh_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [divide(grad, subtract(1.0, square(op.inputs[0])))]
