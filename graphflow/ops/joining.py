"""Tensors put together and taken apart: concat, stack, split, unstack, pad."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphflow.core.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.core.kinds import IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.core.registry import InferContext, OpDef, Sample, register
from graphflow.core.tensor import Operation, Tensor
from graphflow.dtypes import ALL
from graphflow.errors import ArgumentError, DTypeError, ShapeError
from graphflow.ops.array import normal_axis, reverse, shape, squeeze, static_int
from graphflow.shapes import Dim, format_shape


@dataclass(frozen=True, slots=True)
class JoinAttrs:
    axis: int


def _same_dtypes(op: str, types: Sequence[TensorType]) -> None:
    for k, t in enumerate(types):
        if t.dtype is not types[0].dtype:
            raise DTypeError(
                f"Tensors in list passed to 'values' of '{op}' Op have types "
                f"[{', '.join(x.dtype.name for x in types)}] that don't all match: number {k} is {t.dtype.name}."
            )


def _concat_infer(ctx: InferContext, attrs: JoinAttrs, *values: TensorType) -> tuple[TensorType, ...]:
    _same_dtypes(ctx.op_name, values)
    known = [v.shape for v in values if v.shape is not None]
    if len(known) < len(values):
        return (TensorType(values[0].dtype, None),)
    rank = len(known[0])
    axis = normal_axis(ctx.op_name, attrs.axis, rank)
    out = list(known[0])
    for s in known[1:]:
        shown = f"Shapes are {_brackets(known[0], axis)} and {_brackets(s, axis)}"
        if len(s) != rank:
            raise ShapeError(f"Shapes must be equal rank, but are {rank} and {len(s)}. concat: {shown}.")
        for k, d in enumerate(s):
            if k == axis:
                out[k] = out[k] + d
            else:
                out[k] = ctx.unify(
                    out[k],
                    d,
                    f"Dimension {k} in both shapes must be equal, but are {out[k]} and {d}. {shown}. for 'concat'",
                )
    return (TensorType(values[0].dtype, tuple(out)),)


def _brackets(s: Sequence[Dim], skip: int) -> str:
    return "[" + ",".join("?" if not isinstance(d, int) else str(d) for k, d in enumerate(s)) + "]"


def _concat_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    rank = len(ctx.outputs[0].shape or ())
    axis = ctx.attrs.axis % rank
    found = []
    start: Dim = 0
    for k, t in enumerate(ctx.inputs):
        end = start + (t.shape or ())[axis]
        at = tuple(ix.sub(i, start) if a == axis else i for a, i in enumerate(index))
        found.append(Piece(k, at, ((axis, start, end),)))
        start = end
    return found


def _concat_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    from graphflow.ops.slicing import slice_

    rank = len(op.outputs[0]._shape or ())
    axis = op.attrs.axis % rank
    pieces = []
    start: Any = 0
    for t in op.inputs:
        assert t._shape is not None
        length: Any = t._shape[axis]
        if not isinstance(length, int):
            length = shape(t)[axis]
        begin = [0] * axis + [start] + [0] * (rank - axis - 1)
        size = [-1] * axis + [length] + [-1] * (rank - axis - 1)
        pieces.append(slice_(grad, begin, size))
        start = start + length
    return pieces


def _concat_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    if any(not isinstance(v, tuple) for v in values):
        return None
    return tuple(d for v in values for d in v)  # type: ignore[union-attr]


def _arrays(*shapes: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(11)
    return tuple(rng.normal(size=s).astype(np.float32) for s in shapes)


CONCAT = register(
    OpDef(
        "ConcatV2",
        IndexMap(_concat_pieces),
        _concat_infer,
        _concat_grad,
        lambda attrs, *values: np.concatenate(values, attrs.axis),
        lambda: [
            Sample(_arrays((3,), (2,)), JoinAttrs(0)),
            Sample(_arrays((2, 3), (2, 1), (2, 4)), JoinAttrs(1)),
            Sample(_arrays((2, 3), (0, 3)), JoinAttrs(0)),
            Sample(_arrays((2, 1, 9), (2, 1, 11)), JoinAttrs(-1)),
        ],
        attrs=JoinAttrs,
        shape_value=_concat_value,
        dtypes=ALL,
        onnx="Concat",
        doc="Tensors one after the other along an axis.",
    )
)


def concat(values: Any, axis: Any, name: str = "concat") -> Tensor:
    """`values` one after the other along `axis`. One tensor alone is returned as an identity.

    Raises:
        ShapeError: ranks differ, or a dimension other than `axis` does.
        DTypeError: dtypes differ.
    """
    items = list(values) if isinstance(values, (list, tuple)) else [values]
    if not items:
        raise ArgumentError("concat needs at least one tensor")
    where = static_int(axis, "concat: axis")
    with name_scope(name, "concat", [v for v in items if isinstance(v, Tensor)]) as scope:
        tensors = _converted(items)
        if len(tensors) == 1:
            from graphflow.ops.array import identity

            return identity(tensors[0], name=scope)
        return build(CONCAT, tensors, JoinAttrs(where), scope)


def _converted(items: Sequence[Any]) -> list[Tensor]:
    dtype = next((convert_to_tensor(v).base_dtype for v in items if is_tensor_like(v)), None)
    return [convert_to_tensor(v, None if is_tensor_like(v) else dtype, name=f"values_{k}") for k, v in enumerate(items)]


def _pack_infer(ctx: InferContext, attrs: JoinAttrs, *values: TensorType) -> tuple[TensorType, ...]:
    _same_dtypes(ctx.op_name, values)
    out = values[0].shape
    for v in values[1:]:
        if out is None or v.shape is None:
            out = None
            continue
        shown = f"Shapes are {format_shape(out)} and {format_shape(v.shape)}"
        if len(out) != len(v.shape):
            raise ShapeError(f"stack: Shapes must be equal rank, but are {len(out)} and {len(v.shape)}. {shown}.")
        message = f"stack: Dimension in both shapes must be equal. {shown}."
        out = tuple(ctx.unify(a, b, message) for a, b in zip(out, v.shape, strict=True))
    if out is None:
        return (TensorType(values[0].dtype, None),)
    axis = normal_axis(ctx.op_name, attrs.axis, len(out) + 1)
    return (TensorType(values[0].dtype, (*out[:axis], len(values), *out[axis:])),)


def _pack_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis = ctx.attrs.axis % len(index)
    rest = (*index[:axis], *index[axis + 1 :])
    count = len(ctx.inputs)
    if count == 1:
        return [Piece(0, rest)]
    return [Piece(k, rest, ((axis, k, k + 1),)) for k in range(count)]


def _pack_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    if attrs.axis not in (0, -1) or any(v is None or isinstance(v, tuple) for v in values):
        return None
    return tuple(values)  # type: ignore[arg-type]


PACK = register(
    OpDef(
        "Pack",
        IndexMap(_pack_pieces),
        _pack_infer,
        lambda op, grad: unstack(grad, len(op.inputs), op.attrs.axis),
        lambda attrs, *values: np.stack(values, attrs.axis),
        lambda: [
            Sample(_arrays((), ()), JoinAttrs(0)),
            Sample(_arrays((3,), (3,)), JoinAttrs(1)),
            Sample(_arrays((2, 3), (2, 3), (2, 3)), JoinAttrs(-1)),
            Sample(_arrays((0,), (0,)), JoinAttrs(0)),
        ],
        attrs=JoinAttrs,
        shape_value=_pack_value,
        dtypes=ALL,
        doc="Tensors of one shape along a new axis.",
    )
)


def stack(values: Any, axis: Any = 0, name: str = "stack") -> Tensor:
    """Tensors of one shape along a new axis."""
    if isinstance(values, Tensor):
        return values
    items = list(values)
    if not items:
        raise ArgumentError("stack needs at least one tensor")
    with name_scope(name, "stack", [v for v in items if isinstance(v, Tensor)]) as scope:
        return build(PACK, _converted(items), JoinAttrs(static_int(axis, "stack: axis")), scope)


parallel_stack = stack


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str = "unstack") -> list[Tensor]:
    """The slices of `value` along `axis`, without that axis. Its size must be known, or given as `num`."""
    from graphflow.ops.slicing import slice_axis

    x = convert_to_tensor(value)
    if x._shape is None:
        raise ArgumentError(f"Cannot infer argument `num` from shape {x.shape}")
    where = normal_axis("Unpack", axis, len(x._shape))
    count = x._shape[where] if num is None else num
    if not isinstance(count, int):
        raise ArgumentError(f"Cannot infer argument `num` from shape {x.shape}")
    with name_scope(name, "unstack", [x]):
        return [squeeze(slice_axis(x, where, k, k + 1), [where]) for k in range(count)]


def split(value: Any, num_or_size_splits: Any, axis: Any = 0, num: int | None = None, name: str = "split") -> list[Tensor]:
    """`value` cut along `axis` into equal parts, or into parts of the given sizes (one may be -1).

    Raises:
        ShapeError: the parts do not make up the axis.
    """
    from graphflow.ops.slicing import slice_axis

    x = convert_to_tensor(value)
    if x._shape is None:
        raise ArgumentError("split: the rank must be known")
    where = normal_axis("Split", static_int(axis, "split: axis"), len(x._shape))
    whole = x._shape[where]
    known: Any = num_or_size_splits.static_value() if isinstance(num_or_size_splits, Tensor) else num_or_size_splits
    if isinstance(known, (list, tuple, np.ndarray)):
        sizes = [int(s) for s in known]
        if -1 in sizes and isinstance(whole, int):
            sizes[sizes.index(-1)] = whole - sum(s for s in sizes if s != -1)
        if isinstance(whole, int) and (sum(sizes) != whole or min(sizes, default=0) < 0):
            raise ShapeError(f"split: sizes {sizes} do not add up to dimension {where} of size {whole}")
    else:
        count = static_int(num_or_size_splits, "split: the number of parts")
        if not isinstance(whole, int):
            raise ShapeError(f"split: dimension {where} of {x.name} must be known to cut it into {count} equal parts")
        if count < 1 or whole % count:
            raise ShapeError(
                f"split: Dimension size must be evenly divisible by {count} but is {whole} for '{{{{node split}}}}'"
            )
        sizes = [whole // count] * count
    with name_scope(name, "split", [x]):
        parts, start = [], 0
        for s in sizes:
            parts.append(slice_axis(x, where, start, start + s))
            start += s
        return parts


# ---------------------------------------------------------------------------------------------- pad


@dataclass(frozen=True, slots=True)
class PadAttrs:
    paddings: tuple[tuple[int, int], ...]
    constant: float | int | bool = 0


def _pad_infer(ctx: InferContext, attrs: PadAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,)
    if len(attrs.paddings) != len(x.shape):
        raise ShapeError(
            f"pad: paddings for {len(attrs.paddings)} dimensions, but the tensor has shape {format_shape(x.shape)}"
        )
    return (TensorType(x.dtype, tuple(d + a + b for d, (a, b) in zip(x.shape, attrs.paddings, strict=True))),)


def _pad_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    dims = ctx.inputs[0].shape or ()
    pads = ctx.attrs.paddings
    at = tuple(ix.sub(i, a) for i, (a, _) in zip(index, pads, strict=True))
    bounds = tuple((k, a, a + d) for k, (d, (a, b)) in enumerate(zip(dims, pads, strict=True)) if a or b)
    return [Piece(0, at, bounds)]


def _pad_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    from graphflow.ops.slicing import slice_

    x = op.inputs[0]
    assert x._shape is not None
    sizes: Any = [d if isinstance(d, int) else shape(x)[k] for k, d in enumerate(x._shape)]
    return [slice_(grad, [a for a, _ in op.attrs.paddings], sizes)]


PAD = register(
    OpDef(
        "PadV2",
        IndexMap(_pad_pieces, lambda ctx: ctx.attrs.constant),
        _pad_infer,
        _pad_grad,
        lambda attrs, x: np.pad(x, attrs.paddings, constant_values=attrs.constant) if x.ndim else x,
        lambda: [
            Sample(_arrays((3,)), PadAttrs(((1, 2),))),
            Sample(_arrays((2, 3)), PadAttrs(((1, 0), (0, 2)), 1.5)),
            Sample(_arrays((0, 2)), PadAttrs(((1, 1), (0, 0)))),
            Sample(_arrays(()), PadAttrs(())),
        ],
        attrs=PadAttrs,
        dtypes=tuple(d for d in ALL if d.kind in "fiu"),
        onnx="Pad",
        doc="Adds constants around a tensor.",
    )
)


def pad(tensor: Any, paddings: Any, mode: str = "CONSTANT", name: str | None = None, constant_values: Any = 0) -> Tensor:
    """Adds ``paddings[k] = [before, after]`` elements along axis k: a constant, or the tensor mirrored.

    "REFLECT" leaves the border out of the mirror image, "SYMMETRIC" repeats it.
    """
    x = convert_to_tensor(tensor)
    known = paddings.op.attrs.value.array if isinstance(paddings, Tensor) and paddings.op.type == "Const" else paddings
    if isinstance(known, Tensor):
        raise ArgumentError(f"pad: paddings must be known while the graph is built, got {paddings!r}")
    pairs = tuple((int(a), int(b)) for a, b in np.asarray(known).reshape(-1, 2))
    if any(a < 0 or b < 0 for a, b in pairs):
        raise ArgumentError(f"pad: paddings must be non-negative, got {pairs}")
    kind = mode.upper()
    if kind == "CONSTANT":
        return build(PAD, (x,), PadAttrs(pairs, constant_values), name or "Pad")
    if kind not in ("REFLECT", "SYMMETRIC"):
        raise ArgumentError(f"Unknown padding mode: {mode}")
    if x._shape is None or len(pairs) != len(x._shape):
        raise ShapeError(f"pad: paddings for {len(pairs)} dimensions, but the tensor has shape {x.shape}")
    from graphflow.ops.slicing import slice_axis

    skip = 1 if kind == "REFLECT" else 0
    with name_scope(name, "MirrorPad", [x]):
        for axis, (before, after) in enumerate(pairs):
            d = x._shape[axis]
            if isinstance(d, int) and max(before, after) > d - skip:
                raise ShapeError(f"pad: paddings {(before, after)} are more than dimension {axis} of size {d} can mirror")
            parts = [reverse(slice_axis(x, axis, skip, skip + before), [axis])] if before else []
            parts.append(x)
            if after:
                end = -skip if skip else None
                parts.append(reverse(slice_axis(x, axis, -skip - after, end), [axis]))
            x = concat(parts, axis)
    return x


def meshgrid(*args: Any, indexing: str = "xy", name: str | None = None) -> list[Tensor]:
    """Coordinates of a grid from vectors, as numpy's."""
    from graphflow.ops.array import broadcast_to, reshape

    with name_scope(name, "meshgrid"):
        vectors = [reshape(convert_to_tensor(a), [-1]) for a in args]
        count = len(vectors)
        order = [1, 0, *range(2, count)] if indexing == "xy" and count > 1 else list(range(count))
        sizes: Any = stack([shape(vectors[k])[0] for k in order]) if count else []
        result = []
        for k, v in enumerate(vectors):
            spread = [1] * count
            spread[order.index(k)] = -1
            result.append(broadcast_to(reshape(v, spread), sizes))
        return result
