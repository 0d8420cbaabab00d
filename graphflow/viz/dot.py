"""A graph as DOT text: a cluster per name scope, a node per op, an edge per tensor with its dtype and shape."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import field
from typing import Literal

from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.kinds import Source, StateUpdate
from graphflow.framework.records import record
from graphflow.framework.registry import TensorValue
from graphflow.viz.grouping import MAX_NODES, Box, boxes, is_variable
from graphflow.viz.palette import Look, look_of, looks
from graphflow.viz.text import EDGE, FONT, attributes, quoted, shortened, type_text

_GRAPH = {"fontname": FONT, "fontsize": "12", "nodesep": "0.25", "ranksep": "0.4"}
_NODE = {
    "fontname": FONT,
    "fontsize": "11",
    "shape": "box",
    "style": "filled,rounded",
    "margin": "0.1,0.04",
    "height": "0.3",
}
_FRAME = {"style": "rounded", "color": "#b5b5b5", "margin": "10", "labeljust": "l"}
_FOLDED = Look("folded", "#f7f7f7", "#555555")
_OPTIMIZER = Look("update", "#fbd0b0", "#c2560e")
_MAX_VALUES = 4  # of a constant that a node spells out


def to_dot(
    graph: Graph,
    operations: Iterable[Operation] | None = None,
    *,
    gradients: Literal["full", "folded", "hidden"] = "full",
    variables: Literal["folded", "full"] = "folded",
    optimizers: Literal["folded", "full"] = "folded",
    collapse: bool | None = None,
    legend: bool = False,
    rankdir: Literal["TB", "LR", "BT", "RL"] = "TB",
) -> str:
    """The graph as DOT text; the same graph always gives the same text.

    Ops are coloured by family, gradient ops are dashed, variables have a double border, control edges are dotted, and an edge
    from a variable to an op that changes it has arrows at both ends. (A folded optimizer lists its variables instead.)

    Args:
        graph: to be drawn.
        operations: only these of its operations; all by default.
        gradients: "folded" draws each gradient scope as one node, "hidden" leaves it out.
        variables: "folded" draws a variable and the ops that read and initialise it as one node.
        optimizers: "folded" draws the ops of an optimizer, with the variables that only it uses, as one node.
        collapse: whether inner scopes become single nodes; by default only until no more than 300 nodes are left.
        legend: adds what the colours mean.
        rankdir: direction of the edges.
    """
    if gradients not in ("full", "folded", "hidden"):
        raise ValueError(f"gradients must be 'full', 'folded' or 'hidden', not {gradients!r}")
    for name, value in (("variables", variables), ("optimizers", optimizers)):
        if value not in ("full", "folded"):
            raise ValueError(f"{name} must be 'full' or 'folded', not {value!r}")
    chosen = set(graph.get_operations() if operations is None else operations)
    # In creation order, whatever order was given, so that the same choice gives the same text.
    ops = [op for op in graph.get_operations() if op in chosen]
    limit = {None: MAX_NODES, True: 1, False: None}[collapse]
    where = boxes(ops, variables == "folded", optimizers == "folded", gradients, limit)
    drawn = list({id(b): b for b in where.values()}.values())
    lines = [
        "digraph graphflow {",
        f"  graph{attributes({'rankdir': rankdir} | _GRAPH)}",
        f"  node{attributes(_NODE)}",
        f"  edge{attributes(EDGE)}",
    ]
    _write_scope(lines, _scopes(drawn), "", "  ")
    lines += _edges(ops, where)
    if legend:
        lines += _legend({look_of(b.main.op_def) for b in drawn if not b.folded})
    return "\n".join([*lines, "}"]) + "\n"


# ---------------------------------------------------------------------------------------------- nodes and scopes


@record
class _Scope:
    boxes: list[Box] = field(default_factory=list)
    inner: dict[str, _Scope] = field(default_factory=dict)

    def count(self) -> int:
        # A loop, not recursion: scopes may nest as deep as names are long.
        total, todo = 0, [self]
        while todo:
            scope = todo.pop()
            total += len(scope.boxes)
            todo += scope.inner.values()
        return total


def _scopes(drawn: list[Box]) -> _Scope:
    """The tree of scopes. A scope around a single box would be a frame that says nothing, so it is left out."""
    root = _Scope()
    for box in drawn:
        scope = root
        for part in box.name.split("/")[:-1]:
            scope = scope.inner.setdefault(part, _Scope())
        scope.boxes.append(box)
    todo = [root]
    while todo:
        scope = todo.pop()
        for part, inner in list(scope.inner.items()):
            if inner.count() == 1:
                # The one box may lie several scopes down.
                while inner.inner:
                    (inner,) = inner.inner.values()
                scope.boxes += inner.boxes
                del scope.inner[part]
            else:
                todo.append(inner)
    return root


def _write_scope(lines: list[str], root: _Scope, path: str, indent: str) -> None:
    """Writes clusters depth first, without recursion: scopes may nest as deep as names are long."""
    todo: list[tuple[_Scope | None, str, int]] = [(root, path, 0)]
    while todo:
        scope, at, depth = todo.pop()
        pad = indent + "  " * min(depth, 40)
        if scope is None:
            lines.append(f"{pad}}}")
            continue
        if depth:
            lines.append(f"{pad}subgraph {quoted('cluster_' + at)} {{")
            label = {"label": shortened(at[:-1].rpartition("/")[2]), "fontcolor": "#606060"}
            lines.append(f"{pad}  graph{attributes(label | _FRAME)}")
        for box in scope.boxes:
            lines.append(f"{pad}  {quoted(box.name)}{attributes(_node(box, at))}")
        if depth:
            todo.append((None, at, depth))
        # Backwards, because `todo` is a stack: the clusters come in alphabetical order.
        for part in sorted(scope.inner, reverse=True):
            todo.append((scope.inner[part], f"{at}{part}/", depth + 1))


def _node(box: Box, scope: str) -> dict[str, str]:
    op = box.main
    name = shortened(box.name[len(scope) :] if box.name.startswith(scope) else box.name)
    if box.folded:
        look = _FOLDED if box.updates is None else _OPTIMIZER
        values = {"label": _folded_label(box, name), "shape": "box3d", "style": "filled"}
    elif is_variable(op):
        look = look_of(op.op_def)
        values = {"label": f"{name}\n{type_text(op.outputs[0].type)}", "peripheries": "2"}
    else:
        look = look_of(op.op_def)
        values = {"label": _label(op, name)}
        if isinstance(op.op_def.kind, Source) and op.op_def.kind.what == "constant":
            values |= {"fontsize": "9", "height": "0.2", "margin": "0.06,0.02", "style": "filled,rounded"}
    values |= {"fillcolor": look.fill, "color": look.line}
    if box.gradient:
        values["style"] = values.get("style", "filled,rounded") + ",dashed"
    values["tooltip"] = f"{box.name}: {op.type}" + (f" at {op.created_at.short()}" if op.created_at.frames else "")
    return values


def _folded_label(box: Box, name: str) -> str:
    lines = [name, f"{len(box.operations)} operations"]
    if box.updates:
        rest = len(box.updates) - _MAX_VALUES
        shown = box.updates if rest <= 1 else [*box.updates[:_MAX_VALUES], f"and {rest} more"]
        lines += ["updating", *map(shortened, shown)]
    return "\n".join(lines)


def _label(op: Operation, name: str) -> str:
    """The name, and below it the type of the op where the name does not say it, or the value of a small constant."""
    value = getattr(op.attrs, "value", None)
    if isinstance(value, TensorValue):
        array = value.array
        if array.size <= _MAX_VALUES:
            values = ", ".join(str(v) for v in array.ravel())
            return f"{name}\n{shortened(values if array.ndim == 0 else f'[{values}]', 32)}"
        return name
    # "MatMul_1" says already that it is a MatMul.
    stem = name.rpartition("/")[2].rstrip("0123456789").rstrip("_").lower()
    return name if stem == op.type.lower() else f"{name}\n{op.type}"


# ---------------------------------------------------------------------------------------------- edges


def _edges(ops: list[Operation], where: dict[Operation, Box]) -> list[str]:
    """One edge for each pair of boxes: several tensors between two folded scopes are counted, not drawn."""
    data: dict[tuple[str, str], dict[Tensor, bool]] = {}
    control: dict[tuple[str, str], None] = {}
    gradient: set[tuple[str, str]] = set()
    for op in ops:
        to = where.get(op)
        if to is None:
            continue
        for i, t in enumerate(op.inputs):
            source = where.get(t.op)
            if source is None or source is to:
                continue
            pair = (source.name, to.name)
            updated = isinstance(op.op_def.kind, StateUpdate) and i in op.op_def.kind.refs
            # The optimizer's node lists the variables; arrows to all of them would hide the rest.
            if updated and to.updates is not None:
                continue
            data.setdefault(pair, {})[t] = data.get(pair, {}).get(t, False) or updated
            if to.gradient:
                gradient.add(pair)
        for before in op.control_inputs:
            source = where.get(before)
            if source is not None and source is not to:
                control[(source.name, to.name)] = None
    lines = []
    for pair, tensors in data.items():
        labels = list(dict.fromkeys(type_text(t.type) for t in tensors))
        label = labels[0] if len(labels) == 1 and len(tensors) == 1 else f"{len(tensors)} tensors"
        values = {"label": f" {label} "}
        if any(tensors.values()):
            values |= {"dir": "both", "color": "#c2560e"}
        if pair in gradient:
            values["style"] = "dashed"
        else:
            values["weight"] = "3"  # the model itself is laid out straight; its gradients go around
        lines.append(f"  {quoted(pair[0])} -> {quoted(pair[1])}{attributes(values)}")
    # A data edge already shows the order.
    for pair in control:
        if pair not in data:
            style = {"style": "dotted", "arrowhead": "empty"}
            lines.append(f"  {quoted(pair[0])} -> {quoted(pair[1])}{attributes(style)}")
    return lines


def _legend(used: set[Look]) -> list[str]:
    """A column with one node per colour. A space starts the ids: no op is called so."""
    shown = [look for look in looks() if look in used]
    lines = ['  subgraph "cluster_ legend" {', f"    graph{attributes({'label': 'legend'} | _FRAME)}"]
    for i, look in enumerate(shown):
        values = {"label": look.group, "fillcolor": look.fill, "color": look.line, "fontsize": "9"}
        if look.group == "variable":
            values["peripheries"] = "2"
        lines.append(f"    {quoted(f' legend {i}')}{attributes(values)}")
    for i in range(1, len(shown)):
        lines.append(f"    {quoted(f' legend {i - 1}')} -> {quoted(f' legend {i}')}{attributes({'style': 'invis'})}")
    return [*lines, "  }"]
