"""LoopKernel to LLVM: loops, lanes, tails, threads.

A vector loop becomes a main loop of whole vectors, then one masked iteration for the rest (scalar iterations where a
masked form would be slow or does not exist). Loops with accumulators and little else run several vectors at a time on
accumulators of their own, which hides the latency of the addition; they are combined in a fixed tree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from graphflow.dtypes import DType
from graphflow_compiler.codegen.instructions import Lines, Value
from graphflow_compiler.codegen.llvm_text import Target, lanes_type, literal, memory_type, scalar_type, splat
from graphflow_compiler.codegen.vector import Size, VectorEmitter
from graphflow_compiler.ir.loops import Accumulator, Call, Cast, Check, For, Let, Load, LoopKernel, Statement, Store
from graphflow_compiler.ir.loops_hoist import hoist_invariants

#: Loops of at most this many values run UNROLL vectors at a time: beyond, the work itself hides the latency.
SMALL_BODY = 12
UNROLL = 4


def loops_to_llvm(kernel: LoopKernel, target: Target) -> str:
    """The function @kernel of a loop kernel, with the declarations it needs."""
    kernel = hoist_invariants(kernel)
    return _Function(kernel, target).text()


@dataclass
class _Function:
    kernel: LoopKernel
    target: Target
    lines: Lines = field(default_factory=Lines)

    def text(self) -> str:
        k = self.kernel
        parameters = [f"ptr %p{i}" for i in range(len(k.buffers))] + [f"i64 %d{i}" for i in range(len(k.dims))]
        dims = {name: f"%d{i}" for i, name in enumerate(k.dims)}
        buffers = {b.name: f"%p{i}" for i, b in enumerate(k.buffers)}
        lines = self.lines
        flag = lines.slot("i32") if _has_check(k.body) else None
        if flag is not None:
            lines.do(f"store i32 0, ptr {flag}")
        self.check_buffers = buffers
        base = VectorEmitter(lines, buffers, dims, None, 1, {}, flag=flag)
        for b in k.buffers:
            if b.scratch:
                count = base.parts(b.count)
                assert count is not None
                offset = lines.mul(count[0], "%thread")
                buffers[b.name] = lines.value(f"getelementptr {memory_type(b.dtype)}, ptr {buffers[b.name]}, i64 {offset}")
        if any(isinstance(s, For) and s.parallel for s in k.body):
            self.statements(k.body, base)
        else:
            self.on_first_thread(k.body, base)
        result = "0" if flag is None else lines.value(f"load i32, ptr {flag}")
        lines.do(f"ret i32 {result}")
        head = f"define i32 @kernel({', '.join([*parameters, 'i64 %thread', 'i64 %threads'])}) {{"
        body = [head, "entry:", *lines.entry, *lines.text, "}"]
        return "\n".join([*sorted(lines.declarations), *body, ""])

    def on_first_thread(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        lines = self.lines
        run, end = lines.label(), lines.label()
        first = lines.value("icmp eq i64 %thread, 0")
        lines.do(f"br i1 {first}, label %{run}, label %{end}")
        lines.place(run)
        self.statements(body, e)
        lines.do(f"br label %{end}")
        lines.place(end)

    def statements(self, body: Sequence[Statement], e: VectorEmitter) -> None:
        for s in body:
            if isinstance(s, For):
                self.loop(s, e)
            else:
                e.statement(s)

    # ------------------------------------------------------------------ loops
    def loop(self, loop: For, e: VectorEmitter) -> None:
        parts = e.parts(loop.extent)
        assert parts is not None and parts[1] == 0
        lo: Size = 0
        hi: Size = parts[0]
        lanes = _lanes(loop, self.target) if loop.kind == "vector" and e.lanes == 1 else 1
        if loop.parallel:
            lo, hi = self.share(hi, lanes)
        slots = [self.accumulator_slots(a, e.lanes) for a in loop.accumulators] if lanes == 1 else []
        if lanes == 1:
            for a, slot in zip(loop.accumulators, slots, strict=True):
                self.initialise(a, slot, e.lanes)
            self.count(loop, e, lo, hi, 1, lambda i: self.body(loop, e, i, slots, e.lanes))
            for a, slot in zip(loop.accumulators, slots, strict=True):
                t = lanes_type(scalar_type(a.dtype), e.lanes)
                e.atoms[a.name] = Value(self.lines.value(f"load {t}, ptr {slot}"), a.dtype, e.lanes)
            return
        self.vector_loop(loop, e, lo, hi, lanes)

    def vector_loop(self, loop: For, e: VectorEmitter, lo: Size, hi: Size, lanes: int) -> None:
        lines = self.lines
        unroll = UNROLL if loop.accumulators and sum(isinstance(s, Let) for s in loop.body) <= SMALL_BODY else 1
        if unroll > 1 and isinstance(hi, int) and isinstance(lo, int) and hi - lo < 2 * lanes:
            unroll = 1
        groups = [[self.accumulator_slots(a, lanes) for a in loop.accumulators] for _ in range(unroll)]
        for slots in groups:
            for a, slot in zip(loop.accumulators, slots, strict=True):
                self.initialise(a, slot, lanes)
        wide = replace(e, lane_variable=loop.var, lanes=lanes, indices=dict(e.indices), atoms=dict(e.atoms))
        at: Size = lo
        if unroll > 1:

            def several(i: Size) -> None:
                for k, slots in enumerate(groups):
                    self.body(loop, wide, lines.add(i, k * lanes), slots, lanes)

            at = self.count(loop, wide, at, self.whole(at, hi, lanes * unroll), lanes * unroll, several)
        at = self.count(loop, wide, at, self.whole(at, hi, lanes), lanes, lambda i: self.body(loop, wide, i, groups[0], lanes))
        exact = isinstance(at, int) and isinstance(hi, int) and at == hi
        if not exact and self.can_mask(loop):
            self.masked_tail(loop, e, at, hi, lanes, groups[0])
        totals = [self.combine(a, [slots[n] for slots in groups], lanes) for n, a in enumerate(loop.accumulators)]
        if not exact and not self.can_mask(loop):
            scalar_slots = [self.lines.slot(scalar_type(a.dtype)) for a in loop.accumulators]
            for a, slot, total in zip(loop.accumulators, scalar_slots, totals, strict=True):
                lines.do(f"store {scalar_type(a.dtype)} {total}, ptr {slot}")
            self.count(loop, e, at, hi, 1, lambda i: self.body(loop, e, i, scalar_slots, 1))
            totals = [
                lines.value(f"load {scalar_type(a.dtype)}, ptr {slot}")
                for a, slot in zip(loop.accumulators, scalar_slots, strict=True)
            ]
        for a, total in zip(loop.accumulators, totals, strict=True):
            e.atoms[a.name] = Value(total, a.dtype, 1)

    def masked_tail(self, loop: For, e: VectorEmitter, at: Size, hi: Size, lanes: int, slots: list[str]) -> None:
        lines = self.lines
        run, end = lines.label(), lines.label()
        left = lines.sub(hi, at)
        some = lines.value(f"icmp sgt i64 {left}, 0")
        lines.do(f"br i1 {some}, label %{run}, label %{end}")
        lines.place(run)
        numbers = "<" + ", ".join(f"i64 {k}" for k in range(lanes)) + ">"
        one = lines.value(f"insertelement <{lanes} x i64> poison, i64 {left}, i32 0")
        many = lines.value(f"shufflevector <{lanes} x i64> {one}, <{lanes} x i64> poison, <{lanes} x i32> zeroinitializer")
        mask = lines.value(f"icmp slt <{lanes} x i64> {numbers}, {many}")
        tail = replace(
            e, lane_variable=loop.var, lanes=lanes, indices=dict(e.indices), atoms=dict(e.atoms), mask=mask, bound=hi
        )
        self.body(loop, tail, at, slots, lanes)
        lines.do(f"br label %{end}")
        lines.place(end)

    def body(self, loop: For, e: VectorEmitter, i: Size, slots: Sequence[str], lanes: int) -> None:
        """One iteration at loop variable i, with what it adds to the accumulators."""
        inner = replace(e, indices={**e.indices, loop.var: i}, atoms=dict(e.atoms))
        self.statements(loop.body, inner)
        for a, slot in zip(loop.accumulators, slots, strict=True):
            t = lanes_type(scalar_type(a.dtype), lanes)
            old = Value(self.lines.value(f"load {t}, ptr {slot}"), a.dtype, lanes)
            new = inner.ops.binary(a.combine, old, inner.atom(a.value))
            if inner.mask is not None and lanes > 1:
                new = inner.ops.select(Value(inner.mask, _bool(), lanes), new, old)
            text = inner.ops.lanes(new) if lanes > 1 else new.name
            self.lines.do(f"store {t} {text}, ptr {slot}")

    def count(self, loop: For, e: VectorEmitter, lo: Size, hi: Size, step: int, body: object) -> Size:
        """Runs body(i) for i = lo, lo + step, ... below hi; returns where it stopped."""
        assert callable(body)
        lines = self.lines
        if isinstance(lo, int) and isinstance(hi, int):
            if lo >= hi:
                return lo
            if hi - lo == step:
                body(lo)
                return hi
        slot, head, run, end = lines.slot("i64"), lines.label(), lines.label(), lines.label()
        lines.do(f"store i64 {lo}, ptr {slot}")
        lines.do(f"br label %{head}")
        lines.place(head)
        i = lines.value(f"load i64, ptr {slot}")
        more = lines.value(f"icmp slt i64 {i}, {hi}")
        lines.do(f"br i1 {more}, label %{run}, label %{end}")
        lines.place(run)
        body(i)
        following = lines.value(f"add i64 {i}, {step}")
        lines.do(f"store i64 {following}, ptr {slot}")
        lines.do(f"br label %{head}")
        lines.place(end)
        return hi if isinstance(lo, int) and isinstance(hi, int) else lines.value(f"load i64, ptr {slot}")

    def whole(self, lo: Size, hi: Size, step: int) -> Size:
        """The end of the last whole step."""
        if isinstance(lo, int) and isinstance(hi, int):
            return lo + (hi - lo) // step * step
        length = self.lines.sub(hi, lo)
        aligned = self.lines.value(f"and i64 {length}, {-step}")  # steps are powers of two
        return self.lines.add(lo, aligned)

    def share(self, extent: Size, grain: int) -> tuple[Size, Size]:
        """This thread's part of [0, extent), cut at multiples of `grain`. One thread gets everything."""
        lines = self.lines
        chunks = lines.value(f"add i64 {extent}, {grain - 1}")
        per_grain = lines.value(f"sdiv i64 {chunks}, {grain}")
        up = lines.value(f"add i64 {per_grain}, %threads")
        more = lines.value(f"sub i64 {up}, 1")
        each = lines.value(f"udiv i64 {more}, %threads")
        size = lines.value(f"mul i64 {each}, {grain}")
        lo = lines.value(f"mul i64 {size}, %thread")
        end = lines.value(f"add i64 {lo}, {size}")
        return lines.index_binary("min", lo, extent), lines.index_binary("min", end, extent)

    # ------------------------------------------------------------------ accumulators
    def accumulator_slots(self, a: Accumulator, lanes: int) -> str:
        return self.lines.slot(lanes_type(scalar_type(a.dtype), lanes))

    def initialise(self, a: Accumulator, slot: str, lanes: int) -> None:
        scalar = scalar_type(a.dtype)
        start = splat(literal(a.init, a.dtype), scalar, lanes)
        self.lines.do(f"store {lanes_type(scalar, lanes)} {start}, ptr {slot}")

    def combine(self, a: Accumulator, slots: Sequence[str], lanes: int) -> str:
        """All lanes of all slots to one value: slots pairwise, then halves of the vector."""
        from graphflow_compiler.codegen.instructions import Instructions

        lines = self.lines
        scalar = scalar_type(a.dtype)
        t = lanes_type(scalar, lanes)
        ops = Instructions(lines, lanes)
        values = [Value(lines.value(f"load {t}, ptr {s}"), a.dtype, lanes) for s in slots]
        while len(values) > 1:
            values = [ops.binary(a.combine, values[k], values[k + 1]) for k in range(0, len(values), 2)]
        v = values[0]
        width = lanes
        while width > 1:
            half = width // 2
            parts = []
            for start in (0, half):
                picks = ", ".join(f"i32 {start + k}" for k in range(half))
                source = f"<{width} x {scalar}> {v.name}, <{width} x {scalar}> poison"
                if half == 1:
                    parts.append(Value(lines.value(f"extractelement <{width} x {scalar}> {v.name}, i32 {start}"), a.dtype, 1))
                else:
                    parts.append(Value(lines.value(f"shufflevector {source}, <{half} x i32> <{picks}>"), a.dtype, half))
            v = Instructions(lines, half).binary(a.combine, parts[0], parts[1])
            width = half
        return v.name

    def can_mask(self, loop: For) -> bool:
        """Whether the tail can run masked: elements of 4 or 8 bytes, every store contiguous, no calls lane by lane."""
        buffers = {b.name: b.dtype for b in self.kernel.buffers}
        todo: list[Statement] = list(loop.body)
        probe = VectorEmitter(Lines(), {}, dict.fromkeys(self.kernel.dims, "%x"), loop.var, 8, _Any())
        while todo:
            s = todo.pop()
            if isinstance(s, For):
                todo += s.body
            elif isinstance(s, Store):
                parts = probe.parts(s.index) if not _mentions_data(s.index) else None
                if buffers[s.buffer].size < 4 or parts is None or parts[1] != 1:
                    return False
            elif isinstance(s, Let):
                if isinstance(s.value, Call) and s.value.fn != "fma":
                    return False
                if isinstance(s.value, Load) and s.dtype.size < 4:
                    return False
        return True


