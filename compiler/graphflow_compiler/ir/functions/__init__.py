"""Math functions as primitive operations: no calls, so they vectorise on every target.

Only add, mul, fma, div, sqrt, comparisons, selects, bit operations and casts are used. The largest errors found, in units
in the last place (ulp), are checked by `tests/test_vector_math.py`. float64 functions that are rare are left to the C
library, called lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow.framework.dtypes import DType, float32
from graphflow_compiler.ir.functions import error_function, exponential, logarithm, power, trigonometric
from graphflow_compiler.ir.functions.floats import FORMATS, A, Arithmetic, FunctionBuilder

_BOTH: dict[str, Callable[..., Any]] = {
    "exp": exponential.exp,
    "exp_nonpositive": exponential.exp_nonpositive,
    "expm1": exponential.expm1,
    "sigmoid": exponential.sigmoid,
    "tanh": exponential.tanh,
    "log": logarithm.log,
    "log1p": logarithm.log1p,
    "sin": trigonometric.sin,
    "cos": trigonometric.cos,
    "erf": error_function.erf,
}
# In float64 these are rare enough to be left to the C library.
_FLOAT32_ONLY: dict[str, Callable[..., Any]] = {
    "sinh": exponential.sinh,
    "cosh": exponential.cosh,
    "asinh": logarithm.asinh,
    "acosh": logarithm.acosh,
    "atanh": logarithm.atanh,
    "tan": trigonometric.tan,
    "asin": trigonometric.asin,
    "acos": trigonometric.acos,
    "atan": trigonometric.atan,
    "atan2": trigonometric.atan2,
    "pow": power.power,
}


def is_expanded(fn: str, dtype: DType) -> bool:
    """Whether the function has a form in primitive operations. (``fma`` is primitive itself.)"""
    return (fn in _BOTH and dtype in FORMATS) or (fn in _FLOAT32_ONLY and dtype is float32)


def expand(b: FunctionBuilder[A], fn: str, args: Sequence[A]) -> A:
    """Emits a function that `is_expanded` as primitive operations; returns its value."""
    rule = _BOTH.get(fn) or _FLOAT32_ONLY[fn]
    value: A = rule(Arithmetic(b, FORMATS[b.dtype(args[0])]), *args)
    return value
