"""Constant weights are stored once as their matrix kernel reads them, instead of being copied so in every run."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from graphflow.core.kinds import TensorType
from graphflow.records import record
from graphflow_compiler.codegen.emit import Target, panel_of_constant
from graphflow_compiler.ir.kernels import KernelGraph
from graphflow_compiler.ir.loops import GemmKernel, Kernel, Let, Load
from graphflow_compiler.ir.program import Value, constant_array, is_constant
from graphflow_compiler.lower.emit import Argument
from graphflow_compiler.plan import PlanBuffer


@record(frozen=True, slots=True)
class Panels:
    """The constant matrix [k, n] of a buffer stored as [panels, k, columns], the last panel filled up with zeros."""

    constant: Value
    columns: int

    def buffer(self) -> PlanBuffer:
        array = constant_array(self.constant)
        k, n = array.shape[-2:]
        padded = np.pad(array.reshape(k, n), ((0, 0), (0, -n % self.columns)))
        stored = np.ascontiguousarray(padded.reshape(k, -1, self.columns).swapaxes(0, 1))
        return PlanBuffer("constant", TensorType(self.constant.dtype, stored.shape), stored.size, array=stored)


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
    loads = (s.value for s in kernel.epilogue if isinstance(s, Let) and isinstance(s.value, Load))
    if not is_constant(constant) or any(x.buffer == kernel.b for x in loads):
        return kernel, arguments
    columns = panel_of_constant(kernel, target)
    if not columns:
        return kernel, arguments
    return replace(kernel, b_panel=columns), (*arguments[:at], Panels(constant, columns), *arguments[at + 1 :])
