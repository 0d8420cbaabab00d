"""`one_hot`, `sequence_mask`, `where` and `unique`: from positions to masks and back."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from graphflow.framework.build import as_array, build, build_op, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import ALL, FLOATS, INTEGERS, DType, as_dtype, bool_, float32, int32, int64, uint8
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import Composite, Host, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register, undefined_gradient
from graphflow.framework.shapes import Dim, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import normal_axis, static_int
from graphflow.ops.array.axis import PositionAttrs
from graphflow.ops.array.range import range as range_
from graphflow.ops.array.reshape import expand_dims
from graphflow.ops.math.binary import maximum
from graphflow.ops.math.cast import CastAttrs, cast
from graphflow.ops.math.compare import less
from graphflow.ops.math.reduce import reduce_max

# ---------------------------------------------------------------------------------------------- one-hot


@record(frozen=True, slots=True)
class OneHotAttrs:
    axis: int


def _one_hot_infer(
    ctx: InferContext, attrs: OneHotAttrs, indices: TensorType, depth: TensorType, on: TensorType, off: TensorType
) -> tuple[TensorType, ...]:
    count = ctx.value(1)
    if indices.dtype not in (uint8, int32, int64):
        raise DTypeError(
            f"Value passed to parameter 'indices' has DataType {indices.dtype.name} not in list of allowed values: uint8, "
            "int32, int64"
        )
    if on.dtype is not off.dtype:
        raise DTypeError(f"dtype {on.dtype.name} of on_value does not match dtype {off.dtype.name} of off_value")
    if isinstance(count, int) and count < 0:
        raise ArgumentError(f"one_hot: depth must be non-negative, got: {count}")
    if indices.shape is None:
        return (TensorType(on.dtype, None),)
    size: Dim = fresh_dim() if count is None or isinstance(count, tuple) else count
    # Counted in the result, which has one axis more.
    axis = normal_axis("OneHot", attrs.axis, len(indices.shape) + 1)
    return (TensorType(on.dtype, (*indices.shape[:axis], size, *indices.shape[axis:])),)


def _one_hot_expand(p: Any, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    out = p.outputs[0].shape
    axis = p.attrs.axis % len(out)
    shown = (*out[:axis], 1, *out[axis + 1 :])
    dtype = p.type(indices).dtype
    if dtype is uint8:  # the axis may be longer than 256
        indices, dtype = p.op("Cast", indices, attrs=CastAttrs(int32)), int32
    # By comparison, so that an index out of range hits nothing, as in TensorFlow.
    position = p.op("AxisPosition", attrs=PositionAttrs(out, axis, dtype))
    return p.op("SelectV2", p.op("Equal", p.reshape(indices, shown), position), on, off)


def _one_hot_reference(attrs: OneHotAttrs, indices: Any, depth: Any, on: Any, off: Any) -> Any:
    axis = attrs.axis % (np.ndim(indices) + 1)
    along = [-1 if k == axis else 1 for k in range(np.ndim(indices) + 1)]
    hit = np.expand_dims(np.asarray(indices), axis) == np.arange(int(depth)).reshape(along)
    return np.where(hit, on, off).astype(np.asarray(on).dtype)


def _one_hot_samples() -> list[Sample]:
    on, off = np.array(2.0, np.float32), np.array(-1.0, np.float32)
    cases: list[tuple[Any, int]] = [(2, -1), ([0, 3, 5, -1], -1), ([[1], [2]], 0), ([[1, 0]], 1), ([], -1)]
    return [Sample((np.array(i, np.int32), np.array(4, np.int32), on, off), OneHotAttrs(a), gradient=False) for i, a in cases]


ONE_HOT = register(
    OpDef(
        "OneHot",
        Composite(_one_hot_expand),
        _one_hot_infer,
        _one_hot_reference,
        _one_hot_samples,
        grad=not_differentiable("positions are integers"),
        attrs=OneHotAttrs,
        shape_operands=(1,),
        dtypes=ALL,
        onnx="OneHot",
        doc="on_value at the index, off_value elsewhere, along a new axis.",
    )
)


def one_hot(
    indices: Any, depth: Any, on_value: Any = None, off_value: Any = None, axis: Any = None, dtype: Any = None,
    name: str | None = "one_hot",
) -> Tensor:  # fmt: skip
    """A new axis of size `depth` with `on_value` (1) at the index and `off_value` (0) elsewhere.

    An index out of range gives off_value everywhere.

    Raises:
        DTypeError: indices are not integers, or the values not of one dtype.
    """
    with name_scope(name, "one_hot") as scope:
        i = convert_to_tensor(indices, name="indices")
        given = [v for v in (on_value, off_value) if v is not None]
        want = as_dtype(dtype).base_dtype if dtype is not None else None
        for v in given:
            # Numbers of Python's or numpy's take the dtype that is asked for; where none is, both must have the same.
            found = (
                convert_to_tensor(v).base_dtype if is_tensor_like(v) else as_dtype(as_array(v).dtype) if dtype is None else None
            )
            if want is None:
                want = found
            elif found is not None and found is not want:
                words = "of on_value does not match dtype" if dtype is None else "parameter does not match"
                raise DTypeError(f"dtype {want.name} {words} {found.name} of on_value or off_value")
        want = want or float32
        on = convert_to_tensor(_switch(1, want) if on_value is None else on_value, want, name="on_value")
        off = convert_to_tensor(_switch(0, want) if off_value is None else off_value, want, name="off_value")
        where = -1 if axis is None else static_int(axis, "one_hot: axis")
        return build(ONE_HOT, (i, convert_to_tensor(depth, int32, name="depth"), on, off), OneHotAttrs(where), scope)


def _switch(value: int, dtype: DType) -> int | bool:
    return bool(value) if dtype is bool_ else value


def sequence_mask(lengths: Any, maxlen: Any = None, dtype: Any = bool_, name: str | None = None) -> Tensor:
    """A new last axis of size `maxlen` (the longest length), true at the first ``lengths[i]`` positions."""
    with name_scope(name, "SequenceMask") as scope:
        n = convert_to_tensor(lengths)
        longest = maximum(reduce_max(n), 0) if maxlen is None else maxlen  # no lengths have no longest, but a mask
        steps = range_(longest, dtype=n.base_dtype)
        want = as_dtype(dtype).base_dtype
        if want is bool_:
            return less(steps, expand_dims(n, -1), name=scope)
        mask: Tensor = cast(less(steps, expand_dims(n, -1)), want, name=scope)
        return mask


# ---------------------------------------------------------------------------------------------- shapes that depend on data


def _where_infer(ctx: InferContext, attrs: Any, condition: TensorType) -> tuple[TensorType, ...]:
    rank: Dim = fresh_dim() if condition.shape is None else len(condition.shape)
    return (TensorType(int64, (fresh_dim(), rank)),)


WHERE = register(
    OpDef(
        "Where",
        Host(),
        _where_infer,
        lambda attrs, condition: np.argwhere(condition).astype(np.int64).reshape(-1, np.ndim(condition)),
        lambda: [Sample((np.array(c, np.float32),), gradient=False) for c in ([1, 0, 2], [[0, 1], [1, 0]], [0.0, 0.0])],
        grad=not_differentiable("positions are integers"),
        dtypes=(bool_, *FLOATS, *INTEGERS),
        onnx="NonZero",
        doc="The positions of the elements that are true (not zero).",
    )
)


def where_indices(condition: Any, name: str | None = None) -> Tensor:
    """The positions of the true elements, int64 [n, rank], in row-major order."""
    return build(WHERE, (convert_to_tensor(condition),), NO_ATTRS, name)


@record(frozen=True, slots=True)
class UniqueAttrs:
    out_idx: DType = int32


def _unique_infer(ctx: InferContext, attrs: UniqueAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is not None and len(x.shape) != 1:
        raise ShapeError(f"unique expects a 1D vector: Shape must be rank 1 but is rank {len(x.shape)}")
    size: Dim = fresh_dim() if x.shape is None else x.shape[0]
    count = fresh_dim()
    types = TensorType(x.dtype, (count,)), TensorType(attrs.out_idx, (size,)), TensorType(attrs.out_idx, (count,))
    return types if ctx.op_name == "UniqueWithCounts" else types[:2]


def _unique(attrs: UniqueAttrs, x: Any) -> tuple[Any, Any, Any]:
    values, first, inverse, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    # numpy sorts the distinct elements; TensorFlow has them in the order of their first appearance.
    order = np.argsort(first, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    want = attrs.out_idx.numpy_dtype
    return values[order], place[inverse.reshape(-1)].astype(want), counts[order].astype(want)


def _unique_op(name: str, reference: Any, doc: str) -> OpDef:
    return OpDef(
        name,
        Host(),
        _unique_infer,
        reference,
        lambda: [Sample((np.array(v, np.float32),), UniqueAttrs(), gradient=False) for v in ([3, 1, 3, 2, 1], [], [5])],
        grad=undefined_gradient("which elements are equal does not change smoothly"),
        attrs=UniqueAttrs,
        dtypes=(*FLOATS, *INTEGERS),
        onnx="Unique",
        doc=doc,
    )


UNIQUE = register(
    _unique_op(
        "Unique",
        lambda attrs, x: _unique(attrs, x)[:2],
        "The distinct elements in order of first appearance, and for each element its place among them.",
    )
)
UNIQUE_WITH_COUNTS = register(
    _unique_op("UniqueWithCounts", _unique, "As Unique, and how often each distinct element is there.")
)


class Unique(NamedTuple):
    """What `unique` gives."""

    y: Tensor
    idx: Tensor


class UniqueWithCounts(NamedTuple):
    """What `unique_with_counts` gives."""

    y: Tensor
    idx: Tensor
    count: Tensor  # type: ignore[assignment]  # TensorFlow's name, which hides that of a method


def unique(x: Any, out_idx: Any = int32, name: str | None = None) -> Unique:
    """(distinct elements in order of first appearance, index of each element among them)."""
    op = build_op(UNIQUE, (convert_to_tensor(x),), UniqueAttrs(as_dtype(out_idx)), name)
    return Unique(*op.outputs)


def unique_with_counts(x: Any, out_idx: Any = int32, name: str | None = None) -> UniqueWithCounts:
    """As `unique`, and how often each distinct element is there."""
    op = build_op(UNIQUE_WITH_COUNTS, (convert_to_tensor(x),), UniqueAttrs(as_dtype(out_idx)), name)
    return UniqueWithCounts(*op.outputs)
