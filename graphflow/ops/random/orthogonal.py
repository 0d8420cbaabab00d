"""Orthonormal columns of a matrix, for the orthogonal initializer."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.dtypes import float32, float64
from graphflow.framework.errors import DTypeError, ShapeError
from graphflow.framework.kinds import Host, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register, undefined_gradient
from graphflow.framework.shapes import format_shape
from graphflow.framework.tensor import Tensor


def _infer(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
    if x.dtype not in (float32, float64):
        raise DTypeError(f"{ctx.op_name}: expected float32 or float64, got {x.dtype.name}")
    if x.shape is not None and len(x.shape) != 2:
        raise ShapeError(f"{ctx.op_name}: expected a matrix, got shape {format_shape(x.shape)}")
    if x.shape is not None and all(isinstance(d, int) for d in x.shape) and x.shape[0] < x.shape[1]:  # type: ignore[operator]
        raise ShapeError(f"{ctx.op_name}: shape {format_shape(x.shape)} has more columns than rows")
    return (x,)


def _orthonormal(attrs: Any, x: Any) -> Any:
    q, r = np.linalg.qr(x)
    # A QR factorisation is unique only up to signs. With a positive diagonal of r, q is uniformly distributed over the
    # orthogonal matrices if the elements of x are normally distributed.
    return (q * np.where(np.diagonal(r) < 0, -1, 1)).astype(x.dtype)


ORTHONORMAL = register(
    OpDef(
        "Orthonormal",
        Host(),
        _infer,
        _orthonormal,
        lambda: [
            Sample((np.array([[1, 2], [3, 5], [0, 1]], np.float32),), gradient=False, rtol=1e-4, atol=1e-5),
            Sample((np.array([[-2]], np.float32),), gradient=False),
        ],
        grad=undefined_gradient("made for initial values"),
        dtypes=(float32, float64),
        doc="The q of the QR factorisation whose r has a non-negative diagonal: orthonormal columns.",
    )
)


def orthonormal(x: Any, name: str | None = None) -> Tensor:
    """Orthonormal columns that span those of the matrix x [m, n], m >= n. Raises ValueError for other shapes."""
    return build(ORTHONORMAL, (convert_to_tensor(x),), NO_ATTRS, name)
