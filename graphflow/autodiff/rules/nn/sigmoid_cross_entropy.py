"""Gradients of the ops in `graphflow/ops/nn/sigmoid_cross_entropy.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import multiply, subtract
from graphflow.ops.math.unary import negative
from graphflow.ops.nn.activation import sigmoid


@gradient_of("SigmoidCrossEntropyWithLogits")
def _sigmoid_cross_entropy_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    logits, labels = op.inputs
    # The derivative by the logits in its closed form, which stays exact where the loss itself saturates.
    return [multiply(grad, subtract(sigmoid(logits), labels)), multiply(negative(grad), logits)]
