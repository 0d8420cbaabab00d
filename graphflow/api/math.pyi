# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.math.unary import (
    abs as abs, ceil as ceil, digamma as digamma, erf as erf, erfc as erfc, exp as exp, expm1 as expm1, floor as floor,
    is_finite as is_finite, is_inf as is_inf, is_nan as is_nan, lgamma as lgamma, log as log, log1p as log1p,
    negative as negative, reciprocal as reciprocal, rint as rint, round as round, rsqrt as rsqrt, sign as sign,
    sqrt as sqrt, square as square,
)
from graphflow.ops.math.add_n import accumulate_n as accumulate_n, add_n as add_n
from graphflow.ops.math.zeta import polygamma as polygamma, zeta as zeta
from graphflow.ops.math.trigonometry import (
    acos as acos, acosh as acosh, asin as asin, asinh as asinh, atan as atan, atan2 as atan2, atanh as atanh,
    cos as cos, cosh as cosh, sin as sin, sinh as sinh, tan as tan,
)
from graphflow.ops.math.binary import (
    add as add, divide as divide, div_no_nan as divide_no_nan, floordiv as floordiv, floormod as floormod,
    maximum as maximum, minimum as minimum, mod as mod, multiply as multiply, pow as pow, scalar_mul as scalar_mul,
    squared_difference as squared_difference, subtract as subtract, truediv as truediv, div_no_nan as div_no_nan,
)
from graphflow.ops.math.compare import (
    approximate_equal as approximate_equal, equal as equal, greater as greater, greater_equal as greater_equal,
    less as less, less_equal as less_equal, logical_and as logical_and, logical_not as logical_not,
    logical_or as logical_or, logical_xor as logical_xor, not_equal as not_equal,
)
from graphflow.ops.math.argmax import argmax as argmax, argmin as argmin
from graphflow.ops.math.cumulative import cumprod as cumprod, cumsum as cumsum
from graphflow.ops.math.top_k import in_top_k as in_top_k, top_k as top_k
from graphflow.ops.math.statistics import (
    count_nonzero as count_nonzero, reduce_euclidean_norm as reduce_euclidean_norm,
    reduce_logsumexp as reduce_logsumexp, reduce_std as reduce_std, reduce_variance as reduce_variance,
    zero_fraction as zero_fraction,
)
from graphflow.ops.array.ordered_ids import invert_permutation as invert_permutation, segment_sum as segment_sum
from graphflow.ops.array.scatter import unsorted_segment_sum as unsorted_segment_sum
from graphflow.ops.control_flow.assertions import (
    is_non_decreasing as is_non_decreasing, is_strictly_increasing as is_strictly_increasing,
)
from graphflow.ops.nn.normalization import l2_normalize as l2_normalize
from graphflow.ops.nn.activation import (
    log_sigmoid as log_sigmoid, sigmoid as sigmoid, softplus as softplus, softsign as softsign, tanh as tanh,
)
from graphflow.ops.nn.softmax import log_softmax as log_softmax, softmax as softmax
from graphflow.ops.math.reduce import (
    reduce_all as reduce_all, reduce_any as reduce_any, reduce_max as reduce_max, reduce_mean as reduce_mean,
    reduce_min as reduce_min, reduce_prod as reduce_prod, reduce_sum as reduce_sum,
)
