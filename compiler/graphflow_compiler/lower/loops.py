"""Map, row and column groups as loops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from graphflow.core.kinds import Elementwise, Gather, Random, Reduction, View
from graphflow.shapes import Dim
from graphflow_compiler.access import accesses, add, dim_index, index_of_shape, is_unit_view, mul
from graphflow_compiler.ir.kernels import ELEMENT, ROW, Group, squeezed
from graphflow_compiler.ir.loops import Atom, IConst, Index, IVar, LoopKernel
from graphflow_compiler.ir.program import Node, Value
from graphflow_compiler.lower.emit import Emitter, LoweredKernel, _axis, accumulator_dtype, used_dims


def lower_map(e: Emitter) -> LoweredKernel:
    """Every element on its own: the outer axis is shared out, the innermost is the vector."""
    group = e.group
    axes = _merge_axes(e, group, range(len(group.space)))
    with _nest(e, axes, vector_last=True):
        for node in group.nodes:
            e.element(node, _index(e, node, ELEMENT))
        _store(e, group.outputs, ELEMENT)
    return _finish(e)


def lower_row(e: Emitter) -> LoweredKernel:
    """One pass over the row for each reduction that depends on another; rows are shared out."""
    group = e.group
    outer = _merge_axes(e, group, [k for k in range(len(group.space)) if k not in group.reduced])
    inner = _merge_axes(e, group, group.reduced)
    stages = _stages(group)
    last = max(stages.values())
    kept = _worth_keeping(group, stages)
    places: dict[Value, str] = {}
    with _nest(e, outer, vector_last=False):
        for stage in range(last + 1):
            for node in group.nodes:
                if group.levels[node] == ROW and stages[node] == stage and not _is_reducing(group, node):
                    e.element(node, _index(e, node, ROW))
            _pass(e, group, stages, stage, inner, kept, places)
        _store(e, [v for v in group.outputs if group.levels[v.node] == ROW], ROW)
    return _finish(e)


def _stages(group: Group) -> dict[Node, int]:
    """The pass in which a node's value comes about; the result of a reduction is at hand from the pass after it."""
    stages: dict[Node, int] = {}
    for node in group.nodes:
        stage = 0
        for v in node.data_inputs:
            if v.node in stages:
                stage = max(stage, stages[v.node] + (1 if _is_reducing(group, v.node) else 0))
        stages[node] = stage
    return stages


def _is_reducing(group: Group, node: Node) -> bool:
    """Whether the node runs over the row; a reduction of axes of size 1 only is a function of one value."""
    if not isinstance(node.op.kind, Reduction) or group.levels[node] != ROW:
        return False
    x = node.inputs[0]
    return x is not None and any(x.shape[a] != 1 for a in node.attrs.axis)


def _checks(node: Node) -> bool:
    """Whether the node can fail the run, which it must do even if nothing in the kernel uses its value."""
    kind = node.op.kind
    return isinstance(kind, Gather) or (isinstance(kind, Elementwise) and kind.check is not None)


def _worth_keeping(group: Group, stages: dict[Node, int]) -> set[Node]:
    """Element values that a later pass needs and that cost more to compute again than to read back from cache."""
    kept: set[Node] = set()
    for node in group.nodes:
        for v in node.data_inputs:
            if v.node in stages and group.levels[v.node] == ELEMENT and stages[v.node] < stages[node]:
                kind = v.node.op.kind
                costly = isinstance(kind, (Random, Gather)) or (isinstance(kind, Elementwise) and not kind.cheap)
                if costly or v in group.outputs:
                    kept.add(v.node)
    # What a cheap later recomputation would pull in: expensive nodes behind cheap ones must be kept as well.
    for node in reversed(group.nodes):
        if group.levels[node] != ELEMENT or node in kept:
            continue
        later = [n for n in group.nodes if node.out() in n.data_inputs and (stages[n] > stages[node])]
        if later:
            todo = [node]
            seen: set[Node] = set()
            while todo:
                n = todo.pop()
                if n in seen or n in kept:
                    continue
                seen.add(n)
                kind = n.op.kind
                if isinstance(kind, (Random, Gather)) or (isinstance(kind, Elementwise) and not kind.cheap):
                    kept.add(n)
                    continue
                todo += [v.node for v in n.data_inputs if v.node in stages and group.levels[v.node] == ELEMENT]
    return kept


