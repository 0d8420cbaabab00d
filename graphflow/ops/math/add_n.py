"""Sums of many operands."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import NUMERIC
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import Elementwise, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.shapes import TensorShape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.samples import spread
from graphflow.ops._define.types import mismatch, refuse, unequal
from graphflow.ops.array.identity import identity


def _add_n_infer(ctx: InferContext, attrs: Any, *inputs: TensorType) -> tuple[TensorType, ...]:
    first = inputs[0]
    shape = first.shape
    for i, t in enumerate(inputs):
        if t.dtype is not first.dtype:
            raise mismatch(ctx, ("inputs[0]", f"inputs[{i}]"), first, t)
        if t.dtype.kind not in "fiu":
            raise refuse(ctx, "inputs", t.dtype, "fiu")
        if shape is None or t.shape is None:
            shape = shape or t.shape
        elif shape != t.shape:
            a, b = shape, t.shape
            shape = ctx.policy.unify_shapes(a, b, lambda a=a, b=b, i=i: unequal(f"AddN: operand {i}", a, b))  # type: ignore[misc]
    return (TensorType(first.dtype, shape),)


def _add_n_rule(b: ScalarBuilder[Any], attrs: Any, *xs: Any) -> Any:
    # From left to right: the order decides the last bits of floats, and rules that split long sums keep it.
    total = xs[0]
    for x in xs[1:]:
        total = b.add(total, x)
    return total


def _add_n_reference(attrs: Any, *xs: Any) -> Any:
    with np.errstate(all="ignore"):
        return np.asarray(sum(xs[1:], start=xs[0])).astype(xs[0].dtype)


ADD_N = register(
    OpDef(
        "AddN",
        Elementwise(_add_n_rule),
        _add_n_infer,
        _add_n_reference,
        lambda: [
            Sample(tuple(spread(s, -2.0, 2.0, seed=i) for i in range(n)))
            for s, n in (((), 2), ((0, 3), 2), ((7,), 1), ((3, 5), 3), ((2, 1, 3), 5))
        ],
        dtypes=NUMERIC,
        onnx="Sum",
        doc="The sum of all operands, which have one shape.",
    )
)


def add_n(inputs: Sequence[Any], name: str | None = None) -> Tensor:
    """The sum of a list of tensors of one shape and dtype; an IndexedSlices counts as the dense tensor it stands for.

    Raises:
        ArgumentError: the list is empty, or `inputs` is none.
        ShapeError, DTypeError: the operands differ in shape or dtype.
    """
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ArgumentError("inputs must be a list of at least one Tensor/IndexedSlices with the same dtype and shape")
    if len(inputs) == 1:
        only = convert_to_tensor(inputs[0])
        return only if name is None else identity(only, name)
    return _sum(inputs, name or "AddN")


def accumulate_n(inputs: Sequence[Any], shape: Any = None, tensor_dtype: Any = None, name: str | None = None) -> Tensor:
    """As `add_n`. `shape` and `tensor_dtype` are what the operands must have."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ArgumentError("inputs must be a list of at least one Tensor with the same dtype and shape")
    tensors = [convert_to_tensor(t, tensor_dtype) for t in inputs]
    if shape is not None:
        for t in tensors:
            if not t.shape.is_compatible_with(TensorShape(shape)):
                raise ShapeError(f"accumulate_n: shape {t.shape} of {t.name} is not compatible with {TensorShape(shape)}")
    return _sum(tensors, name or "AccumulateNV2")


def _sum(inputs: Sequence[Any], name: str) -> Tensor:
    # Sums of gradients come this way: no scope is needed where nothing is converted.
    if all(isinstance(t, Tensor) for t in inputs):
        return inputs[0].op.graph.create_op(ADD_N, tuple(inputs), NO_ATTRS, name).outputs[0]  # type: ignore[no-any-return]
    like = next((convert_to_tensor(t) for t in inputs if is_tensor_like(t)), None)
    graph = context.get_default_graph() if like is None else like.graph
    with graph.as_default(), graph.name_scope(name) as scope:
        dtype = None if like is None else like.base_dtype
        tensors = [convert_to_tensor(t, None if is_tensor_like(t) else dtype, name="inputs") for t in inputs]
    return graph.create_op(ADD_N, tensors, NO_ATTRS, scope).outputs[0]


__all__ = ["accumulate_n", "add_n"]
