"""Choices of the matrix kernel that need no code: register tile, tiling of rows, what is copied, block sizes."""

from __future__ import annotations

from functools import lru_cache
from typing import Literal

from graphflow.framework.dims import factor_text
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.llvm_text import Target
from graphflow_compiler.ir.loops import GemmKernel, IBinary, IConst, IDim, Index, IVar, Let, Load, Store, Var


@record(frozen=True, slots=True)
class Tile:
    """The accumulators held in registers: `rows` x `vectors` vectors of `lanes` elements.

    `heights` are the row counts for which code exists when the number of rows is known only at run time, tallest first.
    They are few, because each costs about 3 ms of compile time, and chosen so that nearly every sum of them keeps the
    FMA units busy: one row leaves them waiting on their latency, five of six do not.
    """

    rows: int
    vectors: int
    lanes: int
    heights: tuple[int, ...]

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


# (vector bytes, registers) -> (rows, vectors, heights). rows * vectors accumulators, `vectors` registers for the row of
# B and one or two for the elements of A must fit the register file.
_TILES: dict[tuple[int, int], tuple[int, int, tuple[int, ...]]] = {
    (16, 16): (6, 2, (6, 5, 3, 1)),  # SSE
    (32, 16): (6, 2, (6, 5, 3, 1)),  # AVX, AVX2
    (32, 32): (12, 2, (12, 5, 4, 1)),  # AVX-512 restricted to 256 bits
    (64, 32): (12, 2, (12, 5, 4, 1)),  # AVX-512
    (16, 32): (8, 3, (8, 5, 3, 1)),  # NEON
}
_NARROW_TILES: dict[tuple[int, int], tuple[int, int, tuple[int, ...]]] = {
    # At most one vector of columns: more rows, to have enough independent sums.
    (16, 16): (8, 1, (8, 5, 3, 1)),
    (32, 16): (8, 1, (8, 5, 3, 1)),
    (32, 32): (12, 1, (12, 5, 4, 1)),
    (64, 32): (12, 1, (12, 5, 4, 1)),
    (16, 32): (12, 1, (12, 5, 4, 1)),
}


# Rows of A whose distance is a multiple of a cache way fall on the same set of the first-level cache, which has eight ways:
# twelve rows would evict each other, so such tiles have six, and more vectors. (Zen 4, 1024^3: 94 instead of 87 % of peak.)
_WAY_BYTES = 4096
_LOW_TILES: dict[tuple[int, int], tuple[int, int, tuple[int, ...]]] = {
    (32, 32): (6, 4, (6, 5, 3, 1)),
    (64, 32): (6, 4, (6, 5, 3, 1)),
}


#: A product of at most this many rows is bound by reading B: a tile of all its rows and many vectors reads longer pieces of
#: each row of B.
_FEW_ROWS = 4


def tile_of(kernel: GemmKernel, target: Target) -> Tile:
    size, k = kernel.dtype.size, constant(kernel.k)
    row_bytes = None if k is None or kernel.transpose_a else k * size
    return choose_tile(target, size, constant(kernel.m), constant(kernel.n), row_bytes)


