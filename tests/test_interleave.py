"""The order of a loop body: dependencies hold, chains overlap, registers suffice."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from graphflow.framework.dtypes import float32
from graphflow_compiler.codegen.llvm.list_scheduling import interleave
from graphflow_compiler.ir.loops import Binary, Const, IConst, IVar, Let, Load, Statement, Store, Var
from graphflow_compiler.ir.loops_visit import operands

ROW = IVar("i")


def var(name: str) -> Var:
    return Var(name, float32)


def load(name: str, buffer: str) -> Let:
    return Let(name, float32, Load(buffer, ROW))


def add(name: str, a: str, b: str) -> Let:
    return Let(name, float32, Binary("add", var(a), var(b)))


def chains(count: int, length: int) -> list[Statement]:
    """`count` chains of additions, one written after the other, each of its own load and into its own buffer."""
    body: list[Statement] = []
    for c in range(count):
        body.append(load(f"c{c}_0", f"in{c}"))
        body += [Let(f"c{c}_{k + 1}", float32, Binary("add", var(f"c{c}_{k}"), Const(1.0, float32))) for k in range(length)]
        body.append(Store(f"out{c}", ROW, var(f"c{c}_{length}")))
    return body


def most_alive(body: Sequence[Statement]) -> int:
    """The largest number of values that are defined and still to be used."""
    last = {a.name: i for i, s in enumerate(body) for a in atoms(s) if isinstance(a, Var)}
    alive: set[str] = set()
    most = 0
    for i, s in enumerate(body):
        alive -= {a.name for a in atoms(s) if isinstance(a, Var) and last[a.name] == i}
        if isinstance(s, Let) and s.name in last:
            alive.add(s.name)
        most = max(most, len(alive))
    return most


def atoms(s: Statement) -> list[object]:
    return [*operands(s)[0]]


def distance(body: Sequence[Statement]) -> float:
    """How far a value is from where it is used, on average."""
    place = {s.name: i for i, s in enumerate(body) if isinstance(s, Let)}
    found = [i - place[a.name] for i, s in enumerate(body) for a in atoms(s) if isinstance(a, Var)]
    return sum(found) / len(found)


def test_chains_stand_side_by_side() -> None:
    body = chains(3, 20)
    ordered = interleave(body, 16)
    assert sorted(map(repr, ordered)) == sorted(map(repr, body))
    assert distance(body) < 1.2 and distance(ordered) > 2.5 and most_alive(ordered) == 3
    assert interleave(chains(2, 3), 16) == tuple(chains(2, 3))  # a processor sees all of it anyway


def test_registers_are_not_exceeded() -> None:
    body = chains(40, 20)
    assert most_alive(interleave(body, 16)) <= 13
    assert most_alive(interleave(body, 32)) <= 29


@pytest.mark.parametrize("seed", range(20))
def test_dependencies_hold(seed: int) -> None:
    """Reads and writes of a buffer keep their order, and what is used is defined: random bodies mean what they meant."""
    rng = random.Random(seed)
    body: list[Statement] = [load(f"v{k}", f"b{rng.randrange(3)}") for k in range(3)]
    for k in range(3, 60):
        what = rng.random()
        if what < 0.2:
            body.append(load(f"v{k}", f"b{rng.randrange(3)}"))
        elif what < 0.35:
            body += [Store(f"b{rng.randrange(3)}", IConst(0), var(f"v{rng.randrange(k)}")), load(f"v{k}", "b0")]
        else:
            body.append(add(f"v{k}", f"v{rng.randrange(k)}", f"v{rng.randrange(k)}"))
    assert meaning(interleave(body, 16)) == meaning(body)


def meaning(body: Sequence[Statement]) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Each value as an expression of what loads gave, where a load is the number of stores before it."""
    values: dict[str, str] = {}
    stored: dict[str, list[str]] = {}
    for s in body:
        if isinstance(s, Store):
            assert isinstance(s.value, Var)
            stored.setdefault(s.buffer, []).append(str(hash(values[s.value.name])))
        else:
            assert isinstance(s, Let)
            if isinstance(s.value, Load):
                values[s.name] = f"{s.value.buffer} after {stored.get(s.value.buffer, [])}"
            else:
                assert isinstance(s.value, Binary) and isinstance(s.value.a, Var) and isinstance(s.value.b, Var)
                values[s.name] = str(hash((values[s.value.a.name], values[s.value.b.name])))
    return values, stored
