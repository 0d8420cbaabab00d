"""Levels 2 to 5: a Program through the passes, fusion, lowering and emission, to a Plan."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, TypeAlias

from graphflow.framework.dims import factor, factor_text
from graphflow.framework.dtypes import bool_, uint64
from graphflow.framework.errors import CompileError
from graphflow.framework.kinds import TensorType, flops
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, product
from graphflow_compiler.codegen.emit import Target, kernel_to_llvm, scratch_elements
from graphflow_compiler.frontend import Signature
from graphflow_compiler.ir import kernels as kernels_ir
from graphflow_compiler.ir.indexing_maps import dim_index
from graphflow_compiler.ir.kernels import Group, KernelGraph, bytes_of
from graphflow_compiler.ir.loops import Buffer, For, GemmKernel, IVar, Kernel, LoopKernel
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_text import kernel_to_text
from graphflow_compiler.ir.loops_verify import verify_kernel
from graphflow_compiler.ir.program import (
    FEED,
    IS_INITIALIZED,
    RANDOM_COUNT,
    VARIABLE_STATE,
    Node,
    Program,
    Value,
    constant_array,
    is_constant,
    union_origin,
)
from graphflow_compiler.lower import lower
from graphflow_compiler.lower.emit import Argument, LoweredKernel, Partial, Scratch, used_dims
from graphflow_compiler.lower.function_merging import Skeleton, together
from graphflow_compiler.lower.repeated_groups import RepeatedGroups
from graphflow_compiler.passes.fusion import fuse
from graphflow_compiler.passes.pipeline import Dump, run_passes
from graphflow_compiler.passes.rewrite import PassContext
from graphflow_compiler.planning.buffer_assignment import Copy, Schedule, schedule
from graphflow_compiler.planning.explain import explain_text
from graphflow_compiler.planning.plan import Plan, PlanBuffer, Step, entry_text, symbol_sources
from graphflow_compiler.planning.weight_prepacking import Panels, with_panels


def make_plan(program: Program, signature: Signature, target: Target, on_kernel: Callable[[str, str], None]) -> Plan:
    """The Plan of the program of a signature. `on_kernel` is told name and text of each distinct kernel as it is written.

    Raises:
        CompileError: the compiler itself failed.
    """
    dump = Dump.from_environment("plan")
    program = run_passes(program, PassContext(), dump)
    kernel_graph = fuse(program)
    kernels_ir.verify(kernel_graph)
    dump.write("kernels", partial(kernels_ir.to_text, kernel_graph))
    plan = _Planner(schedule(kernel_graph), target, on_kernel, dump, signature).run()
    dump.write("plan", partial(str, plan))
    dump.write("explain", lambda: plan.explanation)
    return plan


#: A kernel that may share a function with others: number of its step, its skeleton with its numbers, itself.
_Member: TypeAlias = "tuple[int, Skeleton, LoopKernel]"


@record(frozen=True, slots=True)
class _Written:
    """What a step needs to know of its kernel. `function` is empty where that is to be found out when all `alike` are known;
    `scratch` is of a matrix kernel."""

    kernel: Kernel
    function: str
    alike: tuple[list[_Member], Skeleton, LoopKernel] | None
    scratch: tuple[TensorType, Dim] | None
    dims: tuple[Dim, ...]
    flops: Dim
    is_parallel: bool


class _Planner:
    """Numbers the buffers, lowers the groups in schedule order, and names kernels by their content."""

    def __init__(
        self, scheduled: Schedule, target: Target, on_kernel: Callable[[str, str], None], dump: Dump, signature: Signature
    ) -> None:
        self.schedule = scheduled
        self.graph: KernelGraph = scheduled.graph
        self.program = scheduled.graph.program
        self.target = target
        #: Values that are read after they have been stored: writing them past the caches would not pay.
        self.read = {self.graph.storage(v) for g in self.graph.groups for v in g.inputs}
        self.read |= {s.source for s in scheduled.steps if isinstance(s, Copy)}
        # The variables' own types: a value that is stored in one may be a reshape, with the same elements in another shape.
        self.variable_types = {str(n.attrs.key): n.types[0] for n in self.program.nodes if n.op is VARIABLE_STATE}
        self.variable_types |= {name: v.type for name, v in self.program.updates}
        self.on_kernel = on_kernel
        self.dump = dump
        # All sizes that the signature names, including those that the program has since replaced by equal ones.
        self.sources = symbol_sources(
            [TensorType(t.base_dtype, s) for t, s in zip(signature.feeds, signature.feed_shapes, strict=True)]
        )
        self.buffers: list[PlanBuffer] = []
        self.ends: dict[int, int] = {}  # of temporaries, by their numbers: the last step that needs them
        self.number: dict[Any, int] = {}
        self.texts: dict[str, str] = {}
        self.steps: list[Step] = []
        # Kernels that may share a function, by their skeleton. They are written last, since only the whole plan shows in which
        # numbers they differ.
        self.alike: dict[LoopKernel, list[_Member]] = {}
        self.repeated: dict[int, _Written] = {}  # by the id of a kernel that several groups have
        lower_group = partial(lower, scheduled.graph, in_place=scheduled.in_place)
        # A dump shows the loops of each group.
        watched = dump.folder is not None
        self.lower = lower_group if watched else RepeatedGroups(scheduled.graph, scheduled.in_place, lower_group).kernels

    # ------------------------------------------------------------------ buffers
    def buffer(self, key: Any, made: PlanBuffer) -> int:
        found = self.number.get(key)
        if found is None:
            found = self.number[key] = len(self.buffers)
            self.buffers.append(made)
        return found

    def output(self, i: int) -> int:
        t = self.program.outputs[i].type
        return self.buffer(("output", i), PlanBuffer("output", t, product(t.shape or ()), i))

    def variable(self, name: str) -> int:
        t = self.variable_types[name]
        return self.buffer(("variable", name), PlanBuffer("variable", t, product(t.shape or ()), name))

    def home(self, v: Value | Partial | Panels) -> int:
        """The buffer that holds the stored value v."""
        here = len(self.steps)
        if isinstance(v, Panels):
            known = self.number.get(v)
            return self.buffer(v, v.buffer()) if known is None else known
        if isinstance(v, Partial):
            return self.buffer(v, PlanBuffer("temporary", TensorType(v.dtype, (v.count,)), v.count, start=here, end=here))
        base = self.graph.storage(v)
        state = self.schedule.in_place.get(base)
        if state is not None:
            base = state
        t = base.type
        count = product(base.shape)
        node = base.node
        if node.op is FEED:
            return self.buffer(base, PlanBuffer("feed", t, count, node.attrs.key))
        if node.op is VARIABLE_STATE:
            return self.variable(str(node.attrs.key))
        if node.op is RANDOM_COUNT:
            return self.buffer(base, PlanBuffer("random_count", TensorType(uint64, ()), 1, node.attrs.key))
        if node.op is IS_INITIALIZED:
            return self.buffer(base, PlanBuffer("is_initialized", TensorType(bool_, ()), 1, node.attrs.key))
        if is_constant(base):
            array = constant_array(base)
            return self.buffer(base, PlanBuffer("constant", t, count, array=array))
        name = self.schedule.assigned.get(base)
        if name is not None:
            return self.variable(name)
        home = self.schedule.output_home.get(base)
        if home is not None:
            return self.output(home)
        number = self.buffer(base, PlanBuffer("temporary", t, count, start=here, end=here))
        self.extend(number)
        return number

    def extend(self, number: int) -> None:
        if self.buffers[number].role in ("temporary", "scratch"):
            self.ends[number] = len(self.steps)

    # ------------------------------------------------------------------ steps
    def run(self) -> Plan:
        items: list[Group | Copy] = []  # what each step is of
        for item in self.schedule.steps:
            if isinstance(item, Copy):
                self.copy(item)
            else:
                self.group(item)
            items += [item] * (len(self.steps) - len(items))
        self.emit_alike()
        for number, end in self.ends.items():
            self.buffers[number] = replace(self.buffers[number], end=end)
        # Feeds that no kernel reads and outputs that are copies of others get their buffers only here.
        for v in self.program.feeds:
            self.home(v.out())
        for i in range(len(self.program.outputs)):
            self.output(i)
        feeds = sorted(self.program.feeds, key=lambda n: int(n.attrs.key))
        reads = [b.key for b in self.buffers if b.role == "variable"]
        states = {n.attrs.key for n in self.program.nodes if n.op is VARIABLE_STATE}
        passed = {a for s in self.steps for d in s.dims if not isinstance(d, int) for monomial, _ in d.terms for a in monomial}
        computed = tuple(sorted((a for a in passed if not isinstance(a, str)), key=factor_text))
        used_sizes: set[str] = set()
        for d in (
            *(d for s in self.steps for d in s.dims),
            *(b.count for b in self.buffers),
            *(d for v in self.program.roots() for d in v.shape),  # an array without elements has axes all the same
            *(d for c in self.program.constraints for d in (c.a, c.b)),
        ):
            if not isinstance(d, int):
                used_sizes |= d.names()
        missing = used_sizes - self.sources.keys()
        if missing:
            raise CompileError(f"sizes {sorted(missing)} are given by no feed")
        symbols = tuple(sorted(used_sizes))
        return Plan(
            buffers=tuple(self.buffers),
            steps=tuple(self.steps),
            symbols=symbols,
            computed=tuple(map(factor, computed)),
            symbol_source={name: self.sources[name] for name in symbols},
            constraints=self.program.constraints,
            feed_types=tuple(n.types[0] for n in feeds),
            output_types=tuple(v.type for v in self.program.outputs),
            reads=tuple(str(k) for k in reads if k in states),
            writes=tuple(name for name, _ in self.program.updates),
            kernels=self.texts,
            entry_text=entry_text(self.steps, (*symbols, *computed)),
            explain=partial(explain_text, replace(self.schedule, steps=tuple(items)), tuple(self.steps), tuple(self.buffers)),
        )

    def group(self, group: Group) -> None:
        for k in self.lower(group):
            self.add(k, f"{group.pattern} {k.part}" if k.part else group.pattern)

    def copy(self, item: Copy) -> None:
        t = item.source.type
        source = self.home(item.source)
        aside = self.number.get(("aside", item.source))
        if aside is not None:
            source = aside
        if item.aside:
            here = len(self.steps)
            target = self.buffer(
                ("aside", item.source), PlanBuffer("temporary", t, product(t.shape or ()), start=here, end=here)
            )
        else:
            target = self.output(item.output) if item.output >= 0 else self.variable(item.variable)
        for b in (source, target):
            self.extend(b)
        aliases = self.program.aliases.get(item.output if item.output >= 0 else item.variable, ())
        origin = (*aliases, *item.source.node.origin)
        nbytes = bytes_of(t)
        if isinstance(nbytes, int):  # the entry itself has a memcpy of a known size
            self.steps.append(Step(f"copy {nbytes}", "copy", (source, target), (), origin, 0, (), (source,), (target,)))
            return
        kernel = copy_kernel(t)
        name = self.emit(kernel)
        self.steps.append(
            Step(
                name,
                "copy",
                (source, target),
                tuple(map(factor, kernel.dims)),
                origin,
                0,
                (),
                (source,),
                (target,),
                is_parallel=True,
            )
        )

    def add(self, lowered: LoweredKernel, pattern: str) -> None:
        kernel, stored = with_panels(lowered.kernel, lowered.arguments, self.graph, self.target)
        numbers = []
        reads, writes = [], []
        for a, formal in zip(stored, kernel.buffers, strict=True):
            if isinstance(a, Scratch):
                numbers.append(self.scratch(TensorType(a.dtype, ()), a.count))
            else:
                number = self.home(a)
                self.extend(number)
                numbers.append(number)
            if formal.access != "read":
                writes.append(numbers[-1])
            if formal.access != "write":
                reads.append(numbers[-1])
        kernel = self.streaming(kernel, stored)
        is_shared = lowered.is_shared and kernel is lowered.kernel
        written = self.repeated.get(id(kernel)) if is_shared else None
        if written is None:
            written = self.write(kernel, numbers, _flops(lowered.nodes))
            if is_shared:
                self.repeated[id(kernel)] = written
        # A matrix kernel takes its scratch after all its buffers (see `gemm_scratch_elements`).
        if written.scratch is not None:
            numbers.append(self.scratch(*written.scratch))
        if written.alike is not None:
            members, skeleton, loops = written.alike
            members.append((len(self.steps), skeleton, loops))
        self.steps.append(
            Step(
                written.function,
                pattern,
                tuple(numbers),
                written.dims,
                union_origin(lowered.named),
                written.flops,
                lowered.failures,
                tuple(reads),
                tuple(writes),
                written.is_parallel,
            )
        )

    def write(self, kernel: Kernel, numbers: Sequence[int], work: Dim) -> _Written:
        """Writes the function of a kernel, unless it may become one with others."""
        count = scratch_elements(kernel, self.target)
        scratch = (
            None if count is None or not isinstance(kernel, GemmKernel) else (TensorType(kernel.accumulate_dtype, ()), count)
        )
        alike = None
        known = False
        if isinstance(kernel, LoopKernel):
            skeleton = Skeleton.of(kernel, [self.buffers[n].count for n in numbers])
            if skeleton is not None:
                members = self.alike.setdefault(skeleton.kernel, [])
                known = bool(members)
                alike = members, skeleton, kernel
        if not known:  # whether a kernel is well formed does not depend on its numbers
            verify_kernel(kernel)
        function = self.emit(kernel) if alike is None else ""
        return _Written(kernel, function, alike, scratch, tuple(map(factor, kernel.dims)), work, is_parallel(kernel))

    def streaming(self, kernel: Kernel, arguments: Sequence[Argument | Panels]) -> Kernel:
        """Marks buffers that are written straight into a variable, exceed the caches, and are not read again in this plan.

        Nontemporal stores pay only there: a copy of 40 MB took 1 / 1.65 of the time.
        """
        large = {
            formal.name
            for formal, v in zip(kernel.buffers, arguments, strict=True)
            if isinstance(v, Value) and formal.access == "write" and v in self.schedule.assigned and v not in self.read
            if isinstance(nbytes := bytes_of(v.type), int) and nbytes > self.target.cache_bytes
        }
        if not large or isinstance(kernel, GemmKernel):
            return kernel
        return replace(kernel, buffers=tuple(replace(b, streams=b.name in large) for b in kernel.buffers))

    def scratch(self, t: TensorType, count: Dim) -> int:
        here = len(self.steps)
        return self.buffer(("scratch", here, len(self.buffers)), PlanBuffer("scratch", t, count, start=here, end=here))

    def emit_alike(self) -> None:
        """Writes the functions of the kernels in `alike`, now that it is known which of them can share one."""
        for members in self.alike.values():
            made = together([skeleton for _, skeleton, _ in members]) if len(members) > 1 else None
            if made is None:
                for at, _, kernel in members:
                    self.steps[at] = replace(self.steps[at], function=self.emit(kernel))
                continue
            shared, passed = made
            verify_kernel(shared)
            name = self.emit(shared)
            for (at, _, _), dims in zip(members, passed, strict=True):
                self.steps[at] = replace(self.steps[at], function=name, dims=dims)

    def emit(self, kernel: Kernel) -> str:
        """The function's name, from the content of its code: kernels that do the same share one function."""
        self.dump.write("loops", partial(kernel_to_text, kernel))
        text = kernel_to_llvm(kernel, self.target)
        name = "gf_" + hashlib.sha256(text.encode()).hexdigest()[:16]
        if name not in self.texts:
            self.texts[name] = text.replace("@kernel(", f"@{name}(")
            self.on_kernel(name, self.texts[name])
        return name


def is_parallel(kernel: Kernel) -> bool:
    return isinstance(kernel, GemmKernel) or any(isinstance(s, For) and s.parallel for s in kernel.body)


def copy_kernel(t: TensorType) -> LoopKernel:
    b = LoopBuilder()
    count = dim_index(product(t.shape or ()))
    with b.loop("i", count, mode="vector", parallel=True):
        b.store("target", IVar("i"), b.load("source", IVar("i"), t.dtype))
    body = b.build()
    buffers = (Buffer("source", t.dtype, count, "read"), Buffer("target", t.dtype, count, "write"))
    return LoopKernel("kernel", buffers, used_dims(body, [count]), body)


def _flops(nodes: Sequence[Node]) -> Dim:
    total: Dim = 0
    for n in nodes:
        result = n.types[0].shape or () if n.types else None
        total = total + flops(n.op.kind, n.attrs, result, [v.shape for v in n.data_inputs])
    return total
