"""Which part of a matrix product a thread does, and how its rows are divided into tiles."""

from __future__ import annotations

from typing import TypeAlias

from graphflow.framework.records import record
from graphflow_compiler.codegen.matmul.nest_builder import Flag, NestLines, Size
from graphflow_compiler.codegen.matmul.tiling import Blocking, tile_known_rows, tiling_table

Range: TypeAlias = tuple[Size, Size]
"""[first, last)."""


@record(frozen=True, slots=True)
class Run:
    """`tiles` row tiles of one height, the first starting at `row`."""

    height: int
    row: Size
    tiles: Size


@record(frozen=True, slots=True)
class Share:
    """The batches and column panels of a thread, and its rows: as tiles in `runs` if m is known, else `rows`."""

    batches: Range
    panels: Range
    rows: Range
    runs: list[Run]


def share_out(lines: NestLines, blocking: Blocking, batch: Size, m: Size, n: Size) -> Share:
    """The share of thread ``%thread`` of ``%threads``.

    One of batches, columns and rows is divided: batches if each thread gets one; columns where each thread would
    otherwise copy all of B, or where there are more columns than rows; else rows.
    """
    tile = blocking.tile
    panels = lines.div(lines.add(n, tile.columns - 1), tile.columns)
    known = tile_known_rows(m, tile.rows) if isinstance(m, int) and not blocking.height else ()
    totals: list[Size] = [batch, panels]
    totals += [tiles for _, tiles in known] if known else [m]
    slots = [(lines.slot("i64"), lines.slot("i64")) for _ in totals]
    for (low, high), total in zip(slots, totals, strict=True):
        lines.do(f"store i64 0, ptr {low}")
        lines.do(f"store i64 {total}, ptr {high}")
    with lines.when(lines.compare("ne", "%threads", 1)):  # spares one thread the divisions
        by_batch: Flag = False if batch == 1 else lines.compare("sge", batch, "%threads")
        row_tiles = lines.div(lines.add(m, tile.rows - 1), tile.rows)
        wide: Flag = True if blocking.pack_b != "none" else lines.compare("sgt", n, m)
        prefer = lines.either(wide, lines.compare("slt", row_tiles, "%threads"))
        by_columns = lines.both(prefer, lines.compare("sge", panels, "%threads"))
        by_columns = lines.both(lines.negate(by_batch), by_columns)
        by_rows = lines.negate(lines.either(by_batch, by_columns))
        for number, ((low, high), total) in enumerate(zip(slots, totals, strict=True)):
            chosen = (by_batch, by_columns, by_rows)[min(number, 2)]
            # Tiles of the second height are dealt out from the other end, so that no thread gets the odd tile of both heights.
            thread = lines.sub(lines.sub("%threads", 1), "%thread") if number == 3 else "%thread"
            bounds = [lines.div(lines.mul(total, part), "%threads") for part in (thread, lines.add(thread, 1))]
            lines.do(f"store i64 {lines.choose(chosen, bounds[0], 0)}, ptr {low}")
            lines.do(f"store i64 {lines.choose(chosen, bounds[1], total)}, ptr {high}")
    ranges: list[Range] = []
    for (low, high), total in zip(slots, totals, strict=True):
        one = total == 1 and len(ranges) < 2  # a single batch or panel is never divided
        ranges.append((0, 1) if one else (lines.value(f"load i64, ptr {low}"), lines.value(f"load i64, ptr {high}")))
    runs, row = [], 0
    for (height, tiles), (first, last) in zip(known, ranges[2:], strict=False):
        runs.append(Run(height, lines.add(lines.mul(first, height), row), lines.sub(last, first)))
        row += height * tiles
    return Share(ranges[0], ranges[1], ranges[2], runs)


def tile_unknown_rows(lines: NestLines, heights: tuple[int, ...], row: Size, end: Size) -> list[Run]:
    """The rows [row, end), known only at run time, as tiles of the heights for which there is code."""
    table = tiling_table(heights)
    rows = lines.sub(end, row)
    spare = lines.most(lines.sub(rows, table.length - heights[0]), 0)
    whole = lines.div(spare, heights[0])
    rest = lines.sub(rows, lines.mul(whole, heights[0]))
    number = lines.div(rest, table.entries_per_word)
    word: Size = table.words[-1]
    for i in range(len(table.words) - 2, -1, -1):
        word = lines.choose(lines.compare("eq", number, i), table.words[i], word)
    entry = lines.once("lshr i64 ", word, ", ", lines.mul(lines.mod(rest, table.entries_per_word), sum(table.bits)))
    runs, done = [], 0
    for height, bits in zip(heights, table.bits, strict=True):
        count: Size = lines.once("and i64 ", lines.once("lshr i64 ", entry, ", ", done), ", ", (1 << bits) - 1)
        if height == heights[0]:
            count = lines.add(count, whole)
        runs.append(Run(height, row, count))
        row, done = lines.add(row, lines.mul(count, height)), done + bits
    return runs
