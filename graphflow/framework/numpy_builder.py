"""`NumpyBuilder`: evaluates scalar rules on whole numpy arrays, to test rules and to draw random numbers without a compiler."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from graphflow.framework.dtypes import HALVES, DType, as_dtype, bool_, float32
from graphflow.framework.scalar_builder import ARITHMETIC, CALLS, COMPARE, UNARY, ScalarBuilder

Array = npt.NDArray[Any]


class NumpyBuilder(ScalarBuilder[Array]):
    """Every value is an array (0-d for constants); operations broadcast. No floating-point warning escapes."""

    def const(self, value: float | int | bool, dtype: DType) -> Array:
        if dtype.is_integer:
            bits = 8 * dtype.size  # wraps, as a constant in machine code does
            value = int(value) & ((1 << bits) - 1)
            if not dtype.is_unsigned and value >> (bits - 1):
                value -= 1 << bits
        with np.errstate(all="ignore"):
            return np.asarray(value).astype(dtype.numpy_dtype)

    def dtype(self, x: Array) -> DType:
        return as_dtype(x.dtype)

    def unary(self, op: str, x: Array) -> Array:
        # An integer is rounded already; numpy's functions may give float64 for it.
        if op in _ROUNDING and x.dtype.kind in "iu":
            return x
        with np.errstate(all="ignore"):
            return np.asarray(_UNARY[op](x))

    def binary(self, op: str, a: Array, b: Array) -> Array:
        with np.errstate(all="ignore"):
            return np.asarray(_BINARY[op](a, b))

    def select(self, condition: Array, a: Array | float, b: Array | float) -> Array:
        a, b = self._pair(a, b)
        return np.where(condition, a, b)

    def cast(self, x: Array, dtype: DType) -> Array:
        if self.dtype(x) is dtype:
            return x
        with np.errstate(all="ignore"):
            if dtype is bool_:
                return np.asarray(x != 0)
            if dtype.is_integer and self.dtype(x).is_floating:
                # What numpy does with values out of range differs between processors.
                return _float_to_int(x, dtype)
            return np.asarray(x).astype(dtype.numpy_dtype)

    def bitcast(self, x: Array, dtype: DType) -> Array:
        return np.asarray(x).view(dtype.numpy_dtype)

    def call(self, fn: str, *args: Array) -> Array:
        dtype = self.dtype(args[0])
        with np.errstate(all="ignore"):
            if dtype in HALVES:  # one rounding at the end, as the compiled kernels do
                args = tuple(np.asarray(a).astype(float32.numpy_dtype) for a in args)
            return np.asarray(_CALLS[fn](*args)).astype(dtype.numpy_dtype)


def _float_to_int(x: Array, dtype: DType) -> Array:
    """Truncates towards zero and saturates; NaN gives 0."""
    info = np.iinfo(dtype.numpy_dtype)
    whole = np.trunc(np.asarray(x).astype(np.float64))
    # The bounds are exact in float64: the lowest value, and one above the largest, a power of two.
    low, above = whole < float(info.min), whole >= float(int(info.max) + 1)
    inside = np.where(low | above | np.isnan(whole), 0.0, whole).astype(dtype.numpy_dtype)
    return np.where(low, inside.dtype.type(info.min), np.where(above, inside.dtype.type(info.max), inside))


def _trunc_div(a: Array, b: Array) -> Array:
    if a.dtype.kind not in "iu":
        return np.trunc(np.divide(a, b))
    # numpy rounds down, C towards zero: one more where the division is inexact and the signs differ.
    quotient = np.floor_divide(a, b)
    inexact = np.multiply(quotient, b) != a
    return np.where(inexact & (b != 0) & ((a < 0) != (b < 0)), quotient + quotient.dtype.type(1), quotient)


def _sigmoid(x: Array) -> Array:
    # The exponent is never positive, so nothing overflows; the numerator is e for x < 0, else 1.
    e = np.exp(-np.abs(x))
    return np.asarray(np.where(x >= 0, 1, e) / (1 + e))


def _fma(a: Array, b: Array, c: Array) -> Array:
    if a.dtype != np.float64:
        # The product of two float32 numbers (24 bits each) is exact in float64 (53 bits).
        return np.asarray(a.astype(np.float64) * b + c).astype(a.dtype)
    # Dekker's products of halves give the rounding error of a*b, Knuth's sum that of the addition.
    product = a * b
    (ah, al), (bh, bl) = _halves(a), _halves(b)
    product_error = ((ah * bh - product) + ah * bl + al * bh) + al * bl
    total = product + c
    rest = total - product
    sum_error = (product - (total - rest)) + (c - rest)
    exact = total + (product_error + sum_error)
    # Near the largest numbers the splitting overflows, and infinities make the error terms
    # NaN: the plain result stands there.
    return np.where(np.isfinite(exact), exact, total)


def _halves(x: Array) -> tuple[Array, Array]:
    # Veltkamp's splitting: high has the upper 26 bits, so products of such halves are exact.
    scaled = x * 134217729.0  # 2**27 + 1
    high = scaled - (scaled - x)
    return high, x - high


def _each(function: Callable[[float], float]) -> Callable[[Array], Array]:
    """A scalar function that numpy lacks as a function of arrays: one call per element, in float64."""
    ufunc = np.frompyfunc(function, 1, 1)

    def apply(x: Array) -> Array:
        return np.asarray(ufunc(np.asarray(x).astype(np.float64))).astype(np.float64)

    return apply


def lgamma(x: float) -> float:
    """log |gamma(x)|, infinite at the poles."""
    # math.lgamma raises at the poles, where the compiled function gives infinity.
    if math.isinf(x):
        return math.inf
    return math.inf if x <= 0 and x == math.floor(x) else math.lgamma(x)


_ROUNDING = ("floor", "ceil", "round", "trunc")
_UNARY: dict[str, Callable[..., Any]] = {
    "neg": np.negative, "abs": np.absolute, "floor": np.floor, "ceil": np.ceil, "round": np.rint, "trunc": np.trunc,
    "sqrt": np.sqrt, "not": np.logical_not, "invert": np.invert,
}  # fmt: skip
_BINARY: dict[str, Callable[..., Any]] = {
    "add": np.add, "sub": np.subtract, "mul": np.multiply, "div": np.divide, "floordiv": np.floor_divide,
    "mod": np.remainder, "truncdiv": _trunc_div, "truncmod": np.fmod, "max": np.maximum, "min": np.minimum,
    "and": np.bitwise_and, "or": np.bitwise_or, "xor": np.bitwise_xor, "shl": np.left_shift, "shr": np.right_shift,
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip
_CALLS: dict[str, Callable[..., Any]] = {
    "exp": np.exp, "exp_nonpositive": np.exp,
    "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "sin": np.sin, "cos": np.cos, "tan": np.tan,
    "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh, "tanh": np.tanh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "erf": _each(math.erf), "erfc": _each(math.erfc),
    "lgamma": _each(lgamma), "sigmoid": _sigmoid, "pow": np.power, "atan2": np.arctan2, "fma": _fma,
}  # fmt: skip
assert set(_UNARY) == set(UNARY) and set(_BINARY) == {*ARITHMETIC, *COMPARE} and set(_CALLS) == set(CALLS)
