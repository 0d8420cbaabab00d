"""PyTensor: its C backend and, where numba is installed, its numba backend; shared variables updated in place."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from typing import Any

os.environ.setdefault("PYTENSOR_FLAGS", "floatX=float32,gcc__cxxflags=-O3 -march=native")

import numpy as np
import pytensor
import pytensor.tensor as pt
from pytensor.compile.mode import Mode, get_mode
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
    return str(pytensor.__version__)


def _modes() -> dict[str, Any]:
    modes = {"c": Mode(linker="cvm", optimizer="fast_run")}
    if importlib.util.find_spec("numba") is not None:
        modes["numba"] = get_mode("NUMBA")
    return modes


def _each(build: Callable[[Any], Step]) -> Variants:
    return {name: lambda mode=mode: build(mode) for name, mode in _modes().items()}


def _shared(a: Array) -> Any:
    return pytensor.shared(a.copy(), shape=a.shape)


def _function(inputs: list[Any], result: Any, mode: Any, updates: Any = None) -> Any:
    function = pytensor.function(inputs, result, updates=updates, mode=mode)
    function.trust_input = True  # no checks of what is fed
    return function


def _resident(expression: Callable[..., Any], inputs: tuple[Array, ...]) -> Variants:
    def build(mode: Any) -> Step:
        function = _function([], expression(*(_shared(a) for a in inputs)), mode)
        return lambda: float(function())

    return _each(build)


def scalar() -> Variants:
    a, b = scalars()

    def build(mode: Any) -> Step:
        x, y = pt.tensor(dtype="float32", shape=()), pt.tensor(dtype="float32", shape=())
        function = _function([x, y], x + y, mode)
        return lambda: function(a, b)

    return _each(build)


def chain(count: int) -> Variants:
    def expression(x: Any) -> Any:
        y = pt.tanh(x * TWO + ONE) * pt.sigmoid(x) + pt.exp(-x * x)
        return y.mean(dtype="float32", acc_dtype="float32")

    return _resident(expression, (chain_input(count),))


def norm() -> Variants:
    def expression(x: Any, scale: Any, offset: Any) -> Any:
        s = pt.special.softmax(x, axis=-1)
        mean = s.mean(-1, keepdims=True)
        variance = pt.sqr(s - mean).mean(-1, keepdims=True)
        return pt.sqr((s - mean) / pt.sqrt(variance + np.float32(1e-5)) * scale + offset).mean()

    return _resident(expression, norm_inputs())


def _relu(x: Any) -> Any:
    return pt.maximum(x, np.float32(0))


def matmul(m: int, k: int, n: int) -> Variants:
    return _resident(lambda x, w, b: _relu(x @ w + b).mean(), matmul_inputs(m, k, n))


def _logits(p: list[Any], x: Any) -> Any:
    return _relu(_relu(x @ p[0] + p[1]) @ p[2] + p[3]) @ p[4] + p[5]


def tiny() -> Variants:
    start, images, targets = tiny_inputs()

    def build(mode: Any) -> Step:
        p = [_shared(a) for a in start]
        x, y = pt.tensor(dtype="float32", shape=images.shape), pt.tensor(dtype="float32", shape=targets.shape)
        q = pt.sigmoid(_logits(p, x))
        loss = -pt.mean(y * pt.log(q + EPSILON) + (ONE - y) * pt.log(ONE - q + EPSILON))
        updates = [(a, a - np.float32(TINY_RATE) * g) for a, g in zip(p, pt.grad(loss, p), strict=True)]
        function = _function([x, y], loss, mode, updates)
        return lambda: float(function(images, targets))

    return _each(build)


def mlp(batch: int) -> Variants:
    start, images, labels = mlp_inputs(batch)

    def build(mode: Any) -> Step:
        step, _ = _adam(start, mode, batch)
        return lambda: step(images, labels)

    return _each(build)


def classifier(start: list[Array]) -> Classifier:
    step, logits = _adam(start, _modes()["c"], None)
    return step, logits()


def _adam(start: list[Array], mode: Any, batch: int | None) -> tuple[Any, Any]:
    """The training step, and what makes the function of the logits. `batch` None: any size."""
    p = [_shared(a) for a in start]
    x, y = pt.tensor(dtype="float32", shape=(batch, len(start[0]))), pt.tensor(dtype="int32", shape=(batch,))
    logits = _logits(p, x)
    loss = -pt.mean(pt.special.log_softmax(logits, axis=-1)[pt.arange(logits.shape[0]), y])
    t = pytensor.shared(np.float32(0))
    steps = t + ONE
    rate = np.float32(ADAM_RATE) * pt.sqrt(ONE - np.float32(0.999) ** steps) / (ONE - np.float32(0.9) ** steps)
    updates = [(t, steps)]
    for a, g in zip(p, pt.grad(loss, p), strict=True):
        m, v = _shared(np.zeros_like(a.get_value())), _shared(np.zeros_like(a.get_value()))
        new_m = np.float32(0.9) * m + np.float32(0.1) * g
        new_v = np.float32(0.999) * v + np.float32(0.001) * g * g
        updates += [(m, new_m), (v, new_v), (a, a - rate * new_m / (pt.sqrt(new_v) + np.float32(1e-8)))]
    function = _function([x, y], loss, mode, updates)
    return lambda images, labels: float(function(images, labels)), lambda: _function([x], logits, mode)


BUILD = {"scalar": scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": tiny, "mlp": mlp}
