"""Gradients of the ops in `graphflow/ops/array/diagonal.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor


@gradient_of("DiagonalOf")
def _diagonal_of_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [grad, None]
