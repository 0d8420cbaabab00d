"""Statistics made of reductions: log-sum-exp, variance, moments, norms, counts of non-zeros."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.deferred import Arguments, deferrable
from graphflow.framework.dtypes import FLOATS, as_dtype, float32, int64
from graphflow.framework.errors import ArgumentError
from graphflow.framework.kinds import Composite, ExpandContext, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.axes import check_axes, normal_axes, old_names
from graphflow.ops._define.deferred_types import length_of, open_shape, rank_of
from graphflow.ops._define.half_precision import in_float32
from graphflow.ops._define.types import check_float
from graphflow.ops.array.reshape import squeeze
from graphflow.ops.math.binary import pow, realdiv
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import equal, not_equal
from graphflow.ops.math.reduce import ReduceAttrs, reduce_max, reduce_mean, reduce_sum, reduce_with, reduced_shape
from graphflow.ops.math.unary import abs, sqrt, square


def _infer(ctx: InferContext, attrs: ReduceAttrs, x: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "input", x.dtype)
    if x.shape is None:
        return (x,)
    check_axes(ctx.op_name, attrs.axis, len(x.shape))
    return (TensorType(x.dtype, reduced_shape(x.shape, attrs)),)


def _samples() -> list[Sample]:
    rng = np.random.default_rng(29)

    def case(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool = False) -> Sample:
        return Sample((rng.standard_normal(shape).astype(np.float32),), ReduceAttrs(axis, keepdims), rtol=1e-4, atol=1e-5)

    return [
        case((7,), (0,)), case((3, 5), (1,)), case((3, 5), (0,), True), case((2, 3, 4), (0, 1)), case((), ()),
        case((2, 3, 4), (1, 2), True), case((4, 1), (1,)), case((0, 3), (1,)),
    ]  # fmt: skip


# ---------------------------------------------------------------------------------------------- log-sum-exp


def _log_sum_exp_expand(p: ExpandContext, x: Any) -> Any:
    kept = ReduceAttrs(p.attrs.axis, True)
    largest = p.op("Max", x, attrs=kept)
    # Elements are shifted by the largest so that exp does not overflow. An infinite one would give inf - inf = NaN; with 0 in
    # its place exp and log give the right infinity.
    shift = p.op("SelectV2", p.op("IsFinite", largest), largest, p.const(0, p.outputs[0].dtype))
    total = p.op("Sum", p.op("Exp", p.op("Sub", x, shift)), attrs=kept)
    shape = p.outputs[0].shape
    assert shape is not None
    return p.reshape(p.op("AddV2", p.op("Log", total), shift), shape)


def _log_sum_exp_reference(attrs: ReduceAttrs, x: Any) -> Any:
    x = np.asarray(x)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        largest = np.max(wide, axis=attrs.axis, keepdims=True, initial=-np.inf)
        shift = np.where(np.isfinite(largest), largest, 0.0)
        result = np.log(np.sum(np.exp(wide - shift), axis=attrs.axis, keepdims=True)) + shift
    return (result if attrs.keepdims else np.squeeze(result, attrs.axis)).astype(x.dtype)


LOG_SUM_EXP = register(
    OpDef(
        "LogSumExp",
        Composite(in_float32(_log_sum_exp_expand)),
        _infer,
        _log_sum_exp_reference,
        _samples,
        attrs=ReduceAttrs,
        dtypes=FLOATS,
        onnx="ReduceLogSumExp",
        doc="log(sum(exp(x))) over axes, without overflow.",
    )
)


def reduce_logsumexp(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """log(sum(exp(elements))) along axes, stable for large elements and for infinities; else as `reduce_sum`."""
    axis, kept = old_names(axis, keepdims, reduction_indices, keep_dims)
    return reduce_with(LOG_SUM_EXP, input_tensor, axis, kept, name or "ReduceLogSumExp")


# ---------------------------------------------------------------------------------------------- variance


def _variance_expand(p: ExpandContext, x: Any) -> Any:
    # The distances from the mean, in a second pass: E[x^2] - E[x]^2 would cancel where the mean is large.
    mean = p.op("Mean", x, attrs=ReduceAttrs(p.attrs.axis, True))
    return p.op("Mean", p.op("SquaredDifference", x, mean), attrs=p.attrs)


def _variance_reference(attrs: ReduceAttrs, x: Any) -> Any:
    x = np.asarray(x)
    count = int(np.prod([x.shape[a] for a in attrs.axis], dtype=np.int64))
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        mean = np.sum(wide, axis=attrs.axis, keepdims=True) / np.float64(count)
        total = np.sum(np.square(wide - mean), axis=attrs.axis, keepdims=attrs.keepdims)
        return np.asarray(total / np.float64(count)).astype(x.dtype)


VARIANCE = register(
    OpDef(
        "Variance",
        Composite(in_float32(_variance_expand)),
        _infer,
        _variance_reference,
        _samples,
        attrs=ReduceAttrs,
        dtypes=FLOATS,
        doc="The mean squared distance from the mean over axes.",
    )
)


def reduce_variance(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The (biased) variance along axes; else as `reduce_sum`. TypeError for integers."""
    return reduce_with(VARIANCE, input_tensor, axis, bool(keepdims), name or "reduce_variance")


