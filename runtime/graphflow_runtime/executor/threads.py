"""The thread pool of this process, shared by all sessions, and how many threads a plan may have."""

from __future__ import annotations

import ctypes
import logging
import os
import time
import weakref
from _thread import start_new_thread as _start_new_thread

from graphflow.framework import environment
from graphflow_compiler.processors import available_processors
from graphflow_runtime.memory import aligned_bytes
from graphflow_runtime.native_code.pool import control_bytes, is_supported, pool_code

_log = logging.getLogger("graphflow")

#: Most threads of a pool, whatever is asked for.
_MOST = 256


def wanted_threads() -> int:
    """What GRAPHFLOW_THREADS says; 0 if it says nothing."""
    return min(environment.whole_number("GRAPHFLOW_THREADS", 1, 0), _MOST)


def available_threads() -> int:
    """How many threads a plan may use: GRAPHFLOW_THREADS, else OMP_NUM_THREADS, else what the machine gives this process
    (its affinity and the quotas of its control groups)."""
    wanted = wanted_threads()
    if wanted:
        return wanted
    # A list is one number for each level of nesting. Of what is wrong with it, OpenMP itself speaks.
    openmp = environment.as_number(environment.text("OMP_NUM_THREADS").split(",")[0])
    return min(available_processors(), openmp or _MOST, _MOST)


class Pool:
    """A pool of the calling thread and `most` - 1 workers, which `start` starts and which never leave native code."""

    def __init__(self, most: int) -> None:
        code = pool_code()
        self.launch = code.address("graphflow_launch")
        memory = aligned_bytes(control_bytes(most))
        memory[:] = 0
        self.address = memory.ctypes.data
        self._kept = code, memory
        # Workers run this code and read this memory for ever: a reference nobody gives back keeps both, even at exit.
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(self))
        self._work = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64)(code.address("graphflow_worker"))
        self._most = most
        self._started: list[int] = []
        self._arrived: list[int] = []
        #: How many threads there are: fewer than `most` where the system gives no more.
        self.size = 1
        #: Whether this process is a fork of the one that has the workers.
        self.is_left = False

    def start(self) -> Pool:
        """Starts the workers. After an exception (of a signal handler, such as an interrupt) it may be called again."""
        while len(self._started) < self._most - 1 and not self.is_left:
            thread = len(self._started) + 1
            try:
                # map and extend start and note a thread in C, so no signal handler can come in between; threading.Thread is
                # Python code, where it could.
                self._started.extend(map(_start_new_thread, (self._serve,), ((thread,),)))
            except RuntimeError as e:
                _log.warning("plans use %d threads: %s", thread, e)
                break
        # A worker needs the GIL to get into native code. A short run keeps the GIL while it waits for workers, so all of them
        # must have arrived before the first run.
        while len(self._arrived) < len(self._started) and not self.is_left:
            time.sleep(0.0001)
        self.size = len(self._started) + 1
        # Offsets are those of the control block that `native_code.pool` describes: here the size of the pool.
        ctypes.c_int64.from_address(self.address + 160).value = self.size
        return self

    def _serve(self, thread: int) -> None:
        self._arrived.append(thread)
        self._work(self.address, thread)

    def leave(self) -> None:
        """In a child process: marks the pool as taken for ever, since its threads are not there."""
        self.is_left = True
        # The word that says that a job is running: every launch finds the pool taken.
        ctypes.c_int32.from_address(self.address + 192).value = 1


_pool: Pool | None = None
_unfinished: Pool | None = None  # a pool whose start was interrupted: some of its workers may run already
_making: dict[str, weakref.ref[_Making]] = {}  # the call of `pool` that is making the pool, if any
_left_behind: list[Pool] = []  # pools of parent processes, kept because bound plans have their addresses


class _Making:
    """A token that dies with the call of `pool` that holds it, even if a signal handler raises before that call cleans up."""

    __slots__ = ("__weakref__",)


def pool() -> Pool | None:
    """The pool of this process, made at the first call; None where one thread is all there is, and while it is being made.

    Nobody waits until it is made, because that could deadlock: a signal handler or a finalizer may call this in the very
    thread that is making the pool, or may wait for another thread that would wait here.
    """
    global _pool, _unfinished
    making = _Making()
    me = weakref.ref(making)
    try:
        if not is_being_made():
            _making.pop("pool", None)
        # `setdefault` is atomic and decides who makes the pool; another call may have finished just before it.
        if _pool is None and is_supported() and _making.setdefault("pool", me) is me and _pool is None:
            size = available_threads()
            if size > 1:
                made = _unfinished = _unfinished or Pool(size)
                made.start()
                if not made.is_left:
                    _pool, _unfinished = made, None
    finally:
        if _making.get("pool") is me:
            del _making["pool"]
    return _pool if has_pool() else None


def has_pool() -> bool:
    """Whether this process has threads of ours; does not make them."""
    return _pool is not None and _pool.size > 1


def is_being_made() -> bool:
    """Whether some call is making the pool now."""
    making = _making.get("pool")
    return making is not None and making() is not None


def _after_fork() -> None:
    """In a child process: gives up the pool, whose workers stayed in the parent.

    Plans that are bound to the old pool find it taken and run on one thread until they are bound again.
    """
    global _pool, _unfinished
    for old in (_pool, _unfinished):
        if old is not None:
            old.leave()
            _left_behind.append(old)
    _pool = _unfinished = None
    _making.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
