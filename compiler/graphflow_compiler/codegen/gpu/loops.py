"""LoopKernel to LLVM for a GPU: the same loops as on the CPU, each thread with one lane (see `gpu.schedule`).

Outside the loops whose iterations are shared, every thread of a block computes the same values, and the first one stores them.

The kernel is ``void name(ptr addrspace(1) buffers..., i64 sizes..., ptr addrspace(1) status)``. A scratch buffer holds
`count` elements for each block. `status` is an i32 with all bits set before the launch: the lowest code of a failed check
is left there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow_compiler.codegen.gpu.schedule import (
    MOST_THREADS,
    Launch,
    has_threads_of_its_own,
    is_shared,
    launch_of,
    scheduled,
)
from graphflow_compiler.codegen.gpu.threads import Block
from graphflow_compiler.codegen.llvm.accumulators import Running
from graphflow_compiler.codegen.llvm.llvm_builder import LoopLines, Size
from graphflow_compiler.codegen.llvm.llvm_text import memory_type
from graphflow_compiler.codegen.llvm.loop_analysis import has_check
from graphflow_compiler.codegen.llvm.vector import VectorEmitter
from graphflow_compiler.ir.loops import For, Let, Load, LoopKernel, Statement, Store
from graphflow_compiler.ir.loops_hoist import hoist_invariants
from graphflow_compiler.ir.loops_math import expand_math
from graphflow_compiler.ir.loops_visit import buffers_stored


@record(frozen=True, slots=True)
class GpuFunction:
    """A kernel as LLVM text, and what a launch of it needs. `intrinsics`: the functions that the text declares."""

    text: str
    launch: Launch
    intrinsics: tuple[str, ...]


def loops_to_gpu(kernel: LoopKernel, name: str) -> GpuFunction:
    """The kernel @name of a loop kernel. CompileError for what has no form on a GPU yet."""
    flat = scheduled(expand_math(kernel))
    launch = launch_of(flat)
    return _Function(hoist_invariants(flat), name, launch).function()


@record
class _Function:
    kernel: LoopKernel
    name: str
    launch: Launch
    lines: LoopLines = field(default_factory=LoopLines)
    block: Block = field(init=False)

    def __post_init__(self) -> None:
        self.block = Block(self.lines, f"{self.name}_shared")

    def function(self) -> GpuFunction:
        k, lines = self.kernel, self.lines
        flag = lines.slot("i32") if has_check(k.body) else None
        if flag is not None:
            lines.do(f"store i32 0, ptr {flag}")
        # Generic pointers cost nothing: LLVM infers the address space of every access from these casts.
        buffers = {b.name: lines.value(f"addrspacecast ptr addrspace(1) %p{i} to ptr") for i, b in enumerate(k.buffers)}
        dims = {name: f"%d{i}" for i, name in enumerate(k.dims)}
        e = VectorEmitter(lines, buffers, dims, None, 1, {}, flag=flag)
        self.scratch(e, buffers)
        for s in k.body:
            if isinstance(s, For) and s.parallel:
                self.parallel_loop(s, e)
            elif self.launch.mapping == "single":
                self.together(s, e)
            else:
                e.statement(s)
        if flag is not None:
            code = lines.value(f"load i32, ptr {flag}")
            lines.when(lines.value(f"icmp ne i32 {code}, 0"), lambda: self.report(code))
        lines.do("ret void")
        parameters = [f"ptr addrspace(1) %p{i}" for i in range(len(k.buffers))]
        parameters += [f"i64 %d{i}" for i in range(len(k.dims))]
        parameters.append("ptr addrspace(1) %status")
        head = f"define ptx_kernel void @{self.name}({', '.join(parameters)}) nounwind {{"
        # As metadata, because LLVM 20 knows no attribute for it. Newer ones take both.
        bounds = f'!nvvm.annotations = !{{!0}}\n!0 = !{{ptr @{self.name}, !"maxntidx", i32 {MOST_THREADS}}}'
        declarations = sorted(lines.declarations)
        text = "\n".join([self.block.declaration() + head, "entry:", *lines.entry, *lines.text, "}", *declarations, bounds, ""])
        return GpuFunction(text, self.launch, tuple(d[d.index("@") + 1 : d.index("(")] for d in declarations))

    def report(self, code: str) -> None:
        # The minimum, whichever thread comes first: the lowest code is what a CPU reports too.
        self.lines.do(f"{self.lines.fresh()} = atomicrmw umin ptr addrspace(1) %status, i32 {code} monotonic")

    def scratch(self, e: VectorEmitter, buffers: dict[str, str]) -> None:
        for b in self.kernel.buffers:
            if not b.scratch:
                continue
            if self.launch.mapping == "elements":
                raise CompileError(f"buffer {b.name}: scratch for each thread of a GPU")
            parts = e.parts(b.count)
            assert parts is not None
            offset = self.lines.mul(parts[0], self.block.number("ctaid"))
            buffers[b.name] = e.address(buffers[b.name], memory_type(b.dtype), offset)

    # ------------------------------------------------------------------ loops
    def parallel_loop(self, loop: For, e: VectorEmitter) -> None:
        block, lines = self.block, self.lines
        extent = self.extent(loop, e)
        if has_threads_of_its_own(loop):
            number = lines.add(lines.mul(block.number("ctaid"), block.number("ntid")), block.number("tid"))
            step = lines.mul(block.number("nctaid"), block.number("ntid"))
            lines.each(number, extent, step, lambda i: self.alone(loop.body, _inside(e, loop, i)))
            return

        def row(i: Size) -> None:
            block.at_loop()
            inner = _inside(e, loop, i)
            for s in loop.body:
                self.together(s, inner)

        lines.each(block.number("ctaid"), extent, block.number("nctaid"), row)

    def together(self, s: Statement, e: VectorEmitter) -> None:
        """A statement that all threads of a block reach together."""
        block, lines = self.block, self.lines
        if isinstance(s, For):
            if is_shared(s):
                self.shared_loop(s, e)
            else:
                self.common_loop(s, e)
        elif isinstance(s, Store):
            block.before_lone_write()
            lines.when(block.is_first(), lambda: e.statement(s))
        else:
            if isinstance(s, Let) and isinstance(s.value, Load):
                block.before_read()
            e.statement(s)

    def shared_loop(self, loop: For, e: VectorEmitter) -> None:
        """A loop whose rounds the threads of a block share out: thread t has rounds t, t + threads ..."""
        block, lines = self.block, self.lines
        extent = self.extent(loop, e)
        block.before_shared_loop(bool(buffers_stored(loop.body)))
        running = Running.at_identity(lines, loop.accumulators, 1)

        def one(i: Size) -> None:
            inner = _inside(e, loop, i)
            self.alone(loop.body, inner)
            running.update(inner)

        lines.each(block.number("tid"), extent, block.number("ntid"), one)
        if loop.accumulators:
            totals = block.combined(loop.accumulators, running.values())
            e.atoms.update({a.name: total for a, total in zip(loop.accumulators, totals, strict=True)})

    def common_loop(self, loop: For, e: VectorEmitter) -> None:
        """A loop that every thread of a block runs."""
        running = Running.at_identity(self.lines, loop.accumulators, 1)

        def one(i: Size) -> None:
            self.block.at_loop()
            inner = _inside(e, loop, i)
            for s in loop.body:
                self.together(s, inner)
            running.update(inner)

        self.lines.each(0, self.extent(loop, e), 1, one)
        self.block.at_loop()
        e.atoms.update({a.name: v for a, v in zip(loop.accumulators, running.values(), strict=True)})

    def alone(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        """Statements of one thread, which no other runs with the same loop variables."""
        for s in body:
            if isinstance(s, For):
                self.loop_of_one(s, e)
            else:
                e.statement(s)

    def loop_of_one(self, loop: For, e: VectorEmitter) -> None:
        running = Running.at_identity(self.lines, loop.accumulators, 1)

        def one(i: Size) -> None:
            inner = _inside(e, loop, i)
            self.alone(loop.body, inner)
            running.update(inner)

        self.lines.each(0, self.extent(loop, e), 1, one)
        e.atoms.update({a.name: v for a, v in zip(loop.accumulators, running.values(), strict=True)})

    def extent(self, loop: For, e: VectorEmitter) -> Size:
        parts = e.parts(loop.extent)
        assert parts is not None, "a scalar emitter knows every index"
        return parts[0]


def _inside(e: VectorEmitter, loop: For, i: Size) -> VectorEmitter:
    return replace(e, indices={**e.indices, loop.var: i}, atoms=dict(e.atoms))
