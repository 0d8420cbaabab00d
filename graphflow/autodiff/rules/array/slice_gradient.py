"""The gradient of the op that is itself the gradient of a strided slice."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.build import build
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.strided_slice import STRIDED_SLICE


@gradient_of("StridedSliceGrad")
def _strided_slice_grad_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [None, None, None, None, build(STRIDED_SLICE, (grad, *op.inputs[1:4]), op.attrs)]
