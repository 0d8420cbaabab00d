"""`range`, `linspace` and `meshgrid`: evenly spaced numbers, and the coordinates of grids."""

from __future__ import annotations

import builtins
from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import as_array, build, constant, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import FLOATS, as_dtype, float32, float64, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError
from graphflow.framework.kinds import Generate, LowerContext, ShapeValue, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Dim, fresh_dim, maximum
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import static_int
from graphflow.ops._define.deferred_types import open_shape
from graphflow.ops.array.concat import stack
from graphflow.ops.array.movement import broadcast_to
from graphflow.ops.array.reshape import reshape
from graphflow.ops.array.shape import shape
from graphflow.ops.math.binary import add, multiply
from graphflow.ops.math.cast import cast


def _range_infer(
    ctx: InferContext, attrs: Any, start: TensorType, limit: TensorType, delta: TensorType
) -> tuple[TensorType, ...]:
    first, end, step = (ctx.value(k) for k in builtins.range(3))
    if step == 0:
        raise ArgumentError("range: Requires delta != 0: 0")
    if first is None or end is None or isinstance(first, tuple) or isinstance(end, tuple) or not isinstance(step, int):
        return (TensorType(start.dtype, (fresh_dim(),)),)
    span: Dim = end - first if step > 0 else first - end
    ctx.unify(span, maximum(span, 0), f"range: {_order(first, end, step)}")
    return (TensorType(start.dtype, (maximum((span + (abs(step) - 1)) // abs(step), 0),)),)


def _order(start: Any, limit: Any, delta: Any) -> str:
    return f"Requires start {'<=' if delta > 0 else '>='} limit when delta {'>' if delta > 0 else '<'} 0: {start}/{limit}"


def _range_reference(attrs: Any, start: Any, limit: Any, delta: Any) -> Any:
    if delta == 0:
        raise ArgumentError("range: Requires delta != 0: 0")
    if limit != start and (limit > start) != (delta > 0):
        raise ArgumentError(f"range: {_order(start, limit, delta)}")
    return np.arange(start, limit, delta, dtype=np.asarray(start).dtype)


def _range_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    numbers = [v for v in values if isinstance(v, int)]
    if len(numbers) != 3:
        return None
    found = builtins.range(*numbers)
    # As for all symbolic values: what is longer is data, not a shape.
    return tuple(found) if not found[64:] else None


def _range_rule(b: Any, ctx: LowerContext, index: tuple[Any, ...], start: Any, delta: Any) -> Any:
    # From the position and not from the element before: elements stand alone, and roundings do not add up.
    return b.add(b.mul(b.cast(index[0], ctx.outputs[0].dtype), delta), start)


RANGE = register(
    OpDef(
        "Range",
        Generate(_range_rule),
        _range_infer,
        _range_reference,
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
        ArgumentError: delta is 0, or leads away from limit.
    """
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
        if end != first and (end > first) != (step > 0):
            raise ArgumentError(f"range: {_order(first, end, step)}")
        # Floats that are all known: numpy decides how many there are, and the length is static.
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
        ArgumentError: num is below 1.
        DTypeError: start is not of floats.
    """
    with name_scope(name, "LinSpace") as scope:
        first = convert_to_tensor(start, name="start")
        if not first.base_dtype.is_floating:
            raise DTypeError(f"linspace: start and stop must be floats, got {first.base_dtype.name}")
        return _linspace(first, convert_to_tensor(stop, first.base_dtype, name="stop"), num, scope)


@deferrable(lambda a: [TensorType(a["first"].base_dtype, open_shape(1))], "num", op_name="LinSpace")
def _linspace(first: Tensor, last: Tensor, num: Any, name: str | None = None) -> Tensor:
    count = static_int(num, "linspace: num")
    if count < 1:
        raise ArgumentError(f"linspace: Requires num > 0: {count}")
    # For a single number the step does not matter, but must not be a division by 0.
    step = (last - first) / float(max(count - 1, 1))
    return add(first, multiply(cast(range(count), first.base_dtype), step), name=name)


lin_space = linspace


def meshgrid(*args: Any, indexing: str = "xy", name: str | None = None) -> list[Tensor]:
    """Coordinates of a grid from vectors, as numpy's."""
    if indexing not in ("xy", "ij"):
        raise ArgumentError("indexing parameter must be either 'xy' or 'ij'")
    if not args:
        return []
    with name_scope(name, "meshgrid"):
        vectors = [reshape(convert_to_tensor(a), [-1]) for a in args]
        count = len(vectors)
        # "xy", numpy's default: the first vector runs along the second axis.
        order = [1, 0, *builtins.range(2, count)] if indexing == "xy" and count > 1 else list(builtins.range(count))
        sizes = stack([shape(vectors[k])[0] for k in order])
        result = []
        for k, v in enumerate(vectors):
            spread = [1] * count
            spread[order.index(k)] = -1
            result.append(broadcast_to(reshape(v, spread), sizes))
        return result
