"""Entry points of code generation, for any kernel. The matmul emitter is loaded with the first matmul, to start faster."""

from __future__ import annotations

from graphflow_compiler.codegen.llvm.llvm_text import Target, host_target
from graphflow_compiler.codegen.llvm.loops_llvm import loops_to_llvm
from graphflow_compiler.ir.loops import GemmKernel, Kernel

__all__ = ["Target", "host_target", "kernel_to_llvm", "scratch_elements"]


def kernel_to_llvm(kernel: Kernel, target: Target) -> str:
    """The function @kernel of any kernel, with its declarations."""
    if isinstance(kernel, GemmKernel):
        from graphflow_compiler.codegen.matmul.gemm import gemm_to_llvm

        return gemm_to_llvm(kernel, target)
    return loops_to_llvm(kernel, target)


def panel_of_constant(kernel: GemmKernel, target: Target) -> int:
    """Columns in the panels in which a constant B is best stored, 0: as it is."""
    from graphflow_compiler.codegen.matmul import tiling

    return tiling.panel_of_constant(kernel, target)


def scratch_elements(kernel: Kernel, target: Target) -> int | None:
    """Elements of scratch per thread that the function takes in one more pointer after its buffers; None if it takes none."""
    if isinstance(kernel, GemmKernel):
        from graphflow_compiler.codegen.matmul.gemm import gemm_scratch_elements

        return gemm_scratch_elements(kernel, target)
    return None
