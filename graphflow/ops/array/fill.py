"""Tensors of one value, and of evenly spaced ones."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import as_array, build, constant, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import ALL, FLOATS, as_dtype, float32, float64, int32, int64, string
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Generate, IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Dim, format_shape, fresh_dim, maximum, static_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import shape_operand, static_int, static_sizes
from graphflow.ops.array.shape import shape_tensor

#: Up to so many elements zeros and ones are constants, which folding and names (``zeros``) like better.
_CONSTANT_SIZE = 4096


def _fill_infer(ctx: InferContext, attrs: Any, dims: TensorType, value: TensorType) -> tuple[TensorType, ...]:
    wanted = ctx.vector(0)
    if value.shape not in (None, ()):
        raise ShapeError(f"Fill: value must be a scalar: Shape must be rank 0 but is {format_shape(value.shape)}")
    if wanted is None:
        rank = dims.shape[0] if dims.shape else None
        return (TensorType(value.dtype, tuple(fresh_dim() for _ in builtins.range(rank)) if isinstance(rank, int) else None),)
    if any(isinstance(d, int) and d < 0 for d in wanted):
        raise ShapeError(f"Fill: dims must be non-negative: Dimension {min(d for d in wanted if isinstance(d, int))} < 0")
    return (TensorType(value.dtype, wanted),)


FILL = register(
    OpDef(
        "Fill",
        IndexMap(lambda ix, ctx, index: [Piece(1, ())]),
        _fill_infer,
        lambda attrs, dims, value: np.full(tuple(int(d) for d in np.atleast_1d(dims)), value, np.asarray(value).dtype),
        lambda: [Sample((np.array(d, np.int32), np.array(1.5, np.float32))) for d in ((), (0,), (3,), (2, 3))],
        shape_operands=(0,),
        dtypes=ALL,
        onnx="ConstantOfShape",
        doc="A tensor of one value.",
    )
)


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of shape `dims` (ints or an integer tensor) filled with the scalar `value`."""
    with name_scope(name, "Fill") as scope:
        return build(FILL, (shape_operand(dims, "dims"), convert_to_tensor(value, name="value")), NO_ATTRS, scope)


def _filled(shape: Any, value: int, dtype: Any, name: str) -> Tensor:
    want = as_dtype(dtype).base_dtype
    one = np.asarray(b"" if want is string else value, want.numpy_dtype)
    known = static_sizes(shape)
    if known is not None and min(known, default=0) >= 0 and np.prod(known, dtype=np.float64) <= _CONSTANT_SIZE:
        return constant(np.full(known, one, want.numpy_dtype), want, name=name)
    with name_scope(name) as scope:
        return build(FILL, (shape_operand(shape if known is None else known), constant(one, want)), NO_ATTRS, scope)


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """Zeros (False, empty strings) of the given shape."""
    return _filled(shape, 0, dtype, name or "zeros")


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """Ones (True) of the given shape."""
    return _filled(shape, 1, dtype, name or "ones")


def _like(tensor: Any, value: int, dtype: Any, name: str) -> Tensor:
    x = convert_to_tensor(tensor)
    want = x.base_dtype if dtype is None else as_dtype(dtype).base_dtype
    static = None if x._shape is None else static_shape(x._shape)
    with x.graph.as_default():
        return _filled(static if static is not None else shape_tensor(x), value, want, name)


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Zeros of the shape (and, unless given, dtype) of `tensor`."""
    return _like(tensor, 0, dtype, name or "zeros_like")


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Ones of the shape (and, unless given, dtype) of `tensor`."""
    return _like(tensor, 1, dtype, name or "ones_like")


# ---------------------------------------------------------------------------------------------- ranges


