"""Emission of single elements: the scalar code of a node at one index, and the addresses of what it reads."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from typing import Literal, TypeAlias

from graphflow.framework import philox
from graphflow.framework.dims import Factor, factor_text
from graphflow.framework.dtypes import HALVES, DType, bool_, float32, int64, uint64
from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import Elementwise, Gather, Generate, IndexMap, Random, Reduction, View
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, product
from graphflow_compiler.ir.index import iadd, imul
from graphflow_compiler.ir.indexing_maps import IndexTuple, accesses, dim_index, linear_index, lower_context, pieces
from graphflow_compiler.ir.kernels import Group, KernelGraph
from graphflow_compiler.ir.loops import (
    Atom,
    Buffer,
    Const,
    IConst,
    IData,
    IDim,
    Index,
    IVar,
    Kernel,
    LoopKernel,
    Statement,
)
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_visit import index_parts, indices, statements
from graphflow_compiler.ir.program import FailureCode, Node, Value, is_constant, splat_of, union_origin


@record(frozen=True, slots=True)
class Scratch:
    """A buffer private to the kernel: `count` elements for each thread."""

    index: int
    dtype: DType
    count: Dim


@record(frozen=True, slots=True)
class Partial:
    """A temporary of `count` elements that one kernel of a group hands to a later one."""

    group: int
    index: int
    dtype: DType
    count: Dim


Argument: TypeAlias = "Value | Scratch | Partial"
AccessMode: TypeAlias = Literal["read", "write", "readwrite"]


@record(frozen=True, slots=True)
class LoweredKernel:
    """A kernel, the values its buffers are bound to (in the order of `kernel.buffers`), and what its codes mean.

    `part` says which part of its group it is, if the group takes several kernels, `nodes` where its work comes from, `named`
    the nodes whose origins it has. A kernel that `is_shared` is the same object for several groups.
    """

    group: Group
    kernel: Kernel
    arguments: tuple[Argument, ...]
    failures: tuple[FailureCode, ...]
    nodes: tuple[Node, ...]
    named: tuple[Node, ...]
    part: str = ""
    is_shared: bool = False


def accumulator_dtype(dtype: DType) -> DType:
    return float32 if dtype in HALVES else dtype


@record
class Emitter:
    """Builds one kernel. `env` maps the values at hand at the current point to their atoms."""

    graph: KernelGraph
    group: Group
    in_place: Mapping[Value, Value]
    b: LoopBuilder = field(default_factory=LoopBuilder)
    env: dict[Value, Atom] = field(default_factory=dict)
    names: dict[Value, str] = field(default_factory=dict)
    scratch: list[Scratch] = field(default_factory=list)
    partials: dict[Partial, AccessMode] = field(default_factory=dict)
    handed: Mapping[Value, Partial] = field(default_factory=dict)  # what earlier kernels of the group have computed
    failures: list[FailureCode] = field(default_factory=list)
    runs: dict[int, tuple[int, ...]] | None = None  # first axis of each merged run of axes; None: axes are not merged

    def __post_init__(self) -> None:
        self.written = {self.in_place.get(v, v) for v in self.group.outputs}

    # ------------------------------------------------------------------ buffers and addresses
    def buffer(self, v: Value) -> str:
        base = self.graph.storage(v)
        base = self.in_place.get(base, base)
        return self.names.setdefault(base, f"b{len(self.names)}")

    def new_scratch(self, dtype: DType, count: Dim) -> str:
        self.scratch.append(Scratch(len(self.scratch), dtype, count))
        return f"s{len(self.scratch) - 1}"

    def partial(self, p: Partial, access: AccessMode) -> str:
        self.partials[p] = access if self.partials.get(p, access) == access else "readwrite"
        return f"t{p.index}"

    def address(self, v: Value, index: IndexTuple) -> Index:
        if self.runs is None:
            return linear_index(index, v.shape)
        # Each run of merged axes has one variable left, which runs over the product of their sizes.
        axes = {k for i, d in zip(index, v.shape, strict=True) if d != 1 for k in [axis_of(i)]}
        total: Index = IConst(0)
        for first in sorted(self.runs):
            run = self.runs[first]
            if first in axes:
                total = iadd(imul(total, self.extent(run)), IVar(f"i{first}"))
        return total

    def extent(self, axes: Sequence[int]) -> Index:
        return dim_index(product(self.group.space[k] for k in axes))

    def load(self, v: Value, index: IndexTuple, mask: Atom | None = None) -> Atom:
        constant = uniform_value(v)
        if constant is not None:
            return constant
        handed = self.handed.get(v)
        name = self.buffer(v) if handed is None else self.partial(handed, "read")
        return self.b.load(name, self.address(v, index), v.dtype, mask)

    def operand(self, v: Value, index: IndexTuple, mask: Atom | None = None) -> Atom:
        found = self.env.get(v)
        return found if found is not None else self.load(v, index, mask)

    def store(self, v: Value, index: IndexTuple) -> None:
        self.b.store(self.buffer(v), self.address(v, index), self.env[v])

    def fail_if(self, failed: Atom, node: Node, message: str) -> None:
        if failed == Const(False, bool_):
            return
        op = node.origin[-1] if node.origin else node.op.name
        known = next((f for f in self.failures if f.op == op and f.message == message), None)
        if known is None:
            known = FailureCode(len(self.failures) + 1, op, message)
            self.failures.append(known)
        self.b.check(failed, known.code)

    # ------------------------------------------------------------------ one element of one node
    def element(self, node: Node, index: IndexTuple) -> Atom:
        """Emits the node's result at `index`, remembers it in `env` and returns it."""
        kind = node.op.kind
        b = self.b
        result: Atom
        if isinstance(kind, Elementwise):
            operands = self._operands(node, index)
            if kind.check is not None and node.has_check:
                self.fail_if(kind.check(b, node.attrs, *operands), node, kind.failure(node.attrs))
            result = kind.rule(b, node.attrs, *operands)
        elif isinstance(kind, View):
            result = self._operands(node, index)[0]
        elif isinstance(kind, IndexMap):
            result = self._pieces(node, kind, index)
        elif isinstance(kind, Gather):
            result = self._gather(node, index)
        elif isinstance(kind, Generate):
            position = tuple(b.from_index(i, int64) for i in index)
            result = kind.rule(b, lower_context(node), position, *self._operands(node, index))
        elif isinstance(kind, Random):
            result = self._random(node, kind, index)
        elif isinstance(kind, Reduction):
            x = self._operands(node, index)[0]
            result = self.finish(node, kind, self.prepare(node, kind, x), IConst(1))
        else:
            raise CompileError(f"{node!r} cannot be part of a fused kernel")
        self.env[node.out()] = result
        return result

    def _operands(self, node: Node, index: IndexTuple) -> list[Atom]:
        found = []
        for a in accesses(node, index):
            v = node.inputs[a.operand]
            assert v is not None
            found.append(self.operand(v, a.index))
        return found

    def prepare(self, node: Node, kind: Reduction, x: Atom) -> Atom:
        if kind.prepare is not None:
            x = kind.prepare(self.b, node.attrs, x)
        want = accumulator_dtype(self.b.dtype(x))
        return x if self.b.dtype(x) is want else self.b.cast(x, want)

    def finish(self, node: Node, kind: Reduction, total: Atom, count: Index) -> Atom:
        dtype = self.b.dtype(total)
        if kind.finish is not None:
            total = kind.finish(self.b, node.attrs, total, self.b.cast(self.b.from_index(count, int64), dtype))
        out = node.types[0].dtype
        return total if self.b.dtype(total) is out else self.b.cast(total, out)

    def _pieces(self, node: Node, kind: IndexMap, index: IndexTuple) -> Atom:
        b = self.b
        ctx = lower_context(node)
        result: Atom | None = None
        if kind.fill is not None:
            result = Const(kind.fill(ctx), node.types[0].dtype)
        # Last piece first: the select of an earlier one is then the outer one, and wins.
        for piece in reversed(pieces(node, index)):
            v = node.inputs[piece.source]
            assert v is not None
            mask: Atom | None = None
            for axis, lower, upper in piece.bounds:
                position = b.from_index(index[axis], int64)
                # The index is within the result's shape, so bounds that coincide with it need no test.
                for test, bound in (("ge", lower), ("lt", upper)):
                    if (test == "ge" and bound == 0) or (test == "lt" and bound == (node.types[0].shape or ())[axis]):
                        continue
                    holds = b.binary(test, position, b.from_index(dim_index(bound), int64))
                    mask = holds if mask is None else b.and_(mask, holds)
            if mask is None:
                result = self.operand(v, piece.index)
            else:
                x = self.operand(v, piece.index, mask)
                result = x if result is None else b.select(mask, x, result)
        if result is None:
            raise CompileError(f"{node!r}: no piece covers the result")
        return result

    def _gather(self, node: Node, index: IndexTuple) -> Atom:
        b = self.b
        params, indices = node.inputs
        assert params is not None and indices is not None
        axis, rank = node.attrs.axis, len(indices.shape)
        wanted = b.cast(self.operand(indices, index[axis : axis + rank]), int64)
        limit = params.shape[axis]
        bad = b.or_(b.lt(wanted, 0), b.binary("ge", wanted, b.from_index(dim_index(limit), int64)))
        self.fail_if(bad, node, f"indices are out of range: one is not in [0, {size_text(limit)})")
        # A kernel may go on after a failed check (see `Check`), so a bad index must never reach memory.
        row: Index = IData(b.select(bad, 0, wanted))
        at = (*index[:axis], row, *index[axis + rank :])
        found: Atom = b.load(self.buffer(params), linear_index(at, params.shape), params.dtype, b.not_(bad))
        return found

    def _random(self, node: Node, kind: Random, index: IndexTuple) -> Atom:
        b = self.b
        *scalars, count = self._operands(node, index)
        # The element's own number is the generator's counter: the numbers drawn depend on neither loops nor threads.
        element = b.cast(b.from_index(self.address(node.out(), index), int64), uint64)
        bits = philox.draws(b, element, count, node.attrs.seed, node.attrs.seed2)
        return kind.rule(b, lower_context(node), bits, *scalars)  # type: ignore[no-any-return]

    # ------------------------------------------------------------------ the kernel's signature
    def _mode(self, v: Value) -> AccessMode:
        if v not in self.written:
            return "read"
        # What a kernel stores it may read back: in a later pass over a row, or as a variable's old value.
        return "write" if self.group.pattern == "map" and v in self.group.outputs else "readwrite"

    def buffers(self) -> tuple[tuple[Buffer, ...], tuple[Argument, ...]]:
        made: list[Buffer] = []
        arguments: list[Argument] = []
        for v, name in self.names.items():
            count = dim_index(product(v.shape))
            made.append(Buffer(name, v.dtype, count, self._mode(v)))
            arguments.append(v)
        for p, access_ in self.partials.items():
            made.append(Buffer(f"t{p.index}", p.dtype, dim_index(p.count), access_))
            arguments.append(p)
        for s in self.scratch:
            made.append(Buffer(f"s{s.index}", s.dtype, dim_index(s.count), "readwrite", scratch=True))
            arguments.append(s)
        return tuple(made), tuple(arguments)

    def kernel(
        self, body: Sequence[Statement], nodes: Sequence[Node], part: str = "", finished: Sequence[Node] = ()
    ) -> LoweredKernel:
        """The loop kernel of `body`. `finished`: reductions that it only finishes, after an earlier kernel of the group."""
        buffers, arguments = self.buffers()
        named = (*finished, *nodes)
        dims = used_dims(body, [b.count for b in buffers])
        kernel = LoopKernel("kernel", buffers, dims, tuple(body), union_origin(named))
        return LoweredKernel(self.group, kernel, arguments, tuple(self.failures), tuple(nodes), named, part)


def size_text(d: Dim) -> str:
    """A size as error messages show it: a symbol gets words, as the compiler's names mean nothing to users."""
    return str(d) if isinstance(d, int) else "size of the axis"


def uniform_value(v: Value) -> Const | None:
    """The value of all elements of a constant; None if they differ, or it is none."""
    found = splat_of(v) if is_constant(v) else None
    return None if found is None else Const(found.item(), v.dtype)


def axis_of(i: Index) -> int:
    assert isinstance(i, IVar)
    return int(i.name[1:])


def used_dims(body: Sequence[Statement], others: Iterable[Index]) -> tuple[Factor, ...]:
    """The run-time sizes that statements and other index expressions mention, in sorted order."""
    everywhere = [*others, *[i for s in statements(body) for i in indices(s)]]
    return tuple(sorted({i.name for index in everywhere for i in index_parts(index) if isinstance(i, IDim)}, key=factor_text))
