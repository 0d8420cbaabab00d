"""Gradients of the ops in `graphflow/ops/math/select.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.select import where, where_v2
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("SelectV2")
def _select_v2_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    condition, x, y = op.inputs
    # Selected, not multiplied by a mask: a NaN on the side that is not taken must not come through.
    return [None, sum_to_like(where_v2(condition, grad, 0.0), x), sum_to_like(where_v2(condition, 0.0, grad), y)]


@gradient_of("Select")
def _select_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    condition, x, y = op.inputs
    gx = where(condition, grad, 0.0)
    gy = where(condition, 0.0, grad)
    return [None, sum_to_like(gx, x), sum_to_like(gy, y)]
