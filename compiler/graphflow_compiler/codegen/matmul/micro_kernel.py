"""The inner loop of a matrix product: a register tile of sums over the terms of a block."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

from graphflow.framework.records import record
from graphflow_compiler.codegen.matmul.nest_builder import NestLines, Size
from graphflow_compiler.codegen.matmul.packing import Lanes

#: Multiply-adds in one round of the loop. 48 are 4 terms of a tile of 6 x 2 vectors: where another thread shares the
#: core, 2 terms are up to 10 % slower (a round has 4 instructions of its own), and 8 only cost compile time.
_ROUND = 48
_MOST_UNROLL = 4
_COPY_UNROLL = 2
#: Terms by which rows of B are prefetched: they lie far apart, which the hardware's prefetchers do not foresee (up to 10 %).
_PREFETCH = 24

Sums: TypeAlias = list[list[str]]
"""The accumulators of a tile: [row][vector]."""


@record(frozen=True, slots=True)
class RowTile:
    """The rows of A of one tile: term k of row r is at ``pointer + offsets[r] + k * step``."""

    pointer: str
    offsets: tuple[Size, ...]
    step: Size

    def top(self, height: int) -> RowTile:
        """The first `height` rows."""
        return RowTile(self.pointer, self.offsets[:height], self.step)


@record(frozen=True, slots=True)
class Rows:
    """Rows as wide as a panel: row i starts at ``pointer + i * step``. Terms of B, or sums."""

    pointer: str
    step: Size


@record(frozen=True, slots=True)
class SumLoop:
    """Writes the sums of one register tile."""

    lines: NestLines
    lanes: Lanes
    fma: bool  # there is a fused multiply-add for the element type

    def sums(
        self,
        rows: RowTile,
        panel: Rows,
        masks: Sequence[str | None],
        terms: Size,
        start: Rows | None,
        copy: Rows | None,
    ) -> Sums:
        """The sums of `terms` terms, added to those at `start` (None: zeros).

        If `copy` is given, the rows of B are also written there.
        """
        lines, lanes = self.lines, self.lanes
        if self.fma:
            vector = lanes.vector
            lines.declare(f"declare {vector} @llvm.fma.{lanes.suffix}({vector}, {vector}, {vector})")
        sums: Sums = []
        for r in range(len(rows.offsets)):
            line = [lanes.zero] * len(masks)
            if start is not None:
                at = lines.at(lanes.element, start.pointer, lines.mul(start.step, r))
                line = [lanes.load(lines, lines.at(lanes.element, at, v * lanes.count)) for v in range(len(masks))]
            sums.append(line)
        unroll = max(1, _ROUND // (len(rows.offsets) * len(masks))) if copy is None else _COPY_UNROLL
        if isinstance(terms, int):
            unroll = min(unroll, _MOST_UNROLL, terms)
        else:  # an unknown number of terms left over needs a second loop, whose code pays only for tall tiles
            unroll = min(unroll, _MOST_UNROLL) if len(rows.offsets) > 4 and copy is None else 1
        if not unroll:
            return sums
        whole = lines.mul(lines.div(terms, unroll), unroll)
        sums, rows, panel, copy = self._loop(rows, panel, masks, whole, unroll, sums, copy)
        if isinstance(terms, int) and isinstance(whole, int):
            for number in range(terms - whole):
                sums = self._term(rows, panel, masks, number, sums, copy)
        elif unroll > 1:
            sums, *_ = self._loop(rows, panel, masks, lines.sub(terms, whole), 1, sums, copy)
        return sums

    def store(self, sums: Sums, to: Rows, masks: Sequence[str | None]) -> None:
        lines, lanes = self.lines, self.lanes
        for r, line in enumerate(sums):
            at = lines.at(lanes.element, to.pointer, lines.mul(to.step, r))
            for v, (x, mask) in enumerate(zip(line, masks, strict=True)):
                lanes.store(lines, x, lines.at(lanes.element, at, v * lanes.count), mask)

    def _loop(
        self,
        rows: RowTile,
        panel: Rows,
        masks: Sequence[str | None],
        terms: Size,
        unroll: int,
        sums: Sums,
        copy: Rows | None,
    ) -> tuple[Sums, RowTile, Rows, Rows | None]:
        """A loop of terms // unroll rounds, and where its pointers are afterwards."""
        lines, element = self.lines, self.lanes.element
        before, loop, after = lines.label(), lines.label(), lines.label()
        lines.begin(before)
        if isinstance(terms, int):
            lines.begin(loop)
        else:
            lines.branch(lines.compare("sgt", terms, 0), loop, after)
            lines.place(loop)
        mark = len(lines.text)
        pointers = [(rows.pointer, rows.step), (panel.pointer, panel.step)]
        if copy is not None:
            pointers.append((copy.pointer, copy.step))
        # (phi, type, value before the loop, value at the end of a round)
        phis: list[tuple[str, str, str, str]] = []
        with lines.scope():
            heads = [lines.fresh("h") for _ in pointers]  # p0, p1, ... are the buffers
            # Hidden from LLVM's loop strength reduction, see `opaque`.
            hidden = [lines.opaque(p) for p in heads]
            inside = RowTile(hidden[0], rows.offsets, rows.step)
            within = Rows(hidden[1], panel.step)
            onto = Rows(hidden[2], copy.step) if copy is not None else None
            found = entering = [[lines.fresh("x") for _ in line] for line in sums]
            for number in range(unroll):
                found = self._term(inside, within, masks, number, found, onto)
            counter = lines.fresh("k")
            phis.append((counter, "i64", "0", str(lines.add(counter, unroll))))
            for head, (pointer, step) in zip(heads, pointers, strict=True):
                phis.append((head, "ptr", pointer, lines.at(element, head, lines.mul(step, unroll))))
            for names, starts, ends in zip(entering, sums, found, strict=True):
                phis += [(n, self.lanes.vector, s, e) for n, s, e in zip(names, starts, ends, strict=True)]
            lines.branch(lines.compare("slt", phis[0][3], terms), loop, after)
        # Phis stand first in their block, but what they take from the end of a round is known only now.
        lines.text[mark:mark] = [f"  {n} = phi {t} [ {s}, %{before} ], [ {e}, %{loop} ]" for n, t, s, e in phis]
        lines.place(after)
        if isinstance(terms, int):
            ends_of = {n: e for n, _, _, e in phis}
        else:  # the loop may not have run
            ends_of = {n: lines.value(f"phi {t} [ {s}, %{before} ], [ {e}, %{loop} ]") for n, t, s, e in phis[1:]}
        after_loop = [ends_of[head] for head in heads]
        return (
            [[ends_of[n] for n in names] for names in entering],
            RowTile(after_loop[0], rows.offsets, rows.step),
            Rows(after_loop[1], panel.step),
            Rows(after_loop[2], copy.step) if copy is not None else None,
        )

    def _term(
        self, rows: RowTile, panel: Rows, masks: Sequence[str | None], number: int, sums: Sums, copy: Rows | None
    ) -> Sums:
        """Adds the term `number` places after the pointers."""
        lines, lanes = self.lines, self.lanes
        element, width = lanes.element, lanes.count
        row_of_b = lines.at(element, panel.pointer, lines.mul(panel.step, number))
        b = [lanes.load(lines, lines.at(element, row_of_b, v * width), mask) for v, mask in enumerate(masks)]
        if copy is not None:
            ahead = lines.at(element, panel.pointer, lines.mul(panel.step, number + _PREFETCH))
            lines.call("void", "@llvm.prefetch.p0", f"ptr {ahead}", "i32 0", "i32 3", "i32 1")
            out = lines.at(element, copy.pointer, lines.mul(copy.step, number))
            for v, vector in enumerate(b):
                lanes.store(lines, vector, lines.at(element, out, v * width))
        column_of_a = lines.at(element, rows.pointer, lines.mul(rows.step, number))
        result: Sums = []
        for offset, line in zip(rows.offsets, sums, strict=True):
            x = lanes.broadcast(lines, lines.at(element, column_of_a, offset))
            result.append([self._multiply_add(x, y, z) for y, z in zip(b, line, strict=True)])
        return result

    def _multiply_add(self, x: str, y: str, z: str) -> str:
        lines, vector = self.lines, self.lanes.vector
        if self.fma:
            return lines.value(f"call {vector} @llvm.fma.{self.lanes.suffix}({vector} {x}, {vector} {y}, {vector} {z})")
        # For llvm.fma without the instruction LLVM would call the C library once for each lane.
        return lines.value(f"fadd {vector} {lines.value(f'fmul {vector} {x}, {y}')}, {z}")
