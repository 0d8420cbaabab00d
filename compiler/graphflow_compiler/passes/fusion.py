"""Fusion, level 1 to level 2: decides which nodes share a kernel.

Forward and greedy: each node, in program order, joins the group of one of its producers if it reads exactly the element
(or row) that group has at hand, and if no path leaves the group and comes back. What is not joined is stored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import (
    ArgReduction,
    Assertion,
    Contraction,
    Elementwise,
    Gather,
    Generate,
    IndexMap,
    Random,
    Reduction,
    Scatter,
    ShapeOf,
    View,
)
from graphflow.framework.shapes import Shape
from graphflow_compiler.ir.indexing_maps import accesses, index_of_shape, is_unit_view, squeezed_variables
from graphflow_compiler.ir.kernels import (
    ELEMENT,
    ROW,
    TOTAL,
    Group,
    GroupPattern,
    KernelGraph,
    Level,
    external_inputs,
    is_external,
    is_few_large_rows,
    squeezed,
    stored_value,
)
from graphflow_compiler.ir.program import Node, Program, Value
from graphflow_compiler.passes.dependences import Dependences
from graphflow_compiler.passes.fusion_group import Draft, too_much

_OTHER_SHAPE = "it works on another shape"
_COSTLY = "math functions are faster in a loop of their own"


class _Fuser:
    def __init__(self, program: Program) -> None:
        self.program = program
        self.drafts: dict[int, Draft] = {}
        self.draft_of: dict[Node, Draft] = {}
        self.aliases: dict[Value, Value] = {}
        self.not_fused: list[tuple[str, str, str]] = []
        self.rows_over: dict[tuple[Value, tuple[int, ...]], Draft] = {}  # those that begin with a reduction of a stored value
        self.columns_over: dict[tuple[Value, tuple[int, ...]], Node] = {}  # a node of the column kernel that reads the value
        self.dependences = Dependences()
        # How many nodes read each node, and one more for each root: as long as some are outside, a kernel has to store it.
        self.readers = Counter(n for node in program.nodes for n in {v.node for v in node.data_inputs})
        self.readers.update(v.node for v in program.roots())

    # ------------------------------------------------------------------ bookkeeping
    def new(
        self, pattern: GroupPattern, node: Node, space: Shape, reduced: tuple[int, ...] = (), level: Level = ELEMENT
    ) -> Draft:
        draft = Draft(self.dependences.add(), pattern, space, reduced)
        self.drafts[draft.id] = draft
        self.place(node, draft, level)
        return draft

    def place(self, node: Node, draft: Draft, level: Level) -> None:
        draft.take(node, level, self.readers[node], self.storage)
        draft.is_costly |= level == ELEMENT and _is_costly(node)
        self.draft_of[node] = draft
        self.dependences.reads(draft.id, [d.id for d in self.producers(node) if d is not draft])

    def producers(self, node: Node) -> list[Draft]:
        found: dict[int, Draft] = {}
        for v in node.data_inputs:
            draft = self.draft_of.get(self.storage(v).node)
            if draft is not None:
                found[draft.id] = draft
        return list(found.values())

    def storage(self, v: Value) -> Value:
        return stored_value(self.aliases, v)

    # ------------------------------------------------------------------ joining
    def fits(self, node: Node, draft: Draft, level: Level, producers: Sequence[Draft]) -> str | None:
        """None if the node can be computed in the draft at that level, else the reason why not. `producers`: of the node."""
        if (full := too_much([draft], self.storage, node)) is not None:
            return full
        if draft.pattern == "column" and level == ELEMENT and _is_costly(node):
            return _COSTLY
        if squeezed(node.types[0].shape) != draft.shape(level):
            return _OTHER_SHAPE
        if self.lies_between(producers, draft):
            return "another kernel lies between the two"
        assert node.types[0].shape is not None
        if level == ELEMENT and self.reads_like_elements(node, draft):
            return None
        index = index_of_shape(node.types[0].shape, draft.variables(level))
        read = {}
        for a in accesses(node, index):
            v = node.inputs[a.operand]
            assert v is not None
            read[a.operand] = True
            if v in self.aliases:
                if self.draft_of.get(self.storage(v).node) is draft:
                    return "it reads the producer's elements through a reshape"
                continue
            if self.draft_of.get(v.node) is not draft:
                continue
            if draft.levels[v.node] == TOTAL and level != TOTAL:
                return "it needs the result of all rows"
            if draft.pattern == "column" and draft.levels[v.node] == ROW and level == ELEMENT:
                return "it needs the result of the whole column"
            expected = draft.variables(draft.levels[v.node])
            if not a.exact or squeezed_variables(a.index, v.shape) != expected:
                return "it reads other elements than the producer has at hand"
        for k, v in enumerate(node.inputs):
            if v is not None and k not in read and self.draft_of.get(self.storage(v).node) is draft:
                return "it needs the whole of the producer's result"
        return None

    def reads_like_elements(self, node: Node, draft: Draft) -> bool:
        """Whether what an elementwise node reads of the draft are elements of its own shape: the commonest case by far, found
        without working out indices."""
        if not isinstance(node.op.kind, Elementwise):
            return False
        shape = node.types[0].shape
        for v in node.inputs:
            if v is None:
                return False
            if self.draft_of.get(self.storage(v).node) is draft and (
                v in self.aliases or v.shape != shape or draft.levels[v.node] != ELEMENT
            ):
                return False
        return True

    def join(self, node: Node) -> bool:
        candidates = self.producers(node)
        if len(candidates) > 1:
            candidates.sort(key=lambda d: (_preference(d), -d.id))
        reasons: list[tuple[Draft, str]] = []
        for position, draft in enumerate(candidates):
            reason = ""
            for level in draft.open_levels():
                why = self.fits(node, draft, level, candidates)
                if why is None:
                    others = candidates[position + 1 :] if level == ELEMENT else ()
                    self.note(node, [*reasons, *self.take_in(others, node, draft, candidates)])
                    self.place(node, draft, level)
                    return True
                # That the shapes differ tells a reader of `explain` least: any other level's reason replaces it.
                if not reason or why != _OTHER_SHAPE:
                    reason = why
            reasons.append((draft, reason or "its kernel stands alone"))
        self.note(node, reasons)
        return False

    def note(self, node: Node, reasons: Sequence[tuple[Draft, str]]) -> None:
        """Keeps for `explain` why the node is not in the kernels of what it reads, by the last that it reads of each."""
        if not reasons:
            return
        last = {self.draft_of.get(n): n for n in sorted([self.storage(v).node for v in node.data_inputs], key=lambda n: n.id)}
        for draft, reason in reasons:
            self.not_fused.append((_name(last[draft]), _name(node), reason))

    def take_in(self, others: Sequence[Draft], node: Node, draft: Draft, producers: Sequence[Draft]) -> list[tuple[Draft, str]]:
        """Merges other map kernels over the same space into the draft that `node` is about to join.

        Merged are those that the node reads element by element (the moments of an optimizer, say): their results are then
        read from registers. Returns the others that it reads so, and why they stay apart.
        """
        found: list[Draft] = []
        apart: list[tuple[Draft, str]] = []
        others = [other for other in others if other.space == draft.space and self.reads_elements(node, other)]
        if not others:
            return apart
        inexact = self.inexact_reads(node, draft)
        for other in others:
            reason = self.cannot_merge(node, other, draft, found, producers)
            if reason is None and other.id in inexact:
                reason = "it reads other elements than the producer has at hand"
            if reason is None:
                found.append(other)
            else:
                apart.append((other, reason))
        for other in found:
            self.merge(other, draft)
        return apart

    def cannot_merge(
        self, node: Node, other: Draft, draft: Draft, found: Sequence[Draft], producers: Sequence[Draft]
    ) -> str | None:
        """Why another kernel over the same space stays apart from the draft, with which `found` will be merged."""
        maps, taker = (draft, other) if draft.pattern == "map" else (other, draft)
        if maps.pattern == "map" and maps.is_costly and taker.pattern in ("gemm", "column"):
            return _COSTLY
        if other.pattern != "map":
            return "one kernel cannot have the loops of both"
        if any(self.related(other, d) for d in (draft, *found)):
            return "one of the kernels needs the other's results"
        if self.lies_between(producers, other):
            return "another kernel lies between the two"  # merging would put that one between two parts of one kernel
        return too_much([draft, other, *found], self.storage, node)

    def inexact_reads(self, node: Node, draft: Draft) -> set[int]:
        """The kernels of which the node reads other elements than that at the place in the draft's space where it is."""
        index = index_of_shape(node.types[0].shape or (), draft.variables(ELEMENT))
        exact: dict[int, bool] = {}
        for a in accesses(node, index):
            v = node.inputs[a.operand]
            assert v is not None
            here = v not in self.aliases and a.exact and squeezed_variables(a.index, v.shape) == draft.variables(ELEMENT)
            exact[a.operand] = exact.get(a.operand, True) and here
        # What is not among the accesses (the parameters of a gather) is read anywhere.
        found: set[int] = set()
        for k, v in enumerate(node.inputs):
            if v is not None and not exact.get(k, False) and (producer := self.draft_of.get(self.storage(v).node)) is not None:
                found.add(producer.id)
        return found

    def reads_elements(self, node: Node, draft: Draft) -> bool:
        read = [self.storage(v).node for v in node.data_inputs]
        return any(draft.levels[n] == ELEMENT for n in read if self.draft_of.get(n) is draft)

    def related(self, a: Draft, b: Draft) -> bool:
        """Whether one depends on the other. If it does, they stayed apart for a reason, or a third lies between them."""
        return self.dependences.depends(a.id, b.id) or self.dependences.depends(b.id, a.id)

    def lies_between(self, producers: Sequence[Draft], draft: Draft) -> bool:
        """Whether another of a node's producers depends on the draft: it would come both before and after the node's kernel."""
        return any(d is not draft and self.dependences.depends(d.id, draft.id) for d in producers)

    def merge(self, other: Draft, draft: Draft) -> None:
        for n in other.nodes:
            self.draft_of[n] = draft
        draft.merge(other)
        self.dependences.merge(other.id, draft.id)
        del self.drafts[other.id]

    # ------------------------------------------------------------------ nodes by kind
    def add(self, node: Node) -> None:
        kind = node.op.kind
        shape = node.types[0].shape if node.types else ()
        if is_external(node):
            return
        if isinstance(kind, View):
            x = node.inputs[0]
            assert x is not None
            source = self.draft_of.get(self.storage(x).node)
            # Within a kernel an axis of size 1 costs nothing; any other reshape is the stored bytes under another shape.
            if is_unit_view(node) and source is not None and x not in self.aliases and self.join(node):
                return
            self.aliases[node.out()] = x
            return
        if isinstance(kind, Reduction):
            self.add_reduction(node)
        elif isinstance(kind, Contraction):
            self.new("gemm", node, squeezed(shape))
        elif isinstance(kind, Scatter):
            self.new("scatter", node, squeezed(shape))
        elif isinstance(kind, ArgReduction):
            self.new("arg", node, squeezed(shape))
        elif isinstance(kind, Assertion):
            self.new("assert", node, ())
        elif isinstance(kind, ShapeOf):
            self.new("dims", node, squeezed(shape))
        elif isinstance(kind, (Elementwise, IndexMap, Generate, Random, Gather)):
            if not self.join(node):
                self.new("map", node, squeezed(shape))
        else:
            raise CompileError(f"{node!r}: kind {type(kind).__name__} has no kernel")

    def add_reduction(self, node: Node) -> None:
        x = node.inputs[0]
        assert x is not None
        space = squeezed(x.shape)
        # Axes are counted in the space, which has none of size 1.
        axes = set(node.attrs.axis)
        reduced: list[int] = []
        position = 0
        for axis, d in enumerate(x.shape):
            if d != 1:
                if axis in axes:
                    reduced.append(position)
                position += 1
        if not reduced:
            if not self.join(node):
                self.new("map", node, space)
            return
        trailing = reduced == list(range(len(space) - len(reduced), len(space)))
        if not trailing:
            self.add_column(node, x, space, tuple(reduced))
            return
        draft = self.draft_of.get(x.node)
        whole = draft is not None and x not in self.aliases and draft.pattern in ("map", "row")
        if draft is not None and whole and not too_much([draft], self.storage, node):
            level = draft.levels[x.node]
            blocked = self.lies_between(self.producers(node), draft)
            if level == ELEMENT and draft.reduced in ((), tuple(reduced)) and not blocked:
                draft.pattern, draft.reduced = "row", tuple(reduced)
                self.place(node, draft, ROW)
                return
            # Few large rows are lowered block by block (`lower_row_blocks`), which has no place for totals over all rows.
            total = draft.pattern == "row" and level != TOTAL and len(reduced) == len(space) and not blocked
            if total and not is_few_large_rows(draft.space, draft.reduced):
                self.place(node, draft, TOTAL)
                return
            self.not_fused.append((_name(x.node), _name(node), "it reduces over other axes than its kernel"))
        # Reductions that read the same array are one pass over it.
        beside = self.rows_over.get((x, tuple(reduced)))
        if beside is not None and not too_much([beside], self.storage, node):
            self.place(node, beside, ROW)
        else:
            self.rows_over[x, tuple(reduced)] = self.new("row", node, space, tuple(reduced), ROW)

    def add_column(self, node: Node, x: Value, space: Shape, reduced: tuple[int, ...]) -> None:
        """A reduction over other than trailing axes joins, or makes, the column kernel of what it reduces."""
        draft = self.draft_of.get(self.storage(x).node)
        if draft is not None:
            reason = self.column_stays_apart(node, x, draft, reduced)
            if reason is None:
                draft.pattern, draft.reduced = "column", reduced
                self.place(node, draft, ROW)
                self.pass_over(draft, [v for v in external_inputs(draft.nodes) if squeezed(v.shape) == space])
                return
            self.note(node, [(draft, reason)])
        self.pass_over(self.new("column", node, space, reduced, ROW), [x])

    def column_stays_apart(self, node: Node, x: Value, draft: Draft, reduced: tuple[int, ...]) -> str | None:
        """Why what a reduction over other than trailing axes reads cannot be computed in its loops; None if it can."""
        if draft.pattern == "gemm":
            return "a product is made in tiles, not in whole columns"
        if x in self.aliases:
            return "it reads the producer's elements through a reshape"
        if draft.pattern not in ("map", "column") or draft.levels[x.node] != ELEMENT or draft.reduced not in ((), reduced):
            return "it reduces over other axes than its kernel"
        if draft.is_costly:
            return _COSTLY
        if (full := too_much([draft], self.storage, node)) is not None:
            return full
        if self.lies_between(self.producers(node), draft):
            return "another kernel lies between the two"
        return None

    def pass_over(self, draft: Draft, arrays: Sequence[Value]) -> None:
        """Merges column kernels that reduce the same stored arrays over the same axes: they become one pass over them."""
        for v in arrays:
            first = self.columns_over.get((v, draft.reduced))
            other = None if first is None else self.draft_of[first]
            apart = other is None or other is draft or self.related(other, draft)
            if other is not None and not apart and not too_much([other, draft], self.storage):
                self.merge(other, draft)
            self.columns_over[v, draft.reduced] = draft.nodes[-1]

    # ------------------------------------------------------------------ result
    def finish(self) -> KernelGraph:
        # Stored is what another kernel reads, the program returns, or anything reads through a reshape, which needs memory.
        used_outside: dict[Value, None] = {}
        for node in self.program.nodes:
            draft = self.draft_of.get(node)
            for v in node.data_inputs:
                base = self.storage(v)
                if v in self.aliases or self.draft_of.get(base.node) is not draft or draft is None:
                    used_outside[base] = None
        for v in self.program.roots():
            used_outside[self.storage(v)] = None
        for node in self.program.effects:
            if isinstance(node.op.kind, Scatter):  # works in the place of its result, also if nothing reads that
                used_outside[node.out()] = None
        outputs_of: dict[int, list[Value]] = {}
        for v in used_outside:
            draft = self.draft_of.get(v.node)
            if draft is not None:
                outputs_of.setdefault(draft.id, []).append(v)
        groups: list[Group] = []
        for draft in self._ordered():
            # The root of a product comes first, whatever else was there before it.
            nodes = tuple(sorted(draft.nodes, key=lambda n: (not isinstance(n.op.kind, Contraction), n.id)))
            outputs = tuple(outputs_of.get(draft.id, ()))
            inputs = external_inputs(nodes)
            groups.append(Group(len(groups), draft.pattern, nodes, draft.space, draft.reduced, draft.levels, inputs, outputs))
        return KernelGraph(self.program, tuple(groups), self.aliases, tuple(dict.fromkeys(self.not_fused)))

    def _ordered(self) -> list[Draft]:
        """A topological order; among what is ready, what the user created first."""
        import heapq

        waiting = {d.id: {p.id for n in d.nodes for p in self.producers(n)} - {d.id} for d in self.drafts.values()}
        users: dict[int, list[int]] = {i: [] for i in waiting}
        for i, before in waiting.items():
            for p in before:
                users[p].append(i)
        first = {d.id: min(n.id for n in d.nodes) for d in self.drafts.values()}
        ready = [(first[i], i) for i, before in waiting.items() if not before]
        heapq.heapify(ready)
        order: list[Draft] = []
        while ready:
            _, i = heapq.heappop(ready)
            order.append(self.drafts[i])
            for u in users[i]:
                waiting[u].discard(i)
                if not waiting[u]:
                    heapq.heappush(ready, (first[u], u))
        if len(order) != len(self.drafts):
            raise CompileError("fusion made a cycle of kernels")
        return order


def _is_costly(node: Node) -> bool:
    """Whether a node computes math functions or random numbers.

    In the tiles of a product, or in strided loops over columns, these take longer than in a loop of their own, by more than
    the memory traffic saved. A tanh or a dropout after products of 256 x 512 and 2048 x 1024 costs 3 to 8 % of the whole; one
    before sums over columns costs 9 % for 512 x 1024, and a third for 100000 x 10 and 32 x 28 x 28 x 64.
    """
    kind = node.op.kind
    return isinstance(kind, Random) or (isinstance(kind, Elementwise) and not kind.cheap)


def _preference(draft: Draft) -> int:
    """The rank of a producer's kernel when a node chooses which to join, 0 first.

    Cheap map kernels come last: any other kernel can take them in afterwards, and they can take in none.
    """
    if draft.pattern == "row":
        return 0
    return 2 if draft.pattern == "map" and not draft.is_costly else 1


def _name(node: Node) -> str:
    return node.origin[-1] if node.origin else node.op.name


def fuse(program: Program) -> KernelGraph:
    """Partitions the program into kernels."""
    fuser = _Fuser(program)
    for node in program.nodes:
        fuser.add(node)
    return fuser.finish()
