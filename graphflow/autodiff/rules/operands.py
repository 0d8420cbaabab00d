"""What gradients of ops with broadcasting operands share."""

from __future__ import annotations

from collections.abc import Callable

from graphflow.framework.context import gradient_is_wanted
from graphflow.framework.tensor import Tensor
from graphflow.ops.math.sum_to_like import sum_to_like


def operand_gradient(x: Tensor, make: Callable[[], Tensor]) -> Tensor | None:
    """What `make` gives, summed over what broadcasting added to x; None, with nothing made, if nobody asks for it."""
    return sum_to_like(make(), x) if gradient_is_wanted(x) else None
