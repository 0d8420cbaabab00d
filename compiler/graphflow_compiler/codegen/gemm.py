"""Matrix products as LLVM IR: register tiles of explicit vectors, with the epilogue on the accumulators.

The nest, outermost first: batch, blocks of rows (only where partial sums go to scratch), blocks of columns, blocks of the
sum, row tiles, column panels, terms. Rows of A are read by scalar broadcasts, panels of B as vectors. Every element is one
chain of additions in the order of k, so results depend neither on tiles nor on threads.

`gemm_tile` makes the choices, `gemm_pack` copies into scratch, this file writes the loops.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from graphflow.dtypes import DType
from graphflow_compiler.codegen.gemm_pack import (
    Lanes,
    load_vector,
    pack_row_tiles,
    pack_transposed_panels,
    store_vector,
)
from graphflow_compiler.codegen.gemm_sums import Mask, Panel, RowTile, SumLoop, Sums
from graphflow_compiler.codegen.gemm_text import FunctionText, Size, dim_argument
from graphflow_compiler.codegen.gemm_tile import Blocking, VectorUnit, choose_blocking, constant, cut_rows, cut_table
from graphflow_compiler.ir.loops import GemmKernel, Store, Var

_ELEMENTS = {"float32": "float", "float64": "double", "int32": "i32", "int64": "i64", "uint32": "i32", "uint64": "i64"}
_UNROLL = 4  # terms of the sum in one round of the loop of a full tile

Flag: TypeAlias = str | bool
_Range: TypeAlias = tuple[Size, Size]  # [first, last)


def gemm_scratch_elements(kernel: GemmKernel, target: VectorUnit) -> int | None:
    """Elements of `accumulate_dtype` of scratch for each thread, None where the kernel takes no scratch.

    A kernel with scratch has one more argument, ``ptr scratch`` after the buffers: 64-byte aligned room for
    ``threads`` times this number of elements. Thread t uses part t.
    """
    _element(kernel.dtype, kernel.accumulate_dtype)
    return choose_blocking(kernel, target).scratch or None


def gemm_to_llvm(kernel: GemmKernel, target: VectorUnit) -> str:
    """The text of a module that defines the kernel: ``i32 name(ptr buffers..., [ptr scratch,] i64 dims..., i64, i64)``.

    Raises:
        ValueError: the kernel has an element type or a statement that is not supported.
    """
    return _GemmWriter(kernel, target).module()


def _element(dtype: DType, accumulate: DType) -> str:
    if accumulate != dtype or dtype.name not in _ELEMENTS:
        raise ValueError(f"no matrix kernel for {dtype.name} operands with {accumulate.name} sums")
    return _ELEMENTS[dtype.name]


@dataclass(frozen=True, slots=True)
class _Run:
    """`tiles` row tiles of one height, the first starting at row `row`. This thread does those of [first, last)."""

    height: int
    row: Size
    first: Size
    last: Size


@dataclass(frozen=True, slots=True)
class _Panels:
    """The panels of a block of columns: panel p of it starts at ``pointer + p * pitch``, its row k at ``+ k * step``."""

    pointer: str
    pitch: Size
    step: Size


@dataclass(frozen=True, slots=True)
class _Spot:
    """The first element of a tile."""

    row: Size
    column: Size
    column_in_block: Size


@dataclass(frozen=True, slots=True)
class _SumBlock:
    """Terms [start, start + count) of the sums; `first` and `last` block or not."""

    start: Size
    count: Size
    first: Flag
    last: Flag


class _GemmWriter:
    def __init__(self, kernel: GemmKernel, target: VectorUnit) -> None:
        self.kernel = kernel
        self.blocking: Blocking = choose_blocking(kernel, target)
        self.tile = self.blocking.tile
        element = _element(kernel.dtype, kernel.accumulate_dtype)
        self.lanes = Lanes(element, kernel.dtype.size, self.tile.lanes)
        self.vector_bits = 8 * target.vector_bytes
        self.text = FunctionText()
        self.globals: list[str] = []
        t = self.text
        self.m, self.n, self.k = t.index(kernel.m), t.index(kernel.n), t.index(kernel.k)
        self.sum_loop = SumLoop(t, self.lanes, target.has_fma, _UNROLL)
        self.copy: _Panels | None = None  # where the tiles being written copy B to

    # ------------------------------------------------------------------------------------------ the function
    def module(self) -> str:
        t = self.text
        self.body()
        arguments = [f"ptr {_buffer(x.name)}" for x in self.kernel.buffers]
        if self.blocking.scratch:
            arguments.append("ptr %scratch")
        arguments += [f"i64 {dim_argument(d)}" for d in self.kernel.dims]
        arguments += ["i64 %thread", "i64 %threads"]
        return "\n".join(
            [
                *sorted(t.declarations),
                *self.globals,
                f'define i32 @{self.kernel.name}({", ".join(arguments)}) nounwind '
                f'"prefer-vector-width"="{self.vector_bits}" {{',
                "entry:",
                *t.slots,
                "  br label %start",
                "start:",
                *t.lines,
                "  ret i32 0",
                "}",
                "",
            ]
        )

    def body(self) -> None:
        t, blocking, columns = self.text, self.blocking, self.tile.columns
        self.scratch_b = self.scratch_a = self.scratch_sums = ""
        if blocking.scratch:
            own = t.at(self.lanes.element, "%scratch", t.mul("%thread", blocking.scratch))
            self.scratch_b = own
            self.scratch_a = t.at(self.lanes.element, own, blocking.b_scratch)
            self.scratch_sums = t.at(self.lanes.element, own, blocking.b_scratch + blocking.a_scratch)
        panels = t.div(t.add(self.n, columns - 1), columns)
        batch = t.index(self.kernel.batch)
        batches, rows, panel_range = self.shares(batch, panels)
        with t.loop(batches[0], batches[1]) as b:
            a = t.at(self.lanes.element, _buffer(self.kernel.a), t.mul(b, t.index(self.kernel.a_batch_stride)))
            bb = t.at(self.lanes.element, _buffer(self.kernel.b), t.mul(b, t.index(self.kernel.b_batch_stride)))
            self.batch, self.a, self.b = b, a, bb
            if isinstance(rows, list):
                self.columns(rows, 0, panel_range)
            else:
                height = blocking.height or t.sub(rows[1], rows[0])
                with t.loop(rows[0], rows[1], height) as row:
                    self.columns(self.cut(row, t.min(t.add(row, height), rows[1])), row, panel_range)

    # ------------------------------------------------------------------------------------------ sharing out the work
    def shares(self, batch: Size, panels: Size) -> tuple[_Range, list[_Run] | _Range, _Range]:
        """What this thread does: its batches, its rows (cut into tiles where m is known) and its column panels.

        One of the three is divided. Columns, where each thread would otherwise copy all of B or columns outnumber rows.
        """
        t, blocking, kernel = self.text, self.blocking, self.kernel
        heights = cut_rows(self.m, self.tile.rows) if isinstance(self.m, int) and not blocking.height else None
        totals = [batch, panels]
        totals += [self.m] if heights is None else [tiles for _, tiles in heights]
        slots = [(t.slot("i64"), t.slot("i64")) for _ in totals]
        for (low, high), total in zip(slots, totals, strict=True):
            t.do(f"store i64 0, ptr {low}")
            t.do(f"store i64 {total}, ptr {high}")
        with t.when(t.compare("ne", "%threads", 1)):
            by_batch = False if constant(kernel.batch) == 1 else t.compare("sge", batch, "%threads")
            tiles = t.div(t.add(self.m, self.tile.rows - 1), self.tile.rows)
            few_rows = t.compare("slt", tiles, "%threads")
            wide = blocking.pack_b != "none" or t.known("sgt", self.n, self.m)
            prefer = few_rows if wide is False else "true" if wide is True else t.value(f"or i1 {wide}, {few_rows}")
            enough = t.compare("sge", panels, "%threads")
            by_columns = t.value(f"and i1 {prefer}, {enough}")
            if by_batch is not False:
                by_columns = t.value(f"select i1 {by_batch}, i1 false, i1 {by_columns}")
            either = by_columns if by_batch is False else t.value(f"or i1 {by_batch}, {by_columns}")
            by_rows = t.value(f"xor i1 {either}, true")
            for number, ((low, high), total) in enumerate(zip(slots, totals, strict=True)):
                chosen = by_batch if number == 0 else by_columns if number == 1 else by_rows
                if chosen is False:
                    continue
                # every other height is dealt out from the other end, so that odd tiles do not all go to the same thread
                turned = number > 2 and number % 2 == 1
                thread = t.sub(t.sub("%threads", 1), "%thread") if turned else "%thread"
                for slot, part in ((low, thread), (high, t.add(thread, 1))):
                    bound = t.div(t.mul(total, part), "%threads")
                    default = 0 if slot is low else total
                    t.do(f"store i64 {t.choose(chosen, bound, default)}, ptr {slot}")
        ranges = [(t.value(f"load i64, ptr {low}"), t.value(f"load i64, ptr {high}")) for low, high in slots]
        if heights is None:
            return ranges[0], ranges[2], ranges[1]
        runs, row = [], 0
        for (height, tiles), (first, last) in zip(heights, ranges[2:], strict=True):
            runs.append(_Run(height, row, first, last))
            row += height * tiles
        return ranges[0], runs, ranges[1]

    def cut(self, row: Size, end: Size) -> list[_Run]:
        """The rows [row, end), known only at run time, as tiles of the heights for which there is code."""
        t, heights = self.text, self.tile.heights
        table = cut_table(heights)
        if not self.globals:
            entries = ", ".join(f"i32 {sum(c << 8 * i for i, c in enumerate(counts))}" for counts in table)
            self.globals.append(f"@{self.kernel.name}.cuts = private constant [{len(table)} x i32] [{entries}]")
        rows = t.sub(end, row)
        spare = t.max(t.sub(rows, len(table) - heights[0]), 0)
        whole = t.div(spare, heights[0])
        rest = t.sub(rows, t.mul(whole, heights[0]))
        packed = t.load("i32", t.at("i32", f"@{self.kernel.name}.cuts", rest), 4)
        runs = []
        for number, height in enumerate(heights):
            shifted = t.value(f"lshr i32 {packed}, {8 * number}")
            count: Size = t.value(f"zext i32 {t.value(f'and i32 {shifted}, 255')} to i64")
            if number == 0:
                count = t.add(count, whole)
            runs.append(_Run(height, row, 0, count))
            row = t.add(row, t.mul(count, height))
        return runs

    # ------------------------------------------------------------------------------------------ blocks
    def columns(self, runs: list[_Run], base_row: Size, panels: _Range) -> None:
        t = self.text
        self.base_row = base_row
        if not self.blocking.width:
            self.panels = panels
            self.depths(runs)
            return
        wide = self.blocking.width // self.tile.columns
        with t.loop(panels[0], panels[1], wide) as first:
            self.panels = first, t.min(t.add(first, wide), panels[1])
            self.depths(runs)

    def depths(self, runs: list[_Run]) -> None:
        t, depth = self.text, self.blocking.depth
        if not depth:
            self.sums = _SumBlock(0, self.k, True, True)
            self.block(runs)
            return
        with t.loop(0, t.max(self.k, 1), depth) as start:  # k = 0 has one empty block, which stores zeros
            left = t.sub(self.k, start)
            even = isinstance(self.k, int) and self.k % depth == 0
            count = depth if even else t.min(left, depth)
            self.sums = _SumBlock(start, count, t.known("eq", start, 0), t.known("sle", left, depth))
            self.block(runs)

    def block(self, runs: list[_Run]) -> None:
        """One block of columns and of the sum: all row tiles of this thread over it."""
        t, element, columns = self.text, self.lanes.element, self.tile.columns
        room = (self.blocking.depth or constant(self.kernel.k) or 0) * columns
        first_panel = self.panels[0]
        if self.blocking.pack_b == "transpose":
            source = t.at(element, self.b, self.sums.start)
            pack_transposed_panels(
                t, self.lanes, self.tile.vectors, source, self.k, self.sums.count, self.panels, self.n, self.scratch_b, room
            )
            self.panel = _Panels(self.scratch_b, room, columns)
            self.tiles(runs)
            return
        start = t.at(element, self.b, t.mul(self.sums.start, self.n))
        direct = _Panels(t.at(element, start, t.mul(first_panel, columns)), columns, self.n)
        self.edge = direct
        self.panel = direct
        if self.blocking.pack_b == "none":
            self.tiles(runs)
            return
        # The first row tile copies the panels it reads, if there are other tiles to read the copies.
        lead = runs[0]
        total: Size = 0
        for run in runs:
            total = t.add(total, t.sub(run.last, run.first))
        several, some = t.compare("sgt", total, 1), t.compare("sgt", lead.last, lead.first)
        copies = t.value(f"and i1 {several}, {some}")
        with t.when(copies):
            self.copy = _Panels(self.scratch_b, room, columns)
            self.tiles([_Run(lead.height, lead.row, lead.first, t.add(lead.first, 1))])
            self.copy = None
        self.panel = _Panels(
            t.value(f"select i1 {copies}, ptr {self.scratch_b}, ptr {direct.pointer}"),
            t.choose(copies, room, columns),
            t.choose(copies, columns, self.n),
        )
        rest = t.choose(copies, t.add(lead.first, 1), lead.first)
        self.tiles([_Run(lead.height, lead.row, rest, lead.last), *runs[1:]])

    def tiles(self, runs: list[_Run]) -> None:
        t, element = self.text, self.lanes.element
        for run in runs:
            if isinstance(run.first, int) and isinstance(run.last, int) and run.first >= run.last:
                continue
            if not self.blocking.pack_a:
                with t.loop(run.first, run.last) as number:
                    row = t.add(run.row, t.mul(number, run.height))
                    if self.kernel.transpose_a:
                        at = t.add(t.mul(self.sums.start, self.m), row)
                        rows = RowTile(t.at(element, self.a, at), tuple(range(run.height)), self.m)
                    else:
                        at = t.add(t.mul(row, self.k), self.sums.start)
                        offsets = tuple(t.mul(r, self.k) for r in range(run.height))
                        rows = RowTile(t.at(element, self.a, at), offsets, 1)
                    self.row_of_tiles(row, rows)
                continue
            vectors = -(-self.tile.rows // self.lanes.count)
            room = (self.blocking.depth or constant(self.kernel.k) or 0) * self.tile.rows + vectors * self.lanes.count
            with t.loop(run.first, run.last, self.blocking.pack_a) as number:
                end = t.min(t.add(number, self.blocking.pack_a), run.last)
                row = t.add(run.row, t.mul(number, run.height))
                source = t.at(element, self.a, t.add(t.mul(self.sums.start, self.m), row))
                count = t.sub(end, number)
                pack_row_tiles(
                    t, self.lanes, source, self.m, self.sums.count, run.height, count, self.scratch_a, room
                )
                with t.loop(0, count) as j:
                    pointer = t.at(element, self.scratch_a, t.mul(j, room))
                    rows = RowTile(pointer, tuple(range(run.height)), run.height)
                    self.row_of_tiles(t.add(row, t.mul(j, run.height)), rows)

    def row_of_tiles(self, row: Size, rows: RowTile) -> None:
        """One row tile against all panels of the block."""
        t, columns = self.text, self.tile.columns
        first, last = self.panels
        ragged = t.known("ne", t.mod(self.n, columns), 0)
        if self.blocking.pack_b == "transpose":
            with t.loop(first, last) as p:
                self.tile_at(row, rows, p, self.panel, [], ragged)
            return
        if not isinstance(self.n, int):
            with t.loop(first, last) as p:
                self.tile_at(row, rows, p, self.panel, self.masks(p), False)
            return
        whole = self.n // columns
        with t.loop(first, t.min(last, whole) if ragged else last) as p:
            self.tile_at(row, rows, p, self.panel, [], False)
        if ragged:
            with t.when(t.known("sgt", last, whole)):
                self.tile_at(row, rows, whole, self.edge, self.masks(whole), False)

    def masks(self, panel: Size) -> list[Mask | None]:
        """Of the vectors of the last panel."""
        t, lanes = self.text, self.lanes.count
        left = t.sub(self.n, t.mul(panel, self.tile.columns))
        if isinstance(left, int):
            full, part = divmod(left, lanes)
            return [None] * full + ([Mask(constant=self.lanes.first(part))] if part else [])
        masks: list[Mask | None] = []
        for v in range(self.tile.vectors):
            active = t.min(t.max(t.sub(left, v * lanes), 0), lanes)
            narrow = active if self.lanes.index == "i64" else t.value(f"trunc i64 {active} to {self.lanes.index}")
            masks.append(Mask(count=t.splat(self.lanes.index, lanes, str(narrow))))
        return masks

    # ------------------------------------------------------------------------------------------ one tile
    def tile_at(
        self, row: Size, rows: RowTile, number: Size, panels: _Panels, masks: list[Mask | None], ragged: Flag
    ) -> None:
        """The tile at `row` and panel `number`. Without `masks` whole vectors of B are read; where `ragged` holds, some
        columns of the last panel do not exist all the same."""
        t, lanes, columns = self.text, self.lanes, self.tile.columns
        within = t.sub(number, self.panels[0])
        panel = Panel(t.at(lanes.element, panels.pointer, t.mul(within, panels.pitch)), panels.step)
        copy = None
        if self.copy and not masks:
            copy = Panel(t.at(lanes.element, self.copy.pointer, t.mul(within, self.copy.pitch)), self.copy.step)
        whole: list[Mask | None] = [None] * self.tile.vectors
        used = masks or whole
        spot = _Spot(row, t.mul(number, columns), t.mul(within, columns))
        known = self.masks(number) if ragged is not False and self.blocking.sums == "result" else used
        sums = self.sum_loop.emit(rows, panel, used, self.sums.count, self.start(rows, spot, known), copy)
        if ragged is False:
            self.finish(sums, spot, used)
            return
        full = t.compare("sle", t.add(spot.column, columns), self.n)
        with t.when(full):
            self.finish(sums, spot, whole)
        with t.when(t.value(f"xor i1 {full}, true")):
            self.finish(sums, spot, self.masks(self.n // columns if isinstance(self.n, int) else number))

    def start(self, rows: RowTile, spot: _Spot, masks: list[Mask | None]) -> Sums:
        """The sums before this block: zeros in the first one, else the partial sums of the blocks before."""
        t, kind = self.text, self.lanes.vector
        zeros = [["zeroinitializer"] * len(masks) for _ in rows.offsets]
        if self.sums.first is True:
            return zeros
        before, load, after = t.new_label(), t.new_label(), t.new_label()
        t.begin(before)
        t.branch(str(self.sums.first), after, load)
        t.place(load)
        found = [
            [self.load(self.partial(spot, r, v), mask) for v, mask in enumerate(masks)] for r in range(len(rows.offsets))
        ]
        end = t.new_label()
        t.begin(end)
        t.begin(after)
        return [[t.value(f"phi {kind} [ {zeros[0][0]}, %{before} ], [ {x}, %{end} ]") for x in line] for line in found]

    def finish(self, sums: Sums, spot: _Spot, masks: list[Mask | None]) -> None:
        """Ends a tile: the epilogue after the last block of the sum, else the partial sums are kept. Only the vectors
        that `masks` lists exist."""
        t, last = self.text, self.sums.last
        if last is not False:
            with t.when(last):
                self.epilogue(sums, spot, masks)
        if last is not True:
            with t.when(True if last is False else t.value(f"xor i1 {last}, true")):
                for r, line in enumerate(sums):
                    for v, mask in enumerate(masks):
                        self.store(line[v], self.partial(spot, r, v), mask)

    def partial(self, spot: _Spot, r: int, v: int) -> str:
        """Where the partial sums of vector v of row r of a tile are kept."""
        t, element = self.text, self.lanes.element
        if self.blocking.sums == "result":
            row = t.add(t.mul(self.batch, self.m), t.add(spot.row, r))
            at = t.add(t.mul(row, self.n), t.add(spot.column, v * self.lanes.count))
            return t.at(element, _buffer(self.blocking.result), at)
        row = t.sub(t.add(spot.row, r), self.base_row)
        at = t.add(t.mul(row, self.blocking.width), t.add(spot.column_in_block, v * self.lanes.count))
        return t.at(element, self.scratch_sums, at)

    def load(self, pointer: str, mask: Mask | None) -> str:
        return load_vector(self.text, self.lanes, pointer, mask.emit(self.text, self.lanes) if mask else None)

    def store(self, value: str, pointer: str, mask: Mask | None) -> None:
        store_vector(self.text, self.lanes, value, pointer, mask.emit(self.text, self.lanes) if mask else None)

    def epilogue(self, sums: Sums, spot: _Spot, masks: list[Mask | None]) -> None:
        t = self.text
        [store] = self.kernel.epilogue
        assert isinstance(store, Store) and isinstance(store.value, Var)
        for r, line in enumerate(sums):
            row = t.add(t.mul(self.batch, self.m), t.add(spot.row, r))
            for v, mask in enumerate(masks):
                at = t.add(t.mul(row, self.n), t.add(spot.column, v * self.lanes.count))
                self.store(line[v], t.at(self.lanes.element, _buffer(store.buffer), at), mask)


def _buffer(name: str) -> str:
    return f"%buffer.{name}"
