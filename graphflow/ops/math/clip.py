"""Clipping by norms. `clip_by_value` is in `combine`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.dtypes import float32
from graphflow.framework.errors import ArgumentError
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.tensor import Tensor
from graphflow.ops.math.add_n import add_n
from graphflow.ops.math.binary import add, maximum, minimum, multiply, realdiv, subtract
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import greater, where_v2
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.statistics import l2_loss
from graphflow.ops.math.unary import rsqrt, sqrt, square


def _values(t: Any, name: str) -> Tensor:
    return t.values if isinstance(t, IndexedSlices) else convert_to_tensor(t, name=name)


def _like(t: Any, values: Tensor) -> Any:
    """`values` in the form of t: a sparse gradient stays sparse."""
    return IndexedSlices(values, t.indices, t.dense_shape) if isinstance(t, IndexedSlices) else values


def clip_by_norm(t: Any, clip_norm: Any, axes: Any = None, name: str | None = None) -> Any:
    """t, scaled down to the L2 norm `clip_norm` where its own (along `axes`, all by default) is larger.

    A tensor of zeros stays as it is, and its gradient is that of the identity.
    """
    with name_scope(name, "clip_by_norm", [_values(t, "t")]) as scope:
        values = _values(t, "t")
        squares = reduce_sum(square(values), axes, keepdims=values._shape is not None)
        positive = greater(squares, 0)
        # The root has no derivative at 0, so it is taken of 1 there and not used.
        norm = where_v2(positive, sqrt(where_v2(positive, squares, 1)), squares)
        limit = convert_to_tensor(clip_norm, values.base_dtype)
        return _like(t, realdiv(multiply(values, limit), maximum(norm, limit), name=scope))


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Tensor:
    """t, scaled down to the average L2 norm (the norm over the number of elements) `clip_norm` where it is larger."""
    from graphflow.ops.array.shape import size

    with name_scope(name, "clip_by_average_norm", [t]) as scope:
        values = convert_to_tensor(t, name="t")
        limit = convert_to_tensor(clip_norm, values.base_dtype)
        inverse = multiply(rsqrt(reduce_sum(square(values))), cast(size(values), values.base_dtype))
        return multiply(multiply(values, limit), minimum(inverse, realdiv(1, limit)), name=scope)


def global_norm(t_list: Any, name: str | None = None) -> Tensor:
    """The L2 norm of all tensors together; entries may be None (they count nothing) or IndexedSlices.

    Raises:
        TypeError: `t_list` is no sequence.
    """
    items = _sequence(t_list)
    with name_scope(name, "global_norm", [t for t in items if t is not None]) as scope:
        halves = [l2_loss(_values(t, f"t_{i}")) for i, t in enumerate(items) if t is not None]
        if not halves:
            return convert_to_tensor(0.0, name="global_norm")
        wide = [cast(h, float32) if h.base_dtype.size == 2 else h for h in halves]
        return sqrt(multiply(add_n(wide), convert_to_tensor(2.0, wide[0].base_dtype)), name=scope)


def _sequence(t_list: Any) -> list[Any]:
    if not isinstance(t_list, Sequence) or isinstance(t_list, (str, bytes)):
        raise TypeError("t_list should be a sequence")
    return list(t_list)


def clip_by_global_norm(t_list: Any, clip_norm: Any, use_norm: Any = None, name: str | None = None) -> tuple[list[Any], Tensor]:
    """All tensors, scaled down together so that their common norm is at most `clip_norm`, and that norm before.

    Args:
        t_list: tensors, IndexedSlices and Nones; None stays None.
        use_norm: the global norm, if it is known already.

    Returns:
        (the clipped ones in a list, the global norm). An infinite or NaN norm makes all of them NaN.

    Raises:
        TypeError: `t_list` is no sequence. ValueError: `clip_norm` is a negative number.
    """
    items = _sequence(t_list)
    if isinstance(clip_norm, (int, float)) and clip_norm < 0:
        raise ArgumentError(f"clip_by_global_norm: clip_norm must not be negative, got {clip_norm}")
    norm = global_norm(items) if use_norm is None else convert_to_tensor(use_norm)
    with name_scope(name, "clip_by_global_norm", [t for t in items if t is not None]):
        limit = convert_to_tensor(clip_norm, norm.base_dtype, name="clip_norm")
        factor = multiply(limit, minimum(realdiv(1.0, norm), realdiv(1.0, limit)))
        # An infinite norm would scale by 0 and so hide itself; the difference is 0, or NaN for a norm not finite.
        scale = add(factor, subtract(norm, norm))
        clipped: list[Any] = []
        for i, t in enumerate(items):
            if t is None:
                clipped.append(None)
                continue
            values = _values(t, f"t_{i}")
            own = scale if values.base_dtype is scale.base_dtype else cast(scale, values.base_dtype)
            clipped.append(_like(t, multiply(values, own)))
        return clipped, norm


__all__ = ["clip_by_average_norm", "clip_by_global_norm", "clip_by_norm", "global_norm"]
