"""Loop-invariant code motion on the loop IR: what does not change in a loop is computed before it."""

from __future__ import annotations

from dataclasses import replace

from graphflow_compiler.ir.loops import (
    Atom,
    Binary,
    Bitcast,
    Call,
    Cast,
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
    LoopKernel,
    Select,
    Statement,
    Store,
    Unary,
    Var,
)


def operands(e: Expr) -> tuple[list[Atom], list[Index]]:
    """The atoms and index expressions an expression reads."""
    if isinstance(e, (Const, Var)):
        return [e], []
    if isinstance(e, Unary):
        return [e.x], []
    if isinstance(e, Binary):
        return [e.a, e.b], []
    if isinstance(e, Select):
        return [e.condition, e.a, e.b], []
    if isinstance(e, (Cast, Bitcast)):
        return [e.x], []
    if isinstance(e, Call):
        return list(e.args), []
    if isinstance(e, FromIndex):
        return [], [e.index]
    return ([e.mask] if e.mask is not None else []), [e.index]


def index_names(index: Index) -> set[str]:
    """Loop variables and data values an index depends on."""
    found: set[str] = set()
    todo: list[Index] = [index]
    while todo:
        i = todo.pop()
        if isinstance(i, IVar):
            found.add(i.name)
        elif isinstance(i, IBinary):
            todo += [i.a, i.b]
        elif isinstance(i, IData) and isinstance(i.value, Var):
            found.add(i.value.name)
    return found


def hoist_invariants(kernel: LoopKernel) -> LoopKernel:
    """Moves every `Let` out of the loops it does not depend on; loads only from buffers the kernel never writes.

    A loop may run zero times, so a load moved out must have a valid address all the same: one that depends on loop
    variables and sizes has (every buffer is backed by memory), one that depends on data may not and stays.
    """
    written = _written(kernel.body)
    return replace(kernel, body=_block(kernel.body, written))


def _written(body: tuple[Statement, ...]) -> set[str]:
    found: set[str] = set()
    todo: list[Statement] = list(body)
    while todo:
        s = todo.pop()
        if isinstance(s, Store):
            found.add(s.buffer)
        elif isinstance(s, For):
            todo += s.body
    return found


def _block(body: tuple[Statement, ...], written: set[str]) -> tuple[Statement, ...]:
    result: list[Statement] = []
    for s in body:
        if not isinstance(s, For):
            result.append(s)
            continue
        inner = _block(s.body, written)
        varying = {s.var}
        stays: list[Statement] = []
        for t in inner:
            if isinstance(t, Let) and not _varies(t, varying, written):
                result.append(t)
                continue
            if isinstance(t, Let):
                varying.add(t.name)
            elif isinstance(t, For):
                varying |= {a.name for a in t.accumulators}
            stays.append(t)
        result.append(replace(s, body=tuple(stays)))
    return tuple(result)


def _varies(let: Let, varying: set[str], written: set[str]) -> bool:
    if isinstance(let.value, Load) and (let.value.buffer in written or _by_data(let.value.index)):
        return True
    atoms, indices = operands(let.value)
    if any(isinstance(a, Var) and a.name in varying for a in atoms):
        return True
    return any(index_names(i) & varying for i in indices)


def _by_data(index: Index) -> bool:
    if isinstance(index, IBinary):
        return _by_data(index.a) or _by_data(index.b)
    return isinstance(index, IData)
