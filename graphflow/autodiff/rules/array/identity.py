"""Gradients of ops that pass values on: `graphflow/ops/array/identity.py` and `source.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.errors import GradientError
from graphflow.framework.tensor import Operation, Tensor


@gradient_of("Identity")
def _identity_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [grad]


@gradient_of("IdentityN")
def _identity_n_grad(op: Operation, *grads: Tensor | None) -> list[Tensor | None]:
    return list(grads)


@gradient_of("PreventGradient")
def _prevent_gradient_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    raise GradientError(f"Gradient explicitly disabled. Reason: {op.attrs.message} (operation '{op.name}')")
