"""Scalar operations as LLVM instructions on one lane or many."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from graphflow.framework.dtypes import DType, bfloat16, bool_, float16, float32, float64, int32
from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow.framework.scalar_builder import COMPARE
from graphflow_compiler.codegen.llvm.llvm_builder import Lines
from graphflow_compiler.codegen.llvm.llvm_text import lanes_type, literal, scalar_type, splat


@record(frozen=True, slots=True)
class SsaValue:
    """An SSA value (or a literal, where `constant`): one lane or many."""

    name: str
    dtype: DType
    lanes: int
    constant: bool = False


# `contract` is the only fast-math flag: it lets LLVM make fused multiply-adds. All of them together gained nothing (0.98
# against 0.95 ns an element of a chain of tanh, sigmoid and exp), and would let results depend on the code around them.
_FLOAT = {"add": "fadd contract", "sub": "fsub contract", "mul": "fmul contract", "div": "fdiv"}
_INTEGER = {"add": "add", "sub": "sub", "mul": "mul", "and": "and", "or": "or", "xor": "xor", "shl": "shl"}
# A NaN is unequal to everything, hence the one unordered predicate; every other comparison with it is false.
_FLOAT_COMPARE = {"eq": "oeq", "ne": "une", "lt": "olt", "le": "ole", "gt": "ogt", "ge": "oge"}
_ROUNDING = {"floor": "floor", "ceil": "ceil", "trunc": "trunc", "round": "roundeven", "sqrt": "sqrt", "abs": "fabs"}
#: C names of the functions that are called lane by lane.
_LIBM = {
    "exp", "expm1", "log", "log1p", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "tanh", "asinh", "acosh",
    "atanh", "erf", "erfc", "lgamma", "pow", "atan2",
}  # fmt: skip


#: Functions that are called for few arguments only, others being replaced by 0, with their values there. None is the argument
#: itself, which keeps the sign of zero: tan of float64 has no expanded form, so it is called with every argument, -0.0 too.
_AT_ZERO = {"sin": None, "cos": 1.0, "tan": None}
_NAN = {d: literal(float("nan"), d) for d in (float16, bfloat16, float32, float64)}


@lru_cache(maxsize=256)
def _intrinsic(name: str, dtype: DType, lanes: int, count: int) -> tuple[str, str, str]:
    """(type, text of a call up to its arguments, declaration) of an intrinsic for this element type and number of lanes."""
    t = lanes_type(scalar_type(dtype), lanes)
    short = {"half": "f16", "float": "f32", "double": "f64"}[scalar_type(dtype)]
    full = f"llvm.{name}." + (f"v{lanes}{short}" if lanes > 1 else short)
    return t, f"call {t} @{full}", f"declare {t} @{full}({', '.join([t] * count)})"


__all__ = ["Instructions", "Lines", "SsaValue"]


@record
class Instructions:
    """Emits operations for vectors of `width` lanes; operands of one lane are splat where they meet a vector."""

    lines_: Lines
    width: int

    # ------------------------------------------------------------------ lanes
    def lanes(self, v: SsaValue) -> str:
        """The value as a vector of `width` lanes."""
        if v.lanes > 1 or self.width == 1:
            return v.name
        t = scalar_type(v.dtype)
        if v.constant:
            return splat(v.name, t, self.width)
        return self.lines_.splat(t, self.width, v.name)

    def _meet(self, *values: SsaValue) -> tuple[list[str], int]:
        for v in values:
            if v.lanes > 1:
                return [u.name if u.lanes > 1 else self.lanes(u) for u in values], v.lanes
        return [u.name for u in values], 1

    def _type(self, dtype: DType, lanes: int) -> str:
        return lanes_type(scalar_type(dtype), lanes)

    def const(self, value: float | int | bool, dtype: DType) -> SsaValue:
        return SsaValue(literal(value, dtype), dtype, 1, constant=True)

    # ------------------------------------------------------------------ operations
    def unary(self, op: str, x: SsaValue) -> SsaValue:
        t = self._type(x.dtype, x.lanes)
        if op == "not":
            return self.binary("xor", x, self.const(True, bool_))
        if op == "invert":
            return self.binary("xor", x, self.const(True if x.dtype.is_bool else -1, x.dtype))
        if x.dtype.is_floating:
            if op == "neg":
                return SsaValue(self.lines_.value(f"fneg {t} {x.name}"), x.dtype, x.lanes)
            return self.intrinsic(_ROUNDING[op], x)
        if op == "neg":
            return self.binary("sub", self.const(0, x.dtype), x)
        if op == "abs":
            if x.dtype.is_unsigned:
                return x
            negative = self.binary("lt", x, self.const(0, x.dtype))
            return self.select(negative, self.unary("neg", x), x)
        raise CompileError(f"{op} of {x.dtype.name}")

    def intrinsic(self, name: str, *args: SsaValue) -> SsaValue:
        names, lanes = self._meet(*args)
        dtype = args[0].dtype
        t, call, declaration = _intrinsic(name, dtype, lanes, len(args))
        self.lines_.declare(declaration)
        return SsaValue(self.lines_.value(f"{call}({', '.join([f'{t} {n}' for n in names])})"), dtype, lanes)

    def binary(self, op: str, a: SsaValue, b: SsaValue) -> SsaValue:
        if op in COMPARE:
            return self._compare(op, a, b)
        dtype = a.dtype
        if op in ("max", "min"):
            return self._extreme(op, a, b)
        if dtype.is_floating:
            if op in _FLOAT:
                return self._plain(_FLOAT[op], a, b)
            if op == "floordiv":
                return self.unary("floor", self.binary("div", a, b))
            if op == "truncdiv":
                return self.unary("trunc", self.binary("div", a, b))
            if op in ("mod", "truncmod"):
                return self._float_mod(op, a, b)
            raise CompileError(f"{op} of {dtype.name}")
        if dtype.is_bool and op in ("add", "mul"):
            op = "or" if op == "add" else "and"
        if op in _INTEGER:
            return self._plain(_INTEGER[op], a, b)
        if op == "shr":
            return self._plain("lshr" if dtype.is_unsigned else "ashr", a, b)
        return self._integer_division(op, a, b)

    def _plain(self, instruction: str, a: SsaValue, b: SsaValue) -> SsaValue:
        (x, y), lanes = self._meet(a, b)
        return SsaValue(self.lines_.value(f"{instruction} {self._type(a.dtype, lanes)} {x}, {y}"), a.dtype, lanes)

    def _compare(self, op: str, a: SsaValue, b: SsaValue) -> SsaValue:
        (x, y), lanes = self._meet(a, b)
        t = self._type(a.dtype, lanes)
        if a.dtype.is_floating:
            return SsaValue(self.lines_.value(f"fcmp {_FLOAT_COMPARE[op]} {t} {x}, {y}"), bool_, lanes)
        sign = "" if op in ("eq", "ne") else "u" if a.dtype.is_unsigned or a.dtype.is_bool else "s"
        return SsaValue(self.lines_.value(f"icmp {sign}{op} {t} {x}, {y}"), bool_, lanes)

    def _extreme(self, op: str, a: SsaValue, b: SsaValue) -> SsaValue:
        """A comparison and a select, which is one instruction on x86: unordered, it gives its second operand."""
        if a.dtype.is_bool:
            return self._plain("or" if op == "max" else "and", a, b)
        if b.constant:
            a, b = b, a
        better = self.select(self._compare("gt" if op == "max" else "lt", a, b), a, b)
        if not a.dtype.is_floating or (a.constant and a.name != _NAN[a.dtype]):
            return better
        # A NaN in b is already the result (the comparison is false); one in a is put back.
        return self.select(self._compare("ne", a, a), a, better)

    def _float_mod(self, op: str, a: SsaValue, b: SsaValue) -> SsaValue:
        rest = self._plain("frem", a, b)
        self._needs_fmod(a.dtype)
        if op == "truncmod":
            return rest
        zero = self.const(0.0, a.dtype)
        differ = self.binary("xor", self._compare("lt", rest, zero), self._compare("lt", b, zero))
        adjust = self.binary("and", self._compare("ne", rest, zero), differ)
        return self.select(adjust, self.binary("add", rest, b), rest)

    def _needs_fmod(self, dtype: DType) -> None:
        """LLVM turns frem into a call of fmod; naming it lets the loader check that it is there."""
        t = scalar_type(dtype)
        self.lines_.declare(f"declare {t} @{'fmodf' if dtype is float32 else 'fmod'}({t}, {t})")

    def _integer_division(self, op: str, a: SsaValue, b: SsaValue) -> SsaValue:
        dtype = a.dtype
        if dtype.is_unsigned:
            return self._plain("udiv" if op in ("floordiv", "truncdiv") else "urem", a, b)
        # INT_MIN / -1 traps in hardware: -1 is divided by separately, and wraps.
        minus = self._compare("eq", b, self.const(-1, dtype))
        safe = self.select(minus, self.const(1, dtype), b)
        q = self.select(minus, self.unary("neg", a), self._plain("sdiv", a, safe))
        if op == "truncdiv":
            return q
        r = self.binary("sub", a, self.binary("mul", q, b))
        if op == "truncmod":
            return r
        zero = self.const(0, dtype)
        differ = self._compare("lt", self.binary("xor", r, b), zero)
        adjust = self.binary("and", self._compare("ne", r, zero), differ)
        if op == "mod":
            return self.select(adjust, self.binary("add", r, b), r)
        return self.select(adjust, self.binary("sub", q, self.const(1, dtype)), q)

    def select(self, condition: SsaValue, a: SsaValue, b: SsaValue) -> SsaValue:
        lanes = max(condition.lanes, a.lanes, b.lanes)
        x, y = (self.lanes(v) if lanes > 1 else v.name for v in (a, b))
        t = self._type(a.dtype, lanes)
        c = f"<{lanes} x i1> {self.lanes(condition)}" if condition.lanes > 1 else f"i1 {condition.name}"
        return SsaValue(self.lines_.value(f"select {c}, {t} {x}, {t} {y}"), a.dtype, lanes)

    def bitcast(self, x: SsaValue, dtype: DType) -> SsaValue:
        if scalar_type(x.dtype) == scalar_type(dtype):
            return SsaValue(x.name, dtype, x.lanes, x.constant)
        made = self.lines_.value(f"bitcast {self._type(x.dtype, x.lanes)} {x.name} to {self._type(dtype, x.lanes)}")
        return SsaValue(made, dtype, x.lanes)

    def cast(self, x: SsaValue, dtype: DType) -> SsaValue:
        source = x.dtype
        if source is dtype:
            return x
        if source is bfloat16:
            return self.cast(self._from_bfloat16(x), dtype)
        if dtype is bool_:
            return self._compare("ne", x, self.const(0, source))
        if dtype is bfloat16:
            return self._to_bfloat16(x)
        t, u = self._type(source, x.lanes), self._type(dtype, x.lanes)
        if source.is_floating and dtype.is_floating:
            op = "fpext" if dtype.size > source.size else "fptrunc"
        elif source.is_floating:
            return self._saturate(x, dtype)
        elif dtype.is_floating:
            op = "uitofp" if source.is_unsigned or source.is_bool else "sitofp"
        elif dtype.size == source.size and not source.is_bool:
            return SsaValue(x.name, dtype, x.lanes, x.constant)
        elif dtype.size < source.size:
            op = "trunc"
        else:
            op = "zext" if source.is_unsigned or source.is_bool else "sext"
        return SsaValue(self.lines_.value(f"{op} {t} {x.name} to {u}"), dtype, x.lanes)

    def _saturate(self, x: SsaValue, dtype: DType) -> SsaValue:
        """float -> int: towards zero, clamped to the range, NaN gives 0.

        Plain fptosi is poison for what does not fit, and machines differ in what they make of it.
        """
        t, u = self._type(x.dtype, x.lanes), self._type(dtype, x.lanes)
        short = {"half": "f16", "float": "f32", "double": "f64"}[scalar_type(x.dtype)]
        many = f"v{x.lanes}" if x.lanes > 1 else ""
        name = f"llvm.fpto{'u' if dtype.is_unsigned else 's'}i.sat.{many}{scalar_type(dtype)}.{many}{short}"
        self.lines_.declare(f"declare {u} @{name}({t})")
        return SsaValue(self.lines_.value(f"call {u} @{name}({t} {x.name})"), dtype, x.lanes)

    def _to_bfloat16(self, x: SsaValue) -> SsaValue:
        """Round to nearest even, by bits: the truncation that LLVM would call is not in every C library."""
        bits = self.bitcast(self.cast(x, float32), int32)
        odd = self.binary("and", self._plain("lshr", bits, self.const(16, int32)), self.const(1, int32))
        rounded = self.binary("add", bits, self.binary("add", odd, self.const(0x7FFF, int32)))
        # A NaN with set bits only in the half that is dropped would be cut to an infinity: its quiet bit stays.
        quiet = self.binary("or", bits, self.const(0x400000, int32))
        chosen = self.select(self._compare("ne", self.cast(x, float32), self.cast(x, float32)), quiet, rounded)
        high = self._plain("lshr", chosen, self.const(16, int32))
        short = self.lines_.value(f"trunc {lanes_type('i32', high.lanes)} {high.name} to {lanes_type('i16', high.lanes)}")
        return SsaValue(short, bfloat16, x.lanes)

    def _from_bfloat16(self, x: SsaValue) -> SsaValue:
        wide = self.lines_.value(f"zext {lanes_type('i16', x.lanes)} {x.name} to {lanes_type('i32', x.lanes)}")
        bits = self._plain("shl", SsaValue(wide, int32, x.lanes), self.const(16, int32))
        return self.bitcast(bits, float32)

    def any(self, mask: str, lanes: int) -> str:
        """Whether a mask is true in any lane."""
        self.lines_.declare(f"declare i1 @llvm.vector.reduce.or.v{lanes}i1(<{lanes} x i1>)")
        return self.lines_.value(f"call i1 @llvm.vector.reduce.or.v{lanes}i1(<{lanes} x i1> {mask})")

    def call(self, fn: str, args: Sequence[SsaValue]) -> SsaValue:
        if fn == "fma":
            return self.intrinsic("fma", *args) if self.lines_.fused else self._soft_fma(args)
        if fn not in _LIBM or args[0].dtype not in (float32, float64):
            raise CompileError(f"no function {fn} for {args[0].dtype.name}")
        names, lanes = self._meet(*args)
        dtype = args[0].dtype
        if fn in _AT_ZERO:
            return self._rare_call(fn, SsaValue(names[0], dtype, lanes))
        return SsaValue(self._library_call(fn, names, dtype, lanes), dtype, lanes)

    def _soft_fma(self, args: Sequence[SsaValue]) -> SsaValue:
        """Without the instruction: float32 is exact in float64, but for a second rounding; float64 is left to the library."""
        if args[0].dtype is float32:
            a, x, c = (self.cast(v, float64) for v in args)
            return self.cast(self.binary("add", self._plain("fmul", a, x), c), float32)
        names, lanes = self._meet(*args)
        return SsaValue(self._library_call("fma", names, float64, lanes), float64, lanes)

    def _library_call(self, fn: str, names: Sequence[str], dtype: DType, lanes: int) -> str:
        """Calls the C library's function once for each lane.

        LLVM would do the same with a call on vectors: llvmlite has none of its vector libraries, whatever option one sets.
        """
        t = scalar_type(dtype)
        symbol = fn + ("f" if dtype is float32 else "")
        self.lines_.declare(f"declare {t} @{symbol}({', '.join([t] * len(names))})")
        if lanes == 1:
            return self.lines_.value(f"call {t} @{symbol}({', '.join(f'{t} {n}' for n in names)})")
        result = "poison"
        for k in range(lanes):
            parts = [self.lines_.value(f"extractelement <{lanes} x {t}> {n}, i32 {k}") for n in names]
            one = self.lines_.value(f"call {t} @{symbol}({', '.join(f'{t} {p}' for p in parts)})")
            result = self.lines_.value(f"insertelement <{lanes} x {t}> {result}, {t} {one}, i32 {k}")
        return result

    def _rare_call(self, fn: str, x: SsaValue) -> SsaValue:
        """A library call that is jumped over if all lanes are 0, as they are wherever the expanded form is exact enough."""
        lines = self.lines_
        t = self._type(x.dtype, x.lanes)
        needed = self._compare("ne", x, self.const(0.0, x.dtype)).name
        before, call, after = lines.label(), lines.label(), lines.label()
        if x.lanes > 1:
            needed = self.any(needed, x.lanes)
        lines.do(f"br label %{before}")
        lines.place(before)
        lines.do(f"br i1 {needed}, label %{call}, label %{after}")
        lines.place(call)
        called = self._library_call(fn, [x.name], x.dtype, x.lanes)
        lines.do(f"br label %{after}")
        lines.place(after)
        value = _AT_ZERO[fn]
        at_zero = x.name if value is None else splat(literal(value, x.dtype), scalar_type(x.dtype), x.lanes)
        return SsaValue(lines.value(f"phi {t} [ {at_zero}, %{before} ], [ {called}, %{call} ]"), x.dtype, x.lanes)
