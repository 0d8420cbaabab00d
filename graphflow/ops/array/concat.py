"""Tensors put together: concat, stack, pad, meshgrid. Taking them apart is in `splitting`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import ALL, FLOATS, INTEGERS
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.kinds import IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, Shape, SymDim, format_shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import normal_axis, static_int, whole
from graphflow.ops.array.shape import shape, shape_tensor
from graphflow.ops.array.split import unstack


@record(frozen=True, slots=True)
class JoinAttrs:
    axis: int


def _same_dtypes(op: str, types: Sequence[TensorType]) -> None:
    if any(t.dtype is not types[0].dtype for t in types):
        raise DTypeError(
            f"Tensors in list passed to 'values' of '{op}' Op have types [{', '.join(t.dtype.name for t in types)}] "
            "that don't all match."
        )


def _brackets(dims: Sequence[Dim]) -> str:
    return "[" + ",".join("?" if isinstance(d, SymDim) else str(d) for d in dims) + "]"


def _concat_infer(ctx: InferContext, attrs: JoinAttrs, *values: TensorType) -> tuple[TensorType, ...]:
    _same_dtypes(ctx.op_name, values)
    known = [v.shape for v in values if v.shape is not None]
    if len(known) < len(values):
        return (TensorType(values[0].dtype, None),)
    rank = len(known[0])
    if rank == 0:
        raise ShapeError("Can't concatenate scalars (use tf.stack instead) for 'concat'")
    axis = normal_axis(ctx.op_name, attrs.axis, rank)
    out = list(known[0])
    for s in known[1:]:
        if len(s) != rank:
            raise ShapeError(f"Shape must be rank {rank} but is rank {len(s)} for 'concat' with input shapes: "
                             + ", ".join(_brackets(k) for k in known) + ".")  # fmt: skip
        for k, d in enumerate(s):
            if k == axis:
                out[k] = out[k] + d
                continue
            out[k] = ctx.unify(out[k], d, partial(_differ, known, out[k], s, k, axis))
    return (TensorType(values[0].dtype, tuple(out)),)


def _differ(known: Sequence[Shape], first: Dim, other: Shape, k: int, axis: int) -> str:
    """What is wrong with dimension `k`; written when it is, as it names all shapes."""
    rest = [_brackets([*s[:axis], *s[axis + 1 :]]) for s in (known[0], other)]
    return (
        f"Dimension {k - (k > axis)} in both shapes must be equal, but are {first} and {other[k]}. "
        f"Shapes are {rest[0]} and {rest[1]}. for 'concat' with input shapes: {', '.join(map(_brackets, known))}."
    )


def _concat_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis = ctx.attrs.axis % ctx.outputs[0].rank
    found = []
    start: Dim = 0
    for k, t in enumerate(ctx.inputs):
        assert t.shape is not None
        end = start + t.shape[axis]
        at = tuple(ix.sub(i, start) if a == axis else i for a, i in enumerate(index))
        found.append(Piece(k, at, ((axis, start, end),) if len(ctx.inputs) > 1 else ()))
        start = end
    return found


def _concat_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    found: list[Dim] = []
    for v in values:
        if not isinstance(v, tuple):
            return None
        found += v
    return tuple(found)


def _arrays(*shapes: tuple[int, ...]) -> tuple[np.ndarray[Any, Any], ...]:
    rng = np.random.default_rng(11)
    return tuple(rng.normal(size=s).astype(np.float32) for s in shapes)


CONCAT = register(
    OpDef(
        "ConcatV2",
        IndexMap(_concat_pieces),
        _concat_infer,
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


def concat(values: Any, axis: Any, name: str | None = "concat") -> Tensor:
    """`values` one after the other along `axis`. One tensor alone is returned as an identity.

    Raises:
        ShapeError: ranks differ, or a dimension other than `axis` does.
        DTypeError: dtypes differ.
    """
    from graphflow.ops.array.reshape import identity

    items = list(values) if isinstance(values, (list, tuple)) else [values]
    if not items:
        raise ArgumentError("concat needs at least one tensor: Expected a list of tensors for 'values', got []")
    where = static_int(axis, "concat: axis")
    with name_scope(name, "concat", [v for v in items if isinstance(v, Tensor)]) as scope:
        tensors = same_dtype_tensors(items)
        if len(tensors) == 1:
            return identity(tensors[0], name=scope)
        return build(CONCAT, tensors, JoinAttrs(where), scope)


def same_dtype_tensors(items: Sequence[Any]) -> list[Tensor]:
    """The items as tensors; numbers and arrays take the dtype of the first tensor among them."""
    tensors = [convert_to_tensor(v) if is_tensor_like(v) else None for v in items]
    dtype = next((t.base_dtype for t in tensors if t is not None), None)
    return [
        convert_to_tensor(v, dtype, name=f"values_{k}") if t is None else t
        for k, (v, t) in enumerate(zip(items, tensors, strict=True))
    ]


# ---------------------------------------------------------------------------------------------- stack


def _pack_infer(ctx: InferContext, attrs: JoinAttrs, *values: TensorType) -> tuple[TensorType, ...]:
    _same_dtypes(ctx.op_name, values)
    known = [v.shape for v in values if v.shape is not None]
    if not known:
        return (TensorType(values[0].dtype, None),)
    out = known[0]
    for s in known[1:]:
        shapes = f"Shapes are {_brackets(known[0])} and {_brackets(s)}."
        if len(out) != len(s):
            raise ShapeError(f"Shapes must be equal rank, but are {len(out)} and {len(s)}. {shapes} for 'stack'")
        out = tuple(
            ctx.unify(a, b, f"Dimension {k} in both shapes must be equal, but are {a} and {b}. {shapes} for 'stack'")
            for k, (a, b) in enumerate(zip(out, s, strict=True))
        )
    axis = normal_axis("stack", attrs.axis, len(out) + 1)
    return (TensorType(values[0].dtype, (*out[:axis], len(values), *out[axis:])),)


def _pack_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis = ctx.attrs.axis % len(index)
    rest = (*index[:axis], *index[axis + 1 :])
    count = len(ctx.inputs)
    return [Piece(0, rest)] if count == 1 else [Piece(k, rest, ((axis, k, k + 1),)) for k in range(count)]


def _pack_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    found = tuple(v for v in values if v is not None and not isinstance(v, tuple))
    return found if attrs.axis in (0, -1) and len(found) == len(values) else None


PACK = register(
    OpDef(
        "Pack",
        IndexMap(_pack_pieces),
        _pack_infer,
        lambda attrs, *values: np.stack(values, attrs.axis),
        lambda: [
            Sample(_arrays((), ()), JoinAttrs(0)),
            Sample(_arrays((3,), (3,)), JoinAttrs(1)),
            Sample(_arrays((2, 3), (2, 3), (2, 3)), JoinAttrs(-1)),
            Sample(_arrays((0,), (0,)), JoinAttrs(0)),
            Sample(_arrays((2,)), JoinAttrs(0)),
        ],
        attrs=JoinAttrs,
        shape_value=_pack_value,
        dtypes=ALL,
        doc="Tensors of one shape along a new axis.",
    )
)


def stack(values: Any, axis: Any = 0, name: str | None = "stack") -> Tensor:
    """Tensors of one shape along a new axis."""
    where = static_int(axis, "stack: axis")
    if isinstance(values, Tensor):
        values = unstack(values)
    items = list(values)
    if not items:
        raise ArgumentError("stack needs at least one tensor: Expected a list of tensors for 'values', got []")
    with name_scope(name, "stack", [v for v in items if isinstance(v, Tensor)]) as scope:
        return build(PACK, same_dtype_tensors(items), JoinAttrs(where), scope)


parallel_stack = stack


# ---------------------------------------------------------------------------------------------- pad


@record(frozen=True, slots=True)
class PadAttrs:
    paddings: tuple[tuple[int, int], ...]
    constant: float | int | bool = 0


def _pad_infer(ctx: InferContext, attrs: PadAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,)
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
    bounds = tuple((k, a, a + d) for k, (d, (a, b)) in enumerate(zip(dims, pads, strict=True)) if a or b)
    return [Piece(0, at, bounds)]


PAD = register(
    OpDef(
        "PadV2",
        IndexMap(_pad_pieces, lambda ctx: ctx.attrs.constant),
        _pad_infer,
        lambda attrs, x: np.pad(x, attrs.paddings, constant_values=attrs.constant) if x.ndim else x,
        lambda: [
            Sample(_arrays((3,)), PadAttrs(((1, 2),))),
            Sample(_arrays((2, 3)), PadAttrs(((1, 0), (0, 2)), 1.5)),
            Sample(_arrays((0, 2)), PadAttrs(((1, 1), (0, 0)))),
            Sample(_arrays(()), PadAttrs(())),
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
    padding = mode.upper()
    if padding not in ("CONSTANT", "REFLECT", "SYMMETRIC"):
        raise ArgumentError(f"Unknown padding mode: {mode}")
    pairs = _pairs(paddings)
    if any(not is_tensor_like(n) and n < 0 for pair in pairs for n in pair):
        raise ArgumentError(f"pad: Paddings must be non-negative: {pairs}")
    fixed = tuple((a, b) for a, b in pairs if isinstance(a, int) and isinstance(b, int))
    if padding == "CONSTANT" and len(fixed) == len(pairs) and not is_tensor_like(constant_values):
        number = constant_values.item() if isinstance(constant_values, (np.ndarray, np.generic)) else constant_values
        return build(PAD, (x,), PadAttrs(fixed, number), name or "Pad")
    if x._shape is None:
        raise ArgumentError(f"pad: the rank of {x.name} must be known")
    _check_count(len(pairs), x._shape)
    with name_scope(name, "Pad" if padding == "CONSTANT" else "MirrorPad", [x]) as scope:
        if padding == "CONSTANT":
            return _widened(x, pairs, constant_values, scope)
        if len(fixed) != len(pairs):
            raise ArgumentError("pad: the paddings of a mirror must be known while the graph is built")
        return _mirrored(x, fixed, 1 if padding == "REFLECT" else 0, scope)


def _pairs(paddings: Any) -> list[tuple[Any, Any]]:
    """The paddings, number by number: ints where they are known, else scalar tensors."""
    if isinstance(paddings, Tensor):
        const = getattr(paddings.op.attrs, "value", None) if paddings.op.type == "Const" else None
        if const is None:
            if paddings._shape is None or not isinstance(paddings._shape[0], int):
                raise ArgumentError(f"pad: the number of paddings must be known while the graph is built, got {paddings!r}")
            return [(paddings[k, 0], paddings[k, 1]) for k in range(paddings._shape[0])]
        paddings = const.array
    found = []
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
    from graphflow.ops.array.fill import fill
    from graphflow.ops.array.reshape import identity

    value = convert_to_tensor(value, x.base_dtype, name="constant_values")
    for axis, pair in enumerate(pairs):
        if all(isinstance(n, int) and n == 0 for n in pair):
            continue
        sizes = shape_tensor(x)
        before, after = (fill([n if k == axis else sizes[k] for k in range(len(x._shape or ()))], value) for n in pair)
        x = concat([before, x, after], axis)
    return identity(x, name=scope)


def _mirrored(x: Tensor, pairs: Sequence[tuple[int, int]], skip: int, scope: str) -> Tensor:
    from graphflow.ops.array.movement import reverse
    from graphflow.ops.array.reshape import identity
    from graphflow.ops.array.strided_slice import slice_axis

    for axis, (before, after) in enumerate(pairs):
        d = (x._shape or ())[axis]
        if isinstance(d, int) and max(before, after) > d - skip:
            raise ShapeError(f"pad: paddings must be less than the dimension size: {before}, {after} not less than {d}")
        parts = [reverse(slice_axis(x, axis, skip, skip + before), axis)] if before else []
        parts.append(x)
        if after:
            parts.append(reverse(slice_axis(x, axis, -skip - after, -skip if skip else None), axis))
        x = concat(parts, axis) if len(parts) > 1 else x
    return identity(x, name=scope)


def meshgrid(*args: Any, indexing: str = "xy", name: str | None = None) -> list[Tensor]:
    """Coordinates of a grid from vectors, as numpy's."""
    from graphflow.ops.array.movement import broadcast_to
    from graphflow.ops.array.reshape import reshape

    if indexing not in ("xy", "ij"):
        raise ArgumentError("indexing parameter must be either 'xy' or 'ij'")
    if not args:
        return []
    with name_scope(name, "meshgrid"):
        vectors = [reshape(convert_to_tensor(a), [-1]) for a in args]
        count = len(vectors)
        order = [1, 0, *range(2, count)] if indexing == "xy" and count > 1 else list(range(count))
        sizes = stack([shape(vectors[k])[0] for k in order])
        result = []
        for k, v in enumerate(vectors):
            spread = [1] * count
            spread[order.index(k)] = -1
            result.append(broadcast_to(reshape(v, spread), sizes))
        return result
