"""Gradients of the ops in `graphflow/ops/math/clip.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import minimum
from graphflow.ops.math.compare import greater, less, logical_and, logical_not, logical_or
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("ClipByValue")
def _clip_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    x, low, high = op.inputs
    # Strict: an element on a bound passes its gradient, and the bound gets none. The lower bound is applied last, so it wins
    # where the bounds are the wrong way round.
    below, above = less(minimum(x, high), low), greater(x, high)
    limited = logical_or(below, above)
    return [
        sum_to_like(where_v2(limited, 0.0, grad), x),
        sum_to_like(where_v2(below, grad, 0.0), low),
        sum_to_like(where_v2(logical_and(above, logical_not(below)), grad, 0.0), high),
    ]
