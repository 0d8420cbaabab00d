"""Locks that os.fork waits for: otherwise a child could find one held for good by a thread that it does not have."""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import methodcaller
from typing import Any

_acquire: Callable[[Any], Any] = methodcaller("acquire")


def lock_held_by_forks(llvm: bool = False) -> AbstractContextManager[Any]:
    """A reentrant lock that os.fork waits for and holds meanwhile, so what it guards is consistent in the child.

    Args:
        llvm: whether forks also take, after this lock, the one that llvmlite takes around each call.

    Of two locks that are held together, the inner one must be made first: forks take locks in reverse order of making.
    """
    lock = threading.RLock()
    held: list[Any] = []  # by the thread that forks
    interrupted: list[bool] = []

    def before() -> None:
        taken: list[bool] = []
        error: BaseException | None = None
        while True:
            # Python ignores exceptions in fork handlers: one from here would be lost, and the fork go on without the locks.
            try:
                # map and extend acquire and note the lock in C: an interrupt can only come between two bytecodes.
                if not taken:
                    taken.extend(map(_acquire, (lock,)))
                inner = _llvm_lock() if llvm else None
                if inner is not None and len(taken) < 2:
                    taken.extend(map(_acquire, (inner,)))
                held[:] = [lock] if inner is None else [lock, inner]
                break
            except KeyboardInterrupt:
                interrupted.append(True)
            except BaseException as e:  # of another signal's handler
                error = e
        if error is not None:
            raise error

    def after() -> None:
        mine = held[::-1]
        held.clear()  # the next thread that forks may have the lock as soon as it is released
        for one in mine:
            one.release()

    def after_in_parent() -> None:
        again = bool(interrupted)
        interrupted.clear()
        after()
        # An interrupt raised here would be lost, so a thread sends it later: a raw one, as threading.Thread.start waits.
        if again:
            _thread.start_new_thread(_interrupt_after_fork, (threading.get_ident(),))

    def after_in_child() -> None:
        interrupted.clear()
        after()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)
    return lock


def _interrupt_after_fork(thread: int) -> None:
    """Interrupts the process as soon as `thread` has left the fork handlers of this file, where exceptions are lost."""
    while True:
        time.sleep(0.01)
        frame = sys._current_frames().get(thread)
        while frame is not None and frame.f_code.co_filename != _interrupt_after_fork.__code__.co_filename:
            frame = frame.f_back
        if frame is None:
            os.kill(os.getpid(), signal.SIGINT)
            return


def _llvm_lock() -> Any:
    """The lock inside llvmlite's wrapper of its lock; None if llvmlite has not been loaded, or has no such lock."""
    module = sys.modules.get("llvmlite.binding.ffi")
    found: Any = getattr(getattr(getattr(module, "lib", None), "_lock", None), "_lock", None)
    return found if hasattr(found, "acquire") and hasattr(found, "release") else None
