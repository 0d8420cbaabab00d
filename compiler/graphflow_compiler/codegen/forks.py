"""Locks that a fork waits for, since the child would find them held for good by a thread that it does not have."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import AbstractContextManager, ExitStack
from typing import Any


def lock_held_by_forks(llvm: bool = False) -> AbstractContextManager[Any]:
    """A reentrant lock. What it guards is whole when a process forks: os.fork waits for whoever holds it, and holds it
    meanwhile. `llvm`: so it does with the lock that llvmlite takes around each call, after this one.

    Of two locks that are held together, the inner one must be made first: forks take them in reverse order.
    """
    lock = threading.RLock()
    held = ExitStack()

    def before() -> None:
        held.enter_context(lock)
        module = sys.modules.get("llvmlite.binding.ffi")
        inner: Any = getattr(getattr(module, "lib", None), "_lock", None) if llvm else None
        if hasattr(inner, "__enter__"):
            held.enter_context(inner)

    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before, after_in_parent=held.close, after_in_child=held.close)
    return lock
