"""`pad`: a tensor made larger by a constant, or by its own mirror image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.deferred import Arguments, NotKnownYet, deferrable
from graphflow.framework.dtypes import ALL, FLOATS, INTEGERS, int32, string
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import IndexMap, LowerContext, Piece, TensorType, View
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, format_shape, fresh_dim, minimum
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import known_rank, whole
from graphflow.ops._define.deferred_types import length_of, open_shape, rank_of
from graphflow.ops._define.samples import normal_arrays
from graphflow.ops.array.concat import concat
from graphflow.ops.array.fill import fill
from graphflow.ops.array.identity import identity
from graphflow.ops.array.movement import reverse
from graphflow.ops.array.shape import shape_tensor
from graphflow.ops.array.strided_slice import slice_axis


@record(frozen=True, slots=True)
class PadAttrs:
    paddings: tuple[tuple[int, int], ...]
    constant: float | int | bool = 0


def _pad_infer(ctx: InferContext, attrs: PadAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (TensorType(x.dtype, tuple([fresh_dim() for _ in attrs.paddings])),)
    _check_count(len(attrs.paddings), x.shape)
    return (TensorType(x.dtype, tuple(d + a + b for d, (a, b) in zip(x.shape, attrs.paddings, strict=True))),)


def _check_count(count: int, s: Sequence[Dim]) -> None:
    if count != len(s):
        raise ShapeError(
            f"pad: The first dimension of paddings must be the rank of inputs: [{count},2] {format_shape(tuple(s))}. "
            f"Shape must be rank {count} but is rank {len(s)} for 'Pad'"
        )


def _pad_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    dims = ctx.inputs[0].shape or ()
    pads = ctx.attrs.paddings
    at = tuple(ix.sub(i, a) for i, (a, _) in zip(index, pads, strict=True))
    # Axes without padding need no test.
    bounds = tuple((k, a, a + d) for k, (d, (a, b)) in enumerate(zip(dims, pads, strict=True)) if a or b)
    return [Piece(0, at, bounds)]


PAD = register(
    OpDef(
        "PadV2",
        IndexMap(_pad_pieces, lambda ctx: ctx.attrs.constant),
        _pad_infer,
        lambda attrs, x: np.pad(x, attrs.paddings, constant_values=attrs.constant) if x.ndim else x,
        lambda: [
            Sample(normal_arrays((3,)), PadAttrs(((1, 2),))),
            Sample(normal_arrays((2, 3)), PadAttrs(((1, 0), (0, 2)), 1.5)),
            Sample(normal_arrays((0, 2)), PadAttrs(((1, 1), (0, 0)))),
            Sample(normal_arrays(()), PadAttrs(())),
        ],
        attrs=PadAttrs,
        dtypes=(*FLOATS, *INTEGERS),
        onnx="Pad",
        doc="Adds constants around a tensor.",
    )
)


def pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", name: str | None = None, constant_values: Any = 0) -> Tensor:
    """Adds ``paddings[k] = [before, after]`` elements along axis k: a constant, or the tensor mirrored.

    "REFLECT" leaves the border out of the mirror image, "SYMMETRIC" repeats it. A constant may be wider by a number that
    only a run knows: ``tf.pad(x, [[0, n - tf.shape(x)[0]], [0, 0]])``.

    Raises:
        ArgumentError: an unknown mode, or a negative padding.
        ShapeError: paddings for another number of axes than the tensor has, or too wide for a mirror.
    """
    x = convert_to_tensor(tensor)
    kind = mode.upper()
    if kind not in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        raise ArgumentError(f"Unknown padding mode: {mode}")
    return _pad(x, paddings, kind, constant_values, name)


def _pad_types(a: Arguments) -> list[TensorType]:
    x, paddings = a["x"], a["paddings"]
    rank = rank_of(x)
    if rank is None:
        rank = length_of(paddings)
    return [TensorType(x.base_dtype, None if rank is None else open_shape(rank))]


@deferrable(_pad_types, "paddings", op_name="Pad")
def _pad(x: Tensor, paddings: Any, kind: str, constant_values: Any, name: str | None = None) -> Tensor:
    pairs = _pairs(paddings)
    if any(not is_tensor_like(n) and n < 0 for pair in pairs for n in pair):
        raise ArgumentError(f"pad: Paddings must be non-negative: {pairs}")
    fixed = tuple((a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int))
    # The common case is one op with attributes. What only a run knows is made of other ops below.
    if kind == "CONSTANT" and len(fixed) == len(pairs) and not is_tensor_like(constant_values) and x.base_dtype is not string:
        number = constant_values.item() if isinstance(constant_values, (np.ndarray, np.generic)) else constant_values
        if x.base_dtype.is_integer and isinstance(number, float):
            raise DTypeError(f"pad: Expected {x.base_dtype.name} for constant_values, got {number} of type 'float' instead.")
        return build(PAD, (x,), PadAttrs(fixed, number), name or "Pad")
    known_rank("pad", x)
    _check_count(len(pairs), x._shape or ())
    with name_scope(name, "Pad" if kind == "CONSTANT" else "MirrorPad", [x]) as scope:
        if kind == "CONSTANT":
            return _widened(x, pairs, constant_values, scope)
        if len(fixed) != len(pairs):
            raise NotKnownYet("pad: the paddings of a mirror must be known while the graph is built")
        return _mirrored(x, fixed, 1 if kind == "REFLECT" else 0, scope)


def _pairs(paddings: Any) -> list[tuple[Any, Any]]:
    """The paddings, number by number: ints where they are known, else scalar tensors."""
    if isinstance(paddings, Tensor):
        # A constant matrix is read here, because only vectors and scalars have a symbolic value.
        const = getattr(paddings.op.attrs, "value", None) if paddings.op.type == "Const" else None
        if const is None:
            if paddings._shape is None or not isinstance(paddings._shape[0], int):
                raise NotKnownYet(f"pad: the number of paddings must be known while the graph is built, got {paddings!r}")
            return [(paddings[k, 0], paddings[k, 1]) for k in range(paddings._shape[0])]
        paddings = const.array
    found = []
    if not is_tensor_like(paddings) and any(not is_tensor_like(p) and not hasattr(p, "__len__") for p in paddings):
        raise ShapeError(f"pad: paddings must be [[before, after], ...]: Shape must be rank 2 but is rank 1: {paddings!r}")
    for pair in paddings:
        both = [pair[0], pair[1]] if is_tensor_like(pair) else list(pair)
        if len(both) != 2:
            raise ShapeError(f"pad: paddings must have two entries an axis, got {pair!r}")
        numbers = [n if is_tensor_like(n) and convert_to_tensor(n).static_value() is None else _folded(n) for n in both]
        found.append((numbers[0], numbers[1]))
    return found


def _folded(n: Any) -> Any:
    """An int, or the tensor if its value is known only in terms of sizes."""
    if not is_tensor_like(n):
        return whole(n, "pad: a padding")
    known = convert_to_tensor(n).static_value()
    return known if isinstance(known, int) else n


def _widened(x: Tensor, pairs: list[tuple[Any, Any]], value: Any, scope: str) -> Tensor:
    if x.base_dtype is string and not is_tensor_like(value) and value == 0:
        value = b""  # what 0 is among strings
    value = convert_to_tensor(value, x.base_dtype, name="constant_values")
    for axis, pair in enumerate(pairs):
        if all(isinstance(n, int) and n == 0 for n in pair):
            continue
        # Blocks of the constant as large as the padding, whose size only the run may know, beside the tensor.
        x = concat([_block(x, axis, pair[0], value), x, _block(x, axis, pair[1], value)], axis)
    return identity(x, name=scope)


def _block(x: Tensor, axis: int, size: Any, value: Tensor) -> Tensor:
    """`value` in the shape of x but for the size of one axis: an int, or a scalar of either dtype of sizes."""
    sizes = shape_tensor(x, convert_to_tensor(size).base_dtype if is_tensor_like(size) else int32)
    return fill([size if k == axis else sizes[k] for k in range(len(x._shape or ()))], value)


@record(frozen=True, slots=True)
class MirrorAttrs:
    """`skip`: 1 if the border is no part of the mirror image, else 0."""

    paddings: tuple[tuple[int, int], ...]
    skip: int


def _mirror_infer(ctx: InferContext, attrs: MirrorAttrs, x: TensorType) -> tuple[TensorType, ...]:
    for d, (before, after) in zip(x.shape or (), attrs.paddings, strict=False):
        words = ("less than", "not less than") if attrs.skip else ("no greater than", "greater than")
        widest = max(before, after)
        # widest <= d - skip, as an equation of sizes, so that it holds also where only a run knows d.
        ctx.unify(
            widest,
            minimum(d - attrs.skip, widest),
            f"pad: paddings must be {words[0]} the dimension size: {before}, {after} {words[1]} {d}",
        )
    return (x,)


MIRRORED = register(
    OpDef(
        "Mirrored",
        View(),
        _mirror_infer,
        lambda attrs, x: x,
        lambda: [Sample(normal_arrays((3, 2)), MirrorAttrs(((2, 1), (0, 1)), 1))],
        attrs=MirrorAttrs,
        dtypes=ALL,
        doc="Its input, which must be large enough for a mirror image as wide as the paddings.",
    )
)


def _mirrored(x: Tensor, pairs: tuple[tuple[int, int], ...], skip: int, scope: str) -> Tensor:
    x = build(MIRRORED, (x,), MirrorAttrs(pairs, skip))
    # Axis by axis: corners are mirrored twice.
    for axis, (before, after) in enumerate(pairs):
        parts = [reverse(slice_axis(x, axis, skip, skip + before), axis)] if before else []
        parts.append(x)
        if after:
            parts.append(reverse(slice_axis(x, axis, -skip - after, -skip if skip else None), axis))
        x = concat(parts, axis) if len(parts) > 1 else x
    return identity(x, name=scope)
