"""Guards: where kernels with checks note an access outside their buffers, and what is said of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from graphflow.framework.dtypes import DType
from graphflow.framework.errors import InternalError
from graphflow.framework.graph import Operation
from graphflow.framework.shapes import evaluate
from graphflow_compiler.codegen.llvm.checks_text import GUARD_WORDS
from graphflow_compiler.planning.plan import Plan, PlanBuffer

#: Step -> the guard of its kernel, laid out as `codegen.llvm.checks_text` says.
Guards = Mapping[int, "np.ndarray[tuple[int], np.dtype[np.int64]]"]


def make_guards(plan: Plan, sizes: Mapping[str, int], shapes: Sequence[Sequence[int]]) -> Guards:
    """The guards of a plan for feeds of these shapes, each with the bytes of the buffers that its kernel is given.

    Of a feed, a result and a constant these are the bytes that there are, whatever the plan believes.
    """

    def extent(b: PlanBuffer) -> int:
        if b.array is not None:
            return b.array.nbytes
        if b.role == "feed":
            return math.prod(shapes[int(b.key)]) * b.type.dtype.size
        if b.role == "output":
            shape = plan.output_types[int(b.key)].shape or ()
            return math.prod(evaluate(d, sizes) for d in shape) * b.type.dtype.size
        return int(evaluate(b.bytes, sizes))

    found = {}
    for b in plan.buffers:
        if b.role == "guard":
            step = int(b.key)
            extents = [extent(plan.buffers[i]) for i in plan.steps[step].buffers[:-1]]
            found[step] = np.array([0] * GUARD_WORDS + extents, np.int64)
    return found


def outside(plan: Plan, step: int, guards: Guards, op: Operation | None) -> InternalError:
    """The error of a kernel that went outside a buffer. Its guard is made ready for the next run."""
    guard = guards[step]
    _, number, offset, length, extent, writes, *_ = guard.tolist()
    guard[:GUARD_WORDS] = 0
    s = plan.steps[step]
    buffers = s.buffers[:-1]
    what = "an array on the stack" if number >= len(buffers) else f"buffer {number} ({_named(plan.buffers[buffers[number]])})"
    message = (
        f"kernel {s.function} of {', '.join(s.origin)} {'stores' if writes else 'loads'} {length} bytes at offset {offset} of "
        f"{what}, whose extent is {extent} bytes: a fault of graphflow, please report it"
    )
    return InternalError(op=op, node_def=op, message=message)


def _named(b: PlanBuffer) -> str:
    dtype: DType = b.type.dtype
    return f"{b.role}{'' if b.key == -1 else f' {b.key}'}, {dtype.name}"
