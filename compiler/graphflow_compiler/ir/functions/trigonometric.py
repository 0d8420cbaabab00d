"""sin, cos, tan and their inverses.

x = n pi/2 + r with pi/2 in three pieces, subtracted with fma: the first difference is exact, so r is good even where it is
tiny. That holds up to `limit`; beyond, the C library's exact reduction is called, where any lane needs it at all.
"""

from __future__ import annotations

from graphflow.framework.dtypes import int32
from graphflow.framework.records import record
from graphflow_compiler.ir.functions.floats import FLOAT32, A, Arithmetic


@record(frozen=True, slots=True)
class _Coefficients:
    half_pi: tuple[float, float, float]
    limit: float  # largest |x| that `_reduce` is exact enough for
    sine: tuple[float, ...]  # sin r = r + r^3 s(r^2)
    cosine: tuple[float, ...]  # cos r = 1 - r^2 / 2 + r^4 c(r^2)


_TABLES = {
    "float32": _Coefficients(
        (1.57079637050628662109375, -4.37113900018624283e-8, -1.7151245100059906e-15),
        100000.0,
        (-0.00019507446268107742, 0.008332104422152042, -0.16666653752326965),
        (2.4429415134363808e-05, -0.001388729433529079, 0.04166664555668831),
    ),
    # The polynomials of FreeBSD's k_sin.c and k_cos.c.
    "float64": _Coefficients(
        (1.5707963267948966, 6.123233995736766e-17, -1.4973849048591833e-33),
        3.0e7,
        (
            1.58969099521155010221e-10, -2.50507602534068634195e-08, 2.75573137070700676789e-06, -1.98412698298579493134e-04,
            8.33333333332248946124e-03, -1.66666666666666324348e-01,
        ),
        (
            -1.13596475577881948265e-11, 2.08757232129817482790e-09, -2.75573143513906633035e-07, 2.48015872894767294178e-05,
            -1.38888888888741095749e-03, 4.16666666666666019037e-02,
        ),
    ),
}  # fmt: skip
# tan r = r + r^3 t(r^2)
_TAN = (
    0.004505029413849115, -0.00016385845083277673, 0.011028519831597805, 0.02121126651763916, 0.0540727861225605,
    0.13332560658454895, 0.3333335220813751,
)  # fmt: skip
# asin x = x + x^3 a(x^2) for |x| <= 1/2
_ASIN = (0.04216641187667847, 0.02418077364563942, 0.045469772070646286, 0.07495306432247162, 0.16666752099990845)
# atan x = x + x^3 a(x^2) for |x| <= 1
_ATAN = (
    -0.001788572990335524, 0.01089128665626049, -0.031132852658629417, 0.057910673320293427, -0.08400595933198929,
    0.10951168835163116, -0.14264041185379028, 0.1999852955341339, -0.33333298563957214,
)  # fmt: skip
# pi/2 as float32, and what that leaves out.
_HALF_PI = 1.5707963705062866
_HALF_PI_LOW = -4.371139000186243e-08


def _reduce(m: Arithmetic[A], x: A) -> tuple[A, A]:
    """Cody-Waite reduction: (n in the low bits of a float, r = x - n pi/2)."""
    first, second, third = _TABLES[m.form.dtype.name].half_pi
    shifted, n = m.round_magic(x, 0.6366197723675814)
    r = m.fma(n, -first, x)
    r = m.fma(n, -second, r)
    return shifted, m.fma(n, -third, r)


def _with_rare_case(m: Arithmetic[A], fn: str, x: A, result: A) -> A:
    """`result`, but the C library's value where x is too large for `_reduce`.

    Lanes that do not need the library pass 0; if all do, code generation jumps over the call (`Instructions._rare_call`).
    """
    b = m.b
    large = b.gt(b.abs(x), _TABLES[m.form.dtype.name].limit)
    return b.select(large, b.library_call(fn, b.select(large, x, 0.0)), result)


def _sine_or_cosine(m: Arithmetic[A], x: A, quarter_turns: int) -> A:
    b = m.b
    table = _TABLES[m.form.dtype.name]
    shifted, r = _reduce(m, x)
    quadrant = m.bits(shifted)
    if quarter_turns:
        quadrant = m.bit_op("add", quadrant, quarter_turns)
    z = b.mul(r, r)
    s = m.fma(b.mul(m.polynomial(z, table.sine), z), r, r)
    c = b.add(m.fma(b.mul(m.polynomial(z, table.cosine), z), z, b.mul(z, -0.5)), 1.0)
    # Odd quadrants swap sine and cosine; bit 1 of the quadrant moves up to become the sign bit.
    odd = b.binary("ne", m.bit_op("and", quadrant, 1), b.const(0, m.form.unsigned))
    sign = m.bit_op("shl", m.bit_op("and", quadrant, 2), m.form.dtype.size * 8 - 2)
    return m.from_bits(b.xor(m.bits(b.select(odd, c, s)), sign))


