"""Ops about one axis: its size, and the position of each element along it."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build
from graphflow.framework.dtypes import ALL, DType, int32, int64
from graphflow.framework.kinds import Generate, ShapeOf, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Shape
from graphflow.framework.tensor import Tensor


@record(frozen=True, slots=True)
class AxisAttrs:
    """An axis; negative ones count from the end."""

    axis: int = -1


@record(frozen=True, slots=True)
class AxisSizeAttrs:
    """An axis; negative ones count from the end. The size comes as `out_type`."""

    axis: int = -1
    out_type: DType = int64


def _size_value(attrs: AxisSizeAttrs, types: tuple[TensorType, ...], values: Any) -> ShapeValue | None:
    shape = types[0].shape
    return None if shape is None else shape[attrs.axis]


AXIS_SIZE = register(
    OpDef(
        "AxisSize",
        ShapeOf(),
        lambda ctx, attrs, x: (TensorType(attrs.out_type, ()),),
        lambda attrs, x: np.asarray(np.shape(x)[attrs.axis], attrs.out_type.numpy_dtype),
        lambda: [Sample((np.zeros((2, 3), np.float32),), AxisSizeAttrs(), gradient=False)],
        grad=not_differentiable("a size"),
        attrs=AxisSizeAttrs,
        shape_value=_size_value,
        dtypes=ALL,
        doc="How long an axis is, as a scalar.",
    )
)


@record(frozen=True, slots=True)
class PositionAttrs:
    shape: Shape
    axis: int
    dtype: DType


AXIS_POSITION = register(
    OpDef(
        "AxisPosition",
        Generate(lambda b, ctx, index: b.cast(index[ctx.attrs.axis], ctx.attrs.dtype)),
        lambda ctx, attrs: (TensorType(attrs.dtype, attrs.shape),),
        lambda attrs: np.indices(attrs.shape)[attrs.axis].astype(attrs.dtype.numpy_dtype),
        lambda: [Sample((), PositionAttrs((2, 3), 1, int32), gradient=False)],
        grad=not_differentiable("positions"),
        attrs=PositionAttrs,
        dtypes=(int32, int64),
        doc="The position of each element along an axis.",
    )
)


def axis_size(x: Tensor, axis: int, out_type: DType = int32) -> Tensor:
    """The size of an axis of x as an integer scalar."""
    return build(AXIS_SIZE, (x,), AxisSizeAttrs(axis, out_type))
