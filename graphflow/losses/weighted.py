"""`tf.losses`: loss functions that weight each element, reduce to a scalar and register the result in a collection."""

from __future__ import annotations

from typing import Any

from graphflow.framework import context
from graphflow.framework.build import constant, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.deferred import NotKnownYet, deferrable
from graphflow.framework.dtypes import float32
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.graph import Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.framework.kinds import TensorType
from graphflow.ops.array.fill import ones_like, zeros_like
from graphflow.ops.array.identity import stop_gradient
from graphflow.ops.array.reshape import squeeze
from graphflow.ops.array.shape import size
from graphflow.ops.math.add_n import add_n
from graphflow.ops.math.binary import divide, minimum, multiply, squared_difference
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import greater, not_equal
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.select import where
from graphflow.ops.math.unary import abs, log
from graphflow.ops.nn.activation import relu
from graphflow.ops.nn.cross_entropy import softmax_cross_entropy_with_logits_v2, sparse_softmax_cross_entropy_with_logits
from graphflow.ops.nn.sigmoid_cross_entropy import sigmoid_cross_entropy_with_logits

__all__ = [
    "Reduction", "absolute_difference", "add_loss", "compute_weighted_loss", "cosine_distance", "get_losses",
    "get_regularization_loss", "get_regularization_losses", "get_total_loss", "hinge_loss", "huber_loss", "log_loss",
    "mean_squared_error", "sigmoid_cross_entropy", "softmax_cross_entropy", "sparse_softmax_cross_entropy",
]  # fmt: skip


class Reduction:
    """The ways to reduce weighted losses to the result."""

    NONE = "none"
    SUM = "weighted_sum"
    SUM_OVER_BATCH_SIZE = "weighted_sum_over_batch_size"
    MEAN = "weighted_mean"
    SUM_BY_NONZERO_WEIGHTS = "weighted_sum_by_nonzero_weights"
    SUM_OVER_NONZERO_WEIGHTS = SUM_BY_NONZERO_WEIGHTS

    @classmethod
    def all(cls) -> tuple[str, ...]:
        return (cls.NONE, cls.SUM, cls.MEAN, cls.SUM_OVER_BATCH_SIZE, cls.SUM_BY_NONZERO_WEIGHTS)

    @classmethod
    def validate(cls, key: Any) -> None:
        if key not in cls.all():
            raise ArgumentError(f"Invalid Reduction Key {key}.")


def _check_weights(weights: Tensor, values: Tensor) -> None:
    w, v = weights.shape, values.shape
    # A scalar fits everything; what is unknown is left to the run.
    if w.ndims in (None, 0) or v.ndims is None:
        return
    what = (
        f"weights can not be broadcast to values. values.rank={v.ndims}. weights.rank={w.ndims}. values.shape={v}. "
        f"weights.shape={w}."
    )
    # Stricter than broadcasting, as in TensorFlow: weights of another rank are mostly a mistake.
    if w.ndims != v.ndims:
        raise ShapeError(what)
    for a, b in zip(w, v, strict=True):
        if a.value not in (None, 1) and b.value is not None and a.value != b.value:
            raise ShapeError(what)


def _safe_ratio(total: Tensor, count: Tensor) -> Tensor:
    """total / count, 0 where the count is 0."""
    # Divided by 1 where the count is 0: a 0 / 0 that is not selected would still make the gradient NaN.
    some = greater(count, 0.0)
    return where(some, divide(total, where(some, count, ones_like(count))), zeros_like(total), name="value")


def _size(values: Tensor) -> Tensor:
    static = values.shape.num_elements()
    if static is not None:
        return constant(float(static), float32, name="num_elements")
    count: Tensor = cast(size(values), float32)
    return count


