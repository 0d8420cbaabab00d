"""Elementwise functions of one operand: signs, roots, exponentials, rounding, special functions."""

from __future__ import annotations

import builtins
import math
from typing import Any

import numpy as np

from graphflow.framework.build import convert_to_tensor
from graphflow.framework.dtypes import bool_, float32
from graphflow.framework.kinds import Algebra
from graphflow.framework.numpy_builder import lgamma as scalar_lgamma
from graphflow.framework.registry import not_differentiable, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import binary_op, unary_op
from graphflow.ops._define.operands import build_unary

_STEPS = not_differentiable("it is piecewise constant")
_BOOL = not_differentiable("its result is not a number")

# ---------------------------------------------------------------------------------------------- signs and roots

NEG = register(
    unary_op(
        "Neg", lambda b, attrs, x: b.neg(x), np.negative, "-x.",
        kinds="fi", algebra=Algebra(involution=True), onnx="Neg",
    )
)  # fmt: skip


def negative(x: Any, name: str | None = None) -> Tensor:
    """-x. Numbers only; integers wrap."""
    return build_unary(NEG, x, name)


ABS = register(
    unary_op(
        "Abs", lambda b, attrs, x: b.abs(x), np.abs,
        "|x|; its gradient at 0 is 0.", avoid=(0.0,), kinds="fi", algebra=Algebra(idempotent=True), onnx="Abs",
    )
)  # fmt: skip


def abs(x: Any, name: str | None = None) -> Tensor:
    """|x|. The gradient at 0 is 0; the absolute value of the lowest integer is itself."""
    return build_unary(ABS, x, name)


def _sign_rule(b: ScalarBuilder[Any], attrs: Any, x: Any) -> Any:
    return b.select(b.gt(x, 0), 1, b.select(b.lt(x, 0), -1, x))  # what is left is 0, -0.0 or NaN, and stays


SIGN = register(
    unary_op(
        "Sign", _sign_rule, np.sign, "-1, 0 or 1; NaN stays NaN.",
        avoid=(0.0,), kinds="fi", algebra=Algebra(idempotent=True), onnx="Sign",
    )
)  # fmt: skip


def sign(x: Any, name: str | None = None) -> Tensor:
    """-1, 0 or 1 by the sign of x. The gradient is zero."""
    return build_unary(SIGN, x, name)


SQUARE = register(
    unary_op(
        "Square", lambda b, attrs, x: b.mul(x, x), np.square, "x * x.", kinds="fiu",
    )
)  # fmt: skip


def square(x: Any, name: str | None = None) -> Tensor:
    """x * x."""
    return build_unary(SQUARE, x, name)


SQRT = register(
    unary_op(
        "Sqrt", lambda b, attrs, x: b.sqrt(x), np.sqrt, "Square root; NaN below zero.",
        low=0.2, high=4.0, onnx="Sqrt",
    )
)  # fmt: skip


def sqrt(x: Any, name: str | None = None) -> Tensor:
    """Square root of a float tensor; NaN where x < 0. Raises DTypeError for integers."""
    return build_unary(SQRT, x, name)


# As in TensorFlow, these three give 0 where no gradient arrives, so that a root or quotient of 0 in an untaken branch does no
# harm.
SQRT_GRAD = register(
    binary_op(
        "SqrtGrad", lambda b, attrs, y, dy: b.select(b.eq(dy, 0), dy, b.div(b.mul(dy, 0.5), y)),
        lambda y, dy: np.where(dy == 0, 0, 0.5 * dy / y),
        "Gradient of y = sqrt(x): dy / (2 y), and 0 where dy is 0.", x=(0.5, 2.0), y=(-2.0, 2.0), apart=0.1, kinds="f",
        args=("y", "dy"),
    )
)  # fmt: skip
RSQRT_GRAD = register(
    binary_op(
        "RsqrtGrad", lambda b, attrs, y, dy: b.select(b.eq(dy, 0), dy, b.mul(b.mul(dy, -0.5), b.mul(y, b.mul(y, y)))),
        lambda y, dy: np.where(dy == 0, dy, -0.5 * dy * y**3), "Gradient of y = 1 / sqrt(x): -dy y^3 / 2, and 0 where dy is 0.",
        kinds="f", args=("y", "dy"),
    )
)  # fmt: skip

# An exact root and division, not the processor's approximation of a reciprocal root.
RSQRT = register(
    unary_op(
        "Rsqrt", lambda b, attrs, x: b.div(1.0, b.sqrt(x)), lambda x: 1 / np.sqrt(x), "1 / sqrt(x).", low=0.2, high=4.0,
    )
)  # fmt: skip


def rsqrt(x: Any, name: str | None = None) -> Tensor:
    """1 / sqrt(x) of a float tensor: infinite at 0, NaN below."""
    return build_unary(RSQRT, x, name)


