"""The order of a loop body's statements: independent chains side by side, as far as the registers go.

Fusion writes one chain of dependent operations after the other, each operation waiting for the last result. The window of an
out-of-order core holds some 60 to 100 operations, fewer than one such body, so it cannot overlap chains that stand far apart.
Sorted by the time at which each statement could start, chains stand side by side: tanh(2x + 1) * sigmoid(x) + exp(-x * x)
takes a sixth less time. Only the order changes, so results keep their bits.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace

from graphflow_compiler.ir.loops import Binary, Call, Cast, For, FromIndex, Let, Load, Statement, Store, Unary
from graphflow_compiler.ir.loops_visit import names_read

#: Shorter runs of statements fit into the window of an out-of-order core as they are.
_SHORT = 24
#: Registers kept free for constants and for what an instruction needs on the way.
_SPARE = 4
#: Latencies in cycles, on current x86 and ARM cores.
_LOAD = 5
_SLOW = {"div": 11, "sqrt": 14, "mod": 20, "truncmod": 20, "floordiv": 16, "truncdiv": 16}
_ARITHMETIC = {"add": 3, "sub": 3, "mul": 4, "fma": 4}


def interleave(body: Sequence[Statement], registers: int) -> tuple[Statement, ...]:
    """The same statements in an order that depends on nothing but them. `registers`: how many vectors they hold."""
    result: list[Statement] = []
    run: list[Let | Store] = []
    for s in body:
        if isinstance(s, (Let, Store)):
            run.append(s)
            continue
        result += _ordered(run, registers)
        run = []
        result.append(replace(s, body=interleave(s.body, registers)) if isinstance(s, For) else s)
    return (*result, *_ordered(run, registers))


def _ordered(run: list[Let | Store], registers: int) -> list[Let | Store]:
    if len(run) < _SHORT:
        return run
    before = _dependencies(run)
    start = _start_times(run, before)
    after: list[list[int]] = [[] for _ in run]
    for i, needed in enumerate(before):
        for j in needed:
            after[j].append(i)
    waiting = [len(needed) for needed in before]
    uses = [len(a) for a in after]
    # Two queues of the statements that are ready, by start time and as written; what one hands out the other skips.
    by_time = [(start[i], i) for i, n in enumerate(waiting) if not n]
    by_place = [i for _, i in by_time]
    heapq.heapify(by_time)
    done = [False] * len(run)
    live = 0
    result: list[Let | Store] = []
    while len(result) < len(run):
        # With the registers full, the written order: one chain after the other keeps the fewest values live.
        i = heapq.heappop(by_place) if live >= registers - _SPARE else heapq.heappop(by_time)[1]
        if done[i]:
            continue
        done[i] = True
        result.append(run[i])
        live += uses[i] > 0
        for j in before[i]:
            uses[j] -= 1
            live -= not uses[j]
        for k in after[i]:
            waiting[k] -= 1
            if not waiting[k]:
                heapq.heappush(by_time, (start[k], k))
                heapq.heappush(by_place, k)
    return result


def _dependencies(run: Sequence[Let | Store]) -> list[set[int]]:
    """For each statement those that must come before it: what it uses, and what touches the same buffer where one writes."""
    defined: dict[str, int] = {}
    stores: dict[str, list[int]] = {}
    loads: dict[str, list[int]] = {}
    found: list[set[int]] = []
    for i, s in enumerate(run):
        needed = {defined[n] for n in names_read(s) if n in defined}
        if isinstance(s, Let):
            defined[s.name] = i
            if isinstance(s.value, Load):
                needed.update(stores.get(s.value.buffer, ()))
                loads.setdefault(s.value.buffer, []).append(i)
        else:
            needed.update(stores.get(s.buffer, ()), loads.get(s.buffer, ()))
            stores.setdefault(s.buffer, []).append(i)
        found.append(needed)
    return found


def _start_times(run: Sequence[Let | Store], before: Sequence[set[int]]) -> list[int]:
    """When each statement could start, if everything ran at once; loads only when something needs them."""
    start: list[int] = []
    end: list[int] = []
    for s, needed in zip(run, before, strict=True):
        # A load that waits for nothing starts early enough for its value to be there at time 0.
        first = max((end[j] for j in needed), default=-_LOAD if _is_load(s) else 0)
        start.append(first)
        end.append(first + _latency(s))
    wanted: dict[int, int] = {}
    for i, needed in enumerate(before):
        for j in needed:
            wanted[j] = min(wanted.get(j, start[i]), start[i])
    return [
        max(first, wanted.get(i, first) - _LOAD) if _is_load(s) else first
        for i, (s, first) in enumerate(zip(run, start, strict=True))
    ]


def _is_load(s: Let | Store) -> bool:
    return isinstance(s, Let) and isinstance(s.value, Load)


def _latency(s: Let | Store) -> int:
    if isinstance(s, Store):
        return 0
    e = s.value
    if isinstance(e, Load):
        return _LOAD
    if isinstance(e, (Binary, Unary)):
        return _SLOW.get(e.op) or (_ARITHMETIC.get(e.op, 1) if s.dtype.is_floating else 1)
    if isinstance(e, Call):
        return _ARITHMETIC.get(e.fn, 30)
    return 4 if isinstance(e, (Cast, FromIndex)) else 1
