"""Traces of single runs: when each kernel, or each operation in numpy, started and ended, and what work it did."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.framework.config import DeviceStats, NodeStats, StepStats
from graphflow.framework.dtypes import DType, float32, float64
from graphflow.framework.graph import Operation
from graphflow.framework.kinds import flops
from graphflow.framework.records import record
from graphflow.framework.shapes import evaluate
from graphflow_compiler.frontend import variable_of

if TYPE_CHECKING:
    from graphflow_compiler.planning.plan import Plan
    from graphflow_runtime.executor.native import BoundPlan
    from graphflow_runtime.executor.reference import _Run

Array = np.ndarray[Any, Any]


@record(frozen=True, slots=True)
class Work:
    """What a kernel or an operation does in one run.

    what: the kernel's pattern; in numpy the operation's type. ops: names of the user's operations, the last one computes the
    result.
    flops: floating-point operations, a transcendental function counting as one. bytes: read and written, each buffer once.
    dtype: what it computes in.
    """

    what: str
    ops: tuple[str, ...]
    flops: int
    bytes: int
    dtype: DType


class Trace:
    """The record of one run; a run fills it, so it serves only one.

    began: nanoseconds since 1970 when the first work started. plan: None if the run was in numpy. clock: nanoseconds by which
    each span is too long, because reading the clock takes time.
    """

    def __init__(self) -> None:
        self.began = 0
        self.plan: Plan | None = None
        self.clock = 0
        self.sizes: dict[str, int] = {}  # the run-time sizes of the plan
        self._stamps: Array | None = None
        self._operations: list[Work] = []
        self._moments: list[tuple[int, int]] = []
        self._origin = 0

    @property
    def spans(self) -> Array:
        """Start and end of each work, nanoseconds since `began`: int64, shape [works, 2]."""
        if self._stamps is not None:
            return self._stamps
        return np.array(self._moments, np.int64).reshape(len(self._moments), 2)

    @cached_property
    def works(self) -> list[Work]:
        """What was done, in order. Worked out when asked for, which is best done after all runs that are to be timed."""
        return self._operations if self.plan is None else works(self.plan, self.sizes)

    def is_like(self, other: Trace) -> bool:
        """Whether both runs did the same."""
        if self.plan is None:
            return other.plan is None and self.works == other.works
        return self.plan is other.plan and self.sizes == other.sizes

    # ------------------------------------------------------------------ native code
    def native(self, bound: BoundPlan, values: Sequence[Any]) -> list[Array]:
        """Runs a plan through the entry that notes times. `values`: arrays of the bound shapes."""
        # Imported here, because runs in numpy are traced where there is no native code to import.
        from graphflow_compiler.planning.profile_entry import stamps_count, stamps_slot
        from graphflow_runtime.executor.native import _Failure
        from graphflow_runtime.native_code.dispatch import call_entry

        plan, store, control = bound.plan, bound.store, bound.control
        if bound.store_version != store.version:
            bound.refresh()
        entry = bound.compiled.profiled.entry
        results = [np.empty(shape, dtype) for shape, dtype in control.outputs]
        stamps = np.zeros(stamps_count(plan), np.int64)
        table = np.append(bound.table, np.uint64(stamps.ctypes.data))
        assert len(table) == stamps_slot(plan) + 1
        store.begin_run(control.random_ops)
        self.began = time.time_ns()
        slots = (*control.feed_slots, *control.output_slots)
        status = call_entry(entry, table, bound.dims, slots, [*values, *results])
        if status:
            raise _Failure(status)
        store.mark_initialized(bound.writes)
        self.plan = plan
        self.sizes = bound.sizes
        # The first two stamps are taken one right after the other: what they differ by is what taking one costs.
        self.clock = int(stamps[1] - stamps[0])
        self._stamps = (stamps[2:] - stamps[1]).reshape(len(plan.steps), 2)
        return results

    # ------------------------------------------------------------------ numpy
    def operation(self, op: Operation, kind: object, run: _Run) -> Sequence[Array]:
        """Computes an operation in numpy."""
        # Two clocks: the time of day for when the run began, a steady one for what follows.
        if not self._moments:
            self.began, self._origin = time.time_ns(), time.perf_counter_ns()
        start = time.perf_counter_ns()
        results = run.compute(op, kind)
        end = time.perf_counter_ns()
        inputs: list[Array] = []
        for t in op.inputs:
            variable = variable_of(t)
            found = run.values.get(t)
            if found is None and variable is not None:
                found = run.assigned.get(variable.name, run.store.array(variable.name))
            if found is not None:
                inputs.append(found)
        arrays = [*inputs, *(np.asarray(r) for r in results)]
        types = [t.base_dtype for t in (*op.inputs, *op.outputs)]
        work = flops(kind, op.attrs, np.shape(results[0]) if results else None, [a.shape for a in inputs])
        assert isinstance(work, int), "arrays have sizes"
        self._moments.append((start - self._origin, end - self._origin))
        self._operations.append(Work(op.type, (op.name,), work, sum(a.nbytes for a in arrays), widest(types)))
        return results

    # ------------------------------------------------------------------ as TensorFlow tells it
    def step_stats(self, device: str, details: Sequence[dict[str, Any]] = ()) -> StepStats:
        """TensorFlow's record of a run. `details`: more to say of each work."""
        nodes = []
        for i, (work, (start, end)) in enumerate(zip(self.works, self.spans.tolist(), strict=True)):
            name, nanos = work.ops[-1] if work.ops else work.what, end - start
            micros = max(1, -(-nanos // 1000))
            known = {"kernel": work.what, "operations": list(work.ops), "flops": work.flops, "bytes": work.bytes}
            nodes.append(
                NodeStats(
                    node_name=name,
                    timeline_label=f"{name} = {work.what}({', '.join(o for o in work.ops if o != name)})",
                    all_start_micros=(self.began + start) // 1000,
                    op_end_rel_micros=micros,
                    all_end_rel_micros=micros,
                    all_start_nanos=self.began + start,
                    op_end_rel_nanos=nanos,
                    all_end_rel_nanos=nanos,
                    details=known | (details[i] if details else {}),
                )
            )
        return StepStats(dev_stats=[DeviceStats(device=device, node_stats=nodes)])


def works(plan: Plan, sizes: dict[str, int]) -> list[Work]:
    """What each step of a plan does for these sizes."""
    return [
        Work(
            step.pattern,
            step.origin,
            int(evaluate(step.flops, sizes)),
            sum(int(evaluate(plan.buffers[b].bytes, sizes)) for b in set(step.buffers)),
            widest([plan.buffers[b].type.dtype for b in step.buffers]),
        )
        for step in plan.steps
    ]


def widest(dtypes: Sequence[DType]) -> DType:
    """The type that sets the speed of arithmetic on all of these: a float before an integer, the largest of its kind."""
    numbers = [d for d in dtypes if d.is_floating] or [d for d in dtypes if d.is_integer]
    if float64 in numbers:
        return float64
    return max(numbers, key=lambda d: d.size, default=float32)
