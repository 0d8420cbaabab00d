"""`fill`, `zeros` and `ones`: tensors whose elements are all the same."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np

from graphflow.framework.build import build, constant, convert_to_tensor, name_scope
from graphflow.framework.dtypes import ALL, as_dtype, float32, string
from graphflow.framework.errors import ShapeError
from graphflow.framework.kinds import IndexMap, Piece, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.shapes import format_shape, fresh_dim, static_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import shape_operand, static_sizes
from graphflow.ops.array.shape import shape_tensor

#: The largest number of elements for which zeros and ones are one constant: that can be folded, and is named as in TensorFlow.
_CONSTANT_SIZE = 4096


def _fill_infer(ctx: InferContext, attrs: Any, dims: TensorType, value: TensorType) -> tuple[TensorType, ...]:
    wanted = ctx.vector(0)
    if value.shape not in (None, ()):
        raise ShapeError(f"Fill: value must be a scalar: Shape must be rank 0 but is {format_shape(value.shape)}")
    if wanted is None:
        rank = dims.shape[0] if dims.shape else None
        return (TensorType(value.dtype, tuple(fresh_dim() for _ in builtins.range(rank)) if isinstance(rank, int) else None),)
    if any(isinstance(d, int) and d < 0 for d in wanted):
        raise ShapeError(
            f"Fill: dims must be non-negative: Dimension {min(d for d in wanted if isinstance(d, int))} must be >= 0"
        )
    return (TensorType(value.dtype, wanted),)


def _fill_reference(attrs: Any, dims: Any, value: Any) -> Any:
    sizes = tuple(int(d) for d in np.atleast_1d(dims))
    if min(sizes, default=0) < 0:
        raise ShapeError(f"Fill: dims must be non-negative: Dimension {min(sizes)} must be >= 0")
    return np.full(sizes, value, np.asarray(value).dtype)


FILL = register(
    OpDef(
        "Fill",
        IndexMap(lambda ix, ctx, index: [Piece(1, ())]),
        _fill_infer,
        _fill_reference,
        lambda: [Sample((np.array(d, np.int32), np.array(1.5, np.float32))) for d in ((), (0,), (3,), (2, 3))],
        shape_operands=(0,),
        dtypes=ALL,
        onnx="ConstantOfShape",
        doc="A tensor of one value.",
    )
)


def fill(dims: Any, value: Any, name: str | None = None) -> Tensor:
    """A tensor of shape `dims` (ints or an integer tensor) filled with the scalar `value`."""
    with name_scope(name, "Fill") as scope:
        return build(FILL, (shape_operand(dims, "dims"), convert_to_tensor(value, name="value")), NO_ATTRS, scope)


def _filled(shape: Any, value: int, dtype: Any, name: str) -> Tensor:
    want = as_dtype(dtype).base_dtype
    one = np.asarray(b"" if want is string else value, want.numpy_dtype)
    known = static_sizes(shape)
    # In float64, because a product of large sizes would wrap in integers.
    if known is not None and min(known, default=0) >= 0 and np.prod(known, dtype=np.float64) <= _CONSTANT_SIZE:
        return constant(np.full(known, one, want.numpy_dtype), want, name=name)
    with name_scope(name) as scope:
        return build(FILL, (shape_operand(shape if known is None else known), constant(one, want)), NO_ATTRS, scope)


def zeros(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """Zeros (False, empty strings) of the given shape."""
    return _filled(shape, 0, dtype, name or "zeros")


def ones(shape: Any, dtype: Any = float32, name: str | None = None) -> Tensor:
    """Ones (True) of the given shape."""
    return _filled(shape, 1, dtype, name or "ones")


def _like(tensor: Any, value: int, dtype: Any, name: str) -> Tensor:
    x = convert_to_tensor(tensor)
    want = x.base_dtype if dtype is None else as_dtype(dtype).base_dtype
    # Where the shape is known the result does not depend on the tensor, so it is never computed for it.
    static = None if x._shape is None else static_shape(x._shape)
    with x.graph.as_default():
        return _filled(static if static is not None else shape_tensor(x), value, want, name)


def zeros_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Zeros of the shape (and, unless given, dtype) of `tensor`."""
    return _like(tensor, 0, dtype, name or "zeros_like")


def ones_like(tensor: Any, dtype: Any = None, name: str | None = None, optimize: bool = True) -> Tensor:
    """Ones of the shape (and, unless given, dtype) of `tensor`."""
    return _like(tensor, 1, dtype, name or "ones_like")
