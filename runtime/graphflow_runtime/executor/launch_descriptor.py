"""Launch descriptors: the blocks of numbers through which native code sees a bound plan and a way of calling it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from graphflow_runtime.native_code.dispatch import CELLS_HEADER, MISMATCH, Builtins, builtins, call_entry
from graphflow_runtime.store import VariableStore

Array = np.ndarray[Any, Any]
Typed = tuple[tuple[int, ...], np.dtype[Any]]
LIST, TUPLE, SINGLE = 1, 2, 0


#: Calls with more arrays than this go through ctypes: native code keeps its notes on each on the stack.
MAX_NATIVE = 400


def _fits(value: Any, feed: Typed) -> bool:
    """Whether native code may read the value where it is."""
    shape, dtype = feed
    if type(value) is not np.ndarray or value.shape != shape or value.dtype.char != dtype.char:
        return False
    # Arrays of either byte order have the same character.
    return bool(value.dtype.isnative and value.flags.c_contiguous and value.flags.aligned)


class LaunchDescriptor:
    """All that a native call of one bound plan needs, as a block of int64s (its layout is described in `dispatch`).

    Args:
        feeds, outputs: shape and dtype of each; `feed_slots`, `output_slots`: its slot in the table.
        budget: an array with one number, and what each run takes from it. Once it is not positive, runs go the slow way.
        random_ops: names of the random ops of which each run is one execution.
        guards: where the kernels of each step note an access outside their buffers, in plans with checks.
        keeps: objects that own the memory behind the addresses.
    """

    def __init__(
        self,
        entry: int,
        table: Array,
        dims: Array,
        store: VariableStore,
        feeds: Sequence[Typed],
        feed_slots: Sequence[int],
        outputs: Sequence[Typed],
        output_slots: Sequence[int],
        release_gil: bool,
        budget: tuple[Array, int],
        random_ops: Sequence[str],
        plan: Any = None,
        guards: Mapping[int, Array] | None = None,
        keeps: Any = None,
    ) -> None:
        self.guards = guards or {}
        self.plan, self.keeps, self.budget, self.random_ops = plan, keeps, budget, random_ops
        self.entry, self.table, self.dims, self.store = entry, table, dims, store
        self.feeds, self.outputs = tuple(feeds), tuple(outputs)
        self.feed_slots, self.output_slots = tuple(feed_slots), tuple(output_slots)
        # Native code has an 80-byte Py_buffer on the stack for each feed, and a thread may have a small stack.
        self.native = builtins() if len(self.feeds) + len(self.outputs) <= MAX_NATIVE else None
        if self.native is None:
            return
        self._kept: list[Any] = []  # blocks hold bare addresses and ids: whatever they point to must stay alive
        feed_block = self._block(n for i, f in enumerate(self.feeds) for n in self._feed(f, feed_slots[i]))
        output_block = self._block(n for i, o in enumerate(self.outputs) for n in self._output(o, output_slots[i]))
        # In the order that `dispatch` describes; -1 is no version, so nothing runs natively before `bound_at`.
        header = (entry, table.ctypes.data, dims.ctypes.data, store.version_address, -1, store.busy_address, store.runs_address)
        counts = (int(release_gil), len(self.feeds), len(self.outputs), feed_block, output_block, self.native.objects)
        left, cost = budget
        counters = self._block([*map(store.random.address, random_ops), 0]) if random_ops else 0
        tail = (left.ctypes.data, cost, id(self), counters, *structure(LIST, range(len(self.outputs))))
        self.block = np.array([*header, *counts, *tail], np.int64)
        self.address = self.block.ctypes.data

    def _block(self, numbers: Any) -> int:
        array = np.array(list(numbers), np.int64)
        self._kept.append(array)
        return int(array.ctypes.data)

    def _feed(self, feed: Typed, slot: int) -> tuple[int, ...]:
        shape, dtype = feed
        self._kept.append(dtype)
        return (slot, ord(dtype.char), len(shape), id(dtype), *shape)

    def _output(self, output: Typed, slot: int) -> tuple[int, ...]:
        shape, dtype = output
        self._kept += [shape, dtype]
        if shape:
            return slot, 0, id(shape), id(dtype)
        # A 0-d result is given to the user as a scalar: it is computed into a cell that stays, and read out of that.
        cell = np.empty((), dtype)
        self._kept.append(cell)
        return slot, 1, id(cell), cell.ctypes.data

    def bound_at(self, version: int) -> None:
        """Says that the table has the addresses of the variables as of this version of the store."""
        if self.native is not None:
            self.block[4] = version

    def run(self, values: Sequence[Any]) -> list[Any] | int:
        """Runs the plan: its results, 0-d ones as scalars, or its status if not 0. The caller holds the session's lock."""
        if self.native is not None:
            done: list[Any] | int = self.native.run(self.address, *values)
            return done
        if len(values) != len(self.feeds) or not all(map(_fits, values, self.feeds)):
            return MISMATCH
        results = [np.empty(shape, dtype) for shape, dtype in self.outputs]
        self.store.begin_run(self.random_ops)
        left, cost = self.budget
        left -= cost
        slots = (*self.feed_slots, *self.output_slots)
        status = call_entry(self.entry, self.table, self.dims, slots, [*values, *results])
        return status if status else [r if r.ndim else r[()] for r in results]


class CallSlot:
    """One way of calling a session, by a function that runs natively as long as nothing changes (`make_call`).

    Args:
        form, members: the structure of the results (see `structure`).
        slow: the Python function that gets the values otherwise; it may `bind` the slot to a descriptor.
        failed: raises for (status, descriptor, the values) of a run that failed, or for NO_MEMORY alone.
    """

    def __init__(self, form: int, members: Sequence[int], slow: Callable[..., Any], failed: Callable[..., Any]) -> None:
        self._block = np.array([0] * CELLS_HEADER + structure(form, members), np.int64)
        #: What the slot is bound to, kept alive for as long as native code has its address.
        self.control: LaunchDescriptor | None = None
        self._slow, self._failed = slow, failed
        self._native: Builtins | None = None  # whose code the call is

    def make_call(self) -> Callable[..., Any]:
        """The function to call; waits until the builtins are compiled."""
        self._native = builtins()
        if self._native is None:
            return self._slow
        return self._native.call(self._block.ctypes.data, self._slow, self._failed)

    def bind(self, control: LaunchDescriptor | None) -> None:
        if control is self.control:
            return
        if control is None or control.native is None:
            self._block[0], self.control = 0, None
        else:
            self._block[0], self.control = control.address, control

    def take_used(self) -> bool:
        """Whether there has been a call since this was last asked."""
        used = bool(self._block[1])
        self._block[1] = 0
        return used

    def mark_used(self) -> None:
        self._block[1] = 1


def structure(form: int, members: Sequence[int]) -> list[int]:
    """The structure that native code gives the results: `members` are their numbers, or -1 for None; SINGLE has just one."""
    return [form, len(members), *members]
