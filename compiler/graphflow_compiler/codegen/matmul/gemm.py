"""Matrix products as LLVM IR: register tiles of explicit vectors, with the epilogue on the finished sums.

The nest, outermost first: batch, blocks of rows (only where partial sums go to scratch), blocks of columns, blocks of
the sum, row tiles, column panels (these two the other way round where A is copied), then one case for each height of
tile, whose loop over the terms keeps its sums in registers. Elements of A are broadcast, rows of B are vectors. Every
element is one chain of additions in the order of k, so results depend neither on tiles nor on threads.

`tiling` makes the choices, `work_partition` divides the work, `packing` copies into scratch, `micro_kernel` writes the
inner loop, `epilogue` what follows it.
"""

from __future__ import annotations

from graphflow.framework.dtypes import DType
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.llvm_text import Target
from graphflow_compiler.codegen.llvm.loop_analysis import has_check
from graphflow_compiler.codegen.matmul.epilogue import Epilogue, Spot
from graphflow_compiler.codegen.matmul.micro_kernel import Rows, RowTile, SumLoop
from graphflow_compiler.codegen.matmul.nest_builder import Flag, NestLines, Size
from graphflow_compiler.codegen.matmul.packing import Lanes, pack_last_panel, pack_row_tiles, pack_transposed_panels
from graphflow_compiler.codegen.matmul.tiling import choose_blocking, is_plain
from graphflow_compiler.codegen.matmul.work_partition import Range, Run, share_out, tile_unknown_rows
from graphflow_compiler.ir.loops import GemmKernel
from graphflow_compiler.ir.loops_math import expand_math

_ELEMENTS = {"float32": "float", "float64": "double"}
_CACHE_LINE = 64


def gemm_scratch_elements(kernel: GemmKernel, target: Target) -> int | None:
    """Elements of `accumulate_dtype` of scratch for each thread, None where the kernel takes no scratch.

    A kernel with scratch has one more argument, ``ptr scratch`` after the buffers: 64-byte aligned room for
    ``threads`` times this number of elements. Thread t uses part t.
    """
    _element(kernel.dtype, kernel.accumulate_dtype)
    return choose_blocking(kernel, target).scratch or None


def gemm_to_llvm(kernel: GemmKernel, target: Target) -> str:
    """``i32 name(ptr buffers..., [ptr scratch,] i64 dims..., i64 thread, i64 threads)`` and what it declares.

    Raises:
        ValueError: there is no matrix kernel for the element types.
    """
    return _GemmWriter(expand_math(kernel), target).function()


def _element(dtype: DType, accumulate: DType) -> str:
    if accumulate != dtype or dtype.name not in _ELEMENTS:
        raise ValueError(f"no matrix kernel for {dtype.name} operands with {accumulate.name} sums")
    return _ELEMENTS[dtype.name]


@record(frozen=True, slots=True)
class _SumBlock:
    """Terms [start, start + count) of the sums. `first`, `last`: whether there is no block before, after."""

    start: Size
    count: Size
    first: Flag
    last: Flag


@record(frozen=True, slots=True)
class _TilePlace:
    """Where a tile is: which tile of the thread, its first row, which run it is of (if there are several)."""

    number: Size
    row: Size
    run: Size


