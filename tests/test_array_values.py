"""Values and gradients of array ops, with known and with open shapes, on both backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.ops.array import (
    concat,
    diagonal,
    movement,
    one_hot_where_unique,
    ordered_ids,
    row_positions,
    scatter,
    split,
    strided_slice,
)
from graphflow.ops.array.identity import prevent_gradient

RNG = np.random.default_rng(0)


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture(params=["native", "reference"])
def run(request: pytest.FixtureRequest, graph: tf.Graph) -> Callable[..., Any]:
    def evaluate(fetch: Any, feeds: Any = None) -> Any:
        with tf.Session(graph=graph, backend=request.param) as session:
            return session.run(fetch, feeds)

    return evaluate


def array(*shape: int) -> np.ndarray[Any, Any]:
    return RNG.normal(size=shape).astype(np.float32)


def open_placeholder(a: Any) -> tf.Tensor:
    return tf.placeholder(np.asarray(a).dtype, [None] * np.ndim(a))


def both(a: Any) -> list[tuple[tf.Tensor, dict[Any, Any]]]:
    """A tensor with the value a of known shape, and one of open shape."""
    x = open_placeholder(a)
    return [(tf.constant(a), {}), (x, {x: a})]


# ---------------------------------------------------------------------------------------------- values

INDEXES: list[Any] = [
    1, -1, np.s_[1, 2], np.s_[..., 0], np.s_[:, None], None, np.s_[::2], np.s_[::-1], np.s_[1:3], np.s_[-2:], np.s_[:-1],
    np.s_[:, 1:-1], np.s_[-9:9], np.s_[3:1], np.s_[::-2, 1], np.s_[..., None, ::2], np.s_[0, ..., -1], np.s_[2:0:-1],
    np.s_[:-9], np.s_[..., :], np.s_[-1:], np.s_[5:],
]  # fmt: skip


@pytest.mark.parametrize("index", INDEXES, ids=str)
def test_indexing(index: Any, run: Callable[..., Any]) -> None:
    a = array(4, 5, 3)
    for x, feeds in both(a):
        y = x[index]
        assert y.shape.is_compatible_with(a[index].shape)
        (g,) = tf.gradients(tf.reduce_sum(y * y), [x])
        value, gradient = run([y, g], feeds)
        np.testing.assert_array_equal(value, a[index])
        wanted = np.zeros_like(a)
        wanted[index] = 2 * a[index]
        np.testing.assert_allclose(gradient, wanted)


def test_a_list_is_read_as_a_tuple(run: Callable[..., Any]) -> None:
    a = array(4, 5)
    assert run(tf.constant(a)[[0, 2]]) == a[0, 2]


def test_indexing_by_tensors(run: Callable[..., Any]) -> None:
    a = array(4, 5, 3)
    i, j = tf.placeholder(tf.int32, []), tf.placeholder(tf.int64, [])
    for x, feeds in both(a):
        n = tf.shape(x)[0]
        fetches = {
            "pick": x[i], "two": x[i, j], "last": x[..., i], "inner": x[:, i, 1:], "new": x[:, None, j], "known": x[n - 1],
            "half": x[: n // 2], "from": x[i:], "window": x[1:3, i:j], "mixed": x[0, i:, None, ::2],
            "constant": x[tf.constant(2)],
        }  # fmt: skip
        assert fetches["pick"].shape.as_list() == x.shape.as_list()[1:]
        got = run(fetches, {**feeds, i: 1, j: 3})
        wanted = {
            "pick": a[1], "two": a[1, 3], "last": a[..., 1], "inner": a[:, 1, 1:], "new": a[:, None, 3], "known": a[3],
            "half": a[:2], "from": a[1:], "window": a[1:3, 1:3], "mixed": a[0, 1:, None, ::2], "constant": a[2],
        }  # fmt: skip
        for name, value in got.items():
            np.testing.assert_array_equal(value, wanted[name], name)
        np.testing.assert_array_equal(run(x[i], {**feeds, i: -1}), a[-1])
        (g,) = tf.gradients(x[i], [x])
        gradient = np.zeros_like(a)
        gradient[2] = 1
        np.testing.assert_array_equal(run(g, {**feeds, i: 2}), gradient)


def test_slice_moves_with_a_tensor(run: Callable[..., Any]) -> None:
    a = array(6, 3)
    at = tf.placeholder(tf.int32, [])
    for x, feeds in both(a):
        y = tf.slice(x, [at, 0], [2, -1])
        assert y.shape.as_list()[0] == 2
        np.testing.assert_array_equal(run(y, {**feeds, at: 3}), a[3:5])
        np.testing.assert_array_equal(run(tf.slice(x, [1, 1], [3, 2]), feeds), a[1:4, 1:3])
        size = tf.placeholder(tf.int32, [2])
        np.testing.assert_array_equal(run(tf.slice(x, [1, 1], size), {**feeds, size: [2, 1]}), a[1:3, 1:2])


def test_making(run: Callable[..., Any]) -> None:
    n = tf.placeholder(tf.int32, [])
    cases = [
        (tf.zeros([2, 3], tf.int64), np.zeros((2, 3), np.int64)),
        (tf.ones([5000]), np.ones(5000, np.float32)),
        (tf.fill([2, 2], 7), np.full((2, 2), 7, np.int32)),
        (tf.zeros([2], tf.string), np.array([b"", b""], object)),
        (tf.range(5), np.arange(5, dtype=np.int32)),
        (tf.range(2, 11, 3), np.arange(2, 11, 3, dtype=np.int32)),
        (tf.range(5, 0, -2), np.arange(5, 0, -2, dtype=np.int32)),
        (tf.range(3, 3), np.zeros(0, np.int32)),
        (tf.range(n), np.arange(4, dtype=np.int32)),
        (tf.range(n, n + 3), np.arange(4, 7, dtype=np.int32)),
        (tf.range(0.0, tf.cast(n, tf.float32), 1.5), np.arange(0, 4, 1.5, dtype=np.float32)),
        (tf.linspace(1.0, 2.0, 5), np.linspace(1, 2, 5, dtype=np.float32)),
        (tf.eye(3), np.eye(3, dtype=np.float32)),
        (tf.eye(2, 3, batch_shape=[2]), np.broadcast_to(np.eye(2, 3, dtype=np.float32), (2, 2, 3))),
        (tf.eye(n), np.eye(4, dtype=np.float32)),
        (tf.zeros_like([[1, 2]]), np.zeros((1, 2), np.int32)),
        (tf.ones_like([1.5], dtype=tf.bool), np.array([True])),
    ]
    for (t, wanted), got in zip(cases, run([t for t, _ in cases], {n: 4}), strict=True):
        np.testing.assert_array_equal(got, wanted, t.name)
        assert np.asarray(got).dtype == wanted.dtype


def test_rearranging(run: Callable[..., Any]) -> None:
    a = array(2, 3, 4)
    for x, feeds in both(a):
        cases = [
            (tf.transpose(x), a.T),
            (tf.transpose(x, [1, 2, 0]), a.transpose(1, 2, 0)),
            (tf.transpose(x, tf.constant([0, 2, 1])), a.transpose(0, 2, 1)),
            (tf.matrix_transpose(x), np.swapaxes(a, 1, 2)),
            (tf.tile(x, [2, 1, 3]), np.tile(a, (2, 1, 3))),
            (tf.reverse(x, [0, -1]), a[::-1, :, ::-1]),
            (tf.broadcast_to(x[:, :1], tf.shape(x)), np.broadcast_to(a[:, :1], a.shape)),
            (tf.reshape(x, [-1, 6]), a.reshape(-1, 6)),
            (tf.reshape(x, [tf.shape(x)[2], -1]), a.reshape(4, -1)),
            (tf.squeeze(tf.expand_dims(x, 1)), a),
            (tf.concat([x, x[:, :, :1]], -1), np.concatenate([a, a[:, :, :1]], -1)),
            (tf.concat([x], 0), a),
            (tf.stack([x, 2 * x], axis=1), np.stack([a, 2 * a], 1)),
            (tf.pad(x, [[0, 0], [1, 2], [0, 1]], constant_values=3), np.pad(a, [(0, 0), (1, 2), (0, 1)], constant_values=3)),
            (tf.pad(x, [[0, 0], [2, 1], [3, 0]], "REFLECT"), np.pad(a, [(0, 0), (2, 1), (3, 0)], "reflect")),
            (tf.pad(x, [[2, 0], [0, 3], [1, 1]], "SYMMETRIC"), np.pad(a, [(2, 0), (0, 3), (1, 1)], "symmetric")),
            (tf.pad(x, [[0, 5 - tf.shape(x)[0]], [0, 0], [0, 0]]), np.pad(a, [(0, 3), (0, 0), (0, 0)])),
            (tf.split(x, 3, 1)[2], a[:, 2:]),
            (tf.split(x, [1, -1], 2)[1] if not feeds else x[:, :, 1:], a[:, :, 1:]),
            (tf.split(x, 2)[1], a[1:]),
            (tf.unstack(x, 3, axis=1)[1], a[:, 1]),
        ]
        for (t, wanted), got in zip(cases, run([t for t, _ in cases], feeds), strict=True):
            np.testing.assert_array_equal(got, wanted, t.name)
    np.testing.assert_array_equal(run(movement.roll(tf.constant(a), [1, -1], [0, 2])), np.roll(a, (1, -1), (0, 2)))
    grids = run(tf.meshgrid([1, 2, 3], [4, 5]))
    for got, wanted in zip(grids, np.meshgrid([1, 2, 3], [4, 5]), strict=True):
        np.testing.assert_array_equal(got, wanted)
    assert run(tf.identity_n([tf.constant(1), tf.constant(2.5)])) == [1, 2.5]


def test_picking_and_putting(run: Callable[..., Any]) -> None:
    a = array(3, 4, 2)
    mask = a[:, :, 0] > 0
    index = np.array([[2, 0], [1, 3]])
    for x, feeds in both(a):
        cases = [
            (tf.gather(x, [2, 0, 2]), a[[2, 0, 2]]),
            (tf.gather(x, [[1], [0]], axis=1), a[:, [[1], [0]]]),
            (tf.gather(x, 1, axis=-1), a[..., 1]),
            (tf.gather(x, []), a[:0]),
            (tf.gather(x, index[[0, 0, 1]], batch_dims=1), np.stack([r[i] for r, i in zip(a, index[[0, 0, 1]], strict=True)])),
            (tf.gather(x, [[1], [0], [1]], axis=2, batch_dims=1), np.stack([a[0][:, [1]], a[1][:, [0]], a[2][:, [1]]])),
            (tf.gather_nd(x, index), a[index[:, 0], index[:, 1]]),
            (tf.gather_nd(x, [[[1]], [[0]]]), a[[[1], [0]]]),
            (tf.boolean_mask(x, mask), a[mask]),
            (tf.boolean_mask(x, mask[0], axis=1), a[:, mask[0]]),
            (tf.where(x > 0), np.argwhere(a > 0)),
            (scatter.tensor_scatter_add(x, index, x[0, :2]), _scattered(a, index, a[0, :2])),
            (diagonal.matrix_band_part(x, 0, -1), np.triu(a)),
            (diagonal.matrix_band_part(x, 1, 0), np.tril(np.triu(a, -1))),
        ]
        for (t, wanted), got in zip(cases, run([t for t, _ in cases], feeds), strict=True):
            np.testing.assert_allclose(got, wanted, rtol=1e-6, err_msg=t.name)


def _scattered(a: Any, index: Any, updates: Any) -> Any:
    result = a.copy()
    np.add.at(result, tuple(index.T), updates)
    return result


def test_masks_and_segments(run: Callable[..., Any]) -> None:
    cases: list[tuple[tf.Tensor, Any]] = [
        (tf.one_hot([0, 2, 5, -1], 3), [[1, 0, 0], [0, 0, 1], [0, 0, 0], [0, 0, 0]]),
        (tf.one_hot([0, 1], 2, 5, -1, axis=0), [[5, -1], [-1, 5]]),
        (tf.one_hot(np.array([255], np.uint8), 300)[0, 255], 1),
        (one_hot_where_unique.sequence_mask([1, 3], 4), [[1, 0, 0, 0], [1, 1, 1, 0]]),
        (one_hot_where_unique.sequence_mask([0, 2], dtype=tf.float32), [[0, 0], [1, 1]]),
        (scatter.unsorted_segment_sum([1.0, 2.0, 4.0], [0, -1, 0], 2), [5, 0]),
        (scatter.unsorted_segment_sum([[1.0, 2], [3, 4], [5, 6]], [0, -1, -2], 2), [[1, 2], [0, 0]]),
        (scatter.unsorted_segment_sum([[1.0, 2]], [-1], 0), np.zeros((0, 2))),
        (ordered_ids.segment_sum([[1, 2], [3, 4], [5, 6]], [0, 0, 2]), [[4, 6], [0, 0], [5, 6]]),
        (tf.scatter_nd([[1], [1], [3]], [1.0, 2.0, 4.0], [4]), [0, 3, 0, 4]),
        (tf.scatter_nd([[0, 1]], [[7, 8]], [1, 2, 2]), [[[0, 0], [7, 8]]]),
        (scatter.tensor_scatter_update([1, 2, 3], [[0], [2]], [8, 9]), [8, 2, 9]),
        (tf.invert_permutation([2, 0, 1]), [1, 2, 0]),
        (diagonal.diag([1, 2]), [[1, 0], [0, 2]]),
        (diagonal.diag_part([[1, 2], [3, 4]]), [1, 4]),
        (diagonal.diag_part(diagonal.diag([[1, 2], [3, 4]])), [[1, 2], [3, 4]]),
        (diagonal.matrix_diag_part([[1, 2, 3], [4, 5, 6]]), [1, 5]),
        (diagonal.matrix_diag_part([[1, 2], [3, 4], [5, 6]]), [1, 4]),
        (diagonal.matrix_set_diag([[1, 2], [3, 4]], [8, 9]), [[8, 2], [3, 9]]),
        (diagonal.trace([[1, 2], [3, 4]]), 5),
        (tf.unique([3, 1, 3, 2])[0], [3, 1, 2]),
        (tf.unique([3, 1, 3, 2])[1], [0, 1, 0, 2]),
        (one_hot_where_unique.unique_with_counts([3, 1, 3])[2], [2, 1]),
        (tf.size([[1, 2, 3]]), 3),
        (tf.rank([[1]]), 2),
        (tf.shape_n([[1, 2], [[3]]])[1], [1, 1]),
    ]
    for (t, wanted), got in zip(cases, run([t for t, _ in cases]), strict=True):
        np.testing.assert_array_equal(got, wanted, t.name)


# ---------------------------------------------------------------------------------------------- gradients


def test_gradient_of_gather_is_sparse(run: Callable[..., Any]) -> None:
    w = tf.constant(array(5, 2))
    (g,) = tf.gradients(tf.gather(w, [1, 1, 4]), [w])
    assert isinstance(g, tf.IndexedSlices)
    assert g.dense_shape is not None and g.shape.as_list() == [5, 2]
    value = run(g)
    np.testing.assert_array_equal(value.indices, [1, 1, 4])
    np.testing.assert_array_equal(value.values, np.ones((3, 2)))
    np.testing.assert_array_equal(run(tf.convert_to_tensor(g)), [[0, 0], [2, 2], [0, 0], [0, 0], [1, 1]])


def test_gradients(run: Callable[..., Any]) -> None:
    """Each is linear in x: the gradient of sum(w * y) is what w becomes by the transposed map."""
    a = array(2, 3, 4)
    functions: list[Callable[[tf.Tensor], tf.Tensor]] = [
        lambda x: tf.gather(x, [2, 0, 2], axis=1),
        lambda x: tf.gather_nd(x, [[1, 2], [1, 2]]),
        lambda x: tf.concat([x, 2 * x], 1),
        lambda x: tf.concat([x[:, :, :1], x], 2),
        lambda x: tf.stack([x, 3 * x], 2),
        lambda x: tf.split(x, 2, 2)[1],
        lambda x: tf.unstack(x, 3, 1)[2],
        lambda x: tf.tile(x, [1, 2, 3]),
        lambda x: tf.pad(x, [[1, 0], [0, 2], [1, 1]]),
        lambda x: tf.pad(x, [[1, 0], [0, 2], [1, 1]], "REFLECT"),
        lambda x: tf.slice(x, [0, 1, 1], [-1, 2, 2]),
        lambda x: x[:, ::2, ::-3],
        lambda x: tf.reverse(x, [1]),
        lambda x: tf.transpose(x, [2, 0, 1]),
        lambda x: diagonal.matrix_band_part(x, 0, 1),
        lambda x: tf.boolean_mask(x, [[True, False, True], [False, False, True]]),
        lambda x: scatter.tensor_scatter_add(x, [[0, 1]], [[1.0, 2, 3, 4]]),
        lambda x: scatter.unsorted_segment_sum(x, [1, -1], 3),
        lambda x: tf.broadcast_to(x[:, :1], [5, 2, 3, 4]),
        lambda x: tf.fill([2, 2], x[0, 1, 2]),
    ]
    for f in functions:
        for x, feeds in both(a):
            y = f(x)
            wanted = run(y, feeds).astype(np.float64)
            w = RNG.normal(size=wanted.shape).astype(np.float32)
            (g,) = tf.gradients(tf.reduce_sum(y * w), [x])
            got = run(tf.convert_to_tensor(g), feeds)
            # <w, f(x + d) - f(x)> = <g, d>: f is affine, so no small step is needed.
            d = array(*a.shape)
            z = f(tf.constant(a + d))
            np.testing.assert_allclose(np.sum(w * (run(z) - wanted)), np.sum(got * d), rtol=2e-4, atol=2e-4, err_msg=y.name)


def test_no_gradient_through() -> None:
    x = tf.constant([1.0, 2.0])
    assert tf.gradients(tf.stop_gradient(x), [x]) == [None]
    assert tf.gradients(tf.cast(tf.shape(x), tf.float32), [x]) == [None]
    with pytest.raises(LookupError, match=r"explicitly disabled\. Reason: because"):
        tf.gradients(prevent_gradient(x, "because"), [x])


# ---------------------------------------------------------------------------------------------- symbolic values


def test_values_of_sizes() -> None:
    x = tf.placeholder(tf.float32, ["n", 4])
    n = x.type.shape[0]
    s = tf.shape(x)
    for t, value in [
        (s, (n, 4)), (s[0], n), (s[-1], 4), (s[1:], (4,)), (tf.size(x), 4 * n), (tf.rank(x), 2), (s[::-1], (4, n)),
        (tf.stack([s[0], 7]), (n, 7)), (tf.concat([s, [1]], 0), (n, 4, 1)), (tf.gather(s, 0), n), (tf.identity(s), (n, 4)),
        (tf.expand_dims(s[0], 0), (n,)), (tf.squeeze(s[:1]), n), (tf.reshape(s[0], [1]), (n,)), (tf.range(1, 4), (1, 2, 3)),
        (tf.slice(s, [1], [1]), (4,)), (tf.reduce_prod(s), 4 * n), (tf.reduce_prod(s[1:]) * 2, 8),
        (tf.reshape(s, [-1]), (n, 4)),
    ]:  # fmt: skip
        assert t.static_value() == value, t.name


def test_sizes_that_are_one_in_a_run(run: Callable[..., Any]) -> None:
    """A size known only in terms of others may turn out to be 1, and then it broadcasts, or is squeezed away."""
    a, b = array(2, 3), array(4, 3)
    x, y = open_placeholder(a), open_placeholder(b)
    total = x[1:] + y
    (g,) = tf.gradients(total, [x])
    for value, gradient in (run([total, g], {x: a, y: b}), run([total, g], {x: np.concatenate([b, b[:1]]), y: b})):
        assert value.shape == (4, 3) and gradient.shape[1] == 3
    np.testing.assert_array_equal(run(g, {x: a, y: b}), [[0] * 3, [4] * 3])
    assert run(tf.squeeze(x[1:]), {x: a}).shape == (3,)
    assert run(tf.squeeze(x[1:]), {x: b}).shape == (3, 3)


def test_helpers_have_static_results() -> None:
    x = tf.constant(array(2, 3, 4))
    assert row_positions.merged_shape(x, 0, 2).static_value() == (6, 4)
    assert strided_slice.slice_axis(x, 1, 1, None).shape.as_list() == [2, 2, 4]
    assert [t.shape.as_list() for t in split.split_by(x, [1, 2], 1)] == [[2, 1, 4], [2, 2, 4]]
    assert concat.parallel_stack is tf.parallel_stack
