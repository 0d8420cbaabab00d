"""Gradients of the ops in `graphflow/ops/array/row_updates.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.build import build
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.fill import zeros_like
from graphflow.ops.array.gather import gather_dense
from graphflow.ops.array.row_updates import ROWS_UPDATE


@gradient_of("RowsUpdate")
def _rows_update_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    _, indices, updates = op.inputs
    # What was overwritten has no part in the result. As in TensorFlow, all updates of one row get its gradient.
    return [build(ROWS_UPDATE, (grad, indices, zeros_like(updates))), None, gather_dense(grad, indices, 0)]
