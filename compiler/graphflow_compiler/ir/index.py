"""Constructors of index expressions that fold constants and neutral elements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphflow_compiler.ir.loops import IBinary, IConst, Index, IVar, Statement
from graphflow_compiler.ir.loops_visit import map_index, map_statements


def iadd(a: Index, b: Index) -> Index:
    if isinstance(a, IConst) and isinstance(b, IConst):
        return IConst(a.value + b.value)
    if a == IConst(0):
        return b
    return a if b == IConst(0) else IBinary("add", a, b)


def isub(a: Index, b: Index) -> Index:
    if isinstance(a, IConst) and isinstance(b, IConst):
        return IConst(a.value - b.value)
    return a if b == IConst(0) else IBinary("sub", a, b)


def imul(a: Index, b: Index) -> Index:
    if isinstance(a, IConst) and isinstance(b, IConst):
        return IConst(a.value * b.value)
    if IConst(0) in (a, b):
        return IConst(0)
    if a == IConst(1):
        return b
    return a if b == IConst(1) else IBinary("mul", a, b)


def ifloordiv(a: Index, b: Index) -> Index:
    if isinstance(a, IConst) and isinstance(b, IConst) and b.value:
        return IConst(a.value // b.value)
    return a if b == IConst(1) else IBinary("floordiv", a, b)


def imod(a: Index, b: Index) -> Index:
    if isinstance(a, IConst) and isinstance(b, IConst) and b.value:
        return IConst(a.value % b.value)
    return IConst(0) if b == IConst(1) else IBinary("mod", a, b)


def imin(a: Index, b: Index) -> Index:
    if isinstance(a, IConst) and isinstance(b, IConst):
        return IConst(min(a.value, b.value))
    return a if a == b else IBinary("min", a, b)


def substituted(body: Sequence[Statement], places: Mapping[str, Index]) -> tuple[Statement, ...]:
    """The statements with loop variables replaced wherever they are used in an index, all at once."""

    def index(i: Index) -> Index:
        return map_index(i, lambda part: places.get(part.name) if isinstance(part, IVar) else None)

    return map_statements(body, index=index)
