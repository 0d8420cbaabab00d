"""`bias_add`, and the layers made of a matrix product and a bias."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import NUMERIC
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import Composite, ExpandContext, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.samples import spread
from graphflow.ops._define.types import brackets, mismatch, refuse
from graphflow.ops.math.matmul import matmul
from graphflow.ops.nn.activation import relu


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
    # As in TensorFlow: a vector has no channels beside a batch.
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
    # Axes of size 1 behind the channels make the vector broadcast along the right axis.
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
    # All formats mean one of two places of the channels.
    attrs = BiasAddAttrs("NCHW" if data_format.startswith("NC") else "NHWC")
    if isinstance(value, Tensor) and isinstance(bias, Tensor):
        return value.op.graph.create_op(BIAS_ADD, (value, bias), attrs, name or "BiasAdd").outputs[0]
    like = [convert_to_tensor(v) for v in (value, bias) if is_tensor_like(v)]
    graph = like[0].graph if like else context.get_default_graph()
    with graph.as_default(), graph.name_scope(name or "BiasAdd") as scope:
        x = convert_to_tensor(value, name="input")
        c = convert_to_tensor(bias, None if is_tensor_like(bias) else x.base_dtype, name="bias")
    return graph.create_op(BIAS_ADD, (x, c), attrs, scope).outputs[0]


def xw_plus_b(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """matmul(x, weights) + biases."""
    with name_scope(name, "xw_plus_b", [x, weights, biases]) as scope:
        return bias_add(matmul(x, weights), biases, name=scope)


def relu_layer(x: Any, weights: Any, biases: Any, name: str | None = None) -> Tensor:
    """relu(matmul(x, weights) + biases)."""
    with name_scope(name, "relu_layer", [x, weights, biases]) as scope:
        return relu(bias_add(matmul(x, weights), biases), name=scope)
