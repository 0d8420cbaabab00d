"""Gradients of the ops in `graphflow/ops/array/pad.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.slicing import slice_


@gradient_of("PadV2")
def _pad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # The padding is constant, so only the box of the tensor itself passes on.
    return [slice_(grad, [a for a, _ in op.attrs.paddings], shape_tensor(op.inputs[0]))]


@gradient_of("Mirrored")
def _mirrored_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [grad]
