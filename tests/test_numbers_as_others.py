"""What TensorFlow takes as a number or label of another dtype: Python's bools, numpy's scalars, results of Python functions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf

NUMBERS = ("float16", "float32", "float64", "int8", "uint8", "int32", "int64")


def values(*ts: Any) -> Any:
    with tf.Session() as session:
        return [np.asarray(v) for v in session.run(ts)]


def value(t: Any) -> Any:
    return values(t)[0]


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default() as g:
        yield g


@pytest.mark.parametrize("dtype", NUMBERS)
@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        (True, 1), ([True, False], [1, 0]), ([1, True], [1, 1]), (np.bool_(True), 1), (np.array([True, False]), [1, 0]),
        (np.float32(1.5), 1.5), (np.float64(2.5), 2.5), (np.array([1.5, 2.5]), [1.5, 2.5]), (np.float16(1.5), 1.5),
        (np.int64(3), 3), (np.array([1, 2], np.uint16), [1, 2]),
    ],
    ids=repr,
)  # fmt: skip
def test_bools_and_numpy_values_are_numbers_of_any_dtype(given: Any, wanted: Any, dtype: str) -> None:
    expected = np.array(wanted).astype(dtype)
    two = np.array([2, 3]).astype(dtype)
    x = tf.constant(two)
    one, again, product, total = values(
        tf.constant(given, dtype), tf.convert_to_tensor(given, tf.as_dtype(dtype)), x * given, tf.add(x, given)
    )
    assert one.dtype == again.dtype == expected.dtype and one.tolist() == again.tolist() == expected.tolist()
    assert product.tolist() == (two * expected).tolist() and total.tolist() == (two + expected).tolist()


@pytest.mark.parametrize("given", [1.5, [1.5], [1, 2.5], [np.float32(1.5)], [1.5, True]], ids=repr)
def test_python_floats_are_no_integers(given: Any) -> None:
    with pytest.raises(TypeError, match="Expected int32"):
        tf.constant(given, tf.int32)
    with pytest.raises(TypeError):
        tf.constant([1, 2]) + given


@pytest.mark.parametrize("given", [1, [0, 1], 1.0])
def test_python_numbers_are_no_bools(given: Any) -> None:
    with pytest.raises(TypeError, match="Expected bool"):
        tf.constant(given, tf.bool)


@pytest.mark.parametrize(("dtype", "top"), [("uint8", 2**8), ("uint16", 2**16), ("uint32", 2**32), ("uint64", 2**64)])
def test_negative_numbers_stand_for_unsigned_ones(dtype: str, top: int) -> None:
    assert int(value(tf.constant(-1, dtype))) == top - 1
    assert value(tf.constant(np.array([-2, 1]), dtype)).tolist() == [top - 2, 1]
    if dtype != "uint64":  # as in TensorFlow, narrow integers wrap
        assert int(value(tf.constant(top + 3, dtype))) == 3 and int(value(tf.constant(-top, dtype))) == 0


LOGITS = np.array([[1, 2, 3], [3, 1, 2]])
LABELS = np.array([[1, 0, 0], [0, 0, 1]])


@pytest.mark.parametrize("logits_dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("labels_dtype", ["float16", "float32", "float64", "uint8", "int64", "bool", "list"])
def test_labels_of_any_dtype(labels_dtype: str, logits_dtype: str) -> None:
    logits = tf.constant(LOGITS, logits_dtype)
    labels: Any = LABELS.tolist() if labels_dtype == "list" else tf.constant(LABELS.astype(labels_dtype))
    wide = LOGITS.astype(np.float64)
    wanted = -np.sum(LABELS * (wide - np.log(np.exp(wide).sum(1, keepdims=True))), 1)
    functions = (tf.nn.softmax_cross_entropy_with_logits_v2, tf.nn.softmax_cross_entropy_with_logits)
    for found in values(*(f(labels=labels, logits=logits) for f in functions)):
        assert found.dtype == logits_dtype
        np.testing.assert_allclose(found, wanted, rtol=1e-3 if logits_dtype == "float16" else 1e-6)
    if labels_dtype.startswith("float"):
        loss = tf.nn.softmax_cross_entropy_with_logits_v2(labels=labels, logits=logits)
        assert [g.dtype.name for g in tf.gradients(loss, [logits, labels])] == [logits_dtype, labels_dtype]


X = np.arange(12.0, dtype=np.float32).reshape(3, 4)
USES: dict[str, tuple[Callable[[Any], Any], Any]] = {
    "add": (lambda k: k + k, 4), "divide": (lambda k: k // 2, 1), "cast": (lambda k: tf.cast(k, tf.float32) * 2.0, 4),
    "zeros": (lambda k: tf.zeros([k, 1]), [[0], [0]]), "reshape": (lambda k: tf.reshape(X, [-1, k])[-1], [10, 11]),
    "range": (tf.range, [0, 1]), "index": (lambda k: tf.constant(X)[k], X[2]),
    "slice": (lambda k: tf.constant(X)[k:, 1:k], [[9]]),
    "gather": (lambda k: tf.gather(X, [k, 0]), X[[2, 0]]), "one_hot": (lambda k: tf.one_hot(k, 4), [0, 0, 1, 0]),
    "tile": (lambda k: tf.tile([1.0], [k]), [1, 1]), "pad": (lambda k: tf.pad([1.0], [[k, 0]]), [0, 0, 1]),
    "segments": (lambda k: tf.unsorted_segment_sum([1.0, 2.0], [0, 1], k), [1, 2]),
    "stack": (lambda k: tf.stack([k, k]), [2, 2]),
    "axis": (lambda k: tf.reduce_sum(X, k - 2), X.sum(0)), "label": (
        lambda k: tf.nn.sparse_softmax_cross_entropy_with_logits(logits=[0.0, 0.0, 0.0], labels=k), np.log(3)
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", USES)
@pytest.mark.parametrize("dtype", [np.int32, np.int64])
@pytest.mark.parametrize("shape_is_set", [False, True])
def test_an_integer_result_of_a_python_function_is_used_anywhere(name: str, dtype: Any, shape_is_set: bool) -> None:
    function, wanted = USES[name]
    k = tf.py_func(lambda: dtype(2), [], dtype)
    if shape_is_set:
        k.set_shape([])
    np.testing.assert_allclose(value(function(k)), wanted, rtol=1e-6)
