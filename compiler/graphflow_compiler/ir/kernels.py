"""Level 2, kernels: the Program partitioned into fusion groups. Edges between groups are buffers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, Literal, TypeAlias

from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import TensorType
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, Shape, format_shape, product
from graphflow_compiler.ir.program import Node, Program, Value, union_origin

#: map: every element on its own. row: reductions over trailing axes with elementwise work over the same rows, and
#: reductions of what those rows have over all rows. column: reductions over other axes, with elementwise work before and
#: after them. gemm: a contraction with its epilogue. The rest are kernels of one node.
GroupPattern: TypeAlias = Literal["map", "row", "column", "gemm", "scatter", "arg", "assert", "dims"]
Level: TypeAlias = Literal["element", "row", "total"]
ELEMENT: Final = "element"
ROW: Final = "row"
TOTAL: Final = "total"

#: Reductions of at least this many elements to at most this many results are split into blocks, which threads can share.
MANY_ELEMENTS = 16384
FEW_RESULTS = 16


@record(frozen=True, slots=True, eq=False)
class Group:
    """One kernel to be. `space` is the iteration space without axes of size 1; `reduced` the positions in it that the
    reductions run over; `levels` says for each node whether it has a value for every point of the space, for every row of
    it or (rows only) a single one. `outputs` are the values it must store, `inputs` those it reads."""

    id: int
    pattern: GroupPattern
    nodes: tuple[Node, ...]
    space: Shape
    reduced: tuple[int, ...]
    levels: dict[Node, Level]
    inputs: tuple[Value, ...]
    outputs: tuple[Value, ...]

    @property
    def origin(self) -> tuple[str, ...]:
        return union_origin(self.nodes)

    @property
    def root(self) -> Node:
        """The node that a kernel of one node, or a gemm, is about."""
        return self.nodes[0]


@record(frozen=True)
class KernelGraph:
    """Groups in an order of execution. `aliases` maps a View's value to the stored value whose bytes it shares."""

    program: Program
    groups: tuple[Group, ...]
    aliases: dict[Value, Value]
    not_fused: tuple[tuple[str, str, str], ...]  # (producer op, consumer op, reason), for explain

    def storage(self, v: Value) -> Value:
        """The value whose buffer holds v."""
        return stored_value(self.aliases, v)


def stored_value(aliases: Mapping[Value, Value], v: Value) -> Value:
    """The value whose bytes v shares, itself if it is stored."""
    while v in aliases:
        v = aliases[v]
    return v


def squeezed(shape: Shape | None) -> Shape:
    """The shape without axes of (static) size 1: what remains is what loops run over."""
    assert shape is not None
    return tuple(d for d in shape if d != 1)


def is_few_large_rows(space: Shape, reduced: Sequence[int]) -> bool:
    """Whether rows must be split into blocks to occupy several threads.

    A size known only at run time counts as large if it is reduced (an extra kernel costs little), else as many rows.
    """
    rows = product(d for k, d in enumerate(space) if k not in reduced)
    row = product(space[k] for k in reduced)
    return isinstance(rows, int) and rows <= FEW_RESULTS and (not isinstance(row, int) or row >= MANY_ELEMENTS)


def bytes_of(t: TensorType) -> Dim:
    total: Dim = t.dtype.size
    for d in t.shape or ():
        total = total * d
    return total


def to_text(graph: KernelGraph) -> str:
    lines = []
    for g in graph.groups:
        reduced = f" reduce axes {list(g.reduced)}" if g.reduced else ""
        lines.append(f"kernel {g.id} {g.pattern} over {format_shape(g.space)}{reduced}")
        lines += [f"  read  {v!r} : {v.type}" for v in g.inputs]
        lines += [
            f"  {n!r} [{g.levels.get(n, ELEMENT)}] : {', '.join(map(str, n.types))}  # {' '.join(n.origin)}" for n in g.nodes
        ]
        lines += [f"  write {v!r} : {v.type}" for v in g.outputs]
    lines += [f"alias {a!r} = {b!r}" for a, b in graph.aliases.items()]
    return "\n".join(lines) + "\n"


def verify(graph: KernelGraph) -> None:
    """Raises CompileError unless every read value is stored before (which also proves the groups acyclic)."""
    stored: set[Value] = set()
    member: set[Node] = set()
    for g in graph.groups:
        for v in g.inputs:
            base = graph.storage(v)
            if base not in stored and not is_external(base.node):
                raise CompileError(f"kernel {g.id} reads {v!r}, which no earlier kernel stores")
        for n in g.nodes:
            if n in member:
                raise CompileError(f"{n!r} is in two kernels")
            member.add(n)
        stored.update(g.outputs)
    for v in graph.program.roots():
        base = graph.storage(v)
        if base not in stored and not is_external(base.node):
            raise CompileError(f"root {v!r} is never stored")


def is_external(node: Node) -> bool:
    """Whether a node is a leaf or a constant, whose buffer exists before the first kernel runs."""
    from graphflow_compiler.ir.program import LEAVES, is_constant

    return node.op in LEAVES or is_constant(Value(node, 0))


def external_inputs(nodes: Sequence[Node]) -> tuple[Value, ...]:
    inside = set(nodes)
    found: dict[Value, None] = {}
    for n in nodes:
        for v in n.data_inputs:
            if v.node not in inside:
                found[v] = None
    return tuple(found)
