"""A plan made over with checks, for the tests: kernels that see an access outside their buffers, and poisoned memory.

Every kernel gets a guard (see `codegen.llvm.checked`), a copy becomes such a kernel, too, and results, temporaries and
variables that are assigned without being read are filled with poison before the first step that touches them: what is read
of them before it is written shows in the results.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from graphflow.framework.dtypes import DType, int64
from graphflow.framework.kinds import TensorType
from graphflow_compiler.codegen.llvm.checked import checked_text, poison_of
from graphflow_compiler.codegen.llvm.checks_text import COPY, GUARD_WORDS, OUTSIDE, POISON
from graphflow_compiler.ir.program import FailureCode
from graphflow_compiler.planning.plan import Plan, PlanBuffer, Step, entry_text


def checked_plan(plan: Plan) -> Plan:
    """The same plan with checks in it."""
    made = _Checked(plan)
    ends = [made.step(step) for step in plan.steps]
    starts = [0, *(end + 1 for end in ends)]
    for i, b in enumerate(plan.buffers):
        if b.role in ("temporary", "scratch"):
            # Poison is written in the life of a temporary, so that lasts from the first step made for its own first step.
            made.buffers[i] = replace(b, start=ends[b.start] if b.role == "scratch" else starts[b.start], end=ends[b.end])
    return replace(
        plan,
        buffers=tuple(made.buffers),
        steps=tuple(made.steps),
        kernels=made.kernels,
        entry_text=entry_text(made.steps, plan.factors),
        explain=partial(_explained, plan.explain, ends),
    )


def _explained(explain: Callable[..., str], kept: Sequence[int], notes: Sequence[str] = ()) -> str:
    """What the plan is without checks. Notes are of all steps, those beside the plan's own included."""
    return explain(notes=[notes[i] for i in kept] if notes else ())


class _Checked:
    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.buffers = list(plan.buffers)
        self.steps: list[Step] = []
        self.kernels: dict[str, str] = {}
        self.functions: dict[str, str] = {}  # a kernel's name -> that of the same with checks
        self.touched: set[int] = set()

    def step(self, step: Step) -> int:
        """Adds a step, after the poison that it needs; returns its number."""
        for b in dict.fromkeys(step.buffers):
            if b not in self.touched and self.is_undefined(self.buffers[b]):
                poison = Step(self.named(POISON), "poison", (b,), (poison_of(self.buffers[b].type.dtype),), step.origin, 0)
                self.guard(replace(poison, writes=(b,)))
            self.touched.add(b)
        dims = step.dims
        if step.function.startswith("copy "):
            text, dims = COPY, (int(step.function[5:]),)
        else:
            text = self.plan.kernels[step.function]
        key = step.function if dims is step.dims else "copy"
        function = self.functions.get(key)
        if function is None:
            scratch = {i: self.buffers[b].type.dtype for i, b in enumerate(step.buffers) if self.buffers[b].role == "scratch"}
            function = self.functions[key] = self.named(_checked(text, step.function, scratch))
        failure = FailureCode(OUTSIDE, step.origin[-1] if step.origin else step.function, "an access outside a buffer")
        self.guard(replace(step, function=function, dims=dims, failures=(*step.failures, failure)))
        return len(self.steps) - 1

    def guard(self, step: Step) -> None:
        count = GUARD_WORDS + len(step.buffers)
        self.buffers.append(PlanBuffer("guard", TensorType(int64, (count,)), count, key=len(self.steps)))
        self.steps.append(replace(step, buffers=(*step.buffers, len(self.buffers) - 1)))

    def is_undefined(self, b: PlanBuffer) -> bool:
        """Whether a buffer that no step has touched yet holds nothing."""
        return b.role in ("temporary", "output") or (b.role == "variable" and str(b.key) not in self.plan.reads)

    def named(self, text: str) -> str:
        """The name of a function, which its content gives."""
        name = "gf_" + hashlib.sha256(text.encode()).hexdigest()[:16]
        self.kernels[name] = text.replace("@kernel(", f"@{name}(")
        return name


def _checked(text: str, name: str, scratch: Mapping[int, DType]) -> str:
    return checked_text(text.replace(f"@{name}(", "@kernel("), scratch)