def reduce_std(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """The square root of `reduce_variance`."""
    with name_scope(name, "reduce_std", [input_tensor]) as scope:
        return sqrt(reduce_variance(input_tensor, axis, keepdims), name=scope)


def moments(
    x: Any, axes: Any, shift: Any = None, name: str | None = None, keep_dims: Any = None, keepdims: Any = None
) -> tuple[Tensor, Tensor]:
    """(mean, variance) of x over `axes`.

    Args:
        shift: accepted; the variance is computed about the mean, so no shift is needed.

    Raises:
        ValueError: an axis that is not there. TypeError: not a float tensor.
    """
    with name_scope(name, "moments", [x]):
        given = convert_to_tensor(x, name="x")
        # As TensorFlow, which computes both moments of 16-bit floats in float32: both results are then rounded once.
        half = given.base_dtype.is_floating and given.base_dtype.size == 2
        y = cast(given, float32) if half else given
        mean = reduce_mean(y, axes, keepdims=True, name="mean")
        variance = reduce_with(VARIANCE, y, axes, True, "variance")
        if not old_names(None, keepdims, None, keep_dims)[1]:
            mean, variance = _without_axes(mean, axes), _without_axes(variance, axes)
        if half:
            return cast(mean, given.base_dtype), cast(variance, given.base_dtype)
        return mean, variance


def _without_types(a: Arguments) -> list[TensorType]:
    rank, count = rank_of(a["x"]), length_of(a["axes"])
    return [TensorType(a["x"].base_dtype, None if rank is None or count is None else open_shape(max(rank - count, 0)))]


@deferrable(_without_types, "axes", op_name="Squeeze")
def _without_axes(x: Tensor, axes: Any) -> Tensor:
    dropped = list(normal_axes(axes, rank_of(x), "moments"))
    result: Tensor = squeeze(x, dropped) if dropped else x
    return result


# ---------------------------------------------------------------------------------------------- norms


def _l2_loss_expand(p: ExpandContext, x: Any) -> Any:
    total = p.op("Sum", p.op("Square", x), attrs=ReduceAttrs(tuple(range(p.inputs[0].rank))))
    return p.op("Mul", total, p.const(0.5, p.outputs[0].dtype))


def _l2_loss_infer(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "t", x.dtype)
    return (TensorType(x.dtype, ()),)


def _l2_loss_reference(attrs: Any, x: Any) -> Any:
    x = np.asarray(x)
    with np.errstate(all="ignore"):
        return np.asarray(np.sum(np.square(x.astype(np.float64))) / 2).astype(x.dtype)


L2_LOSS = register(
    OpDef(
        "L2Loss",
        Composite(in_float32(_l2_loss_expand)),
        _l2_loss_infer,
        _l2_loss_reference,
        lambda: [
            Sample((np.linspace(-1, 2, n, dtype=np.float32).reshape(s),), rtol=1e-4)
            for n, s in ((6, (2, 3)), (1, ()), (0, (0,)), (40, (40,)))
        ],
        dtypes=FLOATS,
        doc="Half the sum of squares.",
    )
)


def l2_loss(t: Any, name: str | None = None) -> Tensor:
    """sum(t ** 2) / 2 as a scalar. TypeError unless t is a float tensor."""
    return build(L2_LOSS, (convert_to_tensor(t, name="t"),), name=name)


def reduce_euclidean_norm(input_tensor: Any, axis: Any = None, keepdims: bool = False, name: str | None = None) -> Tensor:
    """sqrt(sum(x ** 2)) along axes."""
    with name_scope(name, "EuclideanNorm", [input_tensor]) as scope:
        x = convert_to_tensor(input_tensor, name="input_tensor")
        return sqrt(reduce_sum(square(x), axis, bool(keepdims)), name=scope)


def norm(
    tensor: Any, ord: Any = "euclidean", axis: Any = None, keepdims: Any = None, name: str | None = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The norm of vectors or matrices.

    Args:
        ord: "euclidean" (or "fro" for matrices), 1, 2, inf or a positive number.
        axis: an int for vectors, a pair for matrices, None for one flat vector.

    Raises:
        ValueError: an `ord` that is not supported (of matrices 2, which needs singular values), or a wrong axis.
    """
    _, kept = old_names(None, keepdims, None, keep_dims)
    matrix = isinstance(axis, (list, tuple)) and len(axis) == 2
    if isinstance(axis, (list, tuple)) and len(axis) not in (1, 2):
        raise ArgumentError("'axis' must be None, an integer, or a tuple of 2 unique integers")
    if matrix and ord not in ("euclidean", "fro", 1, np.inf):
        raise ArgumentError(f"'ord' must be a supported matrix norm in ['euclidean', 'fro', 1, inf], got {ord}")
    if not matrix and not (ord == "euclidean" or (isinstance(ord, (int, float)) and ord > 0)):
        raise ArgumentError(f"'ord' must be 'euclidean' or a positive number for vectors, got {ord}")
    with name_scope(name, "norm", [tensor]) as scope:
        x = convert_to_tensor(tensor, name="tensor")
        if ord in ("euclidean", "fro") or (ord == 2 and not matrix):
            return sqrt(reduce_sum(square(x), axis, kept), name=scope)
        size = abs(x)
        if matrix:
            rank = None if x._shape is None else len(x._shape)
            rows, columns = (normal_axes(a, rank, "norm")[0] for a in axis)
            # The 1-norm is the largest sum of a column, the infinity norm that of a row.
            summed, over = (rows, columns) if ord == 1 else (columns, rows)
            largest = reduce_max(reduce_sum(size, summed, True), over, True, name=None if not kept else scope)
            if kept:
                return largest

            result: Tensor = squeeze(largest, [rows, columns], name=scope)
            return result
        if ord == np.inf:
            return reduce_max(size, axis, kept, name=scope)
        if ord == 1:
            return reduce_sum(size, axis, kept, name=scope)
        return pow(reduce_sum(pow(size, ord), axis, kept), 1.0 / ord, name=scope)


def normalize(tensor: Any, ord: Any = "euclidean", axis: Any = None, name: str | None = None) -> tuple[Tensor, Tensor]:
    """(tensor / norm, norm) with the norm's axes kept; arguments as of `norm`."""
    with name_scope(name, "normalize", [tensor]) as scope:
        x = convert_to_tensor(tensor, name="tensor")
        size = norm(x, ord, axis, keepdims=True)
        return realdiv(x, size, name=scope), size


# ---------------------------------------------------------------------------------------------- counting


def count_nonzero(
    input_tensor: Any = None, axis: Any = None, keepdims: Any = None, dtype: Any = int64, name: str | None = None,
    reduction_indices: Any = None, keep_dims: Any = None, input: Any = None,
) -> Tensor:  # fmt: skip
    """How many elements along axes are not zero (not False), as `dtype`; else as `reduce_sum`."""
    axis, kept = old_names(axis, keepdims, reduction_indices, keep_dims)
    with name_scope(name, "count_nonzero", [input_tensor]) as scope:
        x = convert_to_tensor(input if input_tensor is None else input_tensor, name="input")
        hits = x if x.base_dtype.is_bool else not_equal(x, 0)
        total = reduce_sum(cast(hits, int64), axis, kept, name=scope if as_dtype(dtype) is int64 else None)
        result: Tensor = total if as_dtype(dtype) is int64 else cast(total, dtype, name=scope)
        return result


def zero_fraction(value: Any, name: str | None = None) -> Tensor:
    """The share of zeros among all elements, as float32; NaN for an empty tensor."""
    with name_scope(name, "zero_fraction", [value]) as scope:
        x = convert_to_tensor(value, name="value")
        return reduce_mean(cast(equal(x, 0), float32), name=scope)


__all__ = [
    "count_nonzero", "l2_loss", "moments", "norm", "normalize", "reduce_euclidean_norm", "reduce_logsumexp",
    "reduce_std", "reduce_variance", "zero_fraction",
]  # fmt: skip