RECIPROCAL_GRAD = register(
    binary_op(
        "ReciprocalGrad", lambda b, attrs, y, dy: b.select(b.eq(dy, 0), dy, b.mul(b.neg(dy), b.mul(y, y))),
        lambda y, dy: np.where(dy == 0, dy, -dy * y * y), "Gradient of y = 1 / x: -dy y^2, and 0 where dy is 0.", kinds="f",
        args=("y", "dy"),
    )
)  # fmt: skip

RECIPROCAL = register(
    unary_op(
        "Reciprocal", lambda b, attrs, x: b.div(1.0, x), lambda x: 1 / x, "1 / x.", low=0.3, high=3.0,
        onnx="Reciprocal",
    )
)  # fmt: skip


def reciprocal(x: Any, name: str | None = None) -> Tensor:
    """1 / x of a float tensor."""
    return build_unary(RECIPROCAL, x, name)


# ---------------------------------------------------------------------------------------------- exponentials


EXP = register(
    unary_op(
        "Exp", lambda b, attrs, x: b.call("exp", x), np.exp, "e^x.",
        cheap=False, onnx="Exp",
    )
)  # fmt: skip


def exp(x: Any, name: str | None = None) -> Tensor:
    """e to the power x."""
    return build_unary(EXP, x, name)


EXPM1 = register(
    unary_op(
        "Expm1", lambda b, attrs, x: b.call("expm1", x), np.expm1,
        "e^x - 1, exact for small x.", cheap=False,
    )
)  # fmt: skip


def expm1(x: Any, name: str | None = None) -> Tensor:
    """e to the power x, minus 1, without cancellation near 0."""
    return build_unary(EXPM1, x, name)


LOG = register(
    unary_op(
        "Log", lambda b, attrs, x: b.call("log", x), np.log,
        "Natural logarithm.", low=0.2, high=4.0, cheap=False, onnx="Log",
    )
)  # fmt: skip


def log(x: Any, name: str | None = None) -> Tensor:
    """Natural logarithm: -inf at 0, NaN below."""
    return build_unary(LOG, x, name)


LOG1P = register(
    unary_op(
        "Log1p", lambda b, attrs, x: b.call("log1p", x), np.log1p, "log(1 + x), exact for small x.", low=-0.7, high=3.0,
        cheap=False,
    )
)  # fmt: skip


def log1p(x: Any, name: str | None = None) -> Tensor:
    """Natural logarithm of 1 + x, without cancellation near 0."""
    return build_unary(LOG1P, x, name)


# ---------------------------------------------------------------------------------------------- rounding and tests

FLOOR = register(
    unary_op(
        "Floor", lambda b, attrs, x: b.unary("floor", x), np.floor, "Largest whole number not above x.",
        algebra=Algebra(idempotent=True), onnx="Floor", grad=_STEPS,
    )
)  # fmt: skip
CEIL = register(
    unary_op(
        "Ceil", lambda b, attrs, x: b.unary("ceil", x), np.ceil, "Smallest whole number not below x.",
        algebra=Algebra(idempotent=True), onnx="Ceil", grad=_STEPS,
    )
)  # fmt: skip
ROUND = register(
    unary_op(
        "Round", lambda b, attrs, x: b.unary("round", x), np.round, "Nearest whole number, halves to even.",
        algebra=Algebra(idempotent=True), onnx="Round", grad=_STEPS,
    )
)  # fmt: skip
RINT = register(
    unary_op(
        "Rint", lambda b, attrs, x: b.unary("round", x), np.rint, "Nearest whole number, halves to even.",
        algebra=Algebra(idempotent=True), grad=_STEPS,
    )
)  # fmt: skip


def floor(x: Any, name: str | None = None) -> Tensor:
    """Largest whole number not above x, as a float. No gradient."""
    return build_unary(FLOOR, x, name)


def ceil(x: Any, name: str | None = None) -> Tensor:
    """Smallest whole number not below x, as a float. No gradient."""
    return build_unary(CEIL, x, name)


def round(x: Any, name: str | None = None) -> Tensor:
    """Nearest whole number, halves to even. Integer tensors are returned as they are. No gradient."""
    if not isinstance(x, Tensor):
        x = convert_to_tensor(x, name="x")
    # As in TensorFlow, an integer tensor is returned itself.
    return x if x.base_dtype.is_integer else build_unary(ROUND, x, name)


def rint(x: Any, name: str | None = None) -> Tensor:
    """Nearest whole number, halves to even, as a float. No gradient."""
    return build_unary(RINT, x, name)


IS_NAN = register(
    unary_op("IsNan", lambda b, attrs, x: b.is_nan(x), np.isnan, "Whether x is NaN.", out=bool_, onnx="IsNaN", grad=_BOOL)
)
# NaN compares false, so it is neither infinite nor (below) finite.
IS_INF = register(
    unary_op(
        "IsInf", lambda b, attrs, x: b.eq(b.abs(x), math.inf), np.isinf, "Whether x is infinite.", out=bool_,
        onnx="IsInf", grad=_BOOL,
    )
)  # fmt: skip
IS_FINITE = register(
    unary_op(
        "IsFinite", lambda b, attrs, x: b.lt(b.abs(x), math.inf), np.isfinite,
        "Whether x is neither infinite nor NaN.",
        out=bool_, grad=_BOOL,
    )
)  # fmt: skip


