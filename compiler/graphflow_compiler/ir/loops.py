"""Level 3, the loop IR: one kernel as loops over buffers, before any target is chosen.

Values are in A-normal form: every operand is an atom (`Var` or `Const`) and every computed value has a `Let`. So a
kernel of ten thousand operations is a flat list, never a deep tree, and code generators are simple loops. Index
expressions are apart from data expressions, because strides decide how a load is vectorised. Vector width, threads and
GPU blocks enter late, by scheduling: here a loop only says which of them it may become.

Semantics of the scalar operations are those of `graphflow.framework.scalar_builder`.
"""

from __future__ import annotations

import struct
from dataclasses import field
from typing import Literal, TypeAlias

from graphflow.framework.dims import Factor
from graphflow.framework.dtypes import DType
from graphflow.framework.records import record

# ---------------------------------------------------------------------------------------------- index expressions (i64)


@record(frozen=True, slots=True)
class IConst:
    value: int


@record(frozen=True, slots=True)
class IDim:
    """A run-time dimension, an i64 argument of the kernel: a named size, or a quotient, remainder, maximum or minimum of
    sizes, which may be negative. Kernels never divide sizes: whoever calls them works such a number out, as Python would."""

    name: Factor


@record(frozen=True, slots=True)
class IVar:
    """A loop variable."""

    name: str


@record(frozen=True, slots=True)
class IBinary:
    """`floordiv` and `mod` take non-negative left sides and positive right sides, as the parts of a place in memory are."""

    op: Literal["add", "sub", "mul", "floordiv", "mod", "min", "max"]
    a: Index
    b: Index


@record(frozen=True, slots=True)
class IData:
    """An integer data value used as an index (gather). The producer guarantees it is in range (see `Check`)."""

    value: Atom


Index: TypeAlias = IConst | IDim | IVar | IBinary | IData

# ---------------------------------------------------------------------------------------------- data expressions


@record(frozen=True, slots=True)
class Const:
    """Two are equal if their bits are: 0.0 is not -0.0, and a NaN equals itself."""

    value: float | int | bool
    dtype: DType

    def __eq__(self, other: object) -> bool:
        return other.__class__ is Const and self.dtype is other.dtype and self._bits() == other._bits()

    def __hash__(self) -> int:
        return hash((self._bits(), self.dtype))

    def _bits(self) -> object:
        # Python's own equality is right but for zeros of both signs, which it calls equal, and NaNs, which it does not.
        x = self.value
        return struct.pack("<d", x) if isinstance(x, float) and (x == 0 or x != x) else x


@record(frozen=True, slots=True)
class Var:
    name: str
    dtype: DType


Atom: TypeAlias = Const | Var


@record(frozen=True, slots=True)
class Unary:
    op: str  # emit.UNARY
    x: Atom


@record(frozen=True, slots=True)
class Binary:
    op: str  # emit.ARITHMETIC or emit.COMPARE
    a: Atom
    b: Atom


@record(frozen=True, slots=True)
class Select:
    condition: Atom
    a: Atom
    b: Atom


@record(frozen=True, slots=True)
class Cast:
    x: Atom
    dtype: DType


@record(frozen=True, slots=True)
class Bitcast:
    x: Atom
    dtype: DType


@record(frozen=True, slots=True)
class Call:
    """A math function of emit.CALLS: `provided` by the target (``fma``, or one of the C library), or else to be replaced by
    primitive operations: `expand_math`."""

    fn: str
    args: tuple[Atom, ...]
    provided: bool = False


@record(frozen=True, slots=True)
class FromIndex:
    """An index expression as data (iota, one-hot, random counters)."""

    index: Index
    dtype: DType


@record(frozen=True, slots=True)
class Load:
    """The element of `buffer` at the linear offset `index`. Where `mask` is false nothing is read and the result is 0."""

    buffer: str
    index: Index
    mask: Atom | None = None


Expr: TypeAlias = Unary | Binary | Select | Cast | Bitcast | Call | FromIndex | Load | Const | Var

# ---------------------------------------------------------------------------------------------- statements


