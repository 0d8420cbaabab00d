"""Loops over the space of a group: which axes become one loop, where values lie along them, reductions over them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

from graphflow.framework.kinds import Elementwise, Random, Reduction, View
from graphflow.framework.shapes import product
from graphflow_compiler.ir.index import iadd, imul
from graphflow_compiler.ir.indexing_maps import accesses, dim_index, index_of_shape, is_unit_view
from graphflow_compiler.ir.kernels import ELEMENT, ROW, TOTAL, Group, squeezed
from graphflow_compiler.ir.loops import Atom, IConst, Index, IVar
from graphflow_compiler.ir.program import Node, Value
from graphflow_compiler.lower.emit import Emitter, axis_of


def variables(group: Group, level: str) -> list[Index]:
    """The loop variables that a value of that level depends on."""
    if level == TOTAL:
        return []
    return [IVar(f"i{k}") for k in range(len(group.space)) if level == ELEMENT or k not in group.reduced]


def index_at(e: Emitter, node: Node, level: str) -> tuple[Index, ...]:
    return index_of_shape(node.types[0].shape or (), variables(e.group, level))


def is_reducing(group: Group, node: Node) -> bool:
    """Whether the node runs over the row, or over all rows; a reduction of axes of size 1 only is a function of one value."""
    if not isinstance(node.op.kind, Reduction) or group.levels[node] == ELEMENT:
        return False
    x = node.inputs[0]
    return x is not None and any(x.shape[a] != 1 for a in node.attrs.axis)


def reduced_operand(e: Emitter, node: Node) -> Atom:
    """What a reduction takes in at the current point: an element of the space or, in a reduction over rows, of a row."""
    x = node.inputs[0]
    kind = node.op.kind
    assert x is not None and isinstance(kind, Reduction)
    level = ROW if e.group.levels.get(x.node) == ROW else ELEMENT
    return e.prepare(node, kind, e.operand(x, index_of_shape(x.shape, variables(e.group, level))))


def reduced_over(
    e: Emitter,
    loops: Sequence[tuple[str, Index]],
    reductions: Sequence[Node],
    values: Callable[[], Mapping[Node, Atom]],
    vector: bool = True,
) -> dict[Node, Atom]:
    """A nest of loops (variable, extent), outermost first. What `values` emits for each reduction, combined over them all."""

    def level(depth: int) -> dict[Node, Atom]:
        name, extent = loops[depth]
        innermost = depth == len(loops) - 1
        with e.b.loop(name, extent, mode="vector" if vector and innermost else "serial") as loop:
            found = values() if innermost else level(depth + 1)
            result: dict[Node, Atom] = {}
            for n in reductions:
                kind = n.op.kind
                assert isinstance(kind, Reduction)
                dtype = e.b.dtype(found[n])
                result[n] = loop.accumulate("r", dtype, kind.combine, kind.identity(dtype), found[n])
        return result

    return level(0)


def finish(e: Emitter, node: Node, total: Atom) -> None:
    """The result of a reduction from what it has combined."""
    kind, x = node.op.kind, node.inputs[0]
    assert isinstance(kind, Reduction) and x is not None
    e.env[node.out()] = e.finish(node, kind, total, dim_index(product(x.shape[a] for a in node.attrs.axis)))


def flat_address(e: Emitter, axes: Sequence[int]) -> Index:
    """The row-major place along some axes."""
    total: Index = IConst(0)
    for k in axes:
        total = iadd(imul(total, run_extent(e, k)), IVar(f"i{k}"))
    return total


def run_of(e: Emitter, first: int) -> tuple[int, ...]:
    return e.runs[first] if e.runs is not None else (first,)


def run_extent(e: Emitter, first: int) -> Index:
    return e.extent(run_of(e, first))


def store_all(e: Emitter, values: Sequence[Value], level: str) -> None:
    for v in values:
        e.store(v, index_at(e, v.node, level))


@contextmanager
def nest(e: Emitter, axes: Sequence[int], vector_last: bool, parallel: bool = True) -> Iterator[None]:
    """Loops over the axes, of which the first may be shared out."""
    # Only the outermost loop may be parallel, only the innermost a vector loop (see `For`).
    with ExitStack() as stack:
        for position, k in enumerate(axes):
            vector = vector_last and position == len(axes) - 1
            stack.enter_context(
                e.b.loop(f"i{k}", run_extent(e, k), "vector" if vector else "serial", parallel and position == 0)
            )
        yield


def merge_axes(e: Emitter) -> tuple[list[int], list[int]]:
    """Merges neighbouring axes that every access walks together, so that short inner axes do not cost short loops.

    Returns the first axis of each run: of the axes that are kept, and of those that are reduced.
    """
    group = e.group
    if e.runs is None and _mergeable(group):
        e.runs = _runs(group)
    firsts = [k for k in range(len(group.space)) if e.runs is None or k in e.runs]
    return [k for k in firsts if k not in group.reduced], [k for k in firsts if k in group.reduced]


def _mergeable(group: Group) -> bool:
    for n in group.nodes:
        kind = n.op.kind
        if not (isinstance(kind, (Elementwise, Random, Reduction)) or (isinstance(kind, View) and is_unit_view(n))):
            return False
    return True


def _runs(group: Group) -> dict[int, tuple[int, ...]]:
    count = len(group.space)
    if count < 2:
        return {k: (k,) for k in range(count)}
    patterns: set[frozenset[int]] = set()
    for n in group.nodes:
        level = group.levels[n]
        here = n.types[0].shape
        whole = level == ELEMENT and isinstance(n.op.kind, Elementwise) and squeezed(here) == group.space
        if whole and all(v is not None and v.shape == here for v in n.inputs):
            continue  # it walks all axes together
        if not is_reducing(group, n):
            index = index_of_shape(n.types[0].shape or (), variables(group, level))
            for a in accesses(n, index):
                v = n.inputs[a.operand]
                assert v is not None
                patterns.add(frozenset(axis_of(i) for i, d in zip(a.index, v.shape, strict=True) if d != 1))
        shape = squeezed(n.types[0].shape)
        patterns.add(frozenset(axis_of(i) for i in variables(group, level)) if shape else frozenset())
    patterns.add(frozenset(k for k in range(count) if k not in group.reduced))
    patterns.add(frozenset(range(count)))
    # Neighbouring axes are one run if every access walks both or neither: then they are one axis in every array's memory.
    runs: dict[int, tuple[int, ...]] = {}
    for k in range(count):
        if runs and all((k in p) == (k - 1 in p) for p in patterns):
            first = max(runs)
            runs[first] = (*runs[first], k)
        else:
            runs[k] = (k,)
    return runs
