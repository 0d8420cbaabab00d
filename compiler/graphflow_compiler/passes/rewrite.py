"""The rewrite driver: rebuilds a Program node by node, applying rules until none fires.

A rule is a function decorated with a pattern (`patterns`); its docstring is the rewrite (``x * 1 -> x``). It makes nodes
through its `Match` alone: the driver knows all that a rewrite makes and removes, and hands on the names (`origins`), so no rule
can forget one. ``GRAPHFLOW_FUEL=n`` stops after n firings, to bisect a miscompile.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import field, replace
from typing import Any, TypeAlias

import numpy as np

from graphflow.framework import environment
from graphflow.framework.dtypes import DType, float32, int32, int64
from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import ShapeValue, TensorType
from graphflow.framework.provenance import merge
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, OpDef, lookup
from graphflow.framework.shapes import Shape, static_shape
from graphflow_compiler.frontend import ProgramPolicy
from graphflow_compiler.ir.program import (
    NearMiss,
    Node,
    Program,
    ProgramBuilder,
    Value,
    live_nodes,
    resolve_shape_value,
    shape_value_of,
)
from graphflow_compiler.passes.origins import NamingBuilder
from graphflow_compiler.passes.patterns import Bindings, P


@record
class PassContext:
    """What passes share in one compilation: the firing budget, the record of what fired, and of what nearly did."""

    fuel: int = field(default_factory=lambda: environment.whole_number("GRAPHFLOW_FUEL", 0, -1))
    fired: Counter[str] = field(default_factory=Counter)
    near_misses: dict[str, list[NearMiss]] = field(default_factory=dict)  # by rule, of the program as it was left

    def spend(self, rule: str) -> bool:
        """Takes one firing from the budget; False when it is used up."""
        if self.fuel == 0:
            return False
        if self.fuel > 0:
            self.fuel -= 1
        self.fired[rule] += 1
        return True


#: What a rule returns: the value (or one per output) that replaces the node; None if the rule is not about this node; or, if
#: it nearly was, why it does not fire, for users to read in `explain`.
Replacement: TypeAlias = "Value | tuple[Value, ...] | str | None"


@record(frozen=True)
class Rule:
    name: str
    rewrite: str  # ``before -> after``
    pattern: P
    function: Callable[..., Replacement]  # of the Match and what the pattern binds


def rule(pattern: P) -> Callable[[Callable[..., Replacement]], Rule]:
    """Declares a function to be the rewrite rule of a pattern. Its parameters are the match and the names of the pattern."""

    def decorate(function: Callable[..., Replacement]) -> Rule:
        name, rewrite = function.__name__, (function.__doc__ or "").partition("\n")[0]
        code = function.__code__
        bound = code.co_varnames[1 : code.co_argcount]
        if re.fullmatch(r"[a-z0-9_]+_to_[a-z0-9_]+", name) is None or " -> " not in rewrite:
            raise TypeError(f"rule {name}: its name is <what>_to_<what>, and its docstring begins with `before -> after`")
        if set(bound) != set(pattern.names):
            raise TypeError(f"rule {name} takes {', '.join(bound)}, but its pattern binds {', '.join(pattern.names)}")
        return Rule(name, rewrite, pattern, function)

    return decorate


class Match:
    """What a rule sees: the node, with operands already rewritten, and ways to make new nodes, which get the node's name."""

    __slots__ = ("_make", "node")

    def __init__(self, node: Node, make: ProgramBuilder) -> None:
        self.node = node
        self._make = make

    def op(
        self,
        name: str | OpDef,
        *inputs: Value | None,
        attrs: Any = NO_ATTRS,
        values: Sequence[ShapeValue | None] | None = None,
        type: TensorType | None = None,
    ) -> Value:
        """The op on some operands. `values`: those of operands that are given as None. The type is inferred unless given."""
        op = lookup(name) if isinstance(name, str) else name
        return self._make.add(op, attrs, inputs, values, self.node.origin, None if type is None else (type,)).out()

    def same(self, *inputs: Value | None, attrs: Any = None, type: TensorType | None = None) -> Value:
        """The node's op on as many other operands; attributes and type are the node's unless given."""
        node = self.node
        return self.op(
            node.op,
            *inputs,
            attrs=node.attrs if attrs is None else attrs,
            values=[node.values[i] if v is None else shape_value_of(v) for i, v in enumerate(inputs)],
            type=node.types[0] if type is None else type,
        )

    def with_operand(self, i: int, v: Value, attrs: Any = None) -> Value:
        """As `same`, with the node's operands but for number i."""
        return self.same(*(v if k == i else x for k, x in enumerate(self.node.inputs)), attrs=attrs)

    def constant(self, array: Any) -> Value:
        return self._make.constant(array, self.node.origin)


