"""Assignment to a slice of a variable: ``v[1:3].assign(x)``."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.dtypes import ALL, string
from graphflow.framework.errors import ArgumentError
from graphflow.framework.kinds import ExpandContext, StateUpdate, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.updates import check_dtype, merge_shapes
from graphflow.ops.array.indexing import slice_operands
from graphflow.ops.array.strided_slice import (
    StridedSliceAttrs,
    bounds_of,
    numpy_index,
    resolved_slices,
    strided_samples,
)
from graphflow.ops.state.variable import mutable


def _slice_shape(ref: Shape, attrs: StridedSliceAttrs, bounds: Any) -> Shape:
    taken = resolved_slices(ref, attrs, bounds)
    return tuple([1 if p is None else p.size for p in taken if p is None or not p.shrink])


def _infer(
    ctx: InferContext, attrs: StridedSliceAttrs, ref: TensorType, b: TensorType, e: TensorType, s: TensorType, value: TensorType
) -> tuple[TensorType, ...]:
    check_dtype(ctx, "value", value.dtype, ref.dtype)
    if ref.shape is not None and value.shape:
        bounds = bounds_of([None, *(ctx.entries(k) for k in (1, 2, 3))], (ref, b, e, s))
        taken = _slice_shape(ref.shape, attrs, bounds)
        if 0 not in taken or 0 not in value.shape:  # nothing fits in where nothing is, whatever the shapes
            merge_shapes(ctx, taken, value.shape, " (value)")
    return (ref,)


def _expand(p: ExpandContext, ref: Any, begin: Any, end: Any, strides: Any, value: Any) -> Any:
    shape = p.type(ref).shape
    assert shape is not None
    dtype = p.type(ref).dtype
    part = _slice_shape(shape, p.attrs, bounds_of(p.values, p.inputs))
    put = p.same("StridedSliceGrad", p.broadcast_to(value, part))
    there = p.same("StridedSliceGrad", p.broadcast_to(p.const(True if dtype.is_bool else 1, dtype), part))
    hit = there if dtype.is_bool else p.op("NotEqual", there, p.const(0, dtype))
    return p.op("SelectV2", hit, put, ref)


def _reference(attrs: StridedSliceAttrs, ref: Any, begin: Any, end: Any, strides: Any, value: Any) -> tuple[Any, ...]:
    out = np.array(ref)
    try:
        out[numpy_index(attrs, begin, end, strides)] = value
    except IndexError as e:
        raise ValueError(f"slice index out of bounds: {e}") from None
    return (out,)


def _samples() -> list[Sample]:
    found = []
    for sample in strided_samples()[1::2]:
        x, *bounds = sample.inputs
        found.append(Sample((x, *bounds, -x[numpy_index(sample.attrs, *bounds)] - 1), sample.attrs, gradient=False))
    return found


STRIDED_SLICE_ASSIGN = register(
    OpDef(
        "StridedSliceAssign",
        StateUpdate((0,), _expand),
        _infer,
        _reference,
        _samples,
        grad=not_differentiable("an assignment changes a variable; it is no function of it"),
        attrs=StridedSliceAttrs,
        shape_operands=(1, 2, 3),
        dtypes=tuple(d for d in ALL if d is not string),
        doc="Overwrites a strided slice of a variable.",
    )
)


class VariableSlice(Tensor):
    """A slice of a variable, which can be assigned to."""

    __slots__ = ("_key", "_ref")
    _key: Any
    _ref: Tensor

    @classmethod
    def of(cls, ref: Tensor, key: Any, part: Tensor) -> Tensor:
        """`part`, which has just been made as ``ref[key]``, as something to assign to."""
        op = part.op
        if op._outputs is not part or part._consumers is not None:
            return part
        made = cls(op, 0, part.type)
        made._ref, made._key, made._shape_value = ref, key, part._shape_value
        op._outputs = made
        return made

    def assign(self, value: Any, name: str | None = None) -> Tensor:
        """Assigns `value`, of the slice's shape or a scalar, to this part of the variable; yields the whole new value."""
        return assign_slice(self._ref, self._key, value, name)


def assign_slice(ref: Tensor, key: Any, value: Any, name: str | None = None) -> Tensor:
    """``ref[key] = value``; yields the whole new value."""
    target = mutable(ref, STRIDED_SLICE_ASSIGN.name)
    if target.base_dtype is string:
        raise ArgumentError("StridedSliceAssign: slices of strings cannot be assigned to")
    with target.graph.as_default(), name_scope(name, STRIDED_SLICE_ASSIGN.name) as scope:
        *bounds, attrs = slice_operands(list(key) if isinstance(key, (tuple, list)) else [key])
        new = convert_to_tensor(value, target.base_dtype, name="value")
        return build(STRIDED_SLICE_ASSIGN, (target, *bounds, new), attrs, scope)