def _pass(
    e: Emitter,
    group: Group,
    stages: dict[Node, int],
    stage: int,
    inner: Sequence[int],
    kept: set[Node],
    places: dict[Value, str],
) -> None:
    """One loop over the row: reductions of this stage, and the element results that come about in it."""
    reductions = [n for n in group.nodes if _is_reducing(group, n) and stages[n] == stage]
    outputs = [v for v in group.outputs if group.levels[v.node] == ELEMENT and stages[v.node] == stage]
    keep_now = [n for n in group.nodes if n in kept and stages[n] == stage]
    checking = [n for n in group.nodes if group.levels[n] == ELEMENT and stages[n] == stage and _checks(n)]
    roots = [*(n for n in reductions), *(v.node for v in outputs), *keep_now, *checking]
    if not roots:
        return
    needed = _needed(group, roots, stages, stage, kept)
    outside = dict(e.env)
    extents = [(k, _run_extent(e, group, k)) for k in inner]
    totals: dict[Node, object] = {}

    def body() -> None:
        for node in needed:
            if node in kept and stages[node] < stage:
                index = _index(e, node, ELEMENT)
                e.env[node.out()] = e.b.load(
                    places[node.out()], _kept_address(e, group, node, index, inner), node.types[0].dtype
                )
            else:
                e.element(node, _index(e, node, ELEMENT))
        for v in outputs:
            e.store(v, _index(e, v.node, ELEMENT))
        for node in keep_now:
            v = node.out()
            if v in group.outputs:
                places[v] = e.buffer(v)
            else:
                count: Dim = 1
                for k in group.reduced:
                    count = count * group.space[k]
                places[v] = e.new_scratch(v.dtype, count)
                e.b.store(places[v], _inner_address(e, group, inner), e.env[v])

    def loops(depth: int) -> dict[Node, object]:
        k, extent = extents[depth]
        innermost = depth == len(extents) - 1
        with e.b.loop(f"i{k}", extent, kind="vector" if innermost else "serial", parallel=False) as loop:
            if innermost:
                body()
                values = {n: e.prepare(n, n.op.kind, _reduced_operand(e, n)) for n in reductions}  # type: ignore[arg-type]
            else:
                values = loops(depth + 1)  # type: ignore[assignment]
            result = {}
            for n in reductions:
                kind = n.op.kind
                assert isinstance(kind, Reduction)
                atom = values[n]
                dtype = accumulator_dtype(e.b.dtype(atom))
                result[n] = loop.accumulate(f"r{n.id}", dtype, kind.combine, kind.identity(dtype), atom)
        return result  # type: ignore[return-value]

    totals = loops(0)
    e.env = outside
    count: Dim = 1
    for k in group.reduced:
        count = count * group.space[k]
    for n in reductions:
        kind = n.op.kind
        assert isinstance(kind, Reduction)
        e.env[n.out()] = e.finish(n, kind, totals[n], dim_index(count))  # type: ignore[arg-type]


def _needed(group: Group, roots: Sequence[Node], stages: dict[Node, int], stage: int, kept: set[Node]) -> list[Node]:
    """The element nodes to compute (or read back) in this pass, in order."""
    needed: set[Node] = set()
    todo: list[Node] = []
    for r in roots:
        todo += [v.node for v in r.data_inputs] if _is_reducing(group, r) else [r]
    while todo:
        n = todo.pop()
        if n in needed or n not in stages or group.levels[n] != ELEMENT:
            continue
        needed.add(n)
        if not (n in kept and stages[n] < stage):
            todo += [v.node for v in n.data_inputs]
    return [n for n in group.nodes if n in needed]


def lower_column(e: Emitter) -> LoweredKernel:
    """Reduction over leading or middle axes: lanes run along the last kept axis, so every load is contiguous."""
    group = e.group
    node = group.nodes[0]
    kind = node.op.kind
    assert isinstance(kind, Reduction)
    kept_axes = _merge_axes(e, group, [k for k in range(len(group.space)) if k not in group.reduced])
    reduced = _merge_axes(e, group, group.reduced)
    with _nest(e, kept_axes, vector_last=True):

        def loops(depth: int) -> object:
            k = reduced[depth]
            with e.b.loop(f"i{k}", _run_extent(e, group, k), kind="serial", parallel=False) as loop:
                if depth == len(reduced) - 1:
                    value = e.prepare(node, kind, _reduced_operand(e, node))
                else:
                    value = loops(depth + 1)  # type: ignore[assignment]
                dtype = accumulator_dtype(e.b.dtype(value))
                return loop.accumulate(f"r{depth}", dtype, kind.combine, kind.identity(dtype), value)

        count: Dim = 1
        for k in group.reduced:
            count = count * group.space[k]
        e.env[node.out()] = e.finish(node, kind, loops(0), dim_index(count))  # type: ignore[arg-type]
        for n in group.nodes[1:]:
            e.element(n, _index(e, n, ROW))
        _store(e, group.outputs, ROW)
    return _finish(e)


