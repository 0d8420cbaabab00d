"""What is measured: names, sizes and inputs, the same for every side. Imports numpy alone: peers load this file too."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
# One run of a workload; its result, as a Python number, is compared between the sides.
Step = Callable[[], float]
# Name of a variant (eager, compiled, ...) -> a function that builds it. The first one is what a user writes first.
Variants = dict[str, Callable[[], Step]]
# A batch of images and labels -> the loss before the update; images -> logits.
Classifier = tuple[Callable[[Array, Array], float], Callable[[Array], Array]]

TINY_SIZES = (10, 10, 10, 1)
MLP_SIZES = (784, 128, 64, 10)
DIGITS_SIZES = (64, 128, 64, 10)
TINY_RATE, ADAM_RATE = 0.01, 1e-3
EPOCHS, BATCH = 30, 32


@dataclass(frozen=True)
class Workload:
    """`kind` names the function that builds it in every file of peers/; `sizes` are that function's arguments."""

    kind: str
    sizes: tuple[int, ...] = ()


WORKLOADS = {
    "scalar": Workload("scalar"),
    "chain-1e3": Workload("chain", (1_000,)),
    "chain-1e5": Workload("chain", (100_000,)),
    "chain-1e7": Workload("chain", (10_000_000,)),
    "norm": Workload("norm"),
    "matmul-32x784x128": Workload("matmul", (32, 784, 128)),
    "matmul-128x512x512": Workload("matmul", (128, 512, 512)),
    "matmul-1024": Workload("matmul", (1024, 1024, 1024)),
    "tiny": Workload("tiny"),
    "mlp-32": Workload("mlp", (32,)),
    "mlp-128": Workload("mlp", (128,)),
}


def scalars() -> tuple[Array, Array]:
    """a and b of a + b."""
    return np.array(1.5, np.float32), np.array(2.25, np.float32)


def chain_input(count: int) -> Array:
    """x of mean(tanh(2x+1) * sigmoid(x) + exp(-x*x))."""
    return np.random.default_rng(2).standard_normal(count).astype(np.float32)


def norm_inputs() -> tuple[Array, Array, Array]:
    """x [512, 1024], scale [1024] and offset [1024] of mean(square(layer_norm(softmax(x)))), epsilon 1e-5."""
    rng = np.random.default_rng(3)
    x = rng.standard_normal((512, 1024)).astype(np.float32)
    return x, rng.uniform(0.5, 1.5, 1024).astype(np.float32), rng.standard_normal(1024).astype(np.float32)


def matmul_inputs(m: int, k: int, n: int) -> tuple[Array, Array, Array]:
    """x [m, k], w [k, n] and b [n] of mean(relu(x @ w + b))."""
    rng = np.random.default_rng(4)
    return rng.standard_normal((m, k)).astype(np.float32), glorot(rng, k, n), rng.standard_normal(n).astype(np.float32)


def tiny_inputs() -> tuple[list[Array], Array, Array]:
    """Parameters of a 10-10-10-1 classifier, images [32, 10] and targets [32, 1], 0 or 1."""
    x = np.random.default_rng(5).standard_normal((32, 10)).astype(np.float32)
    return parameters(TINY_SIZES, 50), x, (x[:, :1] > 0).astype(np.float32)


def mlp_inputs(batch: int) -> tuple[list[Array], Array, Array]:
    """Parameters of a 784-128-64-10 classifier, images [batch, 784] and labels [batch]."""
    rng = np.random.default_rng(6)
    return parameters(MLP_SIZES, 60), rng.random((batch, 784), dtype=np.float32), rng.integers(0, 10, batch).astype(np.int32)


def glorot(rng: np.random.Generator, rows: int, columns: int) -> Array:
    limit = np.sqrt(6.0 / (rows + columns))
    return rng.uniform(-limit, limit, (rows, columns)).astype(np.float32)


def parameters(sizes: tuple[int, ...], seed: int) -> list[Array]:
    """Weights and biases by turns, one pair for each layer."""
    rng = np.random.default_rng(seed)
    found: list[Array] = []
    for rows, columns in itertools.pairwise(sizes):
        found += [glorot(rng, rows, columns), np.zeros(columns, np.float32)]
    return found
