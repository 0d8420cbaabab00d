"""Gradients of the ops in `graphflow/ops/nn/cross_entropy.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.autodiff.rules.nn.softmax import through_softmax
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.reshape import expand_dims
from graphflow.ops.math.binary import add, multiply, subtract
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.unary import negative
from graphflow.ops.nn.softmax import log_softmax, softmax


def _spread_loss(op: Operation, grad: Tensor) -> Tensor:
    return expand_dims(grad, op.attrs.axis)


# Both ops have two outputs, so there are two gradients. That of the second output, the derivative by the logits, arrives
# only where somebody differentiates twice.
@gradient_of("SoftmaxCrossEntropyWithLogits")
def _dense_grad(op: Operation, grad_loss: Tensor | None, grad_backprop: Tensor | None) -> list[Tensor | None]:
    logits, labels = op.inputs
    axis = op.attrs.axis
    to_logits: Tensor | None = None
    to_labels: Tensor | None = None
    if grad_loss is not None:
        rows = _spread_loss(op, grad_loss)
        to_logits = multiply(rows, op.outputs[1])
        to_labels = multiply(rows, negative(log_softmax(logits, axis)))
    if grad_backprop is not None:
        # Output 1 is softmax(logits) - labels.
        second = through_softmax(softmax(logits, axis), axis, grad_backprop)
        to_logits = second if to_logits is None else add(to_logits, second)
        to_labels = negative(grad_backprop) if to_labels is None else subtract(to_labels, grad_backprop)
    return [
        None if to_logits is None else sum_to_like(to_logits, logits),
        None if to_labels is None else sum_to_like(to_labels, labels),
    ]


@gradient_of("SparseSoftmaxCrossEntropyWithLogits")
def _sparse_grad(op: Operation, grad_loss: Tensor | None, grad_backprop: Tensor | None) -> list[Tensor | None]:
    logits = op.inputs[0]
    found: Tensor | None = None
    if grad_loss is not None:
        found = multiply(_spread_loss(op, grad_loss), op.outputs[1])
    if grad_backprop is not None:
        second = through_softmax(softmax(logits), -1, grad_backprop)
        found = second if found is None else add(found, second)
    return [found, None]
