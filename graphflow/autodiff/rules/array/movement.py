"""Gradients of the ops in `graphflow/ops/array/movement.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.errors import ArgumentError
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.concat import stack
from graphflow.ops.array.movement import inverse_of, reverse, transpose
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("Transpose")
def _transpose_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [transpose(grad, inverse_of(op.attrs.perm))]


@gradient_of("BroadcastTo")
def _broadcast_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [sum_to_like(grad, op.inputs[0]), None]


@gradient_of("Tile")
def _tile_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, multiples = op.inputs
    if x._shape is None:
        raise ArgumentError("the gradient of tile needs an input of known rank")
    count = len(x._shape)
    if not count:
        return [grad, None]
    # Every axis splits into (repetition, element); the repetitions of an element are added up.
    sizes = shape_tensor(x)
    parts = [p for k in range(count) for p in (multiples[k], sizes[k])]
    return [reduce_sum(reshape(grad, stack(parts)), axis=[2 * k for k in range(count)]), None]


@gradient_of("ReverseV2")
def _reverse_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [reverse(grad, op.attrs.axis)]
