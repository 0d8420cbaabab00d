"""Reductions of much into little as several kernels: sums of blocks, which threads share, then their combination.

The blocks are the same however many threads there are, and their sums are combined in one fixed order, so results do not
depend on threads. Sums of blocks are also more accurate than one long sum.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import field

from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, floordiv, maximum, product
from graphflow_compiler.ir.index import iadd, ifloordiv, imin, imod, imul, isub, substituted
from graphflow_compiler.ir.indexing_maps import dim_index
from graphflow_compiler.ir.kernels import ELEMENT, MANY_ELEMENTS, ROW, TOTAL, Group
from graphflow_compiler.ir.loops import Atom, IConst, Index, IVar
from graphflow_compiler.ir.program import Node, Value
from graphflow_compiler.lower.column_reduction import lanes_along_columns
from graphflow_compiler.lower.column_reduction import results as column_results
from graphflow_compiler.lower.column_reduction import sums as column_sums
from graphflow_compiler.lower.emit import Emitter, LoweredKernel, Partial
from graphflow_compiler.lower.loop_nest import (
    finish,
    flat_address,
    index_at,
    is_reducing,
    merge_axes,
    nest,
    reduced_over,
    run_of,
    store_all,
)
from graphflow_compiler.lower.row_reduction import RowPasses

Start = Callable[[], Emitter]

#: Elements of a block: a few microseconds of work, and room for the pieces that every block costs (1 % or less).
BLOCK = 4096
#: Partial results are combined in chunks of this many, then the chunks: so sums of many blocks are as accurate as of few.
CHUNK = 64
#: Up to this many columns would all go to one thread if they were not split: it takes about that many lanes at a time.
NARROW = 32
#: Up to WIDE columns, elementwise work before the sums is done in blocks of at least ROWS rows: a fifth less time for
#: 512 x 512 to 4096 x 256. With more columns the plain loop walks memory well enough.
WIDE = 4096
ROWS = 32

_BLOCK = "p"  # the variable that counts blocks
_CHUNK, _PART = "h", "c"  # the variables that run over the parts of one result


def is_split_column(group: Group) -> bool:
    """Whether a column reduction must be split into blocks: to occupy several threads, or because several arrays are then
    walked in an order that suits the caches better than one column after the other."""
    columns = product(d for k, d in enumerate(group.space) if k not in group.reduced)
    rows = product(group.space[k] for k in group.reduced)
    everything = columns * rows
    if not isinstance(columns, int) or columns == 0 or (isinstance(everything, int) and everything < MANY_ELEMENTS):
        return False
    if columns <= NARROW:
        return True
    few = isinstance(rows, int) and rows < 4 * ROWS
    return columns <= WIDE and not few and ELEMENT in group.levels.values()


@record(frozen=True)
class BlockSplit:
    """A nest of loops in blocks. A block has one place along each axis of `apart`, `size` places along `axis` (the last one
    fewer) and all places along the axes of `whole`."""

    apart: tuple[int, ...]
    axis: int
    size: Dim
    whole: tuple[int, ...]
    extents: Mapping[int, Dim]

    @classmethod
    def of(cls, e: Emitter, apart: Sequence[int], axes: Sequence[int], element: Dim) -> BlockSplit:
        """Blocks of about BLOCK elements of `axes`, at each place of which there are `element` elements."""
        extents = {k: product(e.group.space[j] for j in run_of(e, k)) for k in (*apart, *axes)}
        # Inner axes that are smaller than a block go into it whole; the first that is not is the one to split.
        last = len(axes) - 1
        while last > 0 and isinstance(below := element * extents[axes[last]], int) and below < BLOCK:
            element, last = below, last - 1
        size = maximum(floordiv(BLOCK, maximum(element, 1)), 1)
        extent = extents[axes[last]]
        size = max(1, min(size, extent)) if isinstance(extent, int) and isinstance(size, int) else size
        return cls((*apart, *axes[:last]), axes[last], size, tuple(axes[last + 1 :]), extents)

    @property
    def along(self) -> Dim:
        """Blocks along the axis that is split."""
        return (self.extents[self.axis] + (self.size - 1)) // self.size

    @property
    def count(self) -> Dim:
        return product(self.extents[k] for k in self.apart) * self.along

    def loops(self, block: Index) -> list[tuple[str, Index]]:
        """The loops inside a block."""
        extent = self.extents[self.axis]
        here = dim_index(self.size)
        if extent % self.size != 0:
            here = imin(here, isub(dim_index(extent), imul(self._along(block), here)))
        return [(f"i{self.axis}", here), *((f"i{k}", dim_index(self.extents[k])) for k in self.whole)]

    def _along(self, block: Index) -> Index:
        return imod(block, dim_index(self.along)) if self.apart else block

    def places(self, block: Index) -> dict[str, Index]:
        """The axes' variables by the number of the block and the variables of the loops inside it."""
        at = imul(self._along(block), dim_index(self.size))
        found = {f"i{self.axis}": iadd(at, IVar(f"i{self.axis}"))}
        rest = ifloordiv(block, dim_index(self.along))
        for k in reversed(self.apart):
            found[f"i{k}"] = rest if k == self.apart[0] else imod(rest, dim_index(self.extents[k]))
            rest = ifloordiv(rest, dim_index(self.extents[k]))
        return found


