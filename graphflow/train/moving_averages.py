"""`ExponentialMovingAverage`: moving averages of variables and tensors, in shadow variables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.dtypes import float32
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Operation, Tensor
from graphflow.framework.graph_keys import GraphKeys
from graphflow.ops.control_flow.control import group
from graphflow.ops.math.binary import minimum, pow
from graphflow.ops.math.cast import cast
from graphflow.ops.state.variable import assign_add, assign_sub
from graphflow.train.slots import create_slot, create_zeros_slot
from graphflow.variables.initializers import Zeros
from graphflow.variables.scope import get_variable, variable_scope
from graphflow.variables.variable import (
    Variable,
    global_variables,
    init_scope,
    moving_average_variables,
    trainable_variables,
)

__all__ = ["ExponentialMovingAverage", "assign_moving_average"]


def assign_moving_average(variable: Any, value: Any, decay: Any, zero_debias: bool = True, name: str | None = None) -> Tensor:
    """``variable -= (1 - decay) * (variable - value)``; `zero_debias` corrects for a start at zero, as Adam does."""
    dtype = variable.dtype.base_dtype
    with name_scope(name, "AssignMovingAvg") as scope:
        rest = 1.0 - cast(convert_to_tensor(decay), dtype)
        target = convert_to_tensor(value, dtype if not isinstance(value, Tensor) else None)
        if zero_debias:
            delta = _unbiased_delta(variable, target, rest)
        else:
            # As a difference, so that the update is one subtraction from the variable.
            delta = (variable - target) * rest
        return assign_sub(variable, delta, name=scope)


def _unbiased_delta(variable: Any, value: Tensor, rest: Tensor) -> Tensor:
    """What to subtract from the variable so that it becomes the average without the bias of a start at zero.

    Two variables beside it hold the biased average and the number of steps: after n steps the weights sum up to 1 - decay^n.
    """
    with variable_scope(variable.op.name, values=[variable, value]):
        biased = get_variable("biased", variable.shape, value.base_dtype, Zeros(), trainable=False)
        local_step = get_variable("local_step", [], value.base_dtype, Zeros(), trainable=False)
    new_biased = assign_sub(biased, (biased - value) * rest)
    new_step = assign_add(local_step, 1)
    value_now: Tensor = variable.value()
    return value_now - new_biased / (1.0 - pow(1.0 - rest, new_step))


class ExponentialMovingAverage:
    """Keeps, for variables or tensors, shadow variables ``shadow = decay * shadow + (1 - decay) * value``.

    Args:
        decay: near one; number or tensor.
        num_updates: if given, the decay is min(decay, (1 + num_updates) / (10 + num_updates)).
        zero_debias: correct averages of tensors, which start at zero; those of variables start at the variable's value.
        name: of the shadows: ``<variable>/<name>``.
    """

    def __init__(
        self, decay: Any, num_updates: Any = None, zero_debias: bool = False, name: str = "ExponentialMovingAverage"
    ) -> None:
        self._decay = decay
        self._num_updates = num_updates
        self._zero_debias = zero_debias
        self._name = name
        self._averages: dict[Any, Any] = {}

    @property
    def name(self) -> str:
        return self._name

    def apply(self, var_list: Iterable[Any] | None = None) -> Operation:
        """An op that updates the averages of `var_list` (the trainable variables), whose shadows are made here.

        Raises:
            TypeError: an element is not of a floating type. ValueError: it is averaged already.
        """
        chosen = trainable_variables() if var_list is None else list(var_list)
        debias: set[Any] = set()
        for var in chosen:
            if not var.dtype.base_dtype.is_floating:
                raise TypeError(f"The variables must be half, float, or double: {var.name}")
            if var in self._averages:
                raise ArgumentError(f"Moving average already computed for: {var.name}")
            with init_scope(var.graph):
                if isinstance(var, Variable):
                    # The average of a variable starts at its initial value, so there is nothing to correct.
                    shadow = create_slot(var, var.initialized_value(), self._name)
                    var.graph.add_to_collection(GraphKeys.MOVING_AVERAGE_VARIABLES, var)
                else:
                    shadow = create_zeros_slot(var, self._name)
                    if self._zero_debias:
                        debias.add(var)
            self._averages[var] = shadow
        with name_scope(self._name) as scope:
            decay = convert_to_tensor(self._decay, name="decay")
            if self._num_updates is not None:
                n = cast(convert_to_tensor(self._num_updates), float32)
                # A short memory in the first steps, when the values still change a lot.
                decay = minimum(decay, (1.0 + n) / (10.0 + n))
            updates = [assign_moving_average(self._averages[v], v, decay, zero_debias=v in debias) for v in chosen]
            return group(*updates, name=scope)

    def average(self, var: Any) -> Any:
        """The shadow variable of `var`, or None."""
        return self._averages.get(var)

    def average_name(self, var: Any) -> str:
        """The name of the shadow of `var`, whether it exists yet or not."""
        if var in self._averages:
            name: str = self._averages[var].op.name
            return name
        return context.get_default_graph().unique_name(f"{var.op.name}/{self._name}", mark_as_used=False)

    def variables_to_restore(self, moving_avg_variables: Iterable[Any] | None = None) -> dict[str, Any]:
        """For a Saver: shadow names to the averaged variables, and the other global variables under their own names."""
        averaged = trainable_variables() + moving_average_variables() if moving_avg_variables is None else moving_avg_variables
        names = {self.average_name(v): v for v in dict.fromkeys(averaged)}
        taken = {v.op.name for v in names.values()}
        names |= {v.op.name: v for v in global_variables() if v.op.name not in taken and v.op.name not in names}
        return names
