"""Where the largest and the smallest element of an axis are: argmax and argmin."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from graphflow.framework.build import build, convert_to_tensor
from graphflow.framework.deferred import Arguments, deferrable
from graphflow.framework.dtypes import NUMERIC, DType, as_dtype, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError
from graphflow.framework.kinds import ArgReduction, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.axes import check_axes, one_position
from graphflow.ops._define.deferred_types import open_shape, rank_of
from graphflow.ops._define.types import brackets, check_number


@record(frozen=True, slots=True)
class ArgAttrs:
    axis: int = 0
    output_type: DType = int64


def _arg_infer(ctx: InferContext, attrs: ArgAttrs, x: TensorType) -> tuple[TensorType, ...]:
    check_number(ctx, x)
    if x.shape is None:
        return (TensorType(attrs.output_type, None),)
    check_axes(ctx.op_name, (attrs.axis,), len(x.shape))
    # An empty axis has no index that could be returned.
    if x.shape[attrs.axis] == 0:
        raise ArgumentError(f"{ctx.op_name}: Reduction axis {attrs.axis} is empty in shape {brackets(x.shape)}")
    return (TensorType(attrs.output_type, x.shape[: attrs.axis] + x.shape[attrs.axis + 1 :]),)


def _arg_samples() -> list[Sample]:
    rng = np.random.default_rng(17)

    def case(shape: tuple[int, ...], axis: int) -> Sample:
        x = rng.permutation(int(np.prod(shape))).reshape(shape).astype(np.float32)
        return Sample((x,), ArgAttrs(axis), gradient=False)

    ties = Sample((np.array([[1, 3, 3], [2, 2, 2]], np.float32),), ArgAttrs(1), gradient=False)
    return [case((7,), 0), case((3, 5), 0), case((3, 5), 1), case((2, 3, 4), 1), case((0, 3), 1), case((4, 1), 1), ties]


def _arg_op(name: str, which: Literal["max", "min"], find: Callable[..., Any], doc: str) -> OpDef:
    return OpDef(
        name,
        ArgReduction(which),
        _arg_infer,
        lambda attrs, x: np.asarray(find(x, axis=attrs.axis)).astype(attrs.output_type.numpy_dtype),
        _arg_samples,
        grad=not_differentiable("an index"),
        attrs=ArgAttrs,
        dtypes=NUMERIC,
        onnx=name,
        doc=doc,
    )


ARG_MAX = register(_arg_op("ArgMax", "max", np.argmax, "The first index of the largest element along an axis."))
ARG_MIN = register(_arg_op("ArgMin", "min", np.argmin, "The first index of the smallest element along an axis."))


def _arg(op: OpDef, input: Any, axis: Any, dimension: Any, output_type: Any, name: str | None) -> Tensor:
    if axis is not None and dimension is not None:
        raise ArgumentError("Cannot specify both 'axis' and 'dimension'")
    x = convert_to_tensor(input, name="input")
    found = as_dtype(output_type).base_dtype
    if found not in (int32, int64):
        raise DTypeError(f"{op.name}: output_type must be int32 or int64, got {found.name}")
    return _arg_along(op, x, dimension if axis is None else axis, found, name)


def _arg_types(a: Arguments) -> list[TensorType]:
    rank = rank_of(a["x"])
    return [TensorType(a["output_type"], None if rank is None else open_shape(max(rank - 1, 0)))]


@deferrable(_arg_types, "axis")
def _arg_along(op: OpDef, x: Tensor, axis: Any, output_type: DType, name: str | None = None) -> Tensor:
    return build(op, (x,), ArgAttrs(one_position(op.name, axis, x, 0), output_type), name)


def argmax(input: Any, axis: Any = None, name: str | None = None, dimension: Any = None, output_type: Any = int64) -> Tensor:
    """The index of the largest element along `axis` (by default 0): of several the first; a NaN counts as the largest.

    Args:
        output_type: int64 or int32. `dimension` is the old name of `axis`.

    Raises:
        ValueError: an axis that is not there, or is empty. TypeError: not a numeric tensor.
    """
    return _arg(ARG_MAX, input, axis, dimension, output_type, name)


def argmin(input: Any, axis: Any = None, name: str | None = None, dimension: Any = None, output_type: Any = int64) -> Tensor:
    """The index of the smallest element along `axis`; else as `argmax`."""
    return _arg(ARG_MIN, input, axis, dimension, output_type, name)


def arg_max(input: Any, dimension: Any, output_type: Any = int64, name: str | None = None) -> Tensor:
    """`argmax` under its first name."""
    return argmax(input, dimension, name, output_type=output_type)


def arg_min(input: Any, dimension: Any, output_type: Any = int64, name: str | None = None) -> Tensor:
    """`argmin` under its first name."""
    return argmin(input, dimension, name, output_type=output_type)
