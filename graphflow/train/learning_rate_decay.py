"""Learning rates that decay with the global step: tensors, which every run computes from the current step."""

from __future__ import annotations

import math as numbers
from collections.abc import Sequence
from typing import Any

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.errors import ArgumentError, DTypeError
from graphflow.framework.graph import Tensor
from graphflow.ops.math.binary import add, divide, minimum, multiply, pow
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import equal, less_equal
from graphflow.ops.math.select import where
from graphflow.ops.math.trigonometry import cos
from graphflow.ops.math.unary import ceil, exp, floor, log, negative

__all__ = [
    "cosine_decay", "cosine_decay_restarts", "exponential_decay", "inverse_time_decay", "linear_cosine_decay",
    "natural_exp_decay", "piecewise_constant", "polynomial_decay",
]  # fmt: skip


def _operands(decay: str, learning_rate: Any, global_step: Any, *others: Any) -> list[Tensor]:
    """The learning rate as a tensor, then the step and the other operands, cast to its dtype."""
    if global_step is None:
        raise ArgumentError(f"global_step is required for {decay}.")
    rate = convert_to_tensor(learning_rate, name="learning_rate")
    rest = [cast(convert_to_tensor(v), rate.base_dtype) for v in (global_step, *others)]
    return [rate, *rest]


def exponential_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate * decay_rate ** (global_step / decay_steps), the quotient floored if `staircase`."""
    with name_scope(name, "ExponentialDecay") as scope:
        rate, step, steps, base = _operands("exponential_decay", learning_rate, global_step, decay_steps, decay_rate)
        quotient = divide(step, steps)
        if staircase:
            quotient = floor(quotient)
        return multiply(rate, pow(base, quotient), name=scope)


def natural_exp_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate * exp(-decay_rate * global_step / decay_steps)."""
    with name_scope(name, "NaturalExpDecay") as scope:
        rate, step, steps, base = _operands("natural_exp_decay", learning_rate, global_step, decay_steps, decay_rate)
        quotient = divide(step, steps)
        if staircase:
            quotient = floor(quotient)
        return multiply(rate, exp(negative(base) * quotient), name=scope)


def inverse_time_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    decay_rate: Any,
    staircase: bool = False,
    name: str | None = None,
) -> Tensor:
    """learning_rate / (1 + decay_rate * global_step / decay_steps)."""
    with name_scope(name, "InverseTimeDecay") as scope:
        rate, step, steps, base = _operands("inverse_time_decay", learning_rate, global_step, decay_steps, decay_rate)
        quotient = divide(step, steps)
        if staircase:
            quotient = floor(quotient)
        return divide(rate, 1.0 + base * quotient, name=scope)


def piecewise_constant(x: Any, boundaries: Sequence[Any], values: Sequence[Any], name: str | None = None) -> Tensor:
    """values[0] while x <= boundaries[0], then values[1] while x <= boundaries[1], ... and values[-1].

    Raises:
        ValueError: there is not one value more than there are boundaries, or a boundary does not fit x's dtype.
    """
    if len(boundaries) != len(values) - 1:
        raise ArgumentError("The length of boundaries should be 1 less than the length of values")
    with name_scope(name, "PiecewiseConstant"):
        position = convert_to_tensor(x)
        try:
            limits = [convert_to_tensor(b, None if isinstance(b, Tensor) else position.base_dtype) for b in boundaries]
        except DTypeError as e:
            raise ArgumentError(
                f"Boundaries ({list(boundaries)}) must have the same dtype as x ({position.base_dtype.name}): {e}"
            ) from None
        outcome = convert_to_tensor(values[-1])
        # From the last piece to the first, so that the first boundary not passed decides.
        for limit, value in zip(reversed(limits), reversed(values[:-1]), strict=True):
            chosen = convert_to_tensor(value, None if isinstance(value, Tensor) else outcome.base_dtype)
            outcome = where(less_equal(position, cast(limit, position.base_dtype)), chosen, outcome)
        return outcome


def polynomial_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    end_learning_rate: Any = 0.0001,
    power: Any = 1.0,
    cycle: bool = False,
    name: str | None = None,
) -> Tensor:
    """(learning_rate - end) * (1 - step / decay_steps) ** power + end; the step stops at decay_steps or restarts."""
    with name_scope(name, "PolynomialDecay") as scope:
        rate, step, steps, end, exponent = _operands(
            "polynomial_decay", learning_rate, global_step, decay_steps, end_learning_rate, power
        )
        if cycle:
            # Each cycle ends at the next multiple of decay_steps. At step 0 the number of cycles
            # would be 0, and so would the divisor.
            turns = ceil(divide(step, steps))
            steps = steps * where(equal(step, 0.0), cast(1.0, rate.base_dtype), turns)
        else:
            step = minimum(step, steps)
        left = pow(1.0 - divide(step, steps), exponent)
        return add((rate - end) * left, end, name=scope)


def _share(step: Tensor, steps: Tensor) -> Tensor:
    return divide(minimum(step, steps), steps)


def _cosine(fraction: Tensor) -> Tensor:
    return 0.5 * (1.0 + cos(fraction * numbers.pi))


def cosine_decay(learning_rate: Any, global_step: Any, decay_steps: Any, alpha: float = 0.0, name: str | None = None) -> Tensor:
    """Half a cosine from learning_rate to alpha * learning_rate over decay_steps."""
    with name_scope(name, "CosineDecay"):
        rate, step, steps = _operands("cosine_decay", learning_rate, global_step, decay_steps)
        return multiply(rate, (1 - alpha) * _cosine(_share(step, steps)) + alpha)


def cosine_decay_restarts(
    learning_rate: Any,
    global_step: Any,
    first_decay_steps: Any,
    t_mul: float = 2.0,
    m_mul: float = 1.0,
    alpha: float = 0.0,
    name: str | None = None,
) -> Tensor:
    """Cosine decay over and over, each period `t_mul` times as long and starting `m_mul` times as high as the last."""
    with name_scope(name, "SGDRDecay"):
        rate, step, first = _operands("cosine_decay_restarts", learning_rate, global_step, first_decay_steps)
        fraction = divide(step, first)
        if t_mul == 1.0:
            restart = floor(fraction)
            fraction = fraction - restart
        else:
            # The periods are a geometric series: after i of them the fraction is (t_mul^i - 1) / (t_mul - 1).
            # This is solved for i.
            restart = floor(log(1.0 - fraction * (1.0 - t_mul)) / numbers.log(t_mul))
            start = (1.0 - pow(cast(t_mul, rate.base_dtype), restart)) / (1.0 - t_mul)
            fraction = (fraction - start) / pow(cast(t_mul, rate.base_dtype), restart)
        height = pow(cast(m_mul, rate.base_dtype), restart)
        return multiply(rate, (1 - alpha) * height * _cosine(fraction) + alpha)


def linear_cosine_decay(
    learning_rate: Any,
    global_step: Any,
    decay_steps: Any,
    num_periods: float = 0.5,
    alpha: float = 0.0,
    beta: float = 0.001,
    name: str | None = None,
) -> Tensor:
    """(alpha + linear decay) * cosine of `num_periods` periods + beta."""
    with name_scope(name, "LinearCosineDecay"):
        rate, step, steps = _operands("linear_cosine_decay", learning_rate, global_step, decay_steps)
        share = _share(step, steps)
        return multiply(rate, (alpha + (1.0 - share)) * _cosine(share * (2.0 * num_periods)) + beta)
