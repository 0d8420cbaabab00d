"""Gradients of the ops in `graphflow/ops/nn/softmax.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import multiply, subtract
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.unary import exp


def through_softmax(y: Tensor, axis: int, grad: Tensor) -> Tensor:
    """The gradient with respect to x, given the gradient with respect to y = softmax(x): (grad - sum(grad * y)) * y."""
    return multiply(subtract(grad, reduce_sum(multiply(grad, y), axis, keepdims=True)), y)


@gradient_of("Softmax")
def _softmax_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [through_softmax(op.outputs[0], _axis_of(op), grad)]


@gradient_of("LogSoftmax")
def _log_softmax_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [subtract(grad, multiply(exp(op.outputs[0]), reduce_sum(grad, _axis_of(op), keepdims=True)))]


def _axis_of(op: Operation) -> int:
    shape = op.inputs[0]._shape
    axis: int = op.attrs.axis
    return axis if shape is None else axis % len(shape)
