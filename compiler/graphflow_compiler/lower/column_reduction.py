"""Column groups: reductions over leading or middle axes, with the elementwise work before and after them."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.framework.shapes import product
from graphflow_compiler.ir.kernels import ELEMENT, ROW
from graphflow_compiler.ir.loops import Atom, Index
from graphflow_compiler.ir.program import Node
from graphflow_compiler.lower.emit import Emitter, LoweredKernel
from graphflow_compiler.lower.loop_nest import (
    finish,
    index_at,
    is_reducing,
    merge_axes,
    nest,
    reduced_operand,
    reduced_over,
    run_extent,
    run_of,
    store_all,
)

#: A reduced axis of fewer elements than this would leave most lanes empty.
SHORT = 8


def lower_column(e: Emitter) -> LoweredKernel:
    """One kernel, whose threads share the columns."""
    kept, reduced = merge_axes(e)
    along = lanes_along_columns(e, kept, reduced)
    with nest(e, kept, vector_last=not along):
        totals = sums(e, [(f"i{k}", run_extent(e, k)) for k in reduced], along)
        results(e, totals)
    return e.kernel(e.b.build(), e.group.nodes)


def lanes_along_columns(e: Emitter, kept: Sequence[int], reduced: Sequence[int]) -> bool:
    """Whether lanes run along the last reduced axis instead of the last kept one: along the last axis of all, loads are
    contiguous (sums over axes 0 and 2 of 64 x 32 x 784: a third of the time). A short one would leave most lanes empty."""
    extent = product(e.group.space[k] for k in run_of(e, reduced[-1]))
    return reduced[-1] > kept[-1] and not (isinstance(extent, int) and extent < SHORT)


def sums(e: Emitter, loops: Sequence[tuple[str, Index]], vector: bool) -> dict[Node, Atom]:
    """The combined values of the reductions over some loops.

    Elements computed on the way are stored where another kernel needs them: each point is visited exactly once.
    """
    group = e.group
    elements = [n for n in group.nodes if group.levels[n] == ELEMENT]
    reductions = [n for n in group.nodes if is_reducing(group, n)]
    outside = dict(e.env)

    def one() -> dict[Node, Atom]:
        for n in elements:
            e.element(n, index_at(e, n, ELEMENT))
        store_all(e, [v for v in group.outputs if group.levels[v.node] == ELEMENT], ELEMENT)
        return {n: reduced_operand(e, n) for n in reductions}

    totals = reduced_over(e, loops, reductions, one, vector)
    e.env = outside  # values of the loops' bodies are not defined after them
    return totals


def results(e: Emitter, totals: dict[Node, Atom]) -> list[Node]:
    """Finishes the reductions of a column and computes what follows from them; returns the nodes of the latter."""
    group = e.group
    for n, total in totals.items():
        finish(e, n, total)
    late = [n for n in group.nodes if group.levels[n] == ROW and n not in totals]
    for n in late:
        e.element(n, index_at(e, n, ROW))
    store_all(e, [v for v in group.outputs if group.levels[v.node] == ROW], ROW)
    return late
