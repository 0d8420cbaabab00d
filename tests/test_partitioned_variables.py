"""Partitioned variables: what partitioners answer, the parts and their names, sharing, initial values, training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf


def rows(n: int) -> Callable[..., list[int]]:
    return lambda shape, **_: [n] + [1] * (len(shape) - 1)


@pytest.fixture(autouse=True)
def new_graph() -> Any:
    with tf.Graph().as_default():
        yield


@pytest.mark.parametrize(
    ("partitioner", "shape", "dtype", "parts"),
    [
        (tf.fixed_size_partitioner(5), [10, 10], tf.float32, [5, 1]),
        (tf.fixed_size_partitioner(5, axis=1), [10, 3], tf.float32, [1, 3]),
        # A slice of axis 2 has 4 * 8 * 32 * 4 bytes, so 8 of them fit.
        (tf.variable_axis_size_partitioner(32768, axis=2), [4, 8, 16, 32], tf.float32, [1, 1, 2, 1]),
        (tf.variable_axis_size_partitioner(32767, axis=2), [4, 8, 16, 32], tf.float32, [1, 1, 3, 1]),
        (tf.variable_axis_size_partitioner(131072), [4, 8, 16, 32], tf.float32, [1, 1, 1, 1]),
        (tf.variable_axis_size_partitioner(1, max_shards=3), [40], tf.int64, [3]),
        (tf.variable_axis_size_partitioner(16, bytes_per_string_element=8), [5], tf.string, [3]),
        (tf.min_max_variable_partitioner(100), [2048, 1024], tf.float32, [32, 1]),
        (tf.min_max_variable_partitioner(16), [2048, 1024], tf.float32, [16, 1]),
        (tf.min_max_variable_partitioner(100, axis=1, min_slice_size=8), [2, 3], tf.float64, [1, 3]),
        (tf.min_max_variable_partitioner(), [2048, 1024], tf.float32, [1, 1]),
    ],
)
def test_partitioners(partitioner: Any, shape: list[int], dtype: Any, parts: list[int]) -> None:
    assert partitioner(shape=tf.TensorShape(shape), dtype=dtype) == parts


def test_names_parts_and_values() -> None:
    with tf.variable_scope("s", partitioner=rows(3)):
        v = tf.get_variable("v", initializer=tf.reshape(tf.range(14), [7, 2]))
        scalar = tf.get_variable("n", [])
    assert (v.name, v.shape.as_list(), v.dtype, len(v)) == ("s/v", [7, 2], tf.int32, 3)
    assert scalar.name == "s/n:0"
    assert [(p.name, p.shape.as_list()) for p in v] == [
        ("s/v/part_0:0", [3, 2]),
        ("s/v/part_1:0", [2, 2]),
        ("s/v/part_2:0", [2, 2]),
    ]
    assert tf.trainable_variables() == [*v, scalar]
    assert v.as_tensor().name == "s/v:0"
    with tf.control_dependencies([tf.constant(1)]):
        assert not tf.convert_to_tensor(v).op.control_inputs
    new = np.full([7, 2], 5)
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        assert s.run(tf.identity(v)).tolist() == np.arange(14).reshape(7, 2).tolist()
        assert s.run(tf.gather(v, [6, 0])).tolist() == [[12, 13], [0, 1]]
        assert [x.tolist() for x in s.run(v.assign(new))] == [new[:3].tolist(), new[:2].tolist(), new[:2].tolist()]
        s.run([v.assign_add(np.ones([7, 2], np.int32)), v.assign_sub(new, name="sub")])
        assert s.run(v.as_tensor()).tolist() == np.ones([7, 2]).tolist()


def test_sharing() -> None:
    with tf.variable_scope("s", partitioner=rows(2)):
        v = tf.get_variable("v", [3, 1])
        with pytest.raises(ValueError, match="Partitioned variable with name s/v already exists"):
            tf.get_variable("v", [3, 1])
        with pytest.raises(ValueError, match="PartitionedVariable s/w does not exist"), tf.variable_scope("", reuse=True):
            tf.get_variable("w", [3, 1])
    with tf.variable_scope("s", reuse=True):
        assert tf.get_variable("v") is v
        assert tf.get_variable("v", [3, 1], partitioner=rows(2)) is v
        for arguments, message in (
            ({"shape": [3, 2], "partitioner": rows(2)}, r"specified shape \(3, 2\) and found shape \(3, 1\)"),
            ({"shape": [3, 1], "dtype": tf.int32, "partitioner": rows(2)}, "dtype int32 and found dtype float32"),
            ({"shape": [3, 1], "partitioner": rows(3)}, r"specified partitions \[3, 1\] and found partitions \[2, 1\]"),
        ):
            with pytest.raises(ValueError, match=message):
                tf.get_variable("v", **arguments)
    with tf.variable_scope("s"):
        with pytest.raises(ValueError, match="a partitioned version of the variable was found: s/v/part_0"):
            tf.get_variable("v", [3, 1])
        tf.get_variable("whole", [3, 1])
        with pytest.raises(ValueError, match="an unpartitioned version of the variable was found: s/whole"):
            tf.get_variable("whole", [3, 1], partitioner=rows(2))
        again = tf.get_variable_scope()
    with tf.variable_scope(again, reuse=tf.AUTO_REUSE, partitioner=rows(2)):
        assert tf.get_variable("v", [3, 1]) is v
        assert len(tf.get_variable("made", [3, 1])) == 2


@pytest.mark.parametrize(
    ("shape", "answer", "message"),
    [
        ([4, 4], 2, "Partitioner must return a sequence"),
        ([4, 4], [2], "does not match the Variable's rank"),
        ([4, 4], [0, 1], "returned zero partitions"),
        ([4, 4], [5, 1], "Cannot create 5 slices for size 4"),
        ([4, 4], [2, 2], "Can only slice a variable along one dimension"),
        ([4, None], [2, 1], "must be fully defined"),
    ],
)
def test_wrong_answers(shape: list[Any], answer: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tf.get_variable("v", shape, partitioner=lambda **_: answer)


def test_partitioners_must_be_functions() -> None:
    with pytest.raises(ValueError, match="Partitioner must be callable"):
        tf.get_variable("v", [4], partitioner=3)
    for wrong in ({"max_shard_bytes": 0}, {"max_shard_bytes": 8, "max_shards": -1}):
        with pytest.raises(ValueError, match="must be positive"):
            tf.variable_axis_size_partitioner(**wrong)


def test_initializers_of_parts() -> None:
    told: list[Any] = []

    def initializer(shape: Any, dtype: Any = None, partition_info: Any = None) -> Any:
        told.append((shape, partition_info.full_shape, partition_info.var_offset, partition_info.single_offset(shape)))
        return tf.ones(shape, dtype)

    tf.get_variable("a", [2, 5], initializer=initializer, partitioner=lambda **_: [1, 2])
    assert told == [([2, 3], [2, 5], [0, 0], 0), ([2, 2], [2, 5], [0, 3], 3)]
    plain = tf.get_variable("b", [4], initializer=lambda shape: tf.ones(shape), partitioner=rows(2))
    identity = tf.get_variable("c", [3, 3], initializer=tf.initializers.Identity(), partitioner=rows(2))
    # The spread is that of the whole table, though each part has few columns.
    wide = tf.get_variable("d", [500, 500], partitioner=lambda **_: [1, 250])
    seeded = tf.get_variable("e", [4, 3], initializer=tf.random_uniform_initializer(seed=3), partitioner=rows(2))
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        assert s.run(tf.identity(plain)).tolist() == [1.0] * 4
        assert s.run(tf.identity(identity)).tolist() == np.eye(3).tolist()
        x = s.run(tf.identity(wide))
        assert 0.9 * np.sqrt(6 / 1000) < np.abs(x).max() <= np.sqrt(6 / 1000)
        first, second = s.run(list(seeded))
        assert np.array_equal(first, second)


def test_training() -> None:
    """A model on a partitioned table learns what the same model on one variable learns."""
    start, x = np.linspace(-1, 1, 15, dtype=np.float32).reshape(5, 3), np.eye(5, dtype=np.float32)
    results = []
    for partitioner in (None, rows(2)):
        with tf.Graph().as_default(), tf.Session() as s:
            w = tf.get_variable("w", initializer=tf.constant(start), partitioner=partitioner, regularizer=tf.nn.l2_loss)
            loss = tf.reduce_sum(tf.square(tf.matmul(x, w) - 1.0)) + tf.losses.get_regularization_loss()
            step = tf.train.AdamOptimizer(0.1).minimize(loss)
            s.run(tf.global_variables_initializer())
            for _ in range(5):
                s.run(step)
            results.append(s.run(tf.identity(w)))
    assert np.allclose(*results, rtol=1e-6) and not np.allclose(results[0], start, atol=0.1)


def test_create_partitioned_variables() -> None:
    value = tf.constant([[1, 2, 3, 4], [5, 6, 7, 8]])
    with tf.name_scope("no_matter"):
        first = tf.create_partitioned_variables([2, 4], [1, 3], value)
        second = tf.create_partitioned_variables([2, 4], [1, 1], value)
    assert [p.name for p in first] == [f"PartitionedVariable/part_{i}:0" for i in range(3)]
    assert [p.name for p in second] == ["PartitionedVariable_1/part_0:0"]
    assert [p._save_slice_info.spec for p in first] == ["2 4 0,2:0,2", "2 4 0,2:2,1", "2 4 0,2:3,1"]
    with tf.Session() as s:
        s.run(tf.global_variables_initializer())
        assert np.concatenate(s.run(first), 1).tolist() == s.run(value).tolist()
    with tf.variable_scope("of_scope") as scope:
        made = tf.create_partitioned_variables([2, 4], [1, 2], value)
    with tf.variable_scope(scope, reuse=True):
        assert tf.create_partitioned_variables([2, 4], [1, 2], value, tf.int32) == made
    for shape, slicing in (([10], [1, 1]), ([2, 4], [1]), ([], []), ([2, 4], [1, 5])):
        with pytest.raises(ValueError, match=r"slic|rank"):
            tf.create_partitioned_variables(shape, slicing, value)
    with tf.variable_scope("s", custom_getter=lambda g, *a, **k: g(*a, **k)), pytest.raises(ValueError, match="custom getter"):
        tf.create_partitioned_variables([2, 4], [1, 2], value)
