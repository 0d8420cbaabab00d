"""Small programs whose generated code is kept as golden text: together they use every kind of kernel, and much around them.

A program builds its part of a fresh default graph, whose random seed is set, and returns what to fetch. All its placeholders
are fed; their open sizes stay symbols. See tests/test_golden_kernels.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np

import graphflow as tf

Fetches: TypeAlias = Sequence[Any]  # of tensors and operations
Build: TypeAlias = Callable[[], Fetches]
#: Every program, by name.
PROGRAMS: dict[str, Build] = {}


def program(build: Build) -> Build:
    PROGRAMS[build.__name__] = build
    return build


def feed(*shape: int | None, dtype: Any = tf.float32) -> tf.Tensor:
    return tf.placeholder(dtype, list(shape))


def variable(*shape: int, dtype: Any = tf.float32, name: str = "Variable") -> tf.Variable:
    """A variable of fixed shape whose initial value does not matter."""
    return tf.Variable(tf.zeros(list(shape), dtype), name=name)


# ---------------------------------------------------------------------------------------------- maps
@program
def flat_map() -> Fetches:
    x, y = feed(None, 8), feed(None, 8)
    return [tf.tanh(x * 2.0 + 1.0) * tf.sigmoid(y), tf.nn.relu(x - y)]


@program
def broadcast_map() -> Fetches:
    x, row, column = feed(None, 5, 16), feed(16), feed(5, 1)
    return [x * row + column, (x - row) * 0.5, tf.maximum(feed(64, 1), feed(1, 48))]


@program
def transposed_map() -> Fetches:
    x, y = feed(24, 40), feed(40, 24)
    return [tf.transpose(x) + y, tf.transpose(feed(None, 3, 4), [2, 0, 1])]


@program
def math_functions() -> Fetches:
    x = feed(None)
    positive = tf.abs(x) + 0.5
    return [
        tf.exp(x), tf.log(positive), tf.log1p(positive), tf.expm1(x), tf.sqrt(positive), tf.rsqrt(positive), tf.sin(x),
        tf.cos(x), tf.tan(x), tf.atan(x), tf.atan2(x, positive), tf.sinh(x), tf.erf(x), tf.pow(positive, x), tf.floor(x),
        tf.round(x), tf.sign(x), tf.lgamma(positive),
    ]  # fmt: skip


@program
def activations() -> Fetches:
    x = feed(None, 10)
    return [
        tf.nn.relu6(x), tf.nn.elu(x), tf.nn.selu(x), tf.nn.leaky_relu(x), tf.nn.softplus(x), tf.nn.softsign(x), tf.nn.gelu(x),
        tf.nn.swish(x), tf.log_sigmoid(x),
    ]  # fmt: skip


@program
def double_precision() -> Fetches:
    x, y = feed(None, 6, dtype=tf.float64), feed(None, 6, dtype=tf.float64)
    return [tf.exp(x) / (1.0 + tf.square(y)), tf.nn.softmax(x), tf.reduce_sum(tf.sin(x) * y), tf.tanh(x)]


@program
def half_precision() -> Fetches:
    x, y = feed(None, 12, dtype=tf.float16), feed(None, 12, dtype=tf.bfloat16)
    return [tf.exp(x) * x, tf.nn.softmax(y), tf.reduce_mean(x, 0), tf.cast(x, tf.bfloat16) + y]


@program
def integers() -> Fetches:
    x, y = feed(None, dtype=tf.int32), feed(None, dtype=tf.int32)
    small, unsigned = feed(None, dtype=tf.int8), feed(None, dtype=tf.uint64)
    return [
        x * y + 7, x // (tf.abs(y) + 1), tf.mod(x, 5), tf.truncatediv(x, 3), tf.bitwise.bitwise_xor(x, y),
        tf.bitwise.left_shift(x, 3), small * small - 1, unsigned // 10, tf.reduce_max(x), tf.reduce_sum(small),
    ]  # fmt: skip


@program
def checked_division() -> Fetches:
    return [feed(None, 4, dtype=tf.int32) // feed(4, dtype=tf.int32)]


@program
def casts() -> Fetches:
    x, n, b = feed(None), feed(None, dtype=tf.int64), feed(None, dtype=tf.bool)
    return [
        tf.cast(x, tf.int32), tf.cast(x, tf.uint8), tf.cast(x, tf.float64), tf.cast(x, tf.float16), tf.cast(x, tf.bfloat16),
        tf.cast(x, tf.bool), tf.cast(n, tf.float32), tf.cast(n, tf.int16), tf.cast(b, tf.float32),
        tf.bitcast(x, tf.int32), tf.saturate_cast(x, tf.int8),
    ]  # fmt: skip


@program
def comparisons() -> Fetches:
    x, y = feed(None, 7), feed(None, 7)
    both = tf.logical_and(tf.greater(x, y), tf.less_equal(x, 3.0))
    return [both, tf.where(both, x, y), tf.where_v2(tf.equal(x, y), 1.0, x), tf.is_nan(x), tf.logical_xor(both, x < 0.0)]


# ---------------------------------------------------------------------------------------------- reductions
@program
def softmaxes() -> Fetches:
    x = feed(None, 100)
    return [tf.nn.softmax(x), tf.nn.log_softmax(feed(32, 10)), tf.reduce_logsumexp(x, 1)]


def normalised(x: tf.Tensor, scale: tf.Tensor | tf.Variable, offset: tf.Tensor | tf.Variable) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [-1], keep_dims=True)
    return (x - mean) * tf.rsqrt(variance + 1e-5) * scale + offset


@program
def layer_norm() -> Fetches:
    return [normalised(feed(None, 64), feed(64), feed(64))]


@program
def cross_entropies() -> Fetches:
    logits, labels = feed(None, 10), feed(None, 10)
    return [
        tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)),
        tf.nn.sparse_softmax_cross_entropy_with_logits(labels=feed(None, dtype=tf.int64), logits=feed(None, 10)),
        tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits),
    ]


@program
def row_reductions() -> Fetches:
    x = feed(None, 3, 20)
    return [tf.reduce_sum(x, 2), tf.reduce_max(x, [1, 2]), tf.reduce_prod(x, 2), tf.reduce_mean(tf.square(x), 2, keepdims=True)]


@program
def column_sums() -> Fetches:
    x = feed(40, 200)
    return [
        tf.reduce_sum(x, 0),
        tf.reduce_max(feed(None, 6, 9), [0, 1]),
        tf.reduce_mean(feed(8, None, 5), 1),
        x - tf.reduce_min(x, 0),
    ]


@program
def split_reductions() -> Fetches:
    x, rows, columns = feed(300, 500), feed(4, 50000), feed(5000, 8)
    return [
        tf.reduce_sum(x), tf.reduce_mean(tf.square(x - 1.0)), tf.reduce_sum(rows, 1),
        rows * tf.reduce_max(rows, 1, keepdims=True), tf.reduce_sum(columns, 0), tf.reduce_sum(tf.exp(feed(2048, 512)), 0),
        tf.reduce_sum(feed(None)), tf.reduce_min(feed(None, 3), 0),
    ]  # fmt: skip


@program
def bool_reductions() -> Fetches:
    b = feed(None, 9, dtype=tf.bool)
    return [tf.reduce_all(b), tf.reduce_any(b, 1), tf.reduce_all(b, 0), tf.count_nonzero(feed(30, 40), 1)]


@program
def arg_reductions() -> Fetches:
    x = feed(None, 11)
    return [tf.argmax(x, 1), tf.argmin(x, 0), tf.argmax(feed(3, 40000, dtype=tf.float64), 1, output_type=tf.int32)]


# ---------------------------------------------------------------------------------------------- products
@program
def matmul_epilogue() -> Fetches:
    x, w, b = feed(None, 20), variable(20, 30), variable(30, name="bias")
    return [tf.nn.relu(tf.nn.bias_add(tf.matmul(x, w), b)), tf.matmul(feed(64, 64), feed(64, 64))]


@program
def matmul_transposes() -> Fetches:
    a, b = feed(48, 80), feed(48, 80)
    return [tf.matmul(a, b, transpose_a=True), tf.matmul(a, b, transpose_b=True), tf.matmul(a, feed(16, 48), True, True)]


@program
def matmul_batches() -> Fetches:
    a, b = feed(None, 12, 16), feed(None, 16, 24)
    return [tf.matmul(a, b) * 0.5, tf.matmul(a, feed(16, 24)), tf.matmul(feed(3, 1, 8, 16), feed(2, 16, 8))]


@program
def matmul_blocks() -> Fetches:
    """Sizes that are cut into blocks, packed and summed in parts."""
    a = feed(600, 3000)
    return [tf.matmul(a, feed(3000, 700)) + 1.0, tf.exp(tf.matmul(feed(3000, 600), feed(3000, 700), transpose_a=True))]


@program
def matmul_thin() -> Fetches:
    x = feed(None, 33)
    return [
        tf.matmul(x, feed(33, 1)),
        tf.matmul(feed(1, 500), feed(500, 400)),
        tf.matmul(x, feed(33, 3)),
        tf.matmul(feed(5, None), x),
    ]


@program
def matmul_constant_weights() -> Fetches:
    weights = np.arange(400 * 300, dtype=np.float32).reshape(400, 300) / 7
    return [tf.tanh(tf.matmul(feed(None, 400), tf.constant(weights)))]


@program
def matmul_other_types() -> Fetches:
    return [
        tf.matmul(feed(None, 16, dtype=tf.float64), feed(16, 40, dtype=tf.float64)),
        tf.matmul(feed(8, 16, dtype=tf.float16), feed(16, 24, dtype=tf.float16)) + 1.0,
        tf.matmul(feed(8, 16, dtype=tf.bfloat16), feed(24, 16, dtype=tf.bfloat16), transpose_b=True),
        tf.matmul(feed(8, 16, dtype=tf.int32), feed(16, 24, dtype=tf.int32)),
    ]


@program
def contractions() -> Fetches:
    x = feed(None, 4, 8)
    return [
        tf.einsum("bij,jk->bik", x, feed(8, 6)),
        tf.einsum("bij,bkj->ik", x, feed(None, 5, 8)),
        tf.tensordot(x, feed(4, 8, 3), 2),
    ]


@program
def attention() -> Fetches:
    x = feed(None, 10, 32)
    q, k, v = (tf.reshape(tf.tensordot(x, variable(32, 32, name=n), 1), [-1, 10, 4, 8]) for n in "qkv")
    q, k, v = (tf.transpose(y, [0, 2, 1, 3]) for y in (q, k, v))
    weights = tf.nn.softmax(tf.matmul(q, k, transpose_b=True) * 0.35)
    return [tf.reshape(tf.transpose(tf.matmul(weights, v), [0, 2, 1, 3]), [-1, 10, 32])]


# ---------------------------------------------------------------------------------------------- indices, movement, checks
@program
def gathers() -> Fetches:
    table, ids = feed(50, 16), feed(None, dtype=tf.int32)
    return [
        tf.gather(table, ids) * 2.0, tf.gather(table, ids, axis=1), tf.gather_nd(table, feed(None, 2, dtype=tf.int64)),
        tf.nn.embedding_lookup(variable(100, 12), feed(None, 4, dtype=tf.int64)),
        tf.batch_gather(feed(3, 9), feed(3, 4, dtype=tf.int32)),
    ]  # fmt: skip


@program
def scatters() -> Fetches:
    updates, ids = feed(None, 6), feed(None, dtype=tf.int32)
    return [
        tf.scatter_nd(feed(None, 1, dtype=tf.int32), updates, [20, 6]), tf.unsorted_segment_sum(updates, ids, 9),
        tf.tensor_scatter_update(feed(20, 6), feed(4, 1, dtype=tf.int64), feed(4, 6)),
    ]  # fmt: skip


@program
def row_updates() -> Fetches:
    table, ids, rows = variable(30, 5, name="table"), feed(None, dtype=tf.int64), feed(None, 5)
    other = variable(30, 5, name="other")
    return [tf.scatter_add(table, ids, rows), tf.scatter_update(other, ids, rows * 2.0)]


@program
def assertions() -> Fetches:
    x, n = feed(None, 3), feed(None, dtype=tf.int32)
    checks = [tf.assert_less(x, 10.0), tf.assert_non_negative(n), tf.Assert(tf.reduce_all(tf.is_finite(x)), [x])]
    with tf.control_dependencies(checks):
        return [tf.sqrt(x), tf.check_numerics(tf.log(x), "log of x")]


@program
def sizes_as_data() -> Fetches:
    x = feed(None, None)
    shape = tf.shape(x)
    return [shape, tf.reduce_sum(x) / tf.cast(shape[0], tf.float32), tf.range(shape[1]), tf.fill(shape, 2.5), tf.size(x) * 3]


@program
def random_numbers() -> Fetches:
    n = tf.shape(feed(None))[0]
    return [
        tf.random_uniform([n, 4]), tf.random_normal([5, 7], mean=1.0), tf.truncated_normal([n]),
        tf.random_normal([6], dtype=tf.float64),
        tf.random_uniform([n], 0, 10, tf.int32), tf.nn.dropout(feed(None, 8), keep_prob=0.5),
    ]  # fmt: skip


@program
def joins() -> Fetches:
    x, y = feed(None, 5), feed(None, 7)
    return [
        tf.concat([x, y, x * 2.0], 1),
        tf.concat([x, feed(3, 5)], 0),
        tf.stack([y, tf.exp(y)], 1),
        tf.stack([feed(), feed()]),
    ]


@program
def splits_and_slices() -> Fetches:
    x = feed(None, 12)
    a, b, c = tf.split(x, 3, 1)
    return [a + b * c, x[:, 2:9:3], x[::-1, ::2] * 1.5, x[1:], tf.slice(feed(8, 9), [2, 3], [4, 5]), *tf.unstack(feed(3, None))]


@program
def pads_and_tiles() -> Fetches:
    x = feed(None, 6)
    return [
        tf.pad(x, [[1, 2], [0, 3]]), tf.pad(feed(4, 5), [[1, 1], [2, 2]], "REFLECT"), tf.tile(x, [2, 3]), tf.reverse(x, [1]),
        tf.roll(x, 2, 1), tf.broadcast_to(feed(6), [4, 6]),
    ]  # fmt: skip


@program
def one_hot_and_masks() -> Fetches:
    ids = feed(None, dtype=tf.int32)
    x = feed(9, 9)
    return [
        tf.one_hot(ids, 10),
        tf.sequence_mask(ids, 8),
        tf.matrix_band_part(x, 1, 2),
        tf.matrix_diag(feed(None, 4)),
        tf.eye(9) * x,
    ]


# ---------------------------------------------------------------------------------------------- gradients
def perceptron() -> tuple[tf.Tensor, list[tf.Variable]]:
    """The loss of a perceptron of two layers, and its parameters."""
    x, labels = feed(None, 20), feed(None, dtype=tf.int64)
    w1, b1, w2, b2 = variable(20, 32, name="w1"), variable(32, name="b1"), variable(32, 10, name="w2"), variable(10, name="b2")
    logits = tf.matmul(tf.nn.relu(tf.matmul(x, w1) + b1), w2) + b2
    return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)), [w1, b1, w2, b2]


@program
def perceptron_gradient() -> Fetches:
    loss, parameters = perceptron()
    return [loss, *tf.gradients(loss, parameters)]


@program
def layer_norm_gradient() -> Fetches:
    x, scale, offset = feed(None, 48), variable(48, name="scale"), variable(48, name="offset")
    return tf.gradients(tf.reduce_sum(tf.square(normalised(x, scale, offset))), [x, scale, offset])


@program
def cross_entropy_gradient() -> Fetches:
    logits, labels = feed(None, 10), feed(None, 10)
    loss = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits))
    return [loss, *tf.gradients(loss, [logits])]


@program
def batch_norm_gradient() -> Fetches:
    x, scale, offset = feed(None, 24), variable(24, name="scale"), variable(24, name="offset")
    mean, variance = tf.nn.moments(x, [0])
    y = tf.nn.relu(tf.nn.batch_normalization(x, mean, variance, offset, scale, 1e-3))
    return [y, *tf.gradients(tf.reduce_mean(tf.square(y)), [x, scale, offset])]


@program
def movement_gradients() -> Fetches:
    x, table = feed(None, 8), variable(40, 8, name="table")
    y = tf.concat([x[:, 2:], tf.gather(table, feed(None, dtype=tf.int32))], 1)
    loss = tf.reduce_sum(tf.square(tf.pad(y, [[0, 0], [1, 1]]))) + tf.reduce_max(x)
    return [tf.convert_to_tensor(g) for g in tf.gradients(loss, [x, table])]


# ---------------------------------------------------------------------------------------------- training and state
def small_loss() -> tuple[tf.Tensor, list[tf.Variable]]:
    """A loss without a product, whose kernels would be most of the text, and its parameters."""
    w, b = variable(12, 7, name="w"), variable(7, name="b")
    return tf.reduce_mean(tf.square(feed(12, 7) * w + b)), [w, b]


def training(optimizer: Any) -> Fetches:
    loss, _ = small_loss()
    return [loss, optimizer.minimize(loss)]


@program
def sgd() -> Fetches:
    step = tf.train.create_global_step()
    rate = tf.train.exponential_decay(0.1, step, 100, 0.9)
    loss, parameters = small_loss()
    gradients, _ = tf.clip_by_global_norm(tf.gradients(loss, parameters), 5.0)
    optimizer = tf.train.GradientDescentOptimizer(rate)
    return [loss, optimizer.apply_gradients(zip(gradients, parameters, strict=True), step)]


@program
def momentum() -> Fetches:
    return training(tf.train.MomentumOptimizer(0.1, 0.9, use_nesterov=True))


@program
def adam() -> Fetches:
    return training(tf.train.AdamOptimizer(0.01))


@program
def rms_prop() -> Fetches:
    return training(tf.train.RMSPropOptimizer(0.01, momentum=0.5, centered=True))


@program
def adagrad() -> Fetches:
    return training(tf.train.AdagradOptimizer(0.1))


@program
def adadelta() -> Fetches:
    return training(tf.train.AdadeltaOptimizer(0.1))


@program
def ftrl() -> Fetches:
    return training(tf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01, l2_regularization_strength=0.02))


@program
def embedding_training() -> Fetches:
    table = variable(60, 12, name="table")
    loss = tf.reduce_mean(tf.square(tf.nn.embedding_lookup(table, feed(None, dtype=tf.int32)) - feed(None, 12)))
    return [loss, tf.train.AdagradOptimizer(0.1).minimize(loss), tf.train.GradientDescentOptimizer(0.1).minimize(loss)]


@program
def initial_values() -> Fetches:
    """Kernels that differ in their numbers only, and share functions; one variable is larger than the caches."""
    for k in range(4):
        tf.get_variable(f"w{k}", [64 + 8 * k, 96], initializer=tf.truncated_normal_initializer(stddev=0.1 + 0.05 * k))
    tf.get_variable("glorot", [300, 200])
    tf.get_variable("zeros", [70], initializer=tf.zeros_initializer())
    tf.Variable(tf.random_uniform([4096, 4096]), name="large")
    return [tf.global_variables_initializer()]


@program
def alike_kernels() -> Fetches:
    """Maps and rows alike but for their numbers."""
    maps = [tf.exp(feed(None, 3 + k) * (0.5 + k)) - 0.25 for k in range(3)]
    return [*maps, *(tf.nn.softmax(feed(None, 30 + k) * (1.5 + k)) for k in range(3))]


@program
def states() -> Fetches:
    """Copies of variables, before and after they change, and updates in place."""
    v, w, x = variable(6, 4, name="v"), variable(6, 4, name="w"), feed(6, 4)
    before = tf.identity(v) * 1.0
    with tf.control_dependencies([before]):
        added = tf.assign_add(v, x)
    average = tf.train.ExponentialMovingAverage(0.99).apply([w])
    return [
        before,
        added,
        tf.assign(w, v + x),
        average,
        tf.is_variable_initialized(v),
        tf.count_up_to(variable(dtype=tf.int32), 5),
    ]
