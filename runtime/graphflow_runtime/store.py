"""The variables of one session: one C-contiguous array each, updated in place by plans."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from operator import setitem
from typing import Any, TypeAlias

import numpy as np

from graphflow.framework.graph import Graph
from graphflow.framework.kinds import Source
from graphflow.framework.shapes import static_shape
from graphflow_runtime.memory import aligned_empty
from graphflow_runtime.random_counters import RandomCounters

#: Something to be done, without bytecode of its own.
Step: TypeAlias = "partial[None]"
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

    def set(self, values: Mapping[str, np.ndarray[Any, Any]]) -> None:
        """Gives variables values, in place where shape and dtype allow: all of them, or none if an exception comes.

        The caller sees to it that no other thread is in a run.
        """
        in_place: list[Step] = []
        moved: dict[str, np.ndarray[Any, Any]] = {}
        for name, value in values.items():
            old = self._arrays.get(name)
            if old is not None and old.shape == value.shape and old.dtype == value.dtype:
                in_place.append(partial(setitem, old, ..., value))
            else:
                moved[name] = aligned_empty(value.shape, value.dtype)
                moved[name][...] = value
        self._commit(moved, values, in_place)

    def mark_initialized(self, names: Iterable[str]) -> None:
        """All of them, or none if an exception comes."""
        self._commit({}, names)

    def _commit(self, moved: dict[str, np.ndarray[Any, Any]], names: Iterable[str], in_place: Sequence[Step] = ()) -> None:
        """Takes over arrays in new places, and values in old ones; `names` have values from now on."""
        steps = list(in_place)
        first = [name for name in names if name not in self._initialized]
        if first or moved:
            steps += [
                partial(setitem, self._numbers, 1, self.version + 1),  # plans take addresses anew
                partial(self._arrays.update, moved),
                partial(self._initialized.update, first),
            ]
        # An interrupt comes between two bytecodes, and there are none here: one function of C calls the others.
        old = [self._arrays.get(name) for name in moved]  # not freed before all is done
        deque(map(partial.__call__, steps), maxlen=0)
        del old

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
