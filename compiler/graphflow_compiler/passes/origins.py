"""The names of what a rebuild removes, and who takes them over.

A rewrite puts another value in the place of a node. The names of the node, and of all that only it needed, go to what stands
there now, so that errors, `explain`, dumps and pictures still know them. Feeds, variables, constants and reshaped views are
computed by no kernel: names that come to one of these (``x * 1.0 -> x``) go on to the nodes that read it in the place of what
was removed, and, where the program returns it or stores it in a variable, to the program's aliases.

A name is part of no node's identity: equal nodes stay one node, and no key of anything depends on what is settled here.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeAlias

from graphflow.framework.kinds import ShapeOf, View
from graphflow.framework.provenance import merge
from graphflow.framework.shapes import DimPolicy
from graphflow_compiler.ir.program import LEAVES, Node, ProgramBuilder, Value, is_constant

Names: TypeAlias = "tuple[str, ...]"

#: Removed nodes, and names of nodes equal to one, that a node takes over at most: settling must stay linear where thousands of
#: nodes stand in the place of the same thousands.
_MOST = 256


class Origins:
    """A log of what happens to nodes in one rebuild. `settle` makes names of it, once it is known which nodes are left."""

    def __init__(self) -> None:
        self._equal: dict[Node, list[Names]] = {}  # node -> names of others that are equal to it
        self._replaced: dict[Node, list[Node]] = {}  # node -> those in whose place it stands
        self._read: dict[Node, list[Node]] = {}  # node -> those in whose place it reads something that no kernel computes
        self._read_as: dict[Node, Node] = {}  # node of the old program -> the one in whose place its readers read something
        self._returned: dict[int | str, Node] = {}  # output, or variable -> the one in whose place the program has something

    def equal(self, node: Node, names: Names) -> None:
        """Notes that a node for the operations of these names existed already."""
        if not _is_shared(node):
            self._equal.setdefault(node, []).append(names)

    def moved(self, old: Node, new: Node) -> None:
        """Notes that `new` is `old` on operands that are rewritten already."""
        if self._read_as:
            for v in old.data_inputs:
                if v.node in self._read_as:
                    self._read.setdefault(new, []).append(self._read_as[v.node])

    def replaced(self, node: Node, values: Iterable[Value]) -> None:
        """Notes that the values stand in the place of the node, which has just been made."""
        for new in {v.node: None for v in values}:
            if new is not node:
                self._replaced.setdefault(new, []).append(node)

    def finished(self, old: Node, new: Node, values: Iterable[Value]) -> None:
        """Notes that whoever read `old`, which was moved to `new`, now reads these values."""
        for v in values:
            if v.node is new and new not in self._read and new not in self._replaced:
                continue
            base = _stored(v)
            # A value that some kernel computes keeps its names there; only one without a kernel hands them to its readers.
            if _is_external(base) or (base is not v.node and not set(new.origin) <= set(base.origin)):
                self._read_as[old] = new

    def returned(self, key: int | str, old: Node, value: Value) -> None:
        """Notes that output or variable `key`, which was a value of `old`, is now this value."""
        if old not in self._read_as:
            return
        base = _stored(value)
        if _is_external(base):
            self._returned[key] = self._read_as[old]
        else:
            self._replaced.setdefault(base, []).append(self._read_as[old])

    def settle(self, made: Sequence[Node], live: Iterable[Node]) -> tuple[list[tuple[Node, Names]], dict[int | str, Names]]:
        """Who takes over which names, now that the nodes are known that stay live.

        Returns the nodes among those `made` that take over names, each with its new origin, and the new aliases of outputs
        and variables. A node's own name stays the last: that is the op that runs, and that may fail.
        """
        renamed: list[tuple[Node, Names]] = []
        if not (self._equal or self._replaced or self._read or self._returned):
            return renamed, {}
        alive = set(live)
        concerned = dict.fromkeys((*self._equal, *self._replaced, *self._read))
        keys = [n for n in concerned if n in alive and not _is_external(n)]
        placed = {n: self._removed(self._replaced.get(n, ()), alive) for n in keys}
        read = {n: self._removed(self._read[n], alive) - placed[n] for n in keys if n in self._read}
        returned = {key: self._removed([head], alive) for key, head in self._returned.items()}
        removed = {n for nodes in (*placed.values(), *read.values(), *returned.values()) for n in nodes}
        shared = _read_by_several(made, {n for n in removed if _is_shared(n)})
        names: dict[Node, Names] = {}  # of removed nodes

        def names_of(nodes: Iterable[Node], own: set[str] | None = None) -> Iterator[Names]:
            """The names of removed nodes, but not of those that come from the same operation as their reader."""
            for n in sorted(nodes, key=lambda n: n.id):
                if n in shared or n.op in LEAVES:
                    continue
                found = names.get(n)
                if found is None:
                    found = names[n] = merge([*self._equal.get(n, ())[:_MOST], n.origin])
                if own is None or own.isdisjoint(found):
                    yield found

        for node in keys:
            own = set(node.origin)
            gained = merge([*self._equal.get(node, ())[:_MOST], *names_of(placed[node]), *names_of(read.get(node, ()), own)])
            if not own.issuperset(gained):
                renamed.append((node, (*(name for name in gained if name not in own), *node.origin)))
        return renamed, {key: merge(names_of(nodes)) for key, nodes in returned.items()}

    def _removed(self, heads: Iterable[Node], alive: set[Node]) -> set[Node]:
        """The removed nodes among `heads`, and the removed ones that those had replaced or that only they needed."""
        seen: set[Node] = set()
        todo = [*heads]
        while todo and len(seen) < _MOST:
            n = todo.pop()
            if n in seen:
                continue
            seen.add(n)
            if n not in alive:
                todo += [v.node for v in n.data_inputs]
            elif not _is_view(n):  # a view is still there, but hands on what it has taken over
                continue
            todo += self._replaced.get(n, ())
            todo += self._read.get(n, ())
        return seen - alive


class NamingBuilder(ProgramBuilder):
    """A builder that tells `origins` of nodes that are made for several operations."""

    def __init__(self, policy: DimPolicy) -> None:
        super().__init__(policy)
        self.origins = Origins()

    def met(self, node: Node, origin: Names) -> None:
        if node.origin != origin:
            self.origins.equal(node, origin)


def _is_view(node: Node) -> bool:
    return isinstance(node.op.kind, View)


def _is_external(node: Node) -> bool:
    return node.op in LEAVES or is_constant(node.out())


def _stored(v: Value) -> Node:
    """The node that computes a value's elements: views share those of their operand."""
    while _is_view(v.node) and v.node.inputs[0] is not None:
        v = v.node.inputs[0]
    return v.node


def _is_shared(node: Node) -> bool:
    """Constants and sizes: equal ones are one node for all that need them, with the name of the first."""
    return is_constant(node.out()) or isinstance(node.op.kind, ShapeOf)


def _read_by_several(made: Iterable[Node], candidates: set[Node]) -> set[Node]:
    """The shared nodes with several readers, whose names would reach nodes that they have nothing to do with."""
    if not candidates:
        return candidates
    readers = Counter(m for n in made for m in {v.node for v in n.inputs if v is not None} & candidates)
    return {n for n, count in readers.items() if count > 1}
