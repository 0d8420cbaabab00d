"""Gradients of the ops in `graphflow/ops/array/movement.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.deferred import deferrable
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.arguments import known_rank
from graphflow.ops._define.deferred_types import same_rank
from graphflow.ops.array.concat import stack
from graphflow.ops.array.movement import inverse_of, reverse, roll, transpose
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.sum_to_like import sum_to_like


@gradient_of("Roll")
def _roll_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [roll(grad, -op.attrs.shift, op.attrs.axis)]


@gradient_of("Transpose")
def _transpose_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [transpose(grad, inverse_of(op.attrs.perm))]


@gradient_of("BroadcastTo")
def _broadcast_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [sum_to_like(grad, op.inputs[0]), None]


@gradient_of("Tile")
def _tile_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [_summed_tiles(grad, *op.inputs), None]


@deferrable(same_rank("grad"))
def _summed_tiles(grad: Tensor, x: Tensor, multiples: Tensor) -> Tensor:
    count = known_rank("the gradient of tile", x)
    if not count:
        return grad
    # Every axis splits into (repetition, element); the repetitions of an element are added up.
    sizes = shape_tensor(x)
    parts = [p for k in range(count) for p in (multiples[k], sizes[k])]
    return reduce_sum(reshape(grad, stack(parts)), axis=[2 * k for k in range(count)])


@gradient_of("ReverseV2")
def _reverse_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [reverse(grad, op.attrs.axis)]
