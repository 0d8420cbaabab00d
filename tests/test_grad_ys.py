"""`grad_ys` of fewer elements than y, or of as many in another shape, as TensorFlow takes them; sparse ones; hessians."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf

RNG = np.random.default_rng(2)
A, B, C = (RNG.uniform(0.5, 1.5, s).astype(np.float32) for s in ((2, 3), (3, 4), (2, 2, 3)))

#: Functions of tensors, and their operands.
FUNCTIONS: dict[str, tuple[Callable[..., Any], list[Any]]] = {
    "sum": (tf.reduce_sum, [A]), "mean": (tf.reduce_mean, [A]), "max": (tf.reduce_max, [A]), "prod": (tf.reduce_prod, [A]),
    "min_of_rows": (lambda x: tf.reduce_min(x, 1), [A]), "logsumexp": (lambda x: tf.reduce_logsumexp(x, 0, True), [A]),
    "maximum": (tf.maximum, [A, A[::-1].copy()]), "minimum": (tf.minimum, [A, A[:1]]), "l2_loss": (tf.nn.l2_loss, [A]),
    "reshape": (lambda x: tf.reshape(x, [3, 2]), [A]), "to_scalar": (lambda x: tf.reshape(x, []), [A[:1, :1]]),
    "squeeze": (tf.squeeze, [A[:1]]), "matmul": (tf.matmul, [A, B]), "tanh": (tf.tanh, [A]), "add": (tf.add, [A, A[0]]),
    "batched_matmul": (lambda a, b: tf.matmul(a, b, transpose_b=True), [C, C]),
    "concat": (lambda a, b: tf.concat([a, b], 0), [A, A]), "tile": (lambda x: tf.tile(x, [2, 1]), [A]),
    "cross_entropy": (lambda a, b: tf.nn.softmax_cross_entropy_with_logits_v2(logits=a, labels=b), [A, A]),
    "gather": (lambda x: tf.gather(x, [1, 0, 1]), [A]), "slice": (lambda x: x[:, 1:], [A]),
}  # fmt: skip


def shapes_for(y: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Of as many elements as y, and what broadcasts to y."""
    count = int(np.prod(y))
    found = [y, (1, *y), (count,), (), (1,), *((*y[:i], 1, *y[i + 1 :]) for i in range(len(y))), y[1:]]
    return [s for s in dict.fromkeys(found) if np.prod(s) == count or len(s) <= len(y)]


OPEN = ("sum", "mean", "max", "maximum", "l2_loss", "matmul", "tanh", "add", "concat")


@pytest.mark.parametrize(("name", "open_dims"), [*((n, False) for n in FUNCTIONS), *((n, True) for n in OPEN)])
def test_grad_ys_stand_for_what_they_broadcast_to(name: str, open_dims: bool) -> None:
    function, operands = FUNCTIONS[name]
    with tf.Graph().as_default(), tf.Session() as session:
        xs = [tf.placeholder(tf.float32, [None] * a.ndim if open_dims else a.shape) for a in operands]
        feeds = dict(zip(xs, operands, strict=True))
        y = function(*xs)
        size = session.run(y, feeds).shape
        fetches, wanted = [], []
        for s in shapes_for(size):
            if open_dims and len(s) != len(size) and s not in ((), (1,)) and np.prod(s) != 1:
                continue  # only a run knows whether there are as many elements
            given = RNG.uniform(1, 2, s).astype(np.float32)
            full = given.reshape(size) if given.size == np.prod(size) else np.broadcast_to(given, size)
            fetches.append([tf.convert_to_tensor(g) for g in tf.gradients(y, xs, grad_ys=tf.constant(given))])
            wanted.append([tf.convert_to_tensor(g) for g in tf.gradients(y, xs, grad_ys=tf.constant(full))])
        assert len(fetches) > 1
        for got, want, x in zip(*session.run([fetches, wanted], feeds), [operands] * len(fetches), strict=True):
            for g, w, a in zip(got, want, x, strict=True):
                assert g.shape == a.shape
                np.testing.assert_allclose(g, w, rtol=1e-6)


def test_a_vector_of_one_for_a_scalar() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [3])
        (g,) = tf.gradients(tf.reduce_sum(x), [x], grad_ys=[tf.ones([1])])
        assert session.run(g, {x: [1, 2, 3]}).tolist() == [1, 1, 1]


@pytest.mark.parametrize("shape", [(3,), (2, 2), (4, 2, 3), (2, 3, 1)], ids=str)
def test_grad_ys_that_fit_nowhere_are_refused(shape: tuple[int, ...]) -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2, 4])
        with pytest.raises(ValueError, match=r"grad_ys\[0\] has shape"):
            tf.gradients(tf.tanh(x), x, grad_ys=tf.ones(shape))


def test_fed_grad_ys_that_fit_nowhere_fail_the_run() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x, b, g = (tf.placeholder(tf.float32) for _ in range(3))
        (found,) = tf.gradients(x + b, x, grad_ys=g)
        with pytest.raises(tf.errors.InvalidArgumentError, match="Incompatible shapes"):
            session.run(found, {x: np.ones((3, 4)), b: 1, g: np.ones(12)})


def test_slices_of_unknown_rank_have_gradients() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x, g = tf.placeholder(tf.float32), tf.placeholder(tf.float32)
        (found,) = tf.gradients(tf.slice(x, [1, 0], [1, 2]), x, grad_ys=g)
        assert session.run(found, {x: np.ones((2, 3)), g: [[5, 6]]}).tolist() == [[0, 0, 0], [5, 6, 0]]


def test_negated_indexed_slices_stay_sparse() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        table = tf.constant(np.ones((4, 2), np.float32))
        (g,) = tf.gradients(tf.reduce_sum(tf.gather(table, [1, 1, 3])), table)
        minus = -g
        assert isinstance(minus, tf.IndexedSlices)
        values, indices, shape = session.run(minus)
        assert values.tolist() == [[-1, -1]] * 3 and indices.tolist() == [1, 1, 3] and shape.tolist() == [4, 2]
        assert session.run(tf.convert_to_tensor(minus))[:, 0].tolist() == [0, -2, 0, -1]


@pytest.mark.parametrize("shape", [(10, 10), None], ids=str)
def test_hessians_of_what_has_none_are_refused(shape: Any) -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, shape)
        with pytest.raises(ValueError, match="hessians"):
            tf.hessians(x, x)
