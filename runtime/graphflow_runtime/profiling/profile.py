"""Profiles: the median time of each kernel of some fetches, and how near that is to the peak of the machine."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import field
from pathlib import Path

import numpy as np

from graphflow.framework.graph import Graph
from graphflow.framework.records import record
from graphflow_runtime.executor.tracing import Trace, Work
from graphflow_runtime.profiling.chrome_trace import chrome_trace
from graphflow_runtime.profiling.roofline import peaks

#: Most operations named in a row of the table; the others are counted.
_SHOWN = 3


@record(frozen=True)
class ProfileRow:
    """A kernel; without native code, an operation.

    Attributes:
        step: its number in the order of execution.
        kind: the kernel's kind; in numpy the operation's type.
        ops: names of the user's operations that are in it.
        lines: for each of them the user's line, ``train.py:41``; "" where nobody wrote it.
        microseconds: the median of the runs.
        flops: floating-point operations of one run; a transcendental function (exp, tanh) counts as one.
        bytes: that it reads and writes in one run, each of its buffers counted once and as a whole.
        share: of the peak: the least time that one thread of this machine could take for these flops or bytes, whichever is
            more, over the time it took. 1 cannot be passed but for what is counted and not done (see docs/profiling.md).
        bound: what sets that least time, "compute" or "memory"; "" if it does neither.
    """

    step: int
    kind: str
    ops: tuple[str, ...]
    lines: tuple[str, ...]
    microseconds: float
    flops: int
    bytes: int
    share: float
    bound: str


@record(frozen=True)
class Profile:
    """What `Session.profile` gives. ``print(profile)`` shows a table, slowest kernels first.

    Attributes:
        rows: in the order of execution.
        runs: how many runs the medians are of.
        run_microseconds: median time from the start of the first kernel to the end of the last, with all that is in between.
        native: whether it ran as native code, not in numpy.
        peaks: what the machine does at best, in words; only what the rows were compared with.
    """

    rows: tuple[ProfileRow, ...]
    runs: int
    run_microseconds: float
    native: bool
    peaks: str
    _traces: tuple[Trace, ...] = field(repr=False, compare=False)
    _device: str = field(repr=False)

    @property
    def microseconds(self) -> float:
        """All kernels together."""
        return sum(r.microseconds for r in self.rows)

    @property
    def flops(self) -> int:
        return sum(r.flops for r in self.rows)

    @property
    def bytes(self) -> int:
        return sum(r.bytes for r in self.rows)

    @property
    def notes(self) -> tuple[str, ...]:
        """What was found of each kernel, in words."""
        return tuple(
            [
                f"took {r.microseconds:,.2f} us" + (f", {r.share:.1%} of peak, bound by {r.bound}" if r.bound else "")
                for r in self.rows
            ]
        )

    def explain(self) -> str:
        """What `explain` tells of the fetches, with the time and the share of the peak of each kernel."""
        last = self._traces[-1]
        if last.plan is not None:
            text: str = last.plan.explain(notes=self.notes)
        else:
            head = f"reference backend (numpy): {len(self.rows)} operations, one by one"
            rows = (f"{r.ops[-1]}: {r.kind}, {note}" for r, note in zip(self.rows, self.notes, strict=True))
            text = "\n".join([head, *rows]) + "\n"
        sizes = ", ".join(f"{name} = {size}" for name, size in last.sizes.items())
        return f"{text}times: medians of {self.runs} runs{f' with {sizes}' if sizes else ''}\n"

    def chrome_trace(self, path: str | os.PathLike[str]) -> None:
        """Writes all runs to a JSON file that https://ui.perfetto.dev and chrome://tracing open.

        Raises OSError if the file cannot be written.
        """
        details = [{"lines": list(r.lines), "share of peak": round(r.share, 4), "bound": r.bound} for r in self.rows]
        text = chrome_trace([t.step_stats(self._device, details) for t in self._traces])
        Path(path).write_text(text, encoding="utf-8")

    def __str__(self) -> str:
        total = self.microseconds
        table = [("us", "time", "flops", "bytes", "of peak", "bound by", "kernel", "operations")]
        for r in sorted(self.rows, key=lambda r: -r.microseconds):
            part = r.microseconds / total if total else 0.0
            table.append(
                (
                    f"{r.microseconds:,.2f}", f"{part:.0%}", f"{r.flops:,}", f"{r.bytes:,}", f"{r.share:.1%}", r.bound or "-",
                    r.kind, _operations(r),
                )
            )  # fmt: skip
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            f"{len(self.rows)} {'kernels' if self.native else 'operations in numpy'}, {total:,.2f} us together, "
            f"{self.run_microseconds:,.2f} us a run; medians of {self.runs} runs"
        ]
        for row in table:
            numbers = [cell.rjust(w) for cell, w in zip(row[:5], widths, strict=False)]
            words = [cell.ljust(w) for cell, w in zip(row[5:], widths[5:], strict=True)]
            lines.append("  ".join(numbers + words).rstrip())
        if self.peaks:
            lines.append(f"peaks of one thread: {self.peaks}")
        return "\n".join(lines) + "\n"


def _operations(row: ProfileRow) -> str:
    """The operation that computes the result and its line, then what else is in the kernel."""
    if not row.ops:
        return ""
    others = row.ops[-2::-1][: _SHOWN - 1]
    more = len(row.ops) - 1 - len(others)
    text = ", ".join((row.ops[-1], *others)) + (f" and {more} more" if more else "")
    return f"{text}  ({row.lines[-1]})" if row.lines[-1] else text


def make_profile(traces: Sequence[Trace], graph: Graph, device: str) -> Profile:
    """The profile of some runs of the same fetches and feeds. Runs unlike the last one (a variable had another shape then, so
    there was another plan) are left out."""
    last = traces[-1]
    alike = [t for t in traces if t.is_like(last)]
    spans = [t.spans for t in alike]
    # Less what reading the clock takes, but never 0: shares are divided by it.
    taken = np.array([np.maximum(s[:, 1] - s[:, 0] - t.clock, 1) for s, t in zip(spans, alike, strict=True)])
    microseconds = np.median(taken, 0) / 1000
    whole = float(np.median([s[-1, 1] - s[0, 0] if len(s) else 0 for s in spans])) / 1000
    bounds, measured = _bounds(last.works)
    rows = []
    for i, work in enumerate(last.works):
        took, (least, bound) = float(microseconds[i]), bounds[i]
        lines = tuple(_line(graph, name) for name in work.ops)
        share = least * 1e6 / took
        rows.append(ProfileRow(i, work.what, work.ops, lines, took, work.flops, work.bytes, share, bound))
    return Profile(tuple(rows), len(alike), whole, last.plan is not None, measured, tuple(alike), device)


def _bounds(works: Sequence[Work]) -> tuple[list[tuple[float, str]], str]:
    """For each work the least seconds it could take, and what sets them; then the peaks compared with, in words."""
    known = peaks()
    try:
        return [known.seconds(w.dtype, w.flops, w.bytes) for w in works], str(known)
    except ImportError:  # no LLVM: numpy does all the work, and what the machine could do is not known
        return [(0.0, "")] * len(works), ""


def _line(graph: Graph, name: str) -> str:
    try:
        op = graph.get_operation_by_name(name)
    except (KeyError, ValueError):  # the compiler made it
        return ""
    return op.created_at.short()
