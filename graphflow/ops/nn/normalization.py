"""Normalisation of vectors to length 1, and of batches to mean 0 and variance 1."""

from __future__ import annotations

from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.errors import ArgumentError
from graphflow.framework.tensor import Tensor
from graphflow.ops.math.binary import add, maximum, multiply, subtract
from graphflow.ops.math.cast import cast
from graphflow.ops.math.reduce import reduce_sum
from graphflow.ops.math.unary import negative, rsqrt, square


def l2_normalize(x: Any, axis: Any = None, epsilon: float = 1e-12, name: str | None = None, dim: Any = None) -> Tensor:
    """x / sqrt(max(sum(x ** 2), epsilon)) along `axis` (an int, a list, or None for all); `dim` is its old name."""
    if axis is not None and dim is not None:
        raise ArgumentError("Cannot specify both 'axis' and 'dim'")
    with name_scope(name, "l2_normalize", [x]) as scope:
        t = convert_to_tensor(x, name="x")
        squares = reduce_sum(square(t), dim if axis is None else axis, keepdims=True)
        return multiply(t, rsqrt(maximum(squares, epsilon)), name=scope)


def batch_normalization(
    x: Any, mean: Any, variance: Any, offset: Any, scale: Any, variance_epsilon: float, name: str | None = None
) -> Tensor:
    """scale * (x - mean) / sqrt(variance + epsilon) + offset; `offset` and `scale` may be None. Shapes broadcast."""
    with name_scope(name, "batchnorm", [x, mean, variance, scale, offset]) as scope:
        t = convert_to_tensor(x, name="x")
        # As TensorFlow: everything that is one number per channel comes first, so that an element
        # of x takes one product and one sum.
        factor = rsqrt(add(variance, variance_epsilon))
        if scale is not None:
            factor = multiply(factor, scale)
        shift = multiply(mean, factor)
        rest = negative(shift) if offset is None else subtract(offset, shift)
        return add(multiply(t, cast(factor, t.base_dtype)), cast(rest, t.base_dtype), name=scope)


def batch_norm_with_global_normalization(
    t: Any = None, m: Any = None, v: Any = None, beta: Any = None, gamma: Any = None, variance_epsilon: Any = None,
    scale_after_normalization: Any = None, name: str | None = None, input: Any = None, mean: Any = None,
    variance: Any = None,
) -> Tensor:  # fmt: skip
    """`batch_normalization` under its first name; `gamma` counts only with `scale_after_normalization`."""
    return batch_normalization(
        input if t is None else t,
        mean if m is None else m,
        variance if v is None else v,
        beta,
        gamma if scale_after_normalization else None,
        variance_epsilon,
        name,
    )


__all__ = ["batch_norm_with_global_normalization", "batch_normalization", "l2_normalize"]
