"""Math functions against wider floats: errors in units in the last place, and every special case."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from graphflow.framework.dtypes import DType, bfloat16, float16, float32, float64
from graphflow.framework.scalar_builder import CALLS
from tests.loop_kernels import Array, Compiled, apply, elementwise

INF, NAN = math.inf, math.nan
SAMPLES = 20_000


@cache
def compiled(fn: str, dtype: DType) -> Compiled:
    return elementwise(lambda b, *args: b.call(fn, *args), *[dtype] * CALLS[fn])


def run(fn: str, dtype: DType, *args: Any) -> Array:
    arrays = np.broadcast_arrays(*(np.asarray(a, dtype.numpy_dtype) for a in args))
    return apply(compiled(fn, dtype), *(np.atleast_1d(a) for a in arrays))


def ulps(got: Array, exact: Array) -> float:
    """Largest error in units in the last place of `got`; infinite and denormal results count as well."""
    with np.errstate(all="ignore"):
        rounded = exact.astype(got.dtype)
        same = (rounded == got) | (np.isnan(rounded) & np.isnan(got))
        unit = np.spacing(np.abs(rounded)).astype(exact.dtype)
        error = np.abs(got.astype(exact.dtype) - exact) / unit
    error = np.where(same, np.minimum(np.nan_to_num(error, nan=0.0), 0.5), error)
    return float(np.max(np.nan_to_num(error, nan=INF, posinf=INF)))


def each(function: Callable[[float], float]) -> Callable[[Array], Array]:
    def evaluate(x: Array) -> Array:
        return np.array([function(float(v)) for v in x.ravel()], np.float64).reshape(x.shape)

    return evaluate


EXACT: dict[str, Callable[..., Array]] = {
    "exp": np.exp, "expm1": np.expm1, "log": np.log, "log1p": np.log1p, "tanh": np.tanh, "sin": np.sin, "cos": np.cos,
    "tan": np.tan, "asin": np.arcsin, "acos": np.arccos, "atan": np.arctan, "sinh": np.sinh, "cosh": np.cosh,
    "asinh": np.arcsinh, "acosh": np.arccosh, "atanh": np.arctanh, "pow": np.power, "atan2": np.arctan2,
    "erf": each(math.erf), "erfc": each(math.erfc), "lgamma": each(math.lgamma),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)), "exp_nonpositive": np.exp,
}  # fmt: skip
# function -> ranges sampled; a range over several magnitudes is sampled evenly in the logarithm, with both signs if odd
LINEAR: dict[str, list[tuple[float, float]]] = {
    "exp": [(-1, 1), (-104, 89)],
    "exp_nonpositive": [(-1, 0), (-86.5, 0)],
    "expm1": [(-1, 1), (-20, 88)],
    "log": [(0.5, 2), (0, 100)],
    "log1p": [(-0.999, 1), (0, 100)],
    "tanh": [(-1, 1), (-10, 10)],
    "sigmoid": [(-1, 1), (-85, 20)],
    "erf": [(-1.2, 1.2), (-5, 5)],
    "erfc": [(-3, 9)],
    "lgamma": [(0.1, 30)],
    "sin": [(-4, 4), (-1000, 1000), (-99000, 99000), (-1e9, 1e9)],
    "cos": [(-4, 4), (-1000, 1000), (-99000, 99000), (-1e9, 1e9)],
    "tan": [(-4, 4), (-1000, 1000), (-99000, 99000)],
    "asin": [(-1, 1)],
    "acos": [(-1, 1)],
    "atan": [(-2, 2), (-100, 100)],
    "sinh": [(-2, 2), (-89, 89)],
    "cosh": [(-2, 2), (-89, 89)],
    "asinh": [(-2, 2), (-1000, 1000)],
    "acosh": [(1, 3), (1, 1000)],
    "atanh": [(-1, 1)],
}
LOGARITHMIC: dict[str, tuple[float, float]] = {
    "expm1": (-44, 0), "log": (-44, 38), "log1p": (-44, 38), "tanh": (-44, 2), "erf": (-37, 1), "sin": (-44, 38),
    "cos": (-44, 38), "tan": (-44, 38), "asin": (-44, 0), "atan": (-44, 38), "sinh": (-44, 1), "asinh": (-44, 38),
    "acosh": (0, 38), "atanh": (-44, 0),
}  # fmt: skip
LIMITS32 = {
    "exp": 1.0, "exp_nonpositive": 1.0,
    "expm1": 1.5, "log": 1.0, "log1p": 1.5, "tanh": 2.5, "sigmoid": 2.5, "erf": 1.5, "sin": 1.6, "cos": 1.6,
    "tan": 2.8, "asin": 2.5, "acos": 2.5, "atan": 2.5, "sinh": 2.5, "cosh": 2.0, "asinh": 4.0, "acosh": 4.0, "atanh": 4.0,
    "erfc": 4.0, "lgamma": 6.0,
}  # fmt: skip
LIMITS64 = {
    "exp": 1.0, "exp_nonpositive": 1.0,
    "expm1": 2.2, "log": 1.0, "log1p": 1.5, "tanh": 2.5, "sigmoid": 2.5, "erf": 2.0, "sin": 1.6, "cos": 1.6,
}  # fmt: skip
# numpy's own float64 (or C's long double) is the reference; these come from a C library that is good to 1 ulp.
WIDER: type[np.floating[Any]] = np.longdouble


def samples(fn: str, dtype: DType) -> Array:
    rng = np.random.default_rng(1)
    parts = []
    for low, high in LINEAR[fn]:
        if dtype is float64 and fn in ("exp", "exp_nonpositive", "expm1", "sigmoid") and abs(low) + abs(high) > 60:
            low, high = low * 7.1, high * 7.9
        parts.append(rng.uniform(low, high, SAMPLES))
    if fn in LOGARITHMIC:
        low, high = LOGARITHMIC[fn]
        wide = 10.0 ** rng.uniform(low, high, SAMPLES)
        parts.append(wide if fn in ("log", "acosh", "log1p") else wide * rng.choice([-1, 1], SAMPLES))
    with np.errstate(all="ignore"):
        return np.concatenate(parts).astype(dtype.numpy_dtype)


@pytest.mark.parametrize("fn", sorted(LINEAR))
def test_float32_error(fn: str) -> None:
    x = samples(fn, float32)
    if fn in ("erf", "erfc", "lgamma"):
        x = x[::8]
    if fn == "sigmoid":
        x = x[x > -87]
    with np.errstate(all="ignore"):
        exact = EXACT[fn](x.astype(np.float64))
    assert ulps(run(fn, float32, x), exact) <= LIMITS32[fn]


@pytest.mark.skipif(np.finfo(WIDER).nmant <= 53, reason="long double is double here")
@pytest.mark.parametrize("fn", sorted(LIMITS64))
def test_float64_error(fn: str) -> None:
    x = samples(fn, float64)
    if fn == "erf":
        x = x[::8]
    with np.errstate(all="ignore"):
        exact = EXACT[fn](x.astype(WIDER)) if fn != "erf" else EXACT[fn](x).astype(WIDER)
    assert ulps(run(fn, float64, x), exact) <= LIMITS64[fn]


@pytest.mark.parametrize("fn", ["tan", "asin", "acos", "atan", "sinh", "cosh", "asinh", "acosh", "atanh", "erfc", "lgamma"])
def test_rare_float64_functions_come_from_the_library(fn: str) -> None:
    x = samples(fn, float64)[:500]
    with np.errstate(all="ignore"):
        np.testing.assert_allclose(run(fn, float64, x), EXACT[fn](x), rtol=1e-13)


def test_pow_error() -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([rng.uniform(0, 3, SAMPLES), 10.0 ** rng.uniform(-44, 38, SAMPLES), rng.uniform(0.999, 1.001, SAMPLES)])
    y = np.concatenate([rng.uniform(-20, 20, SAMPLES), rng.uniform(-3, 3, SAMPLES), rng.uniform(-90000, 90000, SAMPLES)])
    x32, y32 = x.astype(np.float32), y.astype(np.float32)
    with np.errstate(all="ignore"):
        exact = np.power(x32.astype(np.float64), y32.astype(np.float64))
    assert ulps(run("pow", float32, x32, y32), exact) <= 0.6
    whole = rng.integers(-9, 10, SAMPLES).astype(np.float32)
    x32 = rng.uniform(-3, 3, SAMPLES).astype(np.float32)
    assert ulps(run("pow", float32, x32, whole), np.power(x32.astype(np.float64), whole.astype(np.float64))) <= 0.6


def test_atan2_error() -> None:
    rng = np.random.default_rng(3)
    y, x = (rng.normal(size=SAMPLES).astype(np.float32) * np.float32(10.0) ** rng.integers(-9, 9, SAMPLES) for _ in range(2))
    y, x = y.astype(np.float32), x.astype(np.float32)
    assert ulps(run("atan2", float32, y, x), np.arctan2(y.astype(np.float64), x.astype(np.float64))) <= 4.0


# ---------------------------------------------------------------------------------------------- special cases

SPECIAL = [
    0.0,
    -0.0,
    INF,
    -INF,
    NAN,
    1.0,
    -1.0,
    2.0,
    -2.0,
    0.5,
    -0.5,
    1e-44,
    -1e-44,
    1e-38,
    -1e-38,
    3e38,
    -3e38,
    1e30,
    88.7,
]
SPECIAL += [88.8, -87.5, -103.0, -104.5, 709.0, 710.0, -745.0, -746.0, 20.0, -20.0, 1e-10, -1e-10, 1e5, 1e6, 12345678.0]


@pytest.mark.parametrize("dtype", [float32, float64], ids=lambda d: d.name)
@pytest.mark.parametrize("fn", sorted(set(EXACT) - {"pow", "atan2"}))
def test_special_cases(fn: str, dtype: DType) -> None:
    """Signs of zero, infinities and NaN are those of C; the rest is close."""
    with np.errstate(all="ignore"):
        x = np.array([*SPECIAL, float(np.finfo(dtype.numpy_dtype).max), 5e-324, -1 - 2.0**-23], dtype.numpy_dtype)
        if fn == "lgamma":
            x = x[(x > 0) & (x < 1e30)]
        if fn == "exp_nonpositive":
            x = x[(x <= 0) | np.isnan(x)]
        exact = EXACT[fn](x.astype(np.float64)).astype(dtype.numpy_dtype)
    got = run(fn, dtype, x)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(exact), err_msg=str(x))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(exact), err_msg=str(x))
    known = ~np.isnan(exact)
    np.testing.assert_array_equal(np.signbit(got[known]), np.signbit(exact[known]), err_msg=str(x[known]))
    tiny = np.finfo(dtype.numpy_dtype).tiny if fn == "sigmoid" else 0  # whose denormal results are 0
    if fn == "exp_nonpositive":
        tiny = 3 * np.finfo(dtype.numpy_dtype).tiny
    rtol = 3e-7 if dtype is float32 else 1e-15
    np.testing.assert_allclose(got, exact, rtol=4 * rtol, atol=tiny)
    alone = run(fn, dtype, np.repeat(x, 16)).reshape(-1, 16)  # no other value in any lane
    np.testing.assert_array_equal(alone, np.repeat(got, 16).reshape(-1, 16))
    np.testing.assert_array_equal(np.signbit(alone[known]).T, np.tile(np.signbit(got[known]), (16, 1)))


def test_pow_has_the_special_cases_of_c() -> None:
    values = [
        0.0,
        -0.0,
        1.0,
        -1.0,
        2.0,
        -2.0,
        3.0,
        -3.0,
        0.5,
        -0.5,
        2.5,
        INF,
        -INF,
        NAN,
        1e-40,
        3e38,
        1e9,
        -1e9,
        16777217.0,
    ]
    x, y = (a.ravel().astype(np.float32) for a in np.meshgrid(values, values))
    with np.errstate(all="ignore"):
        exact = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    got = run("pow", float32, x, y)
    wrong = [
        (a, b, g, e)
        for a, b, g, e in zip(x, y, got, exact, strict=True)
        if not (np.isnan(g) and np.isnan(e)) and (g != e or np.signbit(g) != np.signbit(e)) and not abs(g - e) <= 1e-6 * abs(e)
    ]
    assert not wrong


def test_atan2_has_the_special_cases_of_c() -> None:
    values = [0.0, -0.0, 1.0, -1.0, INF, -INF, NAN, 1e-40, 3e38, -3e38]
    y, x = (a.ravel().astype(np.float32) for a in np.meshgrid(values, values))
    exact = np.arctan2(y.astype(np.float64), x.astype(np.float64)).astype(np.float32)
    got = run("atan2", float32, y, x)
    np.testing.assert_allclose(got, exact, rtol=1e-6)
    np.testing.assert_array_equal(np.signbit(got), np.signbit(exact) | (np.isnan(exact) & np.signbit(got)))


@pytest.mark.parametrize("fn", ["exp", "tanh", "sin", "log"])
def test_every_float16_is_rounded_once(fn: str) -> None:
    x = np.arange(65536, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        exact = EXACT[fn](x.astype(np.float64)).astype(np.float32).astype(np.float16)
    got = run(fn, float16, x)
    different = got.view(np.uint16) != exact.view(np.uint16)
    different &= ~(np.isnan(got) & np.isnan(exact))
    assert ulps(got, exact.astype(np.float64)) <= 1.0
    assert different.mean() < 1e-3  # the float32 between rounds a tie the other way now and then


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    x = np.linspace(-5, 5, 999).astype(bfloat16.numpy_dtype)
    exact = np.tanh(x.astype(np.float32))
    assert np.max(np.abs(run("tanh", bfloat16, x).astype(np.float32) - exact)) <= 2**-8


def test_constant_powers_are_products() -> None:
    x = np.linspace(-3, 3, 37).astype(np.float32)
    for exponent in (1.0, 2.0, 3.0, 4.0, -1.0, 0.5):
        with np.errstate(all="ignore"):
            exact = np.power(x.astype(np.float64), exponent)
        got = apply(elementwise(lambda b, v, e=exponent: b.call("pow", v, b.const(e, float32)), float32), x)
        assert ulps(got, exact) <= 2.0


@pytest.mark.parametrize("dtype", [float32, float64])
def test_exponentials_of_a_softmax_end_in_zero(dtype: DType) -> None:
    smallest = np.log(np.finfo(dtype.numpy_dtype).tiny)
    x = np.array([0.0, -0.0, smallest - 1, -1e9, -np.inf, np.nan], dtype.numpy_dtype)
    np.testing.assert_array_equal(run("exp_nonpositive", dtype, x), np.array([1, 1, 0, 0, 0, np.nan], dtype.numpy_dtype))