# ---------------------------------------------------------------------------------------------- shared pieces


def _variables(group: Group, level: str) -> list[Index]:
    return [IVar(f"i{k}") for k in range(len(group.space)) if level == ELEMENT or k not in group.reduced]


def _index(e: Emitter, node: Node, level: str) -> tuple[Index, ...]:
    return index_of_shape(node.types[0].shape or (), _variables(e.group, level))


def _reduced_operand(e: Emitter, node: Node) -> Atom:
    """The element that a reduction takes in at the current point of the full space."""
    x = node.inputs[0]
    assert x is not None
    return e.operand(x, index_of_shape(x.shape, _variables(e.group, ELEMENT)))


def _inner_address(e: Emitter, group: Group, inner: Sequence[int]) -> Index:
    total: Index = IConst(0)
    for k in inner:
        total = add(mul(total, _run_extent(e, group, k)), IVar(f"i{k}"))
    return total


def _kept_address(e: Emitter, group: Group, node: Node, index: tuple[Index, ...], inner: Sequence[int]) -> Index:
    return e.address(node.out(), index) if node.out() in group.outputs else _inner_address(e, group, inner)


def _run_extent(e: Emitter, group: Group, first: int) -> Index:
    return e.extent(e.runs[first] if e.runs is not None else (first,))


def _store(e: Emitter, values: Sequence[Value], level: str) -> None:
    for v in values:
        e.store(v, _index(e, v.node, level))


@contextmanager
def _nest(e: Emitter, axes: Sequence[int], vector_last: bool) -> Iterator[None]:
    with ExitStack() as stack:
        for position, k in enumerate(axes):
            vector = vector_last and position == len(axes) - 1
            stack.enter_context(
                e.b.loop(f"i{k}", _run_extent(e, e.group, k), kind="vector" if vector else "serial", parallel=position == 0)
            )
        yield


def _merge_axes(e: Emitter, group: Group, axes: Sequence[int]) -> list[int]:
    """Merges neighbouring axes that every access walks together, so that short inner axes do not cost short loops.

    Returns the first axis of each run; `e.runs` is filled for the whole space in one go.
    """
    if e.runs is None and _mergeable(group):
        e.runs = _runs(group)
    if e.runs is None:
        return list(axes)
    return [k for k in axes if k in e.runs]


def _mergeable(group: Group) -> bool:
    for n in group.nodes:
        kind = n.op.kind
        if not (isinstance(kind, (Elementwise, Random, Reduction)) or (isinstance(kind, View) and is_unit_view(n))):
            return False
    return True


def _runs(group: Group) -> dict[int, tuple[int, ...]]:
    count = len(group.space)
    patterns: set[frozenset[int]] = set()
    for n in group.nodes:
        level = group.levels[n]
        reducing = _is_reducing(group, n)
        x = n.inputs[0] if n.inputs else None
        if reducing and x is not None:
            patterns.add(frozenset(range(count)))
        else:
            index = index_of_shape(n.types[0].shape or (), _variables(group, level))
            for a in accesses(n, index):
                v = n.inputs[a.operand]
                assert v is not None
                patterns.add(frozenset(_axis(i) for i, d in zip(a.index, v.shape, strict=True) if d != 1))
        shape = squeezed(n.types[0].shape)
        patterns.add(frozenset(_axis(i) for i in _variables(group, level)) if shape else frozenset())
    patterns.add(frozenset(k for k in range(count) if k not in group.reduced))
    patterns.add(frozenset(range(count)))
    runs: dict[int, tuple[int, ...]] = {}
    for k in range(count):
        if runs and all((k in p) == (k - 1 in p) for p in patterns):
            first = max(runs)
            runs[first] = (*runs[first], k)
        else:
            runs[k] = (k,)
    return runs


def _finish(e: Emitter) -> LoweredKernel:
    buffers, arguments = e.buffers()
    body = e.b.build()
    kernel = LoopKernel("kernel", buffers, used_dims(body, [b.count for b in buffers]), body, e.group.origin)
    return LoweredKernel(e.group, kernel, arguments, tuple(e.failures))
