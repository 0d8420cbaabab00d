"""`softmax` and `log_softmax` along any axis, stable for large logits. Cross entropies are in `cross_entropy`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import FLOATS
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import Composite, ExpandContext, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, register, undefined_gradient
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.axes import axis_values
from graphflow.ops._define.deferred_types import like
from graphflow.ops._define.elementwise import unary_op
from graphflow.ops._define.half_precision import in_float32
from graphflow.ops._define.types import check_float
from graphflow.ops.array.axis import AxisAttrs
from graphflow.ops.math.reduce import ReduceAttrs


def class_axis(op_name: str, axis: int, rank: int) -> int:
    """`axis` as a non-negative int. ShapeError for a scalar, ArgumentError for an axis that is not there."""
    if rank == 0:
        raise ShapeError(f"{op_name}: Shape must be at least rank 1 but is rank 0 for '{{{{node {op_name}}}}}'")
    if not -rank <= axis < rank:
        raise ArgumentError(f"{op_name}: 'axis' must be in [{-rank}, {rank}), but is {axis}. Invalid axis {axis}.")
    return axis % rank


def _infer(ctx: InferContext, attrs: AxisAttrs, logits: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "logits", logits.dtype)
    if logits.shape is not None:
        class_axis(ctx.op_name, attrs.axis, len(logits.shape))
    return (logits,)


def shifted(p: ExpandContext, logits: Any, axis: int) -> tuple[Any, Any, Any]:
    """Returns (logits - largest, the exponentials of that, their sum).

    The exponents are at most 0, so nothing overflows; the largest gives e^0 = 1, so no sum is 0.
    """
    over = ReduceAttrs((axis,), True)
    x = p.op("Sub", logits, p.op("Max", logits, attrs=over))
    e = p.op("ExpNonPositive", x)
    return x, e, p.op("Sum", e, attrs=over)


def normalised(p: ExpandContext, e: Any, total: Any) -> Any:
    """e / total by way of the reciprocal, as TensorFlow computes it: one division per row instead of one per element."""
    return p.op("Mul", e, p.op("Reciprocal", total))


EXP_NON_POSITIVE = register(
    unary_op(
        "ExpNonPositive", lambda b, attrs, x: b.call("exp_nonpositive", x), np.exp,
        "e^x for x <= 0, and 0 where that is below 1e-37: the exponentials of a softmax.", low=-30.0, high=0.0,
        cheap=False, grad=undefined_gradient("only softmaxes, which have gradients of their own, expand to it"),
    )
)  # fmt: skip


def _softmax_expand(p: ExpandContext, logits: Any) -> Any:
    _, e, total = shifted(p, logits, p.attrs.axis % p.inputs[0].rank)
    return normalised(p, e, total)


def _log_softmax_expand(p: ExpandContext, logits: Any) -> Any:
    x, _, total = shifted(p, logits, p.attrs.axis % p.inputs[0].rank)
    # Not the logarithm of the softmax, which is -inf where that underflows.
    return p.op("Sub", x, p.op("Log", total))


def reference_softmax(x: Any, axis: int) -> tuple[Any, Any]:
    """softmax and log_softmax of an array, computed in float64."""
    wide = np.asarray(x).astype(np.float64)
    with np.errstate(all="ignore"):
        moved = wide - np.max(wide, axis=axis, keepdims=True, initial=-np.inf)
        total = np.sum(np.exp(moved), axis=axis, keepdims=True)
        return np.exp(moved) / total, moved - np.log(total)


def _samples() -> list[Sample]:
    rng = np.random.default_rng(3)

    def case(shape: tuple[int, ...], axis: int = -1, scale: float = 1.0, gradient: bool = True) -> Sample:
        x = (scale * rng.standard_normal(shape)).astype(np.float32)
        return Sample((x,), AxisAttrs(axis), gradient=gradient, rtol=1e-4, note="" if gradient else "all but one are 0")

    return [
        case((3, 5)), case((7,)), case((2, 3, 4), 1), case((2, 3, 4), 0), case((4, 1)), case((0, 3)), case((3, 0)),
        case((5, 33)), case((3, 5), scale=1e4, gradient=False),
    ]  # fmt: skip


SOFTMAX = register(
    OpDef(
        "Softmax",
        Composite(in_float32(_softmax_expand)),
        _infer,
        lambda attrs, x: reference_softmax(x, attrs.axis)[0].astype(np.asarray(x).dtype),
        _samples,
        attrs=AxisAttrs,
        dtypes=FLOATS,
        onnx="Softmax",
        doc="exp(x) / sum(exp(x)) along an axis; NaN where all of it is -inf.",
    )
)

LOG_SOFTMAX = register(
    OpDef(
        "LogSoftmax",
        Composite(in_float32(_log_softmax_expand)),
        _infer,
        lambda attrs, x: reference_softmax(x, attrs.axis)[1].astype(np.asarray(x).dtype),
        _samples,
        attrs=AxisAttrs,
        dtypes=FLOATS,
        onnx="LogSoftmax",
        doc="x - log(sum(exp(x))) along an axis.",
    )
)


def one_axis(op_name: str, axis: Any, dim: Any, default: int = -1) -> int:
    """The one axis that `axis`, or `dim` (its old name), names."""
    if axis is not None and dim is not None:
        raise ArgumentError("Cannot specify both 'axis' and 'dim'")
    values = axis_values(dim if axis is None else axis, op_name)
    if values is None:
        return default
    if len(values) != 1:
        raise ArgumentError(f"{op_name}: one axis is needed, got {values}")
    return values[0]


def softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """exp(logits) / sum(exp(logits)) along `axis` (the last one by default; `dim` is its old name).

    Args:
        logits: a float tensor of rank 1 or more; the result has its shape.

    Raises:
        ValueError: a scalar, or an axis that is not there. TypeError: not a float tensor.
    """
    return _softmax(SOFTMAX, convert_to_tensor(logits, name="logits"), axis, dim, name)


def log_softmax(logits: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """log(softmax(logits)), also where softmax underflows. Arguments and errors as of `softmax`."""
    return _softmax(LOG_SOFTMAX, convert_to_tensor(logits, name="logits"), axis, dim, name)


@deferrable(like("x"), "axis", "dim")
def _softmax(op: OpDef, x: Tensor, axis: Any, dim: Any = None, name: str | None = None) -> Tensor:
    return build(op, (x,), AxisAttrs(one_axis(op.name, axis, dim)), name)


__all__ = ["log_softmax", "softmax"]
