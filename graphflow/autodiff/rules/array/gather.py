"""Gradients of the ops in `graphflow/ops/array/gather.py`."""

from __future__ import annotations

from typing import Any

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.deferred import deferrable
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.arguments import known_rank
from graphflow.ops._define.deferred_types import like
from graphflow.ops.array.concat import concat
from graphflow.ops.array.movement import transpose
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.scatter import unsorted_segment_sum
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.strided_slice import slice_axis


@gradient_of("GatherV2")
def _gather_grad(op: Operation, grad: Tensor) -> list[Any]:
    params, indices = op.inputs
    axis = op.attrs.axis
    if axis == 0 and not op.attrs.dense_gradient:
        # The gradient of a lookup touches few rows of the table: it stays sparse, and
        # an optimizer updates only those.
        rows = shape_tensor(params)
        flat = reshape(indices, [-1])
        target = concat([shape_tensor(flat), slice_axis(rows, 0, 1, None)], 0)
        return [IndexedSlices(reshape(grad, target), flat, rows), None]
    return [_sums_of_gathered(grad, params, indices, axis), None]


@deferrable(like("params"))
def _sums_of_gathered(grad: Tensor, params: Tensor, indices: Tensor, axis: int) -> Tensor:
    """For each place of `params` the sum of the gradients of all copies of it."""
    rank, k = known_rank("the gradient of gather", params), known_rank("the gradient of gather", indices)
    count = shape_tensor(params)[axis]
    if axis == 0:
        return unsorted_segment_sum(grad, indices, count)
    # A segment sum adds up along the first axes, so the gathered axes go to the front, and the sum's axis back to its place.
    moved = transpose(grad, [*range(axis, axis + k), *range(axis), *range(axis + k, rank + k - 1)])
    summed = unsorted_segment_sum(moved, indices, count)
    return transpose(summed, [*range(1, axis + 1), 0, *range(axis + 1, rank)])
