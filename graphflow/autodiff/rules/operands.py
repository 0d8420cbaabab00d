"""`operand_gradient`: the gradient of an operand that may have been broadcast, made only if it is wanted."""

from __future__ import annotations

from collections.abc import Callable

from graphflow.framework.context import gradient_is_wanted
from graphflow.framework.tensor import Tensor
from graphflow.ops.math.sum_to_like import sum_to_like


def operand_gradient(x: Tensor, make: Callable[[], Tensor]) -> Tensor | None:
    """The gradient that `make` builds, summed to the shape of x; None, and nothing is built, if no gradient of x is wanted."""
    return sum_to_like(make(), x) if gradient_is_wanted(x) else None
