"""Diagonals and bands of matrices, and the identity matrix."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, constant, convert_to_tensor, name_scope
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import ALL, as_dtype, float32
from graphflow.framework.errors import ShapeError
from graphflow.framework.kinds import Composite, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, format_shape
from graphflow.framework.shapes import minimum as smaller
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import known_rank, shape_operand, static_int, static_sizes
from graphflow.ops._define.deferred_types import any_shape, like
from graphflow.ops.array.concat import concat
from graphflow.ops.array.fill import zeros_like
from graphflow.ops.array.identity import identity
from graphflow.ops.array.movement import broadcast_to
from graphflow.ops.array.range import range as range_
from graphflow.ops.array.reshape import expand_dims, reshape
from graphflow.ops.array.row_positions import merged_shape
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.strided_slice import strided_slice
from graphflow.ops.math.binary import minimum
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import equal, less_equal, logical_and
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.select import where_v2

#: The largest number of elements for which a mask is stored as a constant instead of being computed.
_CONSTANT_SIZE = 4096


def _matrix(x: Tensor, what: str) -> tuple[Dim, Dim]:
    if known_rank(what, x) < 2:
        raise ShapeError(f"{what}: Shape must be at least rank 2, got {format_shape(x._shape)}")
    assert x._shape is not None
    return x._shape[-2], x._shape[-1]


def _length_infer(ctx: InferContext, attrs: Any, diagonal: TensorType, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None or diagonal.shape is None:
        return (diagonal,)
    m, n = x.shape[-2:]
    wanted = (*x.shape[:-2], smaller(m, n))
    message = f"matrix_set_diag: {format_shape(diagonal.shape)} is not the shape of the diagonals of {format_shape(x.shape)}"
    if len(diagonal.shape) != len(wanted):
        raise ShapeError(f"{message}: Shape must be rank {len(wanted)} but is rank {len(diagonal.shape)}")
    for a, b in zip(diagonal.shape, wanted, strict=True):
        ctx.unify(a, b, message)
    return (diagonal,)


DIAGONAL_OF = register(
    OpDef(
        "DiagonalOf",
        # Only its types say anything: a diagonal of another length would broadcast.
        Composite(lambda p, diagonal, x: diagonal),
        _length_infer,
        lambda attrs, diagonal, x: diagonal,
        lambda: [Sample((np.ones(2, np.float32), np.ones((2, 3), np.float32)))],
        dtypes=ALL,
        doc="Its first input, which must have the shape of the main diagonals of the second.",
    )
)


def _band(x: Tensor, lower: int, upper: int) -> Tensor | None:
    """A bool mask over the last two axes: whether an element is within the band. A negative width keeps all on that side.

    None if nothing is outside.
    """
    m, n = _matrix(x, "matrix_band_part")
    if lower < 0 and upper < 0:
        return None
    if isinstance(m, int) and isinstance(n, int) and m * n <= _CONSTANT_SIZE:
        below = np.arange(m)[:, None] - np.arange(n)[None, :]
        return constant(((lower < 0) | (below <= lower)) & ((upper < 0) | (-below <= upper)))
    sizes = shape_tensor(x)
    rows, columns = expand_dims(range_(sizes[-2]), 1), expand_dims(range_(sizes[-1]), 0)
    # The main diagonal alone, which most callers want, is one comparison instead of two.
    if lower == 0 and upper == 0:
        return equal(rows, columns)
    within = []
    if lower >= 0:
        within.append(less_equal(rows - columns, lower))
    if upper >= 0:
        within.append(less_equal(columns - rows, upper))
    return within[0] if len(within) == 1 else logical_and(within[0], within[1])


def matrix_band_part(input: Any, num_lower: Any, num_upper: Any, name: str | None = None) -> Tensor:
    """The matrices with zeros outside `num_lower` diagonals below and `num_upper` above the main one (negative: all).

    Raises:
        ShapeError: the rank is below 2.
    """
    return _matrix_band_part(convert_to_tensor(input), num_lower, num_upper, name)


@deferrable(like("x"), "num_lower", "num_upper", op_name="MatrixBandPart")
def _matrix_band_part(x: Tensor, num_lower: Any, num_upper: Any, name: str | None = None) -> Tensor:
    lower, upper = static_int(num_lower, "matrix_band_part: num_lower"), static_int(num_upper, "matrix_band_part: num_upper")
    _matrix(x, "matrix_band_part")
    with name_scope(name, "MatrixBandPart", [x]) as scope:
        mask = _band(x, lower, upper)
        return identity(x, name=scope) if mask is None else where_v2(mask, x, zeros_like(x), name=scope)


def matrix_diag(diagonal: Any, name: str | None = None) -> Tensor:
    """[..., n] -> [..., n, n] with the vectors on the diagonals."""
    return _matrix_diag(convert_to_tensor(diagonal), name)


@deferrable(any_shape("d"), op_name="MatrixDiag")
def _matrix_diag(d: Tensor, name: str | None = None) -> Tensor:
    if known_rank("matrix_diag", d) < 1:
        raise ShapeError(f"matrix_diag: Shape must be at least rank 1, got {format_shape(d._shape)}")
    with name_scope(name, "MatrixDiag", [d]) as scope:
        column = expand_dims(d, -1)
        # The vector as a column broadcasts along the rows; only its own row position keeps an element.
        n = shape_tensor(d)[-1]
        steps = range_(n)
        return where_v2(equal(expand_dims(steps, 1), expand_dims(steps, 0)), column, zeros_like(column), name=scope)


def matrix_diag_part(input: Any, name: str | None = None) -> Tensor:
    """[..., m, n] -> [..., min(m, n)]: the main diagonals."""
    return _matrix_diag_part(convert_to_tensor(input), name)


@deferrable(any_shape("x"), op_name="MatrixDiagPart")
def _matrix_diag_part(x: Tensor, name: str | None = None) -> Tensor:
    m, n = _matrix(x, "matrix_diag_part")
    rank = known_rank("matrix_diag_part", x)
    with name_scope(name, "MatrixDiagPart", [x]) as scope:
        if not isinstance(m, int) or not isinstance(n, int):
            if m != n:
                sizes = shape_tensor(x)
                k = minimum(sizes[-2], sizes[-1])
                x = x[..., :k, :k]
            # Rows without a known length cannot be sliced by a step: everything else is set to 0 and summed away.
            return reduce_sum(where_v2(_band(x, 0, 0), x, zeros_like(x)), axis=-1, name=scope)
        flat = reshape(x, merged_shape(x, rank - 2, rank))
        # Going down the diagonal is a step of n + 1 in row-major order.
        end = max(min(m, n) - 1, -1) * (n + 1) + 1 if min(m, n) else 0
        begin, ends, steps = [0] * (rank - 1), [0] * (rank - 2) + [end], [1] * (rank - 2) + [n + 1]
        whole = (1 << (rank - 2)) - 1
        return strided_slice(flat, begin, ends, steps, begin_mask=whole, end_mask=whole, name=scope)


def matrix_set_diag(input: Any, diagonal: Any, name: str | None = None) -> Tensor:
    """The matrices with other main diagonals."""
    return _matrix_set_diag(convert_to_tensor(input), convert_to_tensor(diagonal), name)


@deferrable(like("x"), op_name="MatrixSetDiag")
def _matrix_set_diag(x: Tensor, d: Tensor, name: str | None = None) -> Tensor:
    m, n = _matrix(x, "matrix_set_diag")
    with name_scope(name, "MatrixSetDiag", [x]) as scope:
        # The diagonal is as long as the shorter axis, and must broadcast along the longer one.
        d = build(DIAGONAL_OF, (d, x))
        wide = not isinstance(m, int) or not isinstance(n, int) or m <= n
        return where_v2(_band(x, 0, 0), expand_dims(d, -1 if wide else -2), x, name=scope)


def diag(diagonal: Any, name: str | None = None) -> Tensor:
    """A tensor of twice the rank, with `diagonal` where both halves of the index are equal and zeros elsewhere."""
    return _diag(convert_to_tensor(diagonal), name)


@deferrable(any_shape("d"), op_name="Diag")
def _diag(d: Tensor, name: str | None = None) -> Tensor:
    rank = known_rank("diag", d)
    if not rank:
        raise ShapeError(f"diag: Input must be at least rank 1, got {format_shape(d._shape)}")
    with name_scope(name, "Diag", [d]) as scope:
        if rank == 1:
            return matrix_diag(d, scope)
        sizes = shape_tensor(d)
        return reshape(matrix_diag(reshape(d, [-1])), concat([sizes, sizes], 0), name=scope)


def diag_part(input: Any, name: str | None = None) -> Tensor:
    """The elements of a tensor of even rank where both halves of the index are equal: what `diag` undoes.

    Raises:
        ShapeError: the rank is odd or 0, or the halves of the shape differ.
    """
    return _diag_part(convert_to_tensor(input), name)


@deferrable(any_shape("x"), op_name="DiagPart")
def _diag_part(x: Tensor, name: str | None = None) -> Tensor:
    half, odd = divmod(known_rank("diag_part", x), 2)
    if odd or not half:
        raise ShapeError(f"diag_part: Input's rank must be even and not zero, got {format_shape(x._shape)}")
    shape = x._shape or ()
    for a, b in zip(shape[:half], shape[half:], strict=True):
        if isinstance(a, int) and isinstance(b, int) and a != b:
            raise ShapeError(f"diag_part: Dimensions must be equal, but are {a} and {b}: {format_shape(shape)}")
    with name_scope(name, "DiagPart", [x]) as scope:
        if half == 1:
            return matrix_diag_part(x, scope)
        part = reshape(x, merged_shape(x, 0, half))
        square = reshape(part, merged_shape(part, 1, half + 1))
        return reshape(matrix_diag_part(square), shape_tensor(x)[:half], name=scope)


def trace(x: Any, name: str | None = None) -> Tensor:
    """The sums of the main diagonals of the matrices in the last two axes."""
    t = convert_to_tensor(x)
    with name_scope(name, "Trace", [t]) as scope:
        return reduce_sum(matrix_diag_part(t), axis=-1, name=scope)


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = float32, name: str | None = None
) -> Tensor:
    """The identity matrix, also not square, also a batch of them. Sizes may be tensors."""
    want = as_dtype(dtype).base_dtype
    sizes = static_sizes([num_rows, num_rows if num_columns is None else num_columns])
    if sizes is not None and min(sizes) < 0:
        raise ShapeError(f"eye: Dimension {min(sizes)} must be >= 0")
    if sizes is not None and batch_shape is None and sizes[0] * sizes[1] <= _CONSTANT_SIZE:
        return constant(np.eye(sizes[0], sizes[1]).astype(want.numpy_dtype), name=name or "eye")
    with name_scope(name, "eye") as scope:
        matrix_shape = shape_operand([num_rows, num_rows if num_columns is None else num_columns])
        rows, columns = range_(matrix_shape[0]), range_(matrix_shape[1])
        hit = equal(expand_dims(rows, 1), expand_dims(columns, 0))
        if batch_shape is None:
            matrix: Tensor = cast(hit, want, name=scope)
            return matrix
        batched = concat([cast(shape_operand(batch_shape), matrix_shape.base_dtype), matrix_shape], 0)
        return broadcast_to(cast(hit, want), batched, name=scope)
