"""Loop-invariant code motion on the loop IR: what does not change in a loop is computed before it."""

from __future__ import annotations

from dataclasses import replace

from graphflow_compiler.ir.loops import For, IData, Let, Load, LoopKernel, Statement
from graphflow_compiler.ir.loops_visit import buffers_stored, defined, index_parts, names_read


def hoist_invariants(kernel: LoopKernel) -> LoopKernel:
    """Moves every `Let` out of the loops it does not depend on; loads only from buffers the kernel never writes.

    A loop may run zero times, so a load moved out must have a valid address all the same: one that depends on loop
    variables and sizes has (every buffer is backed by memory), one that depends on data may not and stays.
    """
    return replace(kernel, body=_block(kernel.body, buffers_stored(kernel.body)))


def _block(body: tuple[Statement, ...], written: set[str]) -> tuple[Statement, ...]:
    result: list[Statement] = []
    for s in body:
        if not isinstance(s, For):
            result.append(s)
            continue
        # Inner loops first: what leaves them may then leave this one too.
        inner = _block(s.body, written)
        varying = {s.var}
        stays: list[Statement] = []
        for t in inner:
            if isinstance(t, Let) and not _varies(t, varying, written):
                result.append(t)
                continue
            varying.update(defined(t))
            stays.append(t)
        result.append(replace(s, body=tuple(stays)))
    return tuple(result)


def _varies(let: Let, varying: set[str], written: set[str]) -> bool:
    e = let.value
    if isinstance(e, Load) and (e.buffer in written or any(isinstance(i, IData) for i in index_parts(e.index))):
        return True
    return not varying.isdisjoint(names_read(let))
