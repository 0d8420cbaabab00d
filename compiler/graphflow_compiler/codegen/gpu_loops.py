"""Loop kernels as LLVM IR for a GPU's grid: the same loops as on the CPU, scheduled onto blocks and threads.

* A parallel vector loop (a map) is a grid-stride loop: every thread of every block takes elements.
* A parallel serial loop (rows, blocks of a reduction) is shared by the blocks. Inside, a vector loop is shared by the
  threads of the block; what it reduces is combined over the block in a fixed order, and then all threads have it. All else
  is *uniform*: every thread computes it, and the first one stores it.
* Loops inside a vector loop run in each thread by themselves.
* A kernel without a parallel loop runs on the first block.

Sums depend on the number of threads of a block, which is a constant, and never on the number of blocks. `host=True` writes
the same schedule as a function of the thread's and the block's number for this machine, so that it can be run without a
GPU: slowly, with a thread of the system for each of the block.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

from graphflow.dtypes import int32
from graphflow.errors import CompileError
from graphflow_compiler.codegen.accumulators import Running
from graphflow_compiler.codegen.instructions import Instructions, Value
from graphflow_compiler.codegen.lines import LoopLines, Size
from graphflow_compiler.codegen.llvm_text import memory_type
from graphflow_compiler.codegen.shape_of_loops import every_statement, has_check
from graphflow_compiler.codegen.vector import VectorEmitter
from graphflow_compiler.ir.loops import Accumulator, For, Let, LoopKernel, Statement, Store
from graphflow_compiler.ir.loops_hoist import hoist_invariants

#: Threads of a block: enough to hide latencies, few enough that many rows are under way at a time.
THREADS = 256
_WARP = 32
_SHUFFLE = "llvm.nvvm.shfl.sync.bfly.i32"
_BARRIER = "llvm.nvvm.barrier0"  # newer LLVM has another name too, and knows this one


def gpu_function(kernel: LoopKernel, name: str, threads: int = THREADS, host: bool = False) -> str:
    """``void name(ptr buffers..., i64 dims..., ptr status)``; on the host followed by ``i64 thread, i64 block, i64 blocks,
    ptr shared, ptr barrier``: 8 bytes a thread that a block has in common, and a function that waits for all its threads.

    Buffers marked scratch are per block. `status` is an i32 that starts at -1: the lowest code of a check that failed,
    as an unsigned number, is left there.

    Raises:
        CompileError: the kernel has what is not done on a GPU.
    """
    return _GpuFunction(hoist_invariants(kernel), name, threads, host).text()


@dataclass
class _GpuFunction:
    kernel: LoopKernel
    name: str
    threads: int
    host: bool
    lines: LoopLines = field(default_factory=LoopLines)
    globals: dict[str, str] = field(default_factory=dict)  # shared memory: name -> definition

    def text(self) -> str:
        k, lines = self.kernel, self.lines
        space = "" if self.host else " addrspace(1)"
        pointers = {b.name: f"%p{i}" for i, b in enumerate(k.buffers)}
        parameters = [f"ptr{space} {p}" for p in pointers.values()] + [f"i64 %d{i}" for i in range(len(k.dims))]
        parameters.append(f"ptr{space} %status")
        dims = {name: f"%d{i}" for i, name in enumerate(k.dims)}
        if self.host:
            parameters += ["i64 %thread", "i64 %block", "i64 %blocks", "ptr %shared", "ptr %barrier"]
            self.thread, self.block, self.blocks = "%thread", "%block", "%blocks"
            status = "%status"
        else:
            pointers = {n: lines.value(f"addrspacecast ptr addrspace(1) {p} to ptr") for n, p in pointers.items()}
            status = lines.value("addrspacecast ptr addrspace(1) %status to ptr")
            self.thread, self.block, self.blocks = (self.special(n) for n in ("tid.x", "ctaid.x", "nctaid.x"))
        flag = lines.slot("i32") if has_check(k.body) else None
        if flag is not None:
            lines.do(f"store i32 0, ptr {flag}")
        base = VectorEmitter(lines, pointers, dims, None, 1, {}, flag=flag)
        for b in k.buffers:
            if b.scratch:
                count = base.parts(b.count)
                assert count is not None
                at = f"getelementptr {memory_type(b.dtype)}, ptr {pointers[b.name]}, i64 {lines.mul(count[0], self.block)}"
                pointers[b.name] = lines.value(at)
        if any(isinstance(s, For) and s.parallel for s in k.body):
            self.grid(k.body, base)
        else:
            self.lines.when(lines.value(f"icmp eq i64 {self.block}, 0"), lambda: self.uniform(k.body, base))
        if flag is not None:
            code = lines.value(f"load i32, ptr {flag}")
            self.lines.when(lines.value(f"icmp ne i32 {code}, 0"), lambda: self.report(code, status))
        return self.module(parameters)

    def module(self, parameters: Sequence[str]) -> str:
        lines = self.lines
        kind = "void" if self.host else "ptx_kernel void"
        head = f"define {kind} @{self.name}({', '.join(parameters)}) nounwind {{"
        body = ["entry:", *lines.entry, *lines.text, "  ret void", "}", ""]
        if not self.host:  # exactly so many threads a block
            body += ["!nvvm.annotations = !{!0}", f'!0 = !{{ptr @{self.name}, !"reqntidx", i32 {self.threads}}}', ""]
        return "\n".join([*sorted(lines.declarations), *self.globals.values(), head, *body])

    def special(self, register: str) -> str:
        name = f"llvm.nvvm.read.ptx.sreg.{register}"
        self.lines.declare(f"declare i32 @{name}()")
        return self.lines.value(f"zext i32 {self.lines.value(f'call i32 @{name}()')} to i64")

    def report(self, code: str, status: str) -> None:
        self.lines.do(f"{self.lines.fresh()} = atomicrmw umin ptr {status}, i32 {code} monotonic")

    # ------------------------------------------------------------------ the grid
    def grid(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        """The outermost level: parallel loops go to the grid, the rest to every thread."""
        lines = self.lines
        for s in body:
            if isinstance(s, Let):
                e.statement(s)
            elif not isinstance(s, For) or not s.parallel or s.accumulators:
                raise CompileError(f"{self.name}: a {type(s).__name__} beside parallel loops is not done on a GPU")
            elif s.kind == "vector":
                first = lines.add(lines.mul(self.block, self.threads), self.thread)
                self.lines.each(first, self.extent(s, e), lines.mul(self.blocks, self.threads), self.in_thread(s, e))
            else:
                self.lines.each(self.block, self.extent(s, e), self.blocks, self.in_block(s, e))

    def in_block(self, loop: For, e: VectorEmitter) -> Callable[[Size], None]:
        return lambda i: self.uniform(loop.body, self.inner(loop, e, i))

    def in_thread(self, loop: For, e: VectorEmitter, running: Running | None = None) -> Callable[[Size], None]:
        def one(i: Size) -> None:
            inner = self.inner(loop, e, i)
            self.alone(loop.body, inner)
            if running is not None:
                running.update(inner)

        return one

    # ------------------------------------------------------------------ one block
    def uniform(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        """Statements that all threads of a block reach together."""
        for s in body:
            if isinstance(s, Store):
                # Others may still have to read what this overwrites, and will read what it writes.
                self.barrier()
                self.lines.when(self.lines.value(f"icmp eq i64 {self.thread}, 0"), lambda s=s: e.statement(s))  # type: ignore[misc]
                self.barrier()
            elif not isinstance(s, For):
                e.statement(s)
            elif s.kind == "vector":
                self.shared_loop(s, e)
            else:
                self.uniform_loop(s, e)

    def uniform_loop(self, loop: For, e: VectorEmitter) -> None:
        running = Running.at_identity(self.lines, loop.accumulators, 1)

        def one(i: Size) -> None:
            inner = self.inner(loop, e, i)
            self.uniform(loop.body, inner)
            running.update(inner)

        self.lines.each(0, self.extent(loop, e), 1, one)
        for a, v in zip(loop.accumulators, running.values(), strict=True):
            e.atoms[a.name] = v

    def shared_loop(self, loop: For, e: VectorEmitter) -> None:
        """A vector loop, one element a thread at a time."""
        stores = any(isinstance(s, Store) for s in every_statement(loop.body))
        if stores:
            self.barrier()
        running = Running.at_identity(self.lines, loop.accumulators, 1)
        self.lines.each(self.thread, self.extent(loop, e), self.threads, self.in_thread(loop, e, running))
        if stores:
            self.barrier()
        for a, v in zip(loop.accumulators, running.values(), strict=True):
            e.atoms[a.name] = self.over_block(a, v, e)

    def over_block(self, a: Accumulator, mine: Value, e: VectorEmitter) -> Value:
        """The values of all threads combined, the same in each: with that of the thread half a block away, then with that
        of the thread half as far, and so on (a butterfly). No thread branches."""
        ops = Instructions(self.lines, 1)
        distance = self.threads // 2
        while distance:
            near = not self.host and distance < _WARP and a.dtype.size == 4
            other = self.shuffled(mine, distance, ops) if near else self.exchanged(mine, distance, e)
            mine = ops.binary(a.combine, mine, other)
            distance //= 2
        return mine

    def exchanged(self, mine: Value, distance: int, e: VectorEmitter) -> Value:
        """What the thread at a distance has, by way of memory that the block shares."""
        lines, dtype = self.lines, mine.dtype
        memory = memory_type(dtype)
        if self.host:
            pool, pointer = "%shared", "ptr"
        else:
            pool, pointer = f"@shared_{dtype.name}", "ptr addrspace(3)"
            self.globals[pool] = f"{pool} = internal addrspace(3) global [{self.threads} x {memory}] poison, align 16"
        here = lines.value(f"getelementptr {memory}, {pointer} {pool}, i64 {self.thread}")
        partner = lines.value(f"xor i64 {self.thread}, {distance}")
        there = lines.value(f"getelementptr {memory}, {pointer} {pool}, i64 {partner}")
        lines.do(f"store {memory} {e.to_memory(mine, 1)}, {pointer} {here}, align {dtype.size}")
        self.barrier()
        text = lines.value(f"load {memory}, {pointer} {there}, align {dtype.size}")
        self.barrier()  # whoever writes there next may be ahead
        return e.from_memory(text, dtype, 1)

    def shuffled(self, mine: Value, distance: int, ops: Instructions) -> Value:
        """The same within a warp, from register to register, for values of 4 bytes."""
        self.lines.declare(f"declare i32 @{_SHUFFLE}(i32, i32, i32, i32)")
        bits = ops.bitcast(mine, int32)
        found = self.lines.value(f"call i32 @{_SHUFFLE}(i32 -1, i32 {bits.name}, i32 {distance}, i32 {_WARP - 1})")
        return ops.bitcast(Value(found, int32, 1), mine.dtype)

    def barrier(self) -> None:
        if self.host:
            self.lines.do("call void %barrier()")
            return
        self.lines.declare(f"declare void @{_BARRIER}()")
        self.lines.do(f"call void @{_BARRIER}()")

    # ------------------------------------------------------------------ one thread
    def alone(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        for s in body:
            if not isinstance(s, For):
                e.statement(s)
                continue
            running = Running.at_identity(self.lines, s.accumulators, 1)
            self.lines.each(0, self.extent(s, e), 1, self.in_thread(s, e, running))
            for a, v in zip(s.accumulators, running.values(), strict=True):
                e.atoms[a.name] = v

    def inner(self, loop: For, e: VectorEmitter, i: Size) -> VectorEmitter:
        return replace(e, indices={**e.indices, loop.var: i}, atoms=dict(e.atoms))

    def extent(self, loop: For, e: VectorEmitter) -> Size:
        parts = e.parts(loop.extent)
        assert parts is not None
        return parts[0]
