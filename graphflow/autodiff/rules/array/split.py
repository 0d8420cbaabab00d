"""Gradients of the ops in `graphflow/ops/array/split.py`."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.concat import concat, stack
from graphflow.ops.array.fill import zeros_like


def _joined_grads(op: Operation, grads: Sequence[Tensor | None]) -> list[Tensor]:
    # An output that nothing uses has no gradient, but its part of the input has one: 0.
    return [zeros_like(t) if g is None else g for g, t in zip(grads, op.outputs, strict=True)]


@gradient_of("Split")
def _split_grad(op: Operation, *grads: Tensor | None) -> list[Tensor]:
    return [concat(_joined_grads(op, grads), op.attrs.axis)]


@gradient_of("Unpack")
def _unpack_grad(op: Operation, *grads: Tensor | None) -> list[Tensor]:
    return [stack(_joined_grads(op, grads), op.attrs.axis)]
