"""Walks over loop IR: what indices, expressions and statements are made of, and the same with some parts replaced.

Everything that asks about loop IR without caring what each kind of node does goes through here, so that a new node needs
its case in this module and in what gives nodes a meaning (builder, text, verifier, emitters), and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeAlias, TypeVar

from graphflow_compiler.ir.loops import (
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
    IBinary,
    IData,
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

#: The atoms and the index expressions that something holds, in the order of its fields.
Operands: TypeAlias = tuple[tuple[Atom, ...], tuple[Index, ...]]
_T = TypeVar("_T")


def unchanged(x: _T) -> _T:
    return x


# ---------------------------------------------------------------------------------------------- what there is
def statements(body: Sequence[Statement]) -> list[Statement]:
    """Every statement, each before those inside it."""
    found: list[Statement] = []
    for s in body:
        found.append(s)
        if isinstance(s, For):
            found += statements(s.body)
    return found


def loops(body: Sequence[Statement]) -> list[For]:
    """Every loop, outer ones first."""
    return [s for s in statements(body) if isinstance(s, For)]


def operands_of(e: Expr) -> Operands:
    """What an expression reads."""
    match e:
        case Binary():
            return (e.a, e.b), ()
        case Load():
            return () if e.mask is None else (e.mask,), (e.index,)
        case Call():
            return e.args, ()
        case Select():
            return (e.condition, e.a, e.b), ()
        case Unary() | Cast() | Bitcast():
            return (e.x,), ()
        case FromIndex():
            return (), (e.index,)
        case Const() | Var():
            return (e,), ()


def operands(s: Statement) -> Operands:
    """What a statement itself reads; for a loop that is its extent and accumulators, not its body."""
    match s:
        case Let():
            return operands_of(s.value)
        case Store():
            return (s.value,), (s.index,)
        case Check():
            return (s.failed,), ()
        case For():
            return tuple([a.value for a in s.accumulators]), (s.extent,)


def indices(s: Statement) -> tuple[Index, ...]:
    """The index expressions among the operands of a statement, without the rest: most statements have none."""
    if isinstance(s, Let) and not isinstance(s.value, (Load, FromIndex)):
        return ()
    return operands(s)[1]


def defined(s: Statement) -> tuple[str, ...]:
    """The names that may be used after a statement because of it."""
    match s:
        case Let():
            return (s.name,)
        case For():
            return tuple([a.name for a in s.accumulators])
        case Store() | Check():
            return ()


def names_read(s: Statement) -> set[str]:
    """The values and loop variables that a statement itself depends on."""
    atoms, indices = operands(s)
    found = {a.name for a in atoms if isinstance(a, Var)}
    for i in indices:
        found |= index_names(i)
    return found


def buffers_stored(body: Sequence[Statement]) -> set[str]:
    return {s.buffer for s in statements(body) if isinstance(s, Store)}


def index_parts(index: Index) -> list[Index]:
    """An index expression and every expression inside it."""
    found = [index]
    for i in found:  # which grows on the way
        if isinstance(i, IBinary):
            found += (i.a, i.b)
    return found


def index_names(index: Index) -> set[str]:
    """Loop variables and data values an index depends on."""
    found: set[str] = set()
    for i in index_parts(index):
        if isinstance(i, IVar):
            found.add(i.name)
        elif isinstance(i, IData) and isinstance(i.value, Var):
            found.add(i.value.name)
    return found


# ---------------------------------------------------------------------------------------------- made anew
def map_index(index: Index, replacement: Callable[[Index], Index | None]) -> Index:
    """The index with the outermost parts replaced for which `replacement` has something else than None."""
    new = replacement(index)
    if new is not None:
        return new
    if not isinstance(index, IBinary):
        return index
    a, b = map_index(index.a, replacement), map_index(index.b, replacement)
    return index if a is index.a and b is index.b else IBinary(index.op, a, b)


def map_expression(e: Expr, atom: Callable[[Atom], Atom] = unchanged, index: Callable[[Index], Index] = unchanged) -> Expr:
    """The same operation on other operands. An expression of which nothing changes is given back as it is."""
    old_atoms, old_indices = operands_of(e)
    atoms, indices = [atom(a) for a in old_atoms], [index(i) for i in old_indices]
    if all(a is b for a, b in zip((*old_atoms, *old_indices), (*atoms, *indices), strict=True)):
        return e
    match e:
        case Binary():
            return Binary(e.op, *atoms)
        case Load():
            return Load(e.buffer, indices[0], atoms[0] if atoms else None)
        case Call():
            return Call(e.fn, tuple(atoms), e.provided)
        case Select():
            return Select(*atoms)
        case Unary():
            return Unary(e.op, *atoms)
        case Cast() | Bitcast():
            return type(e)(atoms[0], e.dtype)
        case FromIndex():
            return FromIndex(indices[0], e.dtype)
        case Const() | Var():
            return atoms[0]


def map_statements(
    body: Sequence[Statement],
    *,
    atom: Callable[[Atom], Atom] = unchanged,
    index: Callable[[Index], Index] = unchanged,
    expression: Callable[[Expr], Expr] | None = None,
) -> tuple[Statement, ...]:
    """The same statements with other operands; `expression` makes the values of `Let`s, if not by way of their operands.

    Everything is visited in the order of execution, the extent of a loop before its body and its accumulators after it.
    """
    value = expression or partial(map_expression, atom=atom, index=index)
    result: list[Statement] = []
    for s in body:
        match s:
            case Let():
                new = value(s.value)
                result.append(s if new is s.value else replace(s, value=new))
            case Store():
                result.append(Store(s.buffer, index(s.index), atom(s.value)))
            case Check():
                result.append(Check(atom(s.failed), s.code))
            case For():
                extent = index(s.extent)
                inner = map_statements(s.body, atom=atom, index=index, expression=expression)
                accumulators = tuple([replace(a, value=atom(a.value)) for a in s.accumulators])
                result.append(replace(s, extent=extent, body=inner, accumulators=accumulators))
    return tuple(result)
