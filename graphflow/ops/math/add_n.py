"""Sums of many operands, biases and clipping."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import build, convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import NUMERIC
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.kinds import Composite, Elementwise, ExpandContext, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import allowed, brackets, broadcast, mismatch, refuse, spread, unequal

# ---------------------------------------------------------------------------------------------- many summands


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
        return only if name is None else build("Identity", (only,), NO_ATTRS, name)
    return _sum(inputs, name or "AddN")


def accumulate_n(inputs: Sequence[Any], shape: Any = None, tensor_dtype: Any = None, name: str | None = None) -> Tensor:
    """As `add_n`. `shape` and `tensor_dtype` are what the operands must have."""
    if not isinstance(inputs, (list, tuple)) or not inputs:
        raise ArgumentError("inputs must be a list of at least one Tensor with the same dtype and shape")
    tensors = [convert_to_tensor(t, tensor_dtype) for t in inputs]
    if shape is not None:
        from graphflow.framework.shapes import TensorShape

        for t in tensors:
            if not t.shape.is_compatible_with(TensorShape(shape)):
                raise ShapeError(f"accumulate_n: shape {t.shape} of {t.name} is not compatible with {TensorShape(shape)}")
    return _sum(tensors, name or "AccumulateNV2")


def _sum(inputs: Sequence[Any], name: str) -> Tensor:
    if all(isinstance(t, Tensor) for t in inputs):
        return inputs[0].op.graph.create_op(ADD_N, tuple(inputs), NO_ATTRS, name).outputs[0]  # type: ignore[no-any-return]
    like = next((convert_to_tensor(t) for t in inputs if is_tensor_like(t)), None)
    graph = context.get_default_graph() if like is None else like.graph
    with graph.as_default(), graph.name_scope(name) as scope:
        dtype = None if like is None else like.base_dtype
        tensors = [convert_to_tensor(t, None if is_tensor_like(t) else dtype, name="inputs") for t in inputs]
    return graph.create_op(ADD_N, tensors, NO_ATTRS, scope).outputs[0]


# ---------------------------------------------------------------------------------------------- bias


@record(frozen=True, slots=True)
class BiasAddAttrs:
    data_format: str = "NHWC"


def _bias_infer(ctx: InferContext, attrs: BiasAddAttrs, x: TensorType, bias: TensorType) -> tuple[TensorType, ...]:
    if x.dtype is not bias.dtype:
        raise mismatch(ctx, ("value", "bias"), x, bias)
    if x.dtype.kind not in "fiu":
        raise refuse(ctx, "value", x.dtype, "fiu")
    if bias.shape is not None and len(bias.shape) != 1:
        raise ShapeError(f"BiasAdd: Shape must be rank 1 but is rank {len(bias.shape)}: bias is {brackets(bias.shape)}")
    if x.shape is None:
        return (x,)
    if len(x.shape) < 2:
        raise ShapeError(f"BiasAdd: Shape must be at least rank 2 but is rank {len(x.shape)}: value is {brackets(x.shape)}")
    if bias.shape is None:
        return (x,)
    axis = channel_axis(attrs.data_format, len(x.shape))
    shape, given = x.shape, bias.shape
    channels = ctx.unify(
        shape[axis],
        given[0],
        lambda: (
            f"BiasAdd: Dimensions must be equal, but are {shape[axis]} and {given[0]} with input shapes: "
            f"{brackets(shape)}, {brackets(given)}."
        ),
    )
    return (TensorType(x.dtype, (*shape[:axis], channels, *shape[axis + 1 :])),)


def channel_axis(data_format: str, rank: int) -> int:
    return 1 if data_format.startswith("NC") else rank - 1


def _bias_expand(p: ExpandContext, x: Any, bias: Any) -> Any:
    shape, given = p.type(x).shape, p.type(bias).shape
    assert shape is not None and given is not None
    after = len(shape) - 1 - channel_axis(p.attrs.data_format, len(shape))
    return p.op("AddV2", x, p.reshape(bias, (*given, *(1,) * after)) if after else bias)


def _bias_reference(attrs: BiasAddAttrs, x: Any, bias: Any) -> Any:
    after = x.ndim - 1 - channel_axis(attrs.data_format, x.ndim)
    with np.errstate(all="ignore"):
        return np.asarray(x + bias.reshape(-1, *[1] * after)).astype(x.dtype)


def _bias_samples() -> list[Sample]:
    nhwc = [
        Sample((spread(s, -2.0, 2.0), spread(s[-1:], -1.0, 1.0)), BiasAddAttrs())
        for s in ((2, 3), (0, 3), (1, 1), (2, 3, 2, 5))
    ]
    nchw = [
        Sample((spread(s, -2.0, 2.0), spread(s[1:2], -1.0, 1.0)), BiasAddAttrs("NCHW"))
        for s in ((2, 3), (2, 3, 4, 5), (2, 3, 4))
    ]
    return nhwc + nchw


BIAS_ADD = register(
    OpDef(
        "BiasAdd",
        Composite(_bias_expand),
        _bias_infer,
        _bias_reference,
        _bias_samples,
        attrs=BiasAddAttrs,
        dtypes=NUMERIC,
        doc="A vector added along the channel axis: the last one, or axis 1 for NCHW.",
    )
)

_FORMATS = ("NHWC", "NCHW", "NWC", "NCW", "NDHWC", "NCDHW", "N...C", "NC...")


def bias_add(value: Any, bias: Any, data_format: str | None = None, name: str | None = None) -> Tensor:
    """`value` with the vector `bias` added along the channels: the last axis, or axis 1 for NC formats.

    Raises:
        ArgumentError: unknown data_format.
        ShapeError: value has less than two axes, bias is no vector, or its size is not the number of channels.
    """
    data_format = data_format or "NHWC"
    if data_format not in _FORMATS:
        raise ArgumentError(f"data_format must be of the form `N...C` or `NC...`, got {data_format!r}")
    attrs = BiasAddAttrs("NCHW" if data_format.startswith("NC") else "NHWC")
    if isinstance(value, Tensor) and isinstance(bias, Tensor):
        return value.op.graph.create_op(BIAS_ADD, (value, bias), attrs, name or "BiasAdd").outputs[0]
    like = [convert_to_tensor(v) for v in (value, bias) if is_tensor_like(v)]
    graph = like[0].graph if like else context.get_default_graph()
    with graph.as_default(), graph.name_scope(name or "BiasAdd") as scope:
        x = convert_to_tensor(value, name="input")
        c = convert_to_tensor(bias, None if is_tensor_like(bias) else x.base_dtype, name="bias")
    return graph.create_op(BIAS_ADD, (x, c), attrs, scope).outputs[0]


# ---------------------------------------------------------------------------------------------- clipping


def _clip_infer(ctx: InferContext, attrs: Any, x: TensorType, low: TensorType, high: TensorType) -> tuple[TensorType, ...]:
    for arg, bound in (("clip_value_min", low), ("clip_value_max", high)):
        if bound.dtype is not x.dtype:
            raise mismatch(ctx, ("t", arg), x, bound)
    if x.dtype.kind not in "fiu":
        raise refuse(ctx, "t", x.dtype, "fiu")
    shape = broadcast(ctx, broadcast(ctx, x.shape, high.shape), low.shape)
    if shape is not None and x.shape is not None and len(shape) > len(x.shape):
        raise ShapeError(f"clip_by_value: {unequal('the bounds would broadcast the tensor', x.shape, shape)}")
    return (TensorType(x.dtype, shape),)


def _clip_samples() -> list[Sample]:
    x = np.linspace(-3.1, 3.3, 12, dtype=np.float32).reshape(3, 4)
    low, high = np.array(-1.0, np.float32), np.array(2.0, np.float32)
    rows = np.array([[-2.0], [-1.0], [0.0]], np.float32)
    return [
        Sample((x, low, high)),
        Sample((x, rows, high)),
        Sample((x[0, 0].reshape(()), low, high)),
        Sample((x[:0], low, high)),
    ]


CLIP_BY_VALUE = register(
    OpDef(
        "ClipByValue",
        Elementwise(lambda b, attrs, x, low, high: b.maximum(b.minimum(x, high), low)),
        _clip_infer,
        lambda attrs, x, low, high: np.asarray(np.where(x > high, high, np.where(x < low, low, x))).astype(x.dtype),
        _clip_samples,
        dtypes=allowed("fiu"),
        doc="x limited to [low, high]; NaN stays NaN.",
    )
)


def clip_by_value(t: Any, clip_value_min: Any, clip_value_max: Any, name: str | None = None) -> Any:
    """t limited to [clip_value_min, clip_value_max], which broadcast to its shape. An IndexedSlices stays one.

    Elements that are limited pass no gradient to t; NaN stays NaN.
    """
    if isinstance(t, IndexedSlices):
        return IndexedSlices(clip_by_value(t.values, clip_value_min, clip_value_max, name), t.indices, t.dense_shape)
    values = convert_to_tensor(t, name="t")
    graph = values.graph
    with graph.as_default(), graph.name_scope(name or "clip_by_value") as scope:
        bounds = [
            convert_to_tensor(v, None if is_tensor_like(v) else values.base_dtype, name=arg)
            for v, arg in ((clip_value_min, "clip_value_min"), (clip_value_max, "clip_value_max"))
        ]
    return graph.create_op(CLIP_BY_VALUE, (values, *bounds), NO_ATTRS, scope).outputs[0]


__all__ = ["accumulate_n", "add_n", "bias_add", "clip_by_value"]