class Rewriter:
    """Rebuilds a program through a function ``transform(rewriter, node) -> values`` or through rules."""

    def __init__(self, ctx: PassContext) -> None:
        self.ctx = ctx
        self.builder = NamingBuilder(ProgramPolicy())
        self.origins = self.builder.origins
        self.changed = False

    def rebuild(self, program: Program, transform: Callable[[Rewriter, Node], Sequence[Value]]) -> Program:
        new: dict[Node, Sequence[Value]] = {}
        for node in program.nodes:
            inputs = [None if v is None else new[v.node][v.index] for v in node.inputs]
            # Types never change by rewriting: they were inferred once, from the feeds.
            moved = self.builder.add(node.op, node.attrs, inputs, self._values(node, inputs), node.origin, node.types)
            self.origins.moved(node, moved)
            new[node] = transform(self, moved)
            self.origins.finished(node, moved, new[node])

        def at(v: Value) -> Value:
            return new[v.node][v.index]

        feeds = tuple(at(f.out()).node for f in program.feeds)
        outputs = tuple(at(v) for v in program.outputs)
        updates = tuple((name, at(v)) for name, v in program.updates)
        for i, v in enumerate(program.outputs):
            self.origins.returned(i, v.node, outputs[i])
        for name, v in program.updates:
            self.origins.returned(name, v.node, at(v))
        effects = tuple(dict.fromkeys(new[n][0].node if new[n] else n for n in program.effects))
        nodes = live_nodes(self.builder.nodes, [*outputs, *(v for _, v in updates)], [*effects, *feeds])
        renamed, aliases = self.origins.settle(self.builder.nodes, nodes)
        for n, origin in renamed:
            self.builder.rename(n, origin)
        aliases = {**program.aliases, **{key: merge([names, program.aliases.get(key, ())]) for key, names in aliases.items()}}
        return replace(program, nodes=nodes, feeds=feeds, outputs=outputs, updates=updates, effects=effects, aliases=aliases)

    @staticmethod
    def _values(node: Node, inputs: Sequence[Value | None]) -> list[ShapeValue | None]:
        return [node.values[i] if v is None else shape_value_of(v) for i, v in enumerate(inputs)]

    def replace(self, node: Node, values: Sequence[Value]) -> Sequence[Value]:
        """Notes that the values stand in the place of a node just made, and returns them."""
        self.changed = True
        self.origins.replaced(node, values)
        return values

    def expansion(self, node: Node, expand: Callable[[Node], Sequence[Value]]) -> Expansion:
        return Expansion(self.builder, node, expand)


def values_of(node: Node) -> tuple[Value, ...]:
    return tuple(Value(node, i) for i in range(max(1, len(node.types))))


class _Rules:
    """Rules by the ops that they can be about. Those that name ops are tried before those that know kinds."""

    def __init__(self, rules: Sequence[Rule]) -> None:
        self._rules = sorted(rules, key=lambda r: not r.pattern.ops)
        self._of_op: dict[str, list[Rule]] = {}

    def of(self, node: Node) -> list[Rule]:
        found = self._of_op.get(node.op.name)
        if found is None:
            found = self._of_op[node.op.name] = [r for r in self._rules if r.pattern.may_be(node.op)]
        return found


def _tried(r: Rule, ways: Sequence[Bindings], match: Match) -> Replacement:
    """What the rule makes of the first way to match that it takes, else why it takes none."""
    reason = None
    for way in ways:
        result = r.function(match, **way)
        if result is None or isinstance(result, str):
            reason = result or reason
        else:
            return result
    return reason


def apply_rules(program: Program, rules: Sequence[Rule], ctx: PassContext) -> Program:
    """Applies `rules` everywhere until none fires (or fuel or the round limit ends it)."""
    table = _Rules(rules)

    def transform(rewriter: Rewriter, node: Node) -> Sequence[Value]:
        values: Sequence[Value] = values_of(node)
        for _ in range(64):  # one place cannot keep rewriting for ever
            node = values[0].node
            if len(values) != max(1, len(node.types)) or values[0].index != 0:
                return values
            match = Match(node, rewriter.builder)
            for r in table.of(node):
                ways = r.pattern.ways_of(node)
                result = _tried(r, ways, match) if ways else None
                if result is None or isinstance(result, str) or not ctx.spend(r.name):
                    continue
                result = (result,) if isinstance(result, Value) else result
                for old, new in zip(values, result, strict=True):
                    if old.type != new.type:
                        raise CompileError(f"rule {r.name} changed the type of {node!r} from {old.type} to {new.type}")
                values = rewriter.replace(node, result)
                break
            else:
                return values
        return values

    def idle(program: Program) -> bool:
        """Whether no rule fires anywhere: then there is nothing to rebuild."""
        # What rules make while they are only asked must not end up in the program.
        scout = ProgramBuilder(ProgramPolicy())
        missed: dict[str, list[NearMiss]] = {r.name: [] for r in rules}
        for node in program.nodes:
            match = Match(node, scout)
            for r in table.of(node):
                ways = r.pattern.ways_of(node)
                result = _tried(r, ways, match) if ways else None
                if isinstance(result, str):
                    missed[r.name].append(NearMiss(r.name, node.origin[-1] if node.origin else node.op.name, result))
                elif result is not None:
                    return False
        ctx.near_misses |= missed
        return True

    # One rebuild may set up matches in nodes that it has passed already, so it is repeated; the limit ends rules that undo
    # each other.
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