@record(frozen=True, slots=True)
class Let:
    """Binds `name` for the rest of the block and its inner loops. `dtype` is that of the value."""

    name: str
    dtype: DType
    value: Expr


@record(frozen=True, slots=True)
class Store:
    buffer: str
    index: Index
    value: Atom


@record(frozen=True, slots=True)
class Check:
    """If `failed` is true in any iteration, the kernel returns `code` (> 0) once it has ended; it may end early."""

    failed: Atom
    code: int


@record(frozen=True, slots=True)
class Accumulator:
    """A reduction over a loop: after it, `name` is `init` combined with the value of `value` in every iteration.

    The order of combination is fixed by the extent and the vector width alone, never by threads.
    """

    name: str
    dtype: DType
    combine: Literal["add", "mul", "max", "min", "and", "or"]
    init: float | int | bool  # the identity of `combine`
    value: Atom  # bound in the loop's body


@record(frozen=True, slots=True)
class For:
    """`var` runs over [0, extent).

    mode "vector": iterations are independent up to `accumulators`, so lanes may run together. A vector loop may contain
    serial loops (every lane runs them in step) but no second vector loop.
    `parallel`: iterations write disjoint places and may be shared out over threads; a parallel loop has no accumulators
    and no parallel loop inside.
    """

    var: str
    extent: Index
    body: tuple[Statement, ...]
    mode: Literal["serial", "vector"] = "serial"
    parallel: bool = False
    accumulators: tuple[Accumulator, ...] = ()


Statement: TypeAlias = Let | Store | Check | For


@record(frozen=True, slots=True)
class Buffer:
    """A parameter: `count` elements of `dtype`. `scratch` buffers hold `count` elements for each thread. One that `streams`
    begins at a cache line, and is best written past the caches."""

    name: str
    dtype: DType
    count: Index
    access: Literal["read", "write", "readwrite"]
    scratch: bool = False
    streams: bool = False


@record(frozen=True, slots=True)
class LoopKernel:
    """One function: ``i32 name(ptr buffers..., i64 dims..., i64 thread, i64 threads)``, 0 or the code of a failed check.

    Buffers may share storage only where the planner proved that every element is read before it is written at the same
    index. `serial` kernels (their outer loop is not parallel) run on thread 0 alone.
    """

    name: str
    buffers: tuple[Buffer, ...]
    dims: tuple[Factor, ...]
    body: tuple[Statement, ...]
    comments: tuple[str, ...] = field(default=())  # the user lines fused here, for dumps


@record(frozen=True, slots=True)
class GemmKernel:
    """acc[b, i, j] = sum_k A[b, i, k] * B[b, k, j], then `epilogue` once for every element.

    Stored layouts: a matrix of A is [m, k], or [k, m] where `transpose_a`; one of B is [k, n], or [n, k] where
    `transpose_b`; all row-major and dense. `a_start` and `b_start` are the first elements of the matrices of batch ``b``
    (an `IVar`): ``b * (m * k)``, 0 where there is one matrix for all, or any other expression where some batch axes are
    broadcast. With `b_panel`, B is one matrix stored as [panels, k, b_panel], the last panel filled up with zeros: a
    constant is stored as it is read. `epilogue` is straight-line (Let, Store, Check): it sees the `IVar`s ``b``, ``i``,
    ``j`` and the `Var` ``acc`` of `accumulate_dtype` and stores the results; lanes run along ``j``. Same function
    signature as a LoopKernel; `buffers` lists a, b and everything the epilogue touches. The sum over k runs in one fixed
    order for each element, whatever the tile or thread. k = 0 gives acc = 0.
    """

    name: str
    a: str
    b: str
    dtype: DType  # of A and B
    accumulate_dtype: DType
    m: Index
    n: Index
    k: Index
    batch: Index
    a_start: Index
    b_start: Index
    transpose_a: bool
    transpose_b: bool
    epilogue: tuple[Statement, ...]
    buffers: tuple[Buffer, ...]
    dims: tuple[Factor, ...]
    comments: tuple[str, ...] = field(default=())
    b_panel: int = 0


Kernel: TypeAlias = LoopKernel | GemmKernel
