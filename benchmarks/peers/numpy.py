"""numpy, gradients written by hand: what there is without any framework."""

from __future__ import annotations

import numpy as np
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

ONE, TWO, EPSILON = np.float32(1), np.float32(2), np.float32(1e-7)


def version() -> str:
    return np.__version__


def _sigmoid(x: Array) -> Array:
    return ONE / (ONE + np.exp(-x))


def scalar() -> Variants:
    a, b = scalars()
    return {"": lambda: lambda: a + b}


def chain(count: int) -> Variants:
    x = chain_input(count)
    return {"": lambda: lambda: float((np.tanh(x * TWO + ONE) * _sigmoid(x) + np.exp(-x * x)).mean())}


def norm() -> Variants:
    x, scale, offset = norm_inputs()

    def step() -> float:
        s = np.exp(x - x.max(-1, keepdims=True))
        s /= s.sum(-1, keepdims=True)
        s -= s.mean(-1, keepdims=True)
        y = s / np.sqrt((s * s).mean(-1, keepdims=True) + np.float32(1e-5)) * scale + offset
        return float((y * y).mean())

    return {"": lambda: step}


def matmul(m: int, k: int, n: int) -> Variants:
    x, w, b = matmul_inputs(m, k, n)
    return {"": lambda: lambda: float(np.maximum(x @ w + b, 0).mean())}


def _forward(p: list[Array], x: Array) -> tuple[Array, Array, Array]:
    h1 = np.maximum(x @ p[0] + p[1], 0)
    h2 = np.maximum(h1 @ p[2] + p[3], 0)
    return h1, h2, h2 @ p[4] + p[5]


def _backward(p: list[Array], x: Array, h1: Array, h2: Array, d: Array) -> list[Array]:
    """Gradients in the order of `p`; `d` is the gradient of the logits."""
    d2 = (d @ p[4].T) * (h2 > 0)
    d1 = (d2 @ p[2].T) * (h1 > 0)
    return [x.T @ d1, d1.sum(0), h1.T @ d2, d2.sum(0), h2.T @ d, d.sum(0)]


def tiny() -> Variants:
    p, x, y = tiny_inputs()

    def step() -> float:
        h1, h2, z = _forward(p, x)
        q = _sigmoid(z)
        loss = -float((y * np.log(q + EPSILON) + (ONE - y) * np.log(ONE - q + EPSILON)).mean())
        for a, g in zip(p, _backward(p, x, h1, h2, (q - y) / np.float32(len(x))), strict=True):
            a -= np.float32(TINY_RATE) * g
        return loss

    return {"": lambda: step}


def mlp(batch: int) -> Variants:
    start, images, labels = mlp_inputs(batch)

    def build() -> Step:
        step, _ = classifier(start)
        return lambda: step(images, labels)

    return {"": build}


def classifier(start: list[Array]) -> Classifier:
    p = [a.copy() for a in start]
    moments = [(np.zeros_like(a), np.zeros_like(a)) for a in p]
    steps = 0

    def step(x: Array, y: Array) -> float:
        nonlocal steps
        h1, h2, z = _forward(p, x)
        rows = np.arange(len(x))
        z -= z.max(1, keepdims=True)
        s = np.exp(z)
        total = s.sum(1, keepdims=True)
        loss = float((np.log(total[:, 0]) - z[rows, y]).mean())
        s /= total
        s[rows, y] -= ONE
        s /= np.float32(len(x))
        steps += 1
        rate = np.float32(ADAM_RATE * np.sqrt(1 - 0.999**steps) / (1 - 0.9**steps))
        for a, g, (m, v) in zip(p, _backward(p, x, h1, h2, s), moments, strict=True):
            m *= np.float32(0.9)
            m += np.float32(0.1) * g
            v *= np.float32(0.999)
            v += np.float32(0.001) * g * g
            a -= rate * m / (np.sqrt(v) + np.float32(1e-8))
        return loss

    return step, lambda x: _forward(p, x)[2]


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
