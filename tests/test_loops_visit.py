"""Walks over loop IR know every class of it: each is made from its declared fields, and the walks must find what is in it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

from graphflow.framework import dims
from graphflow.framework.dtypes import DType, float32
from graphflow_compiler.ir import loops as ir
from graphflow_compiler.ir.loops import Atom, Const, IBinary, IConst, IData, IDim, Index, IVar, Let, Load, Store, Var
from graphflow_compiler.ir.loops_visit import (
    buffers_stored,
    defined,
    index_names,
    index_parts,
    indices,
    loops,
    map_expression,
    map_index,
    map_statements,
    names_read,
    operands,
    operands_of,
    statements,
)

INDICES, EXPRESSIONS, STATEMENTS = (get_args(union) for union in (ir.Index, ir.Expr, ir.Statement))
ATOMS = get_args(ir.Atom)
FACTOR = get_type_hints(IDim, {**vars(dims), **vars(ir)})["name"]


def made(cls: type, prefix: str = "") -> tuple[Any, list[Atom], list[Index]]:
    """An instance with something in every field, and the atoms and indices that were put there, in the order of fields."""
    atoms: list[Atom] = []
    places: list[Index] = []

    def atom() -> Atom:
        atoms.append(Var(f"{prefix}atom_{len(atoms)}", float32))
        return atoms[-1]

    def content(hint: Any) -> Any:
        if hint in (ir.Atom, ir.Atom | None):
            return atom()
        if hint == tuple[ir.Atom, ...]:
            return atom(), atom()
        if hint == ir.Index:
            places.append(IVar(f"{prefix}index_{len(places)}"))
            return places[-1]
        if hint == ir.Expr:
            return atom()
        if hint == tuple[ir.Statement, ...]:
            return (Store(f"{prefix}inner", IVar(f"{prefix}i"), Var(f"{prefix}x", float32)),)
        if hint == tuple[ir.Accumulator, ...]:
            return (ir.Accumulator("total", float32, "add", 0.0, atom()),)
        if get_origin(hint) is Literal:
            return get_args(hint)[0]
        simple = {str: "name", int: 1, bool: True, DType: float32, float | int | bool: 1.0, FACTOR: "n"}
        return simple[hint]

    hints = get_type_hints(cls, {**vars(dims), **vars(ir)})
    instance = cls(**{f.name: content(hints[f.name]) for f in dataclasses.fields(cls)})
    return (instance, [instance], []) if cls in ATOMS else (instance, atoms, places)


def renamed(prefix: str) -> dict[str, Callable[[Any], Any]]:
    return {
        "atom": lambda a: Var(prefix + a.name, a.dtype) if isinstance(a, Var) else Const(2.0, float32),
        "index": lambda i: IVar(prefix + i.name),
    }


def test_every_class_is_looked_at() -> None:
    classes = {c for c in vars(ir).values() if isinstance(c, type) and dataclasses.is_dataclass(c)}
    parts = {ir.Accumulator, ir.Buffer, ir.LoopKernel, ir.GemmKernel}
    assert classes - {*INDICES, *EXPRESSIONS, *STATEMENTS} == parts


@pytest.mark.parametrize("cls", EXPRESSIONS)
def test_expressions(cls: type) -> None:
    e, atoms, places = made(cls)
    assert operands_of(e) == (tuple(atoms), tuple(places))
    assert indices(Let("x", float32, e)) == tuple(places)
    assert map_expression(e) is e
    expected = {Var: Var("new_name", float32), Const: Const(2.0, float32)}.get(cls) or made(cls, "new_")[0]
    assert map_expression(e, **renamed("new_")) == expected


@pytest.mark.parametrize("cls", STATEMENTS)
def test_statements(cls: type) -> None:
    s, atoms, places = made(cls)
    assert operands(s) == (tuple(atoms), tuple(places))
    assert indices(s) == tuple(places)
    assert names_read(s) == {a.name for a in atoms if isinstance(a, Var)} | {i.name for i in places if isinstance(i, IVar)}
    assert map_statements([s]) == (s,)
    new = made(cls, "new_")[0]
    if isinstance(s, ir.For):
        assert statements([s]) == [s, *s.body]
        # The names of buffers stay: they are no operands.
        new = dataclasses.replace(new, body=(dataclasses.replace(new.body[0], buffer="inner"),))
    else:
        assert statements([s]) == [s]
    assert map_statements([s], **renamed("new_")) == (new,)
    names = [s.name] if hasattr(s, "name") else [a.name for a in getattr(s, "accumulators", ())]
    assert list(defined(s)) == names


@pytest.mark.parametrize("cls", INDICES)
def test_indices(cls: type) -> None:
    index, atoms, inner = made(cls)
    assert index_parts(index) == [index, *inner]
    named = {index.name} if cls is IVar else {i.name for i in inner if isinstance(i, IVar)}
    assert index_names(index) == named | {a.name for a in atoms if isinstance(a, Var)}
    assert map_index(index, lambda i: None) is index
    if inner:
        replaced = map_index(index, lambda i: IVar("new_" + i.name) if isinstance(i, IVar) else None)
        assert replaced == made(cls, "new_")[0]
    assert map_index(index, lambda i: IConst(7)) == IConst(7)


def test_statements_come_before_those_inside_them() -> None:
    a, b, c, d = (Store(name, IConst(0), Const(1.0, float32)) for name in "abcd")
    inner = ir.For("j", IConst(2), (b,))
    outer = ir.For("i", IConst(2), (a, inner, c))
    assert statements([outer, d]) == [outer, a, inner, b, c, d]
    assert loops([outer, d]) == [outer, inner]
    assert buffers_stored([outer]) == {"a", "b", "c"}


def test_the_outermost_part_of_an_index_is_replaced() -> None:
    product = IBinary("mul", IVar("i"), IDim("n"))
    index = IBinary("add", product, IBinary("mod", IVar("i"), IData(Var("x", float32))))
    places: dict[Index, Index] = {product: IVar("g"), IVar("i"): IConst(3)}
    expected = IBinary("add", IVar("g"), IBinary("mod", IConst(3), IData(Var("x", float32))))
    assert map_index(index, places.get) == expected


def test_own_expressions_take_the_place_of_operands() -> None:
    load = Let("x", float32, Load("a", IVar("i")))
    changed = map_statements(
        [ir.For("i", IVar("i"), (load,))], index=lambda i: IConst(4), expression=lambda e: Const(0.0, float32)
    )
    assert changed == (ir.For("i", IConst(4), (Let("x", float32, Const(0.0, float32)),)),)
