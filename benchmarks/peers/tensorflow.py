"""TensorFlow: the session of its version 1, by make_callable too; tf.function(jit_compile=True) where nothing is trained."""

from __future__ import annotations

import os
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from workloads import (
    ADAM_RATE,
    TINY_RATE,
    Array,
    Classifier,
    Step,
    Variants,
    chain_input,
    matmul_inputs,
    mlp_inputs,
    norm_inputs,
    scalars,
    tiny_inputs,
)

tf1 = tf.compat.v1


def version() -> str:
    return str(tf.__version__)


def _variable(a: Array) -> Any:
    return tf1.Variable(a, use_resource=True)


def _session(graph: Any) -> Any:
    session = tf1.Session(graph=graph)
    with graph.as_default():
        session.run(tf1.global_variables_initializer())
    return session


def _resident(function: Any, inputs: tuple[Array, ...]) -> Variants:
    def by_session() -> Step:
        with tf.Graph().as_default() as graph:
            result = function(*(_variable(a) for a in inputs))
        call = _session(graph).make_callable(result)
        return lambda: float(call())

    def by_xla() -> Step:
        variables = [tf.Variable(a) for a in inputs]
        compiled = tf.function(lambda: function(*variables), jit_compile=True)
        return lambda: float(compiled().numpy())

    return {"make_callable": by_session, "XLA": by_xla}


def scalar() -> Variants:
    a, b = scalars()
    with tf.Graph().as_default() as graph:
        x, y = tf1.placeholder(tf.float32, []), tf1.placeholder(tf.float32, [])
        z = x + y

    def by_run() -> Step:
        session = _session(graph)
        return lambda: session.run(z, {x: a, y: b})

    def by_callable() -> Step:
        call = _session(graph).make_callable(z, feed_list=[x, y])
        return lambda: call(a, b)

    return {"Session.run": by_run, "make_callable": by_callable}


def chain(count: int) -> Variants:
    return _resident(lambda x: tf.reduce_mean(tf.tanh(x * 2.0 + 1.0) * tf.sigmoid(x) + tf.exp(-x * x)), (chain_input(count),))


def norm() -> Variants:
    def function(x: Any, scale: Any, offset: Any) -> Any:
        s = tf.nn.softmax(x)
        mean, variance = tf.nn.moments(s, [-1], keepdims=True)
        return tf.reduce_mean(tf.square((s - mean) * tf.math.rsqrt(variance + 1e-5) * scale + offset))

    return _resident(function, norm_inputs())


def matmul(m: int, k: int, n: int) -> Variants:
    return _resident(lambda x, w, b: tf.reduce_mean(tf.nn.relu(tf.matmul(x, w) + b)), matmul_inputs(m, k, n))


def _logits(p: list[Any], x: Any) -> Any:
    h = tf.nn.relu(tf.matmul(x, p[0]) + p[1])
    h = tf.nn.relu(tf.matmul(h, p[2]) + p[3])
    return tf.matmul(h, p[4]) + p[5]


def tiny() -> Variants:
    start, images, targets = tiny_inputs()

    def build() -> Step:
        with tf.Graph().as_default() as graph:
            x, y = tf1.placeholder(tf.float32, images.shape), tf1.placeholder(tf.float32, targets.shape)
            q = tf.sigmoid(_logits([_variable(a) for a in start], x))
            loss = -tf.reduce_mean(y * tf.math.log(q + 1e-7) + (1.0 - y) * tf.math.log(1.0 - q + 1e-7))
            train = tf1.train.GradientDescentOptimizer(TINY_RATE).minimize(loss)
        call = _session(graph).make_callable([train, loss], feed_list=[x, y])
        return lambda: float(call(images, targets)[1])

    return {"make_callable": build}


def mlp(batch: int) -> Variants:
    start, images, labels = mlp_inputs(batch)

    def build() -> Step:
        step, _ = classifier(start)
        return lambda: step(images, labels)

    return {"make_callable": build}


def classifier(start: list[Array]) -> Classifier:
    with tf.Graph().as_default() as graph:
        x, y = tf1.placeholder(tf.float32, [None, len(start[0])]), tf1.placeholder(tf.int32, [None])
        logits = _logits([_variable(a) for a in start], x)
        loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        train = tf1.train.AdamOptimizer(ADAM_RATE).minimize(loss)
    session = _session(graph)
    call = session.make_callable([train, loss], feed_list=[x, y])
    return lambda images, labels: float(call(images, labels)[1]), session.make_callable(logits, feed_list=[x])


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
