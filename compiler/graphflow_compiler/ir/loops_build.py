"""Builds loop IR: a ScalarBuilder that appends `Let`s, with common subexpressions found as they are made."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from graphflow.core.emit import COMPARE, ScalarBuilder
from graphflow.dtypes import DType, bfloat16, bool_, float16, float32
from graphflow_compiler.ir import vector_math
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
    Index,
    Let,
    Load,
    Select,
    Statement,
    Store,
    Unary,
    Var,
)

Combine = Literal["add", "mul", "max", "min", "and", "or"]
_HALVES = (float16, bfloat16)


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


class LoopBuilder(ScalarBuilder[Atom]):
    """Appends statements to the innermost open loop. float16 and bfloat16 are storage: arithmetic is done in float32."""

    def __init__(self) -> None:
        self._blocks: list[list[Statement]] = [[]]
        self._known: list[dict[Expr, Var]] = [{}]
        self._count = 0

    def fresh(self, hint: str = "v") -> str:
        self._count += 1
        return f"{hint}_{self._count}"

    def build(self) -> tuple[Statement, ...]:
        assert len(self._blocks) == 1, "a loop is still open"
        return tuple(self._blocks[0])

    def _let(self, value: Expr, dtype: DType) -> Atom:
        for known in self._known:
            found = known.get(value)
            if found is not None:
                return found
        var = Var(self.fresh(), dtype)
        self._blocks[-1].append(Let(var.name, dtype, value))
        self._known[-1][value] = var
        return var

    # ------------------------------------------------------------------ ScalarBuilder
    def const(self, value: float | int | bool, dtype: DType) -> Atom:
        if dtype.is_floating:
            return Const(float(value), dtype)
        return Const(bool(value) if dtype.is_bool else int(value), dtype)

    def dtype(self, x: Atom) -> DType:
        return x.dtype

    def unary(self, op: str, x: Atom) -> Atom:
        if x.dtype in _HALVES:
            return self.cast(self.unary(op, self.cast(x, float32)), x.dtype)
        if op in ("floor", "ceil", "round", "trunc") and not x.dtype.is_floating:
            return x
        return self._let(Unary(op, x), x.dtype)

    def binary(self, op: str, a: Atom, b: Atom) -> Atom:
        result = bool_ if op in COMPARE else a.dtype
        if a.dtype in _HALVES:
            wide = self.binary(op, self.cast(a, float32), self.cast(b, float32))
            return wide if result is bool_ else self.cast(wide, a.dtype)
        if op == "mul" and isinstance(b, Const) and b.value == 1:
            return a
        if op == "mul" and isinstance(a, Const) and a.value == 1:
            return b
        return self._let(Binary(op, a, b), result)

    def select(self, condition: Atom, a: Atom | float, b: Atom | float) -> Atom:
        x, y = self._pair(a, b)
        if isinstance(condition, Const):
            return x if condition.value else y
        return self._let(Select(condition, x, y), x.dtype)

    def cast(self, x: Atom, dtype: DType) -> Atom:
        if x.dtype is dtype:
            return x
        if isinstance(x, Const) and not (x.dtype.is_floating and dtype.is_integer) and dtype not in _HALVES:
            return self.const(x.value, dtype)
        if (x.dtype in _HALVES and dtype is not float32) or (dtype in _HALVES and x.dtype is not float32):
            return self.cast(self.cast(x, float32), dtype)
        return self._let(Cast(x, dtype), dtype)

    def bitcast(self, x: Atom, dtype: DType) -> Atom:
        return x if x.dtype is dtype else self._let(Bitcast(x, dtype), dtype)

    def call(self, fn: str, *args: Atom) -> Atom:
        dtype = args[0].dtype
        if dtype in _HALVES:
            return self.cast(self.call(fn, *(self.cast(a, float32) for a in args)), dtype)
        expanded = vector_math.expand(self, fn, args)
        return expanded if expanded is not None else self._let(Call(fn, args), dtype)

    # ------------------------------------------------------------------ memory and indices
    def load(self, buffer: str, index: Index, dtype: DType, mask: Atom | None = None) -> Atom:
        return self._let(Load(buffer, index, mask), dtype)

    def from_index(self, index: Index, dtype: DType) -> Atom:
        return self._let(FromIndex(index, dtype), dtype)

    def store(self, buffer: str, index: Index, value: Atom) -> None:
        self._blocks[-1].append(Store(buffer, index, value))
        for known in self._known:  # what was read from this buffer may have changed
            for e in [e for e in known if isinstance(e, Load) and e.buffer == buffer]:
                del known[e]

    def check(self, failed: Atom, code: int) -> None:
        self._blocks[-1].append(Check(failed, code))

    # ------------------------------------------------------------------ loops
    @contextmanager
    def loop(
        self, var: str, extent: Index, kind: Literal["serial", "vector"] = "serial", parallel: bool = False
    ) -> Iterator[LoopScope]:
        """Statements made inside become the loop's body."""
        scope = LoopScope(self)
        self._blocks.append([])
        self._known.append({})
        yield scope
        body = tuple(self._blocks.pop())
        self._known.pop()
        self._blocks[-1].append(For(var, extent, body, kind, parallel, tuple(scope.accumulators)))


__all__ = ["Combine", "LoopBuilder", "LoopScope"]
