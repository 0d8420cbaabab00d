"""LLVM text to executable machine code in this process, through the cache on disk."""

from __future__ import annotations

import re
import sys
import weakref
from collections.abc import Sequence
from typing import Any

from graphflow.framework.errors import CompileError
from graphflow_compiler.codegen.jit.compile_pool import Job, Refusal, begin, emit_all, expect, forget
from graphflow_compiler.codegen.jit.fork_safe_locks import lock_held_by_forks
from graphflow_compiler.codegen.jit.object_cache import key_of, object_cache
from graphflow_compiler.codegen.jit.object_code import make_machine
from graphflow_compiler.codegen.llvm.llvm_text import Target, host_target

_lock = lock_held_by_forks(llvm=True)  # LLVM's global state is not meant to be shared
_checks: Engine | None = None
_DECLARED = re.compile(r"^declare [^@]*@([\w.$]+)\(", re.MULTILINE)
_DEFINED = re.compile(r"^define (?!internal |private )[^@]*@([\w.$]+)\(", re.MULTILINE)


class RefusedError(CompileError):
    """LLVM refuses a module, which defines these functions. `crashed`: not with an error, but by ending the process."""

    def __init__(self, message: str, functions: tuple[str, ...] = (), crashed: bool = False) -> None:
        super().__init__(message)
        self.functions, self.crashed = functions, crashed


class Engine:
    """Machine code of one or more units. Keep it for as long as anything may call into it: it owns the memory.

    `found`: for each unit, whether its code came from the cache on disk.
    """

    def __init__(self, engine: Any, found: Sequence[bool] = ()) -> None:
        self._engine = engine
        self.found = tuple(found)
        # A garbage collection of a cycle would free engine and context in any order, and a context before its engine is a
        # crash. The finalizer keeps both out of the garbage, and closes the engine first.
        self._finalizer = weakref.finalize(self, engine.close)
        self._finalizer.atexit = False

    def address(self, name: str) -> int:
        """The address of a function. CompileError if there is none of that name."""
        with _lock:
            if self._engine is None:
                raise CompileError(f"{name} is in an engine that has been closed")
            found = int(self._engine.get_function_address(name))
        if not found:  # MCJIT says so in no other way
            raise CompileError(f"the compiled module has no function {name}")
        return found

    def close(self) -> None:
        """Frees the code. Nothing may call into it any more."""
        with _lock:
            self._engine = None
            self._finalizer()


def compile_module(texts: Sequence[str], target: Target | None = None) -> Engine:
    """Compiles LLVM IR texts as one module for this machine, or takes its code from the cache on disk.

    Raises:
        CompileError: the text is not valid IR, or it declares a function that this process does not have.
    """
    return compile_units(["\n".join(texts)], target)


class PendingUnits:
    """Units whose compilation has begun while the passes still write others; `compile_units` takes them over."""

    def __init__(self) -> None:
        self.jobs: dict[str, Job] = {}

    def add(self, text: str, more_follows: bool = False) -> None:
        """`more_follows`: as in `compile_units`."""
        target = host_target()
        cache = object_cache()
        if cache is None or not cache.has(key_of(text, target.cpu, target.features)):
            if more_follows and cache is not None:  # without a cache every process would start one, however little it compiles
                expect()
            job = begin(text, target.cpu, target.features)
            if job is not None:
                self.jobs[text] = job

    def forget(self) -> None:
        """Drops the units on which nobody has begun."""
        forget(self.jobs.values())


