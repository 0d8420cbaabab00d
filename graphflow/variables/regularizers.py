"""Regularizers: functions of a weight that give a scalar loss, or None."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from graphflow.framework import context
from graphflow.framework.build import constant, convert_to_tensor, name_scope
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.ops.math.add_n import add_n
from graphflow.ops.math.binary import multiply
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.statistics import l2_loss
from graphflow.ops.math.unary import abs

__all__ = ["apply_regularization", "l1_l2_regularizer", "l1_regularizer", "l2_regularizer", "sum_regularizer"]

Regularizer = Callable[[Any], Tensor | None]


def _check(scale: Any) -> float:
    # TensorFlow refuses integers; here 0, which means no regularizer, is let through.
    if isinstance(scale, bool) or not isinstance(scale, (int, float)) or (isinstance(scale, int) and scale != 0):
        raise ArgumentError(f"scale cannot be an integer: {scale}")
    if scale < 0.0:
        raise ArgumentError(f"Setting a scale less than 0 on a regularizer: {scale}")
    return float(scale)


def l1_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """scale * sum(|w|)."""
    factor = _check(scale)

    def l1(weights: Any) -> Tensor | None:
        # None, as in TensorFlow: no op is made for a loss that is always 0.
        if factor == 0.0:
            return None
        with name_scope(scope, "l1_regularizer") as name:
            return multiply(convert_to_tensor(reduce_sum(abs(weights))), factor, name=name)

    return l1


def l2_regularizer(scale: float, scope: str | None = None) -> Regularizer:
    """scale * sum(w²) / 2."""
    factor = _check(scale)

    def l2(weights: Any) -> Tensor | None:
        if factor == 0.0:
            return None
        with name_scope(scope, "l2_regularizer") as name:
            return multiply(l2_loss(weights), factor, name=name)

    return l2


def l1_l2_regularizer(scale_l1: float = 1.0, scale_l2: float = 1.0, scope: str | None = None) -> Regularizer:
    """scale_l1 * sum(|w|) + scale_l2 * sum(w²) / 2."""
    return sum_regularizer([l1_regularizer(scale_l1), l2_regularizer(scale_l2)], scope or "l1_l2_regularizer")


def sum_regularizer(regularizers: Sequence[Regularizer | None], scope: str | None = None) -> Regularizer:
    """The sum of several regularizers."""
    kept = [r for r in regularizers if r is not None]

    def total(weights: Any) -> Tensor | None:
        with name_scope(scope, "sum_regularizer") as name:
            losses = [loss for r in kept if (loss := r(weights)) is not None]
            return add_n(losses, name=name) if losses else None

    return total


def apply_regularization(regularizer: Regularizer, weights_list: Iterable[Any] | None = None) -> Tensor:
    """The summed loss of all weights (those of the collection WEIGHTS), which joins REGULARIZATION_LOSSES."""
    graph = context.get_default_graph()
    weights = graph.get_collection(GraphKeys.WEIGHTS) if weights_list is None else list(weights_list)
    if not weights:
        raise ArgumentError("No weights to regularize.")
    with name_scope("get_regularization_penalty") as name:
        losses = [constant(0.0) if (loss := regularizer(w)) is None else loss for w in weights]
        total = add_n(losses, name=name)
    graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, total)
    return total
