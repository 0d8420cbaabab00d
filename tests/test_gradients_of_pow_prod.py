"""Derivatives of powers and products where factors are 0 or overflow: no division by zero, no zero times infinity."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as tf

BACKENDS = pytest.mark.parametrize("backend", ["native", "reference"])


def derivatives(f: Any, values: Any, count: int, backend: str, dtype: Any = np.float32) -> list[Any]:
    values = np.asarray(values, dtype)
    with tf.Graph().as_default(), tf.Session(backend=backend) as session:
        x = tf.placeholder(dtype, values.shape)
        y, found = f(x), []
        for _ in range(count):
            (y,) = tf.gradients(y, x)
            found.append(y)
        return list(session.run(found, {x: values}))


@BACKENDS
@pytest.mark.parametrize("power", [0, 1, 2, 3, 4])
@pytest.mark.parametrize("exponent_is", ["number", "fed"])
def test_every_derivative_of_a_whole_power_exists(power: int, exponent_is: str, backend: str) -> None:
    values = np.array([-2.0, -0.0, 0.0, 1.0], np.float32)

    def f(x: Any) -> Any:
        exponent = float(power) if exponent_is == "number" else tf.placeholder_with_default(np.float32(power), [])
        return tf.pow(x, exponent)

    coefficients = np.zeros(power + 1)
    coefficients[0] = 1
    for found in derivatives(f, values, 6, backend):
        coefficients = np.polyder(coefficients)
        np.testing.assert_array_equal(found, np.polyval(coefficients, values))


@BACKENDS
def test_derivatives_of_pow_by_both_operands(backend: str) -> None:
    with tf.Graph().as_default(), tf.Session(backend=backend) as session:
        x, y = tf.placeholder(tf.float64, [6]), tf.placeholder(tf.float64, [6])
        gx, gy = tf.gradients(tf.pow(x, y), [x, y])
        found = session.run([gx, gy, *tf.gradients(gx, [x, y])], {x: [0, 0, 0, 2, 2, 0], y: [0, 1, 2, 0, 1, 0.5]})
        log2 = np.log(2)
        np.testing.assert_allclose(found[0], [0, 1, 0, 0, 1, np.inf])
        np.testing.assert_allclose(found[1], [0, 0, 0, log2, 2 * log2, 0])
        np.testing.assert_allclose(found[2][:5], [0, 0, 2, 0, 0])
        np.testing.assert_allclose(found[3][3:5], [0.5, 1 + log2])  # x^(y-1) + y x^(y-1) log x


def others(x: Any) -> Any:
    return [np.prod(np.delete(x, k)) for k in range(len(x))]


ROWS = [
    [0, 2, 3], [0, 0, 3], [0, 0, 0], [1, 2, 3], [-0.0, 2, -3], [1e4, -1e4, 2], [1e8, 1e8, 1], [1e30, 1e-30, 1e30],
    [1e20, -1e20, 1], [1.5e38, 2, 0.5], [1e-30, 1e-5, 1e30],
]  # fmt: skip


@BACKENDS
@pytest.mark.parametrize("row", ROWS, ids=str)
@pytest.mark.parametrize("extra", [0, 1, 2, 4], ids="{}_more".format)
def test_gradient_of_prod(row: list[float], extra: int, backend: str) -> None:
    row = row + [1.0] * extra
    wide = np.array(row, np.float32).astype(np.float64)
    with np.errstate(over="ignore"):
        wanted = np.array(others(wide)).astype(np.float32)
    (found,) = derivatives(lambda x: tf.reduce_prod(x), row, 1, backend)
    np.testing.assert_allclose(found, wanted, rtol=1e-6)


@BACKENDS
def test_second_derivatives_of_prod(backend: str) -> None:
    """That of a product by two elements is the product of the rest, also at zeros and where others are much larger."""
    for row in ([0, 0, 3, 5], [0, 2, 3, 5], [1e8, 1e8, 1, 2]):
        with tf.Graph().as_default(), tf.Session(backend=backend) as session:
            x = tf.placeholder(tf.float32, [4])
            (found,) = tf.hessians(tf.reduce_prod(x), x)
            wide = np.array(row, np.float64)
            wanted = [[0 if i == j else np.prod(np.delete(wide, [i, j])) for j in range(4)] for i in range(4)]
            np.testing.assert_allclose(session.run(found, {x: row}), wanted, rtol=1e-6)


@BACKENDS
@pytest.mark.parametrize("axis", [0, 1, 2, (0, 2), (1, 2), (0, 1), None, ()], ids=str)
@pytest.mark.parametrize("keepdims", [False, True])
@pytest.mark.parametrize("open_dims", [False, True], ids=["static", "open"])
def test_gradient_of_prod_along_axes(axis: Any, keepdims: bool, open_dims: bool, backend: str) -> None:
    values = np.random.default_rng(3).uniform(0.5, 1.5, (2, 3, 5))
    values[0, 1, 2] = values[1, 0, 0] = values[1, 0, 1] = 0
    axes = tuple(range(3)) if axis is None else (axis,) if isinstance(axis, int) else axis
    with tf.Graph().as_default(), tf.Session(backend=backend) as session:
        x = tf.placeholder(tf.float64, [None] * 3 if open_dims else values.shape)
        y = tf.reduce_prod(x, None if axis is None else list(axes), keepdims)
        (found,) = tf.gradients(y, x, y * 0 + 2)
        got = session.run(found, {x: values})
    wanted = np.empty_like(values)
    for place in np.ndindex(values.shape):
        replaced = values.copy()
        replaced[place] = 1
        group = tuple(slice(None) if a in axes else place[a] for a in range(3))
        wanted[place] = 2 * np.prod(replaced[group])
    np.testing.assert_allclose(got, wanted)


@pytest.mark.parametrize("flags", [(False, False), (True, False), (False, True), (True, True)], ids=str)
@pytest.mark.parametrize(
    "row", [[2, 3, 5, 7], [0, 3, 5, 7], [2, 0, 5, 7], [2, 3, 0, 0], [0, 0, 0, 0], [2, 0, 1e30, 1e30]], ids=str
)
def test_gradients_of_cumprod(row: list[float], flags: tuple[bool, bool]) -> None:
    weights = np.array([1.0, 2.0, 4.0, 8.0])
    if flags[1] and max(row) > 10:
        row = row[::-1]  # so that the products overflow behind the zero only

    def product(at: Any) -> Any:
        return tf.reduce_sum(tf.cumprod(at, 0, *flags) * weights.astype(at.dtype.as_numpy_dtype))

    def exact(left_out: list[int]) -> float:
        """The derivative by the elements `left_out`: the sum of the products that have all of them, without them."""
        total = 0.0
        for k in range(4):
            members = range(k + (not flags[0])) if not flags[1] else range(k + flags[0], 4)
            if set(left_out) <= set(members):
                total += weights[k] * np.prod([row[i] for i in members if i not in left_out])
        return total

    (found,) = derivatives(product, row, 1, "reference")
    with np.errstate(over="ignore"):
        np.testing.assert_allclose(found, np.array([exact([k]) for k in range(4)]).astype(np.float32), rtol=1e-6)
    if row.count(0) < 2 and max(row) < 10:
        with tf.Graph().as_default(), tf.Session() as session:
            x = tf.placeholder(tf.float64, [4])
            (second,) = tf.hessians(product(x), x)
            got = session.run(second, {x: row})
        for i in range(4):
            for j in range(4):
                if i != j:
                    np.testing.assert_allclose(got[i, j], exact([i, j]))
