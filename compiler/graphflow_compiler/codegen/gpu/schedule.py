"""Which loops of a kernel become blocks and which become threads of a GPU, and how many of each to launch.

    parallel loop, lanes innermost          every thread has elements of its own:  "elements"
    parallel loop around reductions         every block has rows of its own; its threads share the loops inside:  "rows"
    no parallel loop                        one block:  "single"

A nest that starts with a parallel loop is first made one loop where its iterations are provably apart, so that a short outer
axis does not leave the machine idle. Block sizes follow from the sizes alone and never from the device: reductions add up in
the same order on every GPU.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Literal

from graphflow.framework.dims import evaluate, factor, factor_text
from graphflow.framework.errors import CompileError
from graphflow.framework.records import record
from graphflow_compiler.ir.index import iadd, ifloordiv, imod, imul
from graphflow_compiler.ir.loops import (
    For,
    IBinary,
    IConst,
    IDim,
    Index,
    IVar,
    Let,
    Load,
    LoopKernel,
    Statement,
    Store,
)
from graphflow_compiler.ir.loops_visit import buffers_stored, index_names, loops, map_index, map_statements, statements

WARP = 32
#: Threads of a block at most, so that each can have 255 registers on every machine from sm_75 on.
MOST_THREADS = 256
#: The loop variable of a nest that was flattened to one loop.
FLAT = "g"


@record(frozen=True, slots=True)
class Launch:
    """How many blocks and threads a kernel wants. `extents`: of its parallel loops; `widths`: of the loops that the threads
    of a block share. Any number of blocks gives the same bits; the number of threads decides the order of reductions."""

    mapping: Literal["elements", "rows", "single"]
    extents: tuple[Index, ...]
    widths: tuple[Index, ...]

    def shape(self, sizes: Mapping[str, int], most_blocks: int) -> tuple[int, int]:
        """(blocks, threads of each) for the kernel's run-time sizes, at least one of each."""
        extent = max((value_of(e, sizes) for e in self.extents), default=1)
        if self.mapping == "elements":
            blocks, threads = -(-extent // MOST_THREADS), MOST_THREADS
        else:
            width = max((value_of(w, sizes) for w in self.widths), default=1)
            # Whole warps, as many as the widest shared loop fills: that follows from sizes alone, so sums keep their order.
            blocks, threads = extent, min(MOST_THREADS, max(1, -(-width // WARP)) * WARP)
        return max(1, min(blocks, most_blocks)), threads


def value_of(index: Index, sizes: Mapping[str, int]) -> int:
    """The value of an index expression at the first round of every loop. `sizes`: by their names, or those of a kernel's dims
    by their texts. KeyError: a size is not given."""
    if isinstance(index, IConst):
        return index.value
    if isinstance(index, IDim):
        given = sizes.get(factor_text(index.name))
        return evaluate(factor(index.name), sizes) if given is None else given
    if isinstance(index, IVar):
        return 0
    if not isinstance(index, IBinary):
        raise CompileError("the number of iterations of a loop depends on data")
    a, b = value_of(index.a, sizes), value_of(index.b, sizes)
    values = {"add": a + b, "sub": a - b, "mul": a * b, "min": min(a, b), "max": max(a, b)}
    if index.op in values:
        return values[index.op]
    return (a // b if index.op == "floordiv" else a % b) if b else 0


def scheduled(kernel: LoopKernel) -> LoopKernel:
    """The kernel with its outer nests made one loop where that is possible."""
    scratch = any(b.scratch for b in kernel.buffers)
    body = [_flattened(s, scratch) if isinstance(s, For) and s.parallel else s for s in kernel.body]
    return replace(kernel, body=tuple(body))


def launch_of(kernel: LoopKernel) -> Launch:
    """The launch of a scheduled kernel."""
    parallel = [s for s in kernel.body if isinstance(s, For) and s.parallel]
    extents = tuple(s.extent for s in parallel)
    if parallel and all(has_threads_of_its_own(s) for s in parallel):
        return Launch("elements", extents, ())
    if any(has_threads_of_its_own(s) for s in parallel):
        raise CompileError("one kernel has loops for blocks and loops for threads")
    return Launch("rows" if parallel else "single", extents, tuple(_widths(kernel.body)))


def has_threads_of_its_own(loop: For) -> bool:
    """Whether each iteration of a parallel loop is the work of one thread."""
    return loop.mode == "vector" or not any(isinstance(s, For) for s in loop.body)


def is_shared(loop: For) -> bool:
    """Whether the threads of a block share the iterations of a loop: its lanes, or a reduction that only reads.

    Of a nest of reductions it is the outermost loop, unless that one is known to be too short.
    """
    if loop.mode == "vector":
        return True
    inside = statements(loop.body)
    if any(isinstance(s, Store) or (isinstance(s, For) and s.mode == "vector") for s in inside):
        return False
    short = isinstance(loop.extent, IConst) and loop.extent.value < WARP
    return bool(loop.accumulators) and not (short and any(isinstance(s, For) for s in inside))


def _widths(body: Sequence[Statement]) -> list[Index]:
    found: list[Index] = []
    for s in body:
        if isinstance(s, For):
            found += [s.extent] if is_shared(s) else _widths(s.body)
    return found


# ---------------------------------------------------------------------------------------------- nests as one loop
def _flattened(loop: For, scratch: bool) -> For:
    nest = [loop]
    while nest[-1].mode == "serial" and len(nest[-1].body) == 1:
        inner = nest[-1].body[0]
        if not isinstance(inner, For) or inner.accumulators or index_names(inner.extent):
            break
        nest.append(inner)
    body = nest[-1].body
    # Flattened, all iterations run at once; but an iteration of a serial loop may read what the last one left in scratch.
    if len(nest) == 1 or scratch or not _are_apart(nest, body):
        return loop
    # Row-major, so that neighbouring threads touch neighbouring elements.
    strides: list[Index] = [IConst(1)]
    for inner in reversed(nest[1:]):
        strides.append(imul(strides[-1], inner.extent))
    total = imul(strides[-1], loop.extent)
    places: dict[str, Index] = {}
    for position, (one, stride) in enumerate(zip(nest, reversed(strides), strict=True)):
        at = ifloordiv(IVar(FLAT), stride)
        places[one.var] = at if position == 0 else imod(at, one.extent)
    number = _row_major(nest)

    def flat(i: Index) -> Index | None:
        """The one variable in place of those of the nest: alone where they made its row-major number."""
        if i == number:
            return IVar(FLAT)
        return places.get(i.name) if isinstance(i, IVar) else None

    flat_body = map_statements(body, index=lambda index: map_index(index, flat))
    return For(FLAT, total, flat_body, nest[-1].mode, parallel=True)


def _row_major(nest: Sequence[For]) -> Index:
    total: Index = IConst(0)
    for loop in nest:
        total = iadd(imul(total, loop.extent), IVar(loop.var))
    return total


def _are_apart(nest: Sequence[For], body: Sequence[Statement]) -> bool:
    """Whether no iteration of the nest touches what another one stores: each has a row-major range of its own in every
    buffer that is stored."""
    start = _row_major(nest)
    extents = {loop.var: loop.extent for loop in loops(body)}
    stored = buffers_stored(body)
    for s in statements(body):
        if isinstance(s, Store):
            index = s.index
        elif isinstance(s, Let) and isinstance(s.value, Load) and s.value.buffer in stored:
            index = s.value.index
        else:
            continue
        if not _is_within(index, start, extents):
            return False
    return True


def _is_within(index: Index, start: Index, extents: Mapping[str, Index]) -> bool:
    """Whether an index is `start`, or a row-major place in a block of which `start` is the number."""
    while index != start:
        match index:
            case IBinary("add", IBinary("mul", row, width), IVar(name)) if extents.get(name) == width:
                index = row
            case _:
                return False
    return True
