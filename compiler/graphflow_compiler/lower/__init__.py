"""Level 2 to level 3: a fusion group becomes one kernel in loop IR."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from graphflow_compiler.ir.kernels import Group, GroupKind, KernelGraph
from graphflow_compiler.ir.program import Value
from graphflow_compiler.lower.emit import Emitter, LoweredKernel
from graphflow_compiler.lower.gemm import lower_gemm
from graphflow_compiler.lower.loops import lower_column, lower_map, lower_row
from graphflow_compiler.lower.special import lower_arg, lower_assert, lower_dims, lower_scatter

_LOWER: dict[GroupKind, Callable[[Emitter], LoweredKernel]] = {
    "map": lower_map,
    "row": lower_row,
    "column": lower_column,
    "gemm": lower_gemm,
    "scatter": lower_scatter,
    "arg": lower_arg,
    "assert": lower_assert,
    "dims": lower_dims,
}


def lower(graph: KernelGraph, group: Group, in_place: Mapping[Value, Value]) -> LoweredKernel:
    """The kernel of one group. `in_place` maps a value to the variable state whose storage it overwrites."""
    return _LOWER[group.kind](Emitter(graph, group, in_place))
