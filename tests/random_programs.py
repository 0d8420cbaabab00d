"""Random programs: what the compiler makes of one against the reference backend, forward and gradient."""

from __future__ import annotations

from typing import Any

import numpy as np

import graphflow as gf
from tests.native_ops import assert_native

UNARY = [
    gf.tanh, gf.sigmoid, gf.nn.relu, gf.abs, gf.square, gf.negative, gf.nn.softplus, gf.sin, gf.cos, gf.nn.elu,
    lambda x: gf.exp(gf.minimum(x, 2.0)), lambda x: gf.log(gf.abs(x) + 1.0), lambda x: gf.sqrt(gf.abs(x) + 0.5),
    lambda x: x * 0.5 + 1.0, lambda x: gf.clip_by_value(x, -1.5, 1.5), gf.erf,
]  # fmt: skip
BINARY = [
    gf.add, gf.subtract, gf.multiply, gf.maximum, gf.minimum, gf.squared_difference,
    lambda a, b: a / (gf.abs(b) + 1.0), lambda a, b: gf.where_v2(gf.less(a, b), a, b * 0.5),
]  # fmt: skip


class Program:
    """Grows a random graph over [rows, columns] tensors and what their reductions, products and slices give."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        rng = self.rng
        self.rows, self.columns = int(rng.integers(1, 9)), int(rng.integers(1, 20))
        self.x = gf.placeholder(gf.float32, [None if rng.random() < 0.5 else self.rows, self.columns])
        self.feed = {self.x: rng.normal(size=(self.rows, self.columns)).astype(np.float32)}
        self.variable = gf.Variable(rng.normal(size=(self.columns, self.columns)).astype(np.float32) * 0.3)
        self.bias = gf.Variable(rng.normal(size=self.columns).astype(np.float32))
        self.full = [self.x]  # [rows, columns]
        self.small: list[Any] = [self.bias]  # broadcasts against full
        for _ in range(int(rng.integers(3, 14))):
            self.grow()

    def pick(self, values: list[Any]) -> Any:
        return values[int(self.rng.integers(len(values)))]

    def grow(self) -> None:
        kind = int(self.rng.integers(10))
        x = self.pick(self.full)
        if kind <= 2:
            self.full.append(self.pick(UNARY)(x))
        elif kind <= 4:
            self.full.append(self.pick(BINARY)(x, self.pick(self.full + self.small)))
        elif kind == 5:
            self.full.append(gf.matmul(x, self.variable, transpose_b=bool(self.rng.integers(2))))
        elif kind == 6:
            reduce = self.pick([gf.reduce_sum, gf.reduce_mean, gf.reduce_max, gf.reduce_min, gf.reduce_logsumexp])
            self.small.append(reduce(x, axis=self.pick([0, 1, [0, 1]]), keepdims=True))
        elif kind == 7:
            self.full.append(self.pick([gf.nn.softmax, gf.nn.log_softmax])(x))
        elif kind == 8:
            y = gf.concat([x[:, 1:], x[:, :1]], 1) if self.rng.random() < 0.5 else gf.reverse(x, [1])
            self.full.append(y)
        else:
            y = gf.transpose(gf.transpose(x) * self.pick([0.5, 2.0]))
            self.full.append(gf.reshape(gf.reshape(y, [-1]), gf.shape(x)))


def run(seed: int) -> None:
    with gf.Graph().as_default() as graph:
        program = Program(seed)
        loss = gf.reduce_mean(gf.square(program.full[-1])) + gf.reduce_sum(gf.tanh(program.small[-1]))
        loss += 0.1 * gf.reduce_sum(gf.square(program.variable)) + 0.1 * gf.reduce_sum(program.bias)
        fetches = [program.full[-1], loss]
        fetches += [g for g in gf.gradients(loss, [program.x, program.variable, program.bias]) if g is not None]
        update = gf.train.GradientDescentOptimizer(0.01).minimize(loss)
        init = gf.global_variables_initializer()
    results = []
    for backend in ("native", "reference"):
        with gf.Session(graph=graph, backend=backend) as session:
            session.run(init)
            values = session.run(fetches, program.feed)
            session.run(update, program.feed)
            results.append([*values, *session.run([program.variable, program.bias])])
            if backend == "native":
                assert_native(session, f"random program, seed {seed}", (), fetches, program.feed)
    for i, (native, reference) in enumerate(zip(*results, strict=True)):
        scale = 1.0 + float(np.max(np.abs(reference), initial=0.0))
        np.testing.assert_allclose(
            native, reference, rtol=2e-3, atol=2e-4 * scale, err_msg=f"random program, seed {seed}, result {i}"
        )
