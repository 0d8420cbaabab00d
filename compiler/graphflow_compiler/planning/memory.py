"""Memory planning: from live ranges to arena offsets. A pure function, run once for every new set of sizes."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Sequence

from graphflow.framework.records import record

ALIGNMENT = 64  # one cache line, and enough for the widest vector
#: Up to this many buffers each pair of them is compared, which takes some 5 ms. (For a chain of 5,000 ops with its gradient
#: it took ten seconds.)
_FEW = 256


@record(frozen=True, slots=True)
class LiveRange:
    """A buffer of `size` bytes that is needed from step `start` to step `end`, both included."""

    size: int
    start: int
    end: int


def assign_offsets(ranges: Sequence[LiveRange]) -> tuple[tuple[int, ...], int]:
    """Offsets (multiples of ALIGNMENT) so that buffers that live together do not overlap, and the arena's size in bytes.

    Up to _FEW buffers are packed tightly; more are placed step by step, in time that grows no faster than their number.
    """
    return _by_size(ranges) if len(ranges) <= _FEW else _by_step(ranges)


def _room(r: LiveRange) -> int:
    return -(-max(r.size, 1) // ALIGNMENT) * ALIGNMENT


def _by_size(ranges: Sequence[LiveRange]) -> tuple[tuple[int, ...], int]:
    """Largest first, each at the lowest place that is free for its whole life (Pisarchyk and Lee, "Efficient memory
    management for deep neural net inference", 2020: greedy by size). Looks at each pair."""
    order = sorted(range(len(ranges)), key=lambda i: (-ranges[i].size, i))
    offsets = [0] * len(ranges)
    placed: list[int] = []
    total = 0
    for i in order:
        r = ranges[i]
        need = _room(r)
        at = 0
        # `placed` is in order of offsets, so the first gap that is large enough is the lowest.
        for j in placed:
            other = ranges[j]
            if other.end < r.start or r.end < other.start:
                continue
            if at + need <= offsets[j]:
                break
            at = max(at, offsets[j] + _room(other))
        offsets[i] = at
        total = max(total, at + need)
        insort(placed, i, key=offsets.__getitem__)
    return tuple(offsets), total


def _by_step(ranges: Sequence[LiveRange]) -> tuple[tuple[int, ...], int]:
    """Best fit, as a run would allocate and free them: each in the smallest hole that is large enough, else at the end."""
    offsets = [0] * len(ranges)
    starting = sorted(range(len(ranges)), key=lambda i: (ranges[i].start, -ranges[i].size, i))
    ending = iter(sorted(range(len(ranges)), key=lambda i: ranges[i].end))
    next_end = next(ending, None)
    holes: list[tuple[int, int]] = []  # size and offset, in order
    begin_at: dict[int, int] = {}  # offset of a hole -> its end
    end_at: dict[int, int] = {}  # end of a hole -> its offset
    total = 0

    def add(begin: int, end: int) -> None:
        insort(holes, (end - begin, begin))
        begin_at[begin], end_at[end] = end, begin

    def remove(begin: int) -> int:
        """Removes the hole that begins here; returns its end."""
        end = begin_at.pop(begin)
        del end_at[end], holes[bisect_left(holes, (end - begin, begin))]
        return end

    for i in starting:
        # What has ended becomes a hole, joined with the holes on either side.
        while next_end is not None and ranges[next_end].end < ranges[i].start:
            begin = offsets[next_end]
            end = begin + _room(ranges[next_end])
            if begin in end_at:
                begin = end_at[begin]
                remove(begin)
            if end in begin_at:
                end = remove(end)
            add(begin, end)
            next_end = next(ending, None)
        need = _room(ranges[i])
        fit = bisect_left(holes, (need, 0))
        if fit < len(holes):
            begin = holes[fit][1]
            end = remove(begin)
            if begin + need < end:
                add(begin + need, end)
        else:
            begin = total
            if total in end_at:  # the last hole grows
                begin = end_at[total]
                remove(begin)
            total = begin + need
        offsets[i] = begin
    return tuple(offsets), total
