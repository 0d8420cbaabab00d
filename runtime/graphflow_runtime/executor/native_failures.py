"""What went wrong in a native run: the check that failed, and the values that it failed for; and what kept one from being made.

A kernel reports only which check failed. Which index, which label, or what data an assertion was to show is found by doing
the run once more in numpy: a run that fails leaves all variables as they were.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.framework.errors import CompileError, InvalidArgumentError, NumericError, OpError, OutOfRangeError
from graphflow.framework.graph import Graph, Operation
from graphflow_compiler.codegen.jit.engine import RefusedError
from graphflow_compiler.compilation import CannotCompile
from graphflow_compiler.planning.plan import Plan
from graphflow_runtime.executor.failures import describe, with_kernel

if TYPE_CHECKING:
    from graphflow_runtime.executor.guards import Guards
    from graphflow_runtime.executor.reference import ReferenceExecutable

_log = logging.getLogger("graphflow")


def explained(
    graph: Graph, plan: Plan, guards: Guards, status: int, again: ReferenceExecutable, values: Sequence[Any] | None
) -> OpError:
    """The error of a native run of `plan` that ended with this status.

    Args:
        again: does the same run in numpy. values: of its feeds, in order; None: there is to be no second run.
    """
    # The entry returns step * 65536 + code, which comes back as a signed int.
    number, code = divmod(status & 0xFFFFFFFF, 65536)
    step = plan.steps[number]
    what = next((f for f in step.failures if f.code == code), None)
    name, message = (what.op, what.message) if what is not None else (step.origin[-1], "a check failed")
    op: Operation | None = None
    with contextlib.suppress(KeyError, ValueError):
        op = graph.get_operation_by_name(name)
    if number in guards and guards[number][0]:
        from graphflow_runtime.executor.guards import outside

        return outside(plan, number, guards, op)
    kernel = f"\n  fused into the kernel of {', '.join(step.origin[:8])}" if len(step.origin) > 1 else ""
    # Another thread may have changed a variable since, and sums in another order may pass a check: then the first text stands.
    found = None if values is None else _second_error(again, values)
    if found is not None:
        if found.op is op:
            found = type(found)(op=op, node_def=op, message=with_kernel(found.message, kernel))
        return found
    # Only the message tells what kind of check it was.
    classes: dict[str, type[OpError]] = {"Tensor had": NumericError, "Reached limit": OutOfRangeError}
    error = next((c for words, c in classes.items() if words in message), InvalidArgumentError)
    return error(op=op, node_def=op, message=describe(op, message, kernel) if op is not None else f"{message}{kernel}")


def _second_error(again: ReferenceExecutable, values: Sequence[Any]) -> OpError | None:
    try:
        feeds = [np.asarray(v, t.base_dtype.numpy_dtype) for t, v in zip(again.feeds, values, strict=True)]
        error = again.error(feeds)
    except MemoryError:
        return None
    # Not what only the second run met, such as too little memory.
    return error if isinstance(error, (InvalidArgumentError, OutOfRangeError)) and error.op is not None else None


def cannot_compile(e: CompileError | RecursionError, plan: Plan | None) -> CannotCompile:
    """A fault of the compiler, which must not keep anybody from his results: the reference backend has them, too."""
    reason = str(e)
    if plan is not None:
        refused = e.functions if isinstance(e, RefusedError) else ()
        names = dict.fromkeys(name for step in plan.steps if step.function in refused for name in step.origin)
        if names:
            reason = f"no code for the kernel of {', '.join(list(names)[:8])}: {reason}"
    _log.warning(
        "%s\nThe reference backend (numpy) runs it instead. This is a fault of graphflow: please report it, with what "
        "GRAPHFLOW_DUMP=<folder> writes there.",
        reason,
    )
    return CannotCompile(reason)
