"""Gradients where the rank of the operands is known in a run only are those of known ranks; which gradients are sparse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf

A = np.random.default_rng(8).uniform(0.5, 1.5, (3, 4)).astype(np.float32)

FUNCTIONS: dict[str, Callable[[Any, Any], Any]] = {
    "softmax": lambda x, y: tf.nn.softmax(x),
    "log_softmax": lambda x, y: tf.nn.log_softmax(x),
    "cross_entropy": lambda x, y: tf.nn.softmax_cross_entropy_with_logits_v2(logits=x, labels=y),
    "concat": lambda x, y: tf.concat([x, y], 1),
    "concat_last": lambda x, y: tf.concat([x, y, x], -1),
    "stack": lambda x, y: tf.stack([x, y], 1),
    "split": lambda x, y: tf.split(x, 2, 1)[0] * tf.split(y, 2, -1)[1],
    "reverse": lambda x, y: tf.reverse(x, [0]) * y,
    "transpose": lambda x, y: tf.matmul(tf.transpose(x), y),
    "tile": lambda x, y: tf.tile(x, [2, 1]),
    "tensordot": lambda x, y: tf.tensordot(x, y, [[0], [0]]),
    "gather": lambda x, y: tf.gather(x, [1, 1, 0], axis=1),
    "gather_nd": lambda x, y: tf.gather_nd(x, [[0, 1], [2, 3], [0, 1]]),
    "gather_nd_of_rows": lambda x, y: tf.gather_nd(x, [[0], [2], [0]]),
    "segments": lambda x, y: tf.unsorted_segment_sum(x, [0, -1, 0], 2),
    "top_k": lambda x, y: tf.nn.top_k(x, 2)[0],
    "sum": lambda x, y: tf.reduce_sum(x, -1),
    "max": lambda x, y: tf.reduce_max(x, -1, keepdims=True),
    "prod": lambda x, y: tf.reduce_prod(x, -1),
    "logsumexp": lambda x, y: tf.reduce_logsumexp(x, -1),
    "cumsum": lambda x, y: tf.cumsum(x, -1),
    "slice": lambda x, y: tf.slice(x, [0, 1], [2, 2]),
    "pad": lambda x, y: tf.pad(x, [[1, 0], [0, 2]]),
    "expand": lambda x, y: tf.expand_dims(x, -1) * tf.expand_dims(y, -1),
    "normalized": lambda x, y: tf.nn.l2_normalize(x, -1),
    "roll": lambda x, y: tf.roll(x, 1, -1),
    "reshape": lambda x, y: tf.reshape(x, [-1]),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_gradients_do_not_need_ranks(name: str) -> None:
    results = []
    for shape in (None, A.shape):
        with tf.Graph().as_default(), tf.Session() as session:
            x, y = tf.placeholder(tf.float32, shape), tf.placeholder(tf.float32, shape)
            z = FUNCTIONS[name](x, y)
            found = tf.gradients(tf.square(z), [x, y])
            results.append(session.run([tf.convert_to_tensor(g) for g in found if g is not None], {x: A, y: A[::-1]}))
    assert len(results[0]) == len(results[1]) > 0
    for got, want in zip(*results, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-6)


def test_which_gradients_are_sparse() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [3, 4])
        (rows,) = tf.gradients(tf.gather_nd(x, [[2], [0], [2]]), x)
        assert isinstance(rows, tf.IndexedSlices)
        values, indices, shape = session.run(rows, {x: A})
        assert values.tolist() == [[1] * 4] * 3 and indices.tolist() == [2, 0, 2] and shape.tolist() == [3, 4]
        for indices in ([[0, 1]], [[[0], [1]]], [0, 1]):
            (dense,) = tf.gradients(tf.gather_nd(x, indices), x)
            assert isinstance(dense, tf.Tensor)
            assert session.run(dense, {x: A}).sum() == (8 if indices == [[[0], [1]]] else 1)
