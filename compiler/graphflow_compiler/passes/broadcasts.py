"""Rewrite rules on values that repeat others: gradients of sums and means are full of them.

An elementwise op broadcasts by itself. Without the repeated value it depends on one producer fewer, so it can ride in the
epilogue of the product or the reduction that makes its other operand.
"""

from __future__ import annotations

from graphflow.framework.kinds import Elementwise, TensorType
from graphflow.framework.shapes import product
from graphflow_compiler.ir.program import Value
from graphflow_compiler.passes.patterns import Anything, Either, Input, P, Some
from graphflow_compiler.passes.rewrite import Match, Replacement, rule

#: Ops that repeat an operand to a given shape, aligned at the last axis.
_REPEATED = Either(P("BroadcastTo", Input("x"), ...), P("Fill", Anything(), Input("x")))


@rule(P(Elementwise, Some(_REPEATED, at="i")))
def repeated_operand_to_operand(m: Match, i: int, x: Value) -> Replacement:
    """x * broadcast_to(y, shape(x)) -> x * y"""
    shape = m.node.types[0].shape
    # Another operand has to give the result its shape.
    if not any(k != i and v is not None and v.shape == shape for k, v in enumerate(m.node.inputs)):
        return None
    return m.with_operand(i, x)


@rule(P(Elementwise))
def function_of_repeated_to_repeated_function(m: Match) -> Replacement:
    """2 * broadcast_to(y) -> broadcast_to(2 * y), where y is a single element: computed once, and the rule above goes on"""
    node, out = m.node, m.node.types[0]
    # What can fail the run must not do so for a shape without elements.
    if node.has_check or out.shape is None:
        return None
    single: list[Value] = []
    repeat = repeated = None
    for v in node.inputs:
        source = v
        if v is not None and v.shape == out.shape:
            for way in _REPEATED.ways(v, node):
                repeat, repeated, source = v.node, way["x"], way["x"]
        if source is None or product(source.shape) != 1:
            return None
        single.append(source)
    if repeat is None or product(out.shape) == 1:
        return None
    scalars = [m.op("Reshape", x, None, values=(None, ())) if x.shape else x for x in single]
    once = m.same(*scalars, type=TensorType(out.dtype, ()))
    operands = [once if x == repeated else x for x in repeat.inputs]
    return m.op(repeat.op, *operands, attrs=repeat.attrs, values=repeat.values, type=out)


BROADCASTS = (repeated_operand_to_operand, function_of_repeated_to_repeated_function)
