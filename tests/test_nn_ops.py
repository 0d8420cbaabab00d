"""Reductions, products, softmax, losses and order, as users call them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.ops.math.statistics import moments, reduce_std, reduce_variance, zero_fraction
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.top_k import in_top_k, top_k
from graphflow.ops.nn.cross_entropy import softmax_cross_entropy_with_logits_v2

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


# ---------------------------------------------------------------------------------------------- reductions


@pytest.mark.parametrize("axis", [None, 0, 1, -1, [0, 1], [-1, 0], (), [1]])
@pytest.mark.parametrize("keepdims", [False, True])
def test_axes(axis: Any, keepdims: bool) -> None:
    wanted = tuple(axis) if isinstance(axis, (list, tuple)) else axis
    for open_dims in (False, True):
        x = tf.placeholder(tf.float32, [None, None] if open_dims else [2, 3])
        y = tf.reduce_sum(x, axis, keepdims=keepdims)
        np.testing.assert_allclose(both(y, {x: X}), X.sum(axis=wanted, keepdims=keepdims), rtol=1e-6)


def test_axis_as_tensor_and_old_names() -> None:
    x = tf.constant(X)
    assert run(tf.reduce_sum(x, tf.constant([1]))).tolist() == [2.0, -1.5]
    assert run(tf.reduce_sum(x, reduction_indices=[0], keep_dims=True)).shape == (1, 3)
    with pytest.raises(ValueError, match="both 'axis' and 'reduction_indices'"):
        tf.reduce_sum(x, 0, reduction_indices=1)
    axis = tf.placeholder(tf.int32, [1])
    with tf.Session() as session:
        assert session.run(tf.reduce_sum(x, axis), {axis: [-1]}).tolist() == [2.0, -1.5]


@pytest.mark.parametrize("axis", [2, -3, [0, 5]])
def test_axis_out_of_range(axis: Any) -> None:
    with pytest.raises(ValueError, match="Invalid reduction dimension"):
        tf.reduce_mean(tf.constant(X), axis)


def test_duplicate_axis_and_wrong_types() -> None:
    with pytest.raises(ValueError, match="duplicate"):
        tf.reduce_sum(tf.constant(X), [0, -2])
    with pytest.raises(TypeError, match="not in list of allowed values"):
        tf.reduce_sum(tf.constant([True]))
    with pytest.raises(TypeError, match="bool"):
        tf.reduce_all(tf.constant([1]))


def test_unknown_rank() -> None:
    x = tf.placeholder(tf.float32)
    y = tf.reduce_sum(x)
    assert y.shape.as_list() == []
    assert both([y, tf.gradients(y, x)[0][0, 0]], {x: X})[0] == X.sum()


def test_empty_and_integers() -> None:
    empty = tf.placeholder(tf.float32, [None])
    found = run([f(empty) for f in (tf.reduce_mean, tf.reduce_max, tf.reduce_min, tf.reduce_prod)], {empty: []})
    assert np.isnan(found[0]) and found[1:] == [-np.inf, np.inf, 1]
    assert run(tf.reduce_mean(tf.constant([1, 2, 2]))) == 1 and run(tf.reduce_mean(tf.constant([-1, -2, -2]))) == -1
    assert run(tf.reduce_mean(tf.constant([2**31 - 1, 2**31 - 1]))) == 2**31 - 1
    with pytest.raises(ValueError, match="is empty"):
        tf.argmax(tf.zeros([2, 0]), 1)


@pytest.mark.parametrize("values", [[2.0, 3.0, 4.0], [2.0, 0.0, 4.0], [0.0, 0.0, 4.0]])
def test_gradient_of_prod_with_zeros(values: list[float]) -> None:
    x = tf.constant(values)
    expected = [np.prod(values[:i] + values[i + 1 :]) for i in range(3)]
    np.testing.assert_allclose(both(tf.gradients(tf.reduce_prod(x), x)[0]), expected)


def test_gradient_of_max_is_shared_by_ties() -> None:
    x = tf.constant([[1.0, 3.0, 3.0], [2.0, 2.0, 2.0]])
    np.testing.assert_allclose(both(tf.gradients(tf.reduce_max(x, 1), x)[0]), [[0, 0.5, 0.5], [1 / 3] * 3])


@pytest.mark.parametrize(
    ("source", "target"), [((2, 3), (3,)), ((2, 3), (1, 3)), ((2, 3), ()), ((2, 3), (2, 1)), ((2, 3), (2, 3))]
)
def test_sum_to_like(source: tuple[int, ...], target: tuple[int, ...]) -> None:
    g = np.arange(6, dtype=np.float32).reshape(source)
    x = np.zeros(target, np.float32)
    axes = tuple(range(2 - len(target))) + tuple(2 - len(target) + i for i, d in enumerate(target) if d == 1)
    expected = g.sum(axis=axes).reshape(target)
    for shapes in ((source, target), ([None] * 2, [None] * len(target)), ([None] * 2, target)):
        grad, like = tf.placeholder(tf.float32, shapes[0]), tf.placeholder(tf.float32, shapes[1])
        found = sum_to_like(grad, like)
        np.testing.assert_allclose(both(found, {grad: g, like: x}), expected)
    same = tf.placeholder(tf.float32, [None, 3])
    assert sum_to_like(same * 2.0, same).op.type == "Mul"


def test_statistics() -> None:
    x = tf.constant(X)
    np.testing.assert_allclose(both(reduce_variance(x, 1)), X.var(axis=1), rtol=1e-6)
    np.testing.assert_allclose(both(reduce_std(x)), X.std(), rtol=1e-6)
    mean, variance = moments(x, [0])
    np.testing.assert_allclose(both(mean), X.mean(0), rtol=1e-6)
    np.testing.assert_allclose(both(variance), X.var(0), rtol=1e-6)
    assert [t.shape.as_list() for t in moments(x, [0], keep_dims=True)] == [[1, 3]] * 2
    np.testing.assert_allclose(both(tf.norm(x, axis=1)), np.linalg.norm(X, axis=1), rtol=1e-6)
    for order in (1, np.inf, "fro"):
        np.testing.assert_allclose(both(tf.norm(x, order, axis=[0, 1])), np.linalg.norm(X, order), rtol=1e-6)
    np.testing.assert_allclose(both(tf.norm(x, 3)), (np.abs(X) ** 3).sum() ** (1 / 3), rtol=1e-5)
    assert run(tf.count_nonzero(tf.constant([[0, 2], [0, 0]]), 1)).tolist() == [1, 0]
    assert run(zero_fraction(tf.constant([0.0, 1.0, 0.0, 3.0]))) == 0.5
    assert run(tf.nn.l2_loss(tf.constant([3.0, 4.0]))) == 12.5


def test_logsumexp_at_the_extremes() -> None:
    inf = np.inf
    x = tf.constant([[1000.0, 1000.0], [-inf, -inf], [inf, 0.0], [-inf, 2.0]])
    np.testing.assert_allclose(both(tf.reduce_logsumexp(x, 1)), [1000 + np.log(2), -inf, inf, 2.0], rtol=1e-6)


# ---------------------------------------------------------------------------------------------- products


def test_matmul_errors() -> None:
    a, b = tf.placeholder(tf.float32, [32, 784]), tf.placeholder(tf.float32, [748, 10])
    with pytest.raises(ValueError) as e:
        tf.matmul(a, b)
    assert "MatMul: inner dimensions differ: a is (32, 784), b is (748, 10)" in str(e.value)
    assert "Dimensions must be equal, but are 784 and 748 for '{{node MatMul}} = MatMul[" in str(e.value)
    assert "with input shapes: [32,784], [748,10]." in str(e.value) and "test_nn_ops.py" in str(e.value)
    with pytest.raises(ValueError, match="at least rank 2 but is rank 1"):
        tf.matmul(tf.zeros([2, 2, 3]), tf.zeros([3]))
    with pytest.raises(ValueError, match="must be rank 2 but is rank 1"):
        tf.matmul(tf.zeros([3]), tf.zeros([3, 2]))
    with pytest.raises(TypeError, match="float64 that does not match type float32"):
        tf.matmul(a, tf.placeholder(tf.float64, [784, 10]))
    with pytest.raises(ValueError, match="Only one of transpose_a and adjoint_a"):
        tf.matmul(a, b, transpose_a=True, adjoint_a=True)


def test_matmul_sizes_that_meet_in_the_run() -> None:
    a, b = tf.placeholder(tf.float32, [None, None]), tf.placeholder(tf.float32, [4, 5])
    with pytest.raises(tf.errors.InvalidArgumentError, match="incompatible"):
        run(tf.matmul(a, b), {a: np.zeros((2, 3)), b: np.zeros((4, 5))})
    assert run(tf.matmul(a, b), {a: np.zeros((0, 4)), b: np.zeros((4, 5))}).shape == (0, 5)


@pytest.mark.parametrize(
    ("a", "b"), [((2, 1, 3, 4), (5, 4, 2)), ((3, 2, 4), (2, 3, 4, 1)), ((2, 3, 4), (4, 2)), ((1, 3, 4), (6, 4, 2))]
)
@pytest.mark.parametrize("open_dims", [False, True])
def test_batches_broadcast(a: tuple[int, ...], b: tuple[int, ...], open_dims: bool) -> None:
    rng = np.random.default_rng(1)
    u, v = rng.standard_normal(a).astype(np.float32), rng.standard_normal(b).astype(np.float32)
    x = tf.placeholder(tf.float32, [d if d == 1 or not open_dims else None for d in a])
    y = tf.placeholder(tf.float32, [d if d == 1 or not open_dims else None for d in b])
    feeds = {x: u, y: v}
    np.testing.assert_allclose(both(tf.matmul(x, y), feeds), u @ v, rtol=1e-4, atol=1e-5)
    g = tf.gradients(tf.reduce_sum(tf.square(tf.matmul(x, y))), [x, y])
    z = 2 * (u @ v)
    full = z.shape[:-2]
    wide_u, wide_v = np.broadcast_to(u, (*full, *a[-2:])), np.broadcast_to(v, (*full, *b[-2:]))
    by_u, by_v = z @ np.swapaxes(wide_v, -1, -2), np.swapaxes(wide_u, -1, -2) @ z
    for found, wanted, shape in zip(run(g, feeds), (by_u, by_v), (a, b), strict=True):
        extra = len(full) + 2 - len(shape)
        axes = tuple(range(extra)) + tuple(extra + i for i, d in enumerate(shape) if d == 1 != wanted.shape[extra + i])
        np.testing.assert_allclose(found, wanted.sum(axis=axes).reshape(shape), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("axes", [0, 1, 2, [[0], [1]], [[0, 1], [1, 0]], [[2, 0], [0, 1]], [1, 2], [[], []]])
def test_tensordot(axes: Any) -> None:
    rng = np.random.default_rng(2)
    size = 3
    u, v = rng.standard_normal((2, size, size, size)).astype(np.float32)
    x, y = tf.placeholder(tf.float32, [None, 3, 3]), tf.placeholder(tf.float32, [3, 3, 3])
    found = both(tf.tensordot(x, y, axes), {x: u, y: v})
    np.testing.assert_allclose(found, np.tensordot(u, v, axes), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "shapes"),
    [
        ("ij,jk->ik", [(2, 3), (3, 4)]), ("ij,kj->ik", [(2, 3), (4, 3)]), ("bij,bjk->bik", [(2, 3, 4), (2, 4, 5)]),
        ("bij,bkj->bik", [(2, 3, 4), (2, 5, 4)]), ("ij->ji", [(2, 3)]), ("ij->", [(2, 3)]), ("ij->j", [(2, 3)]),
        ("i,j->ij", [(2,), (3,)]), ("i,i->", [(3,), (3,)]), ("bhqd,bhkd->bhqk", [(2, 2, 3, 4), (2, 2, 5, 4)]),
        ("bqhd,bkhd->bhqk", [(2, 3, 2, 4), (2, 5, 2, 4)]), ("ij,jk,kl->il", [(2, 3), (3, 4), (4, 5)]),
        ("...ij,jk->...ik", [(2, 3, 4), (4, 5)]), ("ij,jk", [(2, 3), (3, 4)]), ("abc,cd->dba", [(2, 3, 4), (4, 5)]),
        ("ij,ij->ij", [(2, 3), (2, 3)]), ("ij,kl->il", [(2, 3), (4, 5)]),
    ],
)  # fmt: skip
def test_einsum(equation: str, shapes: list[tuple[int, ...]]) -> None:
    rng = np.random.default_rng(3)
    arrays = [rng.standard_normal(s).astype(np.float32) for s in shapes]
    for open_dims in (False, True):
        ps = [tf.placeholder(tf.float32, [None] * len(s) if open_dims else s) for s in shapes]
        found = both(tf.einsum(equation, *ps), dict(zip(ps, arrays, strict=True)))
        np.testing.assert_allclose(found, np.einsum(equation, *arrays), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("equation", "message"),
    [
        ("ij,jk", "expecting 2"),
        ("ii->i", "more than once"),
        ("ijk->i", "does not fit"),
        ("ij->ik", "no input"),
        ("i#", "format"),
    ],
)
def test_einsum_errors(equation: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tf.einsum(equation, tf.zeros([2, 3]))


# ---------------------------------------------------------------------------------------------- softmax and losses


def test_softmax_at_the_extremes() -> None:
    inf = np.inf
    x = tf.placeholder(tf.float32, [None, 3])
    rows = [[1e4, 0, -1e4], [-inf, -inf, -inf], [-inf, 0, 0]]
    found = both(tf.nn.softmax(x), {x: rows})
    assert found[0].tolist() == [1, 0, 0] and np.isnan(found[1]).all() and found[2].tolist() == [0, 0.5, 0.5]
    assert both(tf.nn.log_softmax(x), {x: rows})[0].tolist() == [0, -1e4, -2e4]


def test_softmax_arguments() -> None:
    x = tf.zeros([2, 3])
    np.testing.assert_allclose(both(tf.nn.softmax(x, 0)), np.full((2, 3), 0.5))
    np.testing.assert_allclose(both(tf.nn.softmax(x, dim=-2)), np.full((2, 3), 0.5))
    with pytest.raises(ValueError, match="axis"):
        tf.nn.softmax(x, 2)
    with pytest.raises(ValueError, match="rank"):
        tf.nn.softmax(tf.constant(1.0))
    with pytest.raises(TypeError, match="allowed values"):
        tf.nn.softmax(tf.constant([1, 2]))


def _log_softmax(x: Any) -> Any:
    moved = x - x.max(-1, keepdims=True)
    return moved - np.log(np.exp(moved).sum(-1, keepdims=True))


def test_dense_cross_entropy() -> None:
    rng = np.random.default_rng(4)
    logits = rng.standard_normal((4, 5))
    labels = rng.uniform(0, 1, (4, 5))
    labels /= labels.sum(1, keepdims=True)
    x, z = tf.constant(logits), tf.constant(labels)
    loss = softmax_cross_entropy_with_logits_v2(labels=z, logits=x)
    np.testing.assert_allclose(both(loss), -(labels * _log_softmax(logits)).sum(1))
    by_x, by_z = tf.gradients(tf.reduce_sum(loss), [x, z])
    np.testing.assert_allclose(both(by_x), np.exp(_log_softmax(logits)) - labels, rtol=1e-6)
    np.testing.assert_allclose(both(by_z), -_log_softmax(logits))
    p = np.exp(_log_softmax(logits))
    second = tf.gradients(tf.reduce_sum(by_x * z), x)[0]
    np.testing.assert_allclose(both(second), p * (labels - (labels * p).sum(1, keepdims=True)), rtol=1e-6)
    old = tf.nn.softmax_cross_entropy_with_logits(labels=z, logits=x)
    assert tf.gradients(old, z) == [None]


def test_classes_without_probability_add_nothing() -> None:
    x = tf.constant([[0.0, -np.inf, 0.0]])
    loss = softmax_cross_entropy_with_logits_v2([[0.5, 0.0, 0.5]], x)
    np.testing.assert_allclose(both(loss), [np.log(2)], rtol=1e-6)


@pytest.mark.parametrize("shape", [(4, 5), (2, 3, 5), (5,)])
@pytest.mark.parametrize("index_type", [np.int32, np.int64])
def test_sparse_cross_entropy(shape: tuple[int, ...], index_type: Any) -> None:
    rng = np.random.default_rng(5)
    logits = rng.standard_normal(shape).astype(np.float32)
    labels = rng.integers(0, 5, shape[:-1]).astype(index_type)
    x, z = tf.placeholder(tf.float32, [None] * len(shape)), tf.placeholder(index_type, [None] * (len(shape) - 1))
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=z, logits=x)
    hot = np.eye(5)[labels]
    feeds = {x: logits, z: labels}
    np.testing.assert_allclose(both(loss, feeds), -(hot * _log_softmax(logits)).sum(-1), rtol=1e-5)
    grad = tf.gradients(tf.reduce_sum(loss), x)[0]
    np.testing.assert_allclose(both(grad, feeds), np.exp(_log_softmax(logits)) - hot, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("label", [10, -1, 2**31 - 1])
@pytest.mark.parametrize("backend", BACKENDS)
def test_labels_out_of_range(label: int, backend: str) -> None:
    z = tf.placeholder(tf.int32, [None])
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=z, logits=tf.zeros([3, 10]))
    pattern = r"Received a label value.* which is outside the valid range of \[0, 10\)"
    with pytest.raises(tf.errors.InvalidArgumentError, match=pattern):
        run(loss, {z: [1, label, 2]}, backend)


def test_cross_entropy_errors() -> None:
    x, z = tf.zeros([2, 3]), tf.zeros([2, 3])
    for f in (
        tf.nn.softmax_cross_entropy_with_logits,
        tf.nn.sparse_softmax_cross_entropy_with_logits,
        tf.nn.sigmoid_cross_entropy_with_logits,
    ):
        with pytest.raises(ValueError, match=f"Only call `{f.__name__}` with named arguments"):
            f(x, z)
        with pytest.raises(ValueError, match="Both labels and logits must be provided"):
            f(labels=z)
    with pytest.raises(ValueError, match="must be broadcastable"):
        tf.nn.softmax_cross_entropy_with_logits(labels=tf.zeros([4, 3]), logits=x)
    with pytest.raises(ValueError, match="Rank of labels"):
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant([[1, 2]]), logits=x)
    with pytest.raises(ValueError, match="Shape mismatch"):
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.constant([1, 2, 0]), logits=x)
    with pytest.raises(TypeError, match="labels"):
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=tf.zeros([2]), logits=x)
    with pytest.raises(ValueError, match="must have the same shape"):
        tf.nn.sigmoid_cross_entropy_with_logits(labels=tf.zeros([3]), logits=tf.zeros([2]))


def test_sigmoid_cross_entropies() -> None:
    x = np.array([-1000.0, -1.5, 0.0, 2.0, 1000.0], np.float32)
    z = np.array([1.0, 0.25, 0.5, 1.0, 0.0], np.float32)
    expected = np.maximum(x, 0) - x * z + np.log1p(np.exp(-np.abs(x)))
    logits, labels = tf.constant(x), tf.constant(z)
    loss = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)
    np.testing.assert_allclose(both(loss), expected, rtol=1e-6)
    np.testing.assert_allclose(both(tf.gradients(loss, logits)[0]), (1 + np.tanh(x / 2)) / 2 - z, atol=1e-6)
    one = tf.nn.weighted_cross_entropy_with_logits(targets=labels, logits=logits, pos_weight=1.0)
    np.testing.assert_allclose(both(one), expected, rtol=1e-6)
    three = run(tf.nn.weighted_cross_entropy_with_logits(labels, logits, 3.0))
    log_sigmoid = np.minimum(x, 0) - np.log1p(np.exp(-np.abs(x)))
    np.testing.assert_allclose(three, -3 * z * log_sigmoid - (1 - z) * (log_sigmoid - x), rtol=1e-5)


# ---------------------------------------------------------------------------------------------- order


def test_order() -> None:
    x = tf.constant([[1.0, 5.0, 5.0, 2.0], [9.0, 9.0, 9.0, 9.0]])
    assert both(tf.argmax(x, 1)).tolist() == [1, 0] and tf.argmax(x, 1).dtype == tf.int64
    assert run(tf.argmin(x)).tolist() == [0, 0, 0, 0] and tf.argmax(x, output_type=tf.int32).dtype == tf.int32
    values, indices = top_k(x, 3)
    assert run(values).tolist() == [[5, 5, 2], [9, 9, 9]] and run(indices).tolist() == [[1, 2, 3], [0, 1, 2]]
    np.testing.assert_allclose(run(tf.gradients(tf.reduce_sum(values), x)[0]), [[0, 1, 1, 1], [1, 1, 1, 0]])
    with pytest.raises(ValueError, match="last dimension >= k"):
        top_k(x, 5)
    assert both(in_top_k(x, [2, 3], 1)).tolist() == [True, True]
    assert both(in_top_k(x, [3, 4], 2)).tolist() == [False, False]
    strange = tf.constant([[1.0, np.nan], [np.inf, 0.0]])
    assert both(in_top_k(strange, [0, 1], 2)).tolist() == [False, False]


def test_running_sums() -> None:
    x = tf.constant([1.0, 2.0, 3.0])
    flags = [(False, False), (True, False), (False, True), (True, True)]
    found = [run(tf.cumsum(x, exclusive=e, reverse=r)).tolist() for e, r in flags]
    assert found == [[1, 3, 6], [0, 1, 3], [6, 5, 3], [5, 3, 0]]
    assert run(tf.cumprod(x)).tolist() == [1, 2, 6]


# ---------------------------------------------------------------------------------------------- 16 bits


@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
@pytest.mark.parametrize("shape", [[2, 70_000], [20, 70_000]])
def test_sums_of_a_softmax_may_pass_what_16_bits_hold(dtype: tf.DType, shape: list[int]) -> None:
    """70,000 equal logits: in float16 the sum of their exponentials would be infinite."""
    count = shape[1]
    x = tf.cast(tf.fill(shape, 2.0), dtype)
    labels = tf.zeros(shape[:1], tf.int32)
    found = [
        tf.nn.softmax(x),
        tf.nn.log_softmax(x),
        tf.reduce_logsumexp(x, 1),
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x),
        tf.nn.softmax_cross_entropy_with_logits(labels=tf.one_hot(labels, count, dtype=dtype), logits=x),
        reduce_variance(x, 1),
        tf.nn.l2_loss(x[:1, :30_000]),  # 60,000: half of what is summed
    ]
    assert all(y.dtype == dtype for y in found)
    loss = np.log(count)
    expected = [1 / count, -loss, 2 + loss, loss, loss, 0, 60_000]
    for backend in BACKENDS:
        values = run([tf.cast(y, tf.float32) for y in found], backend=backend)
        for value, wanted in zip(values, expected, strict=True):
            np.testing.assert_allclose(value, np.full_like(value, wanted), rtol=1e-2, atol=1e-6)
