"""Random numbers, control, norms and clipping: what is beyond the samples of the registry."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.ops.random.choices import categorical
from graphflow.ops.random.sampling import get_seed

BACKENDS = ("native", "reference")


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


def run(fetches: Any, feeds: Any = None, backend: str = "native") -> Any:
    with tf.Session(backend=backend) as session:
        return session.run(fetches, feeds)


def both(fetches: Any, feeds: Any = None) -> Any:
    """The result of the native backend, which must be that of the reference backend."""
    native, reference = (run(fetches, feeds, b) for b in BACKENDS)
    np.testing.assert_allclose(native, reference, rtol=2e-5, atol=1e-6)
    return native


X = np.array([[1.0, -2.0, 3.0], [4.0, 0.5, -6.0]], np.float32)


# ---------------------------------------------------------------------------------------------- random numbers


def test_distributions() -> None:
    tf.set_random_seed(5)  # the bounds are four standard deviations away: without a seed they are met, most of the time
    n = 40_000
    u, r, t = tf.random_uniform([n], 2.0, 5.0), tf.random_normal([n], 1.0, 2.0), tf.truncated_normal([n])
    a, b, c = run([u, r, t])
    assert a.min() >= 2 and a.max() < 5 and abs(a.mean() - 3.5) < 0.03 and abs(a.var() - 0.75) < 0.03
    assert abs(b.mean() - 1) < 0.05 and abs(b.std() - 2) < 0.05 and abs(((b - 1) ** 3).mean()) < 0.6
    assert np.abs(c).max() <= 2 and abs(c.mean()) < 0.03 and abs(c.std() - 0.8796) < 0.01


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_random_types_and_backends(dtype: str) -> None:
    tensors = [f([1000], dtype=dtype, seed=3) for f in (tf.random_uniform, tf.random_normal, tf.truncated_normal)]
    native, reference = run(tensors), run(tensors, backend="reference")
    for a, b in zip(native, reference, strict=True):
        assert a.dtype == dtype
        np.testing.assert_allclose(a, b, rtol=2e-3 if dtype == "float16" else 1e-5, atol=2e-6)
    assert native[0].min() >= 0 and native[0].max() < 1
    quantiles = np.quantile(native[2].astype(float), [0.1, 0.5, 0.9])
    np.testing.assert_allclose(quantiles, [-1.178, 0, 1.178], atol=0.12)


@pytest.mark.parametrize("dtype", [tf.int32, tf.int64])
def test_random_integers(dtype: Any) -> None:
    low = tf.placeholder(dtype, [])
    drawn = tf.random_uniform([6000], low, 3, dtype, seed=1)
    for backend in BACKENDS:
        found = run(drawn, {low: -3}, backend)
        assert found.dtype == dtype.as_numpy_dtype and np.bincount(found + 3).min() > 850 and found.max() == 2
        with pytest.raises(tf.errors.InvalidArgumentError, match="Need minval < maxval"):
            run(drawn, {low: 3}, backend)
    assert (run(drawn, {low: -3}) == run(drawn, {low: -3}, "reference")).all()
    with pytest.raises(ValueError, match="Need minval < maxval, got 5 >= 5"):
        tf.random_uniform([2], 5, 5, dtype)
    with pytest.raises(ValueError, match="Must specify maxval"):
        tf.random_uniform([2], dtype=dtype)


def test_seeds() -> None:
    assert get_seed(None) == (None, None) and get_seed(7) == (87654321, 7)
    x = tf.random_uniform([4])
    assert not np.array_equal(run(x), run(x))  # two sessions
    with tf.Session() as session:
        a, b = session.run(x), session.run(x)
        assert not np.array_equal(a, b)
        assert np.array_equal(*session.run([x, tf.identity(x)]))
    assert not np.array_equal(run(tf.random_uniform([4])), run(tf.random_uniform([4])))

    def drawn() -> Any:
        with tf.Graph().as_default():
            tf.set_random_seed(5)
            return run([tf.random_normal([3]), tf.random_normal([3])])

    first, second = drawn(), drawn()
    assert np.array_equal(first, second) and not np.array_equal(first[0], first[1])
    tf.set_random_seed(0)
    assert get_seed(0) == (0, 2**31 - 1)


def test_random_shapes() -> None:
    x = tf.placeholder(tf.float32, [None, 3])
    assert run(tf.random_uniform(tf.shape(x)), {x: np.zeros((5, 3))}).shape == (5, 3)
    assert run(tf.random_normal([])).shape == () and run(tf.random_normal([0, 2])).shape == (0, 2)
    with pytest.raises(ValueError, match="must be >= 0"):
        tf.random_uniform([2, -1])
    with pytest.raises(TypeError):
        tf.random_normal([2], dtype=tf.int32)


def test_shuffle_and_classes() -> None:
    rows = np.arange(20, dtype=np.float32).reshape(10, 2)
    found = run(tf.random_shuffle(tf.constant(rows), seed=1))
    assert not np.array_equal(found, rows) and np.array_equal(np.sort(found[:, 0]), rows[:, 0])
    logits = np.log([[0.1, 0.2, 0.7], [0.5, 0.5, 1e-30]])
    drawn = run(tf.multinomial(tf.constant(logits, tf.float32), 4000, seed=1))
    assert drawn.shape == (2, 4000) and drawn.dtype == np.int64
    np.testing.assert_allclose(np.bincount(drawn[0], minlength=3) / 4000, [0.1, 0.2, 0.7], atol=0.03)
    assert drawn[1].max() == 1
    impossible = run(categorical(tf.constant([[-np.inf, 0.0]]), 50, dtype=tf.int32))
    assert impossible.dtype == np.int32 and (impossible == 1).all()


@pytest.mark.parametrize("backend", BACKENDS)
def test_dropout(backend: str) -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    keep = tf.placeholder(tf.float32)
    y = tf.nn.dropout(x, keep)
    g = tf.gradients(y, x)[0]
    ones = np.ones((500, 4), np.float32)
    values, grads = run([y, g], {x: ones, keep: 0.25}, backend)
    assert set(np.unique(values)) == {0.0, 4.0} and 0.2 < (values > 0).mean() < 0.3
    assert np.array_equal(values, grads)
    assert np.array_equal(run(y, {x: ones, keep: 1.0}, backend), ones)
    rows = run(tf.nn.dropout(x, 0.5, noise_shape=[None, 1]), {x: ones}, backend)
    assert set(rows.sum(1)) == {0.0, 8.0}


def test_dropout_arguments() -> None:
    x = tf.zeros([2])
    assert tf.nn.dropout(x, 1.0) is x and tf.nn.dropout(x, rate=0.0) is x
    for bad in (
        {},
        {"keep_prob": 0.5, "rate": 0.5},
        {"keep_prob": 0.0},
        {"keep_prob": 1.5},
        {"rate": 1.0},
        {"rate": -0.1},
    ):
        with pytest.raises(ValueError, match=r"rate|keep_prob"):
            tf.nn.dropout(x, **bad)
    with pytest.raises(ValueError, match="floating point"):
        tf.nn.dropout(tf.constant([1]), 0.5)


# ---------------------------------------------------------------------------------------------- control


def test_group_and_tuple() -> None:
    v = tf.Variable(0.0)
    add = tf.assign_add(v, 1.0)
    group = tf.group(add, [tf.no_op(), (tf.no_op(),)])
    assert isinstance(group, tf.Operation) and group.name == "group_deps"
    with pytest.raises(TypeError, match="Expected"):
        tf.group(None)
    with pytest.raises(ValueError, match="at least one Tensor"):
        tf.tuple([None])
    a, none = tf.tuple([tf.constant(3.0), None], control_inputs=[add])
    assert none is None
    with tf.Session() as session:
        session.run(v.initializer)
        assert session.run(group) is None and session.run(a) == 3.0 and session.run(v) == 2.0


@pytest.mark.parametrize("backend", BACKENDS)
def test_assertions(backend: str) -> None:
    x = tf.placeholder(tf.float32, [None])
    check = tf.Assert(tf.reduce_all(x > 0), ["wrong:", x])
    with tf.control_dependencies([check, tf.assert_less(x, 10.0, message="too big")]):
        y = tf.identity(x)
    assert run(y, {x: [1, 2]}, backend).tolist() == [1, 2]
    for bad in ([1, -2], [1, 20]):
        with pytest.raises(tf.errors.InvalidArgumentError, match="assertion failed"):
            run(y, {x: bad}, backend)
    assert run(x * 2.0, {x: [-1]}, backend) == [-2]


def test_static_assertions() -> None:
    tf.assert_equal([1, 2], [1, 2])
    with pytest.raises(tf.errors.InvalidArgumentError, match=re.escape("Condition x == y did not hold element-wise:")):
        tf.assert_equal([1, 2], [1, 3])
    tf.assert_rank(tf.zeros([2]), 1)
    with pytest.raises(ValueError, match="must have rank 2"):
        tf.assert_rank(tf.zeros([2]), 2)
    with pytest.raises(TypeError, match="integer"):
        tf.assert_integer(tf.zeros([2]))


@pytest.mark.parametrize("backend", BACKENDS)
def test_check_numerics(backend: str) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.check_numerics(x, "loss")
    assert run(y, {x: [1, 2]}, backend).tolist() == [1, 2]
    for bad, what in ((np.nan, "NaN"), (np.inf, "Inf"), (-np.inf, "Inf")):
        with pytest.raises(tf.errors.InvalidArgumentError, match=f"loss : Tensor had {what} values"):
            run(y, {x: [1, bad]}, backend)


def test_print(capfd: pytest.CaptureFixture[str]) -> None:
    x = tf.constant([1.0, 2.0, 3.0, 4.0])
    y = tf.Print(x, [x, tf.constant([[1, 2], [3, 4]]), "done"], "x: ", first_n=1, summarize=3)
    with tf.Session() as session:
        assert session.run(y).tolist() == [1, 2, 3, 4]
        session.run(y)
    assert capfd.readouterr().err == "x: [1 2 3...][[1 2][3...]][done]\n"
    assert run(tf.gradients(y, x)[0]).tolist() == [1] * 4


def test_py_func() -> None:
    x = tf.constant([1.0, 2.0])
    y = tf.py_func(lambda a: a * np.float32(2), [x], tf.float32)
    assert run(y + 1.0).tolist() == [3, 5] and tf.gradients(y, x) == [None]
    a, b = tf.py_func(lambda v: (v.sum(), "text"), [x], [tf.float32, tf.string])
    assert run(a) == 3 and run(b) == b"text"

    def broken(_: Any) -> Any:
        raise KeyError("no such thing")

    with pytest.raises(tf.errors.InvalidArgumentError, match="KeyError: 'no such thing'"):
        run(tf.py_func(broken, [x], tf.float32))
    with pytest.raises(tf.errors.InvalidArgumentError, match="is int64, but expects float32"):
        run(tf.py_func(lambda v: np.arange(2), [x], tf.float32))


# ---------------------------------------------------------------------------------------------- norms and clipping


def test_clip_by_norm() -> None:
    x = tf.constant([[3.0, 4.0], [0.3, 0.4]])
    np.testing.assert_allclose(both(tf.clip_by_norm(x, 1.0, axes=[1])), [[0.6, 0.8], [0.3, 0.4]], rtol=1e-6)
    zero = tf.zeros([2])
    clipped = tf.clip_by_norm(zero, 1.0)
    assert run(clipped).tolist() == [0, 0] and run(tf.gradients(clipped, zero)[0]).tolist() == [1, 1]
    np.testing.assert_allclose(both(tf.clip_by_average_norm(tf.constant([3.0, 4.0]), 1.0)), [1.2, 1.6], rtol=1e-6)


def test_clip_by_global_norm() -> None:
    x, y = tf.placeholder(tf.float32, [2]), tf.placeholder(tf.float32, [1])
    clipped, norm = tf.clip_by_global_norm([x, None, y], 6.5)
    assert clipped[1] is None
    feeds = {x: [3, 4], y: [12]}
    np.testing.assert_allclose(both(norm, feeds), 13, rtol=1e-6)
    np.testing.assert_allclose(both(clipped[2], feeds), [6], rtol=1e-6)
    np.testing.assert_allclose(run(clipped[0], {x: [0.3, 0.4], y: [0]}), [0.3, 0.4], rtol=1e-6)
    assert np.isnan(run(clipped[0], {x: [np.inf, 0], y: [0]})).all()
    with pytest.raises(TypeError, match="sequence"):
        tf.clip_by_global_norm(x, 1.0)


def test_normalisations() -> None:
    x = tf.constant(X)
    unit = X / np.linalg.norm(X, axis=1, keepdims=True)
    np.testing.assert_allclose(both(tf.nn.l2_normalize(x, 1)), unit, rtol=1e-6)
    mean, variance = tf.nn.moments(x, [0])
    found = both(tf.nn.batch_normalization(x, mean, variance, tf.ones([3]), tf.ones([3]) * 2.0, 1e-3))
    np.testing.assert_allclose(found, 2 * (X - X.mean(0)) / np.sqrt(X.var(0) + 1e-3) + 1, rtol=1e-5)
