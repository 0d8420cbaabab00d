"""Times graphflow beside every peer that can be imported (numpy always), interleaved, and prints ratios.

python benchmarks/run.py                # everything
python benchmarks/run.py mlp dispatch   # only these
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import models
from timing import interleave, report

ROOT = Path(__file__).parent.parent


def dispatch() -> None:
    report("scalar add", interleave(models.scalar_add()))


def chain() -> None:
    for count in (1_000, 100_000, 10_000_000):
        report(f"fused chain, {count:,} floats", interleave(models.chain(count)))


def mlp() -> None:
    for batch in (32, 128):
        report(f"MLP 784-128-64-10 Adam step, batch {batch}", interleave(models.mlp_step(batch)))


def tiny() -> None:
    report("MLP 10-10-10-1 SGD step, batch 32", interleave(models.tiny_step()))


def _seconds(code: str, runs: int = 5) -> float:
    """Median wall time of a fresh process."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL, env=dict(os.environ))
        times.append(time.perf_counter() - start)
    return sorted(times)[len(times) // 2]


def imports() -> None:
    """Import time of the package, beside numpy's own, process start taken off."""
    base = _seconds("pass")
    for module in ("numpy", "graphflow"):
        print(f"import {module:12s} {(_seconds(f'import {module}') - base) * 1e3:8.1f} ms")


def digits() -> None:
    """The whole process: import, data, build, compile, 30 epochs, evaluate."""
    samples = str(ROOT / "samples")
    code = f"import sys; sys.path.insert(0, {samples!r}); import digits_mlp; digits_mlp.main(folder=None)"
    print(f"digits, fresh process {_seconds(code, 3):8.2f} s")


def scaling() -> None:
    """A chain of n ops: build, gradients, first run."""
    import numpy as np

    import graphflow as gf

    for n in (1_000, 10_000, 100_000):
        with gf.Graph().as_default() as graph:
            x = gf.placeholder(gf.float32, [16])
            start = time.perf_counter()
            y = x
            for i in range(n):
                y = y * 1.0001 if i % 2 else y + 0.0001
            built = time.perf_counter()
            (g,) = gf.gradients(y, [x]) if n <= 10_000 else (None,)
            differentiated = time.perf_counter()
        line = f"chain of {n:7,} ops: build {built - start:6.2f} s"
        if g is not None:
            line += f"  gradients {differentiated - built:6.2f} s"
            with gf.Session(graph=graph) as session:
                start = time.perf_counter()
                session.run(y, {x: np.zeros(16, np.float32)})
                line += f"  first run {time.perf_counter() - start:6.2f} s"
        print(line)


BENCHMARKS: dict[str, Callable[[], None]] = {
    "dispatch": dispatch,
    "chain": chain,
    "mlp": mlp,
    "tiny": tiny,
    "imports": imports,
    "digits": digits,
    "scaling": scaling,
}


def main(names: list[str]) -> None:
    unknown = [n for n in names if n not in BENCHMARKS]
    if unknown:
        sys.exit(f"no benchmark is called {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}")
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()


if __name__ == "__main__":
    main(sys.argv[1:])
