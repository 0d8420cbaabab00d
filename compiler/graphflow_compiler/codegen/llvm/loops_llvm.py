"""LoopKernel to LLVM: loops, lanes, tails, threads.

A vector loop becomes a main loop of whole vectors, then one masked iteration for the rest (scalar iterations if lanes are
scattered in memory). Loops with accumulators and little else run several vectors at a time on accumulators of their own,
which hides the latency of the addition; they are combined in a fixed tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.accumulators import Running, combined
from graphflow_compiler.codegen.llvm.list_scheduling import interleave
from graphflow_compiler.codegen.llvm.llvm_builder import LoopLines, Size
from graphflow_compiler.codegen.llvm.llvm_text import Target, memory_type
from graphflow_compiler.codegen.llvm.loop_analysis import (
    has_check,
    has_scattered_store,
    lane_count,
    side_by_side,
    size_of,
)
from graphflow_compiler.codegen.llvm.vector import SsaValue, VectorEmitter
from graphflow_compiler.codegen.llvm.vector_tail import BounceBuffers, BounceEmitter, LanePlace, lane_places, needs_mask
from graphflow_compiler.ir.loops import For, LoopKernel, Statement
from graphflow_compiler.ir.loops_hoist import hoist_invariants
from graphflow_compiler.ir.loops_math import expand_math

#: Loops of at most this many statements run several vectors at a time: beyond, the work itself hides latencies.
SMALL_BODY = 12
UNROLL = 4
#: Larger loops, up to this many statements, work on vectors of four registers, which LLVM splits: their operations alternate.
FAIR_BODY = 20
#: ... and up to this many on vectors of two registers: values of four would not fit into the register file.
MEDIUM_BODY = 48
#: Loops of more statements than this have one body for whole vectors and the tail: at 176 statements that halves the time to
#: compile, at 30 it saves a sixth.
LARGE_BODY = 30
#: Serial loops of at most this many rounds are unrolled completely.
SHORT_LOOP = 4


def loops_to_llvm(kernel: LoopKernel, target: Target) -> str:
    """The function @kernel of a loop kernel, with the declarations it needs."""
    # In this order: expanded functions have invariant parts, and only what stays in a loop needs scheduling.
    hoisted = hoist_invariants(expand_math(kernel))
    ordered = replace(hoisted, body=interleave(hoisted.body, target.vector_registers))
    return _Function(ordered, target).text()


@record
class _Function:
    kernel: LoopKernel
    target: Target
    lines: LoopLines = field(init=False)

    def __post_init__(self) -> None:
        self.lines = LoopLines(fused=self.target.has_fma)

    def text(self) -> str:
        k = self.kernel
        parameters = [f"ptr %p{i}" for i in range(len(k.buffers))] + [f"i64 %d{i}" for i in range(len(k.dims))]
        dims = {name: f"%d{i}" for i, name in enumerate(k.dims)}
        buffers = {b.name: f"%p{i}" for i, b in enumerate(k.buffers)}
        lines = self.lines
        flag = lines.slot("i32") if has_check(k.body) else None
        if flag is not None:
            lines.do(f"store i32 0, ptr {flag}")
        streams = frozenset(b.name for b in k.buffers if b.streams)
        base = VectorEmitter(lines, buffers, dims, None, 1, {}, flag=flag, streams=streams)
        for b in k.buffers:
            if b.scratch:
                count = base.parts(b.count)
                assert count is not None
                offset = lines.mul(count[0], "%thread")
                buffers[b.name] = lines.pure(f"getelementptr {memory_type(b.dtype)}, ptr {buffers[b.name]}, i64", offset)
        # Without a parallel loop there is nothing to share: thread 0 does it all (see `LoopKernel`).
        if any(isinstance(s, For) and s.parallel for s in k.body):
            self.statements(k.body, base)
        else:
            self.lines.when(lines.value("icmp eq i64 %thread, 0"), lambda: self.statements(k.body, base))
        if streams:
            # Nontemporal stores are not ordered with others: without a fence they might not be visible after the barrier.
            lines.do("fence seq_cst")
        result = "0" if flag is None else lines.value(f"load i32, ptr {flag}")
        lines.do(f"ret i32 {result}")
        head = f"define i32 @kernel({', '.join([*parameters, 'i64 %thread', 'i64 %threads'])}) nounwind {{"
        return "\n".join([*sorted(lines.declarations), head, "entry:", *lines.entry, *lines.text, "}", ""])

    def statements(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        for s in body:
            if isinstance(s, For):
                self.loop(s, e)
            else:
                e.statement(s)

    # ------------------------------------------------------------------ loops
    def loop(self, loop: For, e: VectorEmitter) -> None:
        parts = e.parts(loop.extent)
        assert parts is not None and parts[1] == 0, "every lane runs an inner loop equally often"
        lo: Size = 0
        hi: Size = parts[0]
        vector = loop.mode == "vector" and e.lanes == 1
        lanes = lane_count(loop, self.target) if vector else 1
        # From here on `lanes` may be a multiple of a register's: LLVM splits such vectors.
        if lanes > 1:
            lanes *= self.vectors_at_a_time(loop, hi, lanes)
        beside = side_by_side(loop, SMALL_BODY, UNROLL) if lanes > 1 else 1
        if loop.parallel:
            lo, hi = self.share(hi, lanes * beside)
        if lanes > 1:
            self.vector_loop(loop, e, lo, hi, lanes, beside)
            return
        running = Running.at_identity(self.lines, loop.accumulators, e.lanes)
        if isinstance(hi, int) and lo == 0 and hi <= SHORT_LOOP and size_of(loop) * hi <= 4 * SMALL_BODY:
            for i in range(hi):
                self.body(loop, e, i, running)
        else:
            self.lines.each(lo, hi, 1, lambda i: self.body(loop, e, i, running))
        for a, v in zip(loop.accumulators, running.values(), strict=True):
            e.atoms[a.name] = v

    def vectors_at_a_time(self, loop: For, extent: Size, lanes: int) -> int:
        """How many registers wide the vectors of a loop are, where it has no inner loop.

        LLVM splits wide vectors into parts whose operations alternate. That serves loops that are too large to be unrolled and
        still one dependent chain, which leaves much of a core idle: log takes a fifth less time with two registers, the
        exponentials of a softmax another tenth with four.
        """
        if any(isinstance(s, For) for s in loop.body) or (isinstance(extent, int) and extent <= lanes):
            return 1
        size = size_of(loop)
        if SMALL_BODY < size <= FAIR_BODY and not (isinstance(extent, int) and extent < 4 * lanes):
            return 4
        return 2 if SMALL_BODY < size <= MEDIUM_BODY else 1

    def vector_loop(self, loop: For, e: VectorEmitter, lo: Size, hi: Size, lanes: int, beside: int) -> None:
        """A loop over lanes: whole vectors, then the tail.

        `beside`: so many vectors are handled as one, where an inner loop needs independent chains of additions.
        """
        lines = self.lines
        exact = isinstance(lo, int) and isinstance(hi, int) and (hi - lo) % lanes == 0
        if not exact and size_of(loop) > LARGE_BODY:
            places = lane_places(loop.body, loop.var)
            if places is not None:
                self.bounce_loop(loop, e, lo, hi, lanes, places)
                return
        unroll = 1
        if beside == 1 and size_of(loop) <= SMALL_BODY and not _shorter(lo, hi, 2 * lanes):
            unroll = UNROLL if loop.accumulators else 2
        sets = [Running.at_identity(lines, loop.accumulators, lanes) for _ in range(unroll if loop.accumulators else 1)]
        wide = replace(e, lane_variable=loop.var, lanes=lanes)
        at = lo
        if beside > 1:
            broad = replace(wide, lanes=lanes * beside)
            nothing = Running.at_identity(lines, (), lanes * beside)
            at = self.lines.each(at, self.whole(at, hi, broad.lanes), broad.lanes, lambda i: self.body(loop, broad, i, nothing))
        if unroll > 1:

            def several(i: Size) -> None:
                for k in range(unroll):
                    self.body(loop, wide, lines.add(i, k * lanes), sets[k % len(sets)])

            at = self.lines.each(at, self.whole(at, hi, lanes * unroll), lanes * unroll, several)
        at = self.lines.each(at, self.whole(at, hi, lanes), lanes, lambda i: self.body(loop, wide, i, sets[0]))
        exact = isinstance(at, int) and at == hi
        scattered = has_scattered_store(loop)
        if not exact and not scattered:
            self.masked_tail(loop, wide, at, hi, sets[0])
        totals = combined(sets)
        if not exact and scattered:
            # A scattered store has no masked form, so the last elements go one by one, after those of all lanes.
            running = Running.starting_from(lines, loop.accumulators, totals)
            self.lines.each(at, hi, 1, lambda i: self.body(loop, e, i, running))
            totals = running.values()
        for a, total in zip(loop.accumulators, totals, strict=True):
            e.atoms[a.name] = total

    def masked_tail(self, loop: For, e: VectorEmitter, at: Size, hi: Size, running: Running) -> None:
        left = self.lines.sub(hi, at)

        def tail() -> None:
            self.body(loop, replace(e, mask=self.mask(left, e.lanes), bound=hi), at, running)

        if isinstance(left, int):
            tail()
        else:
            self.lines.when(self.lines.value(f"icmp sgt i64 {left}, 0"), tail)

    def bounce_loop(self, loop: For, e: VectorEmitter, lo: Size, hi: Size, lanes: int, touched: Sequence[LanePlace]) -> None:
        """The rounds of whole vectors, then the same loop again for one round on the stack (see `vector_tail`)."""
        lines = self.lines
        running = Running.at_identity(lines, loop.accumulators, lanes)
        wide = replace(e, lane_variable=loop.var, lanes=lanes)
        buffers = BounceBuffers.at_start(wide, touched)
        masked = bool(loop.accumulators) or needs_mask(loop.body)
        whole = self.whole(lo, hi, lanes)
        # Range and mask are stack slots because the loop is entered twice: with all lanes, and for the tail with some.
        first, end, valid = lines.slot("i64"), lines.slot("i64"), lines.slot(f"<{lanes} x i32>")
        again, bring, check, back, after = (lines.label() for _ in range(5))
        lines.do(f"store i64 {lo}, ptr {first}")
        lines.do(f"store i64 {whole}, ptr {end}")
        lines.do(f"store <{lanes} x i32> splat (i32 -1), ptr {valid}")
        last = replace(wide, bound=hi, indices={**e.indices, loop.var: whole}, atoms=dict(e.atoms))
        with lines.region():
            lines.do(f"br label %{again}")
            lines.place(again)
            start, stop = lines.value(f"load i64, ptr {first}"), lines.value(f"load i64, ptr {end}")
            places = buffers.places(wide)
            mask = None
            if masked:
                mask = lines.value(f"load <{lanes} x i32>, ptr {valid}")
                mask = lines.value(f"icmp slt <{lanes} x i32> {mask}, zeroinitializer")

            def one(i: Size) -> None:
                indices = {**e.indices, loop.var: i}
                inner = BounceEmitter(
                    lines, e.buffers, e.dims, loop.var, lanes, indices, mask, hi, dict(e.atoms), e.flag, places=places
                )
                self.statements(loop.body, inner)
                running.update(inner)

            self.lines.each(start, stop, lanes, one)
            lines.do(f"br i1 {lines.value(f'icmp slt i64 {stop}, {hi}')}, label %{bring}, label %{check}")
            lines.place(bring)
            last.mask = self.mask(lines.sub(hi, whole), lanes)
            buffers.bring(last)
            lines.do(f"store i64 {whole}, ptr {first}")
            lines.do(f"store i64 {lines.add(whole, lanes)}, ptr {end}")
            extended = lines.value(f"sext <{lanes} x i1> {last.mask} to <{lanes} x i32>")
            lines.do(f"store <{lanes} x i32> {extended}, ptr {valid}")
            lines.do(f"br label %{again}")
            lines.place(check)
            lines.do(f"br i1 {lines.value(f'icmp sgt i64 {stop}, {hi}')}, label %{back}, label %{after}")
            lines.place(back)
            last.mask = self.mask(lines.sub(hi, whole), lanes)
            buffers.send_back(last)
            lines.do(f"br label %{after}")
            lines.place(after)
        for a, total in zip(loop.accumulators, combined([running]), strict=True):
            e.atoms[a.name] = total

    def mask(self, left: Size, lanes: int) -> str:
        """True in the first `left` lanes (at most as many as there are)."""
        lines = self.lines
        numbers = "<" + ", ".join(f"i32 {k}" for k in range(lanes)) + ">"
        few = str(left) if isinstance(left, int) else lines.value(f"trunc i64 {left} to i32")
        return lines.value(f"icmp slt <{lanes} x i32> {numbers}, {lines.splat('i32', lanes, few)}")

    def body(self, loop: For, e: VectorEmitter, i: Size, running: Running) -> None:
        """One iteration at loop variable i, and what it adds to the accumulators."""
        inner = replace(e, indices={**e.indices, loop.var: i}, atoms=dict(e.atoms))
        self.statements(loop.body, inner)
        running.update(inner)

    # ------------------------------------------------------------------ ranges
    def whole(self, lo: Size, hi: Size, step: int) -> Size:
        """The end of the last whole step."""
        if isinstance(lo, int) and isinstance(hi, int):
            return lo + (hi - lo) // step * step
        aligned = self.lines.pure("and i64", self.lines.sub(hi, lo), -step)  # steps are powers of two
        return self.lines.add(lo, aligned)

    def share(self, extent: Size, grain: int) -> tuple[Size, Size]:
        """This thread's part of [0, extent), which begins and ends at multiples of `grain`.

        So no two threads write into one vector, only the last share has a tail, and lanes fall as they do on one thread.
        """
        lines = self.lines
        grains = lines.index_binary("floordiv", lines.add(extent, grain - 1), grain)
        each = lines.pure("udiv i64", lines.add(grains, lines.sub("%threads", 1)), "%threads")
        size = lines.mul(each, grain)
        lo = lines.mul(size, "%thread")
        return lines.index_binary("min", lo, extent), lines.index_binary("min", lines.add(lo, size), extent)


def _shorter(lo: Size, hi: Size, length: int) -> bool:
    return isinstance(lo, int) and isinstance(hi, int) and hi - lo < length


__all__ = ["SsaValue", "loops_to_llvm"]
