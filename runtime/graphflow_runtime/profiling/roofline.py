"""The roofline of this machine: peak speeds of one thread, measured when first asked for and kept for the process."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Callable
from dataclasses import field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from graphflow.framework.dtypes import DType, float32, float64, int32, int64
from graphflow.framework.records import record
from graphflow_compiler.codegen.jit.engine import Engine, compile_module
from graphflow_compiler.codegen.llvm.llvm_text import host_target
from graphflow_runtime.memory import aligned_bytes
from graphflow_runtime.native_code.roofline_text import TRAFFIC_UNROLL, arithmetic_text, chains, lanes_of, traffic_text

#: Sizes of the data caches where the system does not say: most machines have at least these.
_USUAL = (32 << 10, 512 << 10, 8 << 20)
#: Most bytes taken to measure memory itself. They are given back at once.
_MOST = 512 << 20
#: Calls, and seconds, of a measurement at least: enough for a core to clock up, and for one call that nothing disturbs.
_REPEATS, _SECONDS = 5, 0.03
_ARITHMETIC_TURNS = 100_000
#: Bytes moved in one measurement of a cache.
_TRAFFIC = 16 << 20


def cache_sizes() -> tuple[int, ...]:
    """Bytes of the data caches that one core sees, smallest first."""
    found = [_cache_size(folder) for folder in Path("/sys/devices/system/cpu/cpu0/cache").glob("index*")]
    return tuple(sorted({size for size in found if size})) or _USUAL


def _cache_size(folder: Path) -> int:
    """Bytes of the cache that Linux describes in this folder; 0 if it holds instructions, or nothing is said."""
    try:
        if (folder / "type").read_text().strip() == "Instruction":
            return 0
        size = (folder / "size").read_text().strip()
        return int(size.rstrip("KM")) << (20 if size.endswith("M") else 10)
    except (OSError, ValueError):
        return 0


def computing_dtype(dtype: DType) -> DType:
    """The type in whose registers values of `dtype` are computed with: small ones are widened."""
    if dtype.is_floating:
        return float64 if dtype is float64 else float32
    return int64 if dtype.size == 8 else int32


@record
class Peaks:
    """The best speeds of one thread. Each is measured (some milliseconds; memory: some hundred) when it is first asked for.

    flops: operations a second by dtype, a multiply-add being two. bandwidths: bytes a second, read and written, by the size of
    the cache that holds the arrays; by 0 for arrays in memory.
    """

    caches: tuple[int, ...] = field(default_factory=cache_sizes)
    flops: dict[DType, float] = field(default_factory=dict)
    bandwidths: dict[int, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def flops_of(self, dtype: DType) -> float:
        """Operations a second for values of this dtype. Raises CompileError if no code can be made for this machine."""
        computed = computing_dtype(dtype)
        with self._lock:
            if computed not in self.flops:
                self.flops[computed] = _measure_flops(computed)
            return self.flops[computed]

    def bandwidth_of(self, touched: int) -> float:
        """Bytes a second for a kernel that touches this many: those of the smallest cache that holds them."""
        level = next((size for size in self.caches if touched <= size), 0)
        with self._lock:
            if level not in self.bandwidths:
                # Half of a cache, since other things need room in it, too; for memory, far more than the last cache holds.
                footprint = level // 2 or min(_MOST, max(4 * self.caches[-1], 64 << 20))
                self.bandwidths[level] = _measure_bandwidth(footprint)
            return self.bandwidths[level]

    def seconds(self, dtype: DType, flops: int, touched: int) -> tuple[float, str]:
        """The least time a kernel could take, and what sets it: "compute" or "memory" ("" for a kernel that does nothing)."""
        arithmetic = flops / self.flops_of(dtype) if flops else 0.0
        traffic = touched / self.bandwidth_of(touched) if touched else 0.0
        if not arithmetic and not traffic:
            return 0.0, ""
        return (arithmetic, "compute") if arithmetic >= traffic else (traffic, "memory")

    def __str__(self) -> str:
        """What has been measured so far."""
        speeds = [f"{dtype.name} {speed / 1e9:.1f} GFLOP/s" for dtype, speed in self.flops.items()]
        for size, speed in sorted(self.bandwidths.items(), key=lambda item: item[0] or 1 << 62):
            where = f"within {_size(size)}" if size else "from memory"
            speeds.append(f"{speed / 1e9:.1f} GB/s {where}")
        return ", ".join(speeds)


@lru_cache(maxsize=1)
def peaks() -> Peaks:
    """The peaks of this machine."""
    return Peaks()


def _size(n: int) -> str:
    return f"{n >> 20} MiB" if n >= 1 << 20 else f"{n >> 10} KiB"


def _best(call: Callable[[], Any]) -> float:
    """Seconds of the quickest call: whatever else the machine does makes it slower, nothing makes it quicker."""
    best = float("inf")
    begin = start = time.perf_counter()
    done = 0
    while done < _REPEATS or start - begin < _SECONDS:
        call()
        end = time.perf_counter()
        best, start, done = min(best, end - start), end, done + 1
    return max(best, 1e-9)


def _function(engine: Engine, name: str, *types: Any) -> Any:
    return ctypes.CFUNCTYPE(None, *types)(engine.address(name))


def _measure_flops(dtype: DType) -> float:
    target = host_target()
    engine = compile_module([arithmetic_text(dtype, target)])
    arithmetic = _function(engine, "arithmetic", ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64)
    # a * 0.5 + 0.5 stays near 1: some machines are slower with infinities or denormals.
    factors = np.array([0.5, 0.5] if dtype.is_floating else [3, 1], dtype.numpy_dtype)
    out = np.empty(lanes_of(dtype, target), dtype.numpy_dtype)
    seconds = _best(lambda: arithmetic(factors.ctypes.data, out.ctypes.data, _ARITHMETIC_TURNS))
    # A multiply-add counts as two operations.
    speed = 2 * chains(target) * lanes_of(dtype, target) * _ARITHMETIC_TURNS / seconds
    engine.close()
    return speed


def _measure_bandwidth(footprint: int) -> float:
    target = host_target()
    engine = compile_module([traffic_text(target)])
    traffic = _function(engine, "traffic", *[ctypes.c_void_p] * 3, ctypes.c_int64, ctypes.c_int64)
    # Three arrays of float32: each element of the loop moves 12 bytes.
    unit = TRAFFIC_UNROLL * target.vector_bits // 32
    count = max(1, footprint // 12 // unit) * unit
    # All in one block, at distances that are no multiples of a page, where they would compete for the same cache sets.
    stride = count * 4 + 320
    stride += -stride % 64
    block = aligned_bytes(3 * stride)
    block[:] = 0  # touches all pages, so that no page fault is timed
    a, b, c = (block.ctypes.data + k * stride for k in range(3))
    turns = max(1, _TRAFFIC // (12 * count))
    seconds = _best(lambda: traffic(a, b, c, count, turns))
    engine.close()
    return 12 * count * turns / seconds
