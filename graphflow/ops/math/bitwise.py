"""Bitwise operations on integers (``tf.bitwise``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.dtypes import INTEGERS, float32, int32, int64, uint8, uint16, uint32, uint64
from graphflow.framework.errors import DTypeError, ShapeError
from graphflow.framework.kinds import NO_ALGEBRA, Algebra, Composite, Elementwise, TensorType
from graphflow.framework.registry import InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import quiet
from graphflow.ops._define.operands import build_binary, build_unary
from graphflow.ops._define.types import binary_infer, brackets, unary_infer
from graphflow.ops.array.axis import PositionAttrs
from graphflow.ops.math.cast import BitcastAttrs, CastAttrs
from graphflow.ops.math.reduce import ReduceAttrs

_NONE = not_differentiable("it takes integers")
_TYPES = (np.int32, np.int8, np.int64, np.uint8, np.uint32)


def _pairs() -> list[Sample]:
    made = []
    for t in _TYPES:
        x = np.array([0, 1, 5, 127, np.iinfo(t).max, np.iinfo(t).min], t)
        y = np.array([3, 0, 12, 1, 5, 7], t)
        made += [Sample((x, y), gradient=False), Sample((x[:3, None], y[:2]), gradient=False)]
    return [*made, Sample((x[1], y[2]), gradient=False), Sample((x[:0], y[:0]), gradient=False)]


def _op(
    name: str, rule: Callable[..., Any], reference: Callable[..., Any], doc: str,
    algebra: Algebra = NO_ALGEBRA, samples: Callable[[], list[Sample]] = _pairs,
) -> OpDef:  # fmt: skip
    return OpDef(
        name,
        Elementwise(rule),
        binary_infer("iu"),
        quiet(reference),
        samples,
        grad=_NONE,
        dtypes=INTEGERS,
        algebra=algebra,
        doc=doc,
    )


# -1 has all bits set in signed integers. No constant of an unsigned dtype equals -1, so the rule never fires for those.
BITWISE_AND = register(
    _op(
        "BitwiseAnd", lambda b, attrs, x, y: b.and_(x, y), np.bitwise_and, "x & y.",
        Algebra(commutative=True, identity=-1.0),
    )
)  # fmt: skip
BITWISE_OR = register(
    _op(
        "BitwiseOr", lambda b, attrs, x, y: b.or_(x, y), np.bitwise_or, "x | y.",
        Algebra(commutative=True, identity=0.0),
    )
)  # fmt: skip
BITWISE_XOR = register(
    _op(
        "BitwiseXor", lambda b, attrs, x, y: b.xor(x, y), np.bitwise_xor, "x ^ y.",
        Algebra(commutative=True, identity=0.0),
    )
)  # fmt: skip
INVERT = register(
    OpDef(
        "Invert",
        Elementwise(lambda b, attrs, x: b.unary("invert", x)),
        unary_infer("iu"),
        quiet(np.invert),
        lambda: [Sample((np.array([0, 1, 77, np.iinfo(t).max], t),), gradient=False) for t in _TYPES],
        grad=_NONE,
        dtypes=INTEGERS,
        algebra=Algebra(involution=True),
        doc="All bits of x flipped.",
    )
)


def _count(b: ScalarBuilder[Any], y: Any) -> Any:
    """TensorFlow's kernels clamp the count to [0, bits - 1], where shifting is defined."""
    dtype = b.dtype(y)
    return b.minimum(y if dtype.is_unsigned else b.maximum(y, 0), 8 * dtype.size - 1)


def _clamped(x: Any, y: Any) -> Any:
    return np.clip(y, 0, 8 * x.dtype.itemsize - 1).astype(x.dtype)


def _shift_pairs() -> list[Sample]:
    made = []
    for t in _TYPES:
        x = np.array([1, 5, 127, np.iinfo(t).max, np.iinfo(t).min, 3], t)
        y = np.array([0, 3, 7, 8 * np.dtype(t).itemsize, 100, 2], t)
        made.append(Sample((x, y), gradient=False))
    return [*made, Sample((np.array([[1], [-7]], np.int32), np.array([-1, 2, 31], np.int32)), gradient=False)]


LEFT_SHIFT = register(
    _op(
        "LeftShift", lambda b, attrs, x, y: b.binary("shl", x, _count(b, y)),
        lambda x, y: np.left_shift(x, _clamped(x, y)), "x shifted left; the count is clamped to [0, bits - 1].",
        Algebra(identity=0.0), _shift_pairs,
    )
)  # fmt: skip
RIGHT_SHIFT = register(
    _op(
        "RightShift", lambda b, attrs, x, y: b.binary("shr", x, _count(b, y)),
        lambda x, y: np.right_shift(x, _clamped(x, y)),
        "x shifted right, keeping the sign of signed integers; the count is clamped to [0, bits - 1].",
        Algebra(identity=0.0), _shift_pairs,
    )
)  # fmt: skip


