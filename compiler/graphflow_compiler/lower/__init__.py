"""Level 2 to level 3: a fusion group becomes a kernel in loop IR, or several where threads could share no single one."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from graphflow_compiler.ir.kernels import TOTAL, Group, GroupPattern, KernelGraph, is_few_large_rows
from graphflow_compiler.ir.program import Value
from graphflow_compiler.lower.column_reduction import lower_column
from graphflow_compiler.lower.emit import Emitter, LoweredKernel
from graphflow_compiler.lower.loops import lower_map
from graphflow_compiler.lower.matmul import lower_gemm
from graphflow_compiler.lower.row_reduction import lower_row
from graphflow_compiler.lower.single_op_kernels import lower_arg, lower_assert, lower_dims, lower_scatter
from graphflow_compiler.lower.split_reduction import is_split_column, lower_column_blocks, lower_row_blocks, lower_totals

_LOWER: dict[GroupPattern, Callable[[Emitter], LoweredKernel]] = {
    "map": lower_map,
    "row": lower_row,
    "column": lower_column,
    "gemm": lower_gemm,
    "scatter": lower_scatter,
    "arg": lower_arg,
    "assert": lower_assert,
    "dims": lower_dims,
}


def lower(graph: KernelGraph, group: Group, in_place: Mapping[Value, Value]) -> tuple[LoweredKernel, ...]:
    """The kernels of one group, to run in this order. `in_place` maps a value to the variable state whose storage it
    overwrites."""
    start = partial(Emitter, graph, group, in_place)
    if group.pattern == "row" and TOTAL in group.levels.values():
        return lower_totals(start)
    if group.pattern == "row" and is_few_large_rows(group.space, group.reduced):
        return lower_row_blocks(start)
    if group.pattern == "column" and is_split_column(group):
        return lower_column_blocks(start)
    return (_LOWER[group.pattern](start()),)
