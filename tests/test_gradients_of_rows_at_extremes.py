"""Float32 gradients of reductions, softmaxes and losses at ties, for large and tiny numbers, against formulas in float64."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf

Array = Any
ROWS = np.array(
    [
        [0, 0, 0], [1, 1, 2], [2, 2, 2], [-0.0, 0, 0], [0, 2, 3], [1, 2, 3], [1e4, 1e4, -1e4], [1e4, -1e4, 2], [1e8, 1e8, 1],
        [1e8, 99999992, 1e8], [1e8, -1e8, 0], [1e20, 1e20, 1e-20], [3e38, 3e38, -3e38], [1e-20, 1e-20, 2e-20], [100, 0, -100],
        [88, 89, 90], [-100, -101, -1000], [1e-4, 2e-4, -1e-4], [30, -30, 0], [20, 0, 0],
    ],
    np.float32,
)  # fmt: skip
WEIGHTS = np.array([0.5, 1.0, 1.5])


def _softmax(x: Array) -> Array:
    e = np.exp(x - x.max(1, keepdims=True))
    return e / e.sum(1, keepdims=True)


def _shares(x: Array, extreme: Array) -> Array:
    hits = x == extreme
    return hits / hits.sum(1, keepdims=True)


def _through_softmax(x: Array) -> Array:
    y = _softmax(x)
    return y * (WEIGHTS - np.sum(WEIGHTS * y, 1, keepdims=True))


def _others(x: Array) -> Array:
    return np.stack([np.prod(np.delete(x, k, 1), 1) for k in range(3)], 1)


LABELS = np.array([0.2, 0.3, 0.5])
#: What is differentiated (its sum), and the derivative in float64.
FUNCTIONS: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "sum": (lambda x: tf.reduce_sum(x, 1), np.ones_like),
    "mean": (lambda x: tf.reduce_mean(x, 1), lambda x: np.full_like(x, 1 / 3)),
    "max": (lambda x: tf.reduce_max(x, 1), lambda x: _shares(x, x.max(1, keepdims=True))),
    "min": (lambda x: tf.reduce_min(x, 1), lambda x: _shares(x, x.min(1, keepdims=True))),
    "prod": (lambda x: tf.reduce_prod(x, 1), _others),
    "logsumexp": (lambda x: tf.reduce_logsumexp(x, 1), _softmax),
    "softmax": (lambda x: tf.nn.softmax(x) * WEIGHTS.astype(np.float32), _through_softmax),
    "log_softmax": (lambda x: tf.nn.log_softmax(x) * WEIGHTS.astype(np.float32), lambda x: WEIGHTS - 3 * _softmax(x)),
    "l2_loss": (tf.nn.l2_loss, lambda x: x),
    "square": (tf.square, lambda x: 2 * x),
    "cross_entropy": (
        lambda x: tf.nn.softmax_cross_entropy_with_logits_v2(logits=x, labels=tf.zeros_like(x) + LABELS.astype(np.float32)),
        lambda x: _softmax(x) - LABELS,
    ),
    "sparse_cross_entropy": (
        lambda x: tf.nn.sparse_softmax_cross_entropy_with_logits(logits=x, labels=[1] * len(ROWS)),
        lambda x: _softmax(x) - np.array([0, 1, 0]),
    ),
    "positive_labels": (
        lambda x: tf.nn.sigmoid_cross_entropy_with_logits(logits=x, labels=tf.ones_like(x)),
        lambda x: -np.exp(-np.logaddexp(0, x)),
    ),
    "negative_labels": (
        lambda x: tf.nn.sigmoid_cross_entropy_with_logits(logits=x, labels=tf.zeros_like(x)),
        lambda x: np.exp(-np.logaddexp(0, -x)),
    ),
    "log_sigmoid": (tf.log_sigmoid, lambda x: np.exp(-np.logaddexp(0, x))),
    "cumsum": (lambda x: tf.cumsum(x, 1), lambda x: np.tile([3.0, 2.0, 1.0], (len(x), 1))),
    "clipped": (lambda x: tf.clip_by_value(x, 0.0, 2.0), lambda x: ((x >= 0) & (x <= 2)) * 1.0),
    "hinge": (lambda x: tf.maximum(0.0, 1.0 - x), lambda x: -1.0 * (x < 1)),
}  # fmt: skip


@pytest.mark.parametrize("name", FUNCTIONS)
def test_first_derivatives(name: str) -> None:
    function, derivative = FUNCTIONS[name]
    with np.errstate(all="ignore"):
        wanted = derivative(ROWS.astype(np.float64)).astype(np.float32)
    for backend in ("native", "reference"):
        with tf.Graph().as_default(), tf.Session(backend=backend) as session:
            x = tf.placeholder(tf.float32, ROWS.shape)
            (g,) = tf.gradients(function(x), x)
            found = session.run(g, {x: ROWS})
        for row, got, want in zip(ROWS, found, wanted, strict=True):
            # Digits are lost beside a larger element of the row only.
            atol = 2e-7 if name in ("softmax", "log_softmax", "cross_entropy", "sparse_cross_entropy") else 1.2e-38
            np.testing.assert_allclose(got, want, rtol=1e-5, atol=atol, err_msg=f"{name} of {row}, {backend}")


def _slope(x: Array) -> Array:
    return np.exp(-np.logaddexp(0, x) - np.logaddexp(0, -x))


SECOND: dict[str, tuple[Callable[[Any], Any], Callable[[Array], Array]]] = {
    "softplus": (tf.nn.softplus, _slope),
    "log_sigmoid": (tf.log_sigmoid, lambda x: -_slope(x)),
    "cross_entropy": (lambda x: tf.nn.sigmoid_cross_entropy_with_logits(logits=x, labels=tf.ones_like(x)), _slope),
    "elu": (tf.nn.elu, lambda x: np.where(x < 0, np.exp(np.minimum(x, 0)), 0)),
    "square": (tf.square, lambda x: np.full_like(x, 2)),
    "l2_loss": (tf.nn.l2_loss, np.ones_like),
}


@pytest.mark.parametrize("name", SECOND)
def test_second_derivatives(name: str) -> None:
    function, derivative = SECOND[name]
    wanted = derivative(ROWS.astype(np.float64))
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, ROWS.shape)
        (first,) = tf.gradients(function(x), x)
        (second,) = tf.gradients(first, x)
        found = session.run(second, {x: ROWS})
    np.testing.assert_allclose(found, wanted, rtol=1e-5, atol=2e-7 if name == "elu" else 1.2e-38)


def test_a_root_of_squares_near_overflow_has_finite_gradients() -> None:
    """TensorFlow's formulas are 0 where the sum of squares is infinite; ours must not be 0 times infinity."""
    row = np.array([[3e38, 1, 1]], np.float32)
    for function in (lambda x: tf.norm(x), lambda x: tf.clip_by_norm(x, 1.0), lambda x: tf.sqrt(tf.reduce_sum(tf.square(x)))):
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float32, [1, 3])
            (g,) = tf.gradients(function(x), x)
            assert session.run(g, {x: row}).tolist() == [[0, 0, 0]]


def test_no_gradient_passes_roots_and_quotients_of_zero() -> None:
    """Where none arrives, none leaves: an infinite slope in a branch that is not taken does no harm."""
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [2])
        for function in (tf.sqrt, tf.rsqrt, tf.reciprocal):
            y = tf.where(x > 0, function(x), tf.zeros_like(x))
            assert session.run(tf.gradients(y, x)[0], {x: [0, 1]})[0] == 0
