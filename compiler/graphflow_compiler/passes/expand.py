"""expand_composites: replaces composite ops and state updates by what they are made of."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import Composite, StateUpdate
from graphflow_compiler.ir.program import Node, Program, Value
from graphflow_compiler.passes.rewrite import Expansion, PassContext, Rewriter, values_of


def expand_composites(program: Program, ctx: PassContext) -> Program:
    """Every Composite and StateUpdate node becomes nodes of primitive kinds; nested ones too."""

    def transform(rewriter: Rewriter, node: Node) -> Sequence[Value]:
        return _expand(rewriter, node)

    if not any(isinstance(n.op.kind, (Composite, StateUpdate)) for n in program.nodes):
        return program
    return Rewriter(ctx).rebuild(program, transform)


def _expand(rewriter: Rewriter, node: Node) -> Sequence[Value]:
    kind = node.op.kind
    if not isinstance(kind, (Composite, StateUpdate)):
        return values_of(node)
    context = rewriter.expansion(node, lambda n: _expand(rewriter, n))
    result = kind.expand(context, *node.inputs)
    values = (result,) if isinstance(result, Value) else tuple(result)
    if len(values) != len(node.types):
        raise CompileError(f"{node.op.name} expands to {len(values)} values for {len(node.types)} outputs")
    fixed = []
    for value, type_ in zip(values, node.types, strict=True):
        if value.dtype is not type_.dtype:
            raise CompileError(f"{node.op.name} expands to {value.type} where its output is {type_}")
        assert type_.shape is not None
        # Same sizes may have been inferred under another symbol; the node's own type is the one consumers were told.
        fixed.append(value if value.shape == type_.shape else _retype(rewriter, context, value, type_.shape))
    return rewriter.replace(node, fixed)


def _retype(rewriter: Rewriter, context: Expansion, value: Value, shape: object) -> Value:
    if len(value.shape) != len(shape):  # type: ignore[arg-type]
        raise CompileError(f"{value.node!r} has shape {value.shape} where {shape} was inferred")
    return context.reshape(value, shape)  # type: ignore[arg-type]
