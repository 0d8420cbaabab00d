"""Array ops: static shapes (also partial ones), names, errors, and values against numpy, on both backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.ops import diagonal, joining, positions, rearrange, scatter, shape_ops, slicing, splitting
from graphflow.ops.array import prevent_gradient

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


# ---------------------------------------------------------------------------------------------- shapes


def test_partial_shapes() -> None:
    x = tf.placeholder(tf.float32, [None, 2, 2])
    y = tf.placeholder(tf.float32, [None, 3])
    assert tf.reshape(x, [-1, 4]).shape.as_list() == [None, 4]
    assert tf.reshape(x, tf.stack([tf.shape(x)[0], 4])).shape.as_list() == [None, 4]
    assert tf.reshape(y, [tf.shape(y)[0], 3, 1]).shape.as_list() == [None, 3, 1]
    assert tf.concat([y, tf.zeros([2, 3])], 0).shape.as_list() == [None, 3]
    assert tf.concat([y, y], 1).shape.as_list() == [None, 6]
    assert y[:, 1:].shape.as_list() == [None, 2]
    assert y[1:, None].shape.as_list() == [None, 1, 3]
    assert tf.transpose(x).shape.as_list() == [2, 2, None]
    assert tf.tile(y, [1, 4]).shape.as_list() == [None, 12]
    assert tf.expand_dims(y, -1).shape.as_list() == [None, 3, 1]
    assert tf.squeeze(tf.expand_dims(y, 1), [1]).shape.as_list() == [None, 3]
    assert tf.squeeze(y).shape.ndims is None
    assert tf.gather(y, [0, 1, 1]).shape.as_list() == [3, 3]
    assert tf.one_hot(tf.placeholder(tf.int32, [None]), 5).shape.as_list() == [None, 5]
    assert tf.fill(tf.shape(y), 2.0).shape.as_list() == [None, 3]
    assert tf.slice(y, [0, 1], [-1, 2]).shape.as_list() == [None, 2]
    assert tf.pad(y, [[1, 1], [0, 2]]).shape.as_list() == [None, 5]
    assert [t.shape.as_list() for t in tf.split(y, 3, axis=1)] == [[None, 1]] * 3
    assert [t.shape.as_list() for t in tf.unstack(x, axis=1)] == [[None, 2]] * 2
    assert tf.zeros(tf.stack([tf.shape(y)[0], 7])).shape.as_list() == [None, 7]
    assert tf.boolean_mask(y, y[:, 0] > 0).shape.as_list() == [None, 3]
    assert tf.where(y > 0).shape.as_list() == [None, 2]


def test_sizes_keep_their_identity() -> None:
    """A size that went through arithmetic is still known to be the same one."""
    x = tf.placeholder(tf.float32, [None, 4])
    n = tf.shape(x)[0]
    assert x[1:].type.shape == x[:-1].type.shape
    assert tf.reshape(x, [n * 2, 2]).type.shape[0] == 2 * x.type.shape[0]
    assert tf.reshape(tf.reshape(x, [-1]), tf.shape(x)).type.shape == x.type.shape
    assert tf.zeros([n, 3]).type.shape[0] == x.type.shape[0]
    assert x[: n - 1].type.shape == x[:-1].type.shape


def test_unknown_rank() -> None:
    x = tf.placeholder(tf.float32)
    for t in (tf.identity(x), x[0], tf.expand_dims(x, 0), tf.pad(x, [[1, 1]])):
        assert t.shape.ndims is None
    assert tf.reshape(x, [2, -1]).shape.as_list() == [2, None]
    assert tf.transpose(x, [1, 0]).shape.as_list() == [None, None]
    assert tf.shape(x).shape.as_list() == [None]


def test_shape_arguments() -> None:
    x = tf.placeholder(tf.float32, [5, 3])
    assert tf.zeros(x.shape).shape.as_list() == [5, 3]
    assert tf.zeros([x.shape[1], 4]).shape.as_list() == [3, 4]
    assert tf.zeros((2,)).shape.as_list() == [2]
    assert tf.zeros(3).shape.as_list() == [3]
    assert tf.zeros([]).shape.as_list() == []
    assert tf.ones([np.int64(2), tf.constant(3)]).shape.as_list() == [2, 3]
    assert tf.reshape([[1.0]], []).shape.as_list() == []
    assert tf.zeros([2], tf.bool).dtype is tf.bool
    assert tf.ones([2], tf.int32).dtype is tf.int32
    with pytest.raises(ValueError, match="not supported"):
        tf.zeros([tf.placeholder(tf.float32, [None]).shape[0], 2])
    with pytest.raises(TypeError, match="must be an integer"):
        tf.zeros([2.5])
    with pytest.raises(ValueError, match="non-negative"):
        tf.zeros([-1, 2])


def test_types_of_sizes() -> None:
    x = tf.zeros([2, 3])
    assert tf.shape(x).dtype is tf.int32
    assert tf.shape(x, out_type=tf.int64).dtype is tf.int64
    assert tf.size(x).dtype is tf.int32 and tf.rank(x).dtype is tf.int32
    assert tf.where(x > 0).dtype is tf.int64
    assert tf.range(5).dtype is tf.int32
    assert tf.range(0.0, 1.0, 0.25).dtype is tf.float32
    assert tf.range(tf.constant(3, tf.int64)).dtype is tf.int64
    assert tf.one_hot([1], 3).dtype is tf.float32
    assert tf.one_hot([1], 3, True, False).dtype is tf.bool


# ---------------------------------------------------------------------------------------------- names


def test_names() -> None:
    x = tf.placeholder(tf.float32, [2, 3], name="x")
    made = [
        tf.zeros([2]), tf.ones([2]), tf.concat([x, x], 0), tf.reshape(x, [3, 2]), tf.transpose(x), x[0], x[1], tf.stack([x, x]),
        tf.identity(x), tf.expand_dims(x, 0), tf.shape(x), tf.fill([2], 1.0), tf.tile(x, [1, 2]), tf.pad(x, [[0, 0], [1, 1]]),
        tf.one_hot([1], 3), tf.gather(x, [0]), tf.range(4), tf.zeros_like(x), tf.slice(x, [0, 0], [1, 1]), tf.squeeze(x[:1]),
    ]  # fmt: skip
    assert [t.op.name for t in made] == [
        "zeros", "ones", "concat", "Reshape", "transpose", "strided_slice", "strided_slice_1", "stack",
        "Identity", "ExpandDims", "Shape", "Fill", "Tile", "Pad",
        "one_hot", "GatherV2", "range", "zeros_like", "Slice", "Squeeze",
    ]  # fmt: skip
    assert [t.name for t in tf.split(x, 3, 1)] == ["split:0", "split:1", "split:2"]
    assert [t.name for t in tf.unstack(x)] == ["unstack:0", "unstack:1"]
    assert tf.reshape(x, [6], name="flat").op.name == "flat"
    assert tf.zeros([2]).op.type == "Const"
    with tf.name_scope("s"):
        assert x[0].op.name == "s/strided_slice"


# ---------------------------------------------------------------------------------------------- errors


def _x() -> tf.Tensor:
    return tf.placeholder(tf.float32, [2, 3])


@pytest.mark.parametrize(
    ("error", "text", "make"),
    [
        (ValueError, r"Cannot reshape a tensor with 2 elements to shape \[3\] \(3 elements\)", lambda: tf.reshape([1, 2], [3])),
        (ValueError, "Cannot reshape a tensor with 6 elements", lambda: tf.reshape(_x(), [-1, 4])),
        (ValueError, "Only one input size may be -1", lambda: tf.reshape(_x(), [-1, -1])),
        (ValueError, "non-negative or -1", lambda: tf.reshape(_x(), [-2, 3])),
        (ValueError, "cannot infer the missing input size", lambda: tf.reshape(tf.zeros([0, 2]), [-1, 0])),
        (ValueError, "at most 32", lambda: tf.reshape([1], [1] * 65)),
        (ValueError, "at most 32", lambda: tf.reshape([1], [1] * 40)),
        (TypeError, "must be an integer", lambda: tf.reshape(_x(), [2.0, 3.0])),
        (ValueError, "Must specify an axis", lambda: tf.expand_dims(_x())),
        (ValueError, "out of range", lambda: tf.expand_dims(_x(), 5)),
        (ValueError, r"Can not squeeze dim\[1\], expected a dimension of 1, got 3", lambda: tf.squeeze(_x(), [1])),
        (ValueError, "no permutation", lambda: tf.transpose(_x(), [0, 0])),
        (ValueError, "Dimension must be 3 but is 2", lambda: tf.transpose(_x(), [0, 1, 2])),
        (ValueError, "perm must be known", lambda: tf.transpose(_x(), tf.placeholder(tf.int32, [2]))),
        (ValueError, "cannot be broadcast", lambda: tf.broadcast_to(_x(), [2, 4])),
        (ValueError, "vector of length 2", lambda: tf.tile(_x(), [2])),
        (ValueError, "non-negative", lambda: tf.tile(_x(), [2, -1])),
        (
            ValueError,
            r"Dimension 0 in both shapes must be equal, but are 3 and 4. Shapes are \[3\] and \[4\]",
            lambda: tf.concat([_x(), tf.zeros([2, 4])], 0),
        ),
        (ValueError, "Shape must be rank 2 but is rank 1", lambda: tf.concat([_x(), tf.zeros([2])], 0)),
        (ValueError, "Can't concatenate scalars", lambda: tf.concat([1, 2], 0)),
        (ValueError, "out of range", lambda: tf.concat([_x(), _x()], 2)),
        (TypeError, "don't all match", lambda: tf.concat([_x(), tf.zeros([2, 3], tf.int32)], 0)),
        (ValueError, "at least one", lambda: tf.concat([], 0)),
        (ValueError, "in both shapes must be equal, but are 3 and 4", lambda: tf.stack([tf.zeros([3]), tf.zeros([4])])),
        (ValueError, "equal rank", lambda: tf.stack([tf.zeros([3]), tf.zeros([])])),
        (ValueError, "evenly divisible by 2 but is 3", lambda: tf.split(_x(), 2, 1)),
        (ValueError, "Got: 4 for dimension 1 of size 3", lambda: tf.split(_x(), [1, 3], 1)),
        (ValueError, "Cannot infer argument `num`", lambda: tf.unstack(tf.placeholder(tf.float32, [None, 2]))),
        (ValueError, "slice index 2 of dimension 0 out of bounds", lambda: _x()[2]),
        (ValueError, "slice index -4 of dimension 1 out of bounds", lambda: _x()[0, -4]),
        (ValueError, "Index out of range using input dim 2", lambda: _x()[0, 0, 0]),
        (ValueError, "step cannot be zero", lambda: _x()[::0]),
        (ValueError, "Multiple ellipses", lambda: _x()[..., ...]),
        (TypeError, "valid indices", lambda: _x()[np.array([0, 1])]),
        (TypeError, "valid indices", lambda: _x()["a"]),
        (TypeError, "valid indices", lambda: _x()[1.0]),
        (TypeError, "valid indices", lambda: _x()[True]),
        (TypeError, "valid indices", lambda: _x()[tf.constant([0, 1])]),
        (ValueError, r"Expected begin\[1\] and size\[1\] in \[0, 3\]", lambda: tf.slice(_x(), [0, 2], [1, 2])),
        (ValueError, "vector of length 2", lambda: tf.slice(_x(), [0], [1])),
        (ValueError, "non-negative", lambda: tf.pad(_x(), [[0, 0], [-1, 0]])),
        (ValueError, "rank of inputs", lambda: tf.pad(_x(), [[1, 1]])),
        (ValueError, "Unknown padding mode", lambda: tf.pad(_x(), [[0, 0], [0, 0]], "WRAP")),
        (ValueError, "less than the dimension size", lambda: tf.pad(_x(), [[2, 0], [0, 0]], "REFLECT")),
        (ValueError, "Requires delta != 0", lambda: tf.range(0, 5, 0)),
        (ValueError, "Requires num > 0", lambda: tf.linspace(0.0, 1.0, 0)),
        (TypeError, "'indices' has DataType float32", lambda: tf.gather(_x(), [0.5])),
        (ValueError, "at least rank 1", lambda: tf.gather(tf.constant(1.0), [0])),
        (ValueError, "out of range", lambda: tf.gather(_x(), [0], axis=2)),
        (ValueError, "saw: 3 vs. 2", lambda: tf.gather_nd(_x(), [[0, 0, 0]])),
        (ValueError, "mask cannot be scalar", lambda: tf.boolean_mask(_x(), True)),
        (ValueError, "incompatible", lambda: tf.boolean_mask(_x(), [True, False, True])),
        (ValueError, "depth must be non-negative", lambda: tf.one_hot([1], -1)),
        (TypeError, "DataType float32", lambda: tf.one_hot([1.5], 3)),
        (ValueError, "does not start with", lambda: scatter.unsorted_segment_sum(_x(), [0, 1, 2], 3)),
        (ValueError, "1D vector", lambda: tf.unique(_x())),
        (ValueError, "value must be a scalar", lambda: tf.fill([2], [1.0, 2.0])),
    ],
)  # fmt: skip
def test_errors(error: type[Exception], text: str, make: Callable[[], Any]) -> None:
    with pytest.raises(error, match=text):
        make()


def test_run_time_errors(run: Callable[..., Any]) -> None:
    x, i = tf.placeholder(tf.float32, [None, 3]), tf.placeholder(tf.int32)
    i.set_shape([])
    row = tf.placeholder(tf.int64, [None])
    cases: list[tuple[tf.Tensor, dict[Any, Any]]] = [
        (tf.gather(x, row), {x: array(2, 3), row: [0, 2]}),
        (tf.gather(x, row), {x: array(2, 3), row: [-1]}),
        (tf.gather(x, row, axis=1), {x: array(2, 3), row: [2**33]}),
        (x[i], {x: array(2, 3), i: 2}),
        (x[i], {x: array(2, 3), i: -3}),
        (x[1], {x: array(1, 3)}),
        (x[-2], {x: array(1, 3)}),
        (x[tf.shape(x)[0] - 1], {x: array(0, 3)}),
        (tf.slice(x, [0, 0], [4, 1]), {x: array(3, 3)}),
        (tf.reshape(x, [-1, 2]), {x: array(3, 3)}),
        (tf.reshape(x, [4, 3]), {x: array(3, 3)}),
        (tf.gather_nd(x, [[0, 3]]), {x: array(2, 3)}),
        (tf.gather_nd(x, [[1, -1]]), {x: array(2, 3)}),
        (tf.gather(tf.ones([2, 3]), [[0, 1], [3, 0]], batch_dims=1), {}),
        (tf.scatter_nd([[5]], [1.0], [3]), {}),
        (tf.split(x, 2)[0], {x: array(3, 3)}),
        (scatter.unsorted_segment_sum(x, [0, 3], 3), {x: array(2, 3)}),
    ]
    for fetch, feeds in cases:
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(fetch, feeds)


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
        (tf.range(3, 0), np.zeros(0, np.int32)),
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
    np.testing.assert_array_equal(run(rearrange.roll(tf.constant(a), [1, -1], [0, 2])), np.roll(a, (1, -1), (0, 2)))
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
        (positions.sequence_mask([1, 3], 4), [[1, 0, 0, 0], [1, 1, 1, 0]]),
        (positions.sequence_mask([0, 2], dtype=tf.float32), [[0, 0], [1, 1]]),
        (scatter.unsorted_segment_sum([1.0, 2.0, 4.0], [0, -1, 0], 2), [5, 0]),
        (scatter.unsorted_segment_sum([[1.0, 2], [3, 4], [5, 6]], [0, -1, -2], 2), [[1, 2], [0, 0]]),
        (scatter.unsorted_segment_sum([[1.0, 2]], [-1], 0), np.zeros((0, 2))),
        (scatter.segment_sum([[1, 2], [3, 4], [5, 6]], [0, 0, 2]), [[4, 6], [0, 0], [5, 6]]),
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
        (positions.unique_with_counts([3, 1, 3])[2], [2, 1]),
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
    assert shape_ops.merged_shape(x, 0, 2).static_value() == (6, 4)
    assert slicing.slice_axis(x, 1, 1, None).shape.as_list() == [2, 2, 4]
    assert [t.shape.as_list() for t in splitting.split_by(x, [1, 2], 1)] == [[2, 1, 4], [2, 2, 4]]
    assert joining.parallel_stack is tf.parallel_stack
