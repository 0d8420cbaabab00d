"""graphflow: variables hold what is resident; a training step is a callable of its session."""

from __future__ import annotations

import gc
import hashlib
import os
import statistics
from pathlib import Path

import numpy as np
from workloads import DIGITS_SIZES, WORKLOADS, Array, Variants, chain_input, matmul_inputs, norm_inputs, parameters

import graphflow as gf
from peers.tf1_models import Models


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


models = Models(gf, _session)
classifier = models.classifier


def chain(count: int) -> Variants:
    return {"": lambda: models.fetch(models.chain, [chain_input(count)])}


def norm() -> Variants:
    return {"": lambda: models.fetch(models.norm, norm_inputs())}


def matmul(m: int, k: int, n: int) -> Variants:
    return {"": lambda: models.fetch(models.matmul, matmul_inputs(m, k, n))}


def mlp(batch: int) -> Variants:
    return {"": lambda: models.mlp(batch, fixed=True)}


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


def peak() -> float:
    """float32 operations a second that one core can do at best, a multiply-add being two: as found now."""
    from graphflow_runtime.profiling.roofline import (
        Peaks,
    )  # not a public name: only here, for an earlier commit may have another

    return Peaks().flops_of(gf.float32)


def growth(runs: int) -> int:
    """Bytes by which `runs` training steps on batches of random sizes make the process grow.

    What it holds goes up and down by half a megabyte as arenas of other sizes come and go: medians of before and after.
    """
    rng = np.random.default_rng(8)
    train, _ = classifier(parameters(DIGITS_SIZES, 140))

    def resident(count: int) -> float:
        """The median over `count` runs."""
        found = []
        for i, size in enumerate(rng.integers(1, 200, count)):
            train(rng.random((size, 64), dtype=np.float32), rng.integers(0, 10, size).astype(np.int32))
            if i % 100 == 99:
                gc.collect()
                found.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"))
        return statistics.median(found)

    resident(runs // 5)  # bound sizes are kept up to a number, and code for threads is made after a while
    before = resident(runs // 10)
    resident(runs - runs // 10)
    return int(resident(runs // 10) - before)


BUILD = {
    "scalar": models.scalar, "chain": chain, "norm": norm, "matmul": matmul, "tiny": lambda: {"": models.tiny}, "mlp": mlp,
}  # fmt: skip
