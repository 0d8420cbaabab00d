"""The profiling entry of a plan, which notes when each kernel starts and ends. Made only for plans that are profiled.

It is called like the first (``i32 entry(ptr table, ptr dims, i64 thread, i64 threads)``), on one thread. The table has one slot
more, number `stamps_slot`, with the address of `stamps_count` int64 stamps in nanoseconds: two taken one right after the other
(what they differ by is what taking one costs), then start and end of each step.
"""

from __future__ import annotations

import time

from graphflow_compiler.planning.plan import Plan, entry_text

#: CLOCK_MONOTONIC has a resolution of microseconds on macOS, CLOCK_UPTIME_RAW one of nanoseconds. Systems that have neither
#: have no clock_gettime: linking then reports it missing.
_CLOCK_ID: int = getattr(time, "CLOCK_UPTIME_RAW", getattr(time, "CLOCK_MONOTONIC", 1))

_CLOCK = f"""declare i32 @clock_gettime(i32, ptr)
define internal i64 @graphflow_clock() {{
  %time = alloca [2 x i64], align 8
  %status = call i32 @clock_gettime(i32 {_CLOCK_ID}, ptr %time)
  %seconds = load i64, ptr %time
  %second = getelementptr i64, ptr %time, i64 1
  %rest = load i64, ptr %second
  %whole = mul i64 %seconds, 1000000000
  %all = add i64 %whole, %rest
  ret i64 %all
}}
"""


def stamps_slot(plan: Plan) -> int:
    """The slot of the table that holds the address of the stamps. The one before it takes feeds that nobody reads."""
    return len(plan.buffers) + 1


def stamps_count(plan: Plan) -> int:
    return 2 + 2 * len(plan.steps)


def profile_entry_text(plan: Plan) -> str:
    """The entry's LLVM text, to be linked with the plan's kernels in place of `plan.entry_text`."""

    def stamp(number: int) -> list[str]:
        lines = [
            f"  %t{number} = call i64 @graphflow_clock()",
            f"  %w{number} = getelementptr i64, ptr %stamps, i64 {number}",
            f"  store i64 %t{number}, ptr %w{number}",
        ]
        # The first stamp also finds the array of stamps.
        if number:
            return lines
        return [
            f"  %slot = getelementptr ptr, ptr %table, i64 {stamps_slot(plan)}",
            "  %stamps = load ptr, ptr %slot",
            *lines,
        ]

    return _CLOCK + entry_text(plan.steps, plan.factors, stamp=stamp)
