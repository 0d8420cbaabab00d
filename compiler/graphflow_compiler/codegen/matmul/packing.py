"""Panel packing: blocks of A and B copied into scratch in the order in which register tiles read them."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.framework.records import record
from graphflow_compiler.codegen.matmul.nest_builder import NestLines, Size


@record(frozen=True, slots=True)
class Lanes:
    """A vector type: `count` elements of LLVM type `element`, `size` bytes each. One lane is a scalar."""

    element: str
    size: int
    count: int

    @property
    def vector(self) -> str:
        return f"<{self.count} x {self.element}>" if self.count > 1 else self.element

    @property
    def suffix(self) -> str:
        """The type as names of intrinsics end with it: ``v8f32``."""
        short = {"float": "f32", "double": "f64"}[self.element]
        return f"v{self.count}{short}" if self.count > 1 else short

    @property
    def zero(self) -> str:
        return "zeroinitializer" if self.count > 1 else "0.0"

    def first(self, active: int) -> str:
        """The constant mask of the first `active` lanes."""
        return "<" + ", ".join(f"i1 {int(i < active)}" for i in range(self.count)) + ">"

    def mask(self, lines: NestLines, active: Size) -> str | None:
        """The mask of the first `active` lanes, which may be negative or many. None: all.

        The comparison is of integers as wide as the elements, so that the mask is used as it comes out.
        """
        if isinstance(active, int):
            return self.first(active) if active < self.count else None
        number = f"i{8 * self.size}"
        # Clamped to the lanes there are, because the number must survive being cut to the elements' width.
        if self.size < 8:
            limited = lines.most(lines.least(active, self.count), 0)
            active = lines.once("trunc i64 ", limited, " to ", number)
        numbers = ", ".join(f"{number} {i}" for i in range(self.count))
        limit = lines.splat(number, self.count, str(active))
        return lines.value(f"icmp slt <{self.count} x {number}> <{numbers}>, {limit}")

    def load(self, lines: NestLines, pointer: str, mask: str | None = None) -> str:
        if mask is None:
            return lines.value(f"load {self.vector}, ptr {pointer}, align {self.size}")
        arguments = (f"ptr {pointer}", f"i32 {self.size}", f"<{self.count} x i1> {mask}", f"{self.vector} {self.zero}")
        return lines.call(self.vector, f"@llvm.masked.load.{self.suffix}.p0", *arguments)

    def store(self, lines: NestLines, value: str, pointer: str, mask: str | None = None) -> None:
        if mask is None:
            lines.do(f"store {self.vector} {value}, ptr {pointer}, align {self.size}")
            return
        arguments = (f"{self.vector} {value}", f"ptr {pointer}", f"i32 {self.size}", f"<{self.count} x i1> {mask}")
        lines.call("void", f"@llvm.masked.store.{self.suffix}.p0", *arguments)

    def broadcast(self, lines: NestLines, pointer: str) -> str:
        x = lines.value(f"load {self.element}, ptr {pointer}, align {self.size}")
        return lines.splat(self.element, self.count, x) if self.count > 1 else x


def pack_row_tiles(
    lines: NestLines,
    lanes: Lanes,
    source: str,
    size: Size,
    depth: Size,
    first_rows: str,
    tiles: Size,
    rows: int,
    to: str,
    room: int,
) -> None:
    """Copies row tiles of a transposed A of `size` rows: term k of row r is at ``source + k * size + r``.

    Tile t starts at the row that entry t of the array `first_rows` says; it is written from ``to + t * room``, term k
    at ``+ k * rows``. k is the outer loop: a line of A, which holds parts of several tiles, is fetched once. Whole
    vectors are copied. What is written too much belongs to the next term of the tile, which is written later, or to the
    vector that `room` has in excess. What is read too much is the start of the next line of A, except at the end.
    """
    reach = -(-rows // lanes.count) * lanes.count
    # From the last lines a whole vector may read past the end of A, so they alone are copied with masks.
    beyond = lines.div(lines.add(size, reach - 2), size)
    inside = lines.most(lines.sub(depth, beyond), 0)
    for first_term, end, masked in ((0, inside, False), (inside, depth, True)):
        with lines.loop(first_term, end) as k:
            line = lines.at(lanes.element, source, lines.mul(k, size))
            out = lines.at(lanes.element, to, lines.mul(k, rows))
            with lines.loop(0, tiles) as t:
                row = lines.value(f"load i64, ptr {lines.at('i64', first_rows, t)}")
                at = lines.at(lanes.element, line, row)
                target = lines.at(lanes.element, out, lines.mul(t, room))
                for first in range(0, rows, lanes.count):
                    mask = lanes.mask(lines, lines.sub(lines.sub(size, row), first)) if masked else None
                    value = lanes.load(lines, lines.at(lanes.element, at, first), mask)
                    lanes.store(lines, value, lines.at(lanes.element, target, first))


def pack_last_panel(
    lines: NestLines, lanes: Lanes, source: str, stride: Size, depth: Size, active: Sequence[str | None], to: str
) -> None:
    """Copies the columns of the last panel, as `active` masks its vectors, with zeros for those that do not exist."""
    width = len(active) * lanes.count
    with lines.loop(0, depth) as k:
        row = lines.at(lanes.element, source, lines.mul(k, stride))
        out = lines.at(lanes.element, to, lines.mul(k, width))
        for v, mask in enumerate(active):
            value = lanes.load(lines, lines.at(lanes.element, row, v * lanes.count), mask)
            lanes.store(lines, value, lines.at(lanes.element, out, v * lanes.count))


def pack_transposed_panels(
    lines: NestLines,
    lanes: Lanes,
    vectors: int,
    source: str,
    stride: Size,
    depth: Size,
    panels: tuple[Size, Size],
    columns: Size,
    to: str,
    room: int,
) -> None:
    """Transposes the panels [first, last) of a transposed B: term k of column j is at ``source + j * stride + k``.

    Panel p starts at ``to + (p - first) * room`` with one row of `vectors` vectors for each term. Columns beyond the
    last repeat the last one; the sums made with them are never stored.
    """
    width = vectors * lanes.count
    ragged = lines.compare("ne", lines.mod(columns, width), 0)
    last_column = lines.sub(columns, 1)
    group = max(1, min(16 // lanes.size, lanes.count))  # transposed together, within 128-bit parts of the vectors
    with lines.loop(panels[0], panels[1]) as panel:
        target = lines.at(lanes.element, to, lines.mul(lines.sub(panel, panels[0]), room))
        with lines.loop(0, vectors) as v:
            column = lines.add(lines.mul(panel, width), lines.mul(v, lanes.count))
            rows = []
            for i in range(lanes.count):
                j = lines.add(column, i)
                if ragged is not False:
                    j = lines.least(j, last_column)
                rows.append(lines.at(lanes.element, source, lines.mul(j, stride)))
            out = lines.at(lanes.element, target, lines.mul(v, lanes.count))
            whole = lines.mul(lines.div(depth, group), group)
            with lines.loop(0, whole, group) as k:
                vectors_of_k = _transpose(lines, lanes, [lines.at(lanes.element, r, k) for r in rows], group)
                for i, vector in enumerate(vectors_of_k):
                    lanes.store(lines, vector, lines.at(lanes.element, out, lines.mul(lines.add(k, i), width)))
            with lines.loop(whole, depth) as k:
                at = lines.at(lanes.element, out, lines.mul(k, width))
                one = Lanes(lanes.element, lanes.size, 1)
                for i, r in enumerate(rows):
                    one.store(lines, one.load(lines, lines.at(lanes.element, r, k)), lines.at(lanes.element, at, i))


def _transpose(lines: NestLines, lanes: Lanes, rows: list[str], group: int) -> list[str]:
    """`group` elements at each of the pointers `rows`, one for each lane, as `group` vectors along the pointers.

    Vector i first gathers the elements of the rows i, i + group, ... into its 128-bit parts (loads that insert), so the
    transposition stays within the parts, where shuffles are cheap.
    """
    if lanes.count == 1:
        return [lanes.load(lines, rows[0])]
    part = f"<{group} x {lanes.element}>"
    vectors = []
    for i in range(group):
        pieces = [lines.value(f"load {part}, ptr {rows[r]}, align {lanes.size}") for r in range(i, lanes.count, group)]
        size = group
        while len(pieces) > 1:
            pair = f"<{size} x {lanes.element}>"
            size *= 2
            pieces = [lines.shuffle(pair, pieces[p], pieces[p + 1], range(size)) for p in range(0, len(pieces), 2)]
        vectors.append(pieces[0])
    orders = []
    for half in (0, group // 2):  # unpack low and unpack high: interleave halves of the parts of two vectors
        lane = [x // group * group + half + x % group // 2 for x in range(lanes.count)]
        orders.append([at + lanes.count * (x % 2) for x, at in enumerate(lane)])
    done = 1
    while done < group:
        pairs = zip(vectors[: group // 2], vectors[group // 2 :], strict=True)
        vectors = [lines.shuffle(lanes.vector, a, b, order) for a, b in pairs for order in orders]
        done *= 2
    return vectors
