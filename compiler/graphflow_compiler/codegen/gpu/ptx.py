"""Loop kernels as PTX, the assembly language of NVIDIA's GPUs, through LLVM's NVPTX target. No GPU or driver is needed.

    made = kernel_to_ptx(kernel, GPU_TARGETS["sm_90"], "softmax")
    made.text                                    # for cuModuleLoadData, or ptxas
    blocks, threads = made.launch.shape({"n": 1000}, most_blocks=132 * 8)

LLVM ends the process, with no exception, where it cannot select an instruction. So a kernel gets there only if every function
it declares is in INTRINSICS, which the tests put through LLVM and ptxas for each target.
"""

from __future__ import annotations

from graphflow.framework.dims import factor_text
from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow_compiler.codegen.gpu.loops import loops_to_gpu
from graphflow_compiler.codegen.gpu.schedule import Launch
from graphflow_compiler.codegen.llvm.known_machines import check_machine
from graphflow_compiler.ir.loops import GemmKernel, Kernel

TRIPLE = "nvptx64-nvidia-cuda"


@record(frozen=True, slots=True)
class GpuTarget:
    """A machine to make PTX for. `ptx`: the version of the language, which the driver must know.

    An LLVM that does not know the version writes an older one without saying so.
    """

    cpu: str
    ptx: int

    @property
    def version(self) -> str:
        """The version as PTX spells it."""
        return f"{self.ptx // 10}.{self.ptx % 10}"


#: Turing, Ampere and Hopper; each runs on every later machine too.
GPU_TARGETS = {t.cpu: t for t in (GpuTarget("sm_75", 65), GpuTarget("sm_80", 70), GpuTarget("sm_90", 80))}

_ROUNDED = ("sqrt", "fabs", "floor", "ceil", "trunc", "roundeven", "fma")
#: Functions for which all targets have code.
INTRINSICS = frozenset(
    [f"llvm.{name}.{t}" for name in _ROUNDED for t in ("f32", "f64")]
    + [f"llvm.fpto{s}i.sat.i{n}.{t}" for s in "su" for n in (8, 16, 32, 64) for t in ("f32", "f64")]
    + [f"llvm.nvvm.read.ptx.sreg.{r}.x" for r in ("tid", "ntid", "ctaid", "nctaid")]
    + ["llvm.nvvm.barrier0", "llvm.nvvm.shfl.sync.down.i32"]
)


@record(frozen=True, slots=True)
class PtxKernel:
    """PTX of one kernel. `parameters`: the kernel's buffers and sizes by name, in order, then ``status`` (see `gpu.loops`)."""

    name: str
    text: str
    target: GpuTarget
    parameters: tuple[str, ...]
    launch: Launch


def kernel_to_ptx(kernel: Kernel, target: GpuTarget, name: str) -> PtxKernel:
    """PTX with the entry `name`.

    Raises:
        CompileError: the kernel has something that has no form in PTX yet; says what.
    """
    where = " ".join(kernel.comments) or kernel.name
    if isinstance(kernel, GemmKernel):
        raise CompileError(f"no PTX for the matrix product of {where}: GemmKernel is not lowered to GPUs yet")
    try:
        function = loops_to_gpu(kernel, name)
    except CompileError as e:
        raise CompileError(f"no PTX for the kernel of {where}: {e}") from None
    unknown = [f for f in function.intrinsics if f not in INTRINSICS]
    if unknown:
        raise CompileError(f"no PTX for the kernel of {where}: it calls {', '.join(unknown)}, which GPUs do not have")
    parameters = (*(b.name for b in kernel.buffers), *map(factor_text, kernel.dims), "status")
    return PtxKernel(name, llvm_to_ptx(function.text, target), target, parameters, function.launch)


def llvm_to_ptx(text: str, target: GpuTarget) -> str:
    """PTX of LLVM text that calls nothing but INTRINSICS. CompileError: it is not valid, or LLVM does not know the target."""
    import llvmlite.binding as llvm

    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    try:
        nvptx = llvm.Target.from_triple(TRIPLE)
    except RuntimeError as e:
        raise CompileError(f"this llvmlite was built without NVPTX ({e}): it takes one that has it") from None
    if target not in GPU_TARGETS.values():
        check_machine(target.cpu, f"+ptx{target.ptx}", TRIPLE)
    machine = nvptx.create_target_machine(cpu=target.cpu, features=f"+ptx{target.ptx}", opt=3)
    head = f'target triple = "{TRIPLE}"\ntarget datalayout = "{machine.target_data}"\n'
    try:
        module = llvm.parse_assembly(head + text, llvm.create_context())
        module.verify()
    except RuntimeError as e:
        raise CompileError(f"LLVM refuses the kernel: {e}") from None
    options = llvm.create_pipeline_tuning_options(speed_level=2)
    options.loop_vectorization = False  # a thread has one lane
    builder = llvm.create_pass_builder(machine, options)
    builder.getModulePassManager().run(module, builder)
    ptx = str(machine.emit_assembly(module))
    # LLVM falls back to an older version silently.
    if f".version {target.version}\n" not in ptx:
        raise CompileError(f"this LLVM does not write PTX {target.version}")
    return ptx
