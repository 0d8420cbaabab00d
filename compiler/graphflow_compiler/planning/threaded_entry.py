"""The threaded entry of a plan, which several threads run at once: large steps are shared, barriers separate dependent steps.

Where barriers are needed depends on the sizes, because the arena's offsets do. So the text reads a byte of flags for each
step, which `step_flags` works out when a plan is bound to sizes.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Mapping, Sequence

from graphflow.framework.dims import Factor
from graphflow.framework.records import record
from graphflow.framework.shapes import evaluate
from graphflow_compiler.planning.plan import Plan, Step, call_lines, failure_lines, head

BARRIER, PARALLEL = 1, 2
#: Words that precede the sizes in memory, at dims[-6] to dims[-1]: address of the block of `thread_autotune`, control block of
#: the pool, number of threads, flags of the steps, threaded entry, entry for one thread.
LAUNCH_WORDS = 6
#: A step of less than this is left to one thread: a barrier and cold caches would cost as much.
MIN_STEP_NS = 600
#: Rough speeds, for deciding only: flops and bytes in a nanosecond.
_GEMM_FLOPS, _OTHER_FLOPS, _BYTES = 60.0, 8.0, 16.0


def threaded_entry_text(steps: Sequence[Step], factors: Sequence[Factor]) -> str:
    """``i32 graphflow_entry(ptr table, ptr dims, i64 thread, i64 threads)``, called by every thread of a launch.

    A failed check is written to the control block; whoever passes the barrier after it leaves.
    """
    # dims[-5] is the pool's control block, whose byte 256 holds the lowest failed status, and dims[-3] the flags of the steps.
    lines = ["declare void @graphflow_barrier(ptr, i64, i64)", head("graphflow_entry")]
    lines += [
        "  %p_ctl = getelementptr i64, ptr %dims, i64 -5",
        "  %ctl = load ptr, ptr %p_ctl",
        "  %p_failed = getelementptr i8, ptr %ctl, i64 256",
        "  %p_flags = getelementptr i64, ptr %dims, i64 -3",
        "  %flags = load ptr, ptr %p_flags",
        "  %first = icmp eq i64 %thread, 0",
    ]
    places = {a: k for k, a in enumerate(factors)}
    for i, s in enumerate(steps):
        lines += [
            f"  %pg{i} = getelementptr i8, ptr %flags, i64 {i}",
            f"  %g{i} = load i8, ptr %pg{i}",
            f"  %wait{i} = trunc i8 %g{i} to i1",
            f"  br i1 %wait{i}, label %barrier{i}, label %enter{i}",
            f"barrier{i}:",
            "  call void @graphflow_barrier(ptr %ctl, i64 %thread, i64 %threads)",
        ]
        if i and steps[i - 1].failures:
            lines += [
                f"  %w{i} = load atomic i32, ptr %p_failed monotonic, align 64",
                f"  %o{i} = icmp uge i32 %w{i}, {i * 65536}",  # a failure of a later step is for a later barrier
                f"  br i1 %o{i}, label %enter{i}, label %leave",
            ]
        else:
            lines.append(f"  br label %enter{i}")
        lines += [
            f"enter{i}:",
            f"  %h{i} = and i8 %g{i}, {PARALLEL}",
            f"  %shared{i} = icmp ne i8 %h{i}, 0",
            f"  %takes{i} = or i1 %shared{i}, %first",
            f"  br i1 %takes{i}, label %call{i}, label %next{i}",
            f"call{i}:",
            f"  %t{i} = select i1 %shared{i}, i64 %thread, i64 0",
            f"  %n{i} = select i1 %shared{i}, i64 %threads, i64 1",
            *call_lines(i, s, places, f"%t{i}", f"%n{i}"),
        ]
        # Of several failures the lowest stays, whichever thread is first: that is the one that a single thread reports.
        if s.failures:
            lines += [*failure_lines(i), f"  %x{i} = atomicrmw umin ptr %p_failed, i32 %c{i} seq_cst"]
        lines += [f"  br label %next{i}", f"next{i}:"]
    lines += ["  br label %leave", "leave:", "  ret i32 0", "}", ""]
    return "\n".join(lines)


def step_nanoseconds(plan: Plan, step: Step, sizes: Mapping[str, int]) -> float:
    """A guess at what a step takes on one thread."""
    speed = _GEMM_FLOPS if step.pattern == "gemm" else _OTHER_FLOPS
    moved = sum(evaluate(plan.buffers[b].bytes, sizes) for b in set(step.buffers))
    return max(evaluate(step.flops, sizes) / speed, moved / _BYTES)


def plan_nanoseconds(plan: Plan, sizes: Mapping[str, int]) -> float:
    """A guess at what the plan takes on one thread."""
    return sum(step_nanoseconds(plan, s, sizes) for s in plan.steps)


@record(frozen=True, slots=True)
class _MemoryRange:
    """Bytes [start, end) of a place, the arena or a buffer of its own; only ranges of the same place can overlap."""

    place: int
    start: int
    end: int
    writes: bool


class _Spans:
    """A set of bytes of one place, as disjoint spans in order."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def add(self, start: int, end: int) -> None:
        if start < end:
            first, last = bisect_left(self._ends, start), bisect_right(self._starts, end)
            if first < last:  # it touches those
                start, end = min(start, self._starts[first]), max(end, self._ends[last - 1])
            self._starts[first:last], self._ends[first:last] = [start], [end]

    def meets(self, start: int, end: int) -> bool:
        at = bisect_right(self._ends, start)
        return start < end and at < len(self._starts) and self._starts[at] < end


