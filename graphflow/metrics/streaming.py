"""`tf.metrics`: metrics over many runs, as pairs (value, update_op) on counters that are local variables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor
from graphflow.framework.dtypes import float32
from graphflow.framework.errors import ShapeError
from graphflow.framework.graph import Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.ops.array.fill import ones_like, zeros_like
from graphflow.ops.array.reshape import squeeze
from graphflow.ops.array.shape import size
from graphflow.ops.math.binary import divide, squared_difference
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import equal, greater, logical_and, logical_not
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.select import where
from graphflow.ops.math.unary import abs, sqrt
from graphflow.ops.state.variable import assign_add
from graphflow.variables.initializers import Zeros
from graphflow.variables.scope import variable_scope
from graphflow.variables.variable import Variable

__all__ = [
    "accuracy",
    "mean",
    "mean_absolute_error",
    "mean_squared_error",
    "precision",
    "recall",
    "root_mean_squared_error",
]

Metric = tuple[Tensor, Tensor]


def _counter(name: str) -> Variable:
    # Local variables: a metric starts anew in each session, and no checkpoint holds it.
    return Variable(
        lambda: Zeros()([], float32),
        trainable=False,
        collections=[GraphKeys.LOCAL_VARIABLES, GraphKeys.METRIC_VARIABLES],
        name=name,
    )


def _ratio(total: Any, count: Any, name: str) -> Tensor:
    """total / count, 0 before anything was counted."""
    # As in `losses`: no division by 0, even where its result would be dropped.
    total, count = convert_to_tensor(total), convert_to_tensor(count)
    some = greater(count, 0.0)
    return where(some, divide(total, where(some, count, ones_like(count))), zeros_like(total), name=name)


def _register(value: Tensor, update: Tensor, metrics_collections: Any, updates_collections: Any) -> Metric:
    graph = context.get_default_graph()
    for keys, item in ((metrics_collections, value), (updates_collections, update)):
        if keys:
            graph.add_to_collections(keys, item)
    return value, update


def _weighted(values: Tensor, weights: Any) -> tuple[Tensor, Tensor]:
    """(values * weights, how much they count) as float scalars."""
    if weights is None:
        return reduce_sum(values), cast(size(values), float32)
    w = cast(convert_to_tensor(weights), float32)
    # Weights broadcast, and must count once for each value.
    spread = w * ones_like(values)
    return reduce_sum(values * spread), reduce_sum(spread)


def _mean_of(
    values: Tensor, weights: Any, finish: Callable[[Tensor], Tensor], metrics_collections: Any, updates_collections: Any
) -> Metric:
    total, count = _counter("total"), _counter("count")
    amount, number = _weighted(values, weights)
    new_total, new_count = assign_add(total, amount), assign_add(count, number)
    value = finish(_ratio(total, count, "value"))
    # The update's result is computed from the counters after the update, so that it includes this run.
    return _register(value, finish(_ratio(new_total, new_count, "update_op")), metrics_collections, updates_collections)


def _same(x: Tensor) -> Tensor:
    return x


def mean(
    values: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """The mean of all values seen so far."""
    with variable_scope(name, "mean"):
        x = cast(convert_to_tensor(values), float32)
        return _mean_of(x, weights, _same, metrics_collections, updates_collections)


def _matched(labels: Any, predictions: Any) -> tuple[Tensor, Tensor]:
    """Both as tensors of one rank: a last dimension of 1 on one side only is dropped."""
    t, p = convert_to_tensor(labels), convert_to_tensor(predictions)
    t_rank, p_rank = t.shape.ndims, p.shape.ndims
    if t_rank is not None and p_rank is not None:
        if t_rank == p_rank + 1:
            t = squeeze(t, [-1])
        elif p_rank == t_rank + 1:
            p = squeeze(p, [-1])
    if not t.shape.is_compatible_with(p.shape):
        raise ShapeError(f"Shapes {p.shape} and {t.shape} are incompatible: predictions and labels must agree")
    return t, p


def accuracy(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """How often predictions equal labels."""
    with variable_scope(name, "accuracy"):
        t, p = _matched(labels, predictions)
        # Compared in the dtype of the labels, as in TensorFlow.
        hit = cast(equal(cast(p, t.base_dtype), t), float32)
        return _mean_of(hit, weights, _same, metrics_collections, updates_collections)


def mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    with variable_scope(name, "mean_squared_error"):
        t, p = _matched(labels, predictions)
        error = squared_difference(cast(p, float32), cast(t, float32))
        return _mean_of(error, weights, _same, metrics_collections, updates_collections)


def mean_absolute_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    with variable_scope(name, "mean_absolute_error"):
        t, p = _matched(labels, predictions)
        error = abs(cast(p, float32) - cast(t, float32))
        return _mean_of(error, weights, _same, metrics_collections, updates_collections)


def root_mean_squared_error(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    with variable_scope(name, "root_mean_squared_error"):
        t, p = _matched(labels, predictions)
        error = squared_difference(cast(p, float32), cast(t, float32))
        return _mean_of(error, weights, sqrt, metrics_collections, updates_collections)


def _share_of_hits(
    labels: Any, predictions: Any, weights: Any, missed: str, metrics_collections: Any, updates_collections: Any
) -> Metric:
    """True positives over true positives and `missed`."""
    t, p = _matched(labels, predictions)
    actual, said = cast(t, "bool"), cast(p, "bool")
    hit = logical_and(actual, said)
    if missed == "false_positives":
        miss = logical_and(logical_not(actual), said)
    else:
        miss = logical_and(actual, logical_not(said))
    hits, misses = _counter("true_positives"), _counter(missed)
    new_hits = assign_add(hits, _weighted(cast(hit, float32), weights)[0])
    new_misses = assign_add(misses, _weighted(cast(miss, float32), weights)[0])
    value = _ratio(hits, hits + misses, "value")
    return _register(value, _ratio(new_hits, new_hits + new_misses, "update_op"), metrics_collections, updates_collections)


def precision(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """True positives over all that were predicted positive."""
    with variable_scope(name, "precision"):
        return _share_of_hits(labels, predictions, weights, "false_positives", metrics_collections, updates_collections)


def recall(
    labels: Any,
    predictions: Any,
    weights: Any = None,
    metrics_collections: Any = None,
    updates_collections: Any = None,
    name: str | None = None,
) -> Metric:
    """True positives over all that are positive."""
    with variable_scope(name, "recall"):
        return _share_of_hits(labels, predictions, weights, "false_negatives", metrics_collections, updates_collections)
