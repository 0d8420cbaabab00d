"""`compile`: one signature through all levels to a Plan."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import field, replace
from functools import partial

from graphflow.framework import environment
from graphflow.framework.dtypes import string
from graphflow.framework.graph import Graph
from graphflow.framework.kinds import Host
from graphflow.framework.records import record
from graphflow_compiler import frontend
from graphflow_compiler.codegen.llvm.llvm_text import Target, host_target
from graphflow_compiler.frontend import DependsOnData as DependsOnData
from graphflow_compiler.frontend import Signature
from graphflow_compiler.ir.program import VARIABLE_STATE, Node, Program, sizes_of, unknown_sizes
from graphflow_compiler.ir.program import CannotCompile as CannotCompile
from graphflow_compiler.planning import plan_cache
from graphflow_compiler.planning.plan import Plan

#: How many nodes are named for each reason why a program cannot be compiled; the others are counted.
_NAMED = 8
_ON_THE_HOST, _STRINGS = "runs on the host", "has string values"


@record(frozen=True)
class Options:
    """What compilation depends on besides the signature, and who hears of it."""

    target: Target = field(default_factory=host_target)
    #: Is told name and text of each distinct kernel as it is written.
    on_kernel: Callable[[str, str], None] = lambda name, text: None
    #: Whether the plan may come from the cache on disk, and is kept there. Then no kernel may be written at all.
    keep: bool = False
    #: Whether kernels check each access to memory, and memory is poisoned before it is written: for tests.
    checked: bool = field(default_factory=lambda: environment.choice("GRAPHFLOW_CHECKED", ("0", "1")) == "1")


def compile(graph: Graph, signature: Signature, options: Options | None = None) -> Plan:
    """The Plan of a signature.

    Raises:
        InvalidArgumentError: the fed shapes cannot go together; names the op and the user's line.
        CannotCompile: a host op, or an op of the user's that refuses its constants; says which. DependsOnData: a shape, or an
            axis, follows from data.
        CompileError: the compiler itself failed.
    """
    with _without_garbage_collection():
        return _compile(signature, options or Options())


@contextmanager
def _without_garbage_collection() -> Iterator[None]:
    """Turns garbage collection off for a while.

    Compiling makes many objects and no garbage, so each collection would walk all of them for nothing: a third of the time
    for a graph of ten thousand ops.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _compile(signature: Signature, options: Options) -> Plan:
    try:
        program = frontend.build_program(signature)
    except DependsOnData:
        # A host op may be why a rank is unknown; those that are to blame are all named then, as for a program that is built.
        _check_operations(signature)
        raise
    _check_supported(program)
    kept = options.keep and not _is_watched()
    key = plan_cache.key_of(program, signature, options.target, options.checked) if kept else None
    if key is not None:
        plan = plan_cache.get(key, partial(_explained_anew, signature, replace(options, keep=False)))
        if plan is not None:
            return plan
    # The passes and emitters are loaded with the first plan that is not kept: processes that find theirs start faster.
    from graphflow_compiler.planning.planner import make_plan

    if options.checked:
        from graphflow_compiler.planning.checked_plan import checked_plan

        plan = checked_plan(make_plan(program, signature, options.target, lambda name, text: None))
    else:
        plan = make_plan(program, signature, options.target, options.on_kernel)
    if key is not None:
        plan_cache.put(key, plan)
    return plan


def _is_watched() -> bool:
    """Whether somebody wants to see the passes at work, or stops them early."""
    return bool(os.environ.get("GRAPHFLOW_DUMP") or os.environ.get("GRAPHFLOW_FUEL"))


def _explained_anew(signature: Signature, options: Options, notes: tuple[str, ...] = ()) -> str:
    """The explanation of a plan from the disk. What was fused and why is not kept, so the plan is made again."""
    return _compile(signature, replace(options, on_kernel=lambda name, text: None)).explain(notes)


def _check_operations(signature: Signature) -> None:
    reasons: dict[str, list[str]] = {}
    for op in frontend.needed_operations(signature.fetches, signature.feeds):
        if isinstance(op.op_def.kind, Host):
            reasons.setdefault(_ON_THE_HOST, []).append(f"{op.type} ({op.name})")
        elif any(t.base_dtype is string for t in op.outputs):
            reasons.setdefault(_STRINGS, []).append(f"{op.type} ({op.name})")
    _refuse(reasons)


def _refuse(reasons: dict[str, list[str]]) -> None:
    if reasons:
        raise CannotCompile("; ".join(f"{why}: {_listed(names)}" for why, names in reasons.items()))


def _check_supported(program: Program) -> None:
    reasons: dict[str, list[str]] = {}  # why not, and of which nodes that is true
    for n in program.nodes:
        if isinstance(n.op.kind, Host):
            reasons.setdefault(_ON_THE_HOST, []).append(_named(n))
        elif any(t.dtype is string for t in n.types):
            reasons.setdefault(_STRINGS, []).append(_named(n))
    shapes = {str(n.attrs.key): n.types[0].shape for n in program.nodes if n.op is VARIABLE_STATE}
    for name, value in program.updates:
        if shapes.get(name, value.shape) != value.shape:  # its storage, which kernels write in place, would not fit
            reasons.setdefault("changes its shape", []).append(f"variable {name}")
    _refuse(reasons)
    unknown = unknown_sizes(program)
    if unknown:
        first = next((_named(n) for n in program.nodes if any(d.names() & unknown for d in sizes_of(n))), None)
        if first is None:
            mentioned = (c for c in program.constraints for d in (c.a, c.b) if not isinstance(d, int) and d.names() & unknown)
            first = next(c.op for c in mentioned)
        raise DependsOnData(f"the shape of {first} depends on data")
    for n in program.nodes:
        # Kernels are written for the values of these: where a slice begins, for example.
        if any(i < len(n.inputs) and n.inputs[i] is not None for i in n.op.shape_operands):
            raise DependsOnData(f"what {_named(n)} takes depends on data")


def _named(n: Node) -> str:
    return f"{n.op.name} ({n.origin[-1] if n.origin else n.op.name})"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED:,} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
