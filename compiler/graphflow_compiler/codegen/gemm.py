"""Matrix products as LLVM IR: register tiles of explicit vectors, with the epilogue on the finished sums.

The nest, outermost first: batch, blocks of rows (only where partial sums go to scratch), blocks of columns, blocks of the
sum, row tiles, column panels, then one case for each height of tile, whose loop over the terms keeps its sums in
registers. Elements of A are broadcast, rows of B are vectors. Every element is one chain of additions in the order of k,
so results depend neither on tiles nor on threads.

`gemm_tile` makes the choices, `gemm_pack` copies into scratch, `gemm_sums` writes the inner loop, `gemm_epilogue` what
follows it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphflow.dtypes import DType
from graphflow_compiler.codegen.gemm_epilogue import Epilogue, Spot
from graphflow_compiler.codegen.gemm_pack import Lanes, pack_last_panel, pack_row_tiles, pack_transposed_panels
from graphflow_compiler.codegen.gemm_sums import Rows, RowTile, SumLoop
from graphflow_compiler.codegen.gemm_text import Flag, NestLines, Size
from graphflow_compiler.codegen.gemm_tile import choose_blocking, constant, cut_rows, cut_table, has_fma, is_plain
from graphflow_compiler.codegen.llvm_text import Target
from graphflow_compiler.ir.loops import Check, GemmKernel

_ELEMENTS = {"float32": "float", "float64": "double", "int32": "i32", "int64": "i64", "uint32": "i32", "uint64": "i64"}
_CACHE_LINE = 64

_Range: TypeAlias = tuple[Size, Size]  # [first, last)


def gemm_scratch_elements(kernel: GemmKernel, target: Target) -> int | None:
    """Elements of `accumulate_dtype` of scratch for each thread, None where the kernel takes no scratch.

    A kernel with scratch has one more argument, ``ptr scratch`` after the buffers: 64-byte aligned room for
    ``threads`` times this number of elements. Thread t uses part t.
    """
    _element(kernel.dtype, kernel.accumulate_dtype)
    return choose_blocking(kernel, target).scratch or None


def gemm_to_llvm(kernel: GemmKernel, target: Target) -> str:
    """The function ``i32 @name(ptr buffers..., [ptr scratch,] i64 dims..., i64 thread, i64 threads)`` and what it declares.

    Raises:
        ValueError: there is no matrix kernel for the element types.
    """
    return _GemmWriter(kernel, target).function()


def _element(dtype: DType, accumulate: DType) -> str:
    if accumulate != dtype or dtype.name not in _ELEMENTS:
        raise ValueError(f"no matrix kernel for {dtype.name} operands with {accumulate.name} sums")
    return _ELEMENTS[dtype.name]


@dataclass(frozen=True, slots=True)
class _Run:
    """`tiles` row tiles of one height, the first starting at `row`."""

    height: int
    row: Size
    tiles: Size


@dataclass(frozen=True, slots=True)
class _SumBlock:
    """Terms [start, start + count) of the sums. `first`, `last`: whether there is no block before, after."""

    start: Size
    count: Size
    first: Flag
    last: Flag


@dataclass(frozen=True, slots=True)
class _TilePlace:
    """Where a tile is: which tile of the thread, its first row, which run it is of (if there are several)."""

    number: Size
    row: Size
    run: Size


class _GemmWriter:
    """The state of writing one kernel. What varies in the nest (`self.a`, `self.sums`, ...) is set by the loop that
    varies it."""

    def __init__(self, kernel: GemmKernel, target: Target) -> None:
        self.kernel = kernel
        self.blocking = choose_blocking(kernel, target)
        self.tile = self.blocking.tile
        self.lanes = Lanes(_element(kernel.dtype, kernel.accumulate_dtype), kernel.dtype.size, self.tile.lanes)
        self.vector_bits = target.vector_bits
        self.lines = NestLines()
        self.sum_loop = SumLoop(self.lines, self.lanes, kernel.dtype.is_floating and has_fma(target))
        self.buffers = {x.name: f"%p{i}" for i, x in enumerate(kernel.buffers)}
        self.dims = {name: f"%d{i}" for i, name in enumerate(kernel.dims)}
        self.plain = is_plain(kernel)
        self.b_scratch = self.edge_scratch = self.a_scratch = self.sums_scratch = ""

    # ------------------------------------------------------------------------------------------ the function
    def function(self) -> str:
        lines = self.lines
        flag = None
        if any(isinstance(s, Check) for s in self.kernel.epilogue):
            flag = lines.slot("i32")
            lines.do(f"store i32 0, ptr {flag}")
        self.epilogue = Epilogue(lines, self.kernel, self.lanes, self.tile.vectors, self.buffers, self.dims, flag)
        self.body()
        status = "0" if flag is None else lines.value(f"load i32, ptr {flag}")
        parameters = [f"ptr {p}" for p in self.buffers.values()]
        if self.blocking.scratch:
            parameters.append("ptr %scratch")
        parameters += [f"i64 {d}" for d in self.dims.values()]
        head = f"define i32 @{self.kernel.name}({', '.join([*parameters, 'i64 %thread', 'i64 %threads'])})"
        head += f' nounwind "prefer-vector-width"="{self.vector_bits}" {{'
        body = ["entry:", *lines.entry, *lines.text, f"  ret i32 {status}", "}", ""]
        return "\n".join([*sorted(lines.declarations), head, *body])

    def body(self) -> None:
        lines, blocking, element = self.lines, self.blocking, self.lanes.element
        self.m, self.n, self.k = (self.epilogue.size(x) for x in (self.kernel.m, self.kernel.n, self.kernel.k))
        if blocking.scratch:
            own = lines.at(element, "%scratch", lines.mul("%thread", blocking.scratch))
            self.b_scratch = own
            self.edge_scratch = lines.at(element, own, blocking.b_scratch)
            self.a_scratch = lines.at(element, own, blocking.b_scratch + blocking.edge_scratch)
            self.sums_scratch = lines.at(element, own, blocking.scratch - blocking.sums_scratch)
        self.finished = self.tile_slot()  # the sums of a tile, where they do not go straight to the result
        if blocking.depth:
            self.zeros = self.tile_slot()
            for i in range(self.tile.rows * self.tile.vectors):
                self.lanes.store(lines, self.lanes.zero, lines.at(element, self.zeros, i * self.lanes.count))
        self.columns = self.tile.columns
        self.whole_panels = lines.div(self.n, self.columns)
        self.ragged = lines.compare("ne", lines.mod(self.n, self.columns), 0)
        panels = lines.div(lines.add(self.n, self.columns - 1), self.columns)
        batch = self.epilogue.size(self.kernel.batch)
        batches, runs, rows, panel_range = self.shares(batch, panels)
        with lines.loop(*batches) as b:
            self.batch = b
            self.a = lines.at(element, self.buffers[self.kernel.a], lines.mul(b, self.epilogue.size(self.kernel.a_batch_stride)))
            self.b = lines.at(element, self.buffers[self.kernel.b], lines.mul(b, self.epilogue.size(self.kernel.b_batch_stride)))
            if runs:
                self.row_block(runs, 0, panel_range)
            else:
                height = blocking.height or lines.sub(rows[1], rows[0])
                with lines.loop(rows[0], rows[1], height) as row:
                    end = lines.least(lines.add(row, height), rows[1])
                    self.row_block(self.cut(row, end), row, panel_range)

    def tile_slot(self) -> str:
        name = self.lines.fresh("s")
        count = self.tile.rows * self.tile.columns
        self.lines.entry.append(f"  {name} = alloca [{count} x {self.lanes.element}], align {_CACHE_LINE}")
        return name

    # ------------------------------------------------------------------------------------------ sharing out the work
    def shares(self, batch: Size, panels: Size) -> tuple[_Range, list[_Run], _Range, _Range]:
        """What this thread does: its batches, its row tiles (where m is known) or else its rows, its column panels.

        One of the three is divided: columns where each thread would otherwise copy all of B, or where there are more
        columns than rows.
        """
        lines, blocking = self.lines, self.blocking
        known = cut_rows(self.m, self.tile.rows) if isinstance(self.m, int) and not blocking.height else ()
        totals: list[Size] = [batch, panels, *([tiles for _, tiles in known] or [self.m])]
        slots = [(lines.slot("i64"), lines.slot("i64")) for _ in totals]
        for (low, high), total in zip(slots, totals, strict=True):
            lines.do(f"store i64 0, ptr {low}")
            lines.do(f"store i64 {total}, ptr {high}")
        with lines.when(lines.compare("ne", "%threads", 1)):  # spares one thread the divisions
            by_batch = False if batch == 1 else lines.compare("sge", batch, "%threads")
            tiles = lines.div(lines.add(self.m, self.tile.rows - 1), self.tile.rows)
            prefer = lines.either(
                blocking.pack_b != "none" or lines.compare("sgt", self.n, self.m), lines.compare("slt", tiles, "%threads")
            )
            enough = lines.compare("sge", panels, "%threads")
            by_columns = lines.both(lines.negate(by_batch), lines.both(prefer, enough))
            by_rows = lines.negate(lines.either(by_batch, by_columns))
            for number, ((low, high), total) in enumerate(zip(slots, totals, strict=True)):
                chosen = (by_batch, by_columns, by_rows)[min(number, 2)]
                # tiles of the second height are dealt out from the other end: not both odd ones to the same thread
                thread = lines.sub(lines.sub("%threads", 1), "%thread") if number == 3 else "%thread"
                bounds = [lines.div(lines.mul(total, part), "%threads") for part in (thread, lines.add(thread, 1))]
                lines.do(f"store i64 {lines.choose(chosen, bounds[0], 0)}, ptr {low}")
                lines.do(f"store i64 {lines.choose(chosen, bounds[1], total)}, ptr {high}")
        ranges: list[_Range] = [(lines.value(f"load i64, ptr {x}"), lines.value(f"load i64, ptr {y}")) for x, y in slots]
        ranges[:2] = [(0, 1) if total == 1 else r for total, r in zip(totals, ranges[:2], strict=False)]
        runs, row = [], 0
        for (height, tiles_of_height), (first, last) in zip(known, ranges[2:], strict=False):
            runs.append(_Run(height, lines.add(lines.mul(first, height), row), lines.sub(last, first)))
            row += height * tiles_of_height
        return ranges[0], runs, ranges[2], ranges[1]

    def cut(self, row: Size, end: Size) -> list[_Run]:
        """The rows [row, end), known only at run time, as tiles of the heights for which there is code."""
        lines, heights = self.lines, self.tile.heights
        table = cut_table(heights)
        rows = lines.sub(end, row)
        spare = lines.most(lines.sub(rows, table.length - heights[0]), 0)
        whole = lines.div(spare, heights[0])
        rest = lines.sub(rows, lines.mul(whole, heights[0]))
        number = lines.div(rest, table.entries_per_word)
        word: Size = table.words[-1]
        for i in range(len(table.words) - 2, -1, -1):
            word = lines.choose(lines.compare("eq", number, i), table.words[i], word)
        shift = lines.mul(lines.mod(rest, table.entries_per_word), table.entry_bits)
        entry = lines.once("lshr i64 ", word, ", ", shift)
        runs, done = [], 0
        for height, bits in zip(heights, table.bits, strict=True):
            field = lines.once("lshr i64 ", entry, ", ", done)
            count: Size = lines.once("and i64 ", field, ", ", (1 << bits) - 1)
            done += bits
            if height == heights[0]:
                count = lines.add(count, whole)
            runs.append(_Run(height, row, count))
            row = lines.add(row, lines.mul(count, height))
        return runs

    # ------------------------------------------------------------------------------------------ blocks
    def row_block(self, runs: list[_Run], first_row: Size, panels: _Range) -> None:
        lines = self.lines
        self.runs, self.first_row = runs, first_row
        self.tiles: Size = 0
        for run in runs:
            self.tiles = lines.add(self.tiles, run.tiles)
        if not self.blocking.width:
            self.column_block(panels)
            return
        width = self.blocking.width // self.columns
        with lines.loop(panels[0], panels[1], width) as first:
            self.column_block((first, lines.least(lines.add(first, width), panels[1])))

    def column_block(self, panels: _Range) -> None:
        lines, depth = self.lines, self.blocking.depth
        self.panels = panels
        if not depth:
            self.sums = _SumBlock(0, self.k, True, True)
            self.sum_block()
            return
        with lines.loop(0, lines.most(self.k, 1), depth) as start:  # k = 0 has one empty block, which stores zeros
            left = lines.sub(self.k, start)
            even = isinstance(self.k, int) and self.k % depth == 0
            count: Size = depth if even else lines.least(left, depth)
            self.sums = _SumBlock(start, count, lines.compare("eq", start, 0), lines.compare("sle", left, depth))
            self.sum_block()

    def sum_block(self) -> None:
        """One block of rows, columns and terms: B into scratch as far as needed, then the row tiles."""
        lines, element, blocking = self.lines, self.lanes.element, self.blocking
        self.copies: Flag = False
        if blocking.pack_b == "transpose":
            source = lines.at(element, self.b, self.sums.start)
            vectors, count = self.tile.vectors, self.sums.count
            pack_transposed_panels(
                lines, self.lanes, vectors, source, self.k, count, self.panels, self.n, self.b_scratch, blocking.panel_room
            )
        else:
            terms = lines.at(element, self.b, lines.mul(self.sums.start, self.n))
            self.b_here = lines.at(element, terms, lines.mul(self.panels[0], self.columns))
            if blocking.edge:
                has_edge = lines.both(self.ragged, lines.compare("sgt", self.panels[1], self.whole_panels))
                with lines.when(has_edge):
                    last = lines.mul(self.whole_panels, self.columns)
                    pack_last_panel(
                        lines,
                        self.lanes,
                        lines.at(element, terms, last),
                        self.n,
                        self.sums.count,
                        self.masks(lines.sub(self.n, last)),
                        self.edge_scratch,
                    )
        if blocking.pack_b == "first tile":  # if there are others, and it is of the height that has code to copy
            self.copies = lines.both(lines.compare("sgt", self.runs[0].tiles, 0), lines.compare("sgt", self.tiles, 1))
        self.row_tiles()

    def masks(self, left: Size) -> list[str | None]:
        """The masks of the vectors of a panel with `left` columns."""
        lines, width = self.lines, self.lanes.count
        return [self.lanes.mask(lines, lines.sub(left, v * width)) for v in range(self.tile.vectors)]

    def row_tiles(self) -> None:
        lines, element, blocking = self.lines, self.lanes.element, self.blocking
        if not blocking.pack_a:
            with lines.loop(0, self.tiles) as number:
                place = self.place(number)
                if self.kernel.transpose_a:
                    at = lines.add(lines.mul(self.sums.start, self.m), place.row)
                    offsets: tuple[Size, ...] = tuple(range(self.tile.rows))
                    step = self.m
                else:
                    at = lines.add(lines.mul(place.row, self.k), self.sums.start)
                    offsets = tuple(lines.mul(self.k, r) for r in range(self.tile.rows))
                    step = 1
                rows_of_a = RowTile(lines.at(element, self.a, at), offsets, step)
                with lines.loop(*self.panels) as panel:
                    self.register_tile(place, rows_of_a, panel)
            return
        first_rows = lines.fresh("s")
        lines.entry.append(f"  {first_rows} = alloca [{blocking.pack_a} x i64]")
        source = lines.at(element, self.a, lines.mul(self.sums.start, self.m))
        with lines.loop(0, self.tiles, blocking.pack_a) as first:
            count = lines.least(lines.sub(self.tiles, first), blocking.pack_a)
            with lines.loop(0, count) as t:
                row = self.place(lines.add(first, t)).row
                lines.do(f"store i64 {row}, ptr {lines.at('i64', first_rows, t)}")
            rows, depth, room = self.tile.rows, self.sums.count, blocking.tile_room
            pack_row_tiles(lines, self.lanes, source, self.m, depth, first_rows, count, rows, self.a_scratch, room)
            with lines.loop(*self.panels) as panel, lines.loop(0, count) as t:
                pointer = lines.at(element, self.a_scratch, lines.mul(t, room))
                self.register_tile(self.place(lines.add(first, t)), RowTile(pointer, tuple(range(rows)), rows), panel)

    def place(self, number: Size) -> _TilePlace:
        """Tile `number` of the thread: tiles are numbered through all runs."""
        lines = self.lines
        row = lines.add(self.runs[0].row, lines.mul(number, self.runs[0].height))
        run: Size = 0
        before: Size = 0
        for i, (previous, current) in enumerate(zip(self.runs, self.runs[1:], strict=False)):
            before = lines.add(before, previous.tiles)
            beyond = lines.compare("sge", number, before)
            here = lines.add(current.row, lines.mul(lines.sub(number, before), current.height))
            row, run = lines.choose(beyond, here, row), lines.choose(beyond, i + 1, run)
        return _TilePlace(number, row, run)

    # ------------------------------------------------------------------------------------------ tiles
    def register_tile(self, place: _TilePlace, rows: RowTile, panel: Size) -> None:
        """The sums of one tile, by the case of its height, then the epilogue or the keeping of partial sums."""
        lines, element, blocking, block = self.lines, self.lanes.element, self.blocking, self.sums
        column = lines.mul(panel, self.columns)
        left = lines.sub(self.n, column)
        whole: Flag = True if self.ragged is False else lines.compare("sge", left, self.columns)
        on_stack = Rows(self.finished, self.columns)
        result = on_stack
        if blocking.result:
            row = lines.add(lines.mul(self.batch, self.m), place.row)
            at = lines.add(lines.mul(row, self.n), column)
            result = Rows(lines.at(element, self.buffers[blocking.result], at), self.n)
        kept = self.choose(whole, result, on_stack)
        if blocking.sums == "scratch":
            at = lines.mul(lines.sub(place.row, self.first_row), blocking.width)
            at = lines.add(at, lines.mul(lines.sub(panel, self.panels[0]), self.columns))
            kept = Rows(lines.at(element, self.sums_scratch, at), blocking.width)
        height = self.height(place)
        start = None
        if block.first is not True:
            start = self.choose(block.first, Rows(self.zeros, self.columns), kept)
            if blocking.sums == "result":
                with lines.when(lines.negate(lines.either(whole, block.first))):
                    self.epilogue.move(result, on_stack, height, self.masks(left))
        self.narrow = whole is False and self.plain and not blocking.depth
        end = result if self.narrow else self.choose(lines.both(block.last, not self.plain), on_stack, kept)
        self.cases(place, rows, panel, whole, start, end)
        if self.narrow:
            return
        spot = Spot(self.batch, place.row, column)
        if self.plain:
            with lines.when(lines.negate(whole)):
                self.epilogue.move(on_stack, result, height, self.masks(left))
            return
        if block.last is not True and blocking.sums == "result":
            with lines.when(lines.negate(lines.either(whole, block.last))):
                self.epilogue.move(on_stack, result, height, self.masks(left))
        with lines.when(lines.both(block.last, whole)):
            self.epilogue.run(on_stack, spot, height, None, left)
        with lines.when(lines.both(block.last, lines.negate(whole))):
            self.epilogue.run(on_stack, spot, height, self.masks(left), left)

    def choose(self, condition: Flag, a: Rows, b: Rows) -> Rows:
        if isinstance(condition, bool) or a == b:
            return a if condition else b
        pointer = self.lines.once("select i1 ", condition, ", ptr ", a.pointer, ", ptr ", b.pointer)
        return Rows(pointer, self.lines.choose(condition, a.step, b.step))

    def height(self, place: _TilePlace) -> Size:
        height: Size = self.runs[0].height
        for i, run in enumerate(self.runs[1:], 1):
            height = self.lines.choose(self.lines.compare("eq", place.run, i), run.height, height)
        return height

    def cases(
        self, place: _TilePlace, rows: RowTile, panel: Size, whole: Flag, start: Rows | None, end: Rows
    ) -> None:
        """Code for each height of tile, and for the tile that copies B."""
        lines, element, blocking = self.lines, self.lanes.element, self.blocking
        within = lines.sub(panel, self.panels[0])
        packed = here = Rows("", 0)
        copying: Flag = False
        if blocking.pack_b != "none":
            packed = Rows(lines.at(element, self.b_scratch, lines.mul(within, blocking.panel_room)), self.columns)
        if blocking.pack_b != "transpose":
            here = Rows(lines.at(element, self.b_here, lines.mul(within, self.columns)), self.n)
            copying = lines.both(lines.both(self.copies, whole), lines.compare("eq", place.number, 0))
        if blocking.pack_b == "transpose":
            panel_rows = packed
        else:
            panel_rows = self.choose(lines.both(self.copies, lines.negate(copying)), packed, here)
            if blocking.edge:
                panel_rows = self.choose(whole, panel_rows, Rows(self.edge_scratch, self.columns))
        masks: list[str | None] = [None] * self.tile.vectors
        if whole is False and blocking.pack_b == "none":
            masks = self.masks(self.n)  # the only panel, read where it is
        end_masks = self.masks(self.n) if self.narrow else [None] * self.tile.vectors
        for place_of_rows in (end, start):
            for r in range(self.tile.rows):
                if place_of_rows:
                    lines.mul(place_of_rows.step, r)  # once for all cases
        after = lines.label()
        if copying is not False:
            copy_case, other = lines.label(), lines.label()
            lines.branch(copying, copy_case, other)
            self.case(copy_case, after, rows.cut(self.runs[0].height), here, masks, start, end, end_masks, packed)
            lines.place(other)
        labels = [lines.label() for _ in self.runs]
        targets = " ".join(f"i64 {i}, label %{label}" for i, label in enumerate(labels))
        lines.do(f"switch i64 {place.run}, label %{labels[0]} [{targets}]")
        for run, label in zip(self.runs, labels, strict=True):
            self.case(label, after, rows.cut(run.height), panel_rows, masks, start, end, end_masks, None)
        lines.place(after)

    def case(
        self,
        label: str,
        after: str,
        rows: RowTile,
        panel: Rows,
        masks: list[str | None],
        start: Rows | None,
        end: Rows,
        end_masks: list[str | None],
        copy: Rows | None,
    ) -> None:
        self.lines.place(label)
        with self.lines.scope():
            sums = self.sum_loop.sums(rows, panel, masks, self.sums.count, start, copy)
            self.sum_loop.store(sums, end, end_masks)
        self.lines.do(f"br label %{after}")
