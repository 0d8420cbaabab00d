"""graphflow: variables hold what is resident; a training step is a callable of its session."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from workloads import (
    ADAM_RATE,
    DIGITS_SIZES,
    TINY_RATE,
    WORKLOADS,
    Array,
    Classifier,
    Step,
    Variants,
    chain_input,
    matmul_inputs,
    mlp_inputs,
    norm_inputs,
    parameters,
    scalars,
    tiny_inputs,
)

import graphflow as gf


def version() -> str:
    return gf.__version__


# The sessions made, so that `digest` can look at what training left in their variables.
_sessions: list[gf.Session] = []


def _session(graph: gf.Graph) -> gf.Session:
    """A session with its variables initialized."""
    session = gf.Session(graph=graph)
    with graph.as_default():
        session.run(gf.global_variables_initializer())
    _sessions.append(session)
    return session


def _fetch(graph: gf.Graph, result: gf.Tensor) -> Step:
    call = _session(graph).make_callable(result)
    return lambda: float(call())


def scalar() -> Variants:
    a, b = scalars()
    with gf.Graph().as_default() as graph:
        x, y = gf.placeholder(gf.float32, []), gf.placeholder(gf.float32, [])
        z = x + y

    def by_run() -> Step:
        session = _session(graph)
        return lambda: session.run(z, {x: a, y: b})

    def by_callable() -> Step:
        call = _session(graph).make_callable(z, feed_list=[x, y])
        return lambda: call(a, b)

    return {"Session.run": by_run, "make_callable": by_callable}


def chain(count: int) -> Variants:
    with gf.Graph().as_default() as graph:
        x = gf.Variable(chain_input(count))
        y = gf.reduce_mean(gf.tanh(x * 2.0 + 1.0) * gf.sigmoid(x) + gf.exp(-x * x))
    return {"": lambda: _fetch(graph, y)}


def norm() -> Variants:
    with gf.Graph().as_default() as graph:
        x, scale, offset = (gf.Variable(a) for a in norm_inputs())
        s = gf.nn.softmax(x)
        mean, variance = gf.nn.moments(s, [-1], keepdims=True)
        y = gf.reduce_mean(gf.square((s - mean) * gf.rsqrt(variance + 1e-5) * scale + offset))
    return {"": lambda: _fetch(graph, y)}


def matmul(m: int, k: int, n: int) -> Variants:
    with gf.Graph().as_default() as graph:
        x, w, b = (gf.Variable(a) for a in matmul_inputs(m, k, n))
        y = gf.reduce_mean(gf.nn.relu(gf.matmul(x, w) + b))
    return {"": lambda: _fetch(graph, y)}


def _logits(p: Sequence[gf.Variable], x: gf.Tensor) -> gf.Tensor:
    h = gf.nn.relu(gf.matmul(x, p[0]) + p[1])
    h = gf.nn.relu(gf.matmul(h, p[2]) + p[3])
    return gf.matmul(h, p[4]) + p[5]


def tiny() -> Variants:
    start, images, targets = tiny_inputs()

    def build() -> Step:
        with gf.Graph().as_default() as graph:
            x, y = gf.placeholder(gf.float32, images.shape), gf.placeholder(gf.float32, targets.shape)
            q = gf.sigmoid(_logits([gf.Variable(a) for a in start], x))
            loss = -gf.reduce_mean(y * gf.log(q + 1e-7) + (1.0 - y) * gf.log(1.0 - q + 1e-7))
            train = gf.train.GradientDescentOptimizer(TINY_RATE).minimize(loss)
        call = _session(graph).make_callable([train, loss], feed_list=[x, y])
        return lambda: float(call(images, targets)[1])

    return {"": build}


def mlp(batch: int) -> Variants:
    start, images, labels = mlp_inputs(batch)

    def build() -> Step:
        step, _ = classifier(start, batch)
        return lambda: step(images, labels)

    return {"": build}


def classifier(start: list[Array], batch: int | None = None) -> Classifier:
    with gf.Graph().as_default() as graph:
        x, y = gf.placeholder(gf.float32, [batch, len(start[0])]), gf.placeholder(gf.int32, [batch])
        logits = _logits([gf.Variable(a) for a in start], x)
        loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        train = gf.train.AdamOptimizer(ADAM_RATE).minimize(loss)
    session = _session(graph)
    call = session.make_callable([train, loss], feed_list=[x, y])
    return lambda images, labels: float(call(images, labels)[1]), session.make_callable(logits, feed_list=[x])


def many_kernels(count: int = 100) -> tuple[gf.Graph, list[gf.Tensor], dict[gf.Tensor, Array]]:
    """`count` different small kernels in one graph, a third of them reductions: its fetches and feeds."""
    fetches, feeds = [], {}
    with gf.Graph().as_default() as graph:
        for i in range(count):
            x = gf.placeholder(gf.float32, [None, i + 3])
            y = gf.tanh(x * (1.0 + i)) + gf.exp(-x * x) * float(i)
            fetches.append(gf.reduce_sum(y, axis=1) if i % 3 == 0 else y * y)
            feeds[x] = np.linspace(-1, 1, 4 * (i + 3), dtype=np.float32).reshape(4, i + 3)
    return graph, fetches, feeds


def digest(name: str, runs: int = 6) -> str:
    """A hash of every bit that `runs` runs of the workload return, and of what they leave in variables.

    `name` is one of WORKLOADS, "digits" for the network of the digits program on batches of several sizes, or "kernels"
    for `many_kernels`.
    """
    found = hashlib.sha256()
    _sessions.clear()
    if name == "kernels":
        graph, fetches, feeds = many_kernels()
        session = _session(graph)
        for _ in range(runs):
            for value in session.run(fetches, feeds):
                found.update(value.tobytes())
    elif name == "digits":
        rng = np.random.default_rng(7)
        train, predict = classifier(parameters(DIGITS_SIZES, 140))
        for _ in range(runs):
            for count in (32, 360):
                x = rng.random((count, 64), dtype=np.float32)
                found.update(np.float64(train(x, rng.integers(0, 10, count).astype(np.int32))).tobytes())
                found.update(predict(x).tobytes())
    else:
        workload = WORKLOADS[name]
        for build in BUILD[workload.kind](*workload.sizes).values():
            step = build()
            for _ in range(runs):
                found.update(np.float64(step()).tobytes())
    for session in _sessions:
        for value in session.run(session.graph.get_collection(gf.GraphKeys.GLOBAL_VARIABLES)):
            found.update(value.tobytes())
    return found.hexdigest()


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