def compile_units(
    texts: Sequence[str], target: Target | None = None, pending: PendingUnits | None = None, more_follows: bool = False
) -> Engine:
    """As `compile_module` for several modules that may call each other's functions, each kept in the cache by itself.

    `more_follows`: if they are not there, neither will be what is compiled next.
    """
    import llvmlite.binding as llvm

    target = _known(target)
    with _lock:
        _check_symbols(llvm, external_symbols(texts))
        keys = [key_of(text, target.cpu, target.features) for text in texts]
        cache = object_cache()
        codes = {key: code for key in keys if cache is not None and (code := cache.get(key)) is not None}
        missing = {key: text for key, text in zip(keys, texts, strict=True) if key not in codes}
        found = [key in codes for key in keys]
        if missing:
            if more_follows and cache is not None:  # without a cache every process would start one, however little it compiles
                expect()
            codes |= zip(missing, _emit(list(missing.values()), target, pending), strict=True)
            if cache is not None:
                for key in missing:
                    cache.put(key, codes[key])
        try:
            return Engine(_loaded(llvm, [codes[key] for key in dict.fromkeys(keys)], target), found)
        except RuntimeError as e:
            raise CompileError(f"LLVM refuses the machine code: {e}") from None


def emit_object(texts: Sequence[str], target: Target | None = None) -> bytes:
    """The machine code of texts as one object file. Raises CompileError."""
    target = _known(target)
    with _lock:
        return _emit(["\n".join(texts)], target)[0]


def _known(target: Target | None) -> Target:
    """The target, or this machine. CompileError where LLVM would end the process."""
    if target is None:
        return host_target()
    from graphflow_compiler.codegen.llvm.known_machines import check_machine

    check_machine(target.cpu, target.features)
    return target


def add_symbol(name: str, address: int) -> None:
    """Makes a function known to all code that is linked from now on."""
    import llvmlite.binding as llvm

    llvm.add_symbol(name, address)


def external_symbols(texts: Sequence[str]) -> list[str]:
    """Functions that the texts expect from the process, in order of appearance."""
    found: dict[str, None] = {}
    for text in texts:  # `llvm.` begins the names of intrinsics, which LLVM itself provides
        found |= dict.fromkeys(name for name in _DECLARED.findall(text) if not name.startswith("llvm."))
    if len(texts) > 1:
        for text in texts:
            for name in _DEFINED.findall(text):
                found.pop(name, None)
    return list(found)


def _emit(texts: list[str], target: Target, pending: PendingUnits | None = None) -> list[bytes]:
    try:
        return emit_all(texts, target.cpu, target.features, {} if pending is None else pending.jobs)
    except Refusal as e:
        raise RefusedError(f"LLVM refuses the module: {e}", tuple(_DEFINED.findall(e.text)), e.crashed) from None


def _loaded(llvm: Any, codes: Sequence[bytes], target: Target) -> Any:
    # MCJIT starts from a module; ours is empty, since all code comes as object files.
    empty = llvm.parse_assembly("", llvm.create_context())
    machine = make_machine(target.cpu, target.features)
    empty.triple = machine.triple
    empty.data_layout = str(machine.target_data)
    engine = llvm.create_mcjit_compiler(empty, machine)
    for code in codes:
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
    engine.finalize_object()
    return engine


def _check_symbols(llvm: Any, names: Sequence[str]) -> None:
    """Makes the process's functions of these names known to LLVM. CompileError if one does not exist.

    MCJIT reports no unresolved symbol: it would only show as a crash at the first call.
    """
    for name in names:
        if llvm.address_of_symbol(name):
            continue
        if name.startswith("graphflow_checked"):
            _load_checks(llvm)
            continue
        address = _find(name)
        if address is None:
            raise CompileError(f"this machine's C library has no function {name}")
        llvm.add_symbol(name, address)


def _load_checks(llvm: Any) -> None:
    """Makes the functions that checked kernels call, which stay as long as the process."""
    from graphflow_compiler.codegen.llvm.checks_text import CHECKS, NAMES

    global _checks
    _checks = compile_module([CHECKS])
    for name in NAMES:
        llvm.add_symbol(name, _checks.address(name))


def _find(name: str) -> int | None:
    import ctypes.util  # it loads a dozen modules, and hardly a process comes here

    libraries = ("ucrtbase",) if sys.platform == "win32" else (None, ctypes.util.find_library("m"))
    for library in libraries:
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None
