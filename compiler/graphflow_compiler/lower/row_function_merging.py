"""The other kernels that may be alike: loops over rows, in many lengths.

A row of known length is cut into vectors for that length, which runs up to a fifth faster than if the length is an argument.
But LLVM takes some ten milliseconds for each, so kernels that differ only in lengths become one where a plan has many of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from graphflow.framework.shapes import Dim, size
from graphflow_compiler.ir.loops import (
    Binary,
    Const,
    For,
    FromIndex,
    IBinary,
    IConst,
    IDim,
    Index,
    Let,
    Load,
    LoopKernel,
    Statement,
    Store,
    Var,
)

#: Kernels that differ in their sizes become one from this many.
MANY = 6
#: Longer rows, or more of them, are worth code of their own.
_LONGEST = 512
_MOST_ROWS = 256
#: 0 and 1 are where an index begins and steps.
_SMALLEST = 2
TakeNumber = Callable[[Const, str], "Const | Var"]


class Sizes:
    """Takes the sizes out of the index expressions of a kernel over rows."""

    def __init__(self, kernel: LoopKernel, take: TakeNumber) -> None:
        self.found: list[int] = []
        self._dims: dict[str, IDim] = {}
        self._take = take
        body = self._block(kernel.body)
        buffers = tuple(replace(b, count=self._index(b.count)) for b in kernel.buffers)
        self.dims: tuple[Dim, ...] = tuple(size(name) for name in self._dims)
        names = tuple(d.name for d in self._dims.values())
        self.kernel = LoopKernel("kernel", buffers, (*names, *map(size_name, range(len(self.found)))), body)

    def _block(self, body: tuple[Statement, ...]) -> tuple[Statement, ...]:
        return tuple([self._statement(s) for s in body])

    def _statement(self, s: Statement) -> Statement:
        if isinstance(s, For):
            return replace(s, extent=self._index(s.extent), body=self._block(s.body))
        if isinstance(s, Store):
            return replace(s, index=self._index(s.index))
        if isinstance(s, Let):
            e = s.value
            if isinstance(e, (Load, FromIndex)):
                return replace(s, value=replace(e, index=self._index(e.index)))
            if isinstance(e, Binary):
                a, b = (self._take(x, e.op) if isinstance(x, Const) else x for x in (e.a, e.b))
                if a is not e.a or b is not e.b:
                    return replace(s, value=Binary(e.op, a, b))
        return s

    def _index(self, index: Index) -> Index:
        if isinstance(index, IBinary):
            # To divide by a number that is not known takes as long as the rest of the row.
            divides = index.op in ("floordiv", "mod") and isinstance(index.b, IConst)
            return IBinary(index.op, self._index(index.a), index.b if divides else self._index(index.b))
        if isinstance(index, IDim):
            return self._dims.setdefault(index.name, IDim(f"dim_{len(self._dims)}"))
        if isinstance(index, IConst) and index.value >= _SMALLEST:
            self.found.append(index.value)
            return IDim(size_name(len(self.found) - 1))
        return index


def is_over_rows(kernel: LoopKernel) -> bool:
    """Whether it is one loop over rows that are short, and not known to be many."""
    loop = kernel.body[0] if len(kernel.body) == 1 else None
    if not isinstance(loop, For) or loop.kind == "vector" or not loop.parallel:
        return False
    if isinstance(loop.extent, IConst) and loop.extent.value > _MOST_ROWS:
        return False
    inner = list(_loops(loop.body))
    return bool(inner) and all(isinstance(f.extent, IConst) and f.extent.value <= _LONGEST for f in inner)


def _loops(body: Sequence[Statement]) -> Iterator[For]:
    for s in body:
        if isinstance(s, For):
            yield s
            yield from _loops(s.body)


def with_sizes(kernel: LoopKernel, places: dict[str, Index]) -> LoopKernel:
    """The kernel with sizes put in where `places` says."""

    def index(i: Index) -> Index:
        if isinstance(i, IBinary):
            return IBinary(i.op, index(i.a), index(i.b))
        return places.get(i.name, i) if isinstance(i, IDim) else i

    def statement(s: Statement) -> Statement:
        if isinstance(s, For):
            return replace(s, extent=index(s.extent), body=tuple([statement(x) for x in s.body]))
        if isinstance(s, Store):
            return replace(s, index=index(s.index))
        if isinstance(s, Let) and isinstance(s.value, (Load, FromIndex)):
            return replace(s, value=replace(s.value, index=index(s.value.index)))
        return s

    dims = [places[name] if name in places else IDim(name) for name in kernel.dims]
    return replace(
        kernel,
        buffers=tuple(replace(b, count=index(b.count)) for b in kernel.buffers),
        dims=tuple(dict.fromkeys(d.name for d in dims if isinstance(d, IDim))),
        body=tuple([statement(s) for s in kernel.body]),
    )


def size_name(k: int) -> str:
    return f"size_{k}"
