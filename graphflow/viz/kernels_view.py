"""The kernels view: a picture with a box per kernel, the ops fused into it, its costs, and the buffers between kernels."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TypeAlias

from graphflow.framework.records import record
from graphflow.framework.shapes import Dim
from graphflow.viz.text import EDGE, FONT, Markup, attributes, escaped, shortened, tagged

#: A count that may depend on sizes known only at run time.
Amount: TypeAlias = "Dim | str | None"

_MAX_LINES = 12
_GRAPH = {"fontname": FONT, "fontsize": "13", "labelloc": "t", "nodesep": "0.35", "ranksep": "0.5"}
_TABLE = {
    "border": "1", "cellborder": "0", "cellspacing": "0", "cellpadding": "4", "color": "#555555", "bgcolor": "#ffffff",
}  # fmt: skip
_FILLS = ("#cdebc5", "#e6e4f7", "#f9d5e0", "#fdf3b5", "#d9eeee", "#efd9f5", "#fbd0b0", "#d3e8fb")
_HEAT = ("#ffffff", "#fff3d6", "#ffe0a8", "#ffc57a", "#ff9f5c", "#f4744f")


@record(frozen=True, slots=True)
class KernelBox:
    """One kernel as the picture shows it; the order of the boxes is the order of execution.

    name: of the kernel. kind: what the colour says. operations: the user's ops fused into it. reads, writes: names of
    buffers; one that is read before any kernel writes it comes from outside, one that nobody reads is a result.
    updates: names of variables changed in place. variables: names of those that are only read; the box tells both.
    bytes, flops: moved and computed. microseconds: colours the box.
    """

    name: str
    kind: str
    operations: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    updates: tuple[str, ...] = ()
    variables: tuple[str, ...] = ()
    bytes: Amount = None
    flops: Amount = None
    microseconds: float | None = None


def kernels_to_dot(
    kernels: Sequence[KernelBox],
    buffers: Mapping[str, str] | None = None,
    title: str = "",
    rankdir: str = "TB",
    results: Collection[str] = (),
) -> str:
    """The kernels as DOT text.

    Args:
        kernels: in order of execution.
        buffers: {name: text for the edge}, such as ``float32 (?, 128)``.
        title: a line above the picture.
        rankdir: ``TB`` or ``LR``.
        results: buffers that are results even if a kernel reads them.
    """
    labels = buffers or {}
    slowest = max((k.microseconds or 0.0 for k in kernels), default=0.0)
    fills = {kind: _FILLS[i % len(_FILLS)] for i, kind in enumerate(dict.fromkeys(k.kind for k in kernels))}
    lines = [
        "digraph kernels {",
        f"  graph{attributes(_GRAPH | {'rankdir': rankdir, 'label': Markup(f'{escaped(title)}<br/> ' if title else '')})}",
        f'  node [fontname="{FONT}", fontsize="11", shape="plain"]',
        f"  edge{attributes(EDGE)}",
    ]
    for i, kernel in enumerate(kernels):
        share = None if kernel.microseconds is None or not slowest else kernel.microseconds / slowest
        # Measured times are shown as heat; without them the colour tells the kind.
        fill = fills[kernel.kind] if share is None else _HEAT[min(int(share * len(_HEAT)), len(_HEAT) - 1)]
        lines.append(f"  k{i}{attributes({'label': _box(i, kernel, fill), 'tooltip': ', '.join(kernel.operations)})}")
    return "\n".join([*lines, *_edges(kernels, labels, results), "}"]) + "\n"


def _edges(kernels: Sequence[KernelBox], labels: Mapping[str, str], results: Collection[str]) -> list[str]:
    lines: list[str] = []
    writer: dict[str, int] = {}
    outside: dict[str, str] = {}
    unread: dict[str, int] = {}
    for i, kernel in enumerate(kernels):
        for buffer in dict.fromkeys(kernel.reads):
            if buffer in writer:
                if buffer not in results:
                    unread.pop(buffer, None)
                lines.append(f"  k{writer[buffer]} -> k{i}{attributes({'label': _edge(labels, buffer)})}")
                continue
            if buffer not in outside:
                outside[buffer] = f"in{len(outside)}"
                lines.append(f"  {outside[buffer]}{attributes(_end(buffer, '#eef5fc', '#3477b5'))}")
            lines.append(f"  {outside[buffer]} -> k{i}{attributes({'label': _edge(labels, buffer)})}")
        for buffer in kernel.writes:
            # After its reads: a kernel that updates a buffer reads what an earlier one wrote.
            writer[buffer] = unread[buffer] = i
    for n, (buffer, i) in enumerate(unread.items()):
        lines.append(f"  out{n}{attributes(_end(buffer, '#ffffff', '#555555'))}")
        lines.append(f"  k{i} -> out{n}{attributes({'label': _edge(labels, buffer)})}")
    return lines


def _edge(labels: Mapping[str, str], buffer: str) -> str:
    return f" {labels[buffer]} " if buffer in labels else ""


def _end(name: str, fill: str, line: str) -> dict[str, str]:
    shown = shortened(name)
    return {
        "label": shown,
        "shape": "box",
        "style": "filled,rounded",
        "fillcolor": fill,
        "color": line,
        "margin": "0.08,0.03",
    }


def _box(number: int, kernel: KernelBox, fill: str) -> Markup:
    """An HTML-like table: number, kind and name; the fused ops; the costs."""
    name = tagged("font", escaped(shortened(kernel.name)), color="#606060", point_size="9")
    head = f"{tagged('b', f'{number}&#160;&#160;{escaped(kernel.kind)}')}&#160;&#160;{name}"
    shown = [escaped(shortened(op, 56)) for op in kernel.operations[:_MAX_LINES] if op]
    if len(kernel.operations) > _MAX_LINES:
        shown.append(tagged("i", f"and {len(kernel.operations) - _MAX_LINES} more"))
    rows = [_row(head, bgcolor=fill), _row("<br/>".join(shown), balign="left")]
    for verb, names, color in (("reads", kernel.variables, "#3477b5"), ("updates", kernel.updates, "#c2560e")):
        if names:
            rows.append(_row(tagged("font", f"{verb} {escaped(shortened(', '.join(names), 56))}", color=color)))
    costs = (_amount(kernel.bytes, "B", 1024), _amount(kernel.flops, "flop", 1000), _time(kernel.microseconds))
    told = " &#183; ".join([escaped(text) for text in costs if text])
    rows.append(_row(tagged("font", told, point_size="9", color="#404040")))
    return Markup(tagged("table", "".join(rows), **_TABLE))


def _row(content: str, **values: str) -> str:
    """A row of one cell, if there is something to be in it."""
    return tagged("tr", tagged("td", content, align="left", **values))


def _amount(value: Amount, unit: str, step: int) -> str:
    if value is None:
        return ""
    if not isinstance(value, int):
        return f"{shortened(str(value), 32)} {unit}"
    if value < step:
        return f"{value} {unit}"
    scaled = float(value)
    for prefix in ("k", "M", "G", "T"):
        scaled /= step
        if scaled < step or prefix == "T":
            return f"{scaled:.3g} {prefix}{'i' if step == 1024 else ''}{unit}"
    raise AssertionError


def _time(microseconds: float | None) -> str:
    if microseconds is None:
        return ""
    return f"{microseconds:.3g} µs" if microseconds < 1000 else f"{microseconds / 1000:.3g} ms"
