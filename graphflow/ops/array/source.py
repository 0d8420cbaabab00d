"""Ops without inputs: constants and placeholders."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.build import constant as constant
from graphflow.framework.dtypes import ALL, DType, as_dtype
from graphflow.framework.kinds import Composite, ShapeValue, Source, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, TensorValue, not_differentiable, register
from graphflow.framework.shapes import Shape, as_internal, format_shape
from graphflow.framework.tensor import Tensor


@record(frozen=True, slots=True)
class ConstAttrs:
    value: TensorValue


def _const_infer(ctx: InferContext, attrs: ConstAttrs) -> tuple[TensorType, ...]:
    array = attrs.value.array
    return _scalar_type(array.dtype) if array.ndim == 0 else (TensorType(as_dtype(array.dtype), array.shape),)


@cache
def _scalar_type(dtype: np.dtype[Any]) -> tuple[TensorType, ...]:
    """The type of 0-d constants, one object per dtype: in some graphs every other op is such a constant."""
    return (TensorType(as_dtype(dtype), ()),)


def _const_value(attrs: ConstAttrs, types: Any, values: Any) -> ShapeValue | None:
    array = attrs.value.array
    # What is longer than 64 is data, not a shape.
    if array.dtype.kind not in "iu" or array.ndim > 1 or array.size > 64:
        return None
    return int(array) if array.ndim == 0 else tuple(int(v) for v in array)


CONST = register(
    OpDef(
        "Const",
        Source("constant"),
        _const_infer,
        lambda attrs: attrs.value.array,
        lambda: [Sample((), ConstAttrs(TensorValue(np.arange(6, dtype=np.float32).reshape(2, 3))), gradient=False)],
        grad=not_differentiable("a constant has no inputs"),
        attrs=ConstAttrs,
        shape_value=_const_value,
        dtypes=ALL,
        doc="A constant array.",
    )
)


@record(frozen=True, slots=True)
class PlaceholderAttrs:
    dtype: DType
    shape: Shape | None


PLACEHOLDER = register(
    OpDef(
        "Placeholder",
        Source("placeholder"),
        lambda ctx, attrs: (TensorType(attrs.dtype, attrs.shape),),
        None,
        list,
        grad=not_differentiable("a placeholder has no inputs"),
        attrs=PlaceholderAttrs,
        dtypes=ALL,
        doc="A value that must be fed.",
    )
)


def placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> Tensor:
    """A tensor that every run which needs it must feed.

    Args:
        dtype: element type.
        shape: static shape; None leaves the rank open, a None or -1 dim leaves that size open, and a string names a
            size: ``["batch", 784]``; equal names mean equal sizes in one run.
        name: name of the op.

    Raises:
        ValueError: a negative or non-integer dimension.
    """
    return build(PLACEHOLDER, (), PlaceholderAttrs(as_dtype(dtype).base_dtype, as_internal(shape)), name)


@record(frozen=True, slots=True)
class PlaceholderWithDefaultAttrs:
    shape: Shape | None


def _with_default_infer(ctx: InferContext, attrs: PlaceholderWithDefaultAttrs, default: TensorType) -> tuple[TensorType, ...]:
    if ctx.policy.final:
        return (default,)  # in a program nobody has fed it, so it is its default
    if attrs.shape is not None and default.shape is not None:
        ctx.policy.unify_shapes(
            attrs.shape,
            default.shape,
            lambda: (
                f"placeholder_with_default: the default value has shape {format_shape(default.shape)}, which does not fit "
                f"shape {format_shape(attrs.shape)}"
            ),
        )
    return (TensorType(default.dtype, attrs.shape),)


PLACEHOLDER_WITH_DEFAULT = register(
    OpDef(
        "PlaceholderWithDefault",
        # In a program it has not been fed (what is fed replaces the op), so it is its input.
        Composite(lambda p, value: value),
        _with_default_infer,
        lambda attrs, value: value,
        lambda: [Sample((np.ones((2, 3), np.float32),), PlaceholderWithDefaultAttrs((2, 3)))],
        attrs=PlaceholderWithDefaultAttrs,
        dtypes=ALL,
        doc="A value that may be fed; its input otherwise.",
    )
)


def placeholder_with_default(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """A tensor that has the value of `input` unless it is fed. `shape` may be less specific than that of `input`."""
    value = convert_to_tensor(input, name="input")
    return build(
        PLACEHOLDER_WITH_DEFAULT,
        (value,),
        PlaceholderWithDefaultAttrs(as_internal(shape)),
        name or "PlaceholderWithDefault",
    )


__all__ = ["constant", "placeholder", "placeholder_with_default"]