class _Any(dict[str, Size]):
    def __missing__(self, key: str) -> Size:
        return "%x"


def _mentions_data(index: object) -> bool:
    from graphflow_compiler.ir.loops import IBinary, IData

    if isinstance(index, IBinary):
        return _mentions_data(index.a) or _mentions_data(index.b)
    return isinstance(index, IData)


def _bool() -> DType:
    from graphflow.dtypes import bool_

    return bool_


def _lanes(loop: For, target: Target) -> int:
    """Lanes by the commonest element size: 4-byte elements fill a register exactly; 8-byte ones take two."""
    sizes: list[int] = []
    todo: list[Statement] = list(loop.body)
    while todo:
        s = todo.pop()
        if isinstance(s, For):
            todo += s.body
            sizes += [a.dtype.size for a in s.accumulators]
        elif isinstance(s, Let) and not s.dtype.is_bool and not isinstance(s.value, Cast):
            sizes.append(s.dtype.size)
    sizes += [a.dtype.size for a in loop.accumulators]
    floats = [s for s in sizes if s >= 4] or [4]
    size = 8 if floats.count(8) > floats.count(4) else 4
    return target.vector_bits // 8 // size


def _has_check(body: Sequence[Statement]) -> bool:
    todo = list(body)
    while todo:
        s = todo.pop()
        if isinstance(s, Check):
            return True
        if isinstance(s, For):
            todo += s.body
    return False
