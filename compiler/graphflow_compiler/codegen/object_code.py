"""LLVM text to an object file, and the program of a worker process that does it.

This module imports nothing of ours, and llvmlite only when used, so that a worker is ready in the time llvmlite takes.
"""

from __future__ import annotations

import json
import struct
import sys
from functools import lru_cache
from typing import Any

#: Raised whenever the passes or options below change, since object files made before are then stale.
PIPELINE = 1


@lru_cache(maxsize=4)
def _machine(cpu: str, features: str) -> Any:
    return make_machine(cpu, features)


def make_machine(cpu: str, features: str) -> Any:
    """A new target machine; an engine takes over the one it is given."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    return llvm.Target.from_default_triple().create_target_machine(
        cpu=cpu, features=features, opt=2, codemodel="jitdefault", jit=True
    )


def object_code(text: str, cpu: str, features: str) -> bytes:
    """The object file of LLVM text. Raises RuntimeError with LLVM's words where the text is not valid.

    The text is explicit about vectors and already simplified, so only SROA and simplifycfg run: a full -O2 took over 200
    times as long and made code of the same speed.
    """
    import llvmlite.binding as llvm

    machine = _machine(cpu, features)
    # A context of its own: types and constants are freed with the module.
    module = llvm.parse_assembly(_one_declaration_each(text), llvm.create_context())
    module.verify()
    module.triple = machine.triple
    module.data_layout = str(machine.target_data)
    simplify(module, machine)
    return bytes(machine.emit_object(module))


def simplify(module: Any, machine: Any) -> None:
    """The two passes that our text needs before LLVM selects instructions."""
    import llvmlite.binding as llvm

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


def serve(job: dict[str, Any]) -> None:
    """What a worker does: object files of ``job["texts"]`` to standard output, each after its length."""
    found = [object_code(text, job["cpu"], job["features"]) for text in job["texts"]]
    for code in found:
        sys.stdout.buffer.write(struct.pack("<q", len(code)) + code)
    sys.stdout.buffer.flush()


#: The worker's command: `sys.path` is the parent's, so that it finds the same llvmlite.
COMMAND = """
import json, sys
job = json.load(sys.stdin.buffer)
sys.path[:] = job["path"]
space = {"__name__": "object_code"}
with open(job["program"], encoding="utf-8") as f:
    exec(compile(f.read(), job["program"], "exec"), space)
space["serve"](job)
"""


def job_for(texts: list[str], cpu: str, features: str) -> bytes:
    """What a worker reads from its standard input."""
    job = {"texts": texts, "cpu": cpu, "features": features, "path": sys.path, "program": __file__}
    return json.dumps(job).encode()


def answer_of(data: bytes, count: int) -> list[bytes] | None:
    """The object files that a worker wrote; None if that is not what it wrote."""
    found, at = [], 0
    while at + 8 <= len(data):
        (size,) = struct.unpack_from("<q", data, at)
        at += 8
        if size < 0 or at + size > len(data):
            return None
        found.append(data[at : at + size])
        at += size
    return found if at == len(data) and len(found) == count else None
