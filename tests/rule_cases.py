"""For every rewrite rule a program in which it fires, what it makes of it, and one in which it must not fire."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import graphflow as tf
from graphflow.framework.records import record

SHAPE = (2, 3)


@record(frozen=True)
class RuleCase:
    """Programs are functions of `x`, a placeholder of float32 (2, 3). `after` is what the rule alone makes of `fires`, as an
    expression. `reason` is what it says of `stays`, if it says why it does not fire."""

    fires: Callable[[Any], Any]
    after: str
    stays: Callable[[Any], Any]
    reason: str = ""


def _weights(dtype: Any = np.float32) -> Any:
    return np.arange(12, dtype=dtype).reshape(3, 4) / 8


CASES = {
    "constant_operands_to_constant": RuleCase(
        fires=lambda x: x + tf.constant(2.0) * 3.0,
        after="AddV2(x, 6.0)",
        stays=lambda x: x[:1, :1] * (tf.constant(np.zeros((1, 70_000), np.float32)) + 1.0),
        reason="of more than 65,536 elements it is computed in each run, not kept",
    ),
    "identity_element_to_operand": RuleCase(
        fires=lambda x: 1.0 * (x - 0.0),
        after="x",
        stays=lambda x: x + 0.0,
        reason="it turns -0.0 into 0.0",
    ),
    "involution_twice_to_operand": RuleCase(
        fires=lambda x: tf.negative(-x),
        after="x",
        stays=lambda x: -tf.abs(-x),
    ),
    "idempotent_twice_to_once": RuleCase(
        fires=lambda x: tf.nn.relu(tf.nn.relu(x)),
        after="Relu(x)",
        stays=lambda x: tf.nn.relu6(tf.nn.relu(x)),
    ),
    "view_of_same_shape_to_operand": RuleCase(
        fires=lambda x: tf.reshape(tf.identity(x), SHAPE),
        after="x",
        stays=lambda x: tf.reshape(x, [3, 2]),
    ),
    "view_of_view_to_view": RuleCase(
        fires=lambda x: tf.reshape(tf.expand_dims(x, 0), [6]),
        after="Reshape(x)",
        stays=lambda x: tf.reshape(tf.exp(tf.expand_dims(x, 0)), [6]),
    ),
    "transposed_operand_to_flag": RuleCase(
        fires=lambda x: tf.matmul(tf.transpose(x), x),
        after="MatMul(x, x, transpose_a)",
        stays=lambda x: tf.matmul(tf.transpose(tf.reshape(x, [2, 3, 1]), [1, 0, 2]), tf.reshape(x, [3, 1, 2])),
        reason="a product reads an operand in place only if its last two axes are the ones exchanged",
    ),
    "transpose_of_unit_axes_to_reshape": RuleCase(
        fires=lambda x: tf.transpose(tf.reshape(x, [2, 1, 3]), [1, 0, 2]),
        after="Reshape(Reshape(x))",
        stays=lambda x: tf.transpose(tf.reshape(x, [2, 1, 3]), [2, 1, 0]),
    ),
    "transposed_constant_to_constant": RuleCase(
        fires=lambda x: tf.matmul(x, _weights().T.copy(), transpose_b=True),
        after="MatMul(x, constant(3, 4))",
        stays=lambda x: tf.matmul(x, x, transpose_b=True),
    ),
    "computed_constant_to_constant": RuleCase(
        fires=lambda x: tf.matmul(x, tf.exp(tf.constant(_weights()))),
        after="MatMul(x, constant(3, 4))",
        stays=lambda x: tf.matmul(x, tf.constant(np.ones((3, 1), np.float32)) + np.ones((1, 30_000), np.float32)),
        reason="an operand has more elements than the constants it is made of: it is computed in each run, not kept",
    ),
    "half_product_to_single": RuleCase(
        fires=lambda x: tf.matmul(tf.cast(x, tf.float16), tf.cast(x, tf.float16), transpose_b=True),
        after="Cast(MatMul(Cast(Cast(x)), Cast(Cast(x)), transpose_b))",
        stays=lambda x: tf.matmul(x, x, transpose_b=True),
    ),
    "long_sum_to_sums": RuleCase(
        fires=lambda x: tf.add_n([x] * 33),
        after=f"AddN(AddN({', '.join(['x'] * 32)}), x)",
        stays=lambda x: tf.add_n([x] * 32),
    ),
    "long_join_to_joins": RuleCase(
        fires=lambda x: tf.concat([x] * 64, 0),
        after=f"ConcatV2(ConcatV2({', '.join(['x'] * 63)}), ConcatV2(x))",
        stays=lambda x: tf.concat([x] * 63, 0),
    ),
    "repeated_operand_to_operand": RuleCase(
        fires=lambda x: tf.broadcast_to(tf.reduce_sum(x), SHAPE) * x,
        after="Mul(Sum(x), x)",
        stays=lambda x: tf.broadcast_to(tf.reduce_sum(x), SHAPE) * tf.reduce_sum(x, 0),
    ),
    "function_of_repeated_to_repeated_function": RuleCase(
        fires=lambda x: 2.0 * tf.broadcast_to(tf.reduce_sum(x), SHAPE),
        after="BroadcastTo(Mul(2.0, Sum(x)))",
        stays=lambda x: tf.tanh(tf.broadcast_to(tf.reduce_sum(x, 0), SHAPE)),
    ),
}
