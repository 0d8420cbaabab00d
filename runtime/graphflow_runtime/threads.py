"""The thread pool of this process, shared by all sessions, and how many threads a plan may have."""

from __future__ import annotations

import ctypes
import logging
import math
import os
import threading
from pathlib import Path

from graphflow_compiler.codegen.pool import control_bytes, is_supported, pool_code
from graphflow_runtime.memory import aligned_bytes

_log = logging.getLogger("graphflow")

_MOST = 256


def wanted_threads() -> int | None:
    """What GRAPHFLOW_THREADS says; None if it is not set.

    Raises:
        ValueError: it is not a whole number from 1.
    """
    wanted = os.environ.get("GRAPHFLOW_THREADS", "")
    if not wanted:
        return None
    if not wanted.isdecimal() or int(wanted) < 1:
        raise ValueError(f"GRAPHFLOW_THREADS is {wanted!r}: it must be a whole number from 1")
    return min(int(wanted), _MOST)


def available_threads() -> int:
    """How many threads a plan may use: GRAPHFLOW_THREADS, else OMP_NUM_THREADS, else what the machine gives this process
    (its affinity and the quota of its control group).

    Raises:
        ValueError: see `wanted_threads`.
    """
    wanted = wanted_threads()
    if wanted is not None:
        return wanted
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota()
    if quota is not None:
        cores = min(cores, quota)
    openmp = os.environ.get("OMP_NUM_THREADS", "").split(",")[0]  # a list is one number for each level of nesting
    if openmp.isdecimal() and int(openmp) >= 1:
        cores = min(cores, int(openmp))
    return max(1, min(cores, _MOST))


def _quota() -> int | None:
    """Whole cores that the control group may use; None if there is no limit."""
    try:
        limit, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()[:2]
        return None if limit == "max" else max(1, math.floor(int(limit) / int(period)))
    except (OSError, ValueError):
        pass
    try:
        folder = Path("/sys/fs/cgroup/cpu")
        limit_us = int((folder / "cpu.cfs_quota_us").read_text())
        period_us = int((folder / "cpu.cfs_period_us").read_text())
        return None if limit_us <= 0 else max(1, limit_us // period_us)
    except (OSError, ValueError):
        return None


class Pool:
    """`size` threads: the calling one and `size` - 1 workers, which are Python threads inside native code for good. Fewer
    where the system gives no more."""

    def __init__(self, size: int) -> None:
        code = pool_code()
        self.launch = code.address("graphflow_launch")
        memory = aligned_bytes(control_bytes(size))
        memory[:] = 0
        self.address = memory.ctypes.data
        self._kept = code, memory
        # The workers never leave their code and never stop looking at that memory: not even at exit may it be freed.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        self.size = 1
        work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address("graphflow_worker"))
        for thread in range(1, size):
            worker = threading.Thread(target=work, args=(self.address, thread), daemon=True, name=f"graphflow-{thread}")
            try:
                worker.start()
            except RuntimeError as e:
                _log.warning("plans use %d threads: %s", thread, e)
                break
            self.size += 1
        ctypes.c_int64.from_address(self.address + 160).value = self.size

    def take(self) -> None:
        """From now on no launch gets the threads."""
        ctypes.c_int32.from_address(self.address + 192).value = 1


_lock = threading.Lock()
_pool: Pool | None = None
_left_behind: list[Pool] = []  # by parent processes: bound plans have their addresses


def pool() -> Pool | None:
    """The pool of this process, made at the first call; None where one thread is all there is."""
    global _pool
    if _pool is None and is_supported():
        with _lock:
            size = available_threads()
            if _pool is None and size > 1:
                _pool = Pool(size)
    return _pool if has_pool() else None


def has_pool() -> bool:
    """Whether there are threads of ours in this process, without making them."""
    return _pool is not None and _pool.size > 1


def _after_fork() -> None:
    """The workers stayed in the parent. Plans that are bound to the old pool find it taken, and run on one thread."""
    global _pool, _lock
    if _pool is not None:
        _pool.take()
        _left_behind.append(_pool)
        _pool = None
    _lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