@record
class _Parts:
    """The partial results of a group's kernels."""

    group: Group
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def new(self, like: Atom | Value, count: Dim) -> Partial:
        return Partial(self.group.id, next(self.numbers), like.dtype, count)

    def store(self, e: Emitter, totals: Mapping[Node, Atom], place: Index, count: Dim) -> dict[Node, Partial]:
        made = {n: self.new(total, count) for n, total in totals.items()}
        for n, total in totals.items():
            e.b.store(e.partial(made[n], "write"), place, total)
        return made


def _combined(e: Emitter, parts: Mapping[Node, Partial], count: Dim, place: Callable[[Index], Index]) -> dict[Node, Atom]:
    """Combines the `count` parts of each reduction, CHUNK at a time; part c is at `place(c)`.

    Plain loops: they take a nanosecond for each block of thousands of elements, and lanes would double the time to compile.
    """
    chunks = (count + (CHUNK - 1)) // CHUNK
    start = imul(IVar(_CHUNK), IConst(CHUNK))
    whole = isinstance(count, int) and count % CHUNK == 0
    here = IConst(CHUNK) if whole else imin(IConst(CHUNK), isub(dim_index(count), start))

    def loads() -> dict[Node, Atom]:
        c = iadd(start, IVar(_PART))
        return {n: e.b.load(e.partial(p, "read"), place(c), p.dtype) for n, p in parts.items()}

    return reduced_over(e, [(_CHUNK, dim_index(chunks)), (_PART, here)], list(parts), loads, vector=False)


def lower_row_blocks(start: Start) -> tuple[LoweredKernel, ...]:
    """A few large rows. Each pass over the rows is a kernel over blocks of them, and one that finishes its reductions."""
    e = start()
    group = e.group
    rows = RowPasses.of(group)
    parts = _Parts(group)
    handed: dict[Value, Partial] = {}
    rows.aside = lambda v: handed.setdefault(v, parts.new(v, product(v.shape)))
    made: list[LoweredKernel] = []
    for stage in range(rows.last + 1):
        needed = rows.elements(stage)
        if needed is None:
            continue
        reductions = rows.reductions(stage)
        e = start()
        e.handed = handed
        outer, inner = merge_axes(e)
        split = BlockSplit.of(e, outer, inner, 1)
        with e.b.loop(_BLOCK, dim_index(split.count), parallel=True):
            for node in rows.row_inputs([*needed, *reductions]):
                e.element(node, index_at(e, node, ROW))
            totals = rows.run(e, stage, inner, split.loops(IVar(_BLOCK)))
            sums = parts.store(e, totals, IVar(_BLOCK), split.count)
        body = substituted(e.b.build(), split.places(IVar(_BLOCK)))
        nodes = [n for n in group.nodes if n in sums or (group.levels[n] == ELEMENT and rows.stages[n] == stage)]
        made.append(e.kernel(body, nodes, "blocks"))
        if sums:
            blocks = product(split.extents[k] for k in split.apart if k not in outer) * split.along
            made.append(_finish_pass(start(), rows, stage, sums, blocks, parts, handed))
    return tuple(made)


