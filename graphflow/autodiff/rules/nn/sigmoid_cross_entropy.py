"""Gradients of the ops in `graphflow/ops/nn/sigmoid_cross_entropy.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import multiply, subtract
from graphflow.ops.math.compare import greater_equal
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.unary import negative
from graphflow.ops.nn.activation import sigmoid


@gradient_of("SigmoidCrossEntropyWithLogits")
def _sigmoid_cross_entropy_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    logits, labels = op.inputs
    # sigmoid(x) - z, which stays exact where the loss itself saturates. Of x >= 0 and a label of 1 nothing would be left as
    # soon as the sigmoid rounds to 1, so there it is 1 - z - sigmoid(-x).
    right = greater_equal(logits, 0.0)
    small = sigmoid(where_v2(right, negative(logits), logits))
    slope = where_v2(right, subtract(subtract(1.0, labels), small), subtract(small, labels))
    return [multiply(grad, slope), multiply(negative(grad), logits)]
