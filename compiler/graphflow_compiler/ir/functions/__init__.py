"""Math functions as primitive operations: no calls, so they vectorise on every target.

Only add, mul, fma, div, sqrt, comparisons, selects, bit operations and casts are used. The largest errors found, in units
in the last place (ulp), are checked by `tests/test_vector_math.py`. float64 functions that are rare are left to the C
library, called lane by lane.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow_compiler.ir.functions import error_function, exponential, logarithm, power, trigonometric
from graphflow_compiler.ir.functions.floats import FLOAT32, FORMATS, A, Arithmetic, FunctionBuilder

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


def expand(b: FunctionBuilder[A], fn: str, args: Sequence[A]) -> A | None:
    """The function in primitive operations; None if it has no such form (``fma``, which is primitive, among them)."""
    form = FORMATS.get(b.dtype(args[0]))
    if form is None:
        return None
    rule = _BOTH.get(fn) or (_FLOAT32_ONLY.get(fn) if form is FLOAT32 else None)
    return None if rule is None else rule(Arithmetic(b, form), *args)
