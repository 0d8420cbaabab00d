"""The gradient of a slice by begin and size."""

from __future__ import annotations

import numpy as np

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.arguments import shape_operand
from graphflow.ops.array.fill import ones_like
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.slice_gradient import strided_slice_grad
from graphflow.ops.array.strided_slice import StridedSliceAttrs


@gradient_of("Slice")
def _slice_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, begin, _ = op.inputs
    count = (begin._shape or (None,))[0]
    steps = shape_operand(np.ones(count, np.int32)) if isinstance(count, int) else ones_like(begin)
    # A slice as a strided slice: the size of the gradient is the size of the box, also where -1 stood for it.
    end = begin + shape_tensor(grad, begin.base_dtype)
    return [strided_slice_grad(shape_tensor(x), begin, end, steps, grad, StridedSliceAttrs()), None, None]
