"""Gradients of the ops in `graphflow/ops/array/scatter.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.errors import ArgumentError
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.fill import zeros_like
from graphflow.ops.array.gather import gather_dense
from graphflow.ops.array.reshape import expand_dims
from graphflow.ops.math.binary import maximum
from graphflow.ops.math.compare import greater_equal
from graphflow.ops.math.select import where_v2


@gradient_of("SegmentAdd")
def _segment_add_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [grad, None, _rows_of(grad, op.inputs[1])]


def _rows_of(grad: Tensor, ids: Tensor) -> Tensor:
    """The rows of `grad` at `ids`; zeros where the id is negative."""
    # Negative ids were dropped: row 0 is read for them, because a gather refuses
    # negative indices, and replaced below.
    found = gather_dense(grad, maximum(ids, 0), 0)
    keep = greater_equal(ids, 0)
    if found._shape is None or ids._shape is None:
        raise ArgumentError("the gradient of a segment sum needs known ranks")
    for _ in range(len(found._shape) - len(ids._shape)):
        keep = expand_dims(keep, -1)
    return where_v2(keep, found, zeros_like(found))


@gradient_of("UnsortedSegmentSum")
def _unsorted_segment_sum_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [_rows_of(grad, op.inputs[1]), None, None]
