"""The bridge from Python to a plan's entry: two JIT-built METH_FASTCALL builtins, and ctypes where they cannot be had.

``run(control, *feeds)`` runs a bound plan and returns the list of its results, or its status if that is not 0.
``call(*feeds)``, made for each way of calling a session, does the same for the plan it was last bound to, makes the fetched
list or tuple, and where anything is not as it was then (other shapes, another session state, values to convert) hands the
same arguments to a Python function.

Both look at each feed in native code: C-contiguous, element type, alignment, shape. Arrays are read off numpy's struct
(which `_struct_is_known` has checked; 10 ns), other exporters asked through the buffer protocol (40 ns), Python numbers
converted for 0-d feeds; `array.ctypes.data` would take 1.2 us. Blocks of int64s say what is expected:

* control: entry, table, dims, address of the store's version, version it was bound at, address of the busy flag (the two
  words after the flag are the methods that acquire and release the session's lock), address of the run counter, whether to
  release the GIL, number of feeds, of outputs, feed specs, output specs, objects, address of a budget and what a run takes
  from it (when it is used up, the Python function gets the call), the Python object that owns the block, address of the
  addresses of the random ops' counters, of which the last is 0 (0: there are none), structure.
* feed spec: slot in the table, format character, rank, dtype object, sizes.
* output spec: slot; 0, shape, dtype (a new array each run), or 1, cell, address of the cell's memory (0-d).
* structure: 0 (the one result itself), 1 (list) or 2 (tuple); length; each member's number, -1 for None.
* cells of a `call`: the control, whether there was a call since `CallSlot.take_used` last asked, structure.
"""

from __future__ import annotations

import ctypes
import logging
import os
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np

from graphflow.framework import environment
from graphflow.framework.errors import CompileError
from graphflow.framework.mapped_file import MappedArray
from graphflow_compiler.codegen.jit.engine import PendingUnits, add_symbol, compile_units, external_symbols
from graphflow_compiler.codegen.jit.fork_safe_locks import lock_held_by_forks
from graphflow_runtime.native_code.dispatch_run_text import NO_MEMORY as NO_MEMORY
from graphflow_runtime.native_code.dispatch_text import TEXT

#: The status of a run that did not begin, because a feed is not what the plan was bound for.
MISMATCH = -1
#: Words of the cells of a `call` before its structure.
CELLS_HEADER = 2
_log = logging.getLogger("graphflow")
_lock = lock_held_by_forks()
_METH_FASTCALL = 0x80  # as CPython's methodobject.h has it


class _PyMethodDef(ctypes.Structure):
    _fields_ = (
        ("name", ctypes.c_char_p),
        ("method", ctypes.c_void_p),
        ("flags", ctypes.c_int),
        ("doc", ctypes.c_char_p),
    )


class Builtins:
    """The compiled builtins of this process. `symbols`: the functions of Python that they call."""

    def __init__(self, symbols: Sequence[str]) -> None:
        for name in symbols:
            address = ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p).value
            assert address is not None
            add_symbol(name, address)
        self._engine = compile_units([TEXT], pending=_pending, more_follows=True)
        self._new = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.py_object, ctypes.c_void_p)(
            ("PyCFunction_NewEx", ctypes.pythonapi)
        )
        # CPython keeps a pointer to the definition in every function made of it: these two must never be freed.
        self._call = self._definition("graphflow_call", b"run($self, *feeds, /)\n--\n\nRuns the plan for these feeds.")
        self._run = self._definition("graphflow_run", b"run(control, *feeds)")
        #: ``run(control address, *feeds)``: the list of results, or the status.
        self.run: Callable[..., Any] = self._new(ctypes.addressof(self._run), (), None)
        # The LLVM text knows these by their place: types 0 to 2, the two bools, the function that makes results, the index that
        # reads a 0-d array, None, arrays of mapped files.
        self._things = (np.ndarray, float, int, True, False, np.empty, (), None, MappedArray)
        self._objects = np.array([id(thing) for thing in self._things], np.int64)
        #: The address of what the builtins compare with and call.
        self.objects = self._objects.ctypes.data

    def _definition(self, function: str, doc: bytes) -> _PyMethodDef:
        return _PyMethodDef(b"run", self._engine.address(function), _METH_FASTCALL, doc)

    def call(self, cells: int, slow: Callable[..., Any], failed: Callable[..., Any]) -> Callable[..., Any]:
        """A ``call`` over the cells at this address. What keeps `slow` alive must keep the cells alive, too."""
        made: Callable[..., Any] = self._new(ctypes.addressof(self._call), (cells, slow, failed), None)
        return made


