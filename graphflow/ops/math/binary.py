"""Arithmetic on two operands of one dtype, with broadcasting: sums, products, divisions, powers, extremes."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework import shapes
from graphflow.framework.dtypes import (
    INTEGERS,
    SIGNED,
    DType,
    bool_,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.kinds import Algebra
from graphflow.framework.registry import not_differentiable, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.shapes import Dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import binary_op
from graphflow.ops._define.operands import build_binary, convert_operands
from graphflow.ops._define.types import dim_arithmetic
from graphflow.ops.math.cast import cast

_STEPS = not_differentiable("it is piecewise constant")

# ---------------------------------------------------------------------------------------------- sums and products

# For floats the true identity is -0.0: -0.0 + 0.0 is 0.0. The rule that reads this field tells
# them apart (docs/float-rewrites.md).
ADD_V2 = register(
    binary_op(
        "AddV2", lambda b, attrs, x, y: b.add(x, y), np.add, "x + y.",
        shape_value=dim_arithmetic(lambda x, y: x + y), algebra=Algebra(commutative=True, identity=0.0), onnx="Add",
    )
)  # fmt: skip


def add(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x + y; shapes broadcast. Raises DTypeError if the dtypes differ, ShapeError if the shapes do not broadcast."""
    return build_binary(ADD_V2, x, y, name or "Add")


SUB = register(
    binary_op(
        "Sub", lambda b, attrs, x, y: b.sub(x, y), np.subtract, "x - y.",
        shape_value=dim_arithmetic(lambda x, y: x - y), algebra=Algebra(identity=0.0), onnx="Sub",
    )
)  # fmt: skip


