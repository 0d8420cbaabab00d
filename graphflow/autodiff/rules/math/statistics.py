"""Gradients of the ops in `graphflow/ops/math/statistics.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.autodiff.rules.math.reduce import count_reduced, keep_axes
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.identity import stop_gradient
from graphflow.ops.math.binary import multiply, realdiv, subtract
from graphflow.ops.math.reduce import reduce_mean, reduce_sum
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.unary import exp, is_finite


@gradient_of("LogSumExp")
def _log_sum_exp_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    """grad times the softmax of the input, shifted by the result that exists.

    Alone exp(x - result) would be the softmax, but the result may be rounded by more than log(n). The shift cancels in the
    quotient, so it counts as a constant; none by an infinite result, beside which finite elements have a share of 0.
    """
    result = stop_gradient(keep_axes(op.outputs[0], op.attrs))
    shifted = exp(subtract(op.inputs[0], where_v2(is_finite(result), result, 0.0)))
    share = realdiv(shifted, reduce_sum(shifted, list(op.attrs.axis), keepdims=True))
    return [multiply(keep_axes(grad, op.attrs), share)]


@gradient_of("Variance")
def _variance_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    """grad * 2 (x - mean) / n. The mean depends on x, too, but its share cancels: the distances from it sum to 0."""
    x, axis = op.inputs[0], list(op.attrs.axis)
    centred = subtract(x, reduce_mean(x, axis, keepdims=True))
    doubled = multiply(grad, 2)
    if axis:
        doubled = realdiv(doubled, count_reduced(x, axis, x.base_dtype))
    return [multiply(keep_axes(doubled, op.attrs), centred)]


@gradient_of("L2Loss")
def _l2_loss_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [multiply(op.inputs[0], grad)]
