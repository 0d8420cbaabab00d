"""Gradients of the ops in `graphflow/ops/array/scatter.py`."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.deferred import Arguments, deferrable
from graphflow.framework.kinds import TensorType
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops._define.arguments import known_rank
from graphflow.ops.array.fill import zeros_like
from graphflow.ops.array.gather import gather_dense
from graphflow.ops.array.reshape import expand_dims
from graphflow.ops.math.binary import maximum
from graphflow.ops.math.compare import greater_equal
from graphflow.ops.math.select import where_v2


@gradient_of("SegmentAdd")
def _segment_add_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [grad, None, _rows_of(grad, op.inputs[1])]


def _row_types(a: Arguments) -> Sequence[TensorType]:
    rows, ids = a["grad"]._shape, a["ids"]._shape
    return [TensorType(a["grad"].base_dtype, None if rows is None or ids is None else (*ids, *rows[1:]))]


@deferrable(_row_types)
def _rows_of(grad: Tensor, ids: Tensor) -> Tensor:
    """The rows of `grad` at `ids`; zeros where the id is negative."""
    # Negative ids were dropped: row 0 is read for them, because a gather refuses
    # negative indices, and replaced below.
    found = gather_dense(grad, maximum(ids, 0), 0)
    keep = greater_equal(ids, 0)
    what = "the gradient of a segment sum"
    for _ in range(known_rank(what, found) - known_rank(what, ids)):
        keep = expand_dims(keep, -1)
    return where_v2(keep, found, zeros_like(found))


@gradient_of("UnsortedSegmentSum")
def _unsorted_segment_sum_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [_rows_of(grad, op.inputs[1]), None, None]
