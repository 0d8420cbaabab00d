"""The gradient of a strided slice."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.slice_gradient import strided_slice_grad


@gradient_of("StridedSlice")
def _strided_slice_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, begin, end, strides = op.inputs
    return [strided_slice_grad(shape_tensor(x), begin, end, strides, grad, op.attrs), None, None, None]