def _finish_pass(
    e: Emitter,
    rows: RowPasses,
    stage: int,
    sums: dict[Node, Partial],
    blocks: Dim,
    parts: _Parts,
    handed: dict[Value, Partial],
) -> LoweredKernel:
    """Combines the sums of each row's blocks, computes what the rows have before the next pass, and hands it on."""
    group = e.group
    e.handed = handed
    outer, _ = merge_axes(e)
    following = rows.row_nodes(stage + 1)
    nodes = [*(rows.row_nodes(0) if stage == 0 else ()), *following]
    with nest(e, outer, vector_last=False):
        first = imul(flat_address(e, outer), dim_index(blocks))
        for n, total in _combined(e, sums, blocks, lambda c: iadd(first, c)).items():
            finish(e, n, total)
        before = rows.row_inputs(following)
        for node in [n for n in group.nodes if n in nodes or n in before]:
            e.element(node, index_at(e, node, ROW))
        computed = [n.out() for n in group.nodes if n in sums or n in nodes]
        store_all(e, [v for v in computed if v in group.outputs], ROW)
        for v in computed:
            if v not in group.outputs and rows.is_used_after(v, stage):
                p = parts.new(v, product(v.shape))
                e.b.store(e.partial(p, "write"), e.address(v, index_at(e, v.node, ROW)), e.env[v])
                handed[v] = p
    return e.kernel(e.b.build(), nodes, "results", list(sums))


def lower_totals(start: Start) -> tuple[LoweredKernel, ...]:
    """Rows, and reductions of what they have over all rows: a kernel over blocks of rows, and one for the totals.

    What is known to be a single block is one kernel.
    """
    e = start()
    group = e.group
    rows = RowPasses.of(group)
    outer, inner = merge_axes(e)
    split = BlockSplit.of(e, (), outer, product(group.space[k] for k in group.reduced))
    reductions = [n for n in group.nodes if group.levels[n] == TOTAL and is_reducing(group, n)]

    def block(number: Index) -> dict[Node, Atom]:
        def row() -> dict[Node, Atom]:
            outside = dict(e.env)
            added = rows.whole_row(e, inner)
            e.env = outside
            return added

        return reduced_over(e, split.loops(number), reductions, row, vector=False)

    if split.count == 1:
        _finish_totals(e, block(IConst(0)))
        return (e.kernel(substituted(e.b.build(), split.places(IConst(0))), group.nodes),)
    with e.b.loop(_BLOCK, dim_index(split.count), parallel=True):
        sums = _Parts(group).store(e, block(IVar(_BLOCK)), IVar(_BLOCK), split.count)
    body = substituted(e.b.build(), split.places(IVar(_BLOCK)))
    late = [n for n in group.nodes if group.levels[n] == TOTAL and n not in sums]
    first = e.kernel(body, [n for n in group.nodes if n not in late], "blocks")
    e = start()
    _finish_totals(e, _combined(e, sums, split.count, lambda c: c))
    return first, e.kernel(e.b.build(), late, "results", list(sums))


def _finish_totals(e: Emitter, totals: Mapping[Node, Atom]) -> None:
    group = e.group
    for n, total in totals.items():
        finish(e, n, total)
    for n in group.nodes:
        if group.levels[n] == TOTAL and n not in totals:
            e.element(n, index_at(e, n, TOTAL))
    store_all(e, [v for v in group.outputs if group.levels[v.node] == TOTAL], TOTAL)


def lower_column_blocks(start: Start) -> tuple[LoweredKernel, ...]:
    """A kernel over blocks of rows, and one that combines what they have for each column."""
    e = start()
    group = e.group
    kept, reduced = merge_axes(e)
    columns = product(d for k, d in enumerate(group.space) if k not in group.reduced)
    width = dim_index(columns)
    along = lanes_along_columns(e, kept, reduced)
    assert isinstance(columns, int)
    # With a lane for each column, a block gets at least ROWS rows, however many columns there are.
    split = BlockSplit.of(e, (), reduced, 1 if along else min(columns, BLOCK // ROWS))
    with e.b.loop(_BLOCK, dim_index(split.count), parallel=True), nest(e, kept, vector_last=not along, parallel=False):
        totals = column_sums(e, split.loops(IVar(_BLOCK)), along)
        place = iadd(imul(IVar(_BLOCK), width), flat_address(e, kept))
        parts = _Parts(group).store(e, totals, place, split.count * columns)
    early = [n for n in group.nodes if n in totals or group.levels[n] == ELEMENT]
    first = e.kernel(substituted(e.b.build(), split.places(IVar(_BLOCK))), early, "blocks")
    e = start()
    merge_axes(e)
    with nest(e, kept, vector_last=True):
        column = flat_address(e, kept)
        late = column_results(e, _combined(e, parts, split.count, lambda c: iadd(imul(c, width), column)))
    return first, e.kernel(e.b.build(), late, "results", list(parts))
