"""Loop kernels as PTX text, through LLVM's NVPTX target.

LLVM ends the process where it cannot select an instruction for a GPU (a library function, a transcendental intrinsic), so
what a kernel declares is checked against what is known to be there before LLVM sees it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from graphflow.errors import CompileError
from graphflow_compiler.codegen.gpu_loops import THREADS, gpu_function
from graphflow_compiler.codegen.object_code import simplify
from graphflow_compiler.ir.loops import GemmKernel, Kernel

_TRIPLE = "nvptx64-nvidia-cuda"


@dataclass(frozen=True, slots=True)
class GpuTarget:
    """A GPU's architecture (``sm_80``) and the PTX version to write ("": the oldest that knows it)."""

    cpu: str
    ptx: str = ""


#: Turing, Ampere, Hopper.
TARGETS = (GpuTarget("sm_75"), GpuTarget("sm_80"), GpuTarget("sm_90", "ptx80"))

#: Each of these has been selected for all of TARGETS.
_KNOWN = re.compile(
    r"llvm\.(fma|fabs|floor|ceil|trunc|roundeven|sqrt)\.(f32|f64)"
    r"|llvm\.fpto[su]i\.sat\.i(8|16|32|64)\.f(32|64)"
    r"|llvm\.nvvm\.(read\.ptx\.sreg\.(tid|ctaid|nctaid)\.x|barrier0|shfl\.sync\.bfly\.i32)"
)
_DECLARED = re.compile(r"^declare [^@]*@([\w.$]+)\(", re.MULTILINE)


def kernel_to_ptx(kernel: Kernel, target: GpuTarget, name: str = "kernel", threads: int = THREADS) -> str:
    """PTX with one entry: buffers, sizes (i64) and the status (see `gpu_function`) as parameters, `threads` a block.

    Raises:
        CompileError: a matrix product, which needs a kernel of its own; a function that only a C library has.
    """
    if isinstance(kernel, GemmKernel):
        raise CompileError(f"{name}: matrix products are not done on a GPU yet")
    # Without `contract` a product and a sum stay two roundings, as where this kernel runs on the CPU without fma.
    text = gpu_function(kernel, name, threads).replace(" contract ", " ")
    missing = [f for f in _DECLARED.findall(text) if not _KNOWN.fullmatch(f)]
    if missing:
        raise CompileError(f"{name}: a GPU has no {', '.join(missing)}")
    return _assembly(text, target)


def _assembly(text: str, target: GpuTarget) -> str:
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    features = f"+{target.ptx}" if target.ptx else ""
    machine = llvm.Target.from_triple(_TRIPLE).create_target_machine(cpu=target.cpu, features=features, opt=3)
    head = f'target triple = "{_TRIPLE}"\ntarget datalayout = "{machine.target_data}"\n'
    try:
        module = llvm.parse_assembly(head + text, llvm.create_context())
        module.verify()
    except RuntimeError as e:
        raise CompileError(f"LLVM refuses the module: {e}") from None
    simplify(module, machine)
    found: str = machine.emit_assembly(module)
    return found
