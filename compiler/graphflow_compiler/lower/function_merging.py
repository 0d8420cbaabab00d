"""Kernels alike but for their numbers become one function, which is given the numbers.

The updates of all biases, the initial values of all weights, a scaling here and there: loops over every element of a flat
range that do the same and differ in how many elements there are, or in a factor. LLVM takes some ten milliseconds for
each, and such a loop runs no slower when its extent and a factor are arguments. (Loops over rows do run slower, and are merged
only where there are many of them: `row_function_merging`.) Other numbers in which no two kernels of the plan differ stay
constants.

`Skeleton.of` takes a kernel apart into what must be the same and its numbers; `together` makes the one kernel of several
with the same skeleton. Numbers travel as sizes do, in i64 arguments: as their value or, floating, as their bits.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from graphflow.framework.dims import Factor
from graphflow.framework.dtypes import float32, float64, int32, int64, uint32, uint64
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim
from graphflow_compiler.ir.loops import (
    Atom,
    Binary,
    Bitcast,
    Const,
    Expr,
    For,
    FromIndex,
    IConst,
    IDim,
    Index,
    Let,
    LoopKernel,
    Statement,
    Var,
)
from graphflow_compiler.ir.loops_math import work
from graphflow_compiler.ir.loops_visit import index_parts, indices, map_statements
from graphflow_compiler.lower.row_function_merging import MANY, Sizes, is_over_rows, size_name, with_sizes

#: Loops that execute fewer statements than this keep a static extent: code for a short loop is made for its length.
_SHORT = 16_384
#: Arguments take registers from the loop, or are read from the stack in it: at most _FEW_NUMBERS, or one for every
#: _STATEMENTS_EACH statements.
_FEW_NUMBERS = 6
_STATEMENTS_EACH = 12
#: Operations for which LLVM makes no better code with a constant operand than with an argument.
_PLAIN = {float32: ("add", "sub", "mul"), float64: ("add", "sub", "mul")} | dict.fromkeys(
    (int32, uint32, int64, uint64), ("add", "sub", "xor")
)
#: ... except with these constants, which it simplifies.
_SPECIAL = (0, 1, -1, 2)
_LARGEST = float(np.finfo(np.float32).max)
_EXTENT = IDim("extent")


@record(frozen=True, slots=True)
class Skeleton:
    """A kernel with variables in the places of its numbers and sizes. `numbers`, `sizes`: what stands there, in order."""

    kernel: LoopKernel
    numbers: tuple[Const, ...]
    extent: Dim | None = None  # None: it stays in the kernel
    dims: tuple[Dim, ...] = ()  # of a kernel over rows: the sizes that it is given
    sizes: tuple[int, ...] = ()  # ... and those that it has

    @classmethod
    def of(cls, kernel: LoopKernel, counts: Sequence[Dim]) -> Skeleton | None:
        """The skeleton of a kernel whose buffers hold `counts` elements; None if it is no such loop."""
        if len(kernel.body) != 1:
            return None
        if is_over_rows(kernel):
            found: list[Const] = []
            rows = Sizes(kernel, lambda e: _without_numbers(e, found))
            return cls(rows.kernel, tuple(found), None, rows.dims, tuple(rows.found))
        loop = kernel.body[0]
        if not isinstance(loop, For) or loop.mode != "vector" or not loop.parallel:
            return None
        # Only a flat loop, whose indices name no sizes, is the same code whatever its extent.
        numbers: list[Const] = []
        if any(isinstance(s, For) or any(map(_has_size, indices(s))) for s in loop.body):
            return None
        body = map_statements(loop.body, expression=lambda e: _without_numbers(e, numbers))
        extent: Index = loop.extent
        length: Dim | None = None
        if not isinstance(extent, IConst) or extent.value * work(body) >= _SHORT:
            length = next((n for b, n in zip(kernel.buffers, counts, strict=True) if b.count == extent), None)
        if length is None and not isinstance(extent, IConst):
            return None
        buffers = tuple(replace(b, count=_EXTENT) if length is not None and b.count == extent else b for b in kernel.buffers)
        # A buffer of another run-time size would need an argument that other kernels may not have.
        if any(_has_size(b.count) and b.count is not _EXTENT for b in buffers):
            return None
        dims: tuple[Factor, ...] = ()
        if length is not None:
            loop = replace(loop, extent=_EXTENT)
            dims = (_EXTENT.name,)
        return cls(LoopKernel("kernel", buffers, dims, (replace(loop, body=body),)), tuple(numbers), length)


def together(skeletons: Sequence[Skeleton]) -> tuple[LoopKernel, list[tuple[Dim, ...]]] | None:
    """One kernel for all of several with the same `kernel`, and the sizes that each passes to it; None if too much differs."""
    first = skeletons[0]
    if first.sizes and len(skeletons) < MANY:
        return None
    columns = list(zip(*(s.numbers for s in skeletons), strict=True))
    differing = [k for k, column in enumerate(columns) if len({_bits(c) for c in column}) > 1]
    sums = _sums(columns, differing)
    passed = [k for k in differing if k not in sums]
    loop = first.kernel.body[0]
    assert isinstance(loop, For)
    if len(passed) > max(_FEW_NUMBERS, work(loop.body) // _STATEMENTS_EACH):
        return None
    # A size that is the same in all kernels stays a constant; places whose sizes agree in every kernel share one argument.
    places: dict[Factor, Index] = {}
    arguments: dict[tuple[int, ...], IDim] = {}
    for k, column in enumerate(zip(*(s.sizes for s in skeletons), strict=True)):
        same = len(set(column)) == 1
        places[size_name(k)] = IConst(column[0]) if same else arguments.setdefault(column, IDim(size_name(k)))
    kernel = with_sizes(first.kernel, places) if places else first.kernel
    loop = kernel.body[0]
    assert isinstance(loop, For)
    stays = {_name(k): c for k, c in enumerate(first.numbers) if k not in differing}
    body = map_statements(loop.body, atom=lambda x: stays.get(x.name, x) if isinstance(x, Var) else x)
    before: list[Statement] = []
    for k in passed:
        dtype = first.numbers[k].dtype
        argument = IDim(_name(k))
        if dtype.is_floating:
            whole = int32 if dtype is float32 else int64
            before.append(Let(f"{_name(k)}_bits", whole, FromIndex(argument, whole)))
            before.append(Let(_name(k), dtype, Bitcast(Var(f"{_name(k)}_bits", whole), dtype)))
        else:
            before.append(Let(_name(k), dtype, FromIndex(argument, dtype)))
    for k, (other, offset) in sums.items():
        dtype = first.numbers[k].dtype
        before.append(Let(_name(k), dtype, Binary("add", Var(_name(other), dtype), Const(offset, dtype))))
    dims = (*kernel.dims, *(_name(k) for k in passed))
    given: list[tuple[Dim, ...]] = []
    for i, s in enumerate(skeletons):
        extent = () if s.extent is None else (s.extent,)
        given.append((*extent, *s.dims, *(column[i] for column in arguments), *(_bits(s.numbers[k]) for k in passed)))
    return replace(kernel, dims=dims, body=(*before, replace(loop, body=body))), given


def _sums(columns: Sequence[Sequence[Const]], differing: Sequence[int]) -> dict[int, tuple[int, int]]:
    """The differing numbers that need no argument, being an earlier one plus a constant that all kernels share.

    Returns {place: (place of the earlier one, the constant)}. The round keys of a random generator are such numbers: they
    follow from the first, and twenty arguments would be more than a short loop takes.
    """
    found: dict[int, tuple[int, int]] = {}
    bases: dict[object, int] = {}
    for k in differing:
        dtype = columns[k][0].dtype
        if dtype.is_floating:
            continue
        bits = 8 * dtype.size
        values = [int(c.value) for c in columns[k]]
        base = bases.setdefault((dtype, tuple([(v - values[0]) % (1 << bits) for v in values])), k)
        if base != k:
            offset = (values[0] - int(columns[base][0].value)) % (1 << bits)
            signed = dtype in (int32, int64) and offset >> (bits - 1)
            found[k] = base, offset - (1 << bits) if signed else offset
    return found


def _name(k: int) -> str:
    return f"number_{k}"


def _without_numbers(e: Expr, numbers: list[Const]) -> Expr:
    """The expression with variables in the places of its numbers, which are added to `numbers`."""
    if not isinstance(e, Binary) or not (isinstance(e.a, Const) or isinstance(e.b, Const)):
        return e
    op = e.op

    def variable(x: Atom) -> Atom:
        if not isinstance(x, Const) or not _is_plain(x, op):
            return x
        numbers.append(x)
        return Var(_name(len(numbers) - 1), x.dtype)

    a, b = variable(e.a), variable(e.b)
    return e if a is e.a and b is e.b else Binary(op, a, b)


def _is_plain(x: Const, op: str) -> bool:
    if op not in _PLAIN.get(x.dtype, ()) or x.value in _SPECIAL:
        return False
    return not x.dtype.is_floating or abs(x.value) <= _LARGEST


def _bits(x: Const) -> int:
    """The number as the i64 argument that it travels in."""
    if x.dtype is float32:
        return int(struct.unpack("<i", struct.pack("<f", x.value))[0])
    if x.dtype is float64:
        return int(struct.unpack("<q", struct.pack("<d", x.value))[0])
    value = int(x.value)
    return value - (1 << 64) if value >= 1 << 63 else value


def _has_size(index: Index) -> bool:
    return any(isinstance(i, IDim) for i in index_parts(index))
