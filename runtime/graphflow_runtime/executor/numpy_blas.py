"""Limits numpy's BLAS to one thread while we call it beside our own threads.

A BLAS with threads of its own leaves them spinning after a call (OpenBLAS for about a tenth of a second). Two pools that
spin on the same cores take them from each other, so where this process has a pool of ours, products on the reference
back end run on one thread. What the user has set is put back after each of our calls.

OpenBLAS has one number of threads for the whole process. So the user's own products on other threads also take one thread
while one of ours runs, and a user who sets the number to 1 meanwhile loses that, because it cannot be told from our 1; any
other number stays. There is nothing better: `openblas_set_num_threads_local` sets the number of the whole process, too, in
numpy's wheels (which use OpenBLAS's own threads, not OpenMP's; looked at in 0.3.29 and 0.3.31).
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from graphflow.framework.records import record

#: How many exceptions of signal handlers the end of a call survives. The range is made here, since a handler could interrupt
#: the call that makes it.
_TRIES = range(100)


@record(frozen=True, slots=True)
class BlasThreads:
    """The two functions of a BLAS that read and set its number of threads."""

    get: Callable[[], int]
    set: Callable[[int], None]


def _find() -> BlasThreads | None:
    """The functions of the BLAS that numpy is linked with: OpenBLAS, under any of the names it is built with, or BLIS.

    None for any other (Accelerate has no such functions).
    """
    module = sys.modules.get("numpy._core._multiarray_umath") or sys.modules.get("numpy.core._multiarray_umath")
    path = getattr(module, "__file__", None)
    if path is None:
        return None
    try:
        library = ctypes.CDLL(path)  # is loaded already; its symbols include those of the libraries it needs
    except OSError:
        return None
    names = [
        (f"{prefix}openblas_get_num_threads{suffix}", f"{prefix}openblas_set_num_threads{suffix}")
        for prefix in ("scipy_", "")
        for suffix in ("64_", "", "_64")
    ]
    for get, put in (*names, ("bli_thread_get_num_threads", "bli_thread_set_num_threads")):
        if hasattr(library, get) and hasattr(library, put):
            getter, setter = getattr(library, get), getattr(library, put)
            getter.restype, getter.argtypes = ctypes.c_int, []
            setter.restype, setter.argtypes = None, [ctypes.c_int]
            return BlasThreads(getter, setter)
    return None


class _Limit:
    """Counts the calls that run side by side: the first one sets the process's number of threads, the last puts it back.

    A signal handler or a finalizer may run between any two steps, in the thread that holds the lock: it may raise, and it
    may itself make such a call. So each step leaves a state that the next call understands, and may be done twice.
    """

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self.blas: BlasThreads | None = None
        self.looked = False
        self.calls: set[object] = set()
        self.before = 0  # the number to put back; 0: none

    def enter(self, call: object) -> None:
        with self.lock:
            self.calls.add(call)
            if not self.looked:
                self.blas, self.looked = _find(), True
            if self.blas is not None and not self.before:
                threads = self.blas.get()
                if threads > 1:
                    self.before = threads
                    self.blas.set(1)

    def leave(self, call: object) -> None:
        with self.lock:
            self.calls.discard(call)  # in a forked child it may be gone already
            if not self.calls:
                self.restore()

    def restore(self) -> None:
        """Puts the user's number back, unless somebody has set another than our 1 meanwhile: that one is newer."""
        threads = self.before
        if self.blas is not None and threads and self.blas.get() == 1:
            self.blas.set(threads)
        self.before = 0

    def after_fork(self) -> None:
        """In a child process: forgets the calls of other threads, which stayed in the parent."""
        self.lock = threading.RLock()
        self.calls.clear()
        self.restore()


_limit = _Limit()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_limit.after_fork)


@contextmanager
def one_blas_thread() -> Iterator[None]:
    """Inside the ``with`` block numpy's products take one thread."""
    call = object()
    try:
        _limit.enter(call)
        yield
    finally:
        interrupted: BaseException | None = None
        for _ in _TRIES:
            try:
                _limit.leave(call)
                break
            except BaseException as e:  # of a signal's handler
                interrupted = e
        if interrupted is not None:
            raise interrupted
