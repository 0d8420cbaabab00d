"""Row groups: passes over a row, one for each reduction that depends on another, and what is done between them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import field

from graphflow.framework.dtypes import DType
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

#: How often later passes may compute a cheap element again, rather than read it back: a load and a store take longer than a
#: few cheap operations.
RECOMPUTED = 2


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

    `stages`: the first pass in which a node's value can be computed; the result of a reduction over the row can be used from
    the next pass on. `kept`: nodes whose elements are stored, and in which pass; later ones read them back.
    """

    group: Group
    stages: dict[Node, int]
    kept: dict[Node, int]
    users: dict[Node, list[Node]]
    places: dict[Value, str] = field(default_factory=dict)  # scratch buffers of kept elements
    aside: Callable[[Value], Partial] | None = None  # where passes that are kernels of their own keep them

    @classmethod
    def of(cls, group: Group) -> RowPasses:
        stages: dict[Node, int] = {}
        users: dict[Node, list[Node]] = {n: [] for n in group.nodes}
        for node in group.nodes:
            # What a pass reduces is complete only when the pass has ended.
            stage = 0
            for producer in dict.fromkeys(v.node for v in node.data_inputs):
                if producer in stages:
                    stage = max(stage, stages[producer] + (1 if is_reducing(group, producer) else 0))
                    users[producer].append(node)
            stages[node] = stage
        rows = cls(group, stages, {n: stages[n] for n in _worth_keeping(group, stages, users)}, users)
        rows._keep_what_is_recomputed_often()
        return rows

    def __post_init__(self) -> None:
        levels = self.group.levels
        self.last = max(s for n, s in self.stages.items() if levels[n] != TOTAL)
        self._reductions: dict[int, list[Node]] = {}
        self._row_nodes: dict[int, list[Node]] = {}
        self._roots: dict[int, list[Node]] = {}  # elements that come about in a pass and must be computed in it
        for n, stage in self.stages.items():
            if is_reducing(self.group, n):
                x = n.inputs[0]
                if x is not None and levels.get(x.node) != ROW:
                    self._reductions.setdefault(stage, []).append(n)
            elif levels[n] == ROW:
                self._row_nodes.setdefault(stage, []).append(n)
            elif levels[n] == ELEMENT and (n.out() in self.group.outputs or _checks(n)):
                self._roots.setdefault(stage, []).append(n)
        self._order = {n: i for i, n in enumerate(self.group.nodes)}
        self._elements: dict[int, list[Node] | None] = {}
        self._scratches: dict[str, tuple[DType, int]] = {}  # the last pass that needs what is there

    def reductions(self, stage: int) -> list[Node]:
        """The reductions of a pass: those over the row, and those over all elements of all rows."""
        return self._reductions.get(stage, [])

    def row_nodes(self, stage: int) -> list[Node]:
        """What is computed once a row before a pass."""
        return self._row_nodes.get(stage, [])

    def elements(self, stage: int) -> list[Node] | None:
        """The element nodes to compute or read back in a pass, in order. None: there is nothing to do in it."""
        if stage not in self._elements:
            self._elements[stage] = self._needed(stage)
        return self._elements[stage]

    def _needed(self, stage: int) -> list[Node] | None:
        roots: list[Node] = [v.node for n in self.reductions(stage) for v in n.data_inputs]
        roots += self._roots.get(stage, [])
        roots += [n for n, at in self.kept.items() if at == stage]
        if not roots:
            return None
        needed: set[Node] = set()
        todo = roots
        while todo:
            n = todo.pop()
            if n in needed or n not in self.stages or self.group.levels[n] != ELEMENT:
                continue
            needed.add(n)
            if not self._is_read_back(n, stage):
                todo += [v.node for v in n.data_inputs]
        return sorted(needed, key=self._order.__getitem__)

    def _is_read_back(self, node: Node, stage: int) -> bool:
        return self.kept.get(node, stage) < stage

    def _computed(self, stage: int) -> list[Node]:
        return [n for n in self._needed(stage) or () if not self._is_read_back(n, stage)]

    def _keep_what_is_recomputed_often(self) -> None:
        """Keeps cheap elements, too, where passes would compute some of those that they follow from again and again, more than
        RECOMPUTED times.

        Then each pass of a long chain of reductions begins with what a few passes before it has stored, not with the row.
        """
        if self.last <= RECOMPUTED:
            return
        times: Counter[Node] = Counter()  # in how many passes it is computed
        first: dict[Node, int] = {}
        for stage in range(self.last + 1):
            computed = self._computed(stage)
            if any(times[n] > RECOMPUTED for n in computed):
                often: set[Node] = set()  # what cannot be computed again without one of those
                for n in computed:
                    if times[n] > RECOMPUTED or any(v.node in often for v in n.data_inputs):
                        often.add(n)
                new = [n for n in computed if not times[n]]
                read = {v.node for n in [*new, *self.reductions(stage)] for v in n.data_inputs}
                self.kept.update({n: first[n] for n in computed if times[n] and n in often and n in read})
                computed = self._computed(stage)
            for n in computed:
                times[n] += 1
                first.setdefault(n, stage)

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
        users = self.users[v.node]
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
                if v in group.outputs:
                    if self.stages[node] == stage:
                        e.store(v, index_at(e, node, ELEMENT))
                elif self.kept.get(node) != stage:
                    continue
                elif self.aside is not None:
                    e.b.store(e.partial(self.aside(v), "write"), e.address(v, index_at(e, node, ELEMENT)), e.env[v])
                else:
                    self.places[v] = self._scratch(e, v, stage)
                    e.b.store(self.places[v], flat_address(e, inner), e.env[v])
            return taken

        totals = reduced_over(e, loops, reductions, one)
        e.env = outside  # values of the loops' bodies are not defined after them
        return totals

    def _scratch(self, e: Emitter, v: Value, stage: int) -> str:
        """A scratch buffer for what a pass keeps of a row: one whose elements it reads, and no later pass, or a new one.

        A pass reads an element of all that it reads before it stores any.
        """
        last = max(k for k in range(stage, self.last + 1) if v.node in (self.elements(k) or ()))
        free = [s for s, (dtype, until) in self._scratches.items() if dtype is v.dtype and until <= stage]
        name = free[0] if free else e.new_scratch(v.dtype, product(self.group.space[k] for k in self.group.reduced))
        self._scratches[name] = v.dtype, last
        return name


def _checks(node: Node) -> bool:
    """Whether the node can fail the run, which it must do even if nothing in the kernel uses its value."""
    return node.has_check or isinstance(node.op.kind, Gather)


def _is_costly(node: Node) -> bool:
    kind = node.op.kind
    return isinstance(kind, (Random, Gather)) or (isinstance(kind, Elementwise) and not kind.cheap)


def _worth_keeping(group: Group, stages: dict[Node, int], users: dict[Node, list[Node]]) -> set[Node]:
    """Element values that a later pass needs and that cost more to compute again than to read back from cache."""
    later = {n for n in group.nodes if group.levels[n] == ELEMENT and any(stages[u] > stages[n] for u in users[n])}
    kept = {n for n in later if _is_costly(n) or n.out() in group.outputs}
    # A cheap node that is computed again pulls in what it reads: costly nodes behind it must be kept as well.
    seen: set[Node] = set()
    todo = [n for n in later if n not in kept]
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
