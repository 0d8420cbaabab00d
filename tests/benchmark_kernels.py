"""The loop kernels of the benchmark graphs, and of graphs with the row kernels and losses that users write."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_compiler import compilation
from graphflow_compiler.codegen.emit import Target, kernel_to_llvm
from graphflow_compiler.ir.loops import Kernel, LoopKernel

MODELS = Path(__file__).resolve().parent.parent / "benchmarks" / "models.py"


def recorded(run: Callable[[], object]) -> list[Kernel]:
    """All distinct kernels that are compiled while `run` runs."""
    found: dict[Kernel, None] = {}

    def record(kernel: Kernel, target: Target) -> str:
        found[kernel] = None
        return kernel_to_llvm(kernel, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compilation, "kernel_to_llvm", record)
        run()
    return list(found)


def loop_kernels(run: Callable[[], object]) -> list[LoopKernel]:
    return [k for k in recorded(run) if isinstance(k, LoopKernel)]


def run_once(build: Callable[[], list[Any]], **feeds: np.ndarray[Any, Any]) -> None:
    """Builds a graph whose placeholders are named like `feeds`, and runs what `build` returns."""
    with gf.Graph().as_default() as graph:
        fetches = build()
        init = gf.global_variables_initializer()
    with gf.Session(graph=graph) as session:
        session.run(init)
        session.run(fetches, {f"{name}:0": value for name, value in feeds.items()})


def models() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_models", MODELS)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def softmax_and_layer_norm() -> list[Any]:
    x = gf.placeholder(gf.float32, [None, None], name="x")
    scale, shift = (gf.placeholder(gf.float32, [None], name=n) for n in ("scale", "shift"))
    probabilities = gf.nn.softmax(x)
    centred = x - gf.reduce_mean(x, 1, keepdims=True)
    variance = gf.reduce_mean(centred * centred, 1, keepdims=True)
    normal = centred * gf.rsqrt(variance + 1e-5) * scale + shift
    gradients = gf.gradients([gf.reduce_sum(probabilities * probabilities), gf.reduce_sum(normal * x)], [x, scale, shift])
    return [probabilities, normal, *gradients]


def losses() -> list[Any]:
    x = gf.placeholder(gf.float32, [None, None], name="x")
    y = gf.placeholder(gf.float32, [None, None], name="y")
    labels = gf.placeholder(gf.int32, [None], name="labels")
    found = [
        gf.reduce_mean(gf.square(x - y)),
        gf.reduce_mean(gf.nn.sigmoid_cross_entropy_with_logits(labels=y, logits=x)),
        gf.reduce_mean(gf.nn.softmax_cross_entropy_with_logits(labels=y, logits=x)),
        gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=x)),
    ]
    return [*found, *(gf.gradients(loss, [x])[0] for loss in found)]


def adam_of_a_table() -> list[Any]:
    """An update that no matrix product takes in: a kernel over elements."""
    x = gf.placeholder(gf.float32, [37, 21], name="x")
    w = gf.Variable(np.full((37, 21), 0.5, np.float32))
    loss = gf.reduce_sum(gf.tanh(w * x))
    return [gf.train.AdamOptimizer(1e-2).minimize(loss), loss]


def benchmark_kernels(count: int, batch: int) -> list[LoopKernel]:
    """`count`: elements of the chain; `batch`: rows of the classifier."""
    m = models()
    rng = np.random.default_rng(0)

    def run() -> None:
        for steps in (m.scalar_add(), m.chain(count), m.mlp_step(batch), m.tiny_step()):
            steps["graphflow"]()
        x, y = (rng.uniform(0.1, 1, (3, 5)).astype(np.float32) for _ in range(2))
        run_once(softmax_and_layer_norm, x=x, scale=x[0], shift=y[0])
        run_once(losses, x=x, y=y, labels=np.array([0, 4, 2], np.int32))
        run_once(adam_of_a_table, x=np.ones((37, 21), np.float32))

    return loop_kernels(run)
