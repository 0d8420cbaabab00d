"""Drafts: kernels while fusion puts them together, and the limits on their size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import field

from graphflow.framework.records import record
from graphflow.framework.shapes import Shape
from graphflow_compiler.ir.kernels import ELEMENT, ROW, TOTAL, GroupPattern, Level
from graphflow_compiler.ir.loops import Index, IVar
from graphflow_compiler.ir.program import Node, Value

#: A kernel of more nodes than this gains nothing more from fusion, and code generation grows faster than linearly.
MAX_NODES = 192
#: Nor one that reads and writes more arrays: LLVM's time for instruction selection grows with the square of their number (a
#: sum of 200 arrays takes 0.6 s, one of 800 five), and their addresses compete for the registers.
MAX_ARRAYS = 64

#: At which levels a kernel takes further nodes in.
_LEVELS: dict[GroupPattern, tuple[Level, ...]] = {
    "map": (ELEMENT,),
    "gemm": (ELEMENT,),
    "row": (ELEMENT, ROW),
    "column": (ELEMENT, ROW),
}

Storage = Callable[[Value], Value]


@record(eq=False)
class Draft:
    id: int
    pattern: GroupPattern
    space: Shape
    reduced: tuple[int, ...] = ()
    nodes: list[Node] = field(default_factory=list)
    levels: dict[Node, Level] = field(default_factory=dict)
    is_costly: bool = False  # whether it computes math functions or random numbers for each element
    reads: set[Value] = field(default_factory=set)  # arrays, stored elsewhere
    # Nodes that some other kernel reads, as far as is known now, with the number of such readers: they must be stored.
    readers_outside: dict[Node, int] = field(default_factory=dict)

    def variables(self, level: Level) -> tuple[Index, ...]:
        return tuple(IVar(f"i{k}") for k in self.axes(level))

    def shape(self, level: Level) -> Shape:
        return tuple(self.space[k] for k in self.axes(level))

    def axes(self, level: Level) -> list[int]:
        """The axes of the space that a value of that level varies along."""
        return [k for k in range(len(self.space)) if level == ELEMENT or (level == ROW and k not in self.reduced)]

    def open_levels(self) -> tuple[Level, ...]:
        """Where further nodes may be taken in."""
        levels = _LEVELS.get(self.pattern, ())
        return (*levels, TOTAL) if TOTAL in self.levels.values() else levels

    def take(self, node: Node, level: Level, readers: int, storage: Storage) -> None:
        """Adds a node. `readers`: how many nodes read its values, and one more if the program returns any."""
        self.reads |= self.read_by(node, storage)
        for n in _read_nodes(node):
            if n in self.readers_outside:
                self._read_inside(n)
        self.nodes.append(node)
        self.levels[node] = level
        if readers:
            self.readers_outside[node] = readers

    def merge(self, other: Draft) -> None:
        """Takes all that is in the other draft."""
        for here, there in ((self, other), (other, self)):
            for node in here.nodes:
                for n in _read_nodes(node):
                    if n in there.readers_outside:
                        there._read_inside(n)
        self.levels.update(other.levels)
        self.is_costly |= other.is_costly
        self.nodes = sorted({*other.nodes, *self.nodes}, key=lambda n: n.id)
        self.readers_outside.update(other.readers_outside)
        self.reads = {v for v in self.reads | other.reads if v.node not in self.levels}

    def _read_inside(self, node: Node) -> None:
        self.readers_outside[node] -= 1
        if not self.readers_outside[node]:
            del self.readers_outside[node]

    def read_by(self, node: Node, storage: Storage) -> set[Value]:
        # Arrays of one element do not count: mostly they are constants, which become part of the code.
        return {storage(v) for v in node.data_inputs if v.node not in self.levels and any(d != 1 for d in v.shape)}


def _read_nodes(node: Node) -> set[Node]:
    return {v.node for v in node.data_inputs}


def too_much(drafts: Sequence[Draft], storage: Storage, joining: Node | None = None) -> str | None:
    """The size limit that these drafts, with the node that is to join them, would exceed as one kernel; None if they fit."""
    if sum(len(d.nodes) for d in drafts) + (joining is not None) > MAX_NODES:
        return f"the kernel would have more than {MAX_NODES} operations"
    # As if none read what another one does: mostly that is not too much either.
    most = sum(len(d.reads) + len(d.readers_outside) for d in drafts) + (len(joining.inputs) + 1 if joining is not None else 0)
    if most <= MAX_ARRAYS:
        return None
    reads = set().union(*(d.reads for d in drafts))
    stored = sum(len(d.readers_outside) for d in drafts)
    if joining is not None:
        read = _read_nodes(joining)
        reads |= {v for v in drafts[0].read_by(joining, storage) if not any(v.node in d.levels for d in drafts)}
        stored += 1 - sum(1 for d in drafts for n in read if d.readers_outside.get(n) == 1)
    if len(reads) + stored > MAX_ARRAYS:
        return f"the kernel would have more than {MAX_ARRAYS} arrays"
    return None
