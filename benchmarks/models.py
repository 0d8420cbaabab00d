"""The same work for graphflow and for each peer that can be imported. Every function returns {side: step}."""

from __future__ import annotations

import importlib.util
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np

Steps = dict[str, Callable[[], object]]


def has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def glorot(rng: np.random.Generator, rows: int, columns: int) -> np.ndarray[Any, Any]:
    limit = np.sqrt(6.0 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)


def scalar_add() -> Steps:
    """Two scalars fed, their sum fetched: nothing but overhead."""
    import graphflow as gf

    a, b = np.array(1.5, np.float32), np.array(2.25, np.float32)
    with gf.Graph().as_default() as graph:
        x, y = gf.placeholder(gf.float32, []), gf.placeholder(gf.float32, [])
        z = x + y
    session = gf.Session(graph=graph)
    call = session.make_callable(z, feed_list=[x, y])
    steps: Steps = {
        "graphflow": lambda: session.run(z, {x: a, y: b}),
        "graphflow make_callable": lambda: call(a, b),
        "numpy": lambda: a + b,
    }
    if has("torch"):
        import torch

        ta, tb = torch.tensor(1.5), torch.tensor(2.25)
        steps["torch"] = lambda: float(ta + tb)
    if has("jax"):
        import jax

        f = jax.jit(lambda a, b: a + b)
        steps["jax"] = lambda: np.asarray(f(a, b))
    return steps


def chain(count: int) -> Steps:
    """mean(tanh(2x+1) * sigmoid(x) + exp(-x*x)) of `count` resident floats."""
    import graphflow as gf

    data = np.random.default_rng(2).standard_normal(count).astype(np.float32)
    with gf.Graph().as_default() as graph:
        x = gf.Variable(data)
        y = gf.reduce_mean(gf.tanh(x * 2.0 + 1.0) * gf.sigmoid(x) + gf.exp(-x * x))
        init = gf.global_variables_initializer()
    session = gf.Session(graph=graph)
    session.run(init)

    def in_numpy() -> object:
        return np.mean(np.tanh(data * 2 + 1) / (1 + np.exp(-data)) + np.exp(-data * data))

    steps: Steps = {"graphflow": lambda: session.run(y), "numpy": in_numpy}
    if has("torch"):
        import torch

        t = torch.from_numpy(data)
        steps["torch"] = lambda: float((torch.tanh(t * 2 + 1) * torch.sigmoid(t) + torch.exp(-t * t)).mean())
    if has("jax"):
        import jax
        import jax.numpy as jnp

        j = jnp.array(data)
        f = jax.jit(lambda x: jnp.mean(jnp.tanh(x * 2 + 1) * jax.nn.sigmoid(x) + jnp.exp(-x * x)))
        steps["jax"] = lambda: float(f(j))
    return steps


def parameters(sizes: tuple[int, ...], seed: int) -> list[np.ndarray[Any, Any]]:
    rng = np.random.default_rng(seed)
    found: list[np.ndarray[Any, Any]] = []
    for rows, columns in itertools.pairwise(sizes):
        found += [glorot(rng, rows, columns), np.zeros(columns, np.float32)]
    return found


def mlp_step(batch: int) -> Steps:
    """One Adam step of a 784-128-64-10 classifier, the loss fetched."""
    import graphflow as gf

    sizes = (784, 128, 64, 10)
    start = parameters(sizes, 60)
    rng = np.random.default_rng(6)
    data = rng.random((batch, 784), dtype=np.float32)
    labels = rng.integers(0, 10, batch).astype(np.int32)
    with gf.Graph().as_default() as graph:
        x, y = gf.placeholder(gf.float32, [batch, 784]), gf.placeholder(gf.int32, [batch])
        p = [gf.Variable(a) for a in start]
        h = gf.nn.relu(gf.matmul(x, p[0]) + p[1])
        h = gf.nn.relu(gf.matmul(h, p[2]) + p[3])
        logits = gf.matmul(h, p[4]) + p[5]
        loss = gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=y, logits=logits))
        train = gf.train.AdamOptimizer(1e-3).minimize(loss)
        init = gf.global_variables_initializer()
    session = gf.Session(graph=graph)
    session.run(init)
    call = session.make_callable([train, loss], feed_list=[x, y])
    steps: Steps = {"graphflow": lambda: float(call(data, labels)[1])}
    if has("torch"):
        steps["torch"] = _torch_mlp(start, data, labels)
    if has("jax") and has("optax"):
        steps["jax"] = _jax_mlp(start, data, labels)
    return steps


