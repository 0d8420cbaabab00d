"""`shape`, `size` and `rank`: the sizes of a tensor as tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, constant, convert_to_tensor
from graphflow.framework.dtypes import ALL, DType, as_dtype, int32, int64
from graphflow.framework.kinds import ShapeOf, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import fresh_dim, product, static_shape
from graphflow.framework.sparse_tensor import SparseTensor, SparseTensorValue
from graphflow.framework.tensor import Tensor


@record(frozen=True, slots=True)
class OutTypeAttrs:
    out_type: DType = int32


_WHY = not_differentiable("sizes are integers")


def _samples() -> list[Sample]:
    return [Sample((np.ones(s, np.float32),), OutTypeAttrs(), gradient=False) for s in ((), (0,), (3,), (2, 1, 4))]


def _shape_infer(ctx: InferContext, attrs: OutTypeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    return (TensorType(attrs.out_type, (fresh_dim() if x.shape is None else len(x.shape),)),)


def _scalar(ctx: InferContext, attrs: OutTypeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    return (TensorType(attrs.out_type, ()),)


def _shape_value(attrs: Any, types: Sequence[TensorType], values: Any) -> ShapeValue | None:
    return types[0].shape


def _size_value(attrs: Any, types: Sequence[TensorType], values: Any) -> ShapeValue | None:
    return None if types[0].shape is None else product(types[0].shape)


def _rank_value(attrs: Any, types: Sequence[TensorType], values: Any) -> ShapeValue | None:
    return None if types[0].shape is None else len(types[0].shape)


SHAPE = register(
    OpDef(
        "Shape", ShapeOf(), _shape_infer,
        lambda attrs, x: np.array(np.shape(x), attrs.out_type.numpy_dtype), _samples, grad=_WHY, attrs=OutTypeAttrs,
        shape_value=_shape_value, dtypes=ALL, onnx="Shape", doc="The sizes of a tensor's axes.",
    )
)  # fmt: skip
SIZE = register(
    OpDef(
        "Size", ShapeOf(), _scalar, lambda attrs, x: np.array(np.size(x), attrs.out_type.numpy_dtype), _samples, grad=_WHY,
        attrs=OutTypeAttrs, shape_value=_size_value, dtypes=ALL, onnx="Size", doc="The number of a tensor's elements.",
    )
)  # fmt: skip
RANK = register(
    OpDef(
        "Rank", ShapeOf(), _scalar, lambda attrs, x: np.array(np.ndim(x), attrs.out_type.numpy_dtype), _samples, grad=_WHY,
        attrs=OutTypeAttrs, shape_value=_rank_value, dtypes=ALL, doc="The number of a tensor's axes.",
    )
)  # fmt: skip


def shape(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The sizes of `input`'s axes, an integer vector; also those known only at run time."""
    if isinstance(input, (SparseTensor, SparseTensorValue)):
        return _of_sparse("shape", input, as_dtype(out_type).base_dtype, name)
    return _sizes(SHAPE, convert_to_tensor(input), as_dtype(out_type).base_dtype, name)


def size(input: Any, name: str | None = None, out_type: Any = int32) -> Tensor:
    """The number of elements of `input`."""
    if isinstance(input, (SparseTensor, SparseTensorValue)):
        return _of_sparse("size", input, as_dtype(out_type).base_dtype, name)
    return _sizes(SIZE, convert_to_tensor(input), as_dtype(out_type).base_dtype, name)


def rank(input: Any, name: str | None = None) -> Tensor:
    """The number of axes of `input`."""
    if isinstance(input, (SparseTensor, SparseTensorValue)):
        return _of_sparse("rank", input, int32, name)
    return _sizes(RANK, convert_to_tensor(input), int32, name)


def _sizes(op: OpDef, x: Tensor, out_type: DType, name: str | None) -> Tensor:
    """As in TensorFlow a constant where it is known now: a run that needs no more of x than that need not have it."""
    known = {SHAPE: _shape_value, SIZE: _size_value, RANK: _rank_value}[op](None, (x.type,), ())
    static = None if known is None else static_shape(known if isinstance(known, tuple) else (known,))
    if static is None or max(static, default=0) > out_type.max:
        return build(op, (x,), OutTypeAttrs(out_type), name)
    with x.graph.as_default():
        return constant(np.array(known, out_type.numpy_dtype), name=name or op.name)


def _of_sparse(what: str, x: SparseTensor | SparseTensorValue, out_type: DType, name: str | None) -> Tensor:
    # Programs without sparse tensors do not load these.
    from graphflow.ops.math.cast import cast
    from graphflow.ops.math.reduce import reduce_prod

    sizes = convert_to_tensor(x.dense_shape, int64)
    if what == "rank":
        return size(sizes, name)
    found: Tensor = cast(sizes, out_type, name if what == "shape" else None)
    return reduce_prod(found, 0, name=name) if what == "size" else found


def shape_n(input: Sequence[Any], out_type: Any = int32, name: str | None = None) -> list[Tensor]:
    """`shape` of each."""
    return [shape(x, name, out_type) for x in input]


def shape_tensor(x: Tensor, out_type: DType = int32) -> Tensor:
    """The shape of x for use as an operand: a constant where it is static."""
    static = None if x._shape is None else static_shape(x._shape)
    if static is None:
        return shape(x, out_type=out_type)
    with x.graph.as_default():
        return constant(np.array(static, out_type.numpy_dtype), name="Shape")
