"""float32 functions as primitive operations: no calls, so they vectorise on every target.

`expand(b, fn, args)` gives the expression, or None where the C library's function is called lane by lane instead (float64,
and functions that are rare). Polynomials are minimax fits on the reduced range; the comments give the largest error found
by `tests/test_vector_math.py`'s sweeps in units in the last place (ulp).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from graphflow.dtypes import DType, float32, int32

A = TypeVar("A")


class Builder(Protocol[A]):
    """The part of ScalarBuilder used here."""

    def const(self, value: float | int | bool, dtype: DType) -> A: ...
    def dtype(self, x: A) -> DType: ...
    def unary(self, op: str, x: A) -> A: ...
    def binary(self, op: str, a: A, b: A) -> A: ...
    def select(self, condition: A, a: A, b: A) -> A: ...
    def cast(self, x: A, dtype: DType) -> A: ...
    def bitcast(self, x: A, dtype: DType) -> A: ...
    def call(self, fn: str, *args: A) -> A: ...


def expand(b: Builder[A], fn: str, args: Sequence[A]) -> A | None:
    """The function on float32 in primitive operations; None if it has no such form."""
    if fn == "sigmoid":
        return _sigmoid(b, args[0])
    if b.dtype(args[0]) is not float32:
        return None
    rule = {"exp": _exp, "log": _log, "tanh": _tanh, "erf": _erf}.get(fn)
    return None if rule is None else rule(b, args[0])


def _c(b: Builder[A], value: float) -> A:
    return b.const(value, float32)


def _poly(b: Builder[A], x: A, coefficients: Sequence[float]) -> A:
    """Horner's rule, highest power first."""
    result = _c(b, coefficients[0])
    for c in coefficients[1:]:
        result = b.call("fma", result, x, _c(b, c))
    return result


def _exp(b: Builder[A], x: A) -> A:
    """exp(x) = 2^n exp(r), |r| <= ln 2 / 2. Overflows to inf, underflows through the denormals to 0, keeps NaN. 1 ulp."""
    high, low = _c(b, 89.0), _c(b, -105.0)
    t = b.select(b.binary("gt", x, high), high, x)
    t = b.select(b.binary("lt", t, low), low, t)
    magic = 12582912.0  # 1.5 * 2^23: adding it rounds to an integer, which then sits in the low bits
    shifted = b.call("fma", t, _c(b, 1.4426950408889634), _c(b, magic))
    n = b.binary("sub", shifted, _c(b, magic))
    r = b.call("fma", n, _c(b, -0.693145751953125), t)
    r = b.call("fma", n, _c(b, -1.428606765330187e-06), r)
    p = _poly(b, r, (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1))
    y = b.call("fma", b.binary("mul", r, r), p, b.binary("add", r, _c(b, 1.0)))
    # 2^n in two halves: n may be 128 (overflow by the product) or below -126 (denormal results).
    k = b.binary("sub", b.bitcast(shifted, int32), b.const(0x4B400000, int32))
    half = b.binary("shr", k, b.const(1, int32))
    rest = b.binary("sub", k, half)

    def power(e: A) -> A:
        bits = b.binary("shl", b.binary("add", e, b.const(127, int32)), b.const(23, int32))
        return b.bitcast(bits, float32)

    return b.binary("mul", b.binary("mul", y, power(half)), power(rest))


def _log(b: Builder[A], x: A) -> A:
    """log(m 2^e) = log m + e ln 2 with sqrt(1/2) <= m < sqrt(2) (Cephes logf). 1 ulp."""
    tiny = b.binary("lt", x, _c(b, 1.1754943508222875e-38))
    scaled = b.select(tiny, b.binary("mul", x, _c(b, 8388608.0)), x)
    bits = b.bitcast(scaled, int32)
    # Subtracting the bits of sqrt(1/2) puts the exponent of m's range into the top bits.
    offset = b.binary("sub", bits, b.const(0x3F3504F3, int32))
    e = b.binary("shr", offset, b.const(23, int32))
    m = b.bitcast(b.binary("sub", bits, b.binary("shl", e, b.const(23, int32))), float32)
    exponent = b.binary("sub", b.cast(e, float32), b.select(tiny, _c(b, 23.0), _c(b, 0.0)))
    f = b.binary("sub", m, _c(b, 1.0))
    p = _poly(
        b,
        f,
        (
            7.0376836292e-2, -1.1514610310e-1, 1.1676998740e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1,
            2.0000714765e-1, -2.4999993993e-1, 3.3333331174e-1,
        ),
    )  # fmt: skip
    z = b.binary("mul", f, f)
    y = b.binary("mul", b.binary("mul", p, f), z)
    y = b.call("fma", exponent, _c(b, -2.12194440e-4), y)
    y = b.call("fma", z, _c(b, -0.5), y)
    result = b.call("fma", exponent, _c(b, 0.693359375), b.binary("add", f, y))
    infinity = _c(b, float("inf"))
    result = b.select(b.binary("eq", x, infinity), infinity, result)
    result = b.select(b.binary("eq", x, _c(b, 0.0)), _c(b, float("-inf")), result)
    # Negative, or NaN: not (x >= 0).
    return b.select(b.binary("ge", x, _c(b, 0.0)), result, _c(b, float("nan")))


def _with_sign_of(b: Builder[A], magnitude: A, x: A) -> A:
    sign = b.binary("and", b.bitcast(x, int32), b.const(-(2**31), int32))
    return b.bitcast(b.binary("or", b.bitcast(magnitude, int32), sign), float32)


def _tanh(b: Builder[A], x: A) -> A:
    """1 - 2 / (exp(2|x|) + 1) with the sign of x; an odd polynomial below 0.625, where that would cancel. 2 ulp."""
    a = b.unary("abs", x)
    big = b.binary("sub", _c(b, 1.0), b.binary("div", _c(b, 2.0), b.binary("add", _exp(b, b.binary("add", a, a)), _c(b, 1.0))))
    z = b.binary("mul", x, x)
    p = _poly(b, z, (-5.70498872745e-3, 2.06390887954e-2, -5.37397155531e-2, 1.33314422036e-1, -3.33332819422e-1))
    small = b.call("fma", b.binary("mul", p, z), x, x)
    large = _with_sign_of(b, big, x)
    return b.select(b.binary("ge", a, _c(b, 0.625)), large, small)


def _sigmoid(b: Builder[A], x: A) -> A:
    """1 / (1 + exp(-x)). 2.5 ulp."""
    one = b.const(1.0, b.dtype(x))
    return b.binary("div", one, b.binary("add", one, b.call("exp", b.unary("neg", x))))


def _erf(b: Builder[A], x: A) -> A:
    """Rational minimax approximation x P(x^2) / Q(x^2) on [-4, 4]; beyond, erf is +-1 in float32."""
    four = _c(b, 4.0)
    t = b.select(b.binary("gt", x, four), four, x)
    t = b.select(b.binary("lt", t, _c(b, -4.0)), _c(b, -4.0), t)
    z = b.binary("mul", t, t)
    p = _poly(
        b,
        z,
        (
            -2.72614225801306e-10, 2.77068142495902e-08, -2.10102402082508e-06, -5.69250639462346e-05,
            -7.34990630326855e-04, -2.95459980854025e-03, -1.60960333262415e-02,
        ),
    )  # fmt: skip
    q = _poly(
        b,
        z,
        (-1.45660718464996e-05, -2.13374055278905e-04, -1.68282697438203e-03, -7.37332916720468e-03, -1.42647390514189e-02),
    )
    return b.binary("div", b.binary("mul", t, p), q)
