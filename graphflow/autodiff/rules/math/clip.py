"""Gradients of the ops in `graphflow/ops/math/clip.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.compare import greater, less, logical_or
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("ClipByValue")
def _clip_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    x, low, high = op.inputs
    # Strict: an element on a bound passes its gradient, and the bound gets none.
    below, above = less(x, low), greater(x, high)
    gx = where_v2(logical_or(below, above), 0.0, grad)
    return [
        sum_to_like(gx, x),
        sum_to_like(where_v2(below, grad, 0.0), low),
        sum_to_like(where_v2(above, grad, 0.0), high),
    ]
