"""Map groups as loops."""

from __future__ import annotations

from graphflow_compiler.ir.kernels import ELEMENT
from graphflow_compiler.lower.emit import Emitter, LoweredKernel
from graphflow_compiler.lower.loop_nest import index_at, merge_axes, nest, store_all


def lower_map(e: Emitter) -> LoweredKernel:
    """Every element on its own: the outer axis is shared out, the innermost is the vector."""
    group = e.group
    axes, _ = merge_axes(e)
    with nest(e, axes, vector_last=True):
        for node in group.nodes:
            e.element(node, index_at(e, node, ELEMENT))
        store_all(e, group.outputs, ELEMENT)
    return e.kernel(e.b.build(), group.nodes)
