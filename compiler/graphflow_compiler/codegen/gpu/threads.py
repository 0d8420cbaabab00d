"""What the threads of a GPU block do together: thread numbers, barriers, reductions over all of them in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field

from graphflow.framework.dtypes import DType
from graphflow.framework.records import record
from graphflow_compiler.codegen.gpu.schedule import MOST_THREADS, WARP
from graphflow_compiler.codegen.llvm.accumulators import Running
from graphflow_compiler.codegen.llvm.instructions import Instructions, SsaValue
from graphflow_compiler.codegen.llvm.llvm_builder import LoopLines, Size
from graphflow_compiler.codegen.llvm.llvm_text import scalar_type
from graphflow_compiler.ir.loops import Accumulator

_SREG = "llvm.nvvm.read.ptx.sreg"
_BARRIER = "llvm.nvvm.barrier0"  # the name that every LLVM since 20 takes
_SHUFFLE = "llvm.nvvm.shfl.sync.down.i32"
_WARPS = MOST_THREADS // WARP


@record
class Block:
    """The threads of a block while their kernel is written.

    It tracks what may have happened since the last barrier, to place one wherever a thread could see a stale or a premature
    value, and nowhere else. `reads`: any thread may have read memory; `writes`: any may have written some; `alone`: all that
    was written, the first thread wrote; `partials`: threads may still read the partial results of the last reduction.
    """

    lines: LoopLines
    shared: str  # the name of the kernel's shared memory
    slots: int = 0  # values for each warp that it has room for
    reads: bool = False
    writes: bool = False
    alone: bool = True
    partials: bool = False
    _registers: dict[str, str] = field(default_factory=dict)

    # ------------------------------------------------------------------ who
    def number(self, register: str) -> str:
        """A special register as i64: ``tid``, ``ntid``, ``ctaid`` or ``nctaid``."""
        found = self._registers.get(register)
        if found is None:
            self.lines.declare(f"declare i32 @{_SREG}.{register}.x()")
            narrow = self.lines.pure(f"call i32 @{_SREG}.{register}.x()")
            found = self._registers[register] = self.lines.pure(f"zext i32 {narrow} to i64")
        return found

    def is_first(self) -> str:
        return self.lines.pure("icmp eq i64", self.number("tid"), 0)

    # ------------------------------------------------------------------ barriers
    def barrier(self) -> None:
        self.lines.declare(f"declare void @{_BARRIER}()")
        self.lines.do(f"call void @{_BARRIER}()")
        self.reads = self.writes = self.partials = False
        self.alone = True

    def before_read(self) -> None:
        """All threads are about to read."""
        if self.writes:
            self.barrier()
        self.reads = True

    def before_lone_write(self) -> None:
        """The first thread is about to write."""
        if self.reads or not self.alone:
            self.barrier()
        self.writes = True

    def before_shared_loop(self, stores: bool) -> None:
        """Threads are about to do different things, stores among them or not."""
        if self.writes or (stores and self.reads):
            self.barrier()
        self.reads = True
        if stores:
            self.writes, self.alone = True, False

    def at_loop(self) -> None:
        """The head or the end of a loop that all threads run: anything in it may just have happened."""
        self.reads = self.writes = self.partials = True
        self.alone = False

    # ------------------------------------------------------------------ reductions
    def combined(self, accumulators: Sequence[Accumulator], values: Sequence[SsaValue]) -> list[SsaValue]:
        """Each thread's values combined over the block, with the same bits in every thread.

        First halves of each warp, then the warps in order: the speed of threads does not matter.
        """
        lines = self.lines
        ops = Instructions(lines, 1)
        whole = []
        for a, v in zip(accumulators, values, strict=True):
            distance = WARP // 2
            while distance:
                v = ops.binary(a.combine, self._from_lane_above(v, distance), v)
                distance //= 2
            whole.append(v)
        # Shared memory still holds the last reduction's partial results, which a slower thread may be about to read.
        if self.partials:
            self.barrier()
        self.slots = max(self.slots, len(whole))
        tid = self.number("tid")
        warp = lines.pure("lshr i64", tid, 5)
        first_lane = lines.pure("icmp eq i64", lines.pure("and i64", tid, WARP - 1), 0)

        def keep() -> None:
            for k, v in enumerate(whole):
                lines.do(f"store i64 {self._widened(v)}, ptr addrspace(3) {self._place(k, warp)}, align 8")

        lines.when(first_lane, keep)
        self.barrier()
        self.partials = True
        firsts = [self._partial(k, 0, a.dtype) for k, a in enumerate(accumulators)]
        running = Running.starting_from(lines, tuple(accumulators), firsts)
        warps = lines.pure("lshr i64", lines.add(self.number("ntid"), WARP - 1), 5)

        def add(other: Size) -> None:
            for k, (a, old, slot) in enumerate(zip(accumulators, running.values(), running.slots, strict=True)):
                new = ops.binary(a.combine, self._partial(k, other, a.dtype), old)
                lines.do(f"store {scalar_type(a.dtype)} {new.name}, ptr {slot}")

        lines.each(1, warps, 1, add)
        return running.values()

    def _from_lane_above(self, v: SsaValue, distance: int) -> SsaValue:
        """The value of the thread `distance` lanes up. (In the last lanes it is their own, which nobody uses.)"""
        lines = self.lines
        lines.declare(f"declare i32 @{_SHUFFLE}(i32, i32, i32, i32)")
        # The hardware moves words of 32 bits: narrower values are widened, wider ones go in two halves.
        bits, width = self._bits(v)

        def moved(word: str) -> str:
            return lines.value(f"call i32 @{_SHUFFLE}(i32 -1, i32 {word}, i32 {distance}, i32 {WARP - 1})")

        if width == 32:
            return self._value(moved(bits), 32, v.dtype)
        if width < 32:
            word = moved(lines.value(f"zext i{width} {bits} to i32"))
            return self._value(lines.value(f"trunc i32 {word} to i{width}"), width, v.dtype)
        low = moved(lines.value(f"trunc i64 {bits} to i32"))
        high = moved(lines.value(f"trunc i64 {lines.value(f'lshr i64 {bits}, 32')} to i32"))
        shifted = lines.value(f"shl i64 {lines.value(f'zext i32 {high} to i64')}, 32")
        return self._value(lines.value(f"or i64 {shifted}, {lines.value(f'zext i32 {low} to i64')}"), 64, v.dtype)

    # ------------------------------------------------------------------ shared memory: eight bytes a value and warp
    def declaration(self) -> str:
        """The shared memory of the kernel, or nothing where it needs none."""
        if not self.slots:
            return ""
        return f"@{self.shared} = internal addrspace(3) global [{self.slots * _WARPS} x i64] poison, align 8\n"

    def _place(self, slot: int, warp: Size) -> str:
        place = self.lines.add(warp, slot * _WARPS)
        return self.lines.value(f"getelementptr i64, ptr addrspace(3) @{self.shared}, i64 {place}")

    def _partial(self, slot: int, warp: Size, dtype: DType) -> SsaValue:
        lines = self.lines
        wide = lines.value(f"load i64, ptr addrspace(3) {self._place(slot, warp)}, align 8")
        width = _bits_of(dtype)
        return self._value(wide if width == 64 else lines.value(f"trunc i64 {wide} to i{width}"), width, dtype)

    def _widened(self, v: SsaValue) -> str:
        bits, width = self._bits(v)
        return bits if width == 64 else self.lines.value(f"zext i{width} {bits} to i64")

    # ------------------------------------------------------------------ values as bits
    def _bits(self, v: SsaValue) -> tuple[str, int]:
        width, t = _bits_of(v.dtype), scalar_type(v.dtype)
        return (v.name if t == f"i{width}" else self.lines.value(f"bitcast {t} {v.name} to i{width}")), width

    def _value(self, bits: str, width: int, dtype: DType) -> SsaValue:
        t = scalar_type(dtype)
        return SsaValue(bits if t == f"i{width}" else self.lines.value(f"bitcast i{width} {bits} to {t}"), dtype, 1)


def _bits_of(dtype: DType) -> int:
    return 1 if dtype.is_bool else 8 * dtype.size
