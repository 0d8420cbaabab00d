"""The rewrite driver: rebuilds a Program node by node, applying rules until none fires.

A rule is a function ``rule(m: Match) -> Value | tuple[Value, ...] | None`` decorated with what it looks at; its docstring
is the rewrite (``x * 1 -> x``). The driver carries provenance: what replaces a node inherits the origins of every node
the rule looked at, so no rule can forget. ``GRAPHFLOW_FUEL=n`` stops after n firings, to bisect a miscompile.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any, TypeAlias

import numpy as np

from graphflow.framework.dtypes import DType, float32, int32, int64
from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import ShapeValue, TensorType
from graphflow.framework.provenance import merge
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, OpDef, lookup
from graphflow.framework.shapes import Shape, static_shape
from graphflow_compiler.frontend import ProgramPolicy
from graphflow_compiler.ir.program import (
    Node,
    Program,
    ProgramBuilder,
    Value,
    live_nodes,
    resolve_shape_value,
    shape_value_of,
)


@record
class PassContext:
    """What passes share in one compilation: the firing budget and the record of what fired."""

    fuel: int = field(default_factory=lambda: int(os.environ.get("GRAPHFLOW_FUEL", "-1")))
    fired: Counter[str] = field(default_factory=Counter)

    def spend(self, rule: str) -> bool:
        """Takes one firing from the budget; False when it is used up."""
        if self.fuel == 0:
            return False
        if self.fuel > 0:
            self.fuel -= 1
        self.fired[rule] += 1
        return True


Replacement: TypeAlias = "Value | tuple[Value, ...] | None"
RuleFn: TypeAlias = "Callable[[Match], Replacement]"


@record(frozen=True)
class Rule:
    name: str
    ops: tuple[str, ...]  # the ops it matches; empty: it looks at kinds and is tried on every node
    function: RuleFn


def rule(*ops: str) -> Callable[[RuleFn], Rule]:
    """Declares a rewrite rule on nodes of the named ops (of any op, if none is named)."""

    def decorate(function: RuleFn) -> Rule:
        return Rule(function.__name__, ops, function)

    return decorate


class Match:
    """What a rule sees: the node (its inputs already rewritten), and means to make new nodes."""

    def __init__(self, driver: Rewriter, node: Node) -> None:
        self.driver = driver
        self.node = node
        self.origins: list[tuple[str, ...]] = [node.origin]

    def input(self, i: int) -> Value:
        value = self.node.inputs[i]
        if value is None:
            raise CompileError(f"{self.node!r}: input {i} is known by value only")
        return value

    def look(self, v: Value) -> Node:
        """The node behind a value; its origin is carried over."""
        self.origins.append(v.node.origin)
        return v.node

    def producer(self, i: int, op: str) -> Node | None:
        """The producer of input i if it is an `op`."""
        v = self.node.inputs[i]
        return self.look(v) if v is not None and v.node.op.name == op else None

    def op(
        self,
        name: str | OpDef,
        *inputs: Value | None,
        attrs: Any = NO_ATTRS,
        values: Sequence[ShapeValue | None] | None = None,
    ) -> Value:
        op = lookup(name) if isinstance(name, str) else name
        return self.driver.builder.add(op, attrs, inputs, values, self.origin()).out()

    def origin(self) -> tuple[str, ...]:
        """The origins of all nodes the rule has looked at."""
        return merge(self.origins)

    def constant(self, array: Any) -> Value:
        return self.driver.builder.constant(array, self.origin())


class Rewriter:
    """Rebuilds a program through a function ``transform(rewriter, node) -> values`` or through rules."""

    def __init__(self, ctx: PassContext) -> None:
        self.ctx = ctx
        self.builder = ProgramBuilder(ProgramPolicy())
        self.changed = False

    def rebuild(self, program: Program, transform: Callable[[Rewriter, Node], Sequence[Value]]) -> Program:
        new: dict[Node, Sequence[Value]] = {}
        for node in program.nodes:
            inputs = [None if v is None else new[v.node][v.index] for v in node.inputs]
            # Types never change by rewriting: they were inferred once, from the feeds.
            moved = self.builder.add(node.op, node.attrs, inputs, self._values(node, inputs), node.origin, node.types)
            new[node] = transform(self, moved)

        def at(v: Value) -> Value:
            return new[v.node][v.index]

        feeds = tuple(at(f.out()).node for f in program.feeds)
        outputs = tuple(at(v) for v in program.outputs)
        updates = tuple((name, at(v)) for name, v in program.updates)
        effects = tuple(dict.fromkeys(new[n][0].node if new[n] else n for n in program.effects))
        nodes = live_nodes(self.builder.nodes, [*outputs, *(v for _, v in updates)], [*effects, *feeds])
        return replace(program, nodes=nodes, feeds=feeds, outputs=outputs, updates=updates, effects=effects)

    @staticmethod
    def _values(node: Node, inputs: Sequence[Value | None]) -> list[ShapeValue | None]:
        return [node.values[i] if v is None else shape_value_of(v) for i, v in enumerate(inputs)]


def values_of(node: Node) -> tuple[Value, ...]:
    return tuple(Value(node, i) for i in range(max(1, len(node.types))))


def apply_rules(program: Program, rules: Sequence[Rule], ctx: PassContext) -> Program:
    """Applies `rules` everywhere until none fires (or fuel or the round limit ends it)."""
    by_op: dict[str, list[Rule]] = {}
    general = [r for r in rules if not r.ops]
    for r in rules:
        for name in r.ops:
            by_op.setdefault(name, []).append(r)

    def transform(rewriter: Rewriter, node: Node) -> Sequence[Value]:
        values = values_of(node)
        for _ in range(64):  # one place cannot keep rewriting for ever
            node = values[0].node
            if len(values) != max(1, len(node.types)) or values[0].index != 0:
                return values
            for r in (*by_op.get(node.op.name, ()), *general):
                match = Match(rewriter, node)
                result = r.function(match)
                if result is None or not ctx.spend(r.name):
                    continue
                rewriter.changed = True
                result = (result,) if isinstance(result, Value) else result
                for old, new in zip(values, result, strict=True):
                    if old.type != new.type:
                        raise CompileError(f"rule {r.name} changed the type of {node!r} from {old.type} to {new.type}")
                values = result
                break
            else:
                return values
        return values

    def idle(program: Program) -> bool:
        """Whether no rule fires anywhere: then there is nothing to rebuild."""
        scout = Rewriter(ctx)
        return not any(
            r.function(Match(scout, node)) is not None
            for node in program.nodes
            for r in (*by_op.get(node.op.name, ()), *general)
        )

    for _ in range(10):
        if idle(program):
            break
        rewriter = Rewriter(ctx)
        program = rewriter.rebuild(program, transform)
        if not rewriter.changed:
            break
    return program


class Expansion:
    """The ExpandContext given to composite ops: makes nodes, expanding nested composites at once."""

    def __init__(self, builder: ProgramBuilder, node: Node, expand: Callable[[Node], Sequence[Value]]) -> None:
        self._builder = builder
        self._expand = expand
        self._origin = node.origin
        self.attrs = node.attrs
        self.inputs = tuple(v.type if v is not None else TensorType(int32, None) for v in node.inputs)
        self.outputs = node.types
        self.values = node.values

    def type(self, value: Value) -> TensorType:
        return value.type

    def op(self, name: str, *inputs: Any, attrs: Any = None, output: int = 0) -> Value:
        operands = [x for x in inputs if isinstance(x, Value)]
        dtype = operands[0].dtype if operands else None
        values = [x if isinstance(x, Value) else self.const(x, dtype or float32) for x in inputs]
        op = lookup(name)
        node = self._builder.add(op, op.attrs() if attrs is None else attrs, values, None, self._origin)
        resolved = resolve_shape_value(self._builder, node)
        return resolved if resolved is not None else self._expand(node)[output]

    def same(self, name: str, *data: Value) -> Value:
        """The op `name` with this op's attributes, shape operands and result type; `data` are its other inputs, in order."""
        rest = iter(data)
        op = lookup(name)
        inputs = [None if k in op.shape_operands else next(rest) for k in range(len(self.inputs))]
        node = self._builder.add(op, self.attrs, inputs, self.values, self._origin, self.outputs)
        return self._expand(node)[0]

    def const(self, value: Any, dtype: DType) -> Value:
        return self._builder.constant(np.asarray(value, dtype.numpy_dtype), self._origin)

    def broadcast_to(self, value: Value, shape: Shape) -> Value:
        if value.shape == shape:
            return value
        return self._shaped("BroadcastTo", value, shape)

    def reshape(self, value: Value, shape: Shape) -> Value:
        if value.shape == shape:
            return value
        return self._shaped("Reshape", value, shape)

    def _shaped(self, name: str, value: Value, shape: Shape) -> Value:
        op = lookup(name)
        target = self._builder.dims(shape, int64 if static_shape(shape) is None else int32, self._origin)
        node = self._builder.add(
            op, op.attrs(), (value, target), (None, shape), self._origin, (TensorType(value.dtype, shape),)
        )
        return self._expand(node)[0]
