"""The Hurwitz zeta function, and the derivatives of digamma, which are made of it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.framework.dtypes import float32
from graphflow.framework.kinds import Elementwise
from graphflow.framework.registry import OpDef, Sample, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import quiet
from graphflow.ops._define.operands import build_binary
from graphflow.ops._define.samples import spread
from graphflow.ops._define.types import allowed, binary_infer
from graphflow.ops.math.unary import digamma_rule, reference_digamma

#: How many terms of the series are added up before Euler and Maclaurin's formula gives the rest.
_TERMS = 9
#: B_2k / (2k)!, the coefficients of that formula.
_EULER_MACLAURIN = (
    1 / 12, -1 / 720, 1 / 30240, -1 / 1209600, 1 / 47900160, -691 / 1307674368000, 1 / 74724249600,
    -3617 / 10670622842880000,
)  # fmt: skip


def _positive(b: ScalarBuilder[Any], s: Any, q: Any) -> Any:
    """zeta(s, q) for s > 1 and q > 0: the sum of (q + k)^-s over k = 0, 1, ..."""
    power = b.neg(s)
    total = b.call("pow", q, power)
    for k in range(1, _TERMS):
        total = b.add(total, b.call("pow", b.add(q, float(k)), power))
    w = b.add(q, float(_TERMS))
    last = b.call("pow", w, power)
    total = b.add(b.add(total, b.mul(last, 0.5)), b.div(b.mul(last, w), b.sub(s, 1.0)))
    # s / w, s (s + 1) (s + 2) / w^3 and so on, each from the one before.
    factor = b.mul(last, b.div(s, w))
    for k, c in enumerate(_EULER_MACLAURIN):
        total = b.add(total, b.mul(factor, c))
        for j in (2 * k + 1, 2 * k + 2):
            factor = b.mul(factor, b.div(b.add(s, float(j)), w))
    return total


def _in_full_precision(rule: Any) -> Any:
    """A rule that computes 16-bit floats in float32: they could not add up its terms."""

    def wide(b: ScalarBuilder[Any], attrs: Any, x: Any, y: Any) -> Any:
        dtype = b.dtype(x)
        return rule(b, x, y) if dtype.size > 2 else b.cast(rule(b, b.cast(x, float32), b.cast(y, float32)), dtype)

    return wide


def _zeta(b: ScalarBuilder[Any], s: Any, q: Any) -> Any:
    # Left of 0 the first terms, up to the last that is not positive, are a sum from the other side: of (k - q)^-s, which is
    # the difference of two zetas of positive arguments. `f` is q without whole steps.
    left = b.lt(q, 0)
    f = b.sub(q, b.unary("floor", q))
    half = b.mul(s, 0.5)
    is_even = b.eq(b.unary("floor", half), half)
    mirrored = b.sub(_positive(b, s, b.sub(1.0, f)), _positive(b, s, b.select(left, b.sub(1.0, q), 1.0)))
    result = _positive(b, s, b.select(left, f, q))
    result = b.select(left, b.add(result, b.select(is_even, mirrored, b.neg(mirrored))), result)
    # A pole at each whole q that is not positive; elsewhere left of 0 only whole powers are real. Large q are all whole.
    pole = b.and_(b.le(q, 0), b.eq(b.unary("floor", q), q))
    outside = b.or_(b.lt(s, 1), b.and_(left, b.ne(b.unary("floor", s), s)))
    result = b.select(b.or_(pole, b.eq(s, 1)), math.inf, result)
    result = b.select(b.eq(q, math.inf), 0.0, result)
    return b.select(b.or_(outside, b.or_(b.is_nan(s), b.is_nan(q))), math.nan, result)


def _power(x: float, y: float) -> float:
    # Python's own power raises where numpy's is infinite.
    return float(np.power(np.float64(x), y))


def _reference_positive(s: float, q: float) -> float:
    total = 0.0
    while q < 25:
        total, q = total + _power(q, -s), q + 1
    # Three terms of Euler and Maclaurin's formula are enough behind 25.
    rest = q / (s - 1) + 0.5 + s / (12 * q) - s * (s + 1) * (s + 2) / (720 * q**3)
    return total + _power(q, -s) * (rest + s * (s + 1) * (s + 2) * (s + 3) * (s + 4) / (30240 * q**5))


def _reference_zeta(s: float, q: float) -> float:
    if math.isnan(s) or math.isnan(q) or s < 1 or (q < 0 and s % 1):
        return math.nan
    if s == 1 or (q <= 0 and (math.isinf(q) or q == math.floor(q))):
        return math.inf
    if q == math.inf:
        return 0.0
    if q > 0:
        return _reference_positive(s, q)
    f = q - math.floor(q)
    mirrored = _reference_positive(s, 1 - f) - _reference_positive(s, 1 - q)
    return _reference_positive(s, f) + (mirrored if s % 2 == 0 else -mirrored)


def _op(name: str, rule: Any, reference: Any, args: tuple[str, str], first: list[Any], doc: str) -> OpDef:
    x = spread((9,), 0.3, 8.0)

    def samples() -> list[Sample]:
        pairs = [(n, x) for n in first] + [(np.full((2, 1), first[1]), x), (x[:0], x[:0]), (first[2], x[0])]
        return [Sample((np.asarray(n, np.float32), np.asarray(v)), wrt=(1,)) for n, v in pairs]

    return OpDef(
        name,
        Elementwise(_in_full_precision(rule), cheap=False),
        binary_infer("f", args),
        quiet(np.vectorize(reference, otypes=[np.float64])),
        samples,
        dtypes=allowed("f"),
        doc=doc,
    )


ZETA = register(_op("Zeta", _zeta, _reference_zeta, ("x", "q"), [1.5, 2, 3, 7.25], "The Hurwitz zeta function of x and q."))


def zeta(x: Any, q: Any, name: str | None = None) -> Tensor:
    """The Hurwitz zeta function: the sum of (q + k)^-x over k = 0, 1, ... There is no gradient with respect to x."""
    return build_binary(ZETA, x, q, name, ("x", "q"))


def _polygamma(b: ScalarBuilder[Any], n: Any, x: Any) -> Any:
    # (-1)^(n + 1) n! zeta(n + 1, x)
    half = b.mul(n, 0.5)
    is_even = b.eq(b.unary("floor", half), half)
    order = b.add(n, 1.0)
    size = b.mul(b.call("exp", b.call("lgamma", order)), _zeta(b, order, x))
    result = b.select(is_even, b.neg(size), size)
    result = b.select(b.eq(n, 0), digamma_rule(b, None, x), result)
    return b.select(b.or_(b.lt(n, 0), b.ne(b.unary("floor", n), n)), math.nan, result)


def _reference_polygamma(n: float, x: float) -> float:
    if n < 0 or n % 1:
        return math.nan
    if n == 0:
        return reference_digamma(x)
    return (1.0 if n % 2 else -1.0) * float(np.exp(math.lgamma(n + 1))) * _reference_zeta(n + 1, x)


POLYGAMMA = register(
    _op("Polygamma", _polygamma, _reference_polygamma, ("a", "x"), [0, 1, 2, 3], "The derivative of order a of digamma.")
)


def polygamma(a: Any, x: Any, name: str | None = None) -> Tensor:
    """The derivative of order a of `digamma`, where a is 0, 1, 2 ...; elsewhere NaN. There is no gradient by a."""
    return build_binary(POLYGAMMA, a, x, name, ("a", "x"))
