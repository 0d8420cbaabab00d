"""What happens to the finished sums of a register tile: the kernel's epilogue, row by row."""

from __future__ import annotations

from graphflow.framework.dims import Factor
from graphflow.framework.records import record
from graphflow_compiler.codegen.llvm.instructions import SsaValue
from graphflow_compiler.codegen.llvm.loop_analysis import lane_step
from graphflow_compiler.codegen.llvm.vector import VectorEmitter
from graphflow_compiler.codegen.matmul.micro_kernel import Rows
from graphflow_compiler.codegen.matmul.nest_builder import NestLines, Size
from graphflow_compiler.codegen.matmul.packing import Lanes
from graphflow_compiler.ir.loops import GemmKernel, Index, Store


@record
class _TileEmitter(VectorEmitter):
    """A VectorEmitter that adds constant offsets last, where the addressing modes of loads and stores take them for nothing."""

    def address(self, pointer: str, memory: str, offset: Size) -> str:
        assert isinstance(self.lines, NestLines)
        return self.lines.at(memory, pointer, offset)


@record(frozen=True, slots=True)
class Spot:
    """Where a tile is in the result: batch, row and column of its first element."""

    batch: Size
    row: Size
    column: Size


@record(frozen=True, slots=True)
class Epilogue:
    """Writes the epilogue for tiles whose sums lie in memory.

    Between the sums in registers and the epilogue there is a tile on the stack: that costs a few cycles a tile, and
    saves writing the epilogue again for every accumulator of every height of tile.
    """

    lines: NestLines
    kernel: GemmKernel
    lanes: Lanes
    vectors: int
    buffers: dict[str, str]
    dims: dict[Factor, str]
    flag: str | None

    def size(self, index: Index, **places: Size) -> Size:
        """A size of the kernel, or what depends on its variables, at their `places`."""
        parts = VectorEmitter(self.lines, self.buffers, self.dims, None, 1, places).parts(index)
        assert parts is not None
        return parts[0]

    def run(self, sums: Rows, spot: Spot, height: Size, masks: list[str | None] | None, left: Size) -> None:
        """For `height` rows of sums. With `masks` only `left` columns exist."""
        lines, lanes = self.lines, self.lanes
        element, width = lanes.element, lanes.count
        with lines.loop(0, height) as r:
            row = lines.at(element, sums.pointer, lines.mul(r, sums.step))
            spot_of_row = Spot(spot.batch, lines.add(spot.row, r), spot.column)
            if masks is None or self._maskable():
                for v in range(self.vectors):
                    x = lanes.load(lines, lines.at(element, row, v * width))
                    self._statements(x, width, spot_of_row, v * width, masks[v] if masks else None)
            else:  # without masked stores the columns of the last panel are stored one by one
                with lines.loop(0, left) as c:
                    x = Lanes(element, lanes.size, 1).load(lines, lines.at(element, row, c))
                    self._statements(x, 1, spot_of_row, c, None)

    def _statements(self, x: str, lanes: int, spot: Spot, column: Size, mask: str | None) -> None:
        indices: dict[str, Size] = {"b": spot.batch, "i": spot.row, "j": self.lines.add(spot.column, column)}
        emitter = _TileEmitter(
            self.lines,
            self.buffers,
            self.dims,
            "j" if lanes > 1 else None,
            lanes,
            indices,
            mask,
            self.size(self.kernel.n),
            {"acc": SsaValue(x, self.kernel.accumulate_dtype, lanes)},
            self.flag,
        )
        for statement in self.kernel.epilogue:
            emitter.statement(statement)

    def _maskable(self) -> bool:
        """Whether every store has a masked form: lanes side by side, of at least 4 bytes each (few machines can mask bytes)."""
        stores = [s for s in self.kernel.epilogue if isinstance(s, Store)]
        return all(lane_step(s.index, "j") == 1 and s.value.dtype.size >= 4 for s in stores)

    def move(self, source: Rows, target: Rows, height: Size, masks: list[str | None]) -> None:
        """Copies the rows of a tile, as masked."""
        lines, lanes = self.lines, self.lanes
        with lines.loop(0, height) as r:
            row = lines.at(lanes.element, source.pointer, lines.mul(r, source.step))
            out = lines.at(lanes.element, target.pointer, lines.mul(r, target.step))
            for v, mask in enumerate(masks):
                x = lanes.load(lines, lines.at(lanes.element, row, v * lanes.count), mask)
                lanes.store(lines, x, lines.at(lanes.element, out, v * lanes.count), mask)
