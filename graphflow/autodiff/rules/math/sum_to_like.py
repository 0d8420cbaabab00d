"""The gradient of the sum that undoes broadcasting."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.autodiff.rules.math.reduce import spread_to
from graphflow.framework.tensor import Operation, Tensor


@gradient_of("SumToLike")
def _sum_to_like_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [spread_to(grad, op.inputs[0]), None]
