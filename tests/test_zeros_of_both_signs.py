"""-0.0 is not 0.0: constants that hold both are not one value, neither to rules nor in kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as tf

ZEROS = np.array([0.0, -0.0, 0.0, -0.0], np.float32)
NANS = np.array([np.nan, np.nan, np.nan, np.nan], np.float32)


def bits(a: Any) -> list[int]:
    return [int(n) for n in np.asarray(a).view(np.uint32)]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("divide", lambda x, c: x / c),
        ("subtract", lambda x, c: x - c),
        ("add", lambda x, c: x + c),
        ("multiply", lambda x, c: x * c),
        ("concat", lambda x, c: tf.concat([x, c], 0)),
        ("gather", lambda x, c: tf.gather(c, [1, 0, 3]) + 0 * x[0]),
        ("identity", lambda x, c: tf.where(x > 100, x, c)),
    ],
)
def test_constants_with_both_zeros(name: str, function: Any, backend: str) -> None:
    values = np.array([1.0, 1.0, -0.0, -0.0], np.float32)
    wanted: dict[str, Any] = {
        "divide": lambda x, c: x / c, "subtract": lambda x, c: x - c, "add": lambda x, c: x + c, "multiply": lambda x, c: x * c,
        "concat": lambda x, c: np.concatenate([x, c]), "gather": lambda x, c: c[[1, 0, 3]] + 0 * x[0],
        "identity": lambda x, c: np.where(x > 100, x, c),
    }  # fmt: skip
    with tf.Graph().as_default(), tf.Session(backend=backend) as session, np.errstate(all="ignore"):
        x = tf.placeholder(tf.float32, [4])
        found = session.run(function(x, tf.constant(ZEROS)), {x: values})
        expected = wanted[name](values, ZEROS)
        same = np.isnan(found) & np.isnan(expected)
        assert [a for a, s in zip(bits(found), same, strict=True) if not s] == [
            a for a, s in zip(bits(expected), same, strict=True) if not s
        ]


def test_a_constant_of_equal_bits_is_one_value() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [4])
        for constant in (np.zeros(4, np.float32), -np.zeros(4, np.float32), NANS):
            found, wanted = session.run(x * constant, {x: ZEROS + 1}), (ZEROS + 1) * constant
            assert np.array_equal(found, wanted, equal_nan=True) and (np.signbit(found) == np.signbit(wanted)).all()
