"""Gradients of the ops in `graphflow/ops/control_flow/control.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.control_flow.control import check_numerics


@gradient_of("Print")
def _print_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    return [grad, *[None] * (len(op.inputs) - 1)]


@gradient_of("RefuseNaN", "RefuseInf")
def _refuse_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [grad]


@gradient_of("CheckNumerics")
def _check_numerics_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # As in TensorFlow, the check is made of the gradient, too.
    return [check_numerics(grad, "Not a number (NaN) or infinity (Inf) values detected in gradient.")]
