"""Slots: the variables an optimizer keeps beside each variable, named ``<variable>/<optimizer>``."""

from __future__ import annotations

from typing import Any

from graphflow.framework.build import constant
from graphflow.framework.dtypes import DType
from graphflow.framework.graph import Tensor
from graphflow.framework.shapes import TensorShape
from graphflow.ops.array.fill import fill, zeros
from graphflow.ops.array.shape import shape as shape_of
from graphflow.variables.initializers import Constant, Zeros
from graphflow.variables.scope import get_variable, variable_scope


def create_slot(primary: Any, value: Tensor, name: str) -> Any:
    """A slot of `primary` (a Variable or Tensor) that starts as `value`."""
    validate = value.shape.is_fully_defined()
    with variable_scope(None, f"{primary.op.name}/{name}"):
        return get_variable("", initializer=value, trainable=False, validate_shape=validate)


def create_slot_with_initializer(primary: Any, initializer: Any, shape: TensorShape, dtype: DType, name: str) -> Any:
    if not shape.is_fully_defined() and isinstance(initializer, Zeros):
        return create_zeros_slot(primary, name, dtype)
    if not shape.is_fully_defined() and isinstance(initializer, Constant):
        return create_slot(primary, fill(_first_shape(primary), constant(initializer.value, dtype)), name)
    with variable_scope(None, f"{primary.op.name}/{name}"):
        return get_variable("", shape, dtype, initializer, trainable=False)


def create_zeros_slot(primary: Any, name: str, dtype: DType | None = None) -> Any:
    """A slot of zeros of the shape and dtype of `primary`, whose static shape may be open."""
    element = primary.dtype.base_dtype if dtype is None else dtype
    if primary.shape.is_fully_defined():
        return create_slot_with_initializer(primary, Zeros(), primary.shape, element, name)
    return create_slot(primary, zeros(_first_shape(primary), element), name)


def _first_shape(primary: Any) -> Tensor:
    """The shape that is known only in the run which initialises both: that of the value which the variable gets there."""
    return shape_of(primary.initialized_value() if hasattr(primary, "initialized_value") else primary)
