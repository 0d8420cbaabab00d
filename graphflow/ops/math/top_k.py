"""Ops that ask for order: argmax, argmin, top_k, in_top_k, and running sums and products."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import numpy as np

from graphflow.framework.build import build, build_op, convert_to_tensor
from graphflow.framework.dtypes import FLOATS, NUMERIC, DType, as_dtype, bool_, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import ArgReduction, Composite, ExpandContext, Host, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import brackets
from graphflow.ops.array.axis import PositionAttrs
from graphflow.ops.math.reduce import ReduceAttrs, axis_values, check_axes
from graphflow.ops.nn.softmax import check_float

# ---------------------------------------------------------------------------------------------- argmax and argmin


@record(frozen=True, slots=True)
class ArgAttrs:
    axis: int = 0
    output_type: DType = int64


def _arg_infer(ctx: InferContext, attrs: ArgAttrs, x: TensorType) -> tuple[TensorType, ...]:
    _check_number(ctx, x)
    if x.shape is None:
        return (TensorType(attrs.output_type, None),)
    check_axes(ctx.op_name, (attrs.axis,), len(x.shape))
    if x.shape[attrs.axis] == 0:
        raise ArgumentError(f"{ctx.op_name}: Reduction axis {attrs.axis} is empty in shape {brackets(x.shape)}")
    return (TensorType(attrs.output_type, x.shape[: attrs.axis] + x.shape[attrs.axis + 1 :]),)


def _check_number(ctx: InferContext, x: TensorType) -> None:
    if x.dtype not in NUMERIC:
        raise DTypeError(
            f"{ctx.op_name}: Value passed to parameter 'input' has DataType {x.dtype.name} not in list of allowed "
            f"values: {', '.join(d.name for d in NUMERIC)}"
        )


def _arg_samples() -> list[Sample]:
    rng = np.random.default_rng(17)

    def case(shape: tuple[int, ...], axis: int) -> Sample:
        x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
        return Sample((x,), ArgAttrs(axis), gradient=False)

    ties = Sample((np.array([[1, 3, 3], [2, 2, 2]], np.float32),), ArgAttrs(1), gradient=False)
    return [case((7,), 0), case((3, 5), 0), case((3, 5), 1), case((2, 3, 4), 1), case((0, 3), 1), case((4, 1), 1), ties]


def _arg_op(name: str, which: Literal["max", "min"], find: Callable[..., Any], doc: str) -> OpDef:
    return OpDef(
        name,
        ArgReduction(which),
        _arg_infer,
        lambda attrs, x: np.asarray(find(x, axis=attrs.axis)).astype(attrs.output_type.numpy_dtype),
        _arg_samples,
        grad=not_differentiable("an index"),
        attrs=ArgAttrs,
        dtypes=NUMERIC,
        onnx=name,
        doc=doc,
    )


ARG_MAX = register(_arg_op("ArgMax", "max", np.argmax, "The first index of the largest element along an axis."))
ARG_MIN = register(_arg_op("ArgMin", "min", np.argmin, "The first index of the smallest element along an axis."))


def _arg(op: OpDef, input: Any, axis: Any, dimension: Any, output_type: Any, name: str | None) -> Tensor:
    if axis is not None and dimension is not None:
        raise ArgumentError("Cannot specify both 'axis' and 'dimension'")
    x = convert_to_tensor(input, name="input")
    found = as_dtype(output_type).base_dtype
    if found not in (int32, int64):
        raise DTypeError(f"{op.name}: output_type must be int32 or int64, got {found.name}")
    return build(op, (x,), ArgAttrs(one_position(op.name, dimension if axis is None else axis, x, 0), found), name)


def one_position(op_name: str, axis: Any, x: Tensor, default: int) -> int:
    """The one axis of x that `axis` names, not negative."""
    values = axis_values(axis, op_name) or (default,)
    rank = None if x._shape is None else len(x._shape)
    if len(values) != 1:
        raise ArgumentError(f"{op_name}: one axis is needed, got {values}")
    if rank is None:
        if values[0] < 0:
            raise ArgumentError(f"{op_name}: a negative axis needs an input of known rank; call set_shape on it")
        return values[0]
    check_axes(op_name, values, rank)
    return values[0] % rank


def argmax(input: Any, axis: Any = None, name: str | None = None, dimension: Any = None, output_type: Any = int64) -> Tensor:
    """The index of the largest element along `axis` (by default 0): of several the first; a NaN counts as the largest.

    Args:
        output_type: int64 or int32. `dimension` is the old name of `axis`.

    Raises:
        ValueError: an axis that is not there, or is empty. TypeError: not a numeric tensor.
    """
    return _arg(ARG_MAX, input, axis, dimension, output_type, name)


def argmin(input: Any, axis: Any = None, name: str | None = None, dimension: Any = None, output_type: Any = int64) -> Tensor:
    """The index of the smallest element along `axis`; else as `argmax`."""
    return _arg(ARG_MIN, input, axis, dimension, output_type, name)


def arg_max(input: Any, dimension: Any, output_type: Any = int64, name: str | None = None) -> Tensor:
    """`argmax` under its first name."""
    return argmax(input, dimension, name, output_type=output_type)


def arg_min(input: Any, dimension: Any, output_type: Any = int64, name: str | None = None) -> Tensor:
    """`argmin` under its first name."""
    return argmin(input, dimension, name, output_type=output_type)


# ---------------------------------------------------------------------------------------------- top_k


class TopKV2(NamedTuple):
    """The result of `top_k`."""

    values: Tensor
    indices: Tensor


def _top_k_infer(ctx: InferContext, attrs: Any, x: TensorType, k: TensorType) -> tuple[TensorType, ...]:
    _check_number(ctx, x)
    if x.shape is None:
        return (x, TensorType(int32, None))
    if not x.shape:
        raise ShapeError(f"{ctx.op_name}: input must be >= 1-D, got shape []. Shape must be at least rank 1 but is rank 0")
    count = ctx.value(1)
    size = x.shape[-1]
    if isinstance(count, int) and count < 0:
        raise ArgumentError(f"{ctx.op_name}: Need k >= 0, got {count}")
    if isinstance(count, int) and isinstance(size, int) and count > size:
        raise ArgumentError(f"{ctx.op_name}: input must have last dimension >= k = {count} but is {size}")
    dim = fresh_dim() if count is None or isinstance(count, tuple) else count
    shape = (*x.shape[:-1], dim)
    return (TensorType(x.dtype, shape), TensorType(int32, shape))


def _top_k_reference(attrs: Any, x: Any, k: Any) -> Any:
    x, n = np.asarray(x), int(k)
    size = x.shape[-1]
    if n > size:
        raise ArgumentError(f"TopKV2: input must have at least k columns. Had {size}, needed {n}")
    # Ascending and stable on the reversed row, then reversed: descending, and of equal elements the first one first.
    order = (size - 1 - np.argsort(x[..., ::-1], axis=-1, kind="stable"))[..., ::-1][..., :n]
    return np.take_along_axis(x, order, axis=-1), order.astype(np.int32)


def _top_k_samples() -> list[Sample]:
    rng = np.random.default_rng(19)

    def case(shape: tuple[int, ...], k: int) -> Sample:
        x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
        return Sample((x, np.asarray(k, np.int32)), wrt=(0,))

    return [case((7,), 3), case((3, 5), 5), case((2, 3, 4), 1), case((3, 5), 0), case((0, 3), 2), case((1,), 1)]


TOP_K = register(
    OpDef(
        "TopKV2",
        Host(),
        _top_k_infer,
        _top_k_reference,
        _top_k_samples,
        shape_operands=(1,),
        dtypes=NUMERIC,
        onnx="TopK",
        doc="The k largest elements along the last axis in descending order, and where they were.",
    )
)


def top_k(input: Any, k: Any = 1, sorted: bool = True, name: str | None = None) -> TopKV2:
    """The k largest elements of each row (along the last axis), and their indices (int32).

    Args:
        k: an int or an integer scalar tensor.
        sorted: accepted; the result is always in descending order, of equal elements the one of lower index first.

    Raises:
        ValueError: k is negative or more than a row has, or the input is a scalar.
    """
    x = convert_to_tensor(input, name="input")
    op = build_op(TOP_K, (x, convert_to_tensor(k, name="k")), NO_ATTRS, name)
    return TopKV2(op.outputs[0], op.outputs[1])


# ---------------------------------------------------------------------------------------------- in_top_k


@record(frozen=True, slots=True)
class TopAttrs:
    k: int


def _in_top_infer(ctx: InferContext, attrs: TopAttrs, predictions: TensorType, targets: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "predictions", predictions.dtype)
    if targets.dtype not in (int32, int64):
        raise DTypeError(f"{ctx.op_name}: targets must be int32 or int64, not {targets.dtype.name}")
    shape = targets.shape
    for name, t, rank in (("predictions", predictions, 2), ("targets", targets, 1)):
        if t.shape is not None and len(t.shape) != rank:
            raise ShapeError(
                f"{ctx.op_name}: {name} must be {rank}-dimensional. Shape must be rank {rank} but is rank {len(t.shape)}"
            )
    if predictions.shape is not None and shape is not None:
        rows, given = predictions.shape[0], shape[0]
        message = (
            f"{ctx.op_name}: First dimension of predictions {rows} must match length of targets {given}. "
            f"Dimensions must be equal, but are {rows} and {given}"
        )
        shape = (ctx.unify(rows, given, message),)
    return (TensorType(bool_, shape),)


def _in_top_expand(p: ExpandContext, predictions: Any, targets: Any) -> Any:
    shape = p.inputs[0].shape
    assert shape is not None
    dtype = p.inputs[0].dtype
    over = ReduceAttrs((1,))
    position = p.op("AxisPosition", attrs=PositionAttrs(shape, 1, p.inputs[1].dtype))
    hit = p.op("Equal", p.reshape(targets, (shape[0], 1)), position)
    target = p.op("Sum", p.op("SelectV2", hit, predictions, p.const(0, dtype)), attrs=ReduceAttrs((1,), True))
    one, zero = p.const(1, int32), p.const(0, int32)
    larger = p.op("Sum", p.op("SelectV2", p.op("Greater", predictions, target), one, zero), attrs=over)
    known = p.op("LogicalAnd", p.op("All", p.op("IsFinite", predictions), attrs=over), p.op("Any", hit, attrs=over))
    return p.op("LogicalAnd", known, p.op("Less", larger, p.const(p.attrs.k, int32)))


def _in_top_reference(attrs: TopAttrs, predictions: Any, targets: Any) -> Any:
    hit = np.arange(predictions.shape[1]) == targets[:, None]
    target = np.sum(np.where(hit, predictions, 0), axis=1, keepdims=True)
    larger = np.sum(predictions > target, axis=1)
    return np.isfinite(predictions).all(axis=1) & hit.any(axis=1) & (larger < attrs.k)


def _in_top_samples() -> list[Sample]:
    x = np.array([[1, 5, 3, 3], [2, 2, 2, 2], [9, 1, np.inf, 0], [4, 3, 2, 1]], np.float32)
    targets = [np.array(t, np.int32) for t in ([2, 3, 0, 9], [1, 0, 1, -1], [3, 1, 2, 3])]
    return [Sample((x, t), TopAttrs(k), gradient=False) for t in targets for k in (1, 2, 3)]


IN_TOP_K = register(
    OpDef(
        "InTopKV2",
        Composite(_in_top_expand),
        _in_top_infer,
        _in_top_reference,
        _in_top_samples,
        grad=not_differentiable("bools"),
        attrs=TopAttrs,
        dtypes=FLOATS,
        doc="Whether fewer than k elements of a row are larger than the one at its target.",
    )
)


def in_top_k(predictions: Any, targets: Any, k: Any, name: str | None = None) -> Tensor:
    """Whether each target is among the k largest predictions of its row.

    Elements equal to the target's do not push it out. A row with a prediction that is not finite, or with a target that
    is no class, gives False.

    Args:
        predictions: [batch, classes], floats. targets: [batch], class indices.
        k: an int that is known while the graph is built.

    Raises:
        ValueError: the shapes do not go together. TypeError: wrong dtypes.
    """
    count = axis_values(k, "InTopKV2")
    if count is None or len(count) != 1:
        raise ArgumentError(f"InTopKV2: k must be one int, got {k!r}")
    x = convert_to_tensor(predictions, name="predictions")
    t = convert_to_tensor(targets, name="targets")
    return build(IN_TOP_K, (x, t), TopAttrs(count[0]), name or "InTopK")


# ---------------------------------------------------------------------------------------------- running sums


@record(frozen=True, slots=True)
class CumulativeAttrs:
    axis: int = 0
    exclusive: bool = False
    reverse: bool = False


def _cumulative_infer(ctx: InferContext, attrs: CumulativeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    _check_number(ctx, x)
    if x.shape is not None:
        check_axes(ctx.op_name, (attrs.axis,), len(x.shape))
    return (x,)


def _cumulative_reference(ufunc: Any, start: int) -> Callable[..., Any]:
    def reference(attrs: CumulativeAttrs, x: Any) -> Any:
        x = np.asarray(x)
        if attrs.reverse:
            x = np.flip(x, attrs.axis)
        with np.errstate(all="ignore"):
            total = ufunc.accumulate(x, axis=attrs.axis, dtype=x.dtype)
        if attrs.exclusive and x.shape[attrs.axis]:
            first = np.full_like(np.take(x, [0], attrs.axis), start)
            total = np.concatenate([first, np.take(total, np.arange(x.shape[attrs.axis] - 1), attrs.axis)], attrs.axis)
        return np.ascontiguousarray(np.flip(total, attrs.axis) if attrs.reverse else total)

    return reference


def _cumulative_samples() -> list[Sample]:
    rng = np.random.default_rng(23)
    x = rng.uniform(0.5, 1.5, (3, 5)).astype(np.float32)
    flags = [(False, False), (True, False), (False, True), (True, True)]
    cases = [Sample((x,), CumulativeAttrs(axis, *f), rtol=1e-4) for axis in (0, 1) for f in flags]
    return [*cases, Sample((np.zeros((0, 3), np.float32),), CumulativeAttrs()), Sample((x[0, :1],), CumulativeAttrs())]


def _cumulative(name: str, ufunc: Any, start: int, doc: str) -> OpDef:
    return OpDef(
        name,
        Host(),
        _cumulative_infer,
        _cumulative_reference(ufunc, start),
        _cumulative_samples,
        attrs=CumulativeAttrs,
        dtypes=NUMERIC,
        doc=doc,
    )


CUMSUM = register(_cumulative("Cumsum", np.add, 0, "Running sums along an axis."))
CUMPROD = register(_cumulative("Cumprod", np.multiply, 1, "Running products along an axis."))


def cumsum(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Tensor:
    """Running sums along `axis`: [a, b, c] -> [a, a + b, a + b + c].

    Args:
        exclusive: each sum leaves its own element out: [0, a, a + b].
        reverse: from the end: [a + b + c, b + c, c].
    """
    t = convert_to_tensor(x, name="x")
    return build(CUMSUM, (t,), CumulativeAttrs(one_position("Cumsum", axis, t, 0), bool(exclusive), bool(reverse)), name)


def cumprod(x: Any, axis: Any = 0, exclusive: bool = False, reverse: bool = False, name: str | None = None) -> Tensor:
    """Running products along `axis`; arguments as of `cumsum`. As in TensorFlow, the gradient at a zero is NaN."""
    t = convert_to_tensor(x, name="x")
    return build(CUMPROD, (t,), CumulativeAttrs(one_position("Cumprod", axis, t, 0), bool(exclusive), bool(reverse)), name)


__all__ = [
    "TopKV2", "arg_max", "arg_min", "argmax", "argmin", "cumprod", "cumsum", "in_top_k", "top_k",
]  # fmt: skip
