"""The loop kernels of the benchmark graphs, and of graphs with the row kernels and losses that users write."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_compiler.codegen.emit import Target, kernel_to_llvm
from graphflow_compiler.ir.loops import Kernel, LoopKernel
from graphflow_compiler.planning import plan_cache, planner

FOLDER = Path(__file__).resolve().parent.parent / "benchmarks"


def recorded(run: Callable[[], object]) -> list[Kernel]:
    """All distinct kernels that are compiled while `run` runs."""
    found: dict[Kernel, None] = {}

    def record(kernel: Kernel, target: Target) -> str:
        found[kernel] = None
        return kernel_to_llvm(kernel, target)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(planner, "kernel_to_llvm", record)
        patch.setattr(plan_cache, "get", lambda key, explain: None)  # kernels of kept plans are not written again
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


def run_workload(kind: str, *sizes: int) -> None:
    """Once, in the form that the benchmarks measure first."""
    first, *_ = _builders()[kind](*sizes).values()
    first()()


@cache
def _builders() -> Any:
    """`BUILD` of benchmarks/peers/graphflow.py."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        spec = importlib.util.spec_from_file_location("benchmarks_of_graphflow", FOLDER / "peers" / "graphflow.py")
        assert spec is not None and spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        sys.modules.pop("workloads")
    return module.BUILD


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


def other_types() -> list[Any]:
    x = gf.placeholder(gf.float64, [None, 40], name="x")
    whole = gf.cast(x * 10.0, gf.int32)
    return [
        gf.reduce_sum(x, 0), gf.reduce_max(x, 1), gf.reduce_prod(x + 1.0), gf.reduce_sum(whole), gf.argmax(whole, 1),
        gf.reduce_any(x > 0.5, 0), gf.reduce_logsumexp(x), gf.gather(gf.transpose(x), [3, 0, 3]),
        gf.cast(gf.nn.dropout(gf.cast(x, gf.float32), rate=0.25), gf.float16),
    ]  # fmt: skip


def user_kernels() -> list[LoopKernel]:
    """Row kernels, losses and updates with their gradients, mostly for sizes known at run time."""
    x, y = (np.random.default_rng(k).uniform(0.1, 1, (3, 5)).astype(np.float32) for k in range(2))

    def run() -> None:
        run_once(softmax_and_layer_norm, x=x, scale=x[0], shift=y[0])
        run_once(losses, x=x, y=y, labels=np.array([0, 4, 2], np.int32))
        run_once(adam_of_a_table, x=np.ones((37, 21), np.float32))
        run_once(other_types, x=np.ones((3, 40)))

    return loop_kernels(run)


def benchmark_kernels(*workloads: Sequence[Any]) -> list[LoopKernel]:
    """`workloads`: their kinds and sizes."""

    def run() -> None:
        for kind, *sizes in workloads:
            run_workload(kind, *sizes)

    return loop_kernels(run)
