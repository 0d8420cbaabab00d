"""The names of what a rebuild removes, and who takes them over.

A rewrite puts another value in the place of a node. The names of the node, and of all that only it needed, go to what stands
there now, so that errors, `explain`, dumps and pictures still know them. Feeds, variables, constants and reshaped views are
computed by no kernel: names that come to one of these (``x * 1.0 -> x``) go on to the nodes that read it in the place of what
was removed, and to the value itself where the program returns it.

A name is part of no node's identity: equal nodes stay one node, and no key of anything depends on what is settled here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import chain

from graphflow.framework.kinds import ShapeOf, View
from graphflow.framework.provenance import merge
from graphflow_compiler.ir.program import LEAVES, Node, Value, is_constant

#: Removed nodes, and names of nodes equal to one, that a node takes over at most: settling must stay linear where thousands of
#: nodes stand in the place of the same thousands.
_MOST = 1000


class Origins:
    """What happens to nodes in one rebuild, noted as it happens, and settled when it is known what is left."""

    def __init__(self) -> None:
        self._before: dict[Node, list[Node]] = {}  # node -> those whose names it takes over if they are removed
        self._equal: dict[Node, list[tuple[str, ...]]] = {}  # node -> names of others that have become equal to it
        self._read_as: dict[Node, Node] = {}  # node of the old program -> the one whose names its readers take over

    def moved(self, old: Node, new: Node) -> None:
        """`new` is `old` on operands that are rewritten already."""
        if new.origin != old.origin:
            self._equal.setdefault(new, []).append(old.origin)
        if self._read_as:
            for v in old.data_inputs:
                if v.node in self._read_as:
                    self._before.setdefault(new, []).append(self._read_as[v.node])

    def replaced(self, node: Node, values: Iterable[Value]) -> None:
        """The values stand in the place of the node, which has just been made."""
        for new in {v.node: None for v in values}:
            if new is not node:
                self._before.setdefault(new, []).append(node)

    def finished(self, old: Node, new: Node, values: Iterable[Value]) -> None:
        """Whoever read `old`, which was moved to `new`, reads these values."""
        for v in values:
            if v.node is new and new not in self._before:
                continue
            base = _stored(v)
            # What a kernel computes has the names in that kernel.
            if _is_external(base) or (base is not v.node and not set(new.origin) <= set(base.origin)):
                self._read_as[old] = new

    def returned(self, old: Node, value: Value) -> None:
        """The program returns `value`, or stores it in a variable, where it did so with a value of `old`."""
        if old in self._read_as:
            for node in {value.node: None, _stored(value): None}:
                self._before.setdefault(node, []).append(self._read_as[old])

    def settle(self, made: Sequence[Node], live: Iterable[Node]) -> Iterable[tuple[Node, tuple[str, ...]]]:
        """The live nodes among those `made` that take over names, each with its new origin. Its own name stays the last: that
        is the op that runs, and that may fail."""
        if not self._before and not self._equal:
            return
        alive = set(live)
        removed = {n: self._removed_for(n, alive) for n in chain(self._before, self._equal) if n in alive}
        shared = _shared(made, {n for nodes in removed.values() for n in nodes if _is_unnamed(n)})
        for node, nodes in removed.items():
            names = self._equal.get(node, [])[:_MOST]
            for n in sorted(nodes - shared, key=lambda n: n.id):
                names += [*self._equal.get(n, [])[:_MOST], n.origin]
            own = set(node.origin)
            gained = [name for name in merge(names) if name not in own]
            if gained:
                yield node, (*gained, *node.origin)

    def _removed_for(self, node: Node, alive: set[Node]) -> set[Node]:
        """The removed nodes in whose place the node stands: those it replaces, and what only they needed."""
        seen: set[Node] = set()
        todo = [*self._before.get(node, ())]
        while todo and len(seen) < _MOST:
            n = todo.pop()
            if n in seen:
                continue
            seen.add(n)
            if n not in alive:
                todo += [v.node for v in n.data_inputs]
                todo += self._before.get(n, ())
            elif _is_view(n):  # it is still there, but hands on what it has taken over
                todo += self._before.get(n, ())
        return seen - alive


def _is_view(node: Node) -> bool:
    return isinstance(node.op.kind, View)


def _is_external(node: Node) -> bool:
    return node.op in LEAVES or is_constant(node.out())


def _stored(v: Value) -> Node:
    """The node whose elements a value is, if it is a view of them."""
    while _is_view(v.node) and v.node.inputs[0] is not None:
        v = v.node.inputs[0]
    return v.node


def _is_unnamed(node: Node) -> bool:
    return is_constant(node.out()) or isinstance(node.op.kind, ShapeOf)


def _shared(made: Iterable[Node], candidates: set[Node]) -> set[Node]:
    """Those of some constants and sizes that several nodes read. Equal ones are one node with the name of the first: handed on,
    it would come to nodes that it has nothing to do with."""
    if not candidates:
        return candidates
    readers = Counter(m for n in made for m in {v.node for v in n.inputs if v is not None} & candidates)
    return {n for n, count in readers.items() if count > 1}
