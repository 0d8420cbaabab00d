"""What the compiler did, in words: a paragraph per kernel, and why neighbours were not fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from graphflow.framework.shapes import Dim, format_shape

if TYPE_CHECKING:
    from graphflow_compiler.planning.buffer_assignment import Schedule
    from graphflow_compiler.planning.plan import PlanBuffer, Step

#: How many ops are named for each reason why a rule did not fire; the others are counted.
_NAMED = 4


def _amount(d: Dim) -> str:
    return f"{d:,}" if isinstance(d, int) else str(d)


def explain_text(schedule: Schedule, steps: Sequence[Step], buffers: Sequence[PlanBuffer], notes: Sequence[str] = ()) -> str:
    """One block a step: pattern, the user's ops fused into it, flops, bytes, what it reads and writes.

    `notes`: what else to say of each step (a profile has its time).
    """
    graph = schedule.graph
    fused = sum(len(g.nodes) for g in graph.groups)
    lines = [f"{fused} operations in {len(graph.groups)} kernels, {len(steps)} steps, one native call"]
    from graphflow_compiler.planning.buffer_assignment import Copy

    for number, (item, step) in enumerate(zip(schedule.steps, steps, strict=True)):
        moved: Dim = 0
        for b in dict.fromkeys(step.buffers):
            moved = moved + buffers[b].bytes
        if isinstance(item, Copy):
            where = f"output {item.output}" if item.output >= 0 else item.variable or "a temporary"
            lines.append(f"step {number}: copy of {', '.join(step.origin)} to {where}, {_amount(moved)} bytes")
            if notes:
                lines.append(f"  {notes[number]}")
            continue
        lines.append(
            f"step {number}: {step.pattern} kernel over {format_shape(item.space)}, {_amount(step.flops)} flops, "
            f"{_amount(moved)} bytes"
        )
        if notes:
            lines.append(f"  {notes[number]}")
        lines.append("  fused: " + ", ".join(step.origin))
        # Of a group that is several kernels only what this one computes.
        here = [v for v in item.outputs if not v.node.origin or v.node.origin[-1] in step.origin]
        in_place = [v for v in here if v in schedule.in_place]
        if in_place:
            lines.append(f"  updates in place: {', '.join(str(schedule.in_place[v].node.attrs.key) for v in in_place)}")
        assigned = [schedule.assigned[v] for v in here if v in schedule.assigned]
        if assigned:
            lines.append(f"  assigns: {', '.join(assigned)}")
    for producer, consumer, reason in graph.not_fused:
        lines.append(f"not fused: {producer} -> {consumer}: {reason}")
    ops: dict[tuple[str, str], list[str]] = {}
    for miss in graph.program.near_misses:
        ops.setdefault((miss.rule, miss.reason), []).append(miss.op)
    for (rule, reason), names in ops.items():
        more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
        lines.append(f"not rewritten: {', '.join(names[:_NAMED])}{more}: {rule}: {reason}")
    return "\n".join(lines) + "\n"
