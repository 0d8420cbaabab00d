"""The variables of one session: one C-contiguous array each, updated in place by plans."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from graphflow.framework.graph import Graph
from graphflow.framework.kinds import Source
from graphflow.framework.shapes import static_shape
from graphflow_runtime.memory import aligned_empty
from graphflow_runtime.random_counters import RandomCounters

#: The value of `busy` once the session is closed: no native call will take the short way.
_CLOSED = 1 << 40


class VariableStore:
    """Arrays by the name of the variable's op. `version` grows whenever an array is replaced or gains its first value,
    so that bound plans know when to take addresses anew."""

    def __init__(self, lock: threading.RLock) -> None:
        self._arrays: dict[str, np.ndarray[Any, Any]] = {}
        self._initialized: set[str] = set()
        self.random = RandomCounters()
        # Words that native code reads and writes: number of runs, version, busy, and the methods that acquire and release the
        # lock.
        numbers = np.zeros(5, np.uint64)
        self.runs_address, self.version_address, self.busy_address = (numbers.ctypes.data + 8 * i for i in range(3))
        self._closed = False
        self._numbers = numbers.data  # a memoryview: read and written faster than the array
        self._locks: list[Any] = []
        self.guard(lock)

    @property
    def runs(self) -> int:
        """How many runs have begun."""
        found: int = self._numbers[0]
        return found

    def begin_run(self, random_ops: Iterable[str]) -> None:
        """Counts a run that begins, and with it an execution of each of these ops, whatever becomes of it."""
        self._numbers[0] += 1
        self.random.advance(random_ops)

    @property
    def version(self) -> int:
        found: int = self._numbers[1]
        return found

    @version.setter
    def version(self, value: int) -> None:
        self._numbers[1] = value

    @property
    def busy(self) -> int:
        """How many runs under way hold the session's lock. While there are any, no native run may do without it."""
        found: int = self._numbers[2]
        return found

    @busy.setter
    def busy(self, value: int) -> None:
        self._numbers[2] = value

    def others(self, within: bool) -> int:
        """The value that `busy` gets back when the run that the caller is about to begin has ended.

        Args:
            within: whether the calling thread had the session's lock already, so that this run is inside another (a signal
                handler's, say). If it had not, no run is under way, whatever `busy` says: a handler may have raised between
                the end of a run and the store to `busy` that says so.
        """
        return self.busy if within else 0

    def end(self, others: int) -> None:
        """Ends a run that was counted in `busy`."""
        self.busy = _CLOSED if self._closed else others

    def close(self) -> None:
        """Marks the store busy for ever, so that native calls that still have its address go to Python and its lock."""
        self._closed = True
        self.busy = _CLOSED

    def guard(self, lock: threading.RLock) -> None:
        """Sets the lock, the session's, that native code takes while it lets other threads of Python run."""
        # The methods of old locks are kept, because a native call may be about to release one.
        self._locks.append((lock.acquire, lock.release))
        self._numbers[3], self._numbers[4] = map(id, self._locks[-1])

    def after_fork(self, lock: threading.RLock) -> None:
        """In a child process: forgets the runs of other threads, which stayed in the parent, as did the pool's threads."""
        self.busy = 0
        self.guard(lock)
        self.version += 1  # so that native calls come to Python once and are bound to threads of this process

    def is_initialized(self, name: str) -> bool:
        return name in self._initialized

    def array(self, name: str) -> np.ndarray[Any, Any] | None:
        """The storage of a variable, whether it has a value yet or not; None if there is none."""
        return self._arrays.get(name)

    def allocate(self, name: str, shape: tuple[int, ...], dtype: np.dtype[Any]) -> np.ndarray[Any, Any]:
        """Storage for a variable that is about to get its first value."""
        array = aligned_empty(shape, dtype)
        self._arrays[name] = array
        self.version += 1
        return array

    def set(self, name: str, value: np.ndarray[Any, Any]) -> None:
        """Gives a variable a value: in place where shape and dtype allow."""
        # In place, the addresses that bound plans have stay right, so `version` need not move.
        old = self._arrays.get(name)
        if old is not None and old.shape == value.shape and old.dtype == value.dtype:
            old[...] = value
            if name not in self._initialized:
                self._initialized.add(name)
                self.version += 1
            return
        array = self._arrays[name] = aligned_empty(value.shape, value.dtype)
        array[...] = value
        self._initialized.add(name)
        self.version += 1

    def mark_initialized(self, names: Iterable[str]) -> None:
        for name in names:
            if name not in self._initialized:
                self._initialized.add(name)
                self.version += 1

    def open_shapes(self, graph: Graph) -> Mapping[str, tuple[int, ...]]:
        """The present shapes of variables whose static shape is open or another one: plans are made for these."""
        found: dict[str, tuple[int, ...]] = {}
        for name, array in self._arrays.items():
            op = graph._by_name.get(name)
            if op is None or not isinstance(op.op_def.kind, Source):
                continue
            shape = op.outputs[0].type.shape
            if shape is None or static_shape(shape) != array.shape:
                found[name] = array.shape
        return found
