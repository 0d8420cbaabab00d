"""The running values of a loop's reductions: stack slots that LLVM turns into registers, combined in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.framework.dtypes import bool_
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.instructions import Instructions, SsaValue
from graphflow_compiler.codegen.llvm.llvm_builder import Lines
from graphflow_compiler.codegen.llvm.llvm_text import lanes_type, literal, scalar_type, splat
from graphflow_compiler.codegen.llvm.vector import VectorEmitter
from graphflow_compiler.ir.loops import Accumulator


@record(frozen=True, slots=True)
class Running:
    """One set of running values, `lanes` of each."""

    lines: Lines
    accumulators: tuple[Accumulator, ...]
    lanes: int
    slots: tuple[str, ...]

    @classmethod
    def at_identity(cls, lines: Lines, accumulators: tuple[Accumulator, ...], lanes: int) -> Running:
        running = cls._empty(lines, accumulators, lanes)
        for a, slot in zip(accumulators, running.slots, strict=True):
            scalar = scalar_type(a.dtype)
            lines.do(f"store {lanes_type(scalar, lanes)} {splat(literal(a.init, a.dtype), scalar, lanes)}, ptr {slot}")
        return running

    @classmethod
    def starting_from(cls, lines: Lines, accumulators: tuple[Accumulator, ...], values: Sequence[SsaValue]) -> Running:
        running = cls._empty(lines, accumulators, 1)
        for v, slot in zip(values, running.slots, strict=True):
            lines.do(f"store {scalar_type(v.dtype)} {v.name}, ptr {slot}")
        return running

    @classmethod
    def _empty(cls, lines: Lines, accumulators: tuple[Accumulator, ...], lanes: int) -> Running:
        slots = tuple(lines.slot(lanes_type(scalar_type(a.dtype), lanes)) for a in accumulators)
        return cls(lines, accumulators, lanes, slots)

    def values(self) -> list[SsaValue]:
        return [
            SsaValue(self.lines.value(f"load {lanes_type(scalar_type(a.dtype), self.lanes)}, ptr {slot}"), a.dtype, self.lanes)
            for a, slot in zip(self.accumulators, self.slots, strict=True)
        ]

    def update(self, e: VectorEmitter) -> None:
        """Takes in the values of one iteration. Lanes past the end change nothing."""
        for a, old, slot in zip(self.accumulators, self.values(), self.slots, strict=True):
            # The new value first: the NaN test of max and min is then made on it, off the chain from one iteration to the next.
            new = e.ops.binary(a.combine, e.atom(a.value), old)
            if e.mask is not None and self.lanes > 1:
                new = e.ops.select(SsaValue(e.mask, bool_, self.lanes), new, old)
            text = e.ops.lanes(new) if self.lanes > 1 else new.name
            self.lines.do(f"store {lanes_type(scalar_type(a.dtype), self.lanes)} {text}, ptr {slot}")


def combined(running: Sequence[Running]) -> list[SsaValue]:
    """One value for each accumulator, of all lanes of all sets: sets pairwise, then halves of the vector."""
    first = running[0]
    ops = Instructions(first.lines, first.lanes)
    results = []
    # A fixed tree: the order depends on the number of sets and lanes alone, so the bits do not depend on threads.
    for a, *values in zip(first.accumulators, *(r.values() for r in running), strict=True):
        while len(values) > 1:
            values = [ops.binary(a.combine, values[k], values[k + 1]) for k in range(0, len(values), 2)]
        results.append(_across_lanes(first.lines, a.combine, values[0]))
    return results


def _across_lanes(lines: Lines, combine: str, v: SsaValue) -> SsaValue:
    scalar = scalar_type(v.dtype)
    while v.lanes > 1:
        half = v.lanes // 2
        parts = []
        for start in (0, half):
            if half == 1:
                part = lines.value(f"extractelement <2 x {scalar}> {v.name}, i32 {start}")
            else:
                picks = ", ".join(f"i32 {start + k}" for k in range(half))
                source = f"<{v.lanes} x {scalar}> {v.name}, <{v.lanes} x {scalar}> poison"
                part = lines.value(f"shufflevector {source}, <{half} x i32> <{picks}>")
            parts.append(SsaValue(part, v.dtype, half))
        v = Instructions(lines, half).binary(combine, parts[0], parts[1])
    return v