def _range_infer(
    ctx: InferContext, attrs: Any, start: TensorType, limit: TensorType, delta: TensorType
) -> tuple[TensorType, ...]:
    first, end, step = (ctx.value(k) for k in builtins.range(3))
    if step == 0:
        raise ArgumentError("range: Requires delta != 0: 0")
    if first is None or end is None or isinstance(first, tuple) or isinstance(end, tuple) or not isinstance(step, int):
        return (TensorType(start.dtype, (fresh_dim(),)),)
    span: Dim = end - first if step > 0 else first - end
    return (TensorType(start.dtype, (maximum((span + (abs(step) - 1)) // abs(step), 0),)),)


def _range_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    numbers = [v for v in values if isinstance(v, int)]
    if len(numbers) != 3:
        return None
    found = builtins.range(*numbers)
    return tuple(found) if len(found) <= 64 else None


def _range_rule(b: Any, ctx: LowerContext, index: tuple[Any, ...], start: Any, delta: Any) -> Any:
    return b.add(b.mul(b.cast(index[0], ctx.outputs[0].dtype), delta), start)


RANGE = register(
    OpDef(
        "Range",
        Generate(_range_rule),
        _range_infer,
        lambda attrs, start, limit, delta: np.arange(start, limit, delta, dtype=np.asarray(start).dtype),
        lambda: [
            Sample((np.array(a, np.int32), np.array(b, np.int32), np.array(c, np.int32)), gradient=False)
            for a, b, c in ((0, 5, 1), (3, 3, 1), (2, 11, 3), (5, 0, -2), (0, 100, 1))
        ],
        grad=not_differentiable("its length, an integer, is what depends on the limit"),
        shape_operands=(1,),
        shape_value=_range_value,
        dtypes=(int32, int64, *FLOATS),
        onnx="Range",
        doc="Evenly spaced numbers.",
    )
)


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str | None = "range") -> Tensor:
    """start, start + delta, ... below (above, for a negative delta) limit; with one argument it counts from 0.

    Raises:
        ArgumentError: delta is 0.
    """
    from graphflow.ops.math.cast import cast

    if limit is None:
        start, limit = 0, start
    parts = {"start": start, "limit": limit, "delta": delta}
    want = None if dtype is None else as_dtype(dtype).base_dtype
    if want is None:
        types = {convert_to_tensor(p).base_dtype if is_tensor_like(p) else as_dtype(as_array(p).dtype) for p in parts.values()}
        want = next((t for t in (float64, float32, int64, int32) if t in types), None)  # the widest, as in TensorFlow
        if want is None:
            raise DTypeError(f"range: start, limit and delta must be numbers, got {list(parts.values())}")
    if want.is_floating and not any(is_tensor_like(p) for p in parts.values()):
        first, end, step = (as_array(p).item() for p in parts.values())
        if step == 0:
            raise ArgumentError("range: Requires delta != 0: 0")
        return constant(np.arange(first, end, step).astype(want.numpy_dtype), name=name or "range")
    with name_scope(name, "range", [p for p in parts.values() if isinstance(p, Tensor)]) as scope:
        tensors = [
            cast(convert_to_tensor(p), want) if is_tensor_like(p) else convert_to_tensor(p, want, name=n)
            for n, p in parts.items()
        ]
        return build(RANGE, tensors, NO_ATTRS, scope)


def linspace(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """`num` evenly spaced floats from start to stop, both included.

    Raises:
        ArgumentError: num is below 1, or not known while the graph is built.
        DTypeError: start is not of floats.
    """
    from graphflow.ops.math.binary import add, multiply
    from graphflow.ops.math.cast import cast

    count = static_int(num, "linspace: num")
    if count < 1:
        raise ArgumentError(f"linspace: Requires num > 0: {count}")
    with name_scope(name, "LinSpace") as scope:
        first = convert_to_tensor(start, name="start")
        if not first.base_dtype.is_floating:
            raise DTypeError(f"linspace: start and stop must be floats, got {first.base_dtype.name}")
        last = convert_to_tensor(stop, first.base_dtype, name="stop")
        step = (last - first) / float(max(count - 1, 1))
        return add(first, multiply(cast(range(count), first.base_dtype), step), name=scope)


lin_space = linspace


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = float32, name: str | None = None
) -> Tensor:
    """The identity matrix, also not square, also a batch of them. Sizes may be tensors."""
    from graphflow.ops.array.concat import concat
    from graphflow.ops.array.movement import broadcast_to
    from graphflow.ops.array.reshape import expand_dims
    from graphflow.ops.math.cast import cast
    from graphflow.ops.math.compare import equal

    want = as_dtype(dtype).base_dtype
    sizes = static_sizes([num_rows, num_rows if num_columns is None else num_columns])
    if sizes is not None and batch_shape is None and sizes[0] * sizes[1] <= _CONSTANT_SIZE:
        return constant(np.eye(sizes[0], sizes[1]).astype(want.numpy_dtype), name=name or "eye")
    with name_scope(name, "eye") as scope:
        matrix_shape = shape_operand([num_rows, num_rows if num_columns is None else num_columns])
        rows, columns = range(matrix_shape[0]), range(matrix_shape[1])
        hit = equal(expand_dims(rows, 1), expand_dims(columns, 0))
        if batch_shape is None:
            matrix: Tensor = cast(hit, want, name=scope)
            return matrix
        batched = concat([cast(shape_operand(batch_shape), matrix_shape.base_dtype), matrix_shape], 0)
        return broadcast_to(cast(hit, want), batched, name=scope)
