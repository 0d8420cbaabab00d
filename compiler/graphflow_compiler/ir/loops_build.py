"""Builds loop IR: a ScalarBuilder that appends `Let`s, with common subexpressions found as they are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from math import copysign
from typing import Literal

from graphflow.framework.dtypes import HALVES, DType, bool_, float32, int64
from graphflow.framework.numpy_builder import Array, NumpyBuilder
from graphflow.framework.scalar_builder import COMPARE
from graphflow_compiler.ir import functions
from graphflow_compiler.ir.functions.floats import FunctionBuilder
from graphflow_compiler.ir.loops import (
    Accumulator,
    Atom,
    Binary,
    Bitcast,
    Call,
    Cast,
    Check,
    Const,
    Expr,
    For,
    FromIndex,
    IConst,
    Index,
    Let,
    Load,
    Select,
    Statement,
    Store,
    Unary,
    Var,
)

_NUMPY = NumpyBuilder()
#: Integer operations without a result where the divisor is 0.
_DIVISIONS = ("floordiv", "mod", "truncdiv", "truncmod")
#: op -> the right operand that changes nothing. (x + 0.0 is not here: it makes -0 positive.)
_NEUTRAL = {"mul": 1, "div": 1, "sub": 0, "shl": 0, "shr": 0}


class LoopScope:
    """A loop being built: `accumulate` adds a reduction over it."""

    def __init__(self, builder: LoopBuilder) -> None:
        self._builder = builder
        self.accumulators: list[Accumulator] = []

    def accumulate(self, hint: str, dtype: DType, combine: str, init: float | int | bool, value: Atom) -> Var:
        """Combines `value` over the iterations; the Var returned may be used after the loop."""
        name = self._builder.fresh(hint)
        self.accumulators.append(Accumulator(name, dtype, combine, init, value))  # type: ignore[arg-type]
        return Var(name, dtype)


class LoopBuilder(FunctionBuilder[Atom]):
    """Appends statements to the innermost open loop. float16 and bfloat16 are storage: arithmetic is done in float32."""

    def __init__(self) -> None:
        self._blocks: list[list[Statement]] = [[]]
        self._known: list[dict[Expr, Var]] = [{}]  # one table for each open block: its values are visible in inner ones
        self._definitions: dict[str, Expr] = {}
        self._loads: dict[str, list[Load]] = {}  # since the last store to the buffer
        self._count = 0

    def fresh(self, hint: str = "v") -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def build(self) -> tuple[Statement, ...]:
        assert len(self._blocks) == 1, "a loop is still open"
        return tuple(self._blocks[0])

    def _let(self, value: Expr, dtype: DType) -> Atom:
        # Hashing an expression is most of the cost here: `setdefault` hashes it once where only one block is open.
        *outer, inner = self._known
        for known in outer:
            if known:
                found = known.get(value)
                if found is not None and found.dtype is dtype:
                    return found
        var = Var(f"v_{self._count + 1}", dtype)
        found = inner.setdefault(value, var)
        if found is not var:
            if found.dtype is dtype:
                return found
            inner[value] = var
        self._count += 1
        self._blocks[-1].append(Let(var.name, dtype, value))
        self._definitions[var.name] = value
        return var

    # ------------------------------------------------------------------ ScalarBuilder
    def const(self, value: float | int | bool, dtype: DType) -> Atom:
        if dtype.is_floating:
            return Const(float(value), dtype)
        return Const(bool(value) if dtype.is_bool else int(value), dtype)

    def dtype(self, x: Atom) -> DType:
        return x.dtype

    def unary(self, op: str, x: Atom) -> Atom:
        if x.dtype in HALVES:
            return self.cast(self.unary(op, self.cast(x, float32)), x.dtype)
        if op in ("floor", "ceil", "round", "trunc") and not x.dtype.is_floating:
            return x
        if isinstance(x, Const):
            return _folded(_NUMPY.unary(op, _array(x)), x.dtype)
        return self._let(Unary(op, x), x.dtype)

    def binary(self, op: str, a: Atom, b: Atom) -> Atom:
        result = bool_ if op in COMPARE else a.dtype
        if a.dtype in HALVES:
            wide = self.binary(op, self.cast(a, float32), self.cast(b, float32))
            return wide if result is bool_ else self.cast(wide, a.dtype)
        if isinstance(b, Const):
            if isinstance(a, Const) and not (op in _DIVISIONS and b.value == 0):
                return _folded(_NUMPY.binary(op, _array(a), _array(b)), result)
            # x - -0.0 turns -0.0 into 0.0
            if _NEUTRAL.get(op) == b.value and not a.dtype.is_bool and not (b.value == 0 and copysign(1.0, b.value) < 0):
                return a
            if a.dtype.is_bool and op in ("and", "or"):
                return a if bool(b.value) == (op == "and") else b
            # Of integers only: -0.0 + 0.0 is 0.0.
            if op == "add" and b.value == 0 and a.dtype.is_integer:
                return a
        elif isinstance(a, Const) and op in ("add", "mul", "and", "or", "xor", "eq", "ne"):
            return self.binary(op, b, a)  # commutative: a constant on the right makes more expressions equal
        return self._let(Binary(op, a, b), result)

    def select(self, condition: Atom, a: Atom | float, b: Atom | float) -> Atom:
        x, y = self._pair(a, b)
        if isinstance(condition, Const):
            return x if condition.value else y
        return x if x is y else self._let(Select(condition, x, y), x.dtype)

    def cast(self, x: Atom, dtype: DType) -> Atom:
        if x.dtype is dtype:
            return x
        if isinstance(x, Const) and x.dtype not in HALVES and dtype not in HALVES:
            return _folded(_NUMPY.cast(_array(x), dtype), dtype)
        if (x.dtype in HALVES and dtype is not float32) or (dtype in HALVES and x.dtype is not float32):
            return self.cast(self.cast(x, float32), dtype)
        if isinstance(x, Var):
            narrowed = self._narrowed(x, self._definitions[x.name], dtype) if x.name in self._definitions else None
            if narrowed is not None:
                return narrowed
        return self._let(Cast(x, dtype), dtype)

    def _narrowed(self, x: Var, e: Expr, dtype: DType) -> Atom | None:
        """The cast of the value of `e` by way of casts of its operands: low digits depend on low digits alone."""
        if isinstance(e, Cast) and e.x.dtype is dtype and dtype.is_integer and x.dtype.is_integer and dtype.size < x.dtype.size:
            return e.x
        if isinstance(e, FromIndex) and x.dtype is int64 and not dtype.is_bool:
            return self.from_index(e.index, dtype)  # lanes count in the wanted type
        if not (isinstance(e, Binary) and x.dtype.is_integer and dtype.is_integer and dtype.size < x.dtype.size):
            return None
        # A mask of all the digits that the narrow type has does nothing before the cast.
        if e.op == "and" and isinstance(e.b, Const) and (int(e.b.value) + 1) % (1 << 8 * dtype.size) == 0:
            return self.cast(e.a, dtype)
        if e.op in ("add", "sub", "mul") and self._is_narrow(e.a, dtype) and self._is_narrow(e.b, dtype):
            return self.binary(e.op, self.cast(e.a, dtype), self.cast(e.b, dtype))
        return None

    def _is_narrow(self, x: Atom, dtype: DType) -> bool:
        e = self._definitions.get(x.name) if isinstance(x, Var) else None
        return (e is None and isinstance(x, Const)) or (isinstance(e, Cast) and e.x.dtype is dtype)

    def bitcast(self, x: Atom, dtype: DType) -> Atom:
        if x.dtype is dtype:
            return x
        if isinstance(x, Const) and x.dtype not in HALVES and dtype not in HALVES:
            return _folded(_NUMPY.bitcast(_array(x), dtype), dtype)
        return self._let(Bitcast(x, dtype), dtype)

    def call(self, fn: str, *args: Atom) -> Atom:
        dtype = args[0].dtype
        if dtype in HALVES:
            return self.cast(self.call(fn, *(self.cast(a, float32) for a in args)), dtype)
        if fn == "pow" and isinstance(args[1], Const):
            power = self._power(args[0], float(args[1].value))
            if power is not None:
                return power
        return self._let(Call(fn, args, provided=not functions.is_expanded(fn, dtype)), dtype)

    def library_call(self, fn: str, *args: Atom) -> Atom:
        """A function that the target provides: ``fma``, or one of the C library."""
        return self._let(Call(fn, args, provided=True), args[0].dtype)

    def _power(self, x: Atom, exponent: float) -> Atom | None:
        """x to a small whole number, by products. (Their roundings add up: not beyond the fourth.)"""
        if exponent not in (1.0, 2.0, 3.0, 4.0, -1.0):
            return None
        if exponent == -1.0:
            return self.div(1.0, x)
        square = self.mul(x, x) if exponent > 1 else x
        return square if exponent <= 2 else self.mul(square, x if exponent == 3.0 else square)

    # ------------------------------------------------------------------ memory and indices
    def load(self, buffer: str, index: Index, dtype: DType, mask: Atom | None = None) -> Atom:
        e = Load(buffer, index, mask)
        self._loads.setdefault(buffer, []).append(e)
        return self._let(e, dtype)

    def from_index(self, index: Index, dtype: DType) -> Atom:
        """The index as data; what does not fit wraps. float16 and bfloat16 are rounded twice, by way of float32."""
        if dtype in HALVES:
            return self.cast(self.from_index(index, float32), dtype)
        if isinstance(index, IConst):
            return self.cast(Const(index.value, int64), dtype)
        return self._let(FromIndex(index, dtype), dtype)

    def store(self, buffer: str, index: Index, value: Atom) -> None:
        self._blocks[-1].append(Store(buffer, index, value))
        for e in self._loads.pop(buffer, ()):  # what was read from this buffer may have changed
            for known in self._known:
                known.pop(e, None)

    def check(self, failed: Atom, code: int) -> None:
        self._blocks[-1].append(Check(failed, code))

    # ------------------------------------------------------------------ loops
    @contextmanager
    def loop(
        self, var: str, extent: Index, mode: Literal["serial", "vector"] = "serial", parallel: bool = False
    ) -> Iterator[LoopScope]:
        """Statements made inside become the loop's body."""
        scope = LoopScope(self)
        self._blocks.append([])
        self._known.append({})
        yield scope
        # Not in a `finally`: what an exception leaves open is of no use to anyone.
        body = tuple(self._blocks.pop())
        self._known.pop()
        self._blocks[-1].append(For(var, extent, body, mode, parallel, tuple(scope.accumulators)))


def _array(x: Const) -> Array:
    return _NUMPY.const(x.value, x.dtype)


def _folded(value: Array, dtype: DType) -> Const:
    return Const(value.item(), dtype)


__all__ = ["LoopBuilder", "LoopScope"]
