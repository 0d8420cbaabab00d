"""Prepacking of constant weights: stored in the panels that their matrix kernel reads, instead of packed in every run.

The copy stands beside the constant, one for each panel width that kernels want, and plans share it.
"""

from __future__ import annotations

import weakref
from dataclasses import replace
from typing import Any

import numpy as np

from graphflow.framework.kinds import TensorType
from graphflow.framework.records import record
from graphflow_compiler.codegen.emit import Target, panel_of_constant
from graphflow_compiler.ir.kernels import KernelGraph
from graphflow_compiler.ir.loops import GemmKernel, IConst, Kernel, Let, Load
from graphflow_compiler.ir.program import Value, constant_array, is_constant
from graphflow_compiler.lower.emit import Argument
from graphflow_compiler.planning.plan import PlanBuffer

Array = np.ndarray[Any, Any]
#: Copies that some plan holds, by id of the constant's array, rows, columns and panel width. The array is kept beside the copy
#: (both weakly), because another array may get its id later.
_copies: dict[tuple[int, int, int, int], tuple[weakref.ref[Array], weakref.ref[Array]]] = {}


@record(frozen=True, slots=True)
class Panels:
    """A constant taken as a matrix [k, n], stored as [panels, k, columns], the last panel filled up with zeros."""

    constant: Value
    k: int
    n: int
    columns: int

    def buffer(self) -> PlanBuffer:
        array = constant_array(self.constant)
        key = (id(array), self.k, self.n, self.columns)
        of, copy = _copies.get(key, (None, None))
        stored = copy() if of is not None and copy is not None and of() is array else None
        if stored is None:
            stored = self._stored(array)
            for old in [k for k, (_, c) in _copies.items() if c() is None]:
                del _copies[old]
            _copies[key] = weakref.ref(array), weakref.ref(stored)
        return PlanBuffer("constant", TensorType(self.constant.dtype, stored.shape), stored.size, array=stored)

    def _stored(self, array: Array) -> Array:
        whole, rest = divmod(self.n, self.columns)
        matrix = array.reshape(self.k, self.n)
        stored = np.zeros((whole + bool(rest), self.k, self.columns), array.dtype)
        stored[:whole] = matrix[:, : whole * self.columns].reshape(self.k, whole, self.columns).swapaxes(0, 1)
        if rest:
            stored[whole, :, :rest] = matrix[:, whole * self.columns :]
        return stored


def with_panels(
    kernel: Kernel, arguments: tuple[Argument, ...], graph: KernelGraph, target: Target
) -> tuple[Kernel, tuple[Argument | Panels, ...]]:
    """The kernel and its arguments, with B in panels if that is a constant that pays for it."""
    if not isinstance(kernel, GemmKernel):
        return kernel, arguments
    at = next(i for i, b in enumerate(kernel.buffers) if b.name == kernel.b)
    weights = arguments[at]
    if not isinstance(weights, Value) or kernel.a == kernel.b:
        return kernel, arguments
    constant = graph.storage(weights)
    # An epilogue that reads the same array wants it in its own order.
    loads = (s.value for s in kernel.epilogue if isinstance(s, Let) and isinstance(s.value, Load))
    if not is_constant(constant) or any(x.buffer == kernel.b for x in loads):
        return kernel, arguments
    columns = panel_of_constant(kernel, target)
    # The constant may have another shape than the matrix: a reshape shares its memory.
    if not columns or not isinstance(kernel.k, IConst) or not isinstance(kernel.n, IConst):
        return kernel, arguments
    panels = Panels(constant, kernel.k.value, kernel.n.value, columns)
    count = IConst(-(-panels.n // columns) * columns * panels.k)
    buffers = (*kernel.buffers[:at], replace(kernel.buffers[at], count=count), *kernel.buffers[at + 1 :])
    return replace(kernel, b_panel=columns, buffers=buffers), (*arguments[:at], panels, *arguments[at + 1 :])
