"""Straight-line loop IR as LLVM instructions, for one lane or many at once.

`Lines` is the text of one function under construction. A `VectorEmitter` emits `Let`, `Store` and `Check` at one point of
it. Its context is

* `lane_variable`: the name of the loop variable the lanes run along (None: everything is scalar), and `lanes`;
* `indices`: loop variable -> SSA i64 (or Python int) of its value; for the lane variable, the value in lane 0;
* `mask`: SSA name of a ``<lanes x i1>`` that is false in lanes past the end, or None;
* `bound`: the extent of the lane variable (SSA i64 or int): with a mask, lanes past it are clamped wherever an address
  is computed for each lane, so nothing outside is ever read;
* `atoms`: variable name -> `SsaValue`, e.g. ``{"acc": SsaValue("%acc3", float32, 8)}``.

    emitter = VectorEmitter(lines, buffers, dims, lane_variable="j", lanes=8, indices={"i": "%row", "j": "%col", "b": 0},
                            mask="%mask", bound=kernel_n, atoms={"acc": SsaValue("%acc", float32, 8)})
    emitter.statement(statement)        # Let, Store, Check

Values that do not vary along the lanes stay scalar and are splat where they meet a vector. Counters and flags live in
stack slots, which LLVM's SROA turns into registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field

from graphflow.framework.dims import Factor
from graphflow.framework.dtypes import DType, bool_, float64, int64
from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.instructions import Instructions, SsaValue
from graphflow_compiler.codegen.llvm.llvm_builder import Lines, Size
from graphflow_compiler.codegen.llvm.llvm_text import lanes_type, literal, memory_type, scalar_type
from graphflow_compiler.ir.loops import (
    Atom,
    Binary,
    Bitcast,
    Call,
    Cast,
    Check,
    Const,
    FromIndex,
    IBinary,
    IConst,
    IData,
    IDim,
    Index,
    IVar,
    Let,
    Load,
    Select,
    Statement,
    Store,
    Unary,
)

__all__ = ["Lines", "Size", "SsaValue", "VectorEmitter"]

_ALIGNMENT = 64  # bytes, of every array of a plan
DIVISIONS = ("floordiv", "mod", "truncdiv", "truncmod")


@record
class VectorEmitter:
    lines: Lines
    buffers: Mapping[str, str]  # buffer name -> SSA pointer
    dims: Mapping[Factor, str]  # size -> SSA i64
    lane_variable: str | None
    lanes: int
    indices: dict[str, Size]
    mask: str | None = None
    bound: Size | None = None
    atoms: dict[str, SsaValue] = field(default_factory=dict)
    flag: str | None = None  # stack slot (i32) that keeps the code of a failed check
    streams: frozenset[str] = frozenset()  # buffers that are written past the caches

    def __post_init__(self) -> None:
        self.ops = Instructions(self.lines, self.lanes)

    # ------------------------------------------------------------------ statements
    def statement(self, s: Statement) -> None:
        if isinstance(s, Let):
            self.atoms[s.name] = self.let(s)
        elif isinstance(s, Store):
            self.store(s)
        elif isinstance(s, Check):
            self.check(s)
        else:
            raise CompileError(f"{type(s).__name__} is not straight-line")

    def let(self, s: Let) -> SsaValue:
        e, ops = s.value, self.ops
        if isinstance(e, Binary):
            b = self.atom(e.b)
            if self.mask is not None and e.op in DIVISIONS and not b.dtype.is_floating and b.lanes > 1:
                b = ops.select(SsaValue(self.mask, bool_, self.lanes), b, ops.const(1, b.dtype))  # past the end it is 0
            return ops.binary(e.op, self.atom(e.a), b)
        if isinstance(e, Call):
            return ops.call(e.fn, [self.atom(a) for a in e.args])
        if isinstance(e, Load):
            return self.load(e, s.dtype)
        if isinstance(e, Select):
            return ops.select(self.atom(e.condition), self.atom(e.a), self.atom(e.b))
        if isinstance(e, Unary):
            return ops.unary(e.op, self.atom(e.x))
        if isinstance(e, Cast):
            return ops.cast(self.atom(e.x), e.dtype)
        if isinstance(e, Bitcast):
            return ops.bitcast(self.atom(e.x), e.dtype)
        if isinstance(e, FromIndex):
            return self.from_index(e.index, e.dtype)
        return self.atom(e)

    def atom(self, a: Atom) -> SsaValue:
        if isinstance(a, Const):
            return SsaValue(literal(a.value, a.dtype), a.dtype, 1, constant=True)
        return self.atoms[a.name]

    # ------------------------------------------------------------------ indices
    def parts(self, index: Index) -> tuple[Size, Size] | None:
        """(value in lane 0, step from lane to lane), or None if the lanes do not step evenly."""
        if isinstance(index, IVar):
            return self.indices[index.name], 1 if index.name == self.lane_variable and self.lanes > 1 else 0
        if isinstance(index, IConst):
            return index.value, 0
        if isinstance(index, IDim):
            return self.dims[index.name], 0
        if isinstance(index, IData):
            value = self.atom(index.value)
            return (_size(self.ops.cast(value, int64)), 0) if value.lanes == 1 else None
        a, b = self.parts(index.a), self.parts(index.b)
        if a is None or b is None:
            return None
        add, sub, mul = self.lines.add, self.lines.sub, self.lines.mul
        if index.op == "add":
            return add(a[0], b[0]), add(a[1], b[1])
        if index.op == "sub":
            return sub(a[0], b[0]), sub(a[1], b[1])
        if index.op == "mul" and (a[1] == 0 or b[1] == 0):
            return mul(a[0], b[0]), add(mul(a[1], b[0]), mul(a[0], b[1]))
        if a[1] == 0 and b[1] == 0:
            return self.lines.index_binary(index.op, a[0], b[0]), 0
        return None

    def lane_numbers(self, dtype: DType, step: Size = 1) -> SsaValue:
        """0, step, 2 step ..."""
        scalar = scalar_type(dtype)
        factor = step if isinstance(step, int) else 1
        text = "<" + ", ".join(f"{scalar} {literal(k * factor, dtype)}" for k in range(self.lanes)) + ">"
        numbers = SsaValue(text, dtype, self.lanes)
        if isinstance(step, int):
            return numbers
        return self.ops.binary("mul", numbers, self.ops.cast(_value(step), dtype))

    def _last_lane(self) -> Size:
        """The number of the last lane that is not past the end."""
        assert self.bound is not None and self.lane_variable is not None
        return self.lines.sub(self.lines.sub(self.bound, self.indices[self.lane_variable]), 1)

    def lane_offsets(self, base: Size, step: Size) -> list[Size]:
        """The index in each lane; past the end that of the last lane before it."""
        add, mul = self.lines.add, self.lines.mul
        if self.mask is None:
            return [add(base, mul(step, k)) for k in range(self.lanes)]
        last = self._last_lane()
        return [add(base, mul(step, self.lines.index_binary("min", k, last))) for k in range(self.lanes)]

    def index_value(self, index: Index) -> SsaValue:
        """The index as i64 data, clamped to the end: scalar if it does not vary along the lanes."""
        parts = self.parts(index)
        if parts is not None:
            base = _value(parts[0])
            if parts[1] == 0:
                return base
            numbers = self.lane_numbers(int64)
            if self.mask is not None:
                numbers = self.ops.binary("min", numbers, _value(self._last_lane()))
            if parts[1] != 1:
                numbers = self.ops.binary("mul", numbers, _value(parts[1]))
            return self.ops.binary("add", numbers, base)
        if isinstance(index, IData):
            return self.ops.cast(self.atom(index.value), int64)
        assert isinstance(index, IBinary)
        # Neither side of an index division is negative (see `IBinary`), so truncating is flooring, and takes less code.
        op = {"floordiv": "truncdiv", "mod": "truncmod"}.get(index.op, index.op)
        return self.ops.binary(op, self.index_value(index.a), self.index_value(index.b))

    def from_index(self, index: Index, dtype: DType) -> SsaValue:
        """The index as a value. Lanes are counted in the wanted type: conversions of 64-bit integers are slow."""
        parts = self.parts(index)
        if parts is None:
            return self.ops.cast(self.index_value(index), dtype)
        base = _value(parts[0])
        if parts[1] == 0 or dtype.is_bool:
            return self.ops.cast(base if parts[1] == 0 else self.index_value(index), dtype)
        # In float64 the sum is exact, so float32 is rounded once.
        counted = float64 if dtype.is_floating else dtype
        total = self.ops.binary("add", self.lane_numbers(counted, parts[1]), self.ops.cast(base, counted))
        return self.ops.cast(total, dtype)

    # ------------------------------------------------------------------ memory
    def load(self, e: Load, dtype: DType) -> SsaValue:
        pointer, memory, size = self.buffers[e.buffer], memory_type(dtype), dtype.size
        guard = None if e.mask is None else self.atom(e.mask)
        parts = self.parts(e.index)
        if parts is not None and parts[1] == 0 and (guard is None or guard.lanes == 1):
            if guard is None:
                return self._load_scalar(pointer, parts[0], dtype)
            offset = self.lines.value(f"select i1 {guard.name}, i64 {parts[0]}, i64 0")
            return self.ops.select(guard, self._load_scalar(pointer, offset, dtype), self.ops.const(0, dtype))
        if parts is not None and parts[1] == 1:
            t = lanes_type(memory, self.lanes)
            if guard is None and self.mask is None:
                # Aligned to an element only: rows start anywhere, and numpy's own arrays at multiples of 16 bytes.
                at = self.address(pointer, memory, parts[0])
                return self.from_memory(self.lines.value(f"load {t}, ptr {at}, align {size}"), dtype, self.lanes)
            # Smaller elements have masked loads on few machines: they are read lane by lane, below.
            if size >= 4:
                mask = self._mask_and(guard)
                name = f"@llvm.masked.load.v{self.lanes}{_suffix(memory)}.p0"
                self.lines.declare(f"declare {t} {name}(ptr, i32, <{self.lanes} x i1>, {t})")
                at = self.address(pointer, memory, parts[0])
                arguments = f"ptr {at}, i32 {size}, <{self.lanes} x i1> {mask}, {t} zeroinitializer"
                return SsaValue(self.lines.value(f"call {t} {name}({arguments})"), dtype, self.lanes)
        if guard is not None:
            return self._load_guarded(pointer, dtype, e.index, guard)
        if parts is not None:
            return self._gather(pointer, dtype, self.lane_offsets(*parts))
        return self._gather(pointer, dtype, self._extract(self.index_value(e.index)))

    def _mask_and(self, guard: SsaValue | None) -> str:
        if guard is None:
            assert self.mask is not None
            return self.mask
        if self.mask is None:
            return self.ops.lanes(guard)
        return self.lines.value(f"and <{self.lanes} x i1> {self.ops.lanes(guard)}, {self.mask}")

    def _load_scalar(self, pointer: str, offset: Size, dtype: DType) -> SsaValue:
        memory = memory_type(dtype)
        at = self.address(pointer, memory, offset)
        return self.from_memory(self.lines.value(f"load {memory}, ptr {at}, align {dtype.size}"), dtype, 1)

    def _load_guarded(self, pointer: str, dtype: DType, index: Index, guard: SsaValue) -> SsaValue:
        """Lanes whose guard is false read the first element instead, and give 0."""
        chosen = self.ops.select(guard, self.index_value(index), self.ops.const(0, int64))
        return self.ops.select(guard, self._gather(pointer, dtype, self._extract(chosen)), self.ops.const(0, dtype))

    def _extract(self, index: SsaValue) -> list[Size]:
        if index.lanes == 1:
            return [index.name] * self.lanes
        return [self.lines.value(f"extractelement <{self.lanes} x i64> {index.name}, i32 {k}") for k in range(self.lanes)]

    def _gather(self, pointer: str, dtype: DType, offsets: list[Size]) -> SsaValue:
        """One load per lane: the caches serve that as fast as a gather instruction."""
        memory, value = memory_type(dtype), self.lines.value
        result = "poison"
        for k, offset in enumerate(offsets):
            x = value(f"load {memory}, ptr {self.address(pointer, memory, offset)}, align {dtype.size}")
            result = value(f"insertelement <{self.lanes} x {memory}> {result}, {memory} {x}, i32 {k}")
        return self.from_memory(result, dtype, self.lanes)

    def from_memory(self, name: str, dtype: DType, lanes: int) -> SsaValue:
        if dtype is bool_:
            name = self.lines.value(f"icmp ne {lanes_type('i8', lanes)} {name}, {'0' if lanes == 1 else 'zeroinitializer'}")
        return SsaValue(name, dtype, lanes)

    def address(self, pointer: str, memory: str, offset: Size) -> str:
        return pointer if offset == 0 else self.lines.value(f"getelementptr {memory}, ptr {pointer}, i64 {offset}")

    def store(self, s: Store) -> None:
        value = self.atom(s.value)
        dtype = value.dtype
        pointer, memory, size = self.buffers[s.buffer], memory_type(dtype), dtype.size
        parts = self.parts(s.index)
        if parts is not None and parts[1] == 0:
            if value.lanes > 1:
                raise CompileError(f"lanes are stored to one place of {s.buffer}")
            text = self.to_memory(value, 1)
            self.lines.do(f"store {memory} {text}, ptr {self.address(pointer, memory, parts[0])}, align {size}")
            return
        text = self.to_memory(value, self.lanes)
        if parts is not None and parts[1] == 1:
            # Nontemporal stores must be aligned: lanes of the whole buffer are, as the buffer itself starts at a cache line.
            streams = s.buffer in self.streams and s.index == IVar(self.lane_variable or "")
            self._store_lanes(text, self.address(pointer, memory, parts[0]), memory, size, streams)
            return
        if self.mask is not None:
            raise CompileError("a scattered store has no masked form: the tail must be scalar")
        offsets = self.lane_offsets(*parts) if parts is not None else self._extract(self.index_value(s.index))
        for k, offset in enumerate(offsets):
            x = self.lines.value(f"extractelement <{self.lanes} x {memory}> {text}, i32 {k}")
            self.lines.do(f"store {memory} {x}, ptr {self.address(pointer, memory, offset)}, align {size}")

    def _store_lanes(self, text: str, at: str, memory: str, size: int, streams: bool) -> None:
        lines = self.lines
        t = f"<{self.lanes} x {memory}>"
        if self.mask is None and streams:
            aligned = min(self.lanes * size, _ALIGNMENT)
            lines.do(f"store {t} {text}, ptr {at}, align {aligned}, !nontemporal !{{i32 1}}")
        elif self.mask is None:
            lines.do(f"store {t} {text}, ptr {at}, align {size}")
        elif size >= 4:
            name = f"@llvm.masked.store.v{self.lanes}{_suffix(memory)}.p0"
            lines.declare(f"declare void {name}({t}, ptr, i32, <{self.lanes} x i1>)")
            lines.do(f"call void {name}({t} {text}, ptr {at}, i32 {size}, <{self.lanes} x i1> {self.mask})")
        else:  # masked stores of bytes exist on few machines: the valid ones are copied from the stack
            slot = lines.slot(t)
            lines.do(f"store {t} {text}, ptr {slot}")
            lines.declare("declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
            count = lines.mul(lines.add(self._last_lane(), 1), size)
            lines.do(f"call void @llvm.memcpy.p0.p0.i64(ptr {at}, ptr {slot}, i64 {count}, i1 false)")

    def to_memory(self, value: SsaValue, lanes: int) -> str:
        text = self.ops.lanes(value) if lanes > 1 else value.name
        if value.dtype is bool_:
            return self.lines.value(f"zext {lanes_type('i1', lanes)} {text} to {lanes_type('i8', lanes)}")
        return text

    def check(self, s: Check) -> None:
        failed = self.atom(s.failed)
        assert self.flag is not None, "a check needs a place to keep its code"
        name = failed.name
        if failed.lanes > 1:
            if self.mask is not None:
                name = self.lines.value(f"and <{self.lanes} x i1> {name}, {self.mask}")
            name = self.ops.any(name, self.lanes)
        # The lowest code stays, whichever element fails first: threads must report what one thread does. 0 means none; less 1
        # it is the largest unsigned number, so any code is lower.
        old = self.lines.value(f"load i32, ptr {self.flag}")
        less = self.lines.value(f"icmp ugt i32 {self.lines.value(f'sub i32 {old}, 1')}, {s.code - 1}")
        news = self.lines.value(f"and i1 {name}, {less}")
        self.lines.do(f"store i32 {self.lines.value(f'select i1 {news}, i32 {s.code}, i32 {old}')}, ptr {self.flag}")


def _value(size: Size) -> SsaValue:
    return SsaValue(str(size), int64, 1, constant=isinstance(size, int))


def _size(value: SsaValue) -> Size:
    return int(value.name) if value.constant else value.name


def _suffix(memory: str) -> str:
    return {"float": "f32", "double": "f64", "half": "f16"}.get(memory, memory)
