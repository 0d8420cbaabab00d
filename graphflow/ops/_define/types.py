"""Type and shape rules that many op families share, and the texts of their errors."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from graphflow.framework.dtypes import FLOATS, NUMERIC, SIGNED, UNSIGNED, DType, bool_, int32, int64
from graphflow.framework.errors import DTypeError
from graphflow.framework.kinds import ShapeValue, TensorType
from graphflow.framework.registry import InferContext, InferFn
from graphflow.framework.shapes import Dim, Shape, SymDim

_KINDS: dict[str, tuple[DType, ...]] = {"f": FLOATS, "i": SIGNED, "u": UNSIGNED, "b": (bool_,)}


def allowed(kinds: str) -> tuple[DType, ...]:
    return tuple(d for k in kinds for d in _KINDS[k])


def refuse(ctx: InferContext, arg: str, dtype: DType, kinds: str) -> DTypeError:
    names = ", ".join(d.name for d in allowed(kinds))
    if kinds == "b":
        return DTypeError(
            f"Input '{arg}' of '{ctx.op_name}' Op has type {dtype.name} that does not match expected type of bool."
        )
    return DTypeError(
        f"{ctx.op_name}: Value passed to parameter '{arg}' has DataType {dtype.name} not in list of allowed values: " + names
    )


def mismatch(ctx: InferContext, args: tuple[str, str], x: TensorType, y: TensorType) -> DTypeError:
    return DTypeError(
        f"Input '{args[1]}' of '{ctx.op_name}' Op has type {y.dtype.name} that does not match type {x.dtype.name} of "
        f"argument '{args[0]}'."
    )


def unary_infer(kinds: str, arg: str = "x", out: DType | None = None) -> InferFn:
    """Type rule of one operand with a dtype of `kinds` (letters f, i, u, b); the result has dtype `out` or its own."""

    def infer(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
        if x.dtype.kind not in kinds:
            raise refuse(ctx, arg, x.dtype, kinds)
        return (x,) if out is None else (TensorType(out, x.shape),)

    return infer


def binary_infer(kinds: str, args: tuple[str, str] = ("x", "y"), out: DType | None = None) -> InferFn:
    """Type rule of two operands of one dtype that broadcast."""

    def infer(ctx: InferContext, attrs: Any, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
        if x.dtype is not y.dtype:
            raise mismatch(ctx, args, x, y)
        if x.dtype.kind not in kinds:
            raise refuse(ctx, args[0], x.dtype, kinds)
        # Most operands agree in shape or are scalars: the type that exists is used again.
        if out is None and (x.shape == y.shape or y.shape == ()) and x.shape is not None:
            return (x,)
        return (TensorType(out or x.dtype, broadcast(ctx, x.shape, y.shape)),)

    return infer


def broadcast(ctx: InferContext, a: Shape | None, b: Shape | None) -> Shape | None:
    if a is None or b is None:
        return None
    return a if a == b else ctx.broadcast(a, b)


def unequal(what: str, a: Shape, b: Shape) -> str:
    """TensorFlow's words for two shapes that ought to be one."""
    if len(a) != len(b):
        return f"{what}: Shapes must be equal rank, but are {len(a)} and {len(b)}: {brackets(a)} and {brackets(b)}."
    axis = next(
        (i for i, (x, y) in enumerate(zip(a, b, strict=True)) if isinstance(x, int) and isinstance(y, int) and x != y),
        0,
    )
    return (
        f"{what}: Dimension {axis} in both shapes must be equal, but are {a[axis]} and {b[axis]}. Shapes are "
        f"{brackets(a)} and {brackets(b)}."
    )


def brackets(shape: Shape) -> str:
    return "[" + ",".join("?" if isinstance(d, SymDim) else str(d) for d in shape) + "]"


def dim_arithmetic(f: Callable[[Dim, Dim], Dim | None]) -> Callable[..., ShapeValue | None]:
    """The symbolic value of arithmetic on sizes: ``tf.shape(x)[0] * 4`` is known where it is used as a shape."""

    def shape_value(attrs: Any, types: tuple[TensorType, ...], values: tuple[ShapeValue | None, ...]) -> ShapeValue | None:
        a, b = values
        if a is None or b is None or types[0].dtype not in (int32, int64):
            return None
        if not isinstance(a, tuple) and not isinstance(b, tuple):
            return f(a, b)
        n = max(len(v) for v in (a, b) if isinstance(v, tuple))
        pairs = zip(_repeat(a, n), _repeat(b, n), strict=True)
        dims = [f(x, y) for x, y in pairs]
        return None if any(d is None for d in dims) else tuple(d for d in dims if d is not None)

    return shape_value


def _repeat(v: ShapeValue, n: int) -> tuple[Dim, ...]:
    if not isinstance(v, tuple):
        return (v,) * n
    return v * n if len(v) == 1 else v


def check_float(op_name: str, arg: str, dtype: DType) -> None:
    if dtype not in FLOATS:
        raise DTypeError(
            f"{op_name}: Value passed to parameter '{arg}' has DataType {dtype.name} not in list of allowed values: "
            f"{', '.join(d.name for d in FLOATS)}"
        )


def check_number(ctx: InferContext, x: TensorType) -> None:
    if x.dtype not in NUMERIC:
        raise DTypeError(
            f"{ctx.op_name}: Value passed to parameter 'input' has DataType {x.dtype.name} not in list of allowed "
            f"values: {', '.join(d.name for d in NUMERIC)}"
        )
