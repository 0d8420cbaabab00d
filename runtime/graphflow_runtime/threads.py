"""The thread pool of this process, shared by all sessions, and how many threads a plan may have."""

from __future__ import annotations

import ctypes
import logging
import os
import threading

from graphflow_compiler.codegen.pool import control_bytes, is_supported, pool_code
from graphflow_compiler.processors import available_processors
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
    count = _count(wanted)
    if count is None:
        raise ValueError(f"GRAPHFLOW_THREADS is {wanted!r}: it must be a whole number from 1")
    return count


def available_threads() -> int:
    """How many threads a plan may use: GRAPHFLOW_THREADS, else OMP_NUM_THREADS, else what the machine gives this process
    (its affinity and the quotas of its control groups).

    Raises:
        ValueError: see `wanted_threads`.
    """
    wanted = wanted_threads()
    if wanted is not None:
        return wanted
    openmp = _count(os.environ.get("OMP_NUM_THREADS", "").split(",")[0])  # a list is one number for each level of nesting
    return min(available_processors(), openmp or _MOST, _MOST)


def _count(text: str) -> int | None:
    """A number of threads, as OpenMP reads it: white space and a plus sign mean nothing. None if it is none."""
    digits = text.strip().removeprefix("+")
    return min(int(digits), _MOST) if digits.isdecimal() and int(digits) >= 1 else None


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
