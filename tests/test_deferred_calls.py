"""Calls that a run has to make: axes that are tensors, operands of unknown rank; compiled when the run knows enough."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.deferred import DeferredAttrs
from graphflow.framework.errors import ArgumentError

X = np.arange(24.0, dtype=np.float32).reshape(2, 3, 4) - 7


def softmax(x: Any, axis: int) -> Any:
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("make", "of_numpy"),
    [
        (lambda x, k: tf.reduce_sum(x, k), lambda x, k: x.sum(k)),
        (lambda x, k: tf.reduce_max(x, k, keepdims=True), lambda x, k: x.max(k, keepdims=True)),
        (lambda x, k: tf.argmax(x, k), lambda x, k: x.argmax(k)),
        (lambda x, k: tf.nn.softmax(x, k), softmax),
        (lambda x, k: tf.concat([x, 2 * x], k), lambda x, k: np.concatenate([x, 2 * x], k)),
        (lambda x, k: tf.gather(x, [1, 0], axis=k), lambda x, k: np.take(x, [1, 0], k)),
        (lambda x, k: tf.reverse(x, [k]), lambda x, k: np.flip(x, k)),
        (lambda x, k: tf.roll(x, 2, k), lambda x, k: np.roll(x, 2, k)),
        (lambda x, k: tf.roll(x, k, -1), lambda x, k: np.roll(x, k, -1)),
        (lambda x, k: tf.expand_dims(x, k), np.expand_dims),
        (lambda x, k: tf.cumsum(x, k), np.cumsum),
        (lambda x, k: tf.split(x, [1, -1], k)[1], lambda x, k: np.split(x, [1], k)[1]),
        (lambda x, k: x[:, :: k * k + 1], lambda x, k: x[:, :: k * k + 1]),
        (lambda x, k: tf.transpose(x, tf.stack([k % 3, (k + 1) % 3, (k + 2) % 3])),
         lambda x, k: x.transpose([k % 3, (k + 1) % 3, (k + 2) % 3])),
        (lambda x, k: tf.norm(x, axis=k), lambda x, k: np.sqrt((x * x).sum(k))),
    ],
)  # fmt: skip
def test_an_axis_is_a_tensor(make: Callable[..., Any], of_numpy: Callable[..., Any], backend: str) -> None:
    with tf.Graph().as_default(), tf.Session(backend=backend) as session:
        k = tf.placeholder(tf.int32, [])
        for shape in (None, [None, None, None], [2, 3, 4]):
            x = tf.placeholder(tf.float32, shape)
            t = make(x, k)
            for axis in (0, 2, -2):
                found = session.run(t, {x: X, k: axis})
                np.testing.assert_allclose(found, of_numpy(X, axis), rtol=1e-5)
                assert t.shape.is_compatible_with(found.shape)
        assert session.stats.host_fallbacks == 0 or "Cumsum" in t.name


def test_ranks_are_told_by_the_feeds() -> None:
    x = tf.placeholder(tf.float32)
    t = tf.reduce_mean(tf.transpose(x), -1)
    with tf.Session() as session:
        for shape in ((3,), (2, 3), (2, 3, 4)):
            a = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
            np.testing.assert_allclose(session.run(t, {x: a}), a.T.mean(-1))
        assert session.stats.host_fallbacks == 0


@pytest.mark.parametrize("axis", [0, 1])
def test_gradients_also_second_ones(axis: int) -> None:
    with tf.Graph().as_default():
        x, k = tf.placeholder(tf.float64), tf.placeholder(tf.int32, [])
        late = tf.reduce_sum(tf.nn.softmax(x * x, k) ** 2)
        now = tf.reduce_sum(tf.nn.softmax(x * x, axis) ** 2)
        first = [tf.gradients(y, x)[0] for y in (late, now)]
        second = [tf.gradients(g, x)[0] for g in first]
        a = np.linspace(-1, 1.2, 6).reshape(2, 3)
        with tf.Session() as session:
            for ours, theirs in (first, second):
                np.testing.assert_allclose(*session.run([ours, theirs], {x: a, k: axis}), rtol=1e-9, atol=1e-12)


def test_errors_come_with_the_run() -> None:
    x, k = tf.placeholder(tf.float32, [2, 3]), tf.placeholder(tf.int32, [])
    t = tf.reduce_sum(x, k, name="total")
    for backend in ("native", "reference"):
        with tf.Session(backend=backend) as session:
            with pytest.raises(tf.errors.InvalidArgumentError, match="Invalid reduction dimension") as e:
                session.run(t, {x: np.ones((2, 3)), k: 2})
            assert e.value.op is t.op
            assert session.run(t, {x: np.ones((2, 3)), k: 1}).tolist() == [3, 3]


def test_a_value_that_no_feed_gives_runs_in_numpy() -> None:
    x = tf.placeholder(tf.float32, [2, 3])
    t = tf.reduce_sum(x, tf.cast(tf.reduce_max(x), tf.int32))
    with tf.Session() as session:
        assert session.run(t, {x: np.eye(2, 3)}).tolist() == [1, 1]
        assert session.stats.host_fallbacks == 1
        assert "depends on data" in tf.explain(t, {x: np.eye(2, 3)}, session=session)


def test_save_and_load(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x, k = tf.placeholder(tf.float32, name="x"), tf.placeholder(tf.int32, [], name="k")
        y = tf.concat([tf.reverse(x, [-1]), x], k)
        g = tf.gradients(y**2, x, name="g")[0]
        a = {"x:0": X, "k:0": 1}
        with tf.Session() as session:
            wanted = session.run([y, g], {x: X, k: 1})
            tf.io.save(tmp_path / "model", session)
    model = tf.io.load(tmp_path / "model")
    with tf.Session(graph=model.graph) as session:
        for ours, theirs in zip(session.run([y.name, g.name], a), wanted, strict=True):
            np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("call", ["", "[]", '{"function": "no_such", "arguments": {}}', '{"of": 1}', '{"arguments": {}}'])
def test_a_damaged_call_is_refused(call: str) -> None:
    x = tf.placeholder(tf.float32)
    with pytest.raises(ArgumentError, match="is no call"):
        x.graph.create_op("Deferred", (x,), DeferredAttrs(call, (tf.float32,), (None,), ()))


def test_plans_are_for_values_where_these_steer() -> None:
    n = tf.placeholder(tf.int32, [])
    x = tf.placeholder(tf.float32, [None, 4])
    t = tf.reshape(x, [n, -1]) * 2 + tf.reduce_sum(tf.zeros([n, 1]))
    a = np.arange(48.0, dtype=np.float32).reshape(12, 4)
    with tf.Session() as session:
        for value in (1, 2, 3, 2, 3):
            assert session.run(t, {x: a, n: value}).tolist() == (a.reshape(value, -1) * 2).tolist()
        assert (session.stats.host_fallbacks, session.stats.plans_compiled) == (0, 3)
        # Another batch size, the same value: the same plan.
        assert session.run(t, {x: a[:6], n: 3}).shape == (3, 8)
        assert session.stats.plans_compiled == 3


def test_values_that_never_come_again_are_not_compiled_for() -> None:
    n = tf.placeholder(tf.int32, [])
    t = tf.reduce_sum(tf.ones([n, 3]))
    with tf.Session() as session:
        for value in range(20):
            assert session.run(t, {n: value}) == 3 * value
        assert (session.stats.plans_compiled, session.stats.host_fallbacks) == (8, 12)
        assert session.run(t, {n: 15}) == 45
        assert (session.stats.plans_compiled, session.stats.host_fallbacks) == (9, 12)


def test_a_feed_that_steers_may_also_be_data() -> None:
    v = tf.placeholder(tf.int32, [2])
    t = tf.reduce_sum(tf.fill(v, 1.0)) + tf.cast(tf.reduce_sum(v * v), tf.float32)
    with tf.Session() as session:
        assert [session.run(t, {v: a}) for a in ([2, 3], [4, 0], [2, 3])] == [19, 16, 19]
        assert session.stats.host_fallbacks == 0
        with pytest.raises(tf.errors.InvalidArgumentError, match="non-negative"):
            session.run(t, {v: [2, -3]})
