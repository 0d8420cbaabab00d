"""Programs that are right in TensorFlow 1 and were refused here once, or gave other names, shapes or types."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf


@pytest.fixture(autouse=True)
def _graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def run(fetches: Any, feeds: Any = None, **options: Any) -> Any:
    with tf.Session(**options) as session:
        session.run(tf.global_variables_initializer())
        return session.run(fetches, feeds)


# ---------------------------------------------------------------------------------------------- sizes and feeds


def test_a_static_shape_needs_no_feed() -> None:
    p = tf.placeholder(tf.float32, [2, 3])
    assert run([tf.shape(p), tf.size(p), tf.rank(p), tf.shape(p * 2.0 + 1)[1] * 2])[0].tolist() == [2, 3]
    assert run([tf.size(p), tf.rank(tf.placeholder(tf.float32, [None, 3])), tf.shape(p)[0] + 1]) == [6, 2, 3]
    assert (tf.shape(p).op.type, tf.shape(tf.placeholder(tf.float32, [None])).op.type) == ("Const", "Shape")
    assert tf.shape(p, out_type=tf.int64).dtype == tf.int64
    with pytest.raises(tf.errors.InvalidArgumentError, match="must feed"):
        run(tf.shape(tf.placeholder(tf.float32, [None, 3])))


def test_a_placeholder_that_must_come_before() -> None:
    p = tf.placeholder(tf.int32, [])
    with tf.control_dependencies([p]):
        c = tf.constant(5)
    assert run(p * c, {p: 2}) == 10


@pytest.mark.parametrize("make", [tf.truncated_normal, tf.random_normal, tf.random_uniform, tf.zeros, tf.ones])
def test_a_size_of_more_than_32_bits(make: Callable[..., Any]) -> None:
    assert make([2**33, 1]).shape.as_list() == [2**33, 1]


# ---------------------------------------------------------------------------------------------- operands


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("strategy", ["mod", "div"])
@pytest.mark.parametrize("sizes", [(3, 3), (3, 2), (2, 2, 1), (1, 1, 0), (4, 3, 3, 3)])
def test_a_table_in_parts(sizes: tuple[int, ...], strategy: str, backend: str) -> None:
    total = sum(sizes)
    table = np.arange(total * 2, dtype=np.float32).reshape(total, 2)
    ends = np.cumsum(sizes)
    pieces = [table[k :: len(sizes)] for k in range(len(sizes))] if strategy == "mod" else np.split(table, ends[:-1])
    parts = [tf.Variable(p) for p in pieces]
    ids = tf.placeholder(tf.int64, [None, None])
    rows = tf.nn.embedding_lookup(parts, ids, partition_strategy=strategy)
    assert rows.shape.as_list() == [None, None, 2]
    grads = tf.gradients(rows * rows, [p for p, v in zip(parts, pieces, strict=True) if len(v)])
    assert all(isinstance(g, tf.IndexedSlices) for g in grads)
    wanted = np.array([[total - 1, 0, total // 2], [0, 0, 1]])
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        np.testing.assert_array_equal(session.run(rows, {ids: wanted}), table[wanted])
        dense = np.zeros_like(table)
        np.add.at(dense, wanted, 2 * table[wanted])
        pieces = [dense[k :: len(sizes)] for k in range(len(sizes))] if strategy == "mod" else np.split(dense, ends[:-1])
        found = session.run([tf.convert_to_tensor(g) for g in grads], {ids: wanted})
        for ours, theirs in zip(found, [p for p in pieces if len(p)], strict=True):
            np.testing.assert_array_equal(ours, theirs)
        for bad in (-1, total):
            with pytest.raises(tf.errors.InvalidArgumentError):
                session.run(rows, {ids: [[bad]]})


@pytest.mark.parametrize("source", ["float32", "float64", "int8", "uint16", "int32", "int64", "float16"])
@pytest.mark.parametrize("target", ["uint8", "int16", "float32", "int64", "float64", "float16"])
def test_bits_in_other_parts(source: str, target: str) -> None:
    a = np.random.default_rng(3).integers(0, 256, (2, 3, 8), np.uint8).view(source)
    ratio = np.dtype(target).itemsize // a.itemsize
    if ratio > 1:
        a = np.ascontiguousarray(a.reshape(2, -1, ratio))
    with np.errstate(all="ignore"):
        wanted = a.view(target)
    shape = (
        (*a.shape, a.itemsize // wanted.itemsize) if a.itemsize > wanted.itemsize else a.shape[:-1] if ratio > 1 else a.shape
    )
    x = tf.placeholder(source, [None] * a.ndim)
    for backend in ("native", "reference"):
        found = run(tf.bitcast(x, target), {x: a}, backend=backend)
        assert found.shape == shape
        assert found.tobytes() == wanted.tobytes()


def test_operands_of_other_types() -> None:
    p = tf.placeholder(tf.bool, [2])
    assert run(tf.where(p, ["a", "b"], ["c", "d"]), {p: [True, False]}).tolist() == [b"a", b"d"]
    assert run(tf.constant([-1, 300, 256], tf.uint8)).tolist() == [255, 44, 0]
    assert run(tf.constant(5, tf.uint8) + (-1)) == 4
    assert (run(tf.constant(-1, tf.uint64)), run(tf.constant(200, tf.int8))) == (2**64 - 1, -56)
    half = tf.constant([[1.0, 2.0]], tf.bfloat16)
    assert tf.matmul(half, tf.constant([[3.0], [4.0]]), a_is_sparse=True).dtype == tf.float32
    assert run(tf.matmul(tf.constant([[1.0, 2.0]]), tf.cast([[3.0], [4.0]], tf.bfloat16), b_is_sparse=True)) == 11
    assert run([tf.reduce_all([]), tf.reduce_any([])]) == [True, False]
    assert run(tf.logical_and([], [])).dtype == np.bool_


def test_ranks_that_a_run_knows() -> None:
    x, r = tf.placeholder(tf.float32), tf.placeholder(tf.int32, [])
    with tf.control_dependencies([tf.assert_rank(x, 2, message="no matrix"), tf.assert_rank_at_least(x, r)]):
        y = tf.identity(x)
    for backend in ("native", "reference"):
        assert run(y, {x: [[1.0]], r: 1}, backend=backend) == 1
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(y, {x: [1.0], r: 1}, backend=backend)
        with pytest.raises(tf.errors.InvalidArgumentError):
            run(y, {x: [[1.0]], r: 3}, backend=backend)


# ---------------------------------------------------------------------------------------------- variables


def test_variables_of_other_kinds() -> None:
    assert run(tf.get_variable("text", [2], tf.string)).tolist() == [b"", b""]
    read = tf.get_variable("sum", [2], synchronization=tf.VariableSynchronization.ON_READ)
    assert not read.trainable and read not in tf.trainable_variables()
    with pytest.raises(ValueError, match="only for non-trainable variables"):
        tf.Variable(1.0, trainable=True, synchronization=tf.VariableSynchronization.ON_READ)


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    "key", [np.s_[0], np.s_[1:], np.s_[::2], np.s_[::-1, ::3], np.s_[:, 1], np.s_[..., -1], np.s_[None, 1]]
)
def test_a_slice_of_a_variable_is_assigned_to(key: Any, backend: str) -> None:
    wanted = np.arange(12, dtype=np.int32).reshape(3, 4)
    v = tf.Variable(wanted)
    with tf.Session(backend=backend) as session:
        session.run(v.initializer)
        part = v[key]
        assert np.array_equal(session.run(part), wanted[key])
        wanted[key] = -1 - wanted[key]
        assert np.array_equal(session.run(part.assign(wanted[key])), wanted)
        assert np.array_equal(session.run(v), wanted)
        wanted[key] = 7
        session.run(part.assign(7))
        assert np.array_equal(session.run(v), wanted)
        assert session.stats.host_fallbacks == 0
    with pytest.raises(ValueError, match=r"equal rank|must be equal"):
        part.assign([[[1, 2, 3, 4, 5]]])
    assert part.assign(1).op.type == "StridedSliceAssign"


def test_an_index_that_a_run_knows_is_assigned_to() -> None:
    k, v = tf.placeholder(tf.int32, []), tf.Variable(tf.zeros([3]))
    update = v[k].assign(9.0)
    with tf.Session() as session:
        session.run(v.initializer)
        session.run(update, {k: 1})
        assert session.run(update, {k: -1}).tolist() == [0, 9, 9]
        assert not hasattr(v + 1, "assign")


@pytest.mark.parametrize("name", ["Adagrad", "Ftrl", "Adam", "RMSProp"])
def test_a_variable_of_unknown_shape_is_trained(name: str) -> None:
    v = tf.Variable(tf.placeholder_with_default([1.0, 2.0], None), validate_shape=False)
    step = getattr(tf.train, f"{name}Optimizer")(0.1).minimize(lambda: tf.reduce_sum(v * v), var_list=[v])
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        session.run(step)
        assert (session.run(v) < [1, 2]).all()


def test_the_negative_of_rows_stays_rows() -> None:
    v = tf.Variable([[1.0], [2.0]])
    rows = -tf.gradients(tf.gather(v, [1]), v)[0]
    assert isinstance(rows, tf.IndexedSlices) and run(tf.convert_to_tensor(rows)).tolist() == [[0], [-1]]


# ---------------------------------------------------------------------------------------------- layers, losses, names


def test_layers_have_losses_and_names() -> None:
    x = tf.ones([2, 3])
    layer = tf.layers.Dense(2, kernel_regularizer=tf.reduce_sum, activity_regularizer=lambda y: tf.reduce_sum(y * y))
    y = layer(x)
    assert len(layer.losses) == 2 and tf.losses.get_regularization_losses() == layer.losses
    values, kernel, result = run([layer.losses, layer.kernel, y])
    np.testing.assert_allclose(values, [kernel.sum(), (result**2).sum()], rtol=1e-5)
    layer(x)
    assert len(layer.losses) == 3
    own = tf.layers.Layer(name="my_layer")
    variable = own.add_variable("my_var", [2, 2], regularizer=tf.reduce_sum)
    assert variable.name == "my_layer/my_var:0" and len(own.losses) == 1
    read = own.add_variable("read", [2], synchronization=tf.VariableSynchronization.ON_READ)
    assert own.non_trainable_variables == [read]


def test_names() -> None:
    labels, logits = tf.placeholder(tf.float32, name="labels"), tf.ones([2, 3])
    assert tf.losses.mean_squared_error(labels, logits).name == "mean_squared_error/value:0"
    assert tf.losses.softmax_cross_entropy(labels, logits).name == "softmax_cross_entropy_loss/value:0"
    for now, names in ((True, ["foo/add:0", "foo_1/add:0"]), (False, ["bar/add:0", "bar_1/add:0"])):
        made = tf.make_template(names[0].partition("/")[0], lambda x: tf.add(x, 1.0, name="add"), create_scope_now_=now)
        assert [made(1.0).name, made(1.0).name] == names


def test_fields() -> None:
    y, index = tf.unique([3, 3, 1])
    both = tf.unique_with_counts([3, 3, 1])
    assert run([tf.unique([3, 3, 1]).y, y, both.count, both.idx])[2].tolist() == [2, 1]
    assert index.dtype == tf.int32
    total = tf.constant(1.0, name="one") + tf.constant(2.0, name="two")
    node = total.op.node_def
    assert (node.op, node.name, node.input, node.device) == ("AddV2", "add", ["one", "two"], "")
    assert 'op: "AddV2"' in str(node) and isinstance(node, str)


def test_element_types_and_pythons() -> None:
    equal: list[tuple[Any, Any]] = [(tf.int32, np.int32), (tf.float32, float), (tf.bool, bool), (tf.int32, "int32")]
    other: list[tuple[Any, Any]] = [(tf.int32, int), (tf.int64, int), (tf.string, str), (tf.string, bytes)]
    assert all(a == b for a, b in equal) and not any(a == b for a, b in other)
