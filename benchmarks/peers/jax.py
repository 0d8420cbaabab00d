"""JAX: jit, parameters resident and donated; taking the loss as a Python number waits for the step."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import nn
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


def version() -> str:
    return jax.__version__


def _resident(function: Any, inputs: tuple[Array, ...]) -> Variants:
    """`function` of arrays that stay on the device."""

    def build() -> Step:
        arrays = [jnp.array(a) for a in inputs]
        compiled = jax.jit(function)
        return lambda: float(compiled(*arrays))

    return {"": build}


def scalar() -> Variants:
    a, b = scalars()

    def build() -> Step:
        compiled = jax.jit(lambda a, b: a + b)
        return lambda: np.asarray(compiled(a, b))

    return {"": build}


def chain(count: int) -> Variants:
    return _resident(lambda x: (jnp.tanh(x * 2.0 + 1.0) * nn.sigmoid(x) + jnp.exp(-x * x)).mean(), (chain_input(count),))


def norm() -> Variants:
    def function(x: Any, scale: Any, offset: Any) -> Any:
        s = nn.softmax(x)
        mean = s.mean(-1, keepdims=True)
        variance = jnp.square(s - mean).mean(-1, keepdims=True)
        return jnp.square((s - mean) * jax.lax.rsqrt(variance + 1e-5) * scale + offset).mean()

    return _resident(function, norm_inputs())


def matmul(m: int, k: int, n: int) -> Variants:
    return _resident(lambda x, w, b: nn.relu(x @ w + b).mean(), matmul_inputs(m, k, n))


def _logits(p: Any, x: Any) -> Any:
    return nn.relu(nn.relu(x @ p[0] + p[1]) @ p[2] + p[3]) @ p[4] + p[5]


def tiny() -> Variants:
    start, images, targets = tiny_inputs()

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        q = nn.sigmoid(_logits(p, x))
        return -jnp.mean(y * jnp.log(q + 1e-7) + (1.0 - y) * jnp.log(1.0 - q + 1e-7))

    def update(p: Any, x: Any, y: Any) -> Any:
        loss, gradients = jax.value_and_grad(loss_of)(p, x, y)
        return [a - TINY_RATE * g for a, g in zip(p, gradients, strict=True)], loss

    def build() -> Step:
        compiled = jax.jit(update, donate_argnums=0)
        p = [jnp.array(a) for a in start]

        def step() -> float:
            nonlocal p
            p, loss = compiled(p, images, targets)
            return float(loss)

        return step

    return {"": build}


def mlp(batch: int) -> Variants:
    start, images, labels = mlp_inputs(batch)

    def build() -> Step:
        step, _ = classifier(start)
        return lambda: step(images, labels)

    return {"": build}


def classifier(start: list[Array]) -> Classifier:
    def loss_of(p: Any, x: Any, y: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(nn.log_softmax(_logits(p, x)), y[:, None], 1))

    def update(state: Any, x: Any, y: Any) -> Any:
        p, m, v, t = state
        loss, g = jax.value_and_grad(loss_of)(p, x, y)
        t = t + 1
        rate = ADAM_RATE * jnp.sqrt(1 - 0.999**t) / (1 - 0.9**t)
        m = [0.9 * a + 0.1 * b for a, b in zip(m, g, strict=True)]
        v = [0.999 * a + 0.001 * b * b for a, b in zip(v, g, strict=True)]
        p = [a - rate * b / (jnp.sqrt(c) + 1e-8) for a, b, c in zip(p, m, v, strict=True)]
        return (p, m, v, t), loss

    def zeros() -> list[Any]:
        return [jnp.array(np.zeros_like(a)) for a in start]

    compiled, predict = jax.jit(update, donate_argnums=0), jax.jit(_logits)
    state: Any = ([jnp.array(a) for a in start], zeros(), zeros(), jnp.array(np.float32(0)))

    def step(x: Array, y: Array) -> float:
        nonlocal state
        state, loss = compiled(state, x, y)
        return float(loss)

    return step, lambda x: np.asarray(predict(state[0], x))


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