def bitwise_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x & y of integer tensors; shapes broadcast."""
    return build_binary(BITWISE_AND, x, y, name)


def bitwise_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x | y of integer tensors; shapes broadcast."""
    return build_binary(BITWISE_OR, x, y, name)


def bitwise_xor(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x ^ y of integer tensors; shapes broadcast."""
    return build_binary(BITWISE_XOR, x, y, name)


def invert(x: Any, name: str | None = None) -> Tensor:
    """All bits of an integer tensor flipped."""
    return build_unary(INVERT, x, name)


def left_shift(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x << y of integer tensors; the count is clamped to [0, bits - 1]."""
    return build_binary(LEFT_SHIFT, x, y, name)


def right_shift(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x >> y of integer tensors (arithmetic for signed ones); the count is clamped to [0, bits - 1]."""
    return build_binary(RIGHT_SHIFT, x, y, name)


# ---------------------------------------------------------------------------------------------- bits in other parts

_UNSIGNED = {d.size: d for d in (uint8, uint16, uint32, uint64)}


def _parts_infer(ctx: InferContext, attrs: BitcastAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.dtype.kind not in "fiu" or attrs.dtype.kind not in "fiu":
        raise DTypeError(f"Bitcast: Cannot bitcast from {x.dtype.name} to {attrs.dtype.name}: only between numbers.")
    if x.shape is None:
        return (TensorType(attrs.dtype, None),)
    if x.dtype.size > attrs.dtype.size:
        return (TensorType(attrs.dtype, (*x.shape, x.dtype.size // attrs.dtype.size)),)
    ratio = attrs.dtype.size // x.dtype.size
    message = f"Bitcast: Cannot bitcast from {x.dtype.name} to {attrs.dtype.name}: {brackets(x.shape)} must end in {ratio}"
    if not x.shape:
        raise ShapeError(message)
    ctx.unify(x.shape[-1], ratio, message)
    return (TensorType(attrs.dtype, x.shape[:-1]),)


def _parts_expand(p: Any, x: Any) -> Any:
    source, target = p.inputs[0].dtype, p.outputs[0].dtype
    small, large = sorted((_UNSIGNED[source.size], _UNSIGNED[target.size]), key=lambda d: d.size)
    ratio = large.size // small.size
    whole = p.inputs[0].shape if source.size > target.size else p.outputs[0].shape
    # The low bits come first, as in the memory of all machines that we know.
    attrs = PositionAttrs((*whole, ratio), len(whole), large)
    shift = p.op("Mul", p.op("AxisPosition", attrs=attrs), p.const(8 * small.size, large))
    if source.size > target.size:
        bits = p.reshape(p.op("Bitcast", x, attrs=BitcastAttrs(large)), (*whole, 1))
        parts = p.op("Cast", p.op("RightShift", bits, shift), attrs=CastAttrs(small))
        return p.op("Bitcast", parts, attrs=BitcastAttrs(target))
    bits = p.op("Cast", p.op("Bitcast", x, attrs=BitcastAttrs(small)), attrs=CastAttrs(large))
    total = p.op("Sum", p.op("LeftShift", bits, shift), attrs=ReduceAttrs((len(whole),)))
    return p.op("Bitcast", total, attrs=BitcastAttrs(target))


def _parts_reference(attrs: BitcastAttrs, x: Any) -> Any:
    target = attrs.dtype.numpy_dtype
    larger = target.itemsize > x.dtype.itemsize
    shape = x.shape[:-1] if larger else (*x.shape, x.dtype.itemsize // target.itemsize)
    return np.frombuffer(np.ascontiguousarray(x).tobytes(), target).reshape(shape)


BITCAST_PARTS = register(
    OpDef(
        "BitcastParts",
        Composite(_parts_expand),
        _parts_infer,
        _parts_reference,
        lambda: [
            Sample((np.array([[0.0, -2.5, np.inf]], np.float32),), BitcastAttrs(uint8), gradient=False),
            Sample((np.array(-1.5, np.float64),), BitcastAttrs(int32), gradient=False),
            Sample((np.array([[1, 2], [3, 2**16 - 1]], np.uint16),), BitcastAttrs(float32), gradient=False),
            Sample((np.array([1, 2, 3, 4, 5, 6, 7, 248], np.uint8),), BitcastAttrs(int64), gradient=False),
        ],
        grad=not_differentiable("it reads bits, not numbers"),
        attrs=BitcastAttrs,
        doc="The same bits read as an element type of another size: along a new last axis, or from the elements of the last.",
    )
)
