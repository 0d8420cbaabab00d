"""Tensors of one value, and of evenly spaced ones."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.core.build import build, constant, convert_to_tensor, is_tensor_like, name_scope
from graphflow.core.kinds import Generate, IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.core.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.core.tensor import Operation, Tensor
from graphflow.dtypes import ALL, DType, as_dtype, float32, int32, int64, string
from graphflow.errors import ArgumentError, DTypeError
from graphflow.ops.array import shape_operand
from graphflow.ops.shape_ops import shape_tensor
from graphflow.shapes import TensorShape, maximum, static_shape


def _fill_infer(ctx: InferContext, attrs: Any, dims: TensorType, value: TensorType) -> tuple[TensorType, ...]:
    return (TensorType(value.dtype, ctx.vector(0)),)


def _fill_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    from graphflow.ops.reduce import reduce_sum

    return [None, reduce_sum(grad)]


FILL = register(
    OpDef(
        "Fill",
        IndexMap(lambda ix, ctx, index: [Piece(1, ())]),
        _fill_infer,
        _fill_grad,
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
        v = convert_to_tensor(value, name="value")
        if v._shape not in (None, ()):
            raise ArgumentError(f"fill: value must be a scalar, got shape {v.shape}")
        return build(FILL, (shape_operand(dims, "dims"), v), NO_ATTRS, scope)


def _known_shape(shape: Any) -> tuple[int, ...] | None:
    if isinstance(shape, Tensor):
        value = shape.static_value()
        return static_shape(value) if isinstance(value, tuple) else None
    if isinstance(shape, TensorShape):
        return tuple(int(d) for d in shape) if shape.is_fully_defined() else None
    items = list(shape) if isinstance(shape, (list, tuple, np.ndarray)) else [shape]
    if any(is_tensor_like(d) for d in items):
        return None
    return tuple(int(d) for d in items)


def _filled(shape: Any, value: Any, dtype: Any, name: str) -> Tensor:
    want = as_dtype(dtype).base_dtype
    known = _known_shape(shape)
    one = b"" if want is string else value
    if known is not None and int(np.prod(known, dtype=np.int64)) <= 4096:
        filled = np.full(known, one, want.numpy_dtype)
        return constant(filled, want, name=name)
    with name_scope(name) as scope:
        target = shape_operand(known if known is not None else shape)
        return build(FILL, (target, constant(np.asarray(one, want.numpy_dtype), want)), NO_ATTRS, scope)


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
    values = [ctx.value(k) for k in (0, 1, 2)]
    if any(v is None or isinstance(v, tuple) for v in values):
        from graphflow.shapes import fresh_dim

        return (TensorType(start.dtype, (fresh_dim(),)),)
    first, end, step = values
    if not isinstance(step, int) or step == 0:
        raise ArgumentError(f"range: delta must be a known number other than 0, got {step}")
    span: Any = end - first if step > 0 else first - end  # type: ignore[operator]
    return (TensorType(start.dtype, (maximum((span + abs(step) - 1) // abs(step), 0),)),)


def _range_rule(b: Any, ctx: LowerContext, index: tuple[Any, ...]) -> Any:
    first, _, step = ctx.values
    dtype: DType = ctx.outputs[0].dtype
    if not isinstance(first, int) or not isinstance(step, int):
        raise ArgumentError("range: start must be known while the graph is compiled")
    return b.cast(b.add(b.mul(index[0], step), first), dtype)


def _range_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    if any(not isinstance(v, int) for v in values):
        return None
    first, limit, delta = (int(v) for v in values if isinstance(v, int))
    found = builtins.range(first, limit, delta)
    return tuple(found) if len(found) <= 64 else None


RANGE = register(
    OpDef(
        "Range",
        Generate(_range_rule),
        _range_infer,
        not_differentiable("integers"),
        lambda attrs, start, limit, delta: np.arange(start, limit, delta, dtype=np.asarray(start).dtype),
        lambda: [
            Sample((np.array(a, np.int32), np.array(b, np.int32), np.array(c, np.int32)), gradient=False)
            for a, b, c in ((0, 5, 1), (3, 3, 1), (2, 11, 3), (5, 0, -2))
        ],
        shape_operands=(0, 1, 2),
        shape_value=_range_value,
        dtypes=(int32, int64),
        onnx="Range",
        doc="Evenly spaced integers.",
    )
)


def range(start: Any, limit: Any = None, delta: Any = 1, dtype: Any = None, name: str = "range") -> Tensor:
    """start, start + delta, ... below (above, for a negative delta) limit; with one argument it counts from 0.

    Raises:
        ArgumentError: delta is 0, or floats are not known while the graph is built.
    """
    if limit is None:
        start, limit = 0, start
    parts = [start, limit, delta]
    if not any(is_tensor_like(p) for p in parts):
        want = None if dtype is None else as_dtype(dtype)
        numbers = [np.asarray(int(p) if hasattr(p, "__index__") else p) for p in parts]
        if want is None and any(n.dtype.kind == "f" for n in numbers):
            want = float32
        if (want is not None and want.is_floating) or int(numbers[2]) == 0:
            if float(numbers[2]) == 0:
                raise ArgumentError("range: Requires delta != 0: 0")
            assert want is not None
            return constant(np.arange(*[n.item() for n in numbers]).astype(want.numpy_dtype), name=name)
        dtype = want
    with name_scope(name) as scope:
        tensors = [
            convert_to_tensor(p, None if is_tensor_like(p) else dtype, name=n)
            for p, n in zip(parts, ("start", "limit", "delta"), strict=True)
        ]
        kinds = {t.base_dtype for t in tensors}
        if len(kinds) > 1:
            from graphflow.ops.cast import cast

            tensors = [cast(t, int64) for t in tensors]
        if not tensors[0].base_dtype.is_integer:
            raise DTypeError(f"range: limits of dtype {tensors[0].base_dtype.name} must be known while the graph is built")
        return build(RANGE, tensors, NO_ATTRS, scope)


def linspace(start: Any, stop: Any, num: Any, name: str | None = None) -> Tensor:
    """`num` evenly spaced floats from start to stop, both included."""
    from graphflow.ops.array import static_int
    from graphflow.ops.binary import add, multiply
    from graphflow.ops.cast import cast

    count = static_int(num, "linspace: num")
    if count < 1:
        raise ArgumentError(f"linspace: Requires num > 0: {count}")
    with name_scope(name, "LinSpace") as scope:
        first, last = convert_to_tensor(start, name="start"), convert_to_tensor(stop, name="stop")
        if not first.base_dtype.is_floating:
            raise DTypeError(f"linspace: start and stop must be floats, got {first.base_dtype.name}")
        step = (last - first) / float(max(count - 1, 1))
        steps = cast(range(count), first.base_dtype)
        return add(first, multiply(steps, step), name=scope)


lin_space = linspace


def eye(
    num_rows: Any, num_columns: Any = None, batch_shape: Any = None, dtype: Any = float32, name: str | None = None
) -> Tensor:
    """The identity matrix, also not square, also a batch of them."""
    from graphflow.ops.array import broadcast_to, static_int

    rows = static_int(num_rows, "eye: num_rows")
    columns = rows if num_columns is None else static_int(num_columns, "eye: num_columns")
    matrix = np.eye(rows, columns).astype(as_dtype(dtype).numpy_dtype)
    if batch_shape is None:
        return constant(matrix, name=name or "eye")
    with name_scope(name, "eye"):
        return broadcast_to(constant(matrix), [*(int(d) for d in batch_shape), rows, columns])
