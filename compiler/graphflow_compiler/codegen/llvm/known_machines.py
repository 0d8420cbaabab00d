"""Whether LLVM knows a machine: asked of a process of its own, since LLVM ends the one that is mistaken about that."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from functools import lru_cache

from graphflow.framework.errors import CompileError
from graphflow_compiler.codegen.llvm.llvm_text import host_target

_NAME = re.compile(r"[\w.-]*")
_FEATURE = re.compile(r"[+-][\w.-]+")
_ASK = """
import json, sys
sys.path[:], triple, cpu, features = json.load(sys.stdin)
import llvmlite.binding as llvm
if triple:
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    target = llvm.Target.from_triple(triple)
else:
    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    target = llvm.Target.from_default_triple()
machine = target.create_target_machine(cpu=cpu, features=features)
machine.emit_assembly(llvm.parse_assembly("define void @f() { ret void }", llvm.create_context()))
"""
_PATIENCE = 60.0


def check_machine(cpu: str, features: str, triple: str = "") -> None:
    """Raises CompileError, with LLVM's words, unless code can be made for a processor of this name with these features.

    `triple`: of another kind of machine than this one.
    """
    host = host_target()
    if not triple and (cpu, features) == (host.cpu, host.features):
        return  # LLVM itself said so
    if cpu == "help" or not _NAME.fullmatch(cpu):  # LLVM would print a list for the one
        said = "that is no name"
    elif features and not all(map(_FEATURE.fullmatch, features.split(","))):
        said = "a feature is +name or -name"
    else:
        said = _complaint(cpu, features, triple)
    if said:
        raise CompileError(f"no code can be made for the processor {cpu!r} with the features {features!r}: {said}")


@lru_cache(maxsize=32)
def _complaint(cpu: str, features: str, triple: str) -> str:
    """What LLVM says against a machine; nothing if it knows that."""
    if not os.path.basename(sys.executable or "").startswith("python"):
        return "it cannot be asked for, as Python is part of another program here"
    given = json.dumps([[os.path.abspath(p) for p in sys.path], triple, cpu, features])
    command = [sys.executable, "-I", "-S", "-c", _ASK]
    try:
        done = subprocess.run(
            command, input=given, capture_output=True, text=True, errors="replace", timeout=_PATIENCE, start_new_session=True
        )
    except (OSError, subprocess.TimeoutExpired) as e:
        return str(e)
    lines = done.stderr.strip().splitlines()
    unknown = [line for line in lines if "is not a recognized" in line]
    if unknown or done.returncode:
        return (unknown or lines[-1:] or [f"the process that asked ended with {done.returncode}"])[0]
    return ""
