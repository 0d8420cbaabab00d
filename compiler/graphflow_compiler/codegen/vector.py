"""Straight-line loop IR as LLVM instructions, for one lane or many at once.

`Lines` is the text of one function under construction. A `VectorEmitter` emits `Let`, `Store` and `Check` at one point of
it. Its context is

* `lane_variable`: the name of the loop variable the lanes run along (None: everything is scalar), and `lanes`;
* `indices`: loop variable -> SSA i64 (or Python int) of its value; for the lane variable, the value in lane 0;
* `mask`: SSA name of a ``<lanes x i1>`` that is false in lanes past the end, or None;
* `bound`: the extent of the lane variable (SSA i64 or int): with a mask, lanes past it are clamped wherever an address
  is computed for each lane, so nothing outside is ever read;
* `atoms`: variable name -> `Value`, e.g. ``{"acc": Value("%acc3", float32, 8)}``.

    emitter = VectorEmitter(lines, buffers, dims, lane_variable="j", lanes=8, indices={"i": "%row", "j": "%col", "b": 0},
                            mask="%mask", bound=kernel_n, atoms={"acc": Value("%acc", float32, 8)})
    emitter.statement(statement)        # Let, Store, Check

Values that do not vary along the lanes stay scalar and are splat where they meet a vector. Counters and flags live in
stack slots, which LLVM's SROA turns into registers.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from graphflow.dtypes import DType, bool_, int64
from graphflow.errors import CompileError
from graphflow_compiler.codegen.instructions import Instructions, Lines, Value
from graphflow_compiler.codegen.llvm_text import lanes_type, literal, memory_type
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
    Var,
)

Size: TypeAlias = int | str

__all__ = ["Lines", "Size", "Value", "VectorEmitter"]


@dataclass
class VectorEmitter:
    lines: Lines
    buffers: Mapping[str, str]  # buffer name -> SSA pointer
    dims: Mapping[str, str]  # size name -> SSA i64
    lane_variable: str | None
    lanes: int
    indices: dict[str, Size]
    mask: str | None = None
    bound: Size | None = None
    atoms: dict[str, Value] = field(default_factory=dict)
    flag: str | None = None  # stack slot (i32) that keeps the code of a failed check

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

    def let(self, s: Let) -> Value:
        e, ops = s.value, self.ops
        if isinstance(e, (Const, Var)):
            return self.atom(e)
        if isinstance(e, Unary):
            return ops.unary(e.op, self.atom(e.x))
        if isinstance(e, Binary):
            return ops.binary(e.op, self.atom(e.a), self.atom(e.b))
        if isinstance(e, Select):
            return ops.select(self.atom(e.condition), self.atom(e.a), self.atom(e.b))
        if isinstance(e, Cast):
            return ops.cast(self.atom(e.x), e.dtype)
        if isinstance(e, Bitcast):
            return ops.bitcast(self.atom(e.x), e.dtype)
        if isinstance(e, Call):
            return ops.call(e.fn, [self.atom(a) for a in e.args])
        if isinstance(e, FromIndex):
            return ops.cast(self.index_value(e.index), e.dtype)
        return self.load(e, s.dtype)

    def atom(self, a: Atom) -> Value:
        if isinstance(a, Const):
            return Value(literal(a.value, a.dtype), a.dtype, 1, constant=True)
        return self.atoms[a.name]

    # ------------------------------------------------------------------ indices
    def parts(self, index: Index) -> tuple[Size, Size] | None:
        """(value in lane 0, step from lane to lane), or None if the lanes do not step evenly."""
        add, sub, mul = self.lines.add, self.lines.sub, self.lines.mul
        if isinstance(index, IConst):
            return index.value, 0
        if isinstance(index, IDim):
            return self.dims[index.name], 0
        if isinstance(index, IVar):
            return self.indices[index.name], 1 if index.name == self.lane_variable and self.lanes > 1 else 0
        if isinstance(index, IData):
            value = self.atom(index.value)
            return (self.ops.cast(value, int64).name, 0) if value.lanes == 1 else None
        a, b = self.parts(index.a), self.parts(index.b)
        if a is None or b is None:
            return None
        if index.op == "add":
            return add(a[0], b[0]), add(a[1], b[1])
        if index.op == "sub":
            return sub(a[0], b[0]), sub(a[1], b[1])
        if index.op == "mul" and 0 in (a[1], b[1]):
            return mul(a[0], b[0]), add(mul(a[1], b[0]), mul(a[0], b[1]))
        if a[1] == 0 and b[1] == 0:
            return self.lines.index_binary(index.op, a[0], b[0]), 0
        return None

    def lane_numbers(self) -> Value:
        """0, 1, 2 ... as i64 lanes; past the end clamped to the last valid one."""
        text = "<" + ", ".join(f"i64 {k}" for k in range(self.lanes)) + ">"
        numbers = Value(text, int64, self.lanes, constant=True)
        if self.mask is None:
            return numbers
        assert self.bound is not None and self.lane_variable is not None
        last = self.lines.sub(self.lines.sub(self.bound, 1), self.indices[self.lane_variable])
        return self.ops.binary("min", numbers, Value(str(last), int64, 1))

    def index_value(self, index: Index) -> Value:
        """The index as i64 data: scalar if it does not vary along the lanes."""
        parts = self.parts(index)
        if parts is not None:
            base = Value(str(parts[0]), int64, 1)
            if parts[1] == 0:
                return base
            return self.ops.binary("add", self.ops.binary("mul", self.lane_numbers(), Value(str(parts[1]), int64, 1)), base)
        if isinstance(index, IData):
            return self.ops.cast(self.atom(index.value), int64)
        assert isinstance(index, IBinary)
        op = {"floordiv": "truncdiv", "mod": "truncmod"}.get(index.op, index.op)
        return self.ops.binary(op, self.index_value(index.a), self.index_value(index.b))

    # ------------------------------------------------------------------ memory
    def load(self, e: Load, dtype: DType) -> Value:
        pointer = self.buffers[e.buffer]
        memory, size = memory_type(dtype), dtype.size
        guard = None if e.mask is None else self.atom(e.mask)
        parts = self.parts(e.index)
        if parts is not None and parts[1] == 0 and (guard is None or guard.lanes == 1):
            offset = parts[0] if guard is None else self.guarded(parts[0], guard)
            return self.from_memory(
                self.lines.value(f"load {memory}, ptr {self.address(pointer, memory, offset)}, align {size}"), dtype, 1
            )
        if parts is not None and parts[1] == 1 and guard is None and self.mask is None:
            at = self.address(pointer, memory, parts[0])
            return self.from_memory(
                self.lines.value(f"load <{self.lanes} x {memory}>, ptr {at}, align {size}"), dtype, self.lanes
            )
        if parts is not None and parts[1] == 1 and size >= 4:
            mask = self.ops.lanes(guard) if guard is not None else None
            if mask is None:
                mask = self.mask
            elif self.mask is not None:
                mask = self.lines.value(f"and <{self.lanes} x i1> {mask}, {self.mask}")
            t = f"<{self.lanes} x {memory}>"
            suffix = f"v{self.lanes}{_suffix(memory)}"
            self.lines.declare(f"declare {t} @llvm.masked.load.{suffix}.p0(ptr, i32, <{self.lanes} x i1>, {t})")
            at = self.address(pointer, memory, parts[0])
            name = self.lines.value(
                f"call {t} @llvm.masked.load.{suffix}.p0(ptr {at}, i32 {size}, <{self.lanes} x i1> {mask}, {t} zeroinitializer)"
            )
            return Value(name, dtype, self.lanes)
        return self.gather(pointer, memory, dtype, self.index_value(e.index), guard)

    def guarded(self, offset: Size, guard: Value) -> str:
        return self.lines.value(f"select i1 {guard.name}, i64 {offset}, i64 0")

    def gather(self, pointer: str, memory: str, dtype: DType, index: Value, guard: Value | None) -> Value:
        """One load per lane: the caches serve that as fast as a gather instruction."""
        if guard is not None:
            index = self.ops.select(guard, index, Value("0", int64, 1, constant=True))
        if index.lanes == 1:
            at = self.address(pointer, memory, index.name)
            return self.from_memory(self.lines.value(f"load {memory}, ptr {at}, align {dtype.size}"), dtype, 1)
        result = "poison"
        for k in range(self.lanes):
            offset = self.lines.value(f"extractelement <{self.lanes} x i64> {index.name}, i32 {k}")
            x = self.lines.value(f"load {memory}, ptr {self.address(pointer, memory, offset)}, align {dtype.size}")
            result = self.lines.value(f"insertelement <{self.lanes} x {memory}> {result}, {memory} {x}, i32 {k}")
        return self.from_memory(result, dtype, self.lanes)

    def from_memory(self, name: str, dtype: DType, lanes: int) -> Value:
        if dtype is bool_:
            t = lanes_type("i8", lanes)
            name = self.lines.value(f"icmp ne {t} {name}, {'0' if lanes == 1 else 'zeroinitializer'}")
        return Value(name, dtype, lanes)

    def address(self, pointer: str, memory: str, offset: Size) -> str:
        return pointer if offset == 0 else self.lines.value(f"getelementptr {memory}, ptr {pointer}, i64 {offset}")

    def store(self, s: Store) -> None:
        value = self.atom(s.value)
        dtype = value.dtype
        pointer, memory, size = self.buffers[s.buffer], memory_type(dtype), dtype.size
        parts = self.parts(s.index)
        if self.lanes == 1 or (parts is not None and parts[1] == 0):
            assert parts is not None
            if value.lanes > 1:
                raise CompileError(f"lanes are stored to one place of {s.buffer}")
            text = self.to_memory(value, 1)
            self.lines.do(f"store {memory} {text}, ptr {self.address(pointer, memory, parts[0])}, align {size}")
            return
        text = self.to_memory(value, self.lanes)
        t = f"<{self.lanes} x {memory}>"
        if parts is not None and parts[1] == 1:
            at = self.address(pointer, memory, parts[0])
            if self.mask is None:
                self.lines.do(f"store {t} {text}, ptr {at}, align {size}")
            else:
                suffix = f"v{self.lanes}{_suffix(memory)}"
                self.lines.declare(f"declare void @llvm.masked.store.{suffix}.p0({t}, ptr, i32, <{self.lanes} x i1>)")
                mask = f"<{self.lanes} x i1> {self.mask}"
                self.lines.do(f"call void @llvm.masked.store.{suffix}.p0({t} {text}, ptr {at}, i32 {size}, {mask})")
            return
        if self.mask is not None:
            raise CompileError("a scattered store has no masked form: the tail must be scalar")
        index = self.index_value(s.index)
        for k in range(self.lanes):
            offset = self.lines.value(f"extractelement <{self.lanes} x i64> {index.name}, i32 {k}")
            x = self.lines.value(f"extractelement {t} {text}, i32 {k}")
            self.lines.do(f"store {memory} {x}, ptr {self.address(pointer, memory, offset)}, align {size}")

    def to_memory(self, value: Value, lanes: int) -> str:
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
            self.lines.declare(f"declare i1 @llvm.vector.reduce.or.v{self.lanes}i1(<{self.lanes} x i1>)")
            name = self.lines.value(f"call i1 @llvm.vector.reduce.or.v{self.lanes}i1(<{self.lanes} x i1> {name})")
        old = self.lines.value(f"load i32, ptr {self.flag}")
        new = self.lines.value(f"select i1 {name}, i32 {s.code}, i32 {old}")
        self.lines.do(f"store i32 {new}, ptr {self.flag}")


def _suffix(memory: str) -> str:
    return {"float": "f32", "double": "f64", "half": "f16", "bfloat": "bf16"}.get(memory, memory)
