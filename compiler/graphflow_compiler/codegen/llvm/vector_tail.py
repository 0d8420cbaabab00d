"""Vector loops with one body: the last vector, if it is not whole, goes through buffers on the stack.

A body of its own for the tail would nearly double the code, and compile time is mostly LLVM's time for code. So after
the whole vectors the same loop is entered once more, with all pointers moved: its valid lanes have been copied to the
stack, the body runs there, and the valid lanes of its results are copied back. Whole vectors do not pay for this.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import field, replace

from graphflow.framework.dtypes import DType
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.llvm_text import memory_type
from graphflow_compiler.codegen.llvm.loop_analysis import lane_step
from graphflow_compiler.codegen.llvm.vector import DIVISIONS, SsaValue, VectorEmitter
from graphflow_compiler.ir.loops import Binary, Check, Index, Let, Load, Statement, Store, Var
from graphflow_compiler.ir.loops_visit import index_names


@record(frozen=True, slots=True)
class LanePlace:
    """A place that lanes read or write side by side. (One that is read and written is one place.)"""

    buffer: str
    index: Index
    dtype: DType
    loads: bool
    stores: bool


def lane_places(body: Sequence[Statement], var: str) -> list[LanePlace] | None:
    """What a loop body reads and writes along `var`; None if lanes are anywhere but side by side or all at one place."""
    found: dict[tuple[str, Index], LanePlace] = {}
    defined: set[str] = set()
    for s in body:
        if isinstance(s, Let):
            defined.add(s.name)
            if not isinstance(s.value, Load):
                continue
            buffer, index, dtype = s.value.buffer, s.value.index, s.dtype
            if s.value.mask is not None:
                return None
        elif isinstance(s, Store):
            buffer, index, dtype = s.buffer, s.index, s.value.dtype
        elif isinstance(s, Check):
            continue
        else:
            return None
        # Pointers are set before the loop, so no place may depend on what its body computes.
        step = lane_step(index, var)
        if step is None or step not in (0, 1) or index_names(index) & defined:
            return None
        if step == 1:
            old = found.get((buffer, index), LanePlace(buffer, index, dtype, loads=False, stores=False))
            found[buffer, index] = replace(old, loads=True) if isinstance(s, Let) else replace(old, stores=True)
    return list(found.values())


def needs_mask(body: Sequence[Statement]) -> bool:
    """Whether lanes past the end must be told apart while the body runs: they must not fail, nor divide by 0."""
    for s in body:
        if isinstance(s, Check):
            return True
        if isinstance(s, Let) and isinstance(s.value, Binary) and s.value.op in DIVISIONS and s.dtype.is_integer:
            return True
    return False


@record
class BounceEmitter(VectorEmitter):
    """A VectorEmitter whose accesses to `places` go through pointers that can be moved.

    Each access is at the pointer of its place plus the lane variable.
    """

    places: dict[tuple[str, Index], str] = field(default_factory=dict)

    def load(self, e: Load, dtype: DType) -> SsaValue:
        at = self._place(e.buffer, e.index, dtype)
        if at is None:
            return super().load(e, dtype)
        name = self.lines.value(f"load <{self.lanes} x {memory_type(dtype)}>, ptr {at}, align {dtype.size}")
        return self.from_memory(name, dtype, self.lanes)

    def store(self, s: Store) -> None:
        value = self.atom(s.value)
        at = self._place(s.buffer, s.index, value.dtype)
        if at is None:
            super().store(s)
            return
        text = f"<{self.lanes} x {memory_type(value.dtype)}> {self.to_memory(value, self.lanes)}"
        self.lines.do(f"store {text}, ptr {at}, align {value.dtype.size}")

    def _place(self, buffer: str, index: Index, dtype: DType) -> str | None:
        start = self.places.get((buffer, index))
        if start is None:
            return None
        assert self.lane_variable is not None
        return self.address(start, memory_type(dtype), self.indices[self.lane_variable])


@record(frozen=True, slots=True)
class BounceBuffers:
    """Room on the stack for one vector of each place that is touched, and where each is at the moment."""

    touched: Sequence[LanePlace]
    room: Sequence[str]
    pointers: Sequence[str]  # stack slots

    @classmethod
    def at_start(cls, e: VectorEmitter, touched: Sequence[LanePlace]) -> BounceBuffers:
        """Buffers whose pointers are into memory: where lane 0 is when the lane variable is 0."""
        lines = e.lines
        assert e.lane_variable is not None
        at_zero = replace(e, indices={**e.indices, e.lane_variable: 0})
        made = cls(
            touched,
            [lines.slot(f"<{e.lanes} x {memory_type(a.dtype)}>") for a in touched],
            [lines.slot("ptr") for _ in touched],
        )
        for a, pointer in zip(touched, made.pointers, strict=True):
            parts = at_zero.parts(a.index)
            assert parts is not None
            lines.do(f"store ptr {e.address(e.buffers[a.buffer], memory_type(a.dtype), parts[0])}, ptr {pointer}")
        return made

    def places(self, e: VectorEmitter) -> dict[tuple[str, Index], str]:
        return {
            (a.buffer, a.index): e.lines.value(f"load ptr, ptr {pointer}")
            for a, pointer in zip(self.touched, self.pointers, strict=True)
        }

    def bring(self, e: VectorEmitter) -> None:
        """Copies the valid lanes to the stack and moves the pointers there. `e` is masked, at the last iteration."""
        lines = e.lines
        assert e.lane_variable is not None
        # The body adds the lane variable to each pointer, so pointers lie that far before the room on the stack.
        back = lines.sub(0, e.indices[e.lane_variable])
        for a, room, pointer in zip(self.touched, self.room, self.pointers, strict=True):
            memory = memory_type(a.dtype)
            if a.loads:
                value = e.to_memory(e.load(Load(a.buffer, a.index), a.dtype), e.lanes)
                lines.do(f"store <{e.lanes} x {memory}> {value}, ptr {room}")
            lines.do(f"store ptr {e.address(room, memory, back)}, ptr {pointer}")

    def send_back(self, e: VectorEmitter) -> None:
        """Copies the valid lanes of what was stored from the stack to memory. `e` is masked, at the last iteration."""
        for a, room in zip(self.touched, self.room, strict=True):
            if a.stores:
                name = e.lines.value(f"load <{e.lanes} x {memory_type(a.dtype)}>, ptr {room}")
                e.atoms["bounced"] = e.from_memory(name, a.dtype, e.lanes)
                e.store(Store(a.buffer, a.index, Var("bounced", a.dtype)))
