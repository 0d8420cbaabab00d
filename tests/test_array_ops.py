"""Array ops: static shapes (also partial ones), names, and the texts of errors, on both backends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.ops.array import scatter

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
    for t in (tf.identity(x), x[0], tf.expand_dims(x, 0)):
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
        (ValueError, r"Expected size\[1\] in \[0, 1\], but got 2", lambda: tf.slice(_x(), [0, 2], [1, 2])),
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
