"""Gradients of the ops in `graphflow/ops/array/reshape.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape_tensor


@gradient_of("Reshape", "ExpandDims", "Squeeze")
def _reshape_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [reshape(grad, shape_tensor(op.inputs[0])), *([None] * (len(op.inputs) - 1))]
