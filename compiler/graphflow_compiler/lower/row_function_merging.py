"""Merging of kernels over short rows that differ in the lengths of their rows, too.

A row of known length becomes vectors for that length, which runs up to a fifth faster than if the length is an argument.
But LLVM takes some ten milliseconds for each, so kernels that differ only in lengths become one where a plan has many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from graphflow.framework.dims import Factor, factor
from graphflow.framework.shapes import Dim
from graphflow_compiler.ir.loops import Expr, For, IBinary, IConst, IDim, Index, LoopKernel
from graphflow_compiler.ir.loops_visit import loops, map_expression, map_index, map_statements

#: Kernels that differ in their sizes become one from this many.
MANY = 6
#: Longer rows, or more of them, are worth code of their own.
_LONGEST = 512
_MOST_ROWS = 256
#: 0 and 1 are where an index begins and steps.
_SMALLEST = 2


class Sizes:
    """Takes the sizes out of the index expressions of a kernel over rows."""

    def __init__(self, kernel: LoopKernel, without_numbers: Callable[[Expr], Expr]) -> None:
        self.found: list[int] = []
        self._dims: dict[Factor, IDim] = {}
        self._without_numbers = without_numbers
        body = map_statements(kernel.body, index=self._index, expression=self._expression)
        buffers = tuple(replace(b, count=self._index(b.count)) for b in kernel.buffers)
        self.dims: tuple[Dim, ...] = tuple(map(factor, self._dims))
        names = tuple(d.name for d in self._dims.values())
        self.kernel = LoopKernel("kernel", buffers, (*names, *map(size_name, range(len(self.found)))), body)

    def _expression(self, e: Expr) -> Expr:
        return map_expression(self._without_numbers(e), index=self._index)

    def _index(self, index: Index) -> Index:
        return map_index(index, self._without_sizes)

    def _without_sizes(self, index: Index) -> Index | None:
        if isinstance(index, IBinary) and index.op in ("floordiv", "mod") and isinstance(index.b, IConst):
            # Divisors stay constants: a division by an argument takes as long as the rest of the row.
            return IBinary(index.op, self._index(index.a), index.b)
        if isinstance(index, IDim):
            return self._dims.setdefault(index.name, IDim(f"dim_{len(self._dims)}"))
        if isinstance(index, IConst) and index.value >= _SMALLEST:
            self.found.append(index.value)
            return IDim(size_name(len(self.found) - 1))
        return None


def is_over_rows(kernel: LoopKernel) -> bool:
    """Whether it is one loop over rows that are short, and not known to be many."""
    loop = kernel.body[0] if len(kernel.body) == 1 else None
    if not isinstance(loop, For) or loop.mode == "vector" or not loop.parallel:
        return False
    if isinstance(loop.extent, IConst) and loop.extent.value > _MOST_ROWS:
        return False
    inner = loops(loop.body)
    return bool(inner) and all(isinstance(f.extent, IConst) and f.extent.value <= _LONGEST for f in inner)


def with_sizes(kernel: LoopKernel, places: Mapping[Factor, Index]) -> LoopKernel:
    """The kernel with sizes put in where `places` says."""

    def index(i: Index) -> Index:
        return map_index(i, lambda part: places.get(part.name) if isinstance(part, IDim) else None)

    dims = [places[name] if name in places else IDim(name) for name in kernel.dims]
    return replace(
        kernel,
        buffers=tuple(replace(b, count=index(b.count)) for b in kernel.buffers),
        dims=tuple(dict.fromkeys(d.name for d in dims if isinstance(d, IDim))),
        body=map_statements(kernel.body, index=index),
    )


def size_name(k: int) -> str:
    return f"size_{k}"
