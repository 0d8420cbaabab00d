"""Sigmoid cross entropies: each element of the logits is a yes-or-no decision of its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_pair, convert_to_tensor, name_scope
from graphflow.framework.dtypes import FLOATS
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.graph import check_same_dtype
from graphflow.framework.kinds import Elementwise, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import format_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.types import check_float
from graphflow.ops.math.binary import add, multiply, subtract
from graphflow.ops.math.unary import negative
from graphflow.ops.nn.activation import softplus
from graphflow.ops.nn.cross_entropy import named_only


def _sigmoid_rule(b: Any, attrs: Any, logits: Any, labels: Any) -> Any:
    # max(x, 0) - x*z + log(1 + exp(-|x|)): the exponential never overflows.
    positive = b.maximum(logits, 0.0)
    return b.add(b.sub(positive, b.mul(logits, labels)), b.call("log1p", b.call("exp", b.neg(b.abs(logits)))))


def _sigmoid_reference(attrs: Any, logits: Any, labels: Any) -> Any:
    x, z = np.asarray(logits), np.asarray(labels)
    wide = x.astype(np.float64)
    with np.errstate(all="ignore"):
        return (np.maximum(wide, 0) - wide * z + np.log1p(np.exp(-np.abs(wide)))).astype(x.dtype)


def _same_shape_infer(ctx: InferContext, attrs: Any, logits: TensorType, labels: TensorType) -> tuple[TensorType, ...]:
    check_float(ctx.op_name, "logits", logits.dtype)
    if logits.shape is None or labels.shape is None:
        return (logits if labels.shape is None else labels,)
    shapes = logits.shape, labels.shape
    shape = ctx.policy.unify_shapes(
        *shapes,
        lambda: f"logits and labels must have the same shape ({format_shape(shapes[0])} vs {format_shape(shapes[1])})",
    )
    return (TensorType(logits.dtype, shape),)


def _sigmoid_samples() -> list[Sample]:
    rng = np.random.default_rng(13)

    def case(shape: tuple[int, ...]) -> Sample:
        return Sample(
            (rng.standard_normal(shape).astype(np.float32) + 0.25, rng.uniform(0, 1, shape).astype(np.float32)),
            rtol=1e-4,
            atol=1e-5,
        )

    return [case(()), case((7,)), case((3, 5)), case((0, 2)), case((1, 1))]


SIGMOID_CROSS_ENTROPY = register(
    OpDef(
        "SigmoidCrossEntropyWithLogits",
        Elementwise(_sigmoid_rule, cheap=False),
        _same_shape_infer,
        _sigmoid_reference,
        _sigmoid_samples,
        dtypes=FLOATS,
        doc="-z log(sigmoid(x)) - (1 - z) log(1 - sigmoid(x)) of logits x and labels z.",
    )
)


def sigmoid_cross_entropy_with_logits(
    _sentinel: Any = None, labels: Any = None, logits: Any = None, name: str | None = None
) -> Tensor:
    """The cross entropy of each element, of labels that do not exclude one another; stable for large logits.

    Args:
        labels: probabilities, of the dtype and shape of `logits`.

    Raises:
        ValueError: an argument is missing, is not named, or the shapes differ. TypeError: the dtypes differ.
    """
    named_only("sigmoid_cross_entropy_with_logits", _sentinel, labels, logits)
    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        x, z = convert_pair(logits, labels)
        check_same_dtype("SigmoidCrossEntropyWithLogits", logits=x, labels=z)
        return build(SIGMOID_CROSS_ENTROPY, (x, z), name=scope)


def weighted_cross_entropy_with_logits(
    labels: Any = None, logits: Any = None, pos_weight: Any = None, name: str | None = None, targets: Any = None
) -> Tensor:
    """Sigmoid cross entropy in which positive labels count `pos_weight` times; `targets` is the old name of `labels`.

    Raises:
        ValueError: an argument is missing, or the shapes of labels and logits differ.
    """
    if labels is None:
        labels = targets
    if labels is None or logits is None or pos_weight is None:
        raise ArgumentError("labels, logits and pos_weight must be provided.")

    with name_scope(name, "logistic_loss", [logits, labels]) as scope:
        x, z = convert_pair(logits, labels)
        check_same_dtype("weighted_cross_entropy_with_logits", logits=x, labels=z)
        if x._shape is not None and z._shape is not None and not x.shape.is_compatible_with(z.shape):
            raise ShapeError(f"logits and labels must have the same shape ({x.shape} vs {z.shape})")
        # TensorFlow's form: softplus(-x) is the loss of a positive label, and never overflows.
        weight = add(multiply(subtract(convert_to_tensor(pos_weight, x.base_dtype), 1), z), 1)
        return add(multiply(subtract(1, z), x), multiply(weight, softplus(negative(x))), name=scope)


__all__ = ["sigmoid_cross_entropy_with_logits", "weighted_cross_entropy_with_logits"]
