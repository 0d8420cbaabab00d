"""LLVM text to machine code in this process."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys
import threading
import weakref
from collections.abc import Sequence
from typing import Any

from graphflow.errors import CompileError
from graphflow_compiler.codegen.llvm_text import Target, host_target

_lock = threading.Lock()  # LLVM's global state is not meant to be shared
_DECLARED = re.compile(r"^declare [^@]*@([\w.$]+)\(", re.MULTILINE)


class Engine:
    """Machine code of one module. Keep it for as long as anything may call into it: it owns the memory."""

    def __init__(self, engine: Any) -> None:
        self._engine = engine
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
        if not found:
            raise CompileError(f"the compiled module has no function {name}")
        return found

    def close(self) -> None:
        """Frees the code. Nothing may call into it any more."""
        with _lock:
            self._engine = None
            self._finalizer()


def compile_module(texts: Sequence[str], target: Target | None = None) -> Engine:
    """Compiles LLVM IR texts as one module for this machine.

    Raises:
        CompileError: the text is not valid IR, or it declares a function that this process does not have.
    """
    import llvmlite.binding as llvm

    with _lock:
        _check_symbols(llvm, external_symbols(texts))
        module, machine = _optimised(llvm, texts, target or host_target())
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
    return Engine(engine)


def emit_object(texts: Sequence[str], target: Target | None = None) -> bytes:
    """The machine code as an object file, for `load_object` in this or another process on the same kind of CPU."""
    import llvmlite.binding as llvm

    with _lock:
        module, machine = _optimised(llvm, texts, target or host_target())
        return bytes(machine.emit_object(module))


def load_object(code: bytes, symbols: Sequence[str]) -> Engine:
    """An engine from what `emit_object` gave. `symbols`: the `external_symbols` of its texts."""
    import llvmlite.binding as llvm

    with _lock:
        _check_symbols(llvm, symbols)
        empty, machine = _optimised(llvm, [""], host_target())
        engine = llvm.create_mcjit_compiler(empty, machine)
        engine.add_object_file(llvm.ObjectFileRef.from_data(code))
        engine.finalize_object()
    return Engine(engine)


def external_symbols(texts: Sequence[str]) -> list[str]:
    """Functions that the texts expect from the process, in order of appearance."""
    found: dict[str, None] = {}
    for text in texts:
        found |= dict.fromkeys(name for name in _DECLARED.findall(text) if not name.startswith("llvm."))
    return list(found)


def _optimised(llvm: Any, texts: Sequence[str], target: Target) -> tuple[Any, Any]:
    """The module and the machine to compile it for.

    The text is explicit about vectors and already simplified, so only SROA and simplifycfg run: a full -O2 took over 200
    times as long and made code of the same speed.
    """
    try:
        # A context of its own: types and constants are freed with the module.
        module = llvm.parse_assembly(_one_declaration_each("\n".join(texts)), llvm.create_context())
        module.verify()
    except RuntimeError as e:
        raise CompileError(f"LLVM refuses the module: {e}") from None
    machine = llvm.Target.from_default_triple().create_target_machine(
        cpu=target.cpu, features=target.features, opt=2, codemodel="jitdefault", jit=True
    )
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    options = llvm.create_pipeline_tuning_options(speed_level=1)
    builder = llvm.create_pass_builder(machine, options)
    passes = llvm.create_new_module_pass_manager()
    if hasattr(passes, "add_sroa_pass"):
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
    else:  # before llvmlite 0.45 single passes cannot be had
        options.loop_vectorization = options.slp_vectorization = options.loop_unrolling = False
        passes = builder.getModulePassManager()
    passes.run(module, builder)
    return module, machine


def _one_declaration_each(text: str) -> str:
    """Kernels declare what they call; in one module each declaration may stand once."""
    seen: set[str] = set()
    lines = []
    for line in text.split("\n"):
        if line.startswith("declare "):
            if line in seen:
                continue
            seen.add(line)
        lines.append(line)
    return "\n".join(lines)


def _check_symbols(llvm: Any, names: Sequence[str]) -> None:
    """An unresolved symbol would only show as a crash at the first call."""
    for name in names:
        if llvm.address_of_symbol(name):
            continue
        address = _find(name)
        if address is None:
            raise CompileError(f"this machine's C library has no function {name}")
        llvm.add_symbol(name, address)


def _find(name: str) -> int | None:
    libraries = ("ucrtbase",) if sys.platform == "win32" else (None, ctypes.util.find_library("m"))
    for library in libraries:
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None
