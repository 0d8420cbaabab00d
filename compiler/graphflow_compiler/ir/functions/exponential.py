"""exp and the functions built on it: expm1, sigmoid, tanh, sinh, cosh.

exp(x) = 2^n exp(r) with n = round(x / ln 2), |r| <= ln 2 / 2. All start from expm1(r) = r + r^2 q(r), q a minimax polynomial.
"""

from __future__ import annotations

from graphflow.framework.records import record
from graphflow_compiler.ir.functions.floats import FLOAT32, A, Arithmetic

# q for exp: smallest error relative to exp(r).
_EXP = {
    "float32": (0.0014035687781870365, 0.008372289128601551, 0.04166555032134056, 0.16666488349437714, 0.5),
    "float64": (
        2.502279701351314e-08, 2.763081389397209e-07, 2.7557530007968845e-06, 2.4801491694745258e-05, 0.00019841269557005554,
        0.0013888888944888146, 0.008333333333475712, 0.04166666666652574, 0.16666666666666435, 0.5000000000000011,
    ),
}  # fmt: skip
# q for expm1: smallest error relative to expm1(r), which takes one more term.
_EXPM1 = {
    "float32": (
        0.0001966452255146578, 0.001393504673615098, 0.008333642967045307, 0.04166646674275398, 0.1666666567325592, 0.5,
    ),
    "float64": (
        1.6806123452747113e-09, 2.5094895319908317e-08, 2.757108915836724e-07, 2.7557279155048307e-06, 2.4801571188190823e-05,
        0.00019841269860788942, 0.001388888889695645, 0.00833333333332855, 0.041666666666648526, 0.1666666666666667,
        0.5000000000000001,
    ),
}  # fmt: skip


@record(frozen=True, slots=True)
class _Range:
    """The arguments from which on results are 0, inf or 1, per format."""

    overflow: float  # exp is inf from here
    underflow: float  # exp is 0 below
    normal: float  # 2^n is a normal number from here on
    minus_one: float  # expm1 is -1 below
    one: float  # tanh(x / 2) is 1 from here on
    sinh_overflow: float


# The clamps lie outside the exact thresholds (88.72 and -103.97 in float32), so they change no finite result; `normal` lies
# inside its own (-87.34), so that rounding n cannot leave the normal range.
_RANGES = {
    "float32": _Range(89.0, -104.0, -87.0, -18.0, 20.0, 89.5),
    "float64": _Range(710.0, -746.0, -708.0, -38.0, 40.0, 710.5),
}


def _range(m: Arithmetic[A]) -> _Range:
    return _RANGES[m.form.dtype.name]


def _reduce(m: Arithmetic[A], x: A, offset: int = 0) -> tuple[A, A, A]:
    """(for `power_of_two` of n + offset, n, r)"""
    shifted, n = m.round_exponent(x, m.form.log2_e, offset)
    r = m.fma(n, -m.form.ln2_high, x)
    return shifted, n, m.fma(n, -m.form.ln2_low, r)


def _expm1_of_rest(m: Arithmetic[A], r: A) -> A:
    return m.fma(m.b.mul(r, r), m.polynomial(r, _EXPM1[m.form.dtype.name]), r)


def _exp_of_rest(m: Arithmetic[A], r: A) -> A:
    return m.polynomial(r, (*_EXP[m.form.dtype.name], 1.0, 1.0))


def exp(m: Arithmetic[A], x: A) -> A:
    """Overflows to inf, underflows through the denormals to 0, keeps NaN."""
    t = m.at_least(m.at_most(x, _range(m).overflow), _range(m).underflow)
    shifted, n, r = _reduce(m, t)
    # 2^n in two halves: n may be 128 (overflow happens in the product) or below -126 (denormal results).
    half, n1 = m.round_exponent(n, 0.5)
    rest = m.b.sub(shifted, n1)
    y = m.b.mul(_exp_of_rest(m, r), m.power_of_two(half))
    return m.b.mul(y, m.power_of_two(rest))


def exp_to_normal(m: Arithmetic[A], x: A) -> A:
    """exp where it does not matter that denormal results are off: one factor less. Wants x >= `normal`.

    In the last factor of 2 below the overflow threshold the result is inf already.
    """
    shifted, _, r = _reduce(m, x)
    return m.b.mul(_exp_of_rest(m, r), m.power_of_two(shifted))


def exp_nonpositive(m: Arithmetic[A], x: A) -> A:
    """exp for x <= 0, as in a softmax: no overflow, and 0 instead of the few numbers before the denormal ones.

    The select drops what `exp_to_normal` makes of smaller numbers, which is nonsense.
    """
    return m.b.select(m.b.lt(x, _range(m).normal), 0.0, exp_to_normal(m, x))


def sigmoid(m: Arithmetic[A], x: A) -> A:
    """1 / (1 + exp(-x)), denormal results are 0."""
    t = m.at_least(m.at_most(m.b.neg(x), _range(m).overflow), _range(m).normal)
    shifted, _, r = _reduce(m, t)
    return m.b.div(1.0, m.fma(_exp_of_rest(m, r), m.power_of_two(shifted), 1.0))


def expm1(m: Arithmetic[A], x: A) -> A:
    t = m.at_least(m.at_most(x, _range(m).overflow), _range(m).minus_one)
    shifted, _, r = _reduce(m, t, -1)
    half = m.power_of_two(shifted)  # 2^(n-1), as 2^n may not be finite
    y = m.fma(half, _expm1_of_rest(m, r), m.b.sub(half, 0.5))
    return m.keep_tiny(x, m.b.add(y, y))


def tanh(m: Arithmetic[A], x: A) -> A:
    """e / (e + 2) with e = expm1(2|x|), and the sign of x: no cancellation anywhere."""
    a = m.b.abs(x)
    t = m.at_most(m.b.add(a, a), _range(m).one)
    shifted, n = m.round_exponent(t, m.form.log2_e)
    r = m.fma(n, -m.form.ln2_high, t)
    if m.form is not FLOAT32:  # there ln 2 in one piece is exact enough: n <= 29, and large e hardly matter
        r = m.fma(n, -m.form.ln2_low, r)
    scale = m.power_of_two(shifted)
    e = m.fma(scale, _expm1_of_rest(m, r), m.b.sub(scale, 1.0))
    return m.with_sign_of(m.b.div(e, m.b.add(e, 2.0)), x)


def _quarter_expm1(m: Arithmetic[A], a: A) -> A:
    """expm1(a) / 4 for a >= 0: finite for all a for which sinh is."""
    shifted, _, r = _reduce(m, m.at_most(a, _range(m).sinh_overflow), -2)
    scale = m.power_of_two(shifted)
    return m.fma(scale, _expm1_of_rest(m, r), m.b.sub(scale, 0.25))


def sinh(m: Arithmetic[A], x: A) -> A:
    """(e + e / (e + 1)) / 2 with e = expm1(|x|)"""
    q = _quarter_expm1(m, m.b.abs(x))
    half = m.b.add(q, m.b.div(q, m.fma(q, 4.0, 1.0)))
    return m.keep_tiny(x, m.with_sign_of(m.b.add(half, half), x))


def cosh(m: Arithmetic[A], x: A) -> A:
    # With q = exp(|x|) / 4 this is 2 q + 1 / (8 q): no intermediate overflows before the result does.
    q = m.b.add(_quarter_expm1(m, m.b.abs(x)), 0.25)
    return m.b.add(m.b.add(q, q), m.b.div(0.125, q))
