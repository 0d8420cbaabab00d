"""Locks that a fork waits for, since the child would find them held for good by a thread that it does not have."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from operator import methodcaller
from typing import Any

_acquire: Callable[[Any], Any] = methodcaller("acquire")


def lock_held_by_forks(llvm: bool = False) -> AbstractContextManager[Any]:
    """A reentrant lock. What it guards is whole when a process forks: os.fork waits for whoever holds it, and holds it
    meanwhile. `llvm`: so it does with the lock that llvmlite takes around each call, after this one.

    Of two locks that are held together, the inner one must be made first: forks take them in reverse order.
    """
    lock = threading.RLock()
    release: list[Callable[[], Any]] = []
    interrupted: list[bool] = []

    def before() -> None:
        taken: list[Any] = []
        while not taken:
            try:
                # Acquired and noted with no bytecode in between, where an interrupt could come.
                taken.extend(map(_acquire, (lock,)))
            except KeyboardInterrupt:  # from a hook it would be lost, and the process would fork without the lock
                interrupted.append(True)
        release.append(lock.release)
        module = sys.modules.get("llvmlite.binding.ffi")
        inner: Any = getattr(getattr(module, "lib", None), "_lock", None) if llvm else None
        while hasattr(inner, "__enter__"):
            try:
                inner.__enter__()
            except KeyboardInterrupt:
                interrupted.append(True)
            else:
                release.append(lambda: inner.__exit__(None, None, None))
                break

    def after() -> None:
        while release:
            release.pop()()

    def after_in_parent() -> None:
        after()
        if interrupted:
            interrupted.clear()
            threading.Timer(0.01, os.kill, (os.getpid(), signal.SIGINT)).start()  # not from here, where it would be lost

    def after_in_child() -> None:
        interrupted.clear()
        after()

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=after_in_parent, after_in_child=after_in_child)
    return lock
