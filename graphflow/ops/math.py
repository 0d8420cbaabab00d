"""The elementwise families under one name, as ``tf.math`` gathers them."""

from __future__ import annotations

from graphflow.ops.activation import log_sigmoid, sigmoid, softplus, softsign, tanh
from graphflow.ops.binary import (
    add,
    div,
    div_no_nan,
    divide,
    floor_div,
    floordiv,
    floormod,
    maximum,
    minimum,
    mod,
    multiply,
    pow,
    realdiv,
    scalar_mul,
    squared_difference,
    subtract,
    truediv,
    truncatediv,
    truncatemod,
)
from graphflow.ops.cast import bitcast, cast, saturate_cast, to_bfloat16, to_double, to_float, to_int32, to_int64
from graphflow.ops.combine import accumulate_n, add_n, bias_add, clip_by_value
from graphflow.ops.compare import (
    approximate_equal,
    equal,
    greater,
    greater_equal,
    less,
    less_equal,
    logical_and,
    logical_not,
    logical_or,
    logical_xor,
    not_equal,
    where,
    where_v2,
)
from graphflow.ops.trigonometry import acos, acosh, asin, asinh, atan, atan2, atanh, cos, cosh, sin, sinh, tan
from graphflow.ops.unary import (
    abs,
    ceil,
    digamma,
    erf,
    erfc,
    exp,
    expm1,
    floor,
    is_finite,
    is_inf,
    is_nan,
    lgamma,
    log,
    log1p,
    negative,
    reciprocal,
    rint,
    round,
    rsqrt,
    sign,
    sqrt,
    square,
)

__all__ = [
    "abs", "accumulate_n", "acos", "acosh", "add", "add_n", "approximate_equal", "asin", "asinh", "atan", "atan2",
    "atanh",
    "bias_add", "bitcast", "cast", "ceil", "clip_by_value", "cos", "cosh", "digamma", "div", "div_no_nan", "divide",
    "equal", "erf", "erfc", "exp", "expm1", "floor", "floor_div", "floordiv", "floormod", "greater", "greater_equal",
    "is_finite", "is_inf", "is_nan", "less", "less_equal", "lgamma", "log", "log1p", "log_sigmoid", "logical_and",
    "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "negative", "not_equal", "pow",
    "realdiv", "reciprocal", "rint", "round", "rsqrt", "saturate_cast", "scalar_mul", "sigmoid", "sign", "sin", "sinh",
    "softplus", "softsign", "sqrt", "square", "squared_difference", "subtract", "tan", "tanh", "to_bfloat16",
    "to_double", "to_float", "to_int32", "to_int64", "truediv", "truncatediv", "truncatemod", "where", "where_v2",
]  # fmt: skip