class _TouchedMemory:
    """What has been read and written since the last barrier, by place."""

    def __init__(self) -> None:
        self._touched: defaultdict[int, _Spans] = defaultdict(_Spans)
        self._written: defaultdict[int, _Spans] = defaultdict(_Spans)

    def add(self, a: _MemoryRange) -> None:
        self._touched[a.place].add(a.start, a.end)
        if a.writes:
            self._written[a.place].add(a.start, a.end)

    def meets(self, a: _MemoryRange) -> bool:
        """Whether two threads must not do one of these and `a` at the same time."""
        spans = (self._touched if a.writes else self._written).get(a.place)
        return spans is not None and spans.meets(a.start, a.end)


_ARENA = -1


def step_flags(plan: Plan, sizes: Mapping[str, int], offsets: Mapping[int, int], threads: int) -> bytes:
    """A byte of flags for each step.

    BARRIER: threads wait for each other before the step. PARALLEL: all take a share, else the first thread does it all.
    """
    flags = bytearray()
    by_all, by_first = _TouchedMemory(), _TouchedMemory()  # since the last barrier: by all threads, by the first alone
    failing = False
    for s in plan.steps:
        parallel = s.is_parallel and step_nanoseconds(plan, s, sizes) >= MIN_STEP_NS
        mine = []
        for b in set(s.buffers):
            buffer = plan.buffers[b]
            size = evaluate(buffer.bytes, sizes)
            if buffer.role == "scratch":
                mine.append(_MemoryRange(_ARENA, offsets[b], offsets[b] + size * threads, True))
            elif buffer.role == "temporary":
                mine.append(_MemoryRange(_ARENA, offsets[b], offsets[b] + size, b in s.writes))
            elif buffer.role in ("output", "variable"):
                mine.append(_MemoryRange(b, 0, max(size, 1), b in s.writes))
        # Two steps of the first thread alone are in order anyway. After a step with checks there is always a barrier, at
        # which all threads see whether it has failed.
        barrier = failing or any(by_all.meets(a) or (parallel and by_first.meets(a)) for a in mine)
        if barrier:
            by_all, by_first = _TouchedMemory(), _TouchedMemory()
        for a in mine:
            (by_all if parallel else by_first).add(a)
        failing = bool(s.failures)
        flags.append((BARRIER if barrier else 0) | (PARALLEL if parallel else 0))
    return bytes(flags)
