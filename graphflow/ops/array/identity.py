"""Ops that pass values on: identity, identity_n, stop_gradient, prevent_gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, build_op, convert_to_tensor
from graphflow.framework.dtypes import ALL
from graphflow.framework.kinds import Composite, ShapeValue, TensorType, View
from graphflow.framework.records import record
from graphflow.framework.registry import (
    NO_ATTRS,
    InferContext,
    NotDifferentiable,
    OpDef,
    Sample,
    not_differentiable,
    register,
    same_shape_infer,
)
from graphflow.framework.tensor import Tensor


def _same_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    return values[0]


def _float_samples() -> list[Sample]:
    rng = np.random.default_rng(3)
    shapes: list[tuple[int, ...]] = [(), (0,), (1,), (5,), (2, 3), (3, 0, 2), (2, 1, 4)]
    return [Sample((rng.normal(size=s).astype(np.float32),)) for s in shapes]


def _identity(name: str, onnx: str | None, doc: str, grad: NotDifferentiable | None = None) -> OpDef:
    return OpDef(
        name,
        View(),
        same_shape_infer,
        lambda attrs, x: x,
        _float_samples if grad is None else lambda: _float_samples()[:1],
        grad=grad,
        shape_value=_same_value,
        dtypes=ALL,
        onnx=onnx,
        doc=doc,
    )


@record(frozen=True, slots=True)
class PreventGradientAttrs:
    message: str = ""


IDENTITY = register(_identity("Identity", "Identity", "The input, as a value of its own."))
STOP_GRADIENT = register(
    _identity("StopGradient", None, "A constant for gradients.", not_differentiable("its purpose is to stop gradients"))
)
PREVENT_GRADIENT = register(
    OpDef(
        "PreventGradient",
        View(),
        same_shape_infer,
        lambda attrs, x: x,
        lambda: [Sample((np.ones((2,), np.float32),), PreventGradientAttrs(), gradient=False, note="it refuses gradients")],
        attrs=PreventGradientAttrs,
        shape_value=_same_value,
        dtypes=ALL,
        doc="The input; asking for a gradient through it is an error.",
    )
)


def _identity_n_infer(ctx: InferContext, attrs: Any, *types: TensorType) -> tuple[TensorType, ...]:
    return types


IDENTITY_N = register(
    OpDef(
        "IdentityN",
        Composite(lambda p, *values: values),
        _identity_n_infer,
        lambda attrs, *arrays: arrays,
        lambda: [Sample((np.ones((2, 3), np.float32), np.float32(2)))],
        dtypes=ALL,
        doc="Its inputs, unchanged.",
    )
)


def identity(input: Any, name: str | None = None) -> Tensor:
    """The value of `input` at this point of the graph. Of a variable: its value when this op runs."""
    return build(IDENTITY, (convert_to_tensor(input),), NO_ATTRS, name)


def identity_n(input: Sequence[Any], name: str | None = None) -> list[Tensor]:
    """The values of several tensors, as the outputs of one op."""
    return list(build_op(IDENTITY_N, [convert_to_tensor(x) for x in input], NO_ATTRS, name).outputs)


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """The value of `input`, which gradients treat as a constant."""
    return build(STOP_GRADIENT, (convert_to_tensor(input),), NO_ATTRS, name)


def prevent_gradient(input: Any, message: str = "", name: str | None = None) -> Tensor:
    """The value of `input`. Asking for a gradient through it raises GradientError with `message`."""
    return build(PREVENT_GRADIENT, (convert_to_tensor(input),), PreventGradientAttrs(message), name)
