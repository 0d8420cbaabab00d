"""`reshape`, `expand_dims` and `squeeze`: the same elements under another shape."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.deferred import deferrable
from graphflow.framework.dtypes import ALL
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import ShapeValue, TensorType, View
from graphflow.framework.records import record
from graphflow.framework.registry import (
    NO_ATTRS,
    InferContext,
    OpDef,
    Sample,
    register,
)
from graphflow.framework.shapes import GRAPH_POLICY, Dim, SymDim, format_shape, fresh_dim, maximum, minimum, product
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import normal_axis, shape_operand, static_int, static_ints
from graphflow.ops._define.deferred_types import same_rank

# ---------------------------------------------------------------------------------------------- reshape


def _brackets(dims: Sequence[Dim] | None) -> str:
    return "<unknown>" if dims is None else "[" + ",".join("?" if isinstance(d, SymDim) else str(d) for d in dims) + "]"


def _reshape_infer(ctx: InferContext, attrs: Any, x: TensorType, target: TensorType) -> tuple[TensorType, ...]:
    wanted = ctx.vector(1)
    if target.shape and isinstance(target.shape[0], int) and target.shape[0] > 32:
        raise ShapeError(f"reshape: shape of rank {target.shape[0]}: at most 32 dimensions are supported")
    if wanted is None:
        if target.shape is not None and len(target.shape) == 1 and isinstance(target.shape[0], int):
            return (TensorType(x.dtype, tuple(fresh_dim() for _ in range(target.shape[0]))),)
        return (TensorType(x.dtype, None),)
    open_axes = [k for k, d in enumerate(wanted) if d == -1]
    if len(open_axes) > 1:
        raise ShapeError(f"Only one input size may be -1, not both {open_axes[0]} and {open_axes[1]}: {_brackets(wanted)}")
    if any(isinstance(d, int) and d < -1 for d in wanted):
        raise ShapeError(f"reshape: Size must be non-negative or -1, got {_brackets(wanted)}")
    known = product(d for d in wanted if d != -1)
    if x.shape is None:
        return (TensorType(x.dtype, tuple(fresh_dim() if d == -1 else d for d in wanted)),)
    total = product(x.shape)

    def message() -> str:
        elements = f" ({known} elements)" if not open_axes else ""
        return (
            f"Cannot reshape a tensor with {total} elements to shape {_brackets(wanted)}{elements} for '{{{{node Reshape}}}}' "
            f"with input shapes: {_brackets(x.shape)}, {_brackets(target.shape)}"
        )

    if not open_axes:
        ctx.unify(total, known, message)
        unknown = [k for k, d in enumerate(wanted) if not isinstance(d, int)]
        given = product(d for d in wanted if isinstance(d, int))
        # Of one size that only a run knows the number of elements tells what it has to be.
        if len(unknown) == 1 and isinstance(total, int) and total and given:
            if total % given:
                raise ShapeError(message())
            rest = total // given
            return (TensorType(x.dtype, tuple([d if isinstance(d, int) else rest for d in wanted])),)
        return (TensorType(x.dtype, wanted),)
    if known == 0:
        raise ShapeError(
            "reshape cannot infer the missing input size for an empty tensor unless all specified input sizes are "
            f"non-zero: shape {_brackets(wanted)}"
        )
    ctx.not_0(known, lambda: f"reshape cannot infer the missing input size: shape {_brackets(wanted)} has a size of 0")
    if isinstance(total, int) and isinstance(known, int) and total % known:
        raise ShapeError(message())
    rest = total // known
    # Where a run decides, the division must leave no remainder there.
    if not isinstance(rest, int):
        ctx.unify(rest * known, total, message)
    return (TensorType(x.dtype, tuple(rest if d == -1 else d for d in wanted)),)


def _reshape_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    value, target = values[0], values[1]
    if value is None or not isinstance(target, tuple) or len(target) > 1:
        return None
    flat = value if isinstance(value, tuple) else (value,)
    # A vector of one element that is reshaped to [] is a scalar size again.
    if not target:
        return flat[0] if len(flat) == 1 else None
    return flat


def _reshape_samples() -> list[Sample]:
    rng = np.random.default_rng(4)
    cases: list[tuple[tuple[int, ...], list[int]]] = [
        ((), [1, 1]), ((6,), [2, 3]), ((2, 3), [-1]), ((0, 3), [0]), ((2, 3, 4), [4, -1]), ((1,), []),
    ]  # fmt: skip
    return [Sample((rng.normal(size=s).astype(np.float32), np.array(new, np.int32))) for s, new in cases]


RESHAPE = register(
    OpDef(
        "Reshape",
        View(),
        _reshape_infer,
        lambda attrs, x, target: np.reshape(x, tuple(int(d) for d in np.atleast_1d(target))),
        _reshape_samples,
        shape_operands=(1,),
        shape_value=_reshape_value,
        dtypes=ALL,
        onnx="Reshape",
        doc="The same elements in row-major order under another shape; one dimension may be -1.",
    )
)


def reshape(tensor: Any, shape: Any, name: str | None = None) -> Tensor:
    """The elements of `tensor` under `shape` (ints, at most one -1, or an integer tensor).

    Raises:
        ShapeError: the numbers of elements differ.
    """
    x = convert_to_tensor(tensor)
    with name_scope(name, "Reshape", [x]) as scope:
        return build(RESHAPE, (x, shape_operand(shape)), NO_ATTRS, scope)


# ---------------------------------------------------------------------------------------------- axes of size 1


@record(frozen=True, slots=True)
class ExpandDimsAttrs:
    axis: int


def _expand_infer(ctx: InferContext, attrs: ExpandDimsAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,)
    axis = normal_axis("ExpandDims", attrs.axis, len(x.shape) + 1)
    return (TensorType(x.dtype, (*x.shape[:axis], 1, *x.shape[axis:])),)


def _scalar_to_vector(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    return None if values[0] is None or isinstance(values[0], tuple) else (values[0],)


EXPAND_DIMS = register(
    OpDef(
        "ExpandDims",
        View(),
        _expand_infer,
        lambda attrs, x: np.expand_dims(x, attrs.axis),
        lambda: [
            Sample((np.ones(s, np.float32),), ExpandDimsAttrs(a)) for s, a in (((), 0), ((3,), -1), ((2, 3), 1), ((0, 2), 0))
        ],
        attrs=ExpandDimsAttrs,
        shape_value=_scalar_to_vector,
        dtypes=ALL,
        onnx="Unsqueeze",
        doc="Inserts an axis of size 1.",
    )
)


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """Inserts an axis of size 1 at `axis` (negative counts from the end).

    Raises:
        ArgumentError: no axis is given, or it is out of range.
    """
    where = dim if axis is None else axis
    if where is None:
        raise ArgumentError("Must specify an axis argument to tf.expand_dims()")
    return _expand_dims(convert_to_tensor(input), where, name)


@deferrable(same_rank("x", 1), "axis", op_name="ExpandDims")
def _expand_dims(x: Tensor, axis: Any, name: str | None = None) -> Tensor:
    return build(EXPAND_DIMS, (x,), ExpandDimsAttrs(static_int(axis, "expand_dims: axis")), name)


@record(frozen=True, slots=True)
class SqueezeAttrs:
    """The axes to remove; none given means all of size 1."""

    axis: tuple[int, ...] = ()


def _squeeze_infer(ctx: InferContext, attrs: SqueezeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,)
    if not attrs.axis:
        if ctx.policy is GRAPH_POLICY and not all(isinstance(d, int) for d in x.shape):
            return (TensorType(x.dtype, None),)  # an open size may turn out to be 1; a Program knows which are
        for d in x.shape:
            if isinstance(d, SymDim) and not d.is_size():  # n - 1 may be 1 in a run, and then it has to go too
                ctx.unify(d, maximum(d, 2) * minimum(d, 1), "Squeeze: a size computed from others is 1")
        return (TensorType(x.dtype, tuple(d for d in x.shape if d != 1)),)
    axes = {normal_axis("Squeeze", a, len(x.shape)) for a in attrs.axis}
    for a in axes:
        ctx.unify(
            x.shape[a], 1, f"Can not squeeze dim[{a}], expected a dimension of 1, got {x.shape[a]}: {format_shape(x.shape)}"
        )
    return (TensorType(x.dtype, tuple(d for k, d in enumerate(x.shape) if k not in axes)),)


def _squeeze_value(attrs: SqueezeAttrs, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    value = values[0]
    return value[0] if isinstance(value, tuple) and len(value) == 1 else None


SQUEEZE = register(
    OpDef(
        "Squeeze",
        View(),
        _squeeze_infer,
        lambda attrs, x: np.squeeze(x, attrs.axis or None),
        lambda: [
            Sample((np.ones(s, np.float32),), SqueezeAttrs(a))
            for s, a in (((), ()), ((1, 3), ()), ((1, 3, 1), (-1,)), ((2, 1, 0), (1,)))
        ],
        attrs=SqueezeAttrs,
        shape_value=_squeeze_value,
        dtypes=ALL,
        onnx="Squeeze",
        doc="Removes axes of size 1.",
    )
)


def squeeze(input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None) -> Tensor:
    """Removes the axes of size 1, or those of `axis` (which must be of size 1).

    Raises:
        ShapeError: an axis named is not of size 1.
    """
    axis = squeeze_dims if axis is None else axis
    axes = () if axis is None else static_ints(axis, "squeeze: axis")
    return build(SQUEEZE, (convert_to_tensor(input),), SqueezeAttrs(axes), name)
