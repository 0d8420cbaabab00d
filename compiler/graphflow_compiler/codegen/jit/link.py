"""Plans to machine code. Kernels are shared by all plans of the process: one that is compiled already is only linked."""

from __future__ import annotations

import re
import weakref
from collections.abc import Mapping

from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow_compiler.codegen.jit.engine import Engine, PendingUnits, RefusedError, compile_module, compile_units
from graphflow_compiler.codegen.jit.fork_safe_locks import lock_held_by_forks

_lock = lock_held_by_forks()
#: Function name (which is the hash of its code) -> the engine that holds it, for as long as some plan keeps that alive.
_holders: weakref.WeakValueDictionary[str, Engine] = weakref.WeakValueDictionary()
#: Text from which a kernel (a matmul, mostly) is a unit of its own: another graph with the same kernel finds it on disk.
_LARGE = 20_000
#: Text of small kernels from which a unit of them is full: LLVM takes 3 ms for a unit, however small.
_TOGETHER = 50_000
_DEFINE = re.compile(r"^define i32 @([\w.]+)\(([^)]*)\)", re.MULTILINE)


@record(frozen=True)
class LinkedPlan:
    """Machine code of a plan. `engines` must live as long as `entry` may be called."""

    entry: int
    engines: tuple[Engine, ...]
    compiled: int  # how many kernels were new to this process
    found: int  # how many of them the cache on disk had


class CompileAhead:
    """Collects the kernels of a plan as they are written, and has full units compiled while the passes go on."""

    def __init__(self) -> None:
        self.pending = PendingUnits()
        self._small: list[str] = []

    def __enter__(self) -> CompileAhead:
        return self

    def __exit__(self, *exception: object) -> None:
        self.pending.forget()

    def add(self, name: str, text: str) -> None:
        """The next kernel that is new to the plan."""
        if name in _holders:
            return
        if len(text) >= _LARGE:
            self.pending.add(text)
            return
        if sum(map(len, self._small)) >= _TOGETHER:  # as in `_units`: a unit is full when the next one opens
            self.pending.add("\n".join(self._small))
            self._small = []
        self._small.append(text)


def link(kernels: Mapping[str, str], entry_text: str, ahead: CompileAhead | None = None) -> LinkedPlan:
    """Compiles the kernels that no living plan has, and the entry that calls them all.

    Raises:
        RefusedError: LLVM refuses some of them; its `functions` are their names, as far as can be said.
    """
    import llvmlite.binding as llvm

    with _lock:
        engines: dict[int, Engine] = {}
        fresh: list[str] = []
        for name in kernels:
            holder = _holders.get(name)
            if holder is None:
                fresh.append(name)
                continue
            engines[id(holder)] = holder
            llvm.add_symbol(name, holder.address(name))
        units = _units({name: kernels[name] for name in fresh})
        # The entry joins the last unit, if that is small, which saves a unit; it declares the kernels that are elsewhere.
        last = units.pop() if units and sum(len(kernels[name]) for name in units[-1]) < _LARGE else []
        elsewhere = [_declaration(text) for name, text in kernels.items() if name not in last]
        texts = ["\n".join(kernels[name] for name in unit) for unit in units]
        texts.append("\n".join([*elsewhere, *(kernels[name] for name in last), entry_text]))
        try:
            made = compile_units(texts, pending=None if ahead is None else ahead.pending)
        except CompileError as e:
            raise _refused(e, {name: kernels[name] for name in fresh}) from None
        for name in fresh:
            _holders[name] = made
        engines[id(made)] = made
        found = sum(len(unit) for unit, was_found in zip([*units, last], made.found, strict=True) if was_found)
        return LinkedPlan(made.address("graphflow_entry"), tuple(engines.values()), len(fresh), found)


def _refused(e: CompileError, kernels: Mapping[str, str]) -> RefusedError:
    """The error with the names of the kernels to blame."""
    functions = e.functions if isinstance(e, RefusedError) else ()
    suspects = [name for name in kernels if name in functions] or list(kernels)
    if isinstance(e, RefusedError) and e.crashed:  # another try would end this process
        return RefusedError(str(e), tuple(suspects), crashed=True)
    return RefusedError(str(e), tuple([name for name in suspects if not _compiles(kernels[name])]))


def _compiles(text: str) -> bool:
    try:
        compile_module([text])
    except CompileError:
        return False
    return True


def _units(kernels: Mapping[str, str]) -> list[list[str]]:
    """The kernels' names by unit: each large one alone, the small ones together."""
    large = [[name] for name, text in kernels.items() if len(text) >= _LARGE]
    small: list[list[str]] = []
    size = _TOGETHER
    for name, text in kernels.items():
        if len(text) >= _LARGE:
            continue
        if size >= _TOGETHER:
            small.append([])
            size = 0
        small[-1].append(name)
        size += len(text)
    return large + small


def _declaration(text: str) -> str:
    found = _DEFINE.search(text)
    if found is None:
        raise CompileError("a kernel's text defines no function")
    types = ", ".join(p.split()[0] for p in found[2].split(",") if p.strip())
    return f"declare i32 @{found[1]}({types})\n"
