"""Gradients of the ops in `graphflow/ops/array/fill.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.reduce import reduce_sum


@gradient_of("Fill")
def _fill_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [None, reduce_sum(grad)]
