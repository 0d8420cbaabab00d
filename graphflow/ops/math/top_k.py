"""The largest elements of rows: top_k and in_top_k."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphflow.framework.build import build, build_op, convert_to_tensor
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import FLOATS, NUMERIC, bool_, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Composite, ExpandContext, Host, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.axes import axis_values
from graphflow.ops._define.deferred_types import open_shape
from graphflow.ops._define.types import check_float, check_number
from graphflow.ops.array.axis import PositionAttrs
from graphflow.ops.math.reduce import ReduceAttrs

# ---------------------------------------------------------------------------------------------- top_k


class TopKV2(NamedTuple):
    """The result of `top_k`."""

    values: Tensor
    indices: Tensor


def _top_k_infer(ctx: InferContext, attrs: Any, x: TensorType, k: TensorType) -> tuple[TensorType, ...]:
    check_number(ctx, x)
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
    # A k that only the run knows gives a size that only the run knows.
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
    shape = targets.shape or (None if predictions.shape is None else predictions.shape[:1])
    for name, t, rank in (("predictions", predictions, 2), ("targets", targets, 1)):
        if t.shape is not None and len(t.shape) != rank:
            raise ShapeError(
                f"{ctx.op_name}: {name} must be {rank}-dimensional. Shape must be rank {rank} but is rank {len(t.shape)}"
            )
    if shape is None:
        shape = (fresh_dim(),)
    if predictions.shape is not None:
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
    # The prediction at the target, as a sum over the one position that hits. A target that is no
    # class gives 0 here, and False below.
    target = p.op("Sum", p.op("SelectV2", hit, predictions, p.const(0, dtype)), attrs=ReduceAttrs((1,), True))
    one, zero = p.const(1, int32), p.const(0, int32)
    larger = p.op("Sum", p.op("SelectV2", p.op("Greater", predictions, target), one, zero), attrs=over)
    # As TensorFlow: a prediction that is not finite, or a target that is no class, makes the row false.
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
        k: an int, or a scalar tensor.

    Raises:
        ValueError: the shapes do not go together. TypeError: wrong dtypes.
    """
    x = convert_to_tensor(predictions, name="predictions")
    return _in_top_k(x, convert_to_tensor(targets, name="targets"), k, name or "InTopK")


@deferrable(lambda a: [TensorType(bool_, open_shape(1))], "k")
def _in_top_k(x: Tensor, t: Tensor, k: Any, name: str | None = None) -> Tensor:
    # An attribute: the op expands to a comparison with a constant.
    count = axis_values(k, "InTopKV2")
    if count is None or len(count) != 1:
        raise ArgumentError(f"InTopKV2: k must be one int, got {k!r}")
    return build(IN_TOP_K, (x, t), TopAttrs(count[0]), name)


__all__ = ["TopKV2", "in_top_k", "top_k"]