class _GemmWriter:
    """Writes one kernel. The attributes declared here belong to the loops of the nest: each loop sets its own, and what
    is written inside it reads them."""

    batch: Size
    a: str  # the matrices of the batch
    b: str
    runs: list[Run]  # the row tiles of the block of rows
    tiles: Size  # how many
    first_row: Size
    panels: Range  # of the block of columns
    sums: _SumBlock
    b_here: str  # first term of the first panel of the block, where B is
    copies: Flag  # whether the first row tile copies B
    narrow: bool  # the last of the choices of a tile: masked stores straight to the result

    def __init__(self, kernel: GemmKernel, target: Target) -> None:
        self.kernel = kernel
        self.blocking = choose_blocking(kernel, target)
        self.tile = self.blocking.tile
        self.lanes = Lanes(_element(kernel.dtype, kernel.accumulate_dtype), kernel.dtype.size, self.tile.lanes)
        self.vector_bits = target.vector_bits
        self.lines = NestLines()
        self.sum_loop = SumLoop(self.lines, self.lanes, target.has_fma)
        self.buffers = {x.name: f"%p{i}" for i, x in enumerate(kernel.buffers)}
        self.dims = {name: f"%d{i}" for i, name in enumerate(kernel.dims)}
        self.plain = is_plain(kernel)
        self.b_scratch = self.edge_scratch = self.a_scratch = self.sums_scratch = ""

    # ------------------------------------------------------------------------------------------ the function
    def function(self) -> str:
        lines = self.lines
        flag = None
        if has_check(self.kernel.epilogue):
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
        # Where the sum is cut into blocks, the first one starts from zeros in memory: so all blocks can run the same code.
        if blocking.depth:
            self.zeros = self.tile_slot()
            for i in range(self.tile.rows * self.tile.vectors):
                self.lanes.store(lines, self.lanes.zero, lines.at(element, self.zeros, i * self.lanes.count))
        self.columns = self.tile.columns
        self.whole_panels = lines.div(self.n, self.columns)
        self.ragged = lines.compare("ne", lines.mod(self.n, self.columns), 0)
        size, kernel = self.epilogue.size, self.kernel
        share = share_out(lines, blocking, size(kernel.batch), self.m, self.n)
        with lines.loop(*share.batches) as b:
            self.batch = b
            self.a = lines.at(element, self.buffers[kernel.a], size(kernel.a_start, b=b))
            self.b = lines.at(element, self.buffers[kernel.b], size(kernel.b_start, b=b))
            if share.runs:
                self.row_block(share.runs, 0, share.panels)
            else:
                first, last = share.rows
                with lines.loop(first, last, blocking.height or lines.sub(last, first)) as row:
                    end = lines.least(lines.add(row, blocking.height), last) if blocking.height else last
                    self.row_block(tile_unknown_rows(lines, self.tile.heights, row, end), row, share.panels)

    def tile_slot(self) -> str:
        # Rows of a tile are whole vectors, so from a cache line's start no vector spans two lines.
        name = self.lines.fresh("s")
        count = self.tile.rows * self.tile.columns
        self.lines.entry.append(f"  {name} = alloca [{count} x {self.lanes.element}], align {_CACHE_LINE}")
        return name

    # ------------------------------------------------------------------------------------------ blocks
    def row_block(self, runs: list[Run], first_row: Size, panels: Range) -> None:
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

    def column_block(self, panels: Range) -> None:
        lines, depth = self.lines, self.blocking.depth
        self.panels = panels
        if not depth:
            self.sums = _SumBlock(0, self.k, True, True)
            self.sum_block()
            return
        # k = 0 has one empty block, which stores zeros.
        with lines.loop(0, lines.most(self.k, 1), depth) as start:
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
            pack_transposed_panels(
                lines,
                self.lanes,
                self.tile.vectors,
                lines.at(element, self.b, self.sums.start),
                self.k,
                self.sums.count,
                self.panels,
                self.n,
                self.b_scratch,
                blocking.panel_room,
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
        # A single row tile would copy for nobody, and only the first run's height has code that copies.
        if blocking.pack_b == "first tile":
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
        # The tiles copied together may be of two runs, so the distance of their first rows varies: it is looked up.
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
        # Partial sums of a whole tile stay in the result; a ragged one would write past its row, so it uses the stack and is
        # copied with masks. Sums kept in scratch have room for whole tiles.
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

    def cases(self, place: _TilePlace, rows: RowTile, panel: Size, whole: Flag, start: Rows | None, end: Rows) -> None:
        """Code for each height of tile, and for the tile that copies B."""
        lines, element, blocking = self.lines, self.lanes.element, self.blocking
        within = lines.sub(panel, self.panels[0])
        packed = here = Rows("", 0)
        copying: Flag = False
        if blocking.pack_b != "none":
            packed = Rows(lines.at(element, self.b_scratch, lines.mul(within, blocking.panel_room)), self.columns)
        if kernel_panel := self.kernel.b_panel:
            first_term = lines.add(lines.mul(panel, self.k), self.sums.start)
            here = Rows(lines.at(element, self.b, lines.mul(first_term, kernel_panel)), kernel_panel)
        elif blocking.pack_b != "transpose":
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
        end_masks: list[str | None] = self.masks(self.n) if self.narrow else [None] * self.tile.vectors
        # What a case computes is forgotten after it: these products are computed here, once for all cases.
        for place_of_rows in (end, start):
            for r in range(self.tile.rows):
                if place_of_rows:
                    lines.mul(place_of_rows.step, r)
        after = lines.label()
        if copying is not False:
            copy_case, other = lines.label(), lines.label()
            lines.branch(copying, copy_case, other)
            self.case(copy_case, after, rows.top(self.runs[0].height), here, masks, start, end, end_masks, packed)
            lines.place(other)
        labels = [lines.label() for _ in self.runs]
        targets = " ".join(f"i64 {i}, label %{label}" for i, label in enumerate(labels))
        lines.do(f"switch i64 {place.run}, label %{labels[0]} [{targets}]")
        for run, label in zip(self.runs, labels, strict=True):
            self.case(label, after, rows.top(run.height), panel_rows, masks, start, end, end_masks, None)
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