_pending: PendingUnits | None = None


def begin() -> None:
    """Starts to compile the builtins, if need be, in a helper process, while this one goes on to write its first plan."""
    global _pending
    with _lock:
        if _pending is None and not _once.cache_info().currsize and _wanted() == "builtin":
            _pending = PendingUnits()
            _pending.add(TEXT, more_follows=True)


def _after_fork() -> None:
    """In a child process: forgets what helper processes compile for the parent."""
    global _pending
    _pending = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def builtins() -> Builtins | None:
    """The builtins, or None where they cannot be had; ``GRAPHFLOW_DISPATCH=ctypes`` says to do without."""
    # Two threads at once would make two sets, since `lru_cache` does not lock, and one would be freed while it is in use.
    with _lock:
        return _once()


def _wanted() -> str:
    return environment.choice("GRAPHFLOW_DISPATCH", ("builtin", "ctypes"))


def make_builtins() -> Builtins | None:
    # Without a GIL ("t") other Python code could run between the last check of a feed and the end of the plan.
    if _wanted() == "ctypes" or sys.implementation.name != "cpython" or "t" in sys.abiflags:
        return None
    names = external_symbols([TEXT])
    missing = [name for name in names if not hasattr(ctypes.pythonapi, name)]
    if missing:
        _log.info("plans are called through ctypes: this Python has no %s", ", ".join(missing))
        return None
    if not _struct_is_known():
        return None
    try:
        return Builtins(names)
    except CompileError as e:
        _log.warning("plans are called through ctypes: %s", e)
        return None


_once = lru_cache(maxsize=1)(make_builtins)


def _struct_is_known() -> bool:
    """Whether an array is laid out as compiled extensions of every numpy since 1.7 expect it."""
    if ctypes.sizeof(ctypes.c_void_p) != 8:
        return False
    # PyArrayObject_fields: type at 8, data at 16, rank at 24, sizes at 32, dtype at 56, flags at 64. Of the flags 1 says
    # C-contiguous and 0x100 aligned.
    for array in (np.zeros((3, 5), np.float32), np.zeros((2, 7, 4), np.int8)[:, 1:3], np.zeros((), np.float64)):
        start = id(array)
        found = (
            ctypes.c_void_p.from_address(start + 8).value,
            ctypes.c_void_p.from_address(start + 16).value,
            ctypes.c_int.from_address(start + 24).value,
            ctypes.c_void_p.from_address(start + 56).value,
            ctypes.c_int.from_address(start + 64).value & 0x101,
        )
        contiguous = 1 if array.flags.c_contiguous else 0
        if found != (id(np.ndarray), array.ctypes.data, array.ndim, id(array.dtype), 0x100 | contiguous):
            return False
        shape = ctypes.c_void_p.from_address(start + 32).value or 0
        if any(ctypes.c_int64.from_address(shape + 8 * i).value != n for i, n in enumerate(array.shape)):
            return False
    return True


_ENTRY = ctypes.CFUNCTYPE(ctypes.c_int32, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)


def call_entry(
    entry: int, table: np.ndarray[Any, Any], dims: np.ndarray[Any, Any], slots: Sequence[int], arrays: Sequence[Any]
) -> int:
    """One run without the builtins: puts addresses of `arrays` into `slots` of the table and calls the entry; its status."""
    for slot, array in zip(slots, arrays, strict=True):
        table[slot] = array.ctypes.data
    return int(_ENTRY(entry)(table.ctypes.data, dims.ctypes.data, 0, 1))
