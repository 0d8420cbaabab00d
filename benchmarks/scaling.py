"""Long graphs: seconds to build a chain of n operations, to differentiate it, and to run it for the first time."""

from __future__ import annotations

import time

import numpy as np

import graphflow as gf


def main() -> None:
    for n in (1_000, 10_000, 100_000):
        with gf.Graph().as_default() as graph:
            x = gf.placeholder(gf.float32, [16])
            start = time.perf_counter()
            y = x
            for i in range(n):
                y = y * 1.0001 if i % 2 else y + 0.0001
            line = f"chain of {n:7,} ops: build {time.perf_counter() - start:6.2f} s"
            if n <= 10_000:
                start = time.perf_counter()
                gf.gradients(y, [x])
                line += f"  gradients {time.perf_counter() - start:6.2f} s"
                with gf.Session(graph=graph) as session:
                    start = time.perf_counter()
                    session.run(y, {x: np.zeros(16, np.float32)})
                    line += f"  first run {time.perf_counter() - start:6.2f} s"
        print(line)
