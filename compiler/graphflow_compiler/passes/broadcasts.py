"""Rewrite rules on values that repeat others: gradients of sums and means are full of them.

An elementwise op broadcasts by itself. Without the repeated value it depends on one producer fewer, so it can ride in the
epilogue of the product or the reduction that makes its other operand.
"""

from __future__ import annotations

from graphflow.framework.kinds import Elementwise, TensorType
from graphflow.framework.shapes import product
from graphflow_compiler.ir.program import Value
from graphflow_compiler.passes.rewrite import Match, Replacement, rule

#: Ops that repeat an operand to a given shape, aligned at the last axis, by the number of that operand.
_REPEATED = {"BroadcastTo": 0, "Fill": 1}


def _source(v: Value | None) -> Value | None:
    """What `v` repeats, if it does."""
    position = None if v is None else _REPEATED.get(v.node.op.name)
    return None if v is None or position is None else v.node.inputs[position]


@rule()
def repeated_operand_to_operand(m: Match) -> Replacement:
    """x * broadcast_to(y, shape(x)) -> x * y"""
    node = m.node
    if not isinstance(node.op.kind, Elementwise):
        return None
    shape = node.types[0].shape
    for i, v in enumerate(node.inputs):
        source = _source(v)
        if (
            v is None
            or source is None
            or not any(k != i and x is not None and x.shape == shape for k, x in enumerate(node.inputs))
        ):
            continue
        m.look(v)
        inputs = [source if k == i else x for k, x in enumerate(node.inputs)]
        return m.driver.builder.add(node.op, node.attrs, inputs, None, m.origin(), node.types).out()
    return None


@rule()
def function_of_repeated_to_repeated_function(m: Match) -> Replacement:
    """2 * broadcast_to(y) -> broadcast_to(2 * y), where y is a single element: computed once, and the rule above goes on"""
    node = m.node
    kind, out = node.op.kind, node.types[0] if node.types else None
    # What can fail the run must not do so for a shape without elements.
    if not isinstance(kind, Elementwise) or node.has_check or out is None or out.shape is None:
        return None
    single: list[Value] = []
    repeat = None
    for v in node.inputs:
        source = _source(v)
        if v is not None and source is not None and v.shape == out.shape:
            repeat = v.node
            m.look(v)
        else:
            source = v
        if source is None or product(source.shape) != 1:
            return None
        single.append(source)
    if repeat is None or product(out.shape) == 1:
        return None
    once = TensorType(out.dtype, ())
    scalars = [m.op("Reshape", x, None, values=(None, ())) if x.shape else x for x in single]
    made = m.driver.builder.add(node.op, node.attrs, scalars, None, m.origin(), (once,)).out()
    return m.driver.builder.add(
        repeat.op,
        repeat.attrs,
        [made if k == _REPEATED[repeat.op.name] else x for k, x in enumerate(repeat.inputs)],
        repeat.values,
        m.origin(),
        (out,),
    ).out()


BROADCASTS = (repeated_operand_to_operand, function_of_repeated_to_repeated_function)
