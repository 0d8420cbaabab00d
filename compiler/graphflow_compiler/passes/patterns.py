"""The pattern language of rewrite rules: what a node has to look like for a rule to be asked.

    P("MatMul", "BatchMatMulV2")                         one of these ops, with any operands
    P(View, Input("x"), ...)                               an op of this kind on x; ... stands for further operands
    P(Elementwise, Input("x"), Constant("c"), has="identity")   of a kind, with a fact of its `algebra`
    P("Transpose", P("Transpose", Input("x")))             patterns nest
    P("MatMul", Some(Constant("c"), at="i"))             any one of the operands; i is its number

Where an op's `algebra` says that it is commutative, a pattern of two operands is tried in both orders, the written one first.
Names are bound to Values (`at` to a number), and are the parameters of the rule's function.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import EllipsisType
from typing import Any, Protocol, TypeAlias

from graphflow.framework.registry import OpDef
from graphflow_compiler.ir.program import Node, Value, is_constant

#: What the names of a pattern stand for, in one way to match it.
Bindings: TypeAlias = "dict[str, Any]"

_NO_WAY: Sequence[Bindings] = ()
_ONE_WAY: Sequence[Bindings] = ({},)


class Operand(Protocol):
    """A pattern in the place of an operand; `names` are what it binds."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        """All ways in which operand `v` of `reader` matches. `v` is None for an operand that is known by value only."""
        ...


class Input:
    """Any value that is stored or computed."""

    def __init__(self, name: str) -> None:
        self.names = (name,)

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        return _NO_WAY if v is None else ({self.names[0]: v},)


class Constant:
    """A value that is known at compile time."""

    def __init__(self, name: str) -> None:
        self.names = (name,)

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        return ({self.names[0]: v},) if v is not None and is_constant(v) else _NO_WAY


class Anything:
    """An operand that does not matter, also one that is known by value only."""

    names: tuple[str, ...] = ()

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        return _ONE_WAY


class Again:
    """The same op as the one that reads it, with the same attributes and one operand: the inner f of f(f(x)).

    `bind` names its value.
    """

    def __init__(self, operand: Operand, bind: str = "") -> None:
        self.operand = operand
        self.bind = bind
        self.names = _names([operand], bind)

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        if v is None or v.node.op is not reader.op or v.node.attrs != reader.attrs or len(v.node.inputs) != 1:
            return _NO_WAY
        return _bound(self.operand.ways(v.node.inputs[0], v.node), self.bind, v)


class Either:
    """What matches one of several patterns, which bind the same names; the first that matches counts."""

    def __init__(self, *operands: Operand) -> None:
        self.operands = operands
        self.names = operands[0].names
        if any(set(o.names) != set(self.names) for o in operands):
            raise TypeError("the patterns of Either(...) bind different names")

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        for o in self.operands:
            if found := o.ways(v, reader):
                return found
        return _NO_WAY


class Some:
    """Stands for all operands, of which any one must match; they are tried in order, and `at` names its number."""

    def __init__(self, operand: Operand, at: str) -> None:
        self.operand = operand
        self.at = at
        self.names = _names([operand], at)

    def ways_of(self, node: Node) -> Sequence[Bindings]:
        found = _NO_WAY
        for i, v in enumerate(node.inputs):
            ways = self.operand.ways(v, node)
            if ways:
                found = [*found, *({**way, self.at: i} for way in ways)]
        return found


class P:
    """A node: op names (str) or kinds (classes), then its operands; if none is written, they may be any.

    Args:
        has: a field of `Algebra` that the op must have set ("identity", "idempotent", ...).
        bind: names the value of the node, where it is an operand of another.
    """

    def __init__(self, *parts: str | type | Operand | Some | EllipsisType, has: str = "", bind: str = "") -> None:
        self.ops = tuple(p for p in parts if isinstance(p, str))
        self.kinds = tuple(p for p in parts if isinstance(p, type))
        written = [p for p in parts if not isinstance(p, (str, type))]
        self.some = next((p for p in written if isinstance(p, Some)), None)
        self.operands = tuple(p for p in written if not isinstance(p, (EllipsisType, Some)))
        self.is_open = written[-1:] == [...]
        if len(self.operands) + self.is_open != len(written) - (self.some is not None):
            raise TypeError("... stands once, after all operands")
        if self.some is not None and len(written) > 1:
            raise TypeError("Some(...) stands for all operands")
        self.has = has
        self.bind = bind
        self.names = _names([self.some] if self.some is not None else self.operands, bind)

    def may_be(self, op: OpDef) -> bool:
        """Whether nodes of this op can match, as far as that does not depend on the node."""
        if (self.ops and op.name not in self.ops) or (self.kinds and not isinstance(op.kind, self.kinds)):
            return False
        fact = getattr(op.algebra, self.has) if self.has else True
        return fact is not None and fact is not False  # an identity element may be 0.0

    def ways_of(self, node: Node) -> Sequence[Bindings]:
        """All ways in which a node matches whose op `may_be` this."""
        if self.some is not None:
            return self.some.ways_of(node)
        operands, inputs = self.operands, node.inputs
        if not operands:
            return _ONE_WAY
        if len(inputs) < len(operands) or (len(inputs) > len(operands) and not self.is_open):
            return _NO_WAY
        found = _together(operands, inputs, node)
        if len(operands) == len(inputs) == 2 and node.op.algebra.commutative:
            found = [*found, *_together(operands, inputs[::-1], node)]
        return found

    def ways(self, v: Value | None, reader: Node) -> Sequence[Bindings]:
        if v is None or (self.ops and v.node.op.name not in self.ops) or not self.may_be(v.node.op):
            return _NO_WAY
        return _bound(self.ways_of(v.node), self.bind, v)


def _names(operands: Sequence[Operand | Some], bind: str) -> tuple[str, ...]:
    names = (*(name for o in operands for name in o.names), *([bind] if bind else []))
    if len(set(names)) < len(names):
        raise TypeError(f"a pattern binds a name twice: {', '.join(names)}")
    return names


def _bound(ways: Sequence[Bindings], name: str, v: Value) -> Sequence[Bindings]:
    return [{**way, name: v} for way in ways] if name else ways


def _together(operands: Sequence[Operand], inputs: Sequence[Value | None], node: Node) -> Sequence[Bindings]:
    found = operands[0].ways(inputs[0], node)
    for operand, v in zip(operands[1:], inputs[1:], strict=False):
        if not found:
            break
        found = [{**a, **b} for b in operand.ways(v, node) for a in found]
    return found
