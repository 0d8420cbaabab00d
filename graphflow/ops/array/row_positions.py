"""Positions with several coordinates as row numbers of the tensor with its first axes merged, for gather and scatter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import constant, convert_to_tensor
from graphflow.framework.shapes import static_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.concat import concat
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.strided_slice import slice_axis
from graphflow.ops.math.binary import add, multiply
from graphflow.ops.math.compare import greater_equal, less, logical_or
from graphflow.ops.math.select import where_v2


def row_positions(parts: Sequence[Tensor], sizes: Sequence[Tensor | None]) -> Tensor:
    """Row-major offset of the position whose coordinates are `parts`, in a box of `sizes` (None: not checked).

    A coordinate out of its range gives -1, so that a gather or scatter by it is still refused.
    """
    total = parts[0]
    outside: Tensor | None = None
    for k, (part, size) in enumerate(zip(parts, sizes, strict=True)):
        if size is None:
            continue
        total = part if k == 0 else add(multiply(total, size), part)
        # Each coordinate alone: one that is out of range may well give an offset within.
        bad = logical_or(less(part, 0), greater_equal(part, size))
        outside = bad if outside is None else logical_or(outside, bad)
    return total if outside is None else where_v2(outside, convert_to_tensor(-1, total.base_dtype), total)


def merged_shape(x: Tensor, start: int, stop: int) -> Tensor:
    """The shape of x with its axes start, ..., stop - 1 merged into one. (-1 would not do: other sizes may be 0.)"""
    static = None if x._shape is None else static_shape(x._shape)
    if static is not None:
        with x.graph.as_default():
            return constant(np.array([*static[:start], math.prod(static[start:stop]), *static[stop:]], np.int32), name="Shape")
    sizes = shape_tensor(x)
    count: Any = 1
    for k in range(start, stop):
        count = sizes[k] * count
    return concat([slice_axis(sizes, 0, 0, start), [count], slice_axis(sizes, 0, stop, None)], 0)
