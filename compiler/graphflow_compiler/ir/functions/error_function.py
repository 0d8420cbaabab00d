"""erf: an odd polynomial for small arguments, 1 - exp(-g(x)) with g = -log erfc elsewhere."""

from __future__ import annotations

from graphflow_compiler.ir.functions.exponential import exp_to_normal
from graphflow_compiler.ir.functions.floats import FLOAT32, A, Arithmetic

# float32: both polynomials are N. Juffa's. erf x = x + x p(x^2) below the switch; g(x) = x + x h(x) above.
_SMALL32 = (-5.96761703e-4, 4.99119423e-3, -2.67681349e-2, 1.12819925e-1, -3.76125336e-1, 1.28379166e-1)
_SWITCH32 = 0.927734375
# float64: erf x = x + x p(x^2) up to 1; g is a polynomial in x - 2 up to 6, from where erf is 1.
_SMALL64 = (
    -7.607828818701155e-10, 1.3616707509818543e-08, -1.6183992852723603e-07, 1.6444150750532513e-06, -1.4924465650575808e-05,
    0.00012055280496937048, -0.000854832548500511, 0.005223977596735928, -0.02686617064195914, 0.1128379167093695,
    -0.37612638903183343, 0.12837916709551256,
)  # fmt: skip
_LARGE64 = (
    5.107280390331572e-12, -3.780252710276457e-11, 7.175533831716528e-11, 2.6258791518748895e-10, -2.6131017727433667e-09,
    1.397758584934317e-08, -5.7689245685472156e-08, 1.7318703806114972e-07, -2.0373238208835625e-07, -1.952197686823587e-06,
    2.0706471716671612e-05, -0.00013530932686727732, 0.0007323993782243521, -0.003570756348422004, 0.016465118137299593,
    0.92375084182397, 4.418160805994417, 5.364941264616636,
)  # fmt: skip


def erf(m: Arithmetic[A], x: A) -> A:
    b = m.b
    a = b.abs(x)
    z = b.mul(x, x)
    # The clamps lie where erf already rounds to 1, and keep the exponent in the range that `exp_to_normal` takes.
    if m.form is FLOAT32:
        t = m.at_most(a, 4.0)
        q = b.mul(t, t)
        r = m.fma(-1.72853470e-5, t, 3.83197126e-4)
        r = m.fma(r, q, m.fma(-3.88396438e-3, t, 2.42546219e-2))
        for c in (-1.06777877e-1, -6.34846687e-1, -1.28717512e-1):
            r = m.fma(r, t, c)
        exponent = m.fma(r, t, b.neg(t))
        small, is_large = m.fma(m.polynomial(z, _SMALL32), x, x), b.gt(a, _SWITCH32)
    else:
        t = m.at_most(a, 6.0)
        exponent = b.neg(m.polynomial(b.sub(t, 2.0), _LARGE64))
        small, is_large = m.fma(m.polynomial(z, _SMALL64), x, x), b.gt(a, 1.0)
    large = m.with_sign_of(b.sub(1.0, exp_to_normal(m, exponent)), x)
    return b.select(is_large, large, small)
