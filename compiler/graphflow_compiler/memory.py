"""Memory planning: live ranges to arena offsets. A pure function, run once for every new set of sizes."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.records import record

ALIGNMENT = 64  # one cache line, and enough for the widest vector


@record(frozen=True, slots=True)
class LiveRange:
    """A buffer of `size` bytes that is needed from step `start` to step `end`, both included."""

    size: int
    start: int
    end: int


def plan_arena(ranges: Sequence[LiveRange]) -> tuple[tuple[int, ...], int]:
    """Offsets (multiples of ALIGNMENT) so that buffers that live together do not overlap, and the arena's size in bytes.

    Largest first, each at the lowest place that is free for its whole life (Pisarchyk and Lee, "Efficient memory
    management for deep neural net inference", 2020: greedy by size).
    """
    order = sorted(range(len(ranges)), key=lambda i: (-ranges[i].size, i))
    offsets = [0] * len(ranges)
    placed: list[int] = []  # in order of offset
    total = 0
    for i in order:
        r = ranges[i]
        need = -(-max(r.size, 1) // ALIGNMENT) * ALIGNMENT
        at = 0
        for j in placed:
            other = ranges[j]
            if other.end < r.start or r.end < other.start:
                continue
            if at + need <= offsets[j]:
                break
            at = max(at, offsets[j] + -(-max(other.size, 1) // ALIGNMENT) * ALIGNMENT)
        offsets[i] = at
        total = max(total, at + need)
        low, high = 0, len(placed)
        while low < high:
            mid = (low + high) // 2
            if offsets[placed[mid]] <= at:
                low = mid + 1
            else:
                high = mid
        placed.insert(low, i)
    return tuple(offsets), total


def verify_arena(ranges: Sequence[LiveRange], offsets: Sequence[int]) -> None:
    """Raises ValueError if two buffers that live at the same time overlap."""
    for i, a in enumerate(ranges):
        for j in range(i):
            b = ranges[j]
            together = a.start <= b.end and b.start <= a.end
            if together and offsets[i] < offsets[j] + b.size and offsets[j] < offsets[i] + a.size:
                raise ValueError(f"buffers {j} and {i} overlap in the arena while both are live")
