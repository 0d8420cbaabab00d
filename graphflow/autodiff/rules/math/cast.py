"""Gradients of the ops in `graphflow/ops/math/cast.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.cast import cast


@gradient_of("Cast")
def _cast_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    source = op.inputs[0].base_dtype
    # Through integers and bools nothing passes: they do not change smoothly.
    return [cast(grad, source) if source.is_floating and op.attrs.dtype.is_floating else None]
