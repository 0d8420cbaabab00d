"""Map and column groups as loops."""

from __future__ import annotations

from graphflow_compiler.ir.kernels import ELEMENT, ROW
from graphflow_compiler.lower.emit import Emitter, LoweredKernel
from graphflow_compiler.lower.nest import (
    finish,
    index_at,
    merge_axes,
    nest,
    reduced_operand,
    reduced_over,
    run_extent,
    store_all,
)


def lower_map(e: Emitter) -> LoweredKernel:
    """Every element on its own: the outer axis is shared out, the innermost is the vector."""
    group = e.group
    axes, _ = merge_axes(e)
    with nest(e, axes, vector_last=True):
        for node in group.nodes:
            e.element(node, index_at(e, node, ELEMENT))
        store_all(e, group.outputs, ELEMENT)
    return e.kernel(e.b.build(), group.nodes)


def lower_column(e: Emitter) -> LoweredKernel:
    """Reduction over leading or middle axes: lanes run along the last kept axis, so every load is contiguous."""
    group = e.group
    node = group.root
    kept, reduced = merge_axes(e)
    with nest(e, kept, vector_last=True):
        loops = [(f"i{k}", run_extent(e, k)) for k in reduced]
        totals = reduced_over(e, loops, [node], lambda: {node: reduced_operand(e, node)}, vector=False)
        finish(e, node, totals[node])
        for n in group.nodes[1:]:
            e.element(n, index_at(e, n, ROW))
        store_all(e, group.outputs, ROW)
    return e.kernel(e.b.build(), group.nodes)
