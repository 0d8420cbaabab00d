"""Row groups: passes over a row, one for each reduction that depends on another, and what is done between them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import field

from graphflow.framework.kinds import Elementwise, Gather, Random
from graphflow.framework.records import record
from graphflow.framework.shapes import product
from graphflow_compiler.ir.kernels import ELEMENT, ROW, TOTAL, Group
from graphflow_compiler.ir.loops import Atom, Index
from graphflow_compiler.ir.program import Node, Value
from graphflow_compiler.lower.emit import Emitter, LoweredKernel, Partial
from graphflow_compiler.lower.loop_nest import (
    finish,
    flat_address,
    index_at,
    is_reducing,
    merge_axes,
    nest,
    reduced_operand,
    reduced_over,
    run_extent,
    store_all,
)


def lower_row(e: Emitter) -> LoweredKernel:
    """One kernel, whose threads share the rows."""
    rows = RowPasses.of(e.group)
    outer, inner = merge_axes(e)
    with nest(e, outer, vector_last=False):
        rows.whole_row(e, inner)
    return e.kernel(e.b.build(), e.group.nodes)


@record
class RowPasses:
    """The passes over a row of a row group.

    `stages`: the pass in which a node's value is computed; the result of a reduction over the row can be used from the next
    pass on. `kept`: nodes whose elements are stored in one pass and read back in later ones.
    """

    group: Group
    stages: dict[Node, int]
    kept: set[Node]
    places: dict[Value, str] = field(default_factory=dict)  # scratch buffers of kept elements
    aside: Callable[[Value], Partial] | None = None  # where passes that are kernels of their own keep them

    @classmethod
    def of(cls, group: Group) -> RowPasses:
        stages: dict[Node, int] = {}
        for node in group.nodes:
            # What a pass reduces is complete only when the pass has ended.
            stage = 0
            for v in node.data_inputs:
                if v.node in stages:
                    stage = max(stage, stages[v.node] + (1 if is_reducing(group, v.node) else 0))
            stages[node] = stage
        return cls(group, stages, _worth_keeping(group, stages))

    @property
    def last(self) -> int:
        return max(s for n, s in self.stages.items() if self.group.levels[n] != TOTAL)

    def reductions(self, stage: int) -> list[Node]:
        """The reductions of a pass: those over the row, and those over all elements of all rows."""
        found = []
        for n in self.group.nodes:
            x = n.inputs[0] if n.inputs else None
            over_elements = x is not None and self.group.levels.get(x.node) != ROW
            if over_elements and self.stages[n] == stage and is_reducing(self.group, n):
                found.append(n)
        return found

    def row_nodes(self, stage: int) -> list[Node]:
        """What is computed once a row before a pass."""
        group = self.group
        return [n for n in group.nodes if group.levels[n] == ROW and self.stages[n] == stage and not is_reducing(group, n)]

    def elements(self, stage: int) -> list[Node] | None:
        """The element nodes to compute or read back in a pass, in order. None: there is nothing to do in it."""
        group = self.group
        roots: list[Node] = [v.node for n in self.reductions(stage) for v in n.data_inputs]
        for n in group.nodes:
            here = group.levels[n] == ELEMENT and self.stages[n] == stage
            if here and (n.out() in group.outputs or n in self.kept or _checks(n)):
                roots.append(n)
        if not roots:
            return None
        needed: set[Node] = set()
        todo = roots
        while todo:
            n = todo.pop()
            if n in needed or n not in self.stages or group.levels[n] != ELEMENT:
                continue
            needed.add(n)
            if not self._is_read_back(n, stage):
                todo += [v.node for v in n.data_inputs]
        return [n for n in group.nodes if n in needed]

    def _is_read_back(self, node: Node, stage: int) -> bool:
        return node in self.kept and self.stages[node] < stage

    def row_inputs(self, nodes: Iterable[Node]) -> list[Node]:
        """The nodes before the first pass that the given ones depend on."""
        needed: set[Node] = set()
        todo = [v.node for n in nodes for v in n.data_inputs]
        first = set(self.row_nodes(0))
        while todo:
            n = todo.pop()
            if n in first and n not in needed:
                needed.add(n)
                todo += [v.node for v in n.data_inputs]
        return [n for n in self.group.nodes if n in needed]

    def is_used_after(self, v: Value, stage: int) -> bool:
        """Whether a row's value, at hand after pass `stage`, is needed in a later pass or after it."""
        levels = self.group.levels
        users = [n for n in self.group.nodes if v in n.data_inputs]
        return any(levels[n] == ELEMENT or is_reducing(self.group, n) or self.stages[n] > stage + 1 for n in users)

    def last_pass(self, nodes: Collection[Node]) -> int:
        """The last pass that computes elements of one of the nodes, if only again, or reduces over them."""
        passes = [0]
        for stage in range(self.last + 1):
            computed = [n for n in self.elements(stage) or () if not self._is_read_back(n, stage)]
            if any(n in nodes for n in (*computed, *self.reductions(stage))):
                passes.append(stage)
        return max(passes)

    # ------------------------------------------------------------------ emission
    def whole_row(self, e: Emitter, inner: Sequence[int]) -> dict[Node, Atom]:
        """All passes over one row. Returns what the row adds to the reductions over all rows."""
        group = self.group
        added: dict[Node, Atom] = {}
        for stage in range(self.last + 1):
            for node in self.row_nodes(stage):
                e.element(node, index_at(e, node, ROW))
            totals = self.run(e, stage, inner, [(f"i{k}", run_extent(e, k)) for k in inner])
            for n, total in totals.items():
                if group.levels[n] == ROW:
                    finish(e, n, total)
                else:
                    added[n] = total
        for n in group.nodes:
            if n not in added and group.levels[n] == TOTAL and is_reducing(group, n):
                added[n] = reduced_operand(e, n)
        store_all(e, [v for v in group.outputs if group.levels[v.node] == ROW], ROW)
        return added

    def run(self, e: Emitter, stage: int, inner: Sequence[int], loops: Sequence[tuple[str, Index]]) -> dict[Node, Atom]:
        """One pass: the combined values of its reductions, and the element results that come about in it."""
        needed = self.elements(stage)
        if needed is None:
            return {}
        group = self.group
        reductions = self.reductions(stage)
        outside = dict(e.env)

        def one() -> dict[Node, Atom]:
            for node in needed:
                index = index_at(e, node, ELEMENT)
                v = node.out()
                if not self._is_read_back(node, stage):
                    e.element(node, index)
                elif v in self.places:
                    e.env[v] = e.b.load(self.places[v], flat_address(e, inner), v.dtype)
                else:
                    e.env[v] = e.load(v, index)
            # Before anything is stored, which may be in the place of what a reduction takes in.
            taken = {n: reduced_operand(e, n) for n in reductions}
            for node in needed:
                v = node.out()
                if self.stages[node] != stage:
                    continue
                if v in group.outputs:
                    e.store(v, index_at(e, node, ELEMENT))
                elif node in self.kept and self.aside is not None:
                    e.b.store(e.partial(self.aside(v), "write"), e.address(v, index_at(e, node, ELEMENT)), e.env[v])
                elif node in self.kept:
                    self.places[v] = e.new_scratch(v.dtype, product(group.space[k] for k in group.reduced))
                    e.b.store(self.places[v], flat_address(e, inner), e.env[v])
            return taken

        totals = reduced_over(e, loops, reductions, one)
        e.env = outside  # values of the loops' bodies are not defined after them
        return totals


