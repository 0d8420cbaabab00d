"""Gradients of ops without computed inputs."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor


@gradient_of("PlaceholderWithDefault")
def _placeholder_with_default_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [grad]
