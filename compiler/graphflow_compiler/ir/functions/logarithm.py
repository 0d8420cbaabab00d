"""log and the functions built on it: log(m 2^e) = log m + e ln 2 with sqrt(1/2) <= m < sqrt(2)."""

from __future__ import annotations

from graphflow_compiler.ir.functions.floats import FLOAT32, A, Arithmetic

# log(1 + f) = f - f^2 / 2 + f^3 q(f)
_LOG32 = (
    -0.07645302265882492, 0.12768447399139404, -0.1315956562757492, 0.14200840890407562, -0.16623325645923615,
    0.20001262426376343, -0.250008225440979, 0.3333333134651184,
)  # fmt: skip
# log(1 + f) = f - f^2 / 2 + s (f^2 / 2 + s^2 q(s^2)), s = f / (2 + f); the polynomial of FreeBSD's e_log.c
_LOG64 = (
    1.479819860511658591e-01, 1.531383769920937332e-01, 1.818357216161805012e-01, 2.222219843214978396e-01,
    2.857142874366239149e-01, 3.999999999940941908e-01, 6.666666666666735130e-01,
)  # fmt: skip
_LN2 = 0.6931471805599453


def split(m: Arithmetic[A], x: A) -> tuple[A, A]:
    """(e + bias as an integer, bits of m), for normal positive x."""
    f = m.form
    # This subtraction makes the exponent field change at sqrt(1/2) instead of at 1.
    offset = m.bit_op("add", m.bits(x), (f.bias << f.mantissa) - f.sqrt_half)
    exponent = m.bit_op("shr", offset, f.mantissa)
    fraction = m.bit_op("add", m.bit_op("and", offset, (1 << f.mantissa) - 1), f.sqrt_half)
    return exponent, fraction


def exponent_as_float(m: Arithmetic[A], exponent: A) -> A:
    # In 2^mantissa + k the low bits are k: this works without an instruction for 64-bit integers to double.
    unit = float(1 << m.form.mantissa)
    unit_bits = (m.form.bias + m.form.mantissa) << m.form.mantissa
    return m.b.sub(m.from_bits(m.bit_op("or", exponent, unit_bits)), unit + m.form.bias)


def _log1p_plus(m: Arithmetic[A], f: A, e: A) -> A:
    """log(1 + f) + e ln 2 for 1 + f in [sqrt(1/2), sqrt(2)]."""
    b = m.b
    if m.form is FLOAT32:
        z = b.mul(f, f)
        y = b.mul(b.mul(m.polynomial(f, _LOG32), f), z)
        # ln 2 in two pieces, of which e times the first is exact.
        y = m.fma(e, -2.12194440e-4, y)
        y = m.fma(z, -0.5, y)
        return m.fma(e, 0.693359375, b.add(f, y))
    # Here too e times the high piece of ln 2 is exact: its low bits are 0.
    half_square = b.mul(b.mul(f, 0.5), f)
    s = b.div(f, b.add(f, 2.0))
    z = b.mul(s, s)
    r = b.mul(z, m.polynomial(z, _LOG64))
    low = m.fma(s, b.add(half_square, r), b.mul(e, 1.90821492927058770002e-10))
    return m.fma(e, 6.93147180369123816490e-01, b.sub(f, b.sub(half_square, low)))


def log(m: Arithmetic[A], x: A) -> A:
    b = m.b
    digits = m.form.mantissa
    # `split` wants normal numbers: denormals are scaled up by 2^digits, which e then makes good.
    tiny = b.lt(x, m.form.smallest_normal)
    scaled = b.select(tiny, b.mul(x, float(1 << digits)), x)
    exponent, fraction = split(m, scaled)
    e = b.sub(exponent_as_float(m, exponent), b.select(tiny, m.const(digits), 0.0))
    result = _log1p_plus(m, b.sub(m.from_bits(fraction), 1.0), e)
    result = b.select(b.eq(x, float("inf")), x, result)
    return _outside(m, x, result, 0.0)


def _outside(m: Arithmetic[A], x: A, result: A, pole: float) -> A:
    """-inf at the pole; NaN where x is below it, or NaN."""
    bad = m.b.select(m.b.eq(x, pole), m.const(float("-inf")), float("nan"))
    return m.b.select(m.b.gt(x, pole), result, bad)


def log1p(m: Arithmetic[A], x: A) -> A:
    """With e from 1 + x, the rest is computed from x itself: f = x 2^-e + (2^-e - 1) has one rounding."""
    b = m.b
    f = m.form
    exponent, _ = split(m, b.add(x, 1.0))
    # 4 * 2^-e, as 2^-e may be denormal
    bits = m.bit_op("shl", b.sub(b.const(2 * f.bias + 2, f.unsigned), exponent), f.mantissa)
    scale = m.from_bits(bits)
    rest = m.fma(b.mul(x, 0.25), scale, m.fma(scale, 0.25, -1.0))
    result = _log1p_plus(m, rest, exponent_as_float(m, exponent))
    result = m.keep_tiny(x, result)
    result = b.select(b.eq(x, float("inf")), x, result)
    return _outside(m, x, result, -1.0)


#: From here on 1 + x^2 is x^2, whose square root is x.
_BIG = 1e10


def asinh(m: Arithmetic[A], x: A) -> A:
    """log1p(a + a^2 / (1 + sqrt(1 + a^2))), a = |x|; log a + log 2 for large a."""
    b = m.b
    a = b.abs(x)
    square = b.mul(a, a)
    u = b.add(a, b.div(square, b.add(b.sqrt(b.add(square, 1.0)), 1.0)))
    big = b.gt(a, _BIG)
    y = b.add(log1p(m, b.select(big, a, u)), b.select(big, m.const(_LN2), 0.0))
    return m.with_sign_of(y, x)


def acosh(m: Arithmetic[A], x: A) -> A:
    """log1p(t + sqrt(t (t + 2))), t = x - 1"""
    b = m.b
    t = b.sub(x, 1.0)
    u = b.add(t, b.sqrt(b.mul(t, b.add(t, 2.0))))
    big = b.gt(x, _BIG)
    y = b.add(log1p(m, b.select(big, x, u)), b.select(big, m.const(_LN2), 0.0))
    return b.select(b.ge(x, 1.0), y, float("nan"))


def atanh(m: Arithmetic[A], x: A) -> A:
    """log1p(2a / (1 - a)) / 2, a = |x|"""
    b = m.b
    a = b.abs(x)
    y = log1p(m, b.div(b.add(a, a), b.sub(1.0, a)))
    return m.with_sign_of(b.mul(y, 0.5), x)
