"""pow of float32, computed as exp2(y log2 |x|) in float64: the product needs more digits than float32 has."""

from __future__ import annotations

from graphflow.framework.dtypes import float32, float64
from graphflow_compiler.ir.functions.floats import FLOAT32, FLOAT64, A, Arithmetic
from graphflow_compiler.ir.functions.logarithm import exponent_as_float, split

# log2 m = s p(s^2), s = (m - 1) / (m + 1): error 2^-45
_LOG2 = (
    0.28292311103089796, 0.3199041759981159, 0.4122092872176114, 0.5770779420443097, 0.9617966941143518, 2.8853900817778495,
)  # fmt: skip
# 2^r, |r| <= 1/2: error 2^-29
_EXP2 = (
    0.00015345768806662594, 0.001339995726192113, 0.009618489331744716, 0.05550328713104347, 0.24022646885224022,
    0.6931472057660786, 1.0000000005551386,
)  # fmt: skip
_INFINITY = float("inf")


def _log2(m: Arithmetic[A], a: A) -> A:
    """float64 log2 of a positive float32."""
    b = m.b
    tiny = b.lt(a, m.form.smallest_normal)
    exponent, fraction = split(m, b.select(tiny, b.mul(a, float(1 << 23)), a))
    e = b.sub(exponent_as_float(m, exponent), b.select(tiny, m.const(23.0), 0.0))
    wide = Arithmetic(b, FLOAT64)
    x = b.cast(m.from_bits(fraction), float64)
    s = b.div(b.sub(x, 1.0), b.add(x, 1.0))
    return wide.fma(s, wide.polynomial(b.mul(s, s), _LOG2), b.cast(e, float64))


def _exp2(m: Arithmetic[A], t: A) -> A:
    """float32 2^t of a float64."""
    b = m.b
    wide = Arithmetic(b, FLOAT64)
    t = wide.at_least(wide.at_most(t, 160.0), -160.0)  # far enough for inf and 0 in float32
    shifted, n = wide.round_exponent(t, 1.0)
    p = wide.polynomial(b.sub(t, n), _EXP2)
    return b.cast(b.mul(p, wide.power_of_two(shifted)), float32)


def power(m: Arithmetic[A], x: A, y: A) -> A:
    """With the special cases of C's pow."""
    b = m.b
    assert m.form is FLOAT32
    a = b.abs(x)
    zero_or_infinite = b.or_(b.eq(a, 0.0), b.eq(a, _INFINITY))
    # log2 of 0 and inf, as float32 infinities; NaN gives garbage, and is put back at the end.
    limit = b.select(b.eq(a, 0.0), m.const(-_INFINITY), _INFINITY)
    logarithm = b.select(zero_or_infinite, b.cast(limit, float64), _log2(m, a))
    result = _exp2(m, b.mul(b.cast(y, float64), logarithm))

    is_integer = b.eq(b.unary("floor", y), y)
    half = b.mul(y, 0.5)
    odd = b.and_(is_integer, b.ne(b.unary("floor", half), half))
    # By its sign bit, since -0.0 counts: (-0.0) ** -1 is -inf.
    negative = b.lt(b.bitcast(x, m.form.signed), 0)
    sign = b.select(b.and_(negative, odd), b.const(1 << 31, m.form.unsigned), b.const(0, m.form.unsigned))
    result = m.from_bits(b.or_(m.bits(result), sign))

    finite_negative = b.and_(b.lt(x, 0.0), b.gt(x, -_INFINITY))
    result = b.select(b.and_(finite_negative, b.not_(is_integer)), float("nan"), result)
    result = b.select(b.or_(b.is_nan(x), b.is_nan(y)), b.add(x, y), result)
    # After the rule for NaN: C wants 1 ** NaN and NaN ** 0 to be 1, and (-1) ** inf too.
    one = b.or_(b.eq(x, 1.0), b.eq(y, 0.0))
    one = b.or_(one, b.and_(b.eq(x, -1.0), b.eq(b.abs(y), _INFINITY)))
    return b.select(one, 1.0, result)
