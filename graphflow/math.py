"""`tf.math`."""

from __future__ import annotations

# fmt: off
from graphflow.ops.activation import log_sigmoid, sigmoid, softplus, softsign, tanh
from graphflow.ops.assertions import is_non_decreasing, is_strictly_increasing
from graphflow.ops.binary import (
    add,
    div_no_nan,
    divide,
    floordiv,
    floormod,
    maximum,
    minimum,
    mod,
    multiply,
    pow,
    scalar_mul,
    squared_difference,
    subtract,
    truediv,
)
from graphflow.ops.combine import accumulate_n, add_n
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
)
from graphflow.ops.nn_ops import l2_normalize
from graphflow.ops.order import argmax, argmin, cumprod, cumsum, in_top_k, top_k
from graphflow.ops.reduce import reduce_all, reduce_any, reduce_max, reduce_mean, reduce_min, reduce_prod, reduce_sum
from graphflow.ops.scatter import invert_permutation, segment_sum, unsorted_segment_sum
from graphflow.ops.softmax import log_softmax, softmax
from graphflow.ops.statistics import (
    count_nonzero,
    reduce_euclidean_norm,
    reduce_logsumexp,
    reduce_std,
    reduce_variance,
    zero_fraction,
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

divide_no_nan = div_no_nan

__all__ = [
    "abs", "accumulate_n", "acos", "acosh", "add", "add_n", "approximate_equal", "argmax", "argmin", "asin", "asinh",
    "atan", "atan2", "atanh", "ceil", "cos", "cosh", "count_nonzero", "cumprod", "cumsum", "digamma", "divide",
    "divide_no_nan", "equal", "erf", "erfc", "exp", "expm1", "floor", "floordiv", "floormod", "greater", "greater_equal",
    "in_top_k", "invert_permutation", "is_finite", "is_inf", "is_nan", "is_non_decreasing", "is_strictly_increasing",
    "l2_normalize", "less", "less_equal", "lgamma", "log", "log1p", "log_sigmoid", "log_softmax", "logical_and",
    "logical_not", "logical_or", "logical_xor", "maximum", "minimum", "mod", "multiply", "negative", "not_equal", "pow",
    "reciprocal", "reduce_all", "reduce_any", "reduce_euclidean_norm", "reduce_logsumexp", "reduce_max", "reduce_mean",
    "reduce_min", "reduce_prod", "reduce_std", "reduce_sum", "reduce_variance", "rint", "round", "rsqrt", "scalar_mul",
    "segment_sum", "sigmoid", "sign", "sin", "sinh", "softmax", "softplus", "softsign", "sqrt", "square",
    "squared_difference", "subtract", "tan", "tanh", "top_k", "truediv", "unsorted_segment_sum", "zero_fraction",
]
