"""Gradients of running sums and products."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import multiply, realdiv
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import equal, logical_and
from graphflow.ops.math.cumulative import cumprod, cumsum
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.unary import is_finite


@gradient_of("Cumsum")
def _cumsum_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    a = op.attrs
    # x[k] is part of every later sum, so its gradient is the sum from k on: the same sum in the other direction.
    return [cumsum(grad, a.axis, a.exclusive, not a.reverse)]


@gradient_of("Cumprod")
def _cumprod_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    """For each x[k] the sum of grad times the products from k on, each without its factor x[k].

    Before the first zero the products without x[k] are quotients. At that zero they are the products of an x with 1 in its
    place. Behind it each of them has the zero as a factor, so they are 0, though not constant: a second derivative sees them.
    """
    x, a = op.inputs[0], op.attrs

    def from_here_on(products: Tensor) -> Tensor:
        return cumsum(multiply(products, grad), a.axis, a.exclusive, not a.reverse)

    is_zero = equal(x, 0.0)
    zeros = cumsum(cast(is_zero, "int32"), a.axis, reverse=a.reverse)
    first = logical_and(is_zero, equal(zeros, 1))
    divisor = where_v2(is_zero, 1.0, x)
    without_zero = from_here_on(cumprod(where_v2(first, 1.0, x), a.axis, a.exclusive, a.reverse))
    the_zero = reduce_sum(where_v2(first, x, 0.0), a.axis, keepdims=True)
    rest = realdiv(without_zero, divisor)
    behind = multiply(the_zero, where_v2(is_finite(rest), rest, 0.0))
    before = realdiv(from_here_on(op.outputs[0]), divisor)
    return [where_v2(first, without_zero, where_v2(equal(zeros, 0), before, behind))]
