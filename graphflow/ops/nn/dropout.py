"""Dropout: a random share of the elements set to 0."""

from __future__ import annotations

from typing import Any

from graphflow.framework.build import convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.shape import shape
from graphflow.ops.math.binary import multiply, realdiv, subtract
from graphflow.ops.math.compare import greater_equal
from graphflow.ops.math.select import where_v2
from graphflow.ops.random.sampling import random_uniform


def dropout(
    x: Any,
    keep_prob: Any = None,
    noise_shape: Any = None,
    seed: int | None = None,
    name: str | None = None,
    rate: Any = None,
) -> Tensor:
    """Sets a random share of the elements to 0 and scales the others up, so that the expected sum stays.

    Args:
        x: a float tensor.
        keep_prob: the probability that an element is kept (mind: as second argument this is what counts), or
        rate: the probability that it is dropped; a number or a scalar tensor.
        noise_shape: elements along an axis where this has 1 are kept or dropped together; None entries take x's size.
        seed: as of `random_uniform`.

    Raises:
        ValueError: neither probability or both, one outside its range, or x is no float tensor.
    """
    if (keep_prob is None) == (rate is None):
        raise ArgumentError(
            "You must provide a rate to dropout." if rate is None else "Cannot specify both 'rate' and 'keep_prob'"
        )
    if rate is None and isinstance(keep_prob, (int, float)):
        if not 0 < keep_prob <= 1:
            raise ArgumentError(f"keep_prob must be a scalar tensor or a float in the range (0, 1], got {keep_prob}")
        # From here on a number is a rate; only tensors keep the two ways of saying it apart.
        rate = 1 - keep_prob
    if isinstance(rate, (int, float)) and not 0 <= rate < 1:
        raise ArgumentError(f"rate must be a scalar tensor or a float in the range [0, 1), got {rate}")
    with name_scope(name, "dropout", [x]) as scope:
        t = convert_to_tensor(x, name="x")
        if not t.base_dtype.is_floating:
            raise ArgumentError(
                f"x has to be a floating point tensor since it's going to be scaled. Got a {t.base_dtype.name} tensor instead."
            )
        if isinstance(rate, (int, float)):
            if rate == 0:
                return t
            dropped, scale = convert_to_tensor(float(rate), t.base_dtype), 1 / (1 - float(rate))
            scaled = convert_to_tensor(scale, t.base_dtype, name="scale")
        else:
            kept = _probability(keep_prob, t) if rate is None else subtract(1, _probability(rate, t))
            dropped = subtract(1, kept) if rate is None else _probability(rate, t)
            scaled = realdiv(1, kept)
        noise = random_uniform(_noise_shape(t, noise_shape), seed=seed, dtype=t.base_dtype)
        # Mask and scale are one factor, because the gradient is a product with that factor again.
        factor = where_v2(greater_equal(noise, dropped), scaled, 0)
        result = multiply(t, factor, name=scope)
        # A probability is a scalar, also where only a run knows its shape.
        if factor._shape is None:
            factor._shape = noise._shape
            result._shape = t._shape
        return result


def _probability(value: Any, x: Tensor) -> Tensor:
    t = convert_to_tensor(value, x.base_dtype if not is_tensor_like(value) else None)
    if t.base_dtype is not x.base_dtype:
        raise ArgumentError(f"the probability of dropout must have the dtype of x, {x.base_dtype.name}, but is {t!r}. Cast it.")
    if t._shape:
        raise ShapeError(f"the probability of dropout must be a scalar: Shape {t.shape} must have rank 0")
    return t


def _noise_shape(x: Tensor, noise_shape: Any) -> Any:
    if isinstance(noise_shape, Tensor):
        return noise_shape
    if noise_shape is None:
        known = None if x._shape is None else list(x._shape)
        return known if known is not None and all(isinstance(d, int) for d in known) else shape(x)
    dims: list[Any] = noise_shape.as_list() if hasattr(noise_shape, "as_list") else list(noise_shape)
    for i, d in enumerate(dims):
        if d is None:
            size = None if x._shape is None else x._shape[i]
            dims[i] = size if isinstance(size, int) else axis_size(x, i)
    return dims
