"""Softmax cross entropies of logits, with dense labels or class indices.

The ops have two outputs, as TensorFlow's have: the loss, and its derivative with respect to the logits. So the loss and the
gradient that a training step needs come from one pass over the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build_op, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import FLOATS, float32, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Composite, Elementwise, ExpandContext, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Shape, format_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.half_precision import in_float32
from graphflow.ops._define.types import brackets, check_float
from graphflow.ops.array.axis import AxisAttrs, AxisSizeAttrs, PositionAttrs
from graphflow.ops.array.identity import stop_gradient
from graphflow.ops.math.cast import cast
from graphflow.ops.math.reduce import ReduceAttrs
from graphflow.ops.nn.softmax import class_axis, normalised, one_axis, reference_softmax, shifted

_LABEL_TYPES = (int32, int64)
#: Labels that an error shows beside the one that is wrong.
_SHOWN_LABELS = 32


def _without(shape: Shape, axis: int) -> Shape:
    return shape[:axis] + shape[axis + 1 :]


# ---------------------------------------------------------------------------------------------- dense labels


def _dense_infer(ctx: InferContext, attrs: AxisAttrs, logits: TensorType, labels: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "features", logits.dtype)
    if labels.dtype is not logits.dtype:
        raise DTypeError(
            f"Input 'labels' of '{ctx.op_name}' Op has type {labels.dtype.name} that does not match type "
            f"{logits.dtype.name} of argument 'features'."
        )
    if logits.shape is None:
        return (TensorType(logits.dtype, None), TensorType(logits.dtype, None))
    try:
        # Labels of unknown shape have that of the logits, as in TensorFlow.
        shape = logits.shape if labels.shape is None else ctx.broadcast(logits.shape, labels.shape)
    # The words of broadcasting first, then those that TensorFlow has for this op.
    except ShapeError as e:
        raise ShapeError(
            f"{e}. logits and labels must be broadcastable: logits_size={brackets(logits.shape)} "
            f"labels_size={brackets(labels.shape or ())}"
        ) from None
    axis = class_axis(ctx.op_name, attrs.axis, len(shape))
    return (TensorType(logits.dtype, _without(shape, axis)), TensorType(logits.dtype, shape))


def _dense_expand(p: ExpandContext, logits: Any, labels: Any) -> Any:
    shape = p.outputs[1].shape
    assert shape is not None
    logits, labels = p.broadcast_to(logits, shape), p.broadcast_to(labels, shape)
    axis = p.attrs.axis % len(shape)
    x, e, total = shifted(p, logits, axis)
    zero = p.const(0, p.outputs[0].dtype)
    # A class with label 0 adds nothing, also where its logit is -inf: 0 * inf would be NaN.
    terms = p.op("Mul", labels, p.op("Sub", p.op("Log", total), x))
    terms = p.op("SelectV2", p.op("Equal", labels, zero), zero, terms)
    loss = p.op("Sum", terms, attrs=ReduceAttrs((axis,)))
    return loss, p.op("Sub", normalised(p, e, total), labels)


def _dense_reference(attrs: AxisAttrs, logits: Any, labels: Any) -> Any:
    logits, labels = np.broadcast_arrays(logits, labels)
    probabilities, logs = reference_softmax(logits, attrs.axis)
    with np.errstate(all="ignore"):
        terms = np.where(labels == 0, 0.0, -labels * logs)
        loss = np.sum(terms, axis=attrs.axis)
        return loss.astype(logits.dtype), (probabilities - labels).astype(logits.dtype)


def _dense_samples() -> list[Sample]:
    rng = np.random.default_rng(11)

    def case(shape: tuple[int, ...], axis: int = -1, labels_shape: tuple[int, ...] | None = None) -> Sample:
        logits = rng.standard_normal(shape).astype(np.float32)
        labels = rng.uniform(0.1, 1.0, shape if labels_shape is None else labels_shape)
        # Output 1 is the derivative by the logits for labels that sum to 1.
        labels /= labels.sum(axis=axis, keepdims=True)
        return Sample((logits, labels.astype(np.float32)), AxisAttrs(axis), rtol=1e-4, atol=1e-5)

    return [case((3, 5)), case((7,)), case((2, 3, 4), 1), case((4, 1)), case((0, 3)), case((3, 5), -1, (1, 5))]


SOFTMAX_CROSS_ENTROPY = register(
    OpDef(
        "SoftmaxCrossEntropyWithLogits",
        Composite(in_float32(_dense_expand)),
        _dense_infer,
        _dense_reference,
        _dense_samples,
        attrs=AxisAttrs,
        dtypes=FLOATS,
        doc="Cross entropy of dense labels, and its derivative by the logits.",
    )
)

# ---------------------------------------------------------------------------------------------- class indices


@record(frozen=True, slots=True)
class ClassesAttrs:
    """The number of classes as the error shows it: a number, or ``?``."""

    classes: str = "?"


def _out_of_range(attrs: ClassesAttrs) -> str:
    return f"Received a label value which is outside the valid range of [0, {attrs.classes})."


def _checked_reference(attrs: Any, labels: Any, classes: Any) -> Any:
    labels = np.asarray(labels)
    bad = labels[(labels < 0) | (labels >= classes)]
    if bad.size:
        shown = " ".join(map(str, labels.ravel()[:_SHOWN_LABELS].tolist())) + ("..." if labels.size > _SHOWN_LABELS else "")
        raise ArgumentError(
            f"Received a label value of {int(bad[0])} which is outside the valid range of [0, {int(classes)}).  "
            f"Label values: {shown}"
        )
    return labels


CHECKED_LABEL = register(
    OpDef(
        "CheckedLabel",
        Elementwise(
            lambda b, attrs, label, classes: label,
            check=lambda b, attrs, label, classes: b.or_(b.lt(label, 0), b.ge(b.cast(label, int64), classes)),
            check_message=_out_of_range,
        ),
        lambda ctx, attrs, labels, classes: (labels,),
        _checked_reference,
        lambda: [Sample((np.array([0, 2, 1], np.int32), np.asarray(3, np.int64)), ClassesAttrs("3"), gradient=False)],
        grad=not_differentiable("class indices"),
        attrs=ClassesAttrs,
        doc="Class indices; the run fails if one is not below the number of classes.",
    )
)


def _sparse_infer(ctx: InferContext, attrs: AxisAttrs, logits: TensorType, labels: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "features", logits.dtype)
    if labels.dtype not in _LABEL_TYPES:
        raise DTypeError(
            f"{ctx.op_name}: Value passed to parameter 'labels' has DataType {labels.dtype.name} not in list of "
            "allowed values: int32, int64"
        )
    if logits.shape is None:
        return (TensorType(logits.dtype, labels.shape), logits)
    # The classes lie along the last axis in any case; the call refuses scalars.
    class_axis(ctx.op_name, attrs.axis, len(logits.shape))
    rows = logits.shape[:-1]
    if labels.shape is not None:
        seen_logits, seen_labels = logits.shape, labels.shape
        rows = ctx.policy.unify_shapes(rows, labels.shape, lambda: _mismatch(ctx.op_name, seen_logits, seen_labels))
    return (TensorType(logits.dtype, rows), TensorType(logits.dtype, (*rows, logits.shape[-1])))


def _mismatch(op_name: str, logits: Shape, labels: Shape) -> str:
    if len(labels) != len(logits) - 1:
        return (
            f"{op_name}: Rank mismatch: Rank of labels (received {len(labels)}) should equal rank of logits minus 1 "
            f"(received {len(logits)})."
        )
    return (
        f"{op_name}: Shape mismatch: The shape of labels (received {format_shape(labels)}) should equal the shape of "
        f"logits except for the last dimension (received {format_shape(logits)})."
    )


def _sparse_expand(p: ExpandContext, logits: Any, labels: Any) -> Any:
    shape = p.outputs[1].shape
    assert shape is not None
    dtype, axis = p.outputs[0].dtype, len(shape) - 1
    classes = p.op("AxisSize", logits, attrs=AxisSizeAttrs(axis))
    shown = str(shape[axis]) if isinstance(shape[axis], int) else "?"
    # Checked before use: an index out of range would hit no class, and the loss would be 0 without a word.
    labels = p.op("CheckedLabel", labels, classes, attrs=ClassesAttrs(shown))
    position = p.op("AxisPosition", attrs=PositionAttrs(shape, axis, p.type(labels).dtype))
    hit = p.op("Equal", p.reshape(labels, (*shape[:-1], 1)), position)
    x, e, total = shifted(p, logits, axis)
    zero = p.const(0, dtype)
    terms = p.op("SelectV2", hit, p.op("Sub", p.op("Log", total), x), zero)
    loss = p.op("Sum", terms, attrs=ReduceAttrs((axis,)))
    return loss, p.op("Sub", normalised(p, e, total), p.op("SelectV2", hit, p.const(1, dtype), zero))


def _sparse_reference(attrs: AxisAttrs, logits: Any, labels: Any) -> Any:
    logits = np.asarray(logits)
    labels = _checked_reference(None, labels, logits.shape[-1])
    probabilities, logs = reference_softmax(logits, -1)
    hit = np.arange(logits.shape[-1]) == labels[..., None]
    loss = np.sum(np.where(hit, -logs, 0.0), axis=-1)
    return loss.astype(logits.dtype), (probabilities - hit).astype(logits.dtype)


def _sparse_samples() -> list[Sample]:
    rng = np.random.default_rng(12)

    def case(shape: tuple[int, ...], labels: Any) -> Sample:
        logits = rng.standard_normal(shape).astype(np.float32)
        return Sample((logits, np.asarray(labels, np.int32)), AxisAttrs(), wrt=(0,), rtol=1e-4, atol=1e-5)

    return [
        case((3, 5), [0, 4, 2]), case((4, 1), [0] * 4), case((0, 3), []), case((5,), 3),
        case((2, 3, 4), [[0, 1, 2], [3, 3, 0]]),
    ]  # fmt: skip


SPARSE_SOFTMAX_CROSS_ENTROPY = register(
    OpDef(
        "SparseSoftmaxCrossEntropyWithLogits",
        Composite(in_float32(_sparse_expand), checks=True),
        _sparse_infer,
        _sparse_reference,
        _sparse_samples,
        attrs=AxisAttrs,
        dtypes=FLOATS,
        doc="Cross entropy of class indices, and its derivative by the logits; an index out of range fails the run.",
    )
)

# ---------------------------------------------------------------------------------------------- user functions


def named_only(function: str, sentinel: Any, labels: Any, logits: Any) -> None:
    if sentinel is not None:
        raise ArgumentError(f"Only call `{function}` with named arguments (labels=..., logits=..., ...)")
    if labels is None or logits is None:
        raise ArgumentError("Both labels and logits must be provided.")


def softmax_cross_entropy_with_logits_v2(
    labels: Any, logits: Any, axis: Any = None, name: str | None = None, dim: Any = None
) -> Tensor:
    """The cross entropy of each row: -sum(labels * log_softmax(logits)) along `axis`.

    Args:
        labels: the probabilities of the classes, of a shape that broadcasts with `logits`. They are cast to its dtype,
            and get a gradient too, if they are floats.
        logits: unscaled log probabilities.
        axis: the axis of the classes, by default the last; `dim` is its old name.

    Returns:
        The losses, of the shape of `logits` without `axis`.

    Raises:
        ValueError: an argument is missing, or the shapes do not go together.
    """
    return _dense(labels, logits, axis, dim, name, "softmax_cross_entropy_with_logits", False)


def softmax_cross_entropy_with_logits(
    _sentinel: Any = None,
    labels: Any = None,
    logits: Any = None,
    dim: Any = None,
    name: str | None = None,
    axis: Any = None,
) -> Tensor:
    """As `softmax_cross_entropy_with_logits_v2`, with named arguments only and no gradient to the labels."""
    named_only("softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    return _dense(labels, logits, axis, None if axis is not None else dim, name, "softmax_cross_entropy_with_logits_sg", True)


def _dense(labels: Any, logits: Any, axis: Any, dim: Any, name: str | None, default: str, stop: bool) -> Tensor:
    named_only(default, None, labels, logits)
    with name_scope(name, default, [logits, labels]) as scope:
        x = convert_to_tensor(logits, name="logits")
        z = convert_to_tensor(labels, None if is_tensor_like(labels) else x.base_dtype, name="labels")
        # Labels may have any dtype, as in TensorFlow. Those of 16-bit logits are computed with in float32.
        z = cast(z, float32 if x.base_dtype.size == 2 else x.base_dtype)
        if stop:
            z = stop_gradient(z)
        attrs = AxisAttrs(one_axis("SoftmaxCrossEntropyWithLogits", axis, dim))
        return _in_float32(SOFTMAX_CROSS_ENTROPY, x, z, attrs, scope)


def _in_float32(op: OpDef, logits: Tensor, labels: Tensor, attrs: AxisAttrs, scope: str) -> Tensor:
    """The loss; of 16-bit logits it is computed in float32, as in TensorFlow."""
    dtype = logits.base_dtype
    if dtype.size != 2 or not dtype.is_floating:
        return build_op(op, (logits, labels), attrs, scope).outputs[0]

    loss = build_op(op, (cast(logits, float32), labels), attrs).outputs[0]
    result: Tensor = cast(loss, dtype, name=scope)
    return result


def sparse_softmax_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """The cross entropy of each row with one right class: -log_softmax(logits)[label].

    Args:
        labels: class indices (int32 or int64), of the shape of `logits` without its last axis.
        logits: unscaled log probabilities, the classes along the last axis.

    Raises:
        ValueError: an argument is missing, is not named, or the shapes do not go together.
        TypeError: labels that are not integers, logits that are not floats.
        InvalidArgumentError: in a run, a label outside [0, number of classes).
    """
    named_only("sparse_softmax_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "SparseSoftmaxCrossEntropyWithLogits", [logits, labels]) as scope:
        z = convert_to_tensor(labels, name="labels")
        x = convert_to_tensor(logits, name="logits")
        if x._shape == ():
            raise ShapeError("Logits cannot be scalars - received shape ().")
        return _in_float32(SPARSE_SOFTMAX_CROSS_ENTROPY, x, z, AxisAttrs(), scope)


__all__ = [
    "softmax_cross_entropy_with_logits",
    "softmax_cross_entropy_with_logits_v2",
    "sparse_softmax_cross_entropy_with_logits",
]
