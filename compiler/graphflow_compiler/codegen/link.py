"""Plans to machine code, with kernels shared by all plans of the process: what has been compiled once is only linked."""

from __future__ import annotations

import re
import threading
import weakref
from collections.abc import Mapping
from dataclasses import dataclass

from graphflow.errors import CompileError
from graphflow_compiler.codegen.jit import Engine, compile_module

_lock = threading.RLock()
#: Function name (which is the hash of its code) -> the engine that holds it, for as long as some plan keeps that alive.
_holders: weakref.WeakValueDictionary[str, Engine] = weakref.WeakValueDictionary()
_DEFINE = re.compile(r"^define i32 @([\w.]+)\(([^)]*)\)", re.MULTILINE)


@dataclass(frozen=True)
class LinkedPlan:
    """Machine code of a plan. `engines` must live as long as `entry` may be called."""

    entry: int
    engines: tuple[Engine, ...]
    compiled: int  # how many kernels had to be compiled


def link(kernels: Mapping[str, str], entry_text: str) -> LinkedPlan:
    """Compiles the kernels that no living plan has, and the entry that calls them all. Raises CompileError."""
    import llvmlite.binding as llvm

    with _lock:
        engines: dict[int, Engine] = {}
        texts: list[str] = []
        fresh: list[str] = []
        for name, text in kernels.items():
            holder = _holders.get(name)
            if holder is None:
                texts.append(text)
                fresh.append(name)
                continue
            engines[id(holder)] = holder
            texts.append(_declaration(text))
            llvm.add_symbol(name, holder.address(name))
        made = compile_module([*texts, entry_text])
        for name in fresh:
            _holders[name] = made
        engines[id(made)] = made
        return LinkedPlan(made.address("graphflow_entry"), tuple(engines.values()), len(fresh))


def _declaration(text: str) -> str:
    found = _DEFINE.search(text)
    if found is None:
        raise CompileError("a kernel's text defines no function")
    types = ", ".join(p.split()[0] for p in found[2].split(",") if p.strip())
    return f"declare i32 @{found[1]}({types})\n"
