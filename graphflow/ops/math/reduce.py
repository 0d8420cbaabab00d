"""Reductions over axes: sum, mean, prod, max, min, all, any."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like
from graphflow.framework.deferred import Arguments, deferrable
from graphflow.framework.dtypes import NUMERIC, DType, as_dtype, bool_, int64
from graphflow.framework.kinds import Reduction, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Shape, product
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.axes import check_axes, normal_axes, old_names
from graphflow.ops._define.deferred_types import length_of, open_shape, rank_of
from graphflow.ops._define.types import refuse
from graphflow.ops.array.reshape import reshape


@record(frozen=True, slots=True)
class ReduceAttrs:
    """`axis`: the reduced axes, ascending and not negative; `keepdims`: they stay, with size 1."""

    axis: tuple[int, ...]
    keepdims: bool = False


def reduced_shape(shape: Shape, attrs: ReduceAttrs) -> Shape:
    if attrs.keepdims:
        return tuple(1 if i in attrs.axis else d for i, d in enumerate(shape))
    return tuple(d for i, d in enumerate(shape) if i not in attrs.axis)


def _infer(kinds: str) -> Callable[..., tuple[TensorType, ...]]:
    def infer(ctx: InferContext, attrs: ReduceAttrs, x: TensorType) -> tuple[TensorType, ...]:
        if x.dtype.kind not in kinds:
            raise refuse(ctx, "input", x.dtype, kinds)
        if x.shape is None:
            return (x,)
        check_axes(ctx.op_name, attrs.axis, len(x.shape))
        return (TensorType(x.dtype, reduced_shape(x.shape, attrs)),)

    return infer


# ---------------------------------------------------------------------------------------------- arguments


def reduce_with(op: OpDef, input_tensor: Any, axis: Any, keepdims: bool, name: str | None) -> Tensor:
    """Adds the reduction `op` over `axis` of a value."""
    # An empty list has no dtype of its own; logical reductions know theirs.
    dtype = bool_ if op.dtypes == (bool_,) and not is_tensor_like(input_tensor) else None
    return _reduced(op, convert_to_tensor(input_tensor, dtype, name="input_tensor"), axis, keepdims, name)


def _reduced_types(a: Arguments) -> list[TensorType]:
    x, rank, count = a["x"], rank_of(a["x"]), length_of(a["axis"])
    left = rank if rank is None or a["keepdims"] else None if count is None else max(rank - count, 0)
    return [TensorType(x.base_dtype, None if left is None else open_shape(left))]


@deferrable(_reduced_types, "axis")
def _reduced(op: OpDef, x: Tensor, axis: Any, keepdims: bool, name: str | None = None) -> Tensor:
    # Attributes name the axes, so what is to be reduced over all axes, of which the number is unknown, is flattened first.
    if x._shape is None and axis is None and not keepdims:
        return build(op, (reshape(x, [-1]),), ReduceAttrs((0,)), name)
    return build(op, (x,), ReduceAttrs(normal_axes(axis, rank_of(x), op.name), keepdims), name)


# ---------------------------------------------------------------------------------------------- the ops


def numpy_reduction(ufunc: Any, identity: Callable[[DType], Any]) -> Callable[..., Any]:
    """The numpy reference of a reduction; 16-bit floats are added up in float32, as in the kernels."""

    def reference(attrs: ReduceAttrs, x: Any) -> Any:
        x = np.asarray(x)
        dtype = as_dtype(x.dtype)
        wide = np.float32 if dtype.is_floating and dtype.size == 2 else x.dtype
        with np.errstate(all="ignore"):
            start = np.asarray(identity(dtype)).astype(wide)
            result = ufunc.reduce(x.astype(wide), axis=attrs.axis, keepdims=attrs.keepdims, initial=start)
        return np.asarray(result).astype(x.dtype)

    return reference


def _mean_reference(attrs: ReduceAttrs, x: Any) -> Any:
    x = np.asarray(x)
    floating = as_dtype(x.dtype).is_floating
    wide = np.int64 if not floating else np.float64 if x.dtype == np.float64 else np.float32
    total = np.asarray(np.sum(x.astype(wide), axis=attrs.axis, keepdims=attrs.keepdims))
    count = int(np.prod([x.shape[a] for a in attrs.axis], dtype=np.int64))
    with np.errstate(all="ignore"):
        if floating:
            return np.asarray(total / wide(count)).astype(x.dtype)
        # Truncated towards zero, as the kernel does it; // alone rounds down.
        return (np.sign(total) * (np.abs(total) // max(count, 1))).astype(x.dtype)


def lowest(dtype: DType) -> float | int:
    # The lowest finite number would be wrong for rows of -inf.
    return float("-inf") if dtype.is_floating else int(dtype.min)


def highest(dtype: DType) -> float | int:
    return float("inf") if dtype.is_floating else int(dtype.max)


def _samples() -> list[Sample]:
    rng = np.random.default_rng(5)

    def case(shape: tuple[int, ...], axis: tuple[int, ...], keepdims: bool = False) -> Sample:
        # Distinct values, none of them near 0: no ties for max, no poles for the gradient of prod.
        values = (rng.permutation(int(np.prod(shape))) + 2.0) / 4.0
        return Sample((values.reshape(shape).astype(np.float32),), ReduceAttrs(axis, keepdims), rtol=1e-4)

    return [
        case((), ()), case((7,), (0,)), case((3, 5), (1,)), case((3, 5), (0,), True), case((2, 3, 4), (0, 2)),
        case((2, 3, 4), (1,), True), case((1, 1), (0, 1)), case((0, 3), (0,)), case((3, 0), (1,), True),
        case((3, 5), ()), case((17, 9), (0, 1)),
    ]  # fmt: skip


def _logical_samples() -> list[Sample]:
    x = np.array([[True, False, True], [True, True, True]])
    attrs = [ReduceAttrs((1,)), ReduceAttrs((0, 1)), ReduceAttrs((0,), True), ReduceAttrs(())]
    cases = [Sample((x,), a, gradient=False) for a in attrs]
    return [*cases, Sample((np.zeros((0, 2), bool),), ReduceAttrs((0,)), gradient=False)]


def _reduction(
    name: str, combine: Literal["add", "mul", "max", "min"], identity: Callable[[DType], float | int], ufunc: Any,
    doc: str, shape_value: Callable[..., ShapeValue | None] | None = None,
) -> OpDef:  # fmt: skip
    return OpDef(
        name,
        Reduction(combine, identity),
        _infer("fiu"),
        numpy_reduction(ufunc, identity),
        _samples,
        attrs=ReduceAttrs,
        shape_value=shape_value,
        dtypes=NUMERIC,
        onnx=f"Reduce{name}",
        doc=doc,
    )


def _product_value(attrs: ReduceAttrs, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    """``tf.reduce_prod(tf.shape(x)[1:])`` is a size like any other."""
    value = values[0]
    return product(value) if isinstance(value, tuple) and attrs.axis and not attrs.keepdims else None


def _logical(name: str, combine: Literal["and", "or"], start: bool, ufunc: Any, doc: str) -> OpDef:
    return OpDef(
        name,
        Reduction(combine, lambda dtype: start),
        _infer("b"),
        lambda attrs, x: np.asarray(ufunc.reduce(x, axis=attrs.axis, keepdims=attrs.keepdims)),
        _logical_samples,
        grad=not_differentiable("bools"),
        attrs=ReduceAttrs,
        dtypes=(bool_,),
        doc=doc,
    )


def _mean_prepare(b: Any, attrs: ReduceAttrs, x: Any) -> Any:
    # The sum of integers may not fit their own type although their mean does.
    return b.cast(x, int64) if b.dtype(x).is_integer else x


def _mean_finish(b: Any, attrs: ReduceAttrs, total: Any, count: Any) -> Any:
    if b.dtype(total).is_integer:
        # The mean of no integers must not divide by 0, which traps; that of no floats is 0 / 0 = NaN by itself.
        return b.binary("truncdiv", total, b.select(b.eq(count, 0), 1, count))
    return b.div(total, count)


SUM = register(_reduction("Sum", "add", lambda dtype: 0, np.add, "Sum over axes."))
PROD = register(_reduction("Prod", "mul", lambda dtype: 1, np.multiply, "Product over axes.", _product_value))
MAX = register(_reduction("Max", "max", lowest, np.maximum, "Largest element; NaN wins."))
MIN = register(_reduction("Min", "min", highest, np.minimum, "Smallest element; NaN wins."))
ALL = register(_logical("All", "and", True, np.logical_and, "Whether all elements are true."))
ANY = register(_logical("Any", "or", False, np.logical_or, "Whether any element is true."))
MEAN = register(
    OpDef(
        "Mean",
        Reduction("add", lambda dtype: 0, _mean_prepare, _mean_finish),
        _infer("fiu"),
        _mean_reference,
        _samples,
        attrs=ReduceAttrs,
        dtypes=NUMERIC,
        onnx="ReduceMean",
        doc="Mean over axes; that of integers is truncated towards zero.",
    )
)


# ---------------------------------------------------------------------------------------------- user functions


def reduce_sum(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The sum of the elements along axes.

    Args:
        input_tensor: a numeric tensor.
        axis: an int, a list of ints (negative ones count from the end), or None for all axes; ``[]`` reduces nothing.
        keepdims: the reduced axes stay with size 1.
        reduction_indices, keep_dims: the old names of `axis` and `keepdims`.

    Raises:
        ValueError: an axis out of range. TypeError: bools or strings.
    """
    return reduce_with(SUM, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


def reduce_mean(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The mean along axes, as `reduce_sum`. Of integers it is an integer; over no elements it is NaN."""
    return reduce_with(MEAN, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


def reduce_prod(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The product along axes, as `reduce_sum`."""
    return reduce_with(PROD, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


def reduce_max(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The largest element along axes, as `reduce_sum`; -inf (or the lowest integer) over no elements."""
    return reduce_with(MAX, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


def reduce_min(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """The smallest element along axes, as `reduce_sum`; inf (or the highest integer) over no elements."""
    return reduce_with(MIN, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


def reduce_all(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """Whether all elements along axes are true. TypeError unless `input_tensor` is bool."""
    return reduce_with(ALL, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


def reduce_any(
    input_tensor: Any, axis: Any = None, keepdims: Any = None, name: str | None = None, reduction_indices: Any = None,
    keep_dims: Any = None,
) -> Tensor:  # fmt: skip
    """Whether any element along axes is true. TypeError unless `input_tensor` is bool."""
    return reduce_with(ANY, input_tensor, *old_names(axis, keepdims, reduction_indices, keep_dims), name)


__all__ = ["reduce_all", "reduce_any", "reduce_max", "reduce_mean", "reduce_min", "reduce_prod", "reduce_sum"]