def _checks(node: Node) -> bool:
    """Whether the node can fail the run, which it must do even if nothing in the kernel uses its value."""
    return node.has_check or isinstance(node.op.kind, Gather)


def _is_costly(node: Node) -> bool:
    kind = node.op.kind
    return isinstance(kind, (Random, Gather)) or (isinstance(kind, Elementwise) and not kind.cheap)


def _worth_keeping(group: Group, stages: dict[Node, int]) -> set[Node]:
    """Element values that a later pass needs and that cost more to compute again than to read back from cache."""
    kept: set[Node] = set()
    for node in group.nodes:
        for v in node.data_inputs:
            earlier = v.node in stages and group.levels[v.node] == ELEMENT and stages[v.node] < stages[node]
            if earlier and (_is_costly(v.node) or v in group.outputs):
                kept.add(v.node)
    # A cheap node that is computed again pulls in what it reads: costly nodes behind it must be kept as well.
    for node in reversed(group.nodes):
        if group.levels[node] != ELEMENT or node in kept:
            continue
        if any(node.out() in n.data_inputs and stages[n] > stages[node] for n in group.nodes):
            todo = [node]
            seen: set[Node] = set()
            while todo:
                n = todo.pop()
                if n in seen or n in kept:
                    continue
                seen.add(n)
                if _is_costly(n):
                    kept.add(n)
                    continue
                todo += [v.node for v in n.data_inputs if v.node in stages and group.levels[v.node] == ELEMENT]
    return kept
