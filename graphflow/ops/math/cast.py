"""Conversions of element types."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import (
    ALL,
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float32,
    float64,
    int8,
    int32,
    int64,
    string,
    uint8,
    uint32,
)
from graphflow.framework.errors import DTypeError
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.kinds import Elementwise, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, lookup, register, undefined_gradient
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.operands import build_unary

_NUMBERS = tuple(d for d in ALL if d is not string)


@record(frozen=True, slots=True)
class CastAttrs:
    dtype: DType


def _cast_infer(ctx: InferContext, attrs: CastAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.dtype is string or attrs.dtype is string:
        raise DTypeError(f"Cast {x.dtype.name} to {attrs.dtype.name} is not supported: numbers and bools are.")
    return (TensorType(attrs.dtype, x.shape),)


def _cast_reference(attrs: CastAttrs, x: Any) -> Any:
    target = attrs.dtype.numpy_dtype
    with np.errstate(all="ignore"):
        if attrs.dtype.is_bool:
            return np.asarray(x != 0)
        if not (attrs.dtype.is_integer and as_dtype(x.dtype).is_floating):
            return np.asarray(x).astype(target)
        info = np.iinfo(target)
        # In Python's numbers, which compare exactly: the largest int64 as a float is rounded up, out of range.
        whole = [
            0 if v != v else info.max if v > info.max else info.min if v < info.min else int(v) for v in x.ravel().tolist()
        ]
        return np.array(whole, target).reshape(x.shape)


def _cast_value(attrs: CastAttrs, types: tuple[TensorType, ...], values: tuple[ShapeValue | None, ...]) -> ShapeValue | None:
    # Sizes keep their symbolic value: that they fit is checked of every size.
    return values[0] if types[0].dtype in (int32, int64) and attrs.dtype in (int32, int64) else None


def _cast_samples() -> list[Sample]:
    x = np.array([[0.0, 1.9, -1.9], [3.5, -7.25, 100.0]], np.float32)
    edge = np.array([np.nan, np.inf, -np.inf, 1e30, -1e30, 300.0, -300.0, 2**31, 2**63], np.float32)
    whole = np.array([0, 1, -1, 100, 2**31 - 1, -(2**31)], np.int32)
    made = [Sample((a,), CastAttrs(d), gradient=False) for a in (x, edge, whole) for d in (int32, int8, uint8, int64, bool_)]
    made += [Sample((np.array([True, False]),), CastAttrs(d), gradient=False) for d in (float32, int32)]
    made += [Sample((np.array([0, 2**32 - 1], np.uint32),), CastAttrs(d), gradient=False) for d in (float32, int64)]
    made += [Sample((a,), CastAttrs(uint32), gradient=False) for a in (x, edge)]
    return [
        *made,
        Sample((x,), CastAttrs(float64)),
        Sample((x[0, 0].reshape(()),), CastAttrs(float64)),
        Sample((x[:0],), CastAttrs(float64)),
    ]


CAST = register(
    OpDef(
        "Cast",
        Elementwise(lambda b, attrs, x: b.cast(x, attrs.dtype)),
        _cast_infer,
        _cast_reference,
        _cast_samples,
        attrs=CastAttrs,
        shape_value=_cast_value,
        dtypes=_NUMBERS,
        onnx="Cast",
        doc="The value as another element type; floats become integers by truncation, saturated, NaN gives 0.",
    )
)


def cast(x: Any, dtype: Any, name: str | None = None) -> Any:
    """x as `dtype`; a tensor that has it already is returned itself.

    Floats become integers by truncation towards zero, saturated to the range, and NaN becomes 0; numbers become bools by
    ``x != 0``; integers wrap. The gradient passes between float types only. An IndexedSlices stays one.

    Raises:
        DTypeError: from or to strings.
    """
    target = as_dtype(dtype).base_dtype
    if isinstance(x, Tensor) and x.base_dtype is target:
        return x
    if isinstance(x, IndexedSlices):
        return IndexedSlices(cast(x.values, target, name), x.indices, x.dense_shape)
    if not is_tensor_like(x):
        graph = context.get_default_graph()
        with graph.name_scope(name or "Cast") as scope:
            t = convert_to_tensor(x, name="x")
        return t if t.base_dtype is target else build_unary(CAST, t, scope, attrs=CastAttrs(target))
    t = convert_to_tensor(x)
    return t if t.base_dtype is target else build_unary(CAST, t, name or "Cast", attrs=CastAttrs(target))


def to_float(x: Any, name: str | None = "ToFloat") -> Any:
    """x as float32."""
    return cast(x, float32, name)


def to_double(x: Any, name: str | None = "ToDouble") -> Any:
    """x as float64."""
    return cast(x, float64, name)


def to_int32(x: Any, name: str | None = "ToInt32") -> Any:
    """x as int32."""
    return cast(x, int32, name)


def to_int64(x: Any, name: str | None = "ToInt64") -> Any:
    """x as int64."""
    return cast(x, int64, name)


def to_bfloat16(x: Any, name: str | None = "ToBFloat16") -> Any:
    """x as bfloat16."""
    return cast(x, bfloat16, name)


@record(frozen=True, slots=True)
class BitcastAttrs:
    dtype: DType


def _bitcast_infer(ctx: InferContext, attrs: BitcastAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.dtype.kind not in "fiu" or attrs.dtype.kind not in "fiu" or x.dtype.size != attrs.dtype.size:
        raise DTypeError(
            f"Bitcast: Cannot bitcast from {x.dtype.name} to {attrs.dtype.name}: only between numbers of the same size."
        )
    return (TensorType(attrs.dtype, x.shape),)


BITCAST = register(
    OpDef(
        "Bitcast",
        Elementwise(lambda b, attrs, x: b.bitcast(x, attrs.dtype)),
        _bitcast_infer,
        lambda attrs, x: np.frombuffer(np.ascontiguousarray(x).tobytes(), attrs.dtype.numpy_dtype).reshape(x.shape),
        lambda: [
            Sample((np.array([0.0, 1.0, -2.5, np.inf], np.float32),), BitcastAttrs(int32), gradient=False),
            Sample((np.array([[0, 1], [2**31, 7]], np.uint32),), BitcastAttrs(float32), gradient=False),
            Sample((np.array(-1, np.int64),), BitcastAttrs(as_dtype("uint64")), gradient=False),
        ],
        grad=undefined_gradient("it reads bits, not numbers"),
        attrs=BitcastAttrs,
        doc="The same bits read as another element type of the same size.",
    )
)


def bitcast(input: Any, type: Any, name: str | None = None) -> Tensor:
    """The bits of `input` read as `type`.

    A type of half the size gives a last axis of 2 elements, and so on; one of twice the size needs such an axis.

    Raises:
        DTypeError: not between numbers.
        ShapeError: the elements of the last axis do not make up one of `type`.
    """
    target = as_dtype(type).base_dtype
    x = input if is_tensor_like(input) else convert_to_tensor(input, name="input")
    same = convert_to_tensor(x).base_dtype.size == target.size
    return build_unary(BITCAST if same else lookup("BitcastParts"), x, name or BITCAST.name, "input", BitcastAttrs(target))
