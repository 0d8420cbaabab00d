"""LLVM text to machine code in this process."""

from __future__ import annotations

import ctypes
import ctypes.util
import re
import sys
import threading
from collections.abc import Sequence
from typing import Any

from graphflow.errors import CompileError
from graphflow_compiler.codegen.llvm_text import Target, host_target

_lock = threading.Lock()
_DECLARED = re.compile(r"^declare [^@]*@([\w.$]+)\(", re.MULTILINE)


class Engine:
    """Machine code of one module. Keep it for as long as anything may call into it."""

    def __init__(self, engine: Any, module: Any) -> None:
        self._engine = engine
        self._module = module

    def address(self, name: str) -> int:
        """The address of a function. CompileError if there is none of that name."""
        found = int(self._engine.get_function_address(name))
        if not found:
            raise CompileError(f"the compiled module has no function {name}")
        return found


def compile_module(texts: Sequence[str], target: Target | None = None) -> Engine:
    """Compiles LLVM IR texts as one module for this machine.

    The text is explicit about vectors and already simplified, so only SROA and simplifycfg run before code generation.

    Raises:
        CompileError: the text is not valid IR, or it declares a function that this process does not have.
    """
    import llvmlite.binding as llvm

    target = target or host_target()
    text = "\n".join(texts)
    with _lock:  # LLVM's global state is not meant to be shared
        _check_symbols(llvm, text)
        try:
            module = llvm.parse_assembly(_one_declaration_each(text))
            module.verify()
        except RuntimeError as e:
            raise CompileError(f"LLVM refuses the module: {e}") from None
        machine = llvm.Target.from_default_triple().create_target_machine(
            cpu=target.cpu, features=target.features, opt=2, codemodel="jitdefault", jit=True
        )
        module.triple = machine.triple
        module.data_layout = str(machine.target_data)
        passes = llvm.create_new_module_pass_manager()
        passes.add_sroa_pass()
        passes.add_simplify_cfg_pass()
        options = llvm.create_pipeline_tuning_options(speed_level=2)
        passes.run(module, llvm.create_pass_builder(machine, options))
        engine = llvm.create_mcjit_compiler(module, machine)
        engine.finalize_object()
        return Engine(engine, machine)


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


def _check_symbols(llvm: Any, text: str) -> None:
    """An unresolved symbol would only show as a crash at the first call."""
    for name in dict.fromkeys(_DECLARED.findall(text)):
        if name.startswith("llvm.") or llvm.address_of_symbol(name):
            continue
        address = _find(name)
        if address is None:
            raise CompileError(f"this machine's C library has no function {name}")
        llvm.add_symbol(name, address)


def _find(name: str) -> int | None:
    for library in (None, ctypes.util.find_library("m") if sys.platform != "win32" else None):
        try:
            function = getattr(ctypes.CDLL(library), name)
        except (OSError, AttributeError):
            continue
        return ctypes.cast(function, ctypes.c_void_p).value
    return None
