"""Where each node reads its operands: index expressions of the operands from the index of the result.

Fusion compares these expressions to see whether a consumer reads exactly the element its producer has just computed;
lowering turns them into addresses. One definition serves both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

from graphflow.framework.dtypes import int64
from graphflow.framework.kinds import (
    Elementwise,
    Gather,
    IndexMap,
    LowerContext,
    Piece,
    Random,
    Reduction,
    TensorType,
    View,
)
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, Shape, SymDim
from graphflow_compiler.ir.index import iadd, ifloordiv, imod, imul, isub
from graphflow_compiler.ir.kernels import squeezed
from graphflow_compiler.ir.loops import IConst, IDim, Index, IVar
from graphflow_compiler.ir.program import Node

IndexTuple: TypeAlias = tuple[Index, ...]


def dim_index(d: Dim) -> Index:
    """A size as an index expression over the kernel's dim arguments."""
    if isinstance(d, int):
        return IConst(d)
    total: Index = IConst(0)
    for monomial, c in d.terms:
        term: Index = IConst(c)
        for a in monomial:
            term = imul(term, IDim(a))
        total = iadd(total, term)
    return total


class IndexOps:
    """The IndexBuilder given to IndexMap payloads: Dims and Python ints become index expressions."""

    @staticmethod
    def _index(x: Any) -> Index:
        return dim_index(x) if isinstance(x, (int, SymDim)) else x

    def add(self, a: Any, b: Any) -> Index:
        return iadd(self._index(a), self._index(b))

    def sub(self, a: Any, b: Any) -> Index:
        return isub(self._index(a), self._index(b))

    def mul(self, a: Any, b: Any) -> Index:
        return imul(self._index(a), self._index(b))

    def floordiv(self, a: Any, b: Any) -> Index:
        return ifloordiv(self._index(a), self._index(b))

    def mod(self, a: Any, b: Any) -> Index:
        return imod(self._index(a), self._index(b))


INDEX_OPS = IndexOps()


def lower_context(node: Node) -> LowerContext:
    # An operand that is known by value only has no Value left: its type follows from what is known.
    inputs = tuple(
        v.type if v is not None else TensorType(int64, (len(x),) if isinstance(x := node.values[i], tuple) else ())
        for i, v in enumerate(node.inputs)
    )
    return LowerContext(node.attrs, inputs, node.types, node.values)


def index_of_shape(shape: Shape, variables: Sequence[Index]) -> IndexTuple:
    """The index into a tensor of `shape` whose axes other than 1 are the given variables, in order."""
    it = iter(variables)
    return tuple(IConst(0) if d == 1 else next(it) for d in shape)


def pieces(node: Node, index: IndexTuple) -> list[Piece]:
    """The pieces of an IndexMap at `index` of its result, with all indices as expressions."""
    kind = node.op.kind
    assert isinstance(kind, IndexMap)
    found = kind.pieces(INDEX_OPS, lower_context(node), index)
    convert = INDEX_OPS._index
    return [Piece(p.source, tuple(convert(i) for i in p.index), p.bounds) for p in found]


@record(frozen=True, slots=True)
class Access:
    """Operand `operand` is read at `index`; `exact` where nothing but that one element is ever read there."""

    operand: int
    index: IndexTuple
    exact: bool = True


def accesses(node: Node, index: IndexTuple) -> list[Access]:
    """Which elements of its operands the node reads for the element `index` of its result."""
    kind = node.op.kind
    result: list[Access] = []
    if isinstance(kind, View):
        x = node.inputs[0]
        assert x is not None
        if is_unit_view(node):
            inner = [i for i, d in zip(index, node.types[0].shape or (), strict=True) if d != 1]
            return [Access(0, index_of_shape(x.shape, inner))]
        # A reshape that mixes axes visits its operand in another order than a kernel that computes that has it at hand.
        return [Access(0, delinearise(linear_index(index, node.types[0].shape or ()), x.shape), exact=False)]
    if isinstance(kind, IndexMap):
        found = pieces(node, index)
        return [Access(p.source, p.index, exact=len(found) == 1 and not p.bounds) for p in found]
    if isinstance(kind, Gather):
        # Of the indices alone: where the parameters are read depends on data, so fusion must never find a producer for them.
        params, indices = node.inputs
        assert params is not None and indices is not None
        axis = node.attrs.axis
        rank = len(indices.shape)
        return [Access(1, tuple(index[axis : axis + rank]))]
    if isinstance(kind, Reduction):  # seen elementwise: only where the reduced axes have size 1
        x = node.inputs[0]
        assert x is not None
        inner = [i for i, d in zip(index, node.types[0].shape or (), strict=True) if d != 1]
        return [Access(0, index_of_shape(x.shape, inner))]
    for k, v in enumerate(node.inputs):
        if v is not None and isinstance(kind, Elementwise):
            result.append(Access(k, broadcast_index(v.shape, index)))
        elif v is not None:  # scalar operands of Generate and Random
            assert isinstance(kind, Random) or not v.shape
            result.append(Access(k, tuple(IConst(0) for _ in v.shape)))
    return result


def broadcast_index(shape: Shape, index: IndexTuple) -> IndexTuple:
    if not shape:
        return ()
    aligned = index[len(index) - len(shape) :]
    return tuple(IConst(0) if d == 1 else i for d, i in zip(shape, aligned, strict=True))


def is_unit_view(node: Node) -> bool:
    """A View that only inserts or removes axes of size 1."""
    x = node.inputs[0]
    return isinstance(node.op.kind, View) and x is not None and squeezed(x.shape) == squeezed(node.types[0].shape)


def linear_index(index: Sequence[Index], shape: Shape) -> Index:
    """Row-major element offset of `index` in a dense tensor of `shape`."""
    total: Index = IConst(0)
    stride: Dim = 1
    for i, d in zip(reversed(index), reversed(shape), strict=True):
        total = iadd(imul(i, dim_index(stride)), total)
        stride = stride * d
    return total


def delinearise(offset: Index, shape: Shape) -> IndexTuple:
    parts: list[Index] = []
    stride: Dim = 1
    for k, d in enumerate(reversed(shape)):
        # The outermost part needs no remainder: the offset lies within the tensor.
        part = ifloordiv(offset, dim_index(stride))
        parts.append(part if k == len(shape) - 1 else imod(part, dim_index(d)))
        stride = stride * d
    return tuple(reversed(parts))


def squeezed_variables(index: IndexTuple, shape: Shape) -> tuple[Index, ...] | None:
    """The expressions at the axes other than 1, if those are plain distinct variables; else None."""
    kept = tuple(i for i, d in zip(index, shape, strict=True) if d != 1)
    if all(isinstance(i, IVar) for i in kept) and len(set(kept)) == len(kept):
        return kept
    return None
