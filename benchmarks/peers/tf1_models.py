"""The workloads in TensorFlow 1's API: graphflow and TensorFlow run the very same code."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from workloads import ADAM_RATE, TINY_RATE, Array, Classifier, Step, Variants, mlp_inputs, scalars, tiny_inputs


@dataclass(frozen=True)
class Models:
    """`tf`: the package. `session`: a session of a graph, with its variables initialized."""

    tf: Any
    session: Callable[[Any], Any]

    def variable(self, a: Array) -> Any:
        return self.tf.Variable(a, use_resource=True)

    def fetch(self, function: Callable[..., Any], inputs: Sequence[Array]) -> Step:
        """`function` of variables that hold the inputs."""
        with self.tf.Graph().as_default() as graph:
            result = function(*(self.variable(a) for a in inputs))
        call = self.session(graph).make_callable(result)
        return lambda: float(call())

    def scalar(self) -> Variants:
        tf = self.tf
        a, b = scalars()
        with tf.Graph().as_default() as graph:
            x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
            z = x + y

        def by_run() -> Step:
            session = self.session(graph)
            return lambda: session.run(z, {x: a, y: b})

        def by_callable() -> Step:
            call = self.session(graph).make_callable(z, feed_list=[x, y])
            return lambda: call(a, b)

        return {"Session.run": by_run, "make_callable": by_callable}

    def chain(self, x: Any) -> Any:
        tf = self.tf
        return tf.reduce_mean(tf.tanh(x * 2.0 + 1.0) * tf.sigmoid(x) + tf.exp(-x * x))

    def norm(self, x: Any, scale: Any, offset: Any) -> Any:
        tf = self.tf
        s = tf.nn.softmax(x)
        mean, variance = tf.nn.moments(s, [-1], keepdims=True)
        return tf.reduce_mean(tf.square((s - mean) * tf.rsqrt(variance + 1e-5) * scale + offset))

    def matmul(self, x: Any, w: Any, b: Any) -> Any:
        tf = self.tf
        return tf.reduce_mean(tf.nn.relu(tf.matmul(x, w) + b))

    def logits(self, p: Sequence[Any], x: Any) -> Any:
        tf = self.tf
        h = tf.nn.relu(tf.matmul(x, p[0]) + p[1])
        h = tf.nn.relu(tf.matmul(h, p[2]) + p[3])
        return tf.matmul(h, p[4]) + p[5]

    def tiny(self) -> Step:
        tf = self.tf
        start, images, targets = tiny_inputs()
        with tf.Graph().as_default() as graph:
            x, y = tf.placeholder(tf.float32, images.shape), tf.placeholder(tf.float32, targets.shape)
            q = tf.sigmoid(self.logits([self.variable(a) for a in start], x))
            loss = -tf.reduce_mean(y * tf.log(q + 1e-7) + (1.0 - y) * tf.log(1.0 - q + 1e-7))
            train = tf.train.GradientDescentOptimizer(TINY_RATE).minimize(loss)
        call = self.session(graph).make_callable([train, loss], feed_list=[x, y])
        return lambda: float(call(images, targets)[1])

    def mlp(self, batch: int, fixed: bool) -> Step:
        """`fixed`: the graph knows the size of the batch."""
        start, images, labels = mlp_inputs(batch)
        step, _ = self.classifier(start, batch if fixed else None)
        return lambda: step(images, labels)

    def classifier(self, start: list[Array], batch: int | None = None) -> Classifier:
        tf = self.tf
        with tf.Graph().as_default() as graph:
            x, y = tf.placeholder(tf.float32, [batch, len(start[0])]), tf.placeholder(tf.int32, [batch])
            logits = self.logits([self.variable(a) for a in start], x)
            loss = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
            train = tf.train.AdamOptimizer(ADAM_RATE).minimize(loss)
        session = self.session(graph)
        call = session.make_callable([train, loss], feed_list=[x, y])
        return lambda images, labels: float(call(images, labels)[1]), session.make_callable(logits, feed_list=[x])
