"""Interleaved timing: noise that hits one side hits the others as well, so ratios are what to trust."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping

ROUNDS = 7
TARGET_S = 0.05


def interleave(steps: Mapping[str, Callable[[], object]], rounds: int = ROUNDS, target_s: float = TARGET_S) -> dict[str, float]:
    """Median microseconds of each step over `rounds` round-robin rounds of about `target_s` seconds each."""
    counts = {}
    for name, step in steps.items():
        step()
        step()
        start = time.perf_counter()
        step()
        once = max(time.perf_counter() - start, 1e-7)
        counts[name] = max(1, int(target_s / once))
    times: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds):
        for name, step in steps.items():
            start = time.perf_counter()
            for _ in range(counts[name]):
                step()
            times[name].append((time.perf_counter() - start) / counts[name] * 1e6)
    return {name: statistics.median(t) for name, t in times.items()}


def report(workload: str, times: Mapping[str, float], ours: str = "graphflow") -> None:
    """One line per side, fastest first, with the ratio ours / theirs."""
    print(f"{workload}")
    mine = times.get(ours)
    for name, t in sorted(times.items(), key=lambda item: item[1]):
        ratio = "" if mine is None or name.startswith(ours) else f"   graphflow takes {mine / t:5.2f} of this"
        print(f"  {name:24s} {t:12.2f} us{ratio}")