def subtract(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x - y; shapes broadcast."""
    return build_binary(SUB, x, y, name)


# There is no fact "x * 0 is 0" to claim here: infinities and NaN give NaN.
MUL = register(
    binary_op(
        "Mul", lambda b, attrs, x, y: b.mul(x, y), np.multiply, "x * y.",
        shape_value=dim_arithmetic(lambda x, y: x * y), algebra=Algebra(commutative=True, identity=1.0), onnx="Mul",
    )
)  # fmt: skip


def multiply(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x * y element by element; shapes broadcast."""
    return build_binary(MUL, x, y, name)


def scalar_mul(scalar: Any, x: Any, name: str | None = None) -> Any:
    """x scaled by a 0-d `scalar`. An IndexedSlices stays one."""
    if isinstance(x, IndexedSlices):
        return IndexedSlices(multiply(x.values, scalar, name), x.indices, x.dense_shape)
    return multiply(scalar, x, name)


def _squared_difference_rule(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    d = b.sub(x, y)
    return b.mul(d, d)


SQUARED_DIFFERENCE = register(
    binary_op(
        "SquaredDifference", _squared_difference_rule, lambda x, y: np.square(x - y),
        "(x - y)^2.", algebra=Algebra(commutative=True),
    )
)  # fmt: skip


def squared_difference(x: Any, y: Any, name: str | None = None) -> Tensor:
    """(x - y) * (x - y); shapes broadcast."""
    return build_binary(SQUARED_DIFFERENCE, x, y, name)


# ---------------------------------------------------------------------------------------------- division


REAL_DIV = register(
    binary_op(
        "RealDiv", lambda b, attrs, x, y: b.div(x, y), np.divide, "x / y of floats.", apart=0.3,
        kinds="f",
        algebra=Algebra(identity=1.0), onnx="Div",
    )
)  # fmt: skip

# TensorFlow's table: float32 holds every integer of 8 and 16 bits exactly, float64 those of 32.
_TRUE_DIVISION: dict[DType, DType] = {
    uint8: float32, int8: float32, uint16: float32, int16: float32,
    int32: float64, int64: float64, uint32: float64, uint64: float64,
}  # fmt: skip


def realdiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y of float tensors."""
    return build_binary(REAL_DIV, x, y, name)


def truediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python divides: integers become float64 first (float32 those of 8 and 16 bits)."""
    # Two float tensors need neither a scope for conversions nor the table.
    if isinstance(x, Tensor) and isinstance(y, Tensor) and x.base_dtype.kind == "f":
        return x.op.graph.create_op(REAL_DIV, (x, y), name=name or "truediv").outputs[0]
    a, b, scope = convert_operands((x, y), name or "truediv", ("x", "y"))
    wide = _TRUE_DIVISION.get(a.base_dtype)
    if wide is None or a.base_dtype is not b.base_dtype:
        return a.op.graph.create_op(REAL_DIV, (a, b), name=scope).outputs[0]

    graph = a.op.graph
    with graph.as_default(), graph.name_scope(scope) as scope:
        return graph.create_op(REAL_DIV, (cast(a, wide), cast(b, wide)), name=scope).outputs[0]


def divide(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python divides, like `truediv`."""
    return truediv(x, y, name)


def div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y as Python 2 divides: floats truly, integers by `floordiv`."""
    a, b, scope = convert_operands((x, y), name or "div", ("x", "y"))
    op = REAL_DIV if a.base_dtype.kind == "f" else FLOOR_DIV
    return a.op.graph.create_op(op, (a, b), name=scope).outputs[0]


# `select` evaluates both sides; the infinity or NaN of x / 0 is not taken.
DIV_NO_NAN = register(
    binary_op(
        "DivNoNan", lambda b, attrs, x, y: b.select(b.eq(y, 0), 0, b.div(x, y)), lambda x,
        y: np.where(y == 0, 0, x / y), "x / y, and 0 where y is 0.", apart=0.3, kinds="f",
    )
)  # fmt: skip


def div_no_nan(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y of float tensors, and 0 where y is 0."""
    return build_binary(DIV_NO_NAN, x, y, name or "div_no_nan")


def _zero_divisor(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    return b.eq(y, 0) if b.dtype(y).is_integer else b.const(False, bool_)


_DIVISION_BY_ZERO = "Integer division by zero"


def _guarded(b: ScalarBuilder[Any], y: Any) -> Any:
    """The divisor with 1 in place of 0: the check fails the run, but an integer division by zero would kill the process."""
    return b.select(b.eq(y, 0), 1, y)


def _overflow(b: ScalarBuilder[Any], x: Any, y: Any) -> Any | None:
    """Whether x / y is the lowest integer over -1: the quotient does not fit, and the processor traps.

    None for unsigned dtypes, which have no such case.
    """
    dtype = b.dtype(x)
    return None if dtype.is_unsigned else b.and_(b.eq(x, -(1 << (8 * dtype.size - 1))), b.eq(y, -1))


def _divide_integers(b: ScalarBuilder[Any], op: str, x: Any, y: Any) -> Any:
    safe = _guarded(b, y)
    overflow = _overflow(b, x, safe)
    if overflow is None:
        return b.binary(op, x, safe)
    result = b.binary(op, x, b.select(overflow, 1, safe))  # the lowest integer // 1 is what // -1 wraps to
    return result if op in ("floordiv", "truncdiv") else b.select(overflow, 0, result)


def _floor_div_rule(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    return _divide_integers(b, "floordiv", x, y) if b.dtype(x).is_integer else b.unary("floor", b.div(x, y))


def _floor_mod_rule(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    return _divide_integers(b, "mod", x, y) if b.dtype(x).is_integer else b.binary("mod", x, y)


def _trunc_div_rule(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    return _divide_integers(b, "truncdiv", x, y) if b.dtype(x).is_integer else b.unary("trunc", b.div(x, y))


def _trunc_mod_rule(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    return _divide_integers(b, "truncmod", x, y) if b.dtype(x).is_integer else b.binary("truncmod", x, y)


def _floor_div_reference(x: Any, y: Any) -> Any:
    return np.floor_divide(x, y) if x.dtype.kind in "iu" else np.floor(x / y)


def _trunc_div_reference(x: Any, y: Any) -> Any:
    # np.fmod is C's remainder, with the sign of x; x without it is a multiple of y, so rounding down changes nothing.
    return np.floor_divide(x - np.fmod(x, y), y) if x.dtype.kind in "iu" else np.trunc(x / y)


def _dim_floordiv(x: Dim, y: Dim) -> Dim | None:
    # A size divided by 0 has no value; the run reports the error.
    return None if y == 0 else shapes.divided("//", x, y)


def _dim_mod(x: Dim, y: Dim) -> Dim | None:
    return None if y == 0 else shapes.divided("%", x, y)


FLOOR_DIV = register(
    binary_op(
        "FloorDiv", _floor_div_rule, _floor_div_reference, "x / y rounded down.", x=(-90.0, 90.0),
        y=(-9.0, 9.0), apart=1.0, check=_zero_divisor, check_message=_DIVISION_BY_ZERO, checked=INTEGERS,
        shape_value=dim_arithmetic(_dim_floordiv), grad=_STEPS,
    )
)  # fmt: skip
TRUNCATE_DIV = register(
    binary_op(
        "TruncateDiv", _trunc_div_rule, _trunc_div_reference, "x / y rounded towards zero.", x=(-90.0, 90.0),
        y=(-9.0, 9.0), apart=1.0, check=_zero_divisor, check_message=_DIVISION_BY_ZERO, checked=INTEGERS, grad=_STEPS,
    )
)  # fmt: skip


def floor_div(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y rounded down. Integer division by zero fails the run (InvalidArgumentError)."""
    return build_binary(FLOOR_DIV, x, y, name)


def floordiv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x // y: the quotient rounded down. Integer division by zero fails the run (InvalidArgumentError)."""
    return build_binary(FLOOR_DIV, x, y, name or "floordiv")


def truncatediv(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x / y rounded towards zero, as C divides."""
    return build_binary(TRUNCATE_DIV, x, y, name)


FLOOR_MOD = register(
    binary_op(
        "FloorMod", _floor_mod_rule, np.remainder, "Remainder with the sign of the divisor.",
        x=(-20.0, 20.0), y=(-6.0, 6.0), apart=1.0, check=_zero_divisor, check_message=_DIVISION_BY_ZERO, checked=INTEGERS,
        shape_value=dim_arithmetic(_dim_mod),
    )
)  # fmt: skip
TRUNCATE_MOD = register(
    binary_op(
        "TruncateMod", _trunc_mod_rule, np.fmod, "Remainder with the sign of the dividend.",
        x=(-20.0, 20.0), y=(-6.0, 6.0), apart=1.0, check=_zero_divisor, check_message=_DIVISION_BY_ZERO, checked=INTEGERS,
    )
)  # fmt: skip


def floormod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x % y: the remainder with the sign of y. An integer y of 0 fails the run (InvalidArgumentError)."""
    return build_binary(FLOOR_MOD, x, y, name)


def mod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x % y, like `floormod`."""
    return build_binary(FLOOR_MOD, x, y, name)


def truncatemod(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The remainder of `truncatediv`, with the sign of x."""
    return build_binary(TRUNCATE_MOD, x, y, name)


# ---------------------------------------------------------------------------------------------- powers and extremes


def _pow_rule(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    dtype = b.dtype(x)
    if not dtype.is_integer:
        return b.call("pow", x, y)
    result, base, rest = b.const(1, dtype), x, y  # squaring, unrolled over the bits of an exponent that is not negative
    bits = 8 * dtype.size - (0 if dtype.is_unsigned else 1)
    for k in range(bits):
        result = b.select(b.eq(b.and_(rest, 1), 1), b.mul(result, base), result)
        if k + 1 < bits:
            base, rest = b.mul(base, base), b.binary("shr", rest, b.const(1, dtype))
    return result


def _negative_exponent(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
    dtype = b.dtype(y)
    return b.lt(y, 0) if dtype.is_integer and not dtype.is_unsigned else b.const(False, bool_)


POW = register(
    binary_op(
        "Pow", _pow_rule, np.power, "x to the power y.", x=(0.3, 3.0), y=(0.0, 3.5), cheap=False,
        check=_negative_exponent, check_message="Integers to negative integer powers are not allowed", checked=SIGNED,
        algebra=Algebra(identity=1.0), onnx="Pow",
    )
)  # fmt: skip


def pow(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x to the power y. A negative integer exponent of an integer fails the run (InvalidArgumentError)."""
    return build_binary(POW, x, y, name)


# The infinities are identities for NaN, too: max(NaN, -inf) is NaN.
MAXIMUM = register(
    binary_op(
        "Maximum", lambda b, attrs, x, y: b.maximum(x, y), np.maximum,
        "The larger of x and y; NaN wins.",
        apart=-1.0, shape_value=dim_arithmetic(shapes.maximum),
        algebra=Algebra(commutative=True, identity=float("-inf")), onnx="Max",
    )
)  # fmt: skip
MINIMUM = register(
    binary_op(
        "Minimum", lambda b, attrs, x, y: b.minimum(x, y), np.minimum,
        "The smaller of x and y; NaN wins.",
        apart=-1.0, shape_value=dim_arithmetic(shapes.minimum),
        algebra=Algebra(commutative=True, identity=float("inf")), onnx="Min",
    )
)  # fmt: skip


def maximum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The larger of x and y; NaN if either is. At a tie the gradient goes to x."""
    return build_binary(MAXIMUM, x, y, name)


def minimum(x: Any, y: Any, name: str | None = None) -> Tensor:
    """The smaller of x and y; NaN if either is. At a tie the gradient goes to x."""
    return build_binary(MINIMUM, x, y, name)