def compute_weighted_loss(
    losses: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """losses * weights, reduced, and put into `loss_collection`.

    Args:
        losses: any shape. weights: a scalar, or the rank of losses with sizes equal or 1.
        reduction: a member of Reduction. MEAN divides by the sum of weights, SUM_BY_NONZERO_WEIGHTS by how many
            losses have a weight other than 0, SUM_OVER_BATCH_SIZE by the number of losses.

    Raises:
        ValueError: weights do not fit, or an unknown reduction.
    """
    Reduction.validate(reduction)
    with name_scope(scope, "weighted_loss", [losses] if isinstance(losses, Tensor) else None):
        given = convert_to_tensor(losses)
        # As in TensorFlow losses are weighted in float32 and cast back at the end.
        values = cast(given, float32)
        plain = float(weights) if isinstance(weights, (int, float)) and not is_tensor_like(weights) else None
        scale = cast(convert_to_tensor(weights), float32)
        _check_weights(scale, values)
        # The default weight needs no op.
        weighted = values if plain == 1.0 else multiply(values, scale)
        loss = weighted
        if reduction != Reduction.NONE:
            loss = reduce_sum(weighted)
        # Weights broadcast, so they are summed over the shape of the losses.
        if reduction == Reduction.MEAN:
            loss = _safe_ratio(loss, reduce_sum(ones_like(values) * scale))
        elif reduction == Reduction.SUM_OVER_BATCH_SIZE or (reduction == Reduction.SUM_BY_NONZERO_WEIGHTS and plain):
            loss = _safe_ratio(loss, _size(values))
        elif reduction == Reduction.SUM_BY_NONZERO_WEIGHTS:
            present = cast(not_equal(scale, 0.0), float32)
            loss = _safe_ratio(loss, reduce_sum(ones_like(values) * present))
        result: Tensor = cast(loss, given.base_dtype)
        add_loss(result, loss_collection)
        return result


def _pair(labels: Any, predictions: Any, names: tuple[str, str] = ("labels", "predictions")) -> tuple[Tensor, Tensor]:
    if labels is None or predictions is None:
        raise ArgumentError(f"{names[0] if labels is None else names[1]} must not be None.")
    p = cast(convert_to_tensor(predictions), float32)
    t = cast(convert_to_tensor(labels), float32)
    if not p.shape.is_compatible_with(t.shape):
        raise ShapeError(f"Shapes {p.shape} and {t.shape} are incompatible: {names[1]} and {names[0]} must agree")
    return t, p


def absolute_difference(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """|predictions - labels|, weighted and reduced."""
    with name_scope(scope, "absolute_difference") as s:
        t, p = _pair(labels, predictions)
        return compute_weighted_loss(abs(p - t), weights, s, loss_collection, reduction)


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """(predictions - labels)², weighted and reduced."""
    with name_scope(scope, "mean_squared_error") as s:
        t, p = _pair(labels, predictions)
        return compute_weighted_loss(squared_difference(p, t), weights, s, loss_collection, reduction)


def cosine_distance(
    labels: Any,
    predictions: Any,
    axis: int | None = None,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
    dim: int | None = None,
) -> Tensor:
    """1 - sum(predictions * labels) along `axis`, both being of unit length."""
    axis = dim if axis is None else axis
    if axis is None:
        raise ArgumentError("You must specify 'axis'.")
    with name_scope(scope, "cosine_distance_loss") as s:
        t, p = _pair(labels, predictions)
        losses = 1 - reduce_sum(multiply(p, t), axis=(axis,), keepdims=True)
        return compute_weighted_loss(losses, weights, s, loss_collection, reduction)


def hinge_loss(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """max(0, 1 - logits * (2 * labels - 1)) for labels 0 and 1."""
    with name_scope(scope, "hinge_loss") as s:
        t, p = _pair(labels, logits, ("labels", "logits"))
        losses = relu(1.0 - (2.0 * t - 1.0) * p)
        return compute_weighted_loss(losses, weights, s, loss_collection, reduction)


def huber_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    delta: float = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """Half the squared error up to `delta`, linear beyond."""
    with name_scope(scope, "huber_loss") as s:
        t, p = _pair(labels, predictions)
        error = abs(p - t)
        # The two branches in one formula without a selection: beyond delta the first term
        # stays constant and the second grows.
        quadratic = minimum(error, delta)
        losses = 0.5 * quadratic * quadratic + delta * (error - quadratic)
        return compute_weighted_loss(losses, weights, s, loss_collection, reduction)


def log_loss(
    labels: Any,
    predictions: Any,
    weights: Any = 1.0,
    epsilon: float = 1e-7,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """-labels * log(predictions + epsilon) - (1 - labels) * log(1 - predictions + epsilon)."""
    with name_scope(scope, "log_loss") as s:
        t, p = _pair(labels, predictions)
        losses = -(t * log(p + epsilon)) - (1 - t) * log(1 - p + epsilon)
        return compute_weighted_loss(losses, weights, s, loss_collection, reduction)


def sigmoid_cross_entropy(
    multi_class_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """Cross entropy of independent classes, label_smoothing moving labels towards 1/2."""
    if multi_class_labels is None or logits is None:
        raise ArgumentError("multi_class_labels and logits must not be None.")
    with name_scope(scope, "sigmoid_cross_entropy_loss") as s:
        x = convert_to_tensor(logits)
        t = cast(convert_to_tensor(multi_class_labels), x.base_dtype)
        if not x.shape.is_compatible_with(t.shape):
            raise ShapeError(f"Shapes {x.shape} and {t.shape} are incompatible: logits and labels must agree")
        if label_smoothing > 0:
            t = t * (1 - label_smoothing) + 0.5 * label_smoothing
        losses = sigmoid_cross_entropy_with_logits(labels=t, logits=x, name="xentropy")
        return compute_weighted_loss(losses, weights, s, loss_collection, reduction)


def softmax_cross_entropy(
    onehot_labels: Any,
    logits: Any,
    weights: Any = 1.0,
    label_smoothing: float = 0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """Cross entropy of exclusive classes (the last axis), label_smoothing moving labels towards 1/classes."""
    if onehot_labels is None or logits is None:
        raise ArgumentError("onehot_labels and logits must not be None.")
    with name_scope(scope, "softmax_cross_entropy_loss") as s:
        x = convert_to_tensor(logits)
        t = cast(convert_to_tensor(onehot_labels), x.base_dtype)
        if not x.shape.is_compatible_with(t.shape):
            raise ShapeError(f"Shapes {x.shape} and {t.shape} are incompatible: logits and labels must agree")
        if label_smoothing > 0:
            classes = x.shape[-1].value
            if classes is None:
                raise ArgumentError("label_smoothing needs a known number of classes (the last dimension of logits)")
            t = t * (1 - label_smoothing) + label_smoothing / classes
        # As in TensorFlow the labels of this loss get no gradient.
        losses = softmax_cross_entropy_with_logits_v2(labels=stop_gradient(t), logits=x, name="xentropy")
        return compute_weighted_loss(losses, weights, s, loss_collection, reduction)


@deferrable(lambda a: [TensorType(a["t"].base_dtype, a["x"]._shape and a["x"]._shape[:-1])], op_name="labels")
def _class_labels(t: Tensor, x: Tensor, name: str | None = None) -> Tensor:
    """Labels [batch, 1], which are accepted for [batch], as the latter."""
    if t._shape is None or (len(t._shape) > 1 and x._shape is None and t._shape[-1] == 1):
        raise NotKnownYet("the ranks of labels and logits must be known")
    if x._shape is None or len(t._shape) != len(x._shape) or t._shape[-1] != 1:
        return t
    squeezed: Tensor = squeeze(t, [-1], name=name)
    return squeezed


def sparse_softmax_cross_entropy(
    labels: Any,
    logits: Any,
    weights: Any = 1.0,
    scope: str | None = None,
    loss_collection: Any = GraphKeys.LOSSES,
    reduction: str = Reduction.SUM_BY_NONZERO_WEIGHTS,
) -> Tensor:
    """Cross entropy of exclusive classes with integer labels [batch] (or [batch, 1])."""
    if labels is None or logits is None:
        raise ArgumentError("labels and logits must not be None.")
    with name_scope(scope, "sparse_softmax_cross_entropy_loss") as s:
        x, t = convert_to_tensor(logits), convert_to_tensor(labels)
        t = _class_labels(t, x)
        losses = sparse_softmax_cross_entropy_with_logits(labels=t, logits=x, name="xentropy")
        w = weights
        if is_tensor_like(weights) or not isinstance(weights, (int, float)):
            w = convert_to_tensor(weights)
            if w.shape.ndims is not None and losses.shape.ndims is not None and w.shape.ndims == losses.shape.ndims + 1:
                w = squeeze(w, [-1])
        return compute_weighted_loss(losses, w, s, loss_collection, reduction)


# ---------------------------------------------------------------------------------------------- the collections


def add_loss(loss: Any, loss_collection: Any = GraphKeys.LOSSES) -> None:
    """Registers a loss of your own. None or an empty collection name registers nothing."""
    if loss_collection:
        context.get_default_graph().add_to_collection(loss_collection, loss)


def get_losses(scope: str | None = None, loss_collection: Any = GraphKeys.LOSSES) -> list[Any]:
    return context.get_default_graph().get_collection(loss_collection, scope)


def get_regularization_losses(scope: str | None = None) -> list[Any]:
    return context.get_default_graph().get_collection(GraphKeys.REGULARIZATION_LOSSES, scope)


def get_regularization_loss(scope: str | None = None, name: str = "total_regularization_loss") -> Tensor:
    """The sum of the regularization losses; 0 if there are none."""
    losses = get_regularization_losses(scope)
    return add_n(losses, name=name) if losses else constant(0.0)


def get_total_loss(add_regularization_losses: bool = True, name: str = "total_loss", scope: str | None = None) -> Tensor:
    """The sum of all registered losses, regularization included unless told otherwise."""
    losses = get_losses(scope)
    if add_regularization_losses:
        losses += get_regularization_losses(scope)
    return add_n(losses, name=name)