def is_nan(x: Any, name: str | None = None) -> Tensor:
    """bool tensor: where x is NaN."""
    return build_unary(IS_NAN, x, name)


def is_inf(x: Any, name: str | None = None) -> Tensor:
    """bool tensor: where x is plus or minus infinity."""
    return build_unary(IS_INF, x, name)


def is_finite(x: Any, name: str | None = None) -> Tensor:
    """bool tensor: where x is neither infinite nor NaN."""
    return build_unary(IS_FINITE, x, name)


# ---------------------------------------------------------------------------------------------- special functions


ERF = register(
    unary_op(
        "Erf", lambda b, attrs, x: b.call("erf", x), np.vectorize(math.erf, otypes=[np.float64]), "Error function.",
        cheap=False, onnx="Erf",
    )
)  # fmt: skip
ERFC = register(
    unary_op(
        "Erfc", lambda b, attrs, x: b.call("erfc", x), np.vectorize(math.erfc, otypes=[np.float64]),
        "1 - erf(x), exact for large x.", cheap=False,
    )
)  # fmt: skip


def erf(x: Any, name: str | None = None) -> Tensor:
    """Gauss error function."""
    return build_unary(ERF, x, name)


def erfc(x: Any, name: str | None = None) -> Tensor:
    """Complementary error function 1 - erf(x)."""
    return build_unary(ERFC, x, name)


LGAMMA = register(
    unary_op(
        "Lgamma", lambda b, attrs, x: b.call("lgamma", x), np.vectorize(scalar_lgamma, otypes=[np.float64]),
        "log |gamma(x)|.", low=0.3, high=6.0, cheap=False,
    )
)  # fmt: skip


def lgamma(x: Any, name: str | None = None) -> Tensor:
    """Logarithm of the absolute value of the gamma function."""
    return build_unary(LGAMMA, x, name)


#: Coefficients of 1/w^2, 1/w^4, ... in the asymptotic series psi(w) = log(w) - 1/(2w) - B_2k / (2k w^2k) - ...
_PSI_SERIES = (-1 / 12, 1 / 120, -1 / 252, 1 / 240, -1 / 132, 691 / 32760)


def digamma_rule(b: ScalarBuilder[Any], attrs: Any, x: Any) -> Any:
    # For x < 0.5, psi(1 - x) = psi(x) + pi / tan(pi x) leads to the right side. There eight steps of
    # psi(x) = psi(x + 1) - 1 / x lead to arguments of 8.5 and more, where the asymptotic series has converged. Sums and
    # differences of that size need more than half precision.
    dtype = b.dtype(x)
    if dtype.size == 2:
        return b.cast(digamma_rule(b, attrs, b.cast(x, float32)), dtype)
    left = b.lt(x, 0.5)
    z = b.select(left, b.sub(1.0, x), x)
    below = b.div(1.0, z)
    for k in range(1, 8):
        below = b.add(below, b.div(1.0, b.add(z, float(k))))
    w = b.add(z, 8.0)
    inverse = b.div(1.0, b.mul(w, w))
    series = b.mul(inverse, _PSI_SERIES[-1])
    for c in _PSI_SERIES[-2::-1]:
        series = b.mul(inverse, b.add(series, c))
    right = b.sub(b.add(b.sub(b.call("log", w), b.div(0.5, w)), series), below)
    # The tangent has the period pi: without whole turns, pi times a large x keeps its fraction.
    turn = b.call("tan", b.mul(b.sub(x, b.unary("round", x)), math.pi))
    return b.select(left, b.sub(right, b.div(math.pi, turn)), right)


def reference_digamma(x: float) -> float:
    if math.isnan(x) or x == math.inf:
        return x
    if x <= 0 and (math.isinf(x) or x == math.floor(x)):
        return -math.inf
    if x < 0.5:
        return reference_digamma(1 - x) - math.pi / math.tan(math.pi * (x - builtins.round(x)))
    total = 0.0
    while x < 30:
        total, x = total - 1 / x, x + 1
    return total + math.log(x) - 1 / (2 * x) - 1 / (12 * x**2) + 1 / (120 * x**4) - 1 / (252 * x**6)


DIGAMMA = register(
    unary_op(
        "Digamma", digamma_rule, np.vectorize(reference_digamma, otypes=[np.float64]), "Derivative of lgamma.", low=-0.9,
        high=6.0, avoid=(0.0,), cheap=False,
    )
)  # fmt: skip


def digamma(x: Any, name: str | None = None) -> Tensor:
    """The derivative of `lgamma`: -inf at 0, -1, -2 ... Its own derivatives are `polygamma`."""
    return build_unary(DIGAMMA, x, name)