def sin(m: Arithmetic[A], x: A) -> A:
    return _with_rare_case(m, "sin", x, m.keep_tiny(x, _sine_or_cosine(m, x, 0)))


def cos(m: Arithmetic[A], x: A) -> A:
    return _with_rare_case(m, "cos", x, _sine_or_cosine(m, x, 1))


def tan(m: Arithmetic[A], x: A) -> A:
    b = m.b
    assert m.form is FLOAT32
    shifted, r = _reduce(m, x)
    z = b.mul(r, r)
    t = m.fma(b.mul(m.polynomial(z, _TAN), z), r, r)
    odd = b.binary("ne", m.bit_op("and", m.bits(shifted), 1), b.const(0, m.form.unsigned))
    return _with_rare_case(m, "tan", x, m.keep_tiny(x, b.select(odd, b.div(-1.0, t), t)))


def _asin_parts(m: Arithmetic[A], x: A) -> tuple[A, A]:
    """(whether |x| > 1/2, asin |x| or else asin sqrt((1 - |x|) / 2)). NaN for |x| > 1."""
    b = m.b
    a = b.abs(x)
    big = b.gt(a, 0.5)
    z = b.select(big, m.fma(a, -0.5, 0.5), b.mul(a, a))
    s = b.select(big, b.sqrt(z), a)
    return big, m.fma(b.mul(m.polynomial(z, _ASIN), z), s, s)


def asin(m: Arithmetic[A], x: A) -> A:
    """pi/2 - 2 asin sqrt((1 - a) / 2) for a = |x| > 1/2"""
    b = m.b
    big, p = _asin_parts(m, x)
    y = b.select(big, b.sub(_HALF_PI, b.sub(b.add(p, p), _HALF_PI_LOW)), p)
    return m.with_sign_of(y, x)


def acos(m: Arithmetic[A], x: A) -> A:
    """2 asin sqrt((1 - a) / 2) for a = |x| > 1/2, pi minus that for negative x; pi/2 - asin x between"""
    b = m.b
    big, p = _asin_parts(m, x)
    negative = b.lt(x, 0.0)
    double = b.add(p, p)
    outer = b.select(negative, b.sub(2 * _HALF_PI, b.sub(double, 2 * _HALF_PI_LOW)), double)
    inner = b.sub(_HALF_PI, b.sub(b.select(negative, b.neg(p), p), _HALF_PI_LOW))
    return b.select(big, outer, inner)


def _atan_to_one(m: Arithmetic[A], x: A) -> A:
    z = m.b.mul(x, x)
    return m.fma(m.b.mul(m.polynomial(z, _ATAN), z), x, x)


def atan(m: Arithmetic[A], x: A) -> A:
    """pi/2 - atan(1 / a) for a = |x| > 1"""
    b = m.b
    a = b.abs(x)
    big = b.gt(a, 1.0)
    p = _atan_to_one(m, b.select(big, b.div(1.0, a), a))
    return m.with_sign_of(b.select(big, b.sub(_HALF_PI, b.sub(p, _HALF_PI_LOW)), p), x)


def atan2(m: Arithmetic[A], y: A, x: A) -> A:
    """The angle of (x, y): atan of the smaller over the larger, then moved to its octant."""
    b = m.b
    ax, ay = b.abs(x), b.abs(y)
    large, small = b.maximum(ax, ay), b.minimum(ax, ay)
    # 0 / 0 and inf / inf are NaN, but C defines these angles.
    ratio = b.div(small, large)
    ratio = b.select(b.eq(large, 0.0), 0.0, ratio)
    ratio = b.select(b.eq(small, float("inf")), 1.0, ratio)
    p = _atan_to_one(m, ratio)
    p = b.select(b.gt(ay, ax), b.sub(_HALF_PI, b.sub(p, _HALF_PI_LOW)), p)
    left = b.lt(b.bitcast(x, int32), 0)  # by its sign bit: -0 counts
    p = b.select(left, b.sub(2 * _HALF_PI, b.sub(p, 2 * _HALF_PI_LOW)), p)
    return m.with_sign_of(p, y)