def choose_tile(
    target: Target, element_bytes: int, rows: int | None, columns: int | None, row_bytes: int | None = None
) -> Tile:
    """The tile for a machine and an element size.

    Args:
        rows: of the product, as `columns`; None where known only at run time.
        row_bytes: of A; None also where A is transposed.
    """
    vector_bytes = target.vector_bits // 8
    lanes = vector_bytes // element_bytes if columns != 1 else 1
    narrow = columns is not None and columns <= lanes
    known = _NARROW_TILES if narrow else _TILES
    tallest, vectors, heights = known.get((vector_bytes, target.vector_registers), (4, 1, (4, 1)))
    low = _LOW_TILES.get((vector_bytes, target.vector_registers))
    if low and row_bytes and row_bytes % _WAY_BYTES == 0 and columns is not None:
        width = low[1] * lanes
        if columns % width == 0 or columns > 8 * width:  # else too much of the work on the last panel would be wasted
            tallest, vectors, heights = low
    if rows and rows <= _FEW_ROWS and not narrow and columns is not None:
        return Tile(rows, _wide(_ceil_div(columns, lanes), vectors, tallest * vectors // rows), lanes, (rows,))
    return Tile(tallest, vectors, lanes, heights)


def _wide(vectors: int, least: int, most: int) -> int:
    """How many of a row's `vectors` a tile takes: as many as make whole panels."""
    if vectors <= most:
        return max(least, vectors)
    return next((v for v in range(most, least, -1) if vectors % v == 0), least)


# ---------------------------------------------------------------------------------------------- rows into tiles
_LATENCY_ROWS = 4  # a tile of fewer rows (of two vectors) waits on the latency of its FMAs and takes as long as one of these
_TILE_COST = 0.5  # what starting and ending a tile costs, in rows


def _cost(height: int) -> float:
    return max(height, _LATENCY_ROWS) + _TILE_COST


@lru_cache(maxsize=256)
def tile_known_rows(rows: int, tallest: int) -> tuple[tuple[int, int], ...]:
    """A known number of rows as ((height, tiles), ...), tallest first, of at most two heights: 32 = 2 x 6 + 4 x 5."""
    best: tuple[float, tuple[tuple[int, int], ...]] | None = None
    for high in range(min(tallest, rows), 0, -1):
        for low in range(high - 1, -1, -1):
            most = rows // high
            for tiles in range(most, max(most - high, 0), -1):
                rest = rows - tiles * high
                if rest and (not low or rest % low):
                    continue
                others = rest // low if rest else 0
                total = tiles * _cost(high) + (others * _cost(low) + _TILE_COST if others else 0)
                if best is None or total < best[0]:
                    best = total, ((high, tiles), (low, others)) if others else ((high, tiles),)
    return best[1] if best else ()


@record(frozen=True, slots=True)
class TilingTable:
    """How to tile a number of rows known at run time: tiles of the tallest height until fewer than `length` rows are
    left, then what the entry of the rest says: how many tiles of each height, in fields of `bits` bits."""

    length: int
    bits: tuple[int, ...]
    words: tuple[int, ...]
    entries_per_word: int


@lru_cache(maxsize=16)
def tiling_table(heights: tuple[int, ...]) -> TilingTable:
    # Dynamic programming: the cheapest tiling of each number of rows extends that of a smaller one.
    length = 4 * heights[0]
    costs: list[float] = [0.0]
    counts: list[tuple[int, ...]] = [(0,) * len(heights)]
    for rows in range(1, length):
        cost, choice = min((costs[rows - h] + _cost(h), i) for i, h in enumerate(heights) if h <= rows)
        before = counts[rows - heights[choice]]
        costs.append(cost)
        counts.append(tuple(c + (i == choice) for i, c in enumerate(before)))
    bits = tuple(max(entry[i] for entry in counts).bit_length() for i in range(len(heights)))
    per_word = 63 // sum(bits)  # words are i64s that must not become negative
    words = [0] * _ceil_div(length, per_word)
    for rest, entry in enumerate(counts):
        shift = rest % per_word * sum(bits)
        for count, width in zip(entry, bits, strict=True):
            words[rest // per_word] |= count << shift
            shift += width
    return TilingTable(length, bits, tuple(words), per_word)


# ---------------------------------------------------------------------------------------------- blocking
@record(frozen=True, slots=True)
class Blocking:
    """What is copied into scratch, and the block sizes. All offsets and sizes are in elements.

    pack_b  "none": rows of B are read where they are. "first tile": the first row tile of a block reads B where it is
            and writes it, panel by panel, to scratch for the others (a copy that hides behind its arithmetic).
            "transpose": B is stored transposed, and its panels are transposed into scratch before the row tiles run.
            A constant B of any size to speak of is stored in panels (`panel_of_constant`): "none".
    edge    the last panel is not whole, and is copied to scratch to be read like the others.
    pack_a  row tiles copied to scratch at a time, of an A that is stored transposed; 0: read where it is.
    depth   terms of the sum in one block; 0: all.
    width   columns in one block; 0: all.
    height  rows in one block; 0: all.
    sums    where partial sums are kept between blocks of the sum: nowhere (one block), in buffer `result`, in scratch.
    result  the buffer of a dense result that may be written in parts, "" if there is none.
    """

    tile: Tile
    pack_b: Literal["none", "first tile", "transpose"]
    edge: bool
    pack_a: int
    depth: int
    width: int
    height: int
    sums: Literal["none", "result", "scratch"]
    result: str
    panel_room: int  # of one panel of B in scratch
    tile_room: int  # of one row tile of A in scratch
    b_scratch: int  # the parts of the scratch, in this order
    edge_scratch: int
    a_scratch: int
    sums_scratch: int

    @property
    def scratch(self) -> int:
        return self.b_scratch + self.edge_scratch + self.a_scratch + self.sums_scratch


_BLOCK_BYTES = 128 * 1024  # of B: beside A and the result it stays in a 512 KiB second-level cache
_DEPTH_BYTES = 4096  # of one row of A in a block
_WHOLE_DEPTH_BYTES = 8192  # rows of A up to this are one block
_PACK_ALIGNED_B_BYTES = 160 * 1024  # a smaller B is read where it is, if its rows are whole cache lines,
_PACK_B_BYTES = 64 * 1024  # ... or if it is smaller than this
#: Up to this many row tiles, and up to this many bytes in a row of B, B is read where it is, from the second-level cache:
#: copying costs more, as its stores crowd out loads. Blocks of the sum must be small enough for that cache to keep, for the
#: other tiles, what the first one has fetched.
_UNPACKED_TILES = 7
_UNPACKED_ROW_BYTES = 1024
_UNPACKED_BLOCK_BYTES = 200 * 1024
_SUMS_HEIGHT = 768  # rows and columns of a block whose partial sums are in scratch
_SUMS_WIDTH = 512
_PACK_A_REUSE = 16  # panels of B from which a copied tile of A is read
_PACK_A_DEPTH = 64  # fewer terms: the lines of a tile of A stay in the first-level cache
_PACKED_DEPTH_BYTES = 1024  # with row tiles of A copied, instead of _DEPTH_BYTES ...
_PACKED_BLOCK_BYTES = 1024 * 4096  # ... and instead of _BLOCK_BYTES
_PACK_A_TILES = 16  # whole cache lines of A are read for 16 x 6 rows


def panel_of_constant(kernel: GemmKernel, target: Target) -> int:
    """Columns in the panels in which a constant B is best stored, 0: as it is."""
    n, k = constant(kernel.n), constant(kernel.k)
    if n is None or k is None or kernel.transpose_b or kernel.b_start != IConst(0):
        return 0
    tile = tile_of(kernel, target)
    return tile.columns if n > tile.columns and k * n * kernel.dtype.size > _PACK_B_BYTES else 0


def choose_blocking(kernel: GemmKernel, target: Target) -> Blocking:
    m, n, k = constant(kernel.m), constant(kernel.n), constant(kernel.k)
    size = kernel.dtype.size
    tile = tile_of(kernel, target)
    one_panel = n is not None and n <= tile.columns
    pack_a = 0
    deep = k is None or k > _PACK_A_DEPTH
    if kernel.transpose_a and deep and not one_panel and (m is None or m > 2 * tile.rows):
        # lines of A at distances with many factors of two push each other out of the first-level cache
        reuse = _PACK_A_REUSE if m is not None and m * size % 512 else _PACK_A_REUSE // 2
        pack_a = _PACK_A_TILES if n is None or n >= reuse * tile.columns else 0
    depth = 0
    if k is None or k * size > (_PACKED_DEPTH_BYTES if pack_a else _WHOLE_DEPTH_BYTES):
        most = (_PACKED_DEPTH_BYTES if pack_a else _DEPTH_BYTES) // size
        # Blocks of equal depth: a short last one would pay the ends of its tiles for little work.
        depth = most if k is None else _round_up(_ceil_div(k, _ceil_div(k, most)), 8)
    if one_panel and not kernel.transpose_b:
        depth = 0  # each element of A is used once: nothing to keep in a cache
    terms = depth or k or 1
    pack_b: Literal["none", "first tile", "transpose"] = "none"
    if kernel.transpose_b:
        pack_b = "transpose"
    elif not kernel.b_panel and n is not None and not one_panel and (m is None or m > tile.rows):
        aligned = n * size % 64 == 0  # else every row of a panel spans two cache lines
        if terms * n * size > (_PACK_ALIGNED_B_BYTES if aligned else _PACK_B_BYTES):
            few = m is not None and m <= _UNPACKED_TILES * tile.rows
            if few and aligned and n * size <= _UNPACKED_ROW_BYTES and k is not None and not depth:
                blocks = _ceil_div(k * n * size, _UNPACKED_BLOCK_BYTES)
                depth = _round_up(_ceil_div(k, blocks), 4) if blocks > 1 else 0
            else:
                pack_b = "first tile"
    width = 0
    if pack_b != "none" or kernel.b_panel:
        panels = max(1, (_PACKED_BLOCK_BYTES if pack_a else _BLOCK_BYTES) // (terms * size * tile.columns))
        if n:  # blocks of equal width
            panels = _ceil_div(_ceil_div(n, tile.columns), _ceil_div(_ceil_div(n, tile.columns), panels))
        width = panels * tile.columns
    sums: Literal["none", "result", "scratch"] = "none"
    result = result_buffer(kernel)
    height = 0
    if depth:
        sums = "result" if result else "scratch"
    if sums == "scratch":
        height = _SUMS_HEIGHT if m is None or m > _SUMS_HEIGHT else 0
        if not width:
            width = _SUMS_WIDTH if n is None else min(_SUMS_WIDTH, _round_up(max(n, 1), tile.columns))
    stored = kernel.b_panel or pack_b == "transpose"  # as whole panels
    edge = not stored and not one_panel and (n is None or n % tile.columns != 0)
    panel_room = terms * tile.columns
    # one whole vector more than its elements: see pack_row_tiles
    tile_room = terms * tile.rows + _round_up(tile.rows, tile.lanes)
    return Blocking(
        tile,
        pack_b,
        edge,
        pack_a,
        depth,
        width,
        height,
        sums,
        result,
        panel_room,
        tile_room,
        b_scratch=_round_up(terms * width, 64) if pack_b != "none" else 0,
        edge_scratch=_round_up(panel_room, 64) if edge else 0,
        a_scratch=_round_up(pack_a * tile_room, 64),
        sums_scratch=_round_up((height or m or 1) * width, 64) if sums == "scratch" else 0,
    )


def _ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def _round_up(a: int, unit: int) -> int:
    return _ceil_div(a, unit) * unit


# ---------------------------------------------------------------------------------------------- index expressions
def constant(size: Index) -> int | None:
    return size.value if isinstance(size, IConst) else None


def result_buffer(kernel: GemmKernel) -> str:
    """The buffer that may hold partial sums, "" if none may.

    It is the dense row-major result, of the accumulator's type, of an epilogue that reads no other matrix: one that shares
    storage with the result would be overwritten before it is read.
    """
    stores = [s for s in kernel.epilogue if isinstance(s, Store)]
    for statement in kernel.epilogue:
        if isinstance(statement, Let) and isinstance(statement.value, Load):
            terms = polynomial(statement.value.index)
            if terms is None or any("i" in names for names in terms):
                return ""
    if len(stores) != 1:
        return ""
    buffer = next(x for x in kernel.buffers if x.name == stores[0].buffer)
    row = IBinary("add", IBinary("mul", IVar("b"), kernel.m), IVar("i"))
    dense = polynomial(IBinary("add", IBinary("mul", row, kernel.n), IVar("j")))
    stored = polynomial(stores[0].index)
    if buffer.dtype != kernel.accumulate_dtype or dense is None or stored is None:
        return ""
    zero = {name for name, size in (("b", kernel.batch), ("i", kernel.m), ("j", kernel.n)) if constant(size) == 1}
    same = all(dense.get(x, 0) == stored.get(x, 0) or zero & set(x) for x in {*dense, *stored})
    return buffer.name if same else ""


def is_plain(kernel: GemmKernel) -> bool:
    """Whether the epilogue does nothing but store the sums, dense."""
    only = kernel.epilogue[0] if len(kernel.epilogue) == 1 else None
    return isinstance(only, Store) and only.value == Var("acc", kernel.accumulate_dtype) and bool(result_buffer(kernel))


def polynomial(index: Index) -> dict[tuple[str, ...], int] | None:
    """Coefficients of the products of names that the expression sums, None where it is no polynomial."""
    match index:
        case IConst(value):
            return {(): value} if value else {}
        case IDim(name):
            return {("dim " + factor_text(name),): 1}
        case IVar(name):
            return {(name,): 1}
        case IBinary("add" | "sub" | "mul" as op, a, b):
            left, right = polynomial(a), polynomial(b)
            if left is None or right is None:
                return None
            result: dict[tuple[str, ...], int] = {}
            if op == "mul":
                for x, c in left.items():
                    for y, d in right.items():
                        key = tuple(sorted(x + y))
                        result[key] = result.get(key, 0) + c * d
            else:
                result = dict(left)
                for y, d in right.items():
                    result[y] = result.get(y, 0) + (d if op == "add" else -d)
            return {key: c for key, c in result.items() if c}
        case _:
            return None
