"""What the emission of a loop depends on: how wide its lanes are, how much work it is, where it stores."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow_compiler.codegen.llvm.llvm_text import Target
from graphflow_compiler.ir.loops import Check, For, IBinary, IData, Index, IVar, Let, Load, Statement, Store
from graphflow_compiler.ir.loops_visit import statements


def has_check(body: Sequence[Statement]) -> bool:
    return any(isinstance(s, Check) for s in statements(body))


def size_of(loop: For) -> int:
    return sum(not isinstance(s, For) for s in statements(loop.body))


def lane_count(loop: For, target: Target) -> int:
    """Lanes by the element size that goes to and from memory most: 4-byte elements fill a register exactly.

    Loops that compute in nothing wider than 1 or 2 bytes have as many lanes as fit; those that convert to 4 bytes do not.
    """
    moved: list[int] = [a.dtype.size for a in loop.accumulators]
    computed: list[int] = list(moved)
    for s in statements(loop.body):
        if isinstance(s, For):
            moved += [a.dtype.size for a in s.accumulators]
            computed += [a.dtype.size for a in s.accumulators]
        elif isinstance(s, Store):
            moved.append(s.value.dtype.size)
        elif isinstance(s, Let):
            if isinstance(s.value, Load):
                moved.append(s.dtype.size)
            if not s.dtype.is_bool:
                computed.append(s.dtype.size)
    widest = max(computed, default=1)
    if widest <= 2:
        size = widest
    else:
        size = 8 if moved.count(8) > moved.count(4) else 4
    return max(1, target.vector_bits // 8 // size)


def side_by_side(loop: For, small: int, count: int) -> int:
    """`count` if the loop is a small one around reductions, whose chains of additions should overlap; else 1."""
    inner = [s for s in loop.body if isinstance(s, For)]
    if loop.accumulators or not any(s.accumulators for s in inner) or size_of(loop) > small:
        return 1
    return count


def has_scattered_store(loop: For) -> bool:
    """Whether lanes of this loop are stored elsewhere than side by side."""
    return any(isinstance(s, Store) and lane_step(s.index, loop.var) != 1 for s in statements(loop.body))


def lane_step(index: Index, var: str) -> int | None:
    """How far the index moves from one lane to the next, None where that is not known or varies."""
    if isinstance(index, IVar):
        return int(index.name == var)
    if not isinstance(index, IBinary):
        return None if isinstance(index, IData) else 0
    a, b = lane_step(index.a, var), lane_step(index.b, var)
    if a is None or b is None:
        return None
    if index.op in ("add", "sub"):
        return a + b if index.op == "add" else a - b
    return 0 if a == b == 0 else None
