"""Buffer assignment: in which order kernels run, and which updates are computed in place in their variable's own array."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, repeat

from graphflow.framework.kinds import ArgReduction, Assertion, Contraction, Gather, Reduction, Scatter
from graphflow.framework.records import record
from graphflow.framework.shapes import Shape
from graphflow_compiler.ir.indexing_maps import accesses, index_of_shape, squeezed_variables
from graphflow_compiler.ir.kernels import ELEMENT, TOTAL, Group, KernelGraph, is_external, is_few_large_rows
from graphflow_compiler.ir.program import VARIABLE_STATE, Node, Value
from graphflow_compiler.lower.loop_nest import is_reducing, variables
from graphflow_compiler.lower.row_reduction import RowPasses


@record(frozen=True, slots=True)
class Copy:
    """A step that copies a stored value: to output `output`, to variable `variable`, or aside to a temporary."""

    source: Value
    output: int = -1
    variable: str = ""
    aside: bool = False


@record(frozen=True)
class Schedule:
    """The order of kernels and copies, and where values are computed.

    `in_place` maps a value to the variable state whose storage it takes over; `assigned` maps one to the variable that it is
    computed straight into, where nothing reads the old value. `output_home` maps a value to the output that it is computed
    straight into.
    """

    graph: KernelGraph
    steps: tuple[Group | Copy, ...]
    in_place: dict[Value, Value]
    assigned: dict[Value, str]
    output_home: dict[Value, int]
    set_aside: frozenset[Value]  # variable states copied aside before they are overwritten


def can_fail(group: Group) -> bool:
    return any(n.has_check or isinstance(n.op.kind, (Gather, Assertion, Scatter, ArgReduction)) for n in group.nodes)


class _Order:
    """Which groups run before which, growing by the edges that in-place updates need.

    A run that fails must leave variables as they were, so every group that can fail comes before the first that writes in
    place. As that would be an edge from each of those to each of these, writers wait at a gate instead, which opens after the
    last group that can fail.
    """

    def __init__(self, graph: KernelGraph) -> None:
        self.after: dict[int, set[int]] = {g.id: set() for g in graph.groups}
        self.before: dict[int, set[int]] = {g.id: set() for g in graph.groups}
        self.is_numbered = True  # whether each edge leads to a greater number
        stored = {v: g.id for g in graph.groups for v in g.outputs}
        for g in graph.groups:
            for v in g.inputs:
                source = stored.get(graph.storage(v))
                if source is not None:
                    self.add(source, g.id)
        self.failing = {g.id for g in graph.groups if can_fail(g)}
        self.gated: set[int] = set()
        # No later edge leads to a group that can fail: all of them lead to groups behind the gate.
        self.before_failures = self.failing.union(_walk(self.failing, self.before))

    def reaches(self, a: int, b: int) -> bool:
        """Whether b comes after a, which is not before a failure.

        It looks from both sides until one has nothing left to look at: what comes after an update is mostly little, and so is
        what comes before its other readers where they are no part of what it depends on. If they are, there is a short way
        from b to a, which tells as well.
        """
        if a == b:
            return True
        if b in self.before_failures or (b < a and self.is_numbered):
            return False
        after_a, before_b, after_b, before_a = {a}, {b}, {b}, {a}
        for x, y, back, forth in zip(
            _walk({a}, self.after),
            _walk({b}, self.before),
            chain(_walk({b}, self.after), repeat(b)),
            chain(_walk({a}, self.before), repeat(a)),
            strict=False,
        ):
            after_a.add(x)
            before_b.add(y)
            if x in before_b or y in after_a:
                return True
            after_b.add(back)
            before_a.add(forth)
            if back in before_a or forth in after_b:
                return False
        return False

    def add(self, before: int, after: int) -> None:
        if before != after:
            self.after[before].add(after)
            self.before[after].add(before)
            self.is_numbered &= before < after

    def sort(self, groups: tuple[Group, ...]) -> list[Group]:
        by_id = {g.id: g for g in groups}
        checked = len(self.failing)
        waiting = {g.id: len(self.before[g.id]) + (g.id in self.gated and checked > 0) for g in groups}
        # Of what is ready the lowest number comes first: fusion's order is kept as far as the edges for updates allow.
        ready = [i for i, n in waiting.items() if n == 0]
        heapq.heapify(ready)
        result = []
        while ready:
            i = heapq.heappop(ready)
            result.append(by_id[i])
            freed = [*self.after[i]]
            if i in self.failing:
                checked -= 1
                if checked == 0:
                    freed += self.gated
            for t in freed:
                waiting[t] -= 1
                if waiting[t] == 0:
                    heapq.heappush(ready, t)
        return result


def _walk(starts: set[int], edges: Mapping[int, set[int]]) -> Iterator[int]:
    """All that is reached from `starts`, what is near first, once for each edge that leads to it."""
    seen = set(starts)
    todo = deque(starts)
    while todo:
        for t in edges[todo.popleft()]:
            if t not in seen:
                seen.add(t)
                todo.append(t)
            yield t


def schedule(graph: KernelGraph) -> Schedule:
    """Decides storage and order."""
    program = graph.program
    order = _Order(graph)
    owner = {v: g for g in graph.groups for v in g.outputs}
    readers: dict[Value, list[Group]] = {}
    for g in graph.groups:
        for v in g.inputs:
            readers.setdefault(graph.storage(v), []).append(g)
    states = {n.attrs.key: n.out() for n in program.nodes if n.op is VARIABLE_STATE}

    in_place: dict[Value, Value] = {}
    assigned: dict[Value, str] = {}
    late: list[tuple[str, Value]] = []
    for name, value in program.updates:
        base = graph.storage(value)
        state = states.get(name)
        if state is not None and base is state:
            continue
        group = owner.get(base)
        if group is None or base in in_place or base in assigned:
            late.append((name, base))
            continue
        if group.pattern == "scatter" if state is None else not _safe(graph, group, base, state):
            late.append((name, base))
            continue
        # A reader of the old value that needs this group's result would come too late.
        others = [r for r in readers.get(state, []) if r is not group] if state is not None else []
        if group.id in order.before_failures or any(order.reaches(group.id, r.id) for r in others):
            late.append((name, base))
            continue
        for before in others:
            order.add(before.id, group.id)
        order.gated.add(group.id)
        if state is None:
            assigned[base] = name
        else:
            in_place[base] = state

    steps: list[Group | Copy] = []
    output_home: dict[Value, int] = {}
    copied_outputs: list[Copy] = []
    overwritten = set(in_place.values()) | {states[name] for name, _ in late if name in states}
    first: list[Copy] = []
    for i, v in enumerate(program.outputs):
        base = graph.storage(v)
        if is_external(base.node):
            first.append(Copy(base, output=i))  # before anything is overwritten
        elif base in in_place or base in assigned or base in output_home:
            copied_outputs.append(Copy(base, output=i))
        else:
            output_home[base] = i
    # A variable's old value that another variable is to get at the end is copied aside if it is overwritten before that.
    set_aside = dict.fromkeys(b for _, b in late if b in overwritten)
    first += [Copy(b, aside=True) for b in set_aside]
    steps += first
    steps += order.sort(graph.groups)
    steps += copied_outputs
    steps += [Copy(base, variable=name) for name, base in late]
    return Schedule(graph, tuple(steps), in_place, assigned, output_home, frozenset(set_aside))


def _safe(graph: KernelGraph, group: Group, new: Value, state: Value) -> bool:
    """Whether `new` may overwrite `state` while the group runs: the group reads it only at the element it writes next."""
    if new.shape != state.shape or new.dtype is not state.dtype:
        return False
    if group.pattern == "scatter":
        return new.node.inputs[0] == state and all(graph.storage(v) != state for v in new.node.inputs[1:] if v is not None)
    if group.pattern not in ("map", "gemm", "column", "row"):
        return False
    readers = [n for n in group.nodes if any(v is not None and graph.storage(v) == state for v in n.inputs)]
    for node in readers:
        if isinstance(node.op.kind, Contraction) or (group.pattern == "column" and isinstance(node.op.kind, Reduction)):
            return False
        if not _reads_own_element(graph, group, node, state):
            return False
    return group.pattern != "row" or _is_read_in_time(group, new, readers)


def _is_read_in_time(group: Group, new: Value, readers: Sequence[Node]) -> bool:
    """Whether a row kernel computes `readers` no later than it stores `new`.

    Each of them reads the very element that is overwritten, so it is of the same level as `new`.
    """
    level = group.levels[new.node]
    if level == ELEMENT:
        # A pass may compute again what an earlier one has computed: only what the passes really do tells.
        rows = RowPasses.of(group)
        return rows.last_pass(readers) <= rows.stages[new.node]
    # Values of rows, and totals, are computed once and stored after everything else. But where each pass is a kernel of its
    # own (few large rows), later kernels compute the values of rows from before the first pass again.
    return level == TOTAL or not is_few_large_rows(group.space, group.reduced)


def _reads_own_element(graph: KernelGraph, group: Group, node: Node, state: Value) -> bool:
    if is_reducing(group, node):  # what it takes in is laid out like the space
        return node.inputs[0] == state
    at = tuple(variables(group, group.levels[node]))
    shape: Shape = node.types[0].shape or ()
    covered = set()
    for a in accesses(node, index_of_shape(shape, at)):
        v = node.inputs[a.operand]
        assert v is not None
        covered.add(a.operand)
        if graph.storage(v) == state and (v != state or not a.exact or squeezed_variables(a.index, v.shape) != at):
            return False
    return all(k in covered for k, v in enumerate(node.inputs) if v is not None and graph.storage(v) == state)