def _torch_mlp(start: list[Any], data: Any, labels: Any) -> Callable[[], object]:
    import torch
    import torch.nn.functional as F

    p = [torch.nn.Parameter(torch.from_numpy(a.copy())) for a in start]
    optimizer = torch.optim.Adam(p, 1e-3, fused=True)
    tx, ty = torch.from_numpy(data), torch.from_numpy(labels).long()

    def step() -> object:
        h = F.relu(torch.addmm(p[1], tx, p[0]))
        h = F.relu(torch.addmm(p[3], h, p[2]))
        loss = F.cross_entropy(torch.addmm(p[5], h, p[4]), ty)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def _jax_mlp(start: list[Any], data: Any, labels: Any) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp
    import optax

    params = [jnp.array(a) for a in start]
    optimizer = optax.adam(1e-3)
    state = [params, optimizer.init(params)]

    def forward(p: Any, x: Any) -> Any:
        h = jax.nn.relu(x @ p[0] + p[1])
        return jax.nn.relu(h @ p[2] + p[3]) @ p[4] + p[5]

    def loss_of(p: Any, x: Any, y: Any) -> Any:
        return optax.softmax_cross_entropy_with_integer_labels(forward(p, x), y).mean()

    def update(p: Any, s: Any, x: Any, y: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(p, x, y)
        change, s = optimizer.update(grads, s)
        return optax.apply_updates(p, change), s, loss

    compiled = jax.jit(update, donate_argnums=(0, 1))

    def step() -> object:
        state[0], state[1], loss = compiled(state[0], state[1], data, labels)
        return float(loss)

    return step


def tiny_step() -> Steps:
    """One SGD step of a 10-10-10-1 classifier at batch 32: overhead again, with a real graph."""
    import graphflow as gf

    start = parameters((10, 10, 10, 1), 50)
    data = np.random.default_rng(5).standard_normal((32, 10)).astype(np.float32)
    target = (data[:, :1] > 0).astype(np.float32)
    with gf.Graph().as_default() as graph:
        x, y = gf.placeholder(gf.float32, [32, 10]), gf.placeholder(gf.float32, [32, 1])
        p = [gf.Variable(a) for a in start]
        h = gf.nn.relu(gf.matmul(x, p[0]) + p[1])
        h = gf.nn.relu(gf.matmul(h, p[2]) + p[3])
        q = gf.sigmoid(gf.matmul(h, p[4]) + p[5])
        loss = -gf.reduce_mean(y * gf.log(q + 1e-7) + (1.0 - y) * gf.log(1.0 - q + 1e-7))
        train = gf.train.GradientDescentOptimizer(0.01).minimize(loss)
        init = gf.global_variables_initializer()
    session = gf.Session(graph=graph)
    session.run(init)
    call = session.make_callable([train, loss], feed_list=[x, y])
    steps: Steps = {"graphflow": lambda: float(call(data, target)[1])}
    if has("jax"):
        steps["jax"] = _jax_tiny(start, data, target)
    return steps


def _jax_tiny(start: list[Any], data: Any, target: Any) -> Callable[[], object]:
    import jax
    import jax.numpy as jnp

    state = [[jnp.array(a) for a in start]]

    def loss_of(p: Any) -> Any:
        h = jax.nn.relu(data @ p[0] + p[1])
        h = jax.nn.relu(h @ p[2] + p[3])
        q = jax.nn.sigmoid(h @ p[4] + p[5])
        return -jnp.mean(target * jnp.log(q + 1e-7) + (1 - target) * jnp.log(1 - q + 1e-7))

    def update(p: Any) -> Any:
        loss, grads = jax.value_and_grad(loss_of)(p)
        return [a - 0.01 * g for a, g in zip(p, grads, strict=True)], loss

    compiled = jax.jit(update)

    def step() -> object:
        state[0], loss = compiled(state[0])
        return float(loss)

    return step
