"""The gradient of a call that only a run can make, which is one more such call."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.build import build_op
from graphflow.framework.context import gradient_is_wanted
from graphflow.framework.deferred import gradient_attrs
from graphflow.framework.tensor import Operation, Tensor


@gradient_of("Deferred")
def _deferred_grad(op: Operation, *grads: Tensor | None) -> list[Tensor | None]:
    operands = op.inputs
    wanted = [i for i, t in enumerate(operands) if t.base_dtype.is_floating and gradient_is_wanted(t)]
    given = [k for k, g in enumerate(grads) if g is not None]
    result: list[Tensor | None] = [None] * len(operands)
    if wanted and given:
        attrs = gradient_attrs(op.attrs, operands, wanted, given)
        made = build_op("Deferred", [*operands, *[g for g in grads if g is not None]], attrs)
        for i, t in zip(wanted, made.outputs, strict=True):
            result[i] = t
    return result
