"""Groups that are alike are lowered once: the layers of a deep network, the steps of an unrolled loop, the tables of a model.

They have the same operations on the same types, connected in the same way, so their kernels are the same, bound to other
values. A group's form says all of it that lowering looks at; what lowering has made of the first group with a form is bound
anew for each of the others.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeAlias

from graphflow.framework.records import record
from graphflow_compiler.ir.kernels import Group, KernelGraph
from graphflow_compiler.ir.program import FailureCode, Node, Value, constant_array, is_constant, negative_zeros
from graphflow_compiler.lower.emit import Argument, LoweredKernel, Partial

Lower: TypeAlias = Callable[[Group], "tuple[LoweredKernel, ...]"]
Stored: TypeAlias = "tuple[Value, ...]"

#: Constants of up to so many elements count as part of the code.
_FEW = 64


class RepeatedGroups:
    """Lowers the groups of a graph, each in its turn. What is not needed again is not kept."""

    def __init__(self, graph: KernelGraph, in_place: Mapping[Value, Value], lower: Lower) -> None:
        self._lower = lower
        numbers: dict[Any, int] = {}
        self._forms: dict[int, tuple[int, Stored]] = {}  # by the group: the number of its form, and what it is about
        for group in graph.groups:
            form, stored = _form(graph, group, in_place)
            self._forms[group.id] = numbers.setdefault(form, len(numbers)), stored
        self._left = Counter(form for form, _ in self._forms.values())
        self._made: dict[int, tuple[_Unbound, ...]] = {}

    def kernels(self, group: Group) -> tuple[LoweredKernel, ...]:
        form, stored = self._forms.pop(group.id)
        self._left[form] -= 1
        unbound = self._made.get(form)
        if unbound is not None:
            if not self._left[form]:
                del self._made[form]
            return tuple([u.bound(group, stored) for u in unbound])
        made = self._lower(group)
        if self._left[form]:
            self._made[form] = tuple([_Unbound.of(k, stored) for k in made])
            made = tuple([replace(k, is_shared=True) for k in made])
        return made


def _form(graph: KernelGraph, group: Group, in_place: Mapping[Value, Value]) -> tuple[Any, Stored]:
    """What is equal for groups that are alike, and the values whose buffers a group reads and writes, in the same order."""
    place = {n: i for i, n in enumerate(group.nodes)}
    stored: dict[Value, int] = {}
    names: dict[str, int] = {}  # messages of failures name operations

    def buffer(v: Value) -> int:
        base = graph.storage(v)
        return stored.setdefault(in_place.get(base, base), len(stored))

    def operand(v: Value | None) -> Any:
        if v is None:
            return None
        if v.node in place:
            return place[v.node], v.index
        if not is_constant(v):
            return buffer(v), v.type
        return buffer(v), v.type, v.node if _is_code(v) else None

    nodes = []
    for n in group.nodes:
        name = names.setdefault(_name(n), len(names))
        inputs = tuple([operand(v) for v in n.inputs])
        nodes.append((n.op.name, n.attrs, negative_zeros(n.attrs), n.values, n.types, group.levels[n], name, inputs))
    outputs = tuple([(place[v.node], v.index, buffer(v)) for v in group.outputs])
    buffers = tuple([(place.get(v.node), v.index, v.type) for v in stored])
    return (group.pattern, group.space, group.reduced, tuple(nodes), outputs, buffers), tuple(stored)


def _is_code(constant: Value) -> bool:
    """Whether its elements may be equal, and so a number in the code. (Mostly the first and the last one tell.)"""
    array = constant_array(constant)
    return array.size <= _FEW or bool(array.flat[0] == array.flat[-1] or array.flat[0] != array.flat[0])


def _name(node: Node) -> str:
    return node.origin[-1] if node.origin else node.op.name


@record(frozen=True, slots=True)
class _Unbound:
    """A lowered kernel with numbers in the places of values and nodes."""

    lowered: LoweredKernel
    arguments: tuple[Argument | int, ...]
    failing: tuple[int, ...]  # of each failure: a node of its name
    nodes: tuple[int, ...]
    named: tuple[int, ...]

    @classmethod
    def of(cls, lowered: LoweredKernel, stored: Stored) -> _Unbound:
        number = {v: i for i, v in enumerate(stored)}
        place = {n: i for i, n in enumerate(lowered.group.nodes)}
        first: dict[str, int] = {}
        for n, i in place.items():
            first.setdefault(_name(n), i)
        return cls(
            lowered,
            tuple([number[a] if isinstance(a, Value) else a for a in lowered.arguments]),
            tuple([first[f.op] for f in lowered.failures]),
            tuple([place[n] for n in lowered.nodes]),
            tuple([place[n] for n in lowered.named]),
        )

    def bound(self, group: Group, stored: Stored) -> LoweredKernel:
        """The same kernel for another group."""
        old, nodes = self.lowered, group.nodes
        arguments = [stored[a] if isinstance(a, int) else self._own(a, group) for a in self.arguments]
        failures = [FailureCode(f.code, _name(nodes[i]), f.message) for f, i in zip(old.failures, self.failing, strict=True)]
        return replace(
            old,
            group=group,
            arguments=tuple(arguments),
            failures=tuple(failures),
            nodes=tuple([nodes[i] for i in self.nodes]),
            named=tuple([nodes[i] for i in self.named]),
            is_shared=True,
        )

    @staticmethod
    def _own(a: Argument, group: Group) -> Argument:
        return replace(a, group=group.id) if isinstance(a, Partial) else a
