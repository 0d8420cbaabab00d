"""Math functions in a kernel: calls until its code is written, then primitive operations.

A tanh expands to twenty statements. Until code is written, whatever compares or merges kernels reads one statement instead,
and kernels that share a function are expanded once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from graphflow_compiler.ir import functions
from graphflow_compiler.ir.loops import (
    Atom,
    Binary,
    Bitcast,
    Call,
    Cast,
    Check,
    FromIndex,
    GemmKernel,
    IData,
    Index,
    Let,
    Load,
    LoopKernel,
    Select,
    Statement,
    Store,
    Unary,
    Var,
)
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_visit import map_index, statements

#: Roughly how many statements a call expands to.
_CALL = 16
_Kernel = TypeVar("_Kernel", LoopKernel, GemmKernel)


def expand_math(kernel: _Kernel) -> _Kernel:
    """The kernel with every call expanded that the target does not provide."""
    body = kernel.epilogue if isinstance(kernel, GemmKernel) else kernel.body
    if not _has_math(body):
        return kernel
    expansion = _Expansion()
    expansion.statements(body)
    expanded = expansion.builder.build()
    return replace(kernel, epilogue=expanded) if isinstance(kernel, GemmKernel) else replace(kernel, body=expanded)


def _has_math(body: Sequence[Statement]) -> bool:
    return any(_is_math(s) for s in statements(body))


def _is_math(s: Statement) -> bool:
    return isinstance(s, Let) and isinstance(s.value, Call) and not s.value.provided


def work(body: Sequence[Statement]) -> int:
    """Roughly how many statements a block without loops has after expansion."""
    return sum(_CALL if _is_math(s) else 1 for s in body)


class _Expansion:
    """Rebuilds statements with calls expanded.

    `values`: the new atom of each name. Names not in it (the sum of a matrix product) stay as they are.
    """

    def __init__(self) -> None:
        self.builder = LoopBuilder()
        self.values: dict[str, Atom] = {}

    def statements(self, body: Sequence[Statement]) -> None:
        b = self.builder
        for s in body:
            if isinstance(s, Let):
                self.values[s.name] = self.expression(s)
            elif isinstance(s, Store):
                b.store(s.buffer, self.index(s.index), self.atom(s.value))
            elif isinstance(s, Check):
                b.check(self.atom(s.failed), s.code)
            else:
                with b.loop(s.var, self.index(s.extent), s.mode, s.parallel) as loop:
                    self.statements(s.body)
                    for a in s.accumulators:
                        value = self.atom(a.value)
                        self.values[a.name] = loop.accumulate("acc", a.dtype, a.combine, a.init, value)

    def expression(self, s: Let) -> Atom:
        b, e, atom = self.builder, s.value, self.atom
        if isinstance(e, Binary):
            return b.binary(e.op, atom(e.a), atom(e.b))
        if isinstance(e, Load):
            return b.load(e.buffer, self.index(e.index), s.dtype, None if e.mask is None else atom(e.mask))
        if isinstance(e, Call):
            args = [atom(a) for a in e.args]
            return b.library_call(e.fn, *args) if e.provided else functions.expand(b, e.fn, args)
        if isinstance(e, Select):
            return b.select(atom(e.condition), atom(e.a), atom(e.b))
        if isinstance(e, Unary):
            return b.unary(e.op, atom(e.x))
        if isinstance(e, Cast):
            return b.cast(atom(e.x), e.dtype)
        if isinstance(e, Bitcast):
            return b.bitcast(atom(e.x), e.dtype)
        return b.from_index(self.index(e.index), e.dtype) if isinstance(e, FromIndex) else atom(e)

    def atom(self, a: Atom) -> Atom:
        return self.values.get(a.name, a) if isinstance(a, Var) else a

    def index(self, i: Index) -> Index:
        return map_index(i, lambda part: IData(self.atom(part.value)) if isinstance(part, IData) else None)
