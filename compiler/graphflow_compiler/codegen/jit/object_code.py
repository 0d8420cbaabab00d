"""LLVM text to an object file, and the program of helper processes.

This module imports nothing of ours, and llvmlite only when used, so that a helper is ready in the time llvmlite takes.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from functools import lru_cache
from typing import Any, BinaryIO

#: Raised whenever the passes or options below change, since object files made before are then stale.
PIPELINE = 1
#: A helper's answer that claims to be longer than this is garbage.
_LARGEST = 1 << 28


@lru_cache(maxsize=4)
def _machine(cpu: str, features: str) -> Any:
    return make_machine(cpu, features)


def make_machine(cpu: str, features: str) -> Any:
    """A new target machine; an engine takes over the one it is given."""
    import llvmlite.binding as llvm

    llvm.initialize_native_target()
    llvm.initialize_native_asmprinter()
    # Instruction selection at level 2: at level 0 products of 512^3 fell from 111 to 40 GFLOP/s, and level 1 is hardly faster.
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

    builder = llvm.create_pass_builder(machine, llvm.create_pipeline_tuning_options(speed_level=1))
    passes = llvm.create_new_module_pass_manager()
    passes.add_sroa_pass()
    passes.add_simplify_cfg_pass()
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


def serve(source: BinaryIO, sink: BinaryIO) -> None:
    """A helper's main loop: answers each job with the object file after its length, or -1 where LLVM refuses the text."""
    import json

    import llvmlite.binding  # noqa: F401 - so that it is ready before the first job

    sink.write(READY)
    sink.flush()
    while len(head := source.read(8)) == 8:
        job = json.loads(source.read(struct.unpack("<q", head)[0]))
        try:
            code = object_code(job["text"], job["cpu"], job["features"])
        except RuntimeError:  # the process that asked compiles the text again, and gets LLVM's message there
            sink.write(struct.pack("<q", -1))
        else:
            sink.write(struct.pack("<q", len(code)) + code)
        sink.flush()


#: What a helper writes first, once it can work.
READY = b"ready\n"
#: The helper's command: `sys.path` is the parent's, so that it finds the same llvmlite.
COMMAND = """
import sys
sys.path[:] = [p for p in sys.path if p]  # the current folder may hold anything
import json
source, sink = sys.stdin.buffer, sys.stdout.buffer
job = json.loads(source.readline())
sys.path[:] = job["path"]
space = {"__name__": "object_code"}
with open(job["program"], encoding="utf-8") as f:
    exec(compile(f.read(), job["program"], "exec"), space)
space["serve"](source, sink)
"""


def greeting() -> bytes:
    """What a helper reads first from its standard input."""
    import json  # here: processes that find their code in the cache start without it

    return json.dumps({"path": [str(p) for p in sys.path], "program": __file__}).encode() + b"\n"


def job_for(text: str, cpu: str, features: str) -> bytes:
    """What a helper reads for each job."""
    import json

    data = json.dumps({"text": text, "cpu": cpu, "features": features}).encode()
    return struct.pack("<q", len(data)) + data


def answer_of(read: Callable[[int], bytes]) -> bytes | None:
    """The object file that a helper writes; None where LLVM refuses the text. Raises ValueError for anything else."""
    head = read(8)
    size = struct.unpack("<q", head)[0] if len(head) == 8 else 0
    if size == -1:
        return None
    code = read(size) if 0 < size <= _LARGEST else b""
    if not code or len(code) != size:
        raise ValueError("this is no answer")
    return code
