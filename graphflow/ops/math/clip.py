"""Clipping of elements to a range, and of whole tensors to a norm."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import DType, as_dtype, float32
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.kinds import Elementwise, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.types import allowed, broadcast, mismatch, refuse, unequal
from graphflow.ops.array.shape import size
from graphflow.ops.math.add_n import add_n
from graphflow.ops.math.binary import add, maximum, minimum, multiply, realdiv, subtract
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import greater
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.statistics import l2_loss
from graphflow.ops.math.unary import rsqrt, sqrt, square

# ---------------------------------------------------------------------------------------------- of elements


def _clip_infer(ctx: InferContext, attrs: Any, x: TensorType, low: TensorType, high: TensorType) -> tuple[TensorType, ...]:
    for arg, bound in (("clip_value_min", low), ("clip_value_max", high)):
        if bound.dtype is not x.dtype:
            raise mismatch(ctx, ("t", arg), x, bound)
    if x.dtype.kind not in "fiu":
        raise refuse(ctx, "t", x.dtype, "fiu")
    shape = broadcast(ctx, broadcast(ctx, x.shape, high.shape), low.shape)
    # Bounds may broadcast to the tensor, but not the tensor to the bounds, as in TensorFlow.
    if shape is not None and x.shape is not None and len(shape) > len(x.shape):
        raise ShapeError(f"clip_by_value: {unequal('the bounds would broadcast the tensor', x.shape, shape)}")
    return (TensorType(x.dtype, shape),)


def _clip_samples() -> list[Sample]:
    x = np.linspace(-3.1, 3.3, 12, dtype=np.float32).reshape(3, 4)
    low, high = np.array(-1.0, np.float32), np.array(2.0, np.float32)
    rows = np.array([[-2.0], [-1.0], [0.0]], np.float32)
    return [
        Sample((x, low, high)),
        Sample((x, rows, high)),
        Sample((x[0, 0].reshape(()), low, high)),
        Sample((x[:0], low, high)),
        Sample((x, high, low)),  # bounds the wrong way round: the lower one is taken last, and wins
    ]


def _clip_reference(x: Any, low: Any, high: Any) -> Any:
    below = np.where(x > high, high, x)
    return np.asarray(np.where(below < low, low, below)).astype(x.dtype)


CLIP_BY_VALUE = register(
    OpDef(
        "ClipByValue",
        # The upper bound first, as in TensorFlow.
        Elementwise(lambda b, attrs, x, low, high: b.maximum(b.minimum(x, high), low)),
        _clip_infer,
        lambda attrs, x, low, high: _clip_reference(x, low, high),
        _clip_samples,
        dtypes=allowed("fiu"),
        doc="x limited to [low, high]; NaN stays NaN.",
    )
)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """t limited to [clip_value_min, clip_value_max], which broadcast to its shape. An IndexedSlices stays one.

    Elements that are limited pass no gradient to t; NaN stays NaN.
    """
    if isinstance(t, IndexedSlices):
        return IndexedSlices(clip_by_value(t.values, clip_value_min, clip_value_max, name), t.indices, t.dense_shape)
    values = convert_to_tensor(t, name="t")
    graph = values.graph
    with graph.as_default(), graph.name_scope(name or "clip_by_value") as scope:
        # Numbers take the dtype of the tensor; tensors must have it.
        bounds = [
            convert_to_tensor(v, None if is_tensor_like(v) else values.base_dtype, name=arg)
            for v, arg in ((clip_value_min, "clip_value_min"), (clip_value_max, "clip_value_max"))
        ]
    return graph.create_op(CLIP_BY_VALUE, (values, *bounds), NO_ATTRS, scope).outputs[0]


def saturate_cast(value: Any, dtype: Any, name: str | None = None) -> Any:
    """`value` as `dtype`, clamped to its range first."""
    target = as_dtype(dtype).base_dtype
    t = convert_to_tensor(value, name="value")
    graph = t.graph
    with graph.as_default(), graph.name_scope(name or "saturate_cast") as scope:
        source = t.base_dtype
        if not source.is_bool and not target.is_bool and source is not target:
            # Only a side that the source exceeds needs an op.
            if float(source.min) < float(target.min):
                t = maximum(t, _bound(target.min, source, target), name="lower")
            if float(source.max) > float(target.max):
                t = minimum(t, _bound(target.max, source, target), name="upper")
        return cast(t, target, name=scope)


def _bound(limit: Any, source: DType, target: DType) -> Any:
    """A limit of `target` as a value of `source`. If rounding puts it out of range, the cast that follows saturates."""
    return int(limit) if source.is_integer else np.asarray(float(limit)).astype(source.numpy_dtype)


# ---------------------------------------------------------------------------------------------- by norms


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
        # The reduced axes stay, so that the norm broadcasts back; without a known rank there is one norm of all.
        squares = reduce_sum(square(values), axes, keepdims=axes is not None or values._shape is not None)
        positive = greater(squares, 0)
        # The root has no derivative at 0, so there it is taken of 1, and the outer selection drops it: were it not for the
        # inner one, the infinite derivative times 0 would be NaN.
        norm = where_v2(positive, sqrt(where_v2(positive, squares, 1)), squares)
        limit = convert_to_tensor(clip_norm, values.base_dtype)
        scaled = multiply(values, limit)
        if not scaled.shape.is_compatible_with(values.shape):
            raise ShapeError(f"clip_by_norm: Shapes {values.shape} and {scaled.shape} are incompatible: clip_norm broadcasts t")
        return _like(t, realdiv(scaled, maximum(norm, limit), name=scope))


def clip_by_average_norm(t: Any, clip_norm: Any, name: str | None = None) -> Tensor:
    """t, scaled down to the average L2 norm (the norm over the number of elements) `clip_norm` where it is larger."""
    with name_scope(name, "clip_by_average_norm", [t]) as scope:
        values = convert_to_tensor(t, name="t")
        limit = convert_to_tensor(clip_norm, values.base_dtype)
        # TensorFlow's formula, in its order of operations.
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
        # Norms of 16-bit tensors are added up in float32: squares soon exceed float16.
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
        # norm - norm is 0, or NaN where the norm is infinite or NaN. Without it an infinite norm would give the factor 0, and
        # hide itself. TensorFlow does the same.
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


__all__ = [
    "clip_by_average_norm", "clip_by_global_norm", "clip_by_norm", "clip_by_value", "global_norm", "saturate_cast",
]  # fmt: skip
