"""`split` and `unstack`: tensors taken apart, each by one op with as many outputs as there are parts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import build_op, convert_to_tensor, is_tensor_like
from graphflow.framework.deferred import Arguments, NotKnownYet, deferrable
from graphflow.framework.dtypes import ALL
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import Composite, IndexMap, LowerContext, Piece, ShapeValue, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register, undefined_gradient
from graphflow.framework.shapes import Dim, Shape, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import normal_axis, static_int, static_ints
from graphflow.ops._define.deferred_types import length_of, open_shape

# ---------------------------------------------------------------------------------------------- one part


@record(frozen=True, slots=True)
class PartAttrs:
    """Elements start to start + size of one axis, as Dims, because the axis may be as long as a run says.

    Each stands in a tuple, because tuples of Dims are what attributes may hold.
    """

    axis: int
    start: tuple[Dim]
    size: tuple[Dim]


def _part_infer(ctx: InferContext, attrs: PartAttrs, x: TensorType) -> tuple[TensorType, ...]:
    assert x.shape is not None
    return (TensorType(x.dtype, (*x.shape[: attrs.axis], attrs.size[0], *x.shape[attrs.axis + 1 :])),)


def _part_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis, start = ctx.attrs.axis, ctx.attrs.start[0]
    return [Piece(0, tuple(ix.add(i, start) if k == axis else i for k, i in enumerate(index)))]


def _part_reference(attrs: PartAttrs, x: Any) -> Any:
    start, size = int(attrs.start[0]), int(attrs.size[0])  # type: ignore[arg-type]
    return np.take(x, np.arange(start, start + size), attrs.axis)


def _array(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(15).normal(size=shape).astype(np.float32)


PART = register(
    OpDef(
        "Part",
        IndexMap(_part_pieces),
        _part_infer,
        _part_reference,
        lambda: [
            Sample((_array(*s),), PartAttrs(a, (b,), (n,)), gradient=False)
            for s, a, b, n in (((5,), 0, 1, 3), ((3, 4), 1, 2, 2), ((2, 3), 0, 2, 0))
        ],
        grad=undefined_gradient("it appears only where Split and Unpack, which have gradients, are expanded"),
        attrs=PartAttrs,
        dtypes=ALL,
        doc="A range of one axis.",
    )
)


# ---------------------------------------------------------------------------------------------- split


@record(frozen=True, slots=True)
class SplitAttrs:
    """`num` equal parts, or parts of the given sizes (then num is how many)."""

    axis: int
    num: int
    sizes: tuple[int, ...] = ()


def _split_infer(ctx: InferContext, attrs: SplitAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,) * attrs.num
    axis = normal_axis("split", attrs.axis, len(x.shape))
    whole = x.shape[axis]
    parts: Sequence[Dim]
    if attrs.sizes:
        parts = attrs.sizes
        total = sum(attrs.sizes)
        ctx.unify(
            whole,
            total,
            f"split: Determined shape must either match input shape along split_dim exactly if fully specified, or be less "
            f"than the size of the input along split_dim if not fully specified. Got: {total} for dimension {axis} of size "
            f"{whole}",
        )
    else:
        message = f"Dimension size must be evenly divisible by {attrs.num} but is {whole} for 'split'"
        if isinstance(whole, int) and whole % attrs.num:
            raise ShapeError(message)
        part = whole // attrs.num
        # For a size that only a run knows: the parts must be equal there, too.
        ctx.unify(whole, part * attrs.num, message)
        parts = [part] * attrs.num
    return tuple(TensorType(x.dtype, (*x.shape[:axis], d, *x.shape[axis + 1 :])) for d in parts)


def _parts(p: Any, x: Any, axis: int, sizes: Sequence[Dim]) -> list[Any]:
    found = []
    start: Dim = 0
    for d in sizes:
        found.append(p.op("Part", x, attrs=PartAttrs(axis, (start,), (d,))))
        start = start + d
    return found


def _split_expand(p: Any, x: Any) -> Any:
    axis = p.attrs.axis % len(p.outputs[0].shape)
    return tuple(_parts(p, x, axis, [t.shape[axis] for t in p.outputs]))


def _split_reference(attrs: SplitAttrs, x: Any) -> Any:
    boundaries: Any = np.cumsum(attrs.sizes)[:-1] if attrs.sizes else attrs.num
    return tuple(np.array(part) for part in np.split(x, boundaries, attrs.axis))


def _split_value(attrs: SplitAttrs, types: Any, values: Sequence[ShapeValue | None]) -> list[ShapeValue | None] | None:
    """``batch, rest = tf.split(tf.shape(x), [1, 2])``: sizes like any other."""
    x = values[0]
    if not isinstance(x, tuple) or (not attrs.sizes and len(x) % attrs.num):
        return None
    ends = np.cumsum(attrs.sizes or [len(x) // attrs.num] * attrs.num).tolist()
    return [x[a:b] for a, b in zip([0, *ends[:-1]], ends, strict=True)] if ends[-1] == len(x) else None


SPLIT = register(
    OpDef(
        "Split",
        Composite(_split_expand),
        _split_infer,
        _split_reference,
        lambda: [
            Sample((_array(6),), SplitAttrs(0, 3)),
            Sample((_array(2, 4),), SplitAttrs(-1, 2)),
            Sample((_array(2, 4),), SplitAttrs(1, 3, (1, 0, 3))),
            Sample((_array(0, 4),), SplitAttrs(0, 2)),
        ],
        attrs=SplitAttrs,
        shape_value=_split_value,
        dtypes=ALL,
        onnx="Split",
        doc="A tensor split into parts along an axis.",
    )
)


def split(
    value: Any, num_or_size_splits: Any, axis: Any = 0, num: int | None = None, name: str | None = "split"
) -> list[Tensor]:
    """`value` split along `axis` into equal parts, or into parts of the given sizes (one may be -1).

    Raises:
        ShapeError: the parts do not make up the axis.
    """
    x = convert_to_tensor(value)
    given = num_or_size_splits
    # A scalar is a number of parts, a vector the sizes of the parts.
    if is_tensor_like(given):
        t = convert_to_tensor(given)
        if t._shape != () and num is None and length_of(t) is None:
            raise ArgumentError(
                f"Cannot infer num from shape {t.shape}: how many parts there are must be known, or given as num"
            )
        several = t._shape != ()
    else:
        several = isinstance(given, (list, tuple)) or (isinstance(given, np.ndarray) and given.ndim == 1)
    if several:
        if not is_tensor_like(given) and not len(given):
            raise ArgumentError("split: needs at least one size")
        return _split_sizes(x, given, axis, num, name or "split")
    count = static_int(given, "split: the number of parts")
    if count < 1:
        raise ArgumentError(f"split: the number of parts must be positive, got {count}")
    return _split_evenly(x, count, axis, name or "split")


def _part_types(x: Tensor, axis: Any, sizes: Sequence[Any]) -> list[TensorType]:
    """What is known of the parts, for sizes of which only some may be known."""
    if x._shape is None:
        return [x.type] * len(sizes)
    rank = len(x._shape)
    if not isinstance(axis, int) or not -rank <= axis < rank:
        return [TensorType(x.base_dtype, open_shape(rank)) for _ in sizes]
    where = axis % rank
    parts = [d if isinstance(d, int) and d >= 0 else fresh_dim() for d in sizes]
    return [TensorType(x.base_dtype, (*x._shape[:where], d, *x._shape[where + 1 :])) for d in parts]


@deferrable(lambda a: _part_types(a["x"], a["axis"], [None] * a["count"]), "axis")
def _split_evenly(x: Tensor, count: int, axis: Any, name: str | None = None) -> list[Tensor]:
    return list(build_op(SPLIT, (x,), SplitAttrs(static_int(axis, "split: axis"), count), name).outputs)


def _sizes_types(a: Arguments) -> list[TensorType]:
    sizes = a["sizes"]
    listed = sizes if isinstance(sizes, list) else [None] * (length_of(sizes) or a["num"])
    return _part_types(a["x"], a["axis"], listed)


@deferrable(_sizes_types, "sizes", "axis")
def _split_sizes(x: Tensor, sizes: Any, axis: Any, num: int | None = None, name: str | None = None) -> list[Tensor]:
    where, known = static_int(axis, "split: axis"), list(static_ints(sizes, "split: the sizes"))
    return list(build_op(SPLIT, (x,), SplitAttrs(where, len(known), _completed(x, where, known)), name).outputs)


def split_by(x: Tensor, sizes: Sequence[int], axis: int) -> list[Tensor]:
    """Parts of the given sizes."""
    return list(build_op(SPLIT, (x,), SplitAttrs(axis, len(sizes), tuple(sizes)), "split").outputs)


def _completed(x: Tensor, axis: int, sizes: list[int]) -> tuple[int, ...]:
    """The sizes, with the one that is -1 worked out."""
    if sizes.count(-1) > 1 or min(sizes) < -1:
        raise ArgumentError(f"split: sizes must be non-negative, and only one may be -1, got {sizes}")
    if -1 in sizes:
        whole = None if x._shape is None else x._shape[normal_axis("split", axis, len(x._shape))]
        rest = sum(s for s in sizes if s != -1)
        if not isinstance(whole, int):
            raise NotKnownYet(f"split: a size of -1 needs a known dimension {axis} of {x.name}")
        if whole < rest:
            raise ShapeError(f"split: sizes {sizes} do not fit dimension {axis} of shape {x.shape}")
        sizes[sizes.index(-1)] = whole - rest
    return tuple(sizes)


# ---------------------------------------------------------------------------------------------- unstack


@record(frozen=True, slots=True)
class UnpackAttrs:
    axis: int
    num: int


def _without(s: Shape, axis: int) -> Shape:
    return (*s[:axis], *s[axis + 1 :])


def _unpack_infer(ctx: InferContext, attrs: UnpackAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,) * attrs.num
    axis = normal_axis("unstack", attrs.axis, len(x.shape))
    ctx.unify(x.shape[axis], attrs.num, f"unstack: Dimension must be {attrs.num} but is {x.shape[axis]} for 'unstack'")
    return (TensorType(x.dtype, _without(x.shape, axis)),) * attrs.num


def _unpack_expand(p: Any, x: Any) -> Any:
    axis = p.attrs.axis % len(p.type(x).shape)
    parts = _parts(p, x, axis, [1] * p.attrs.num)
    return tuple(p.reshape(part, t.shape) for part, t in zip(parts, p.outputs, strict=True))


def _unpack_value(attrs: UnpackAttrs, types: Any, values: Sequence[ShapeValue | None]) -> list[ShapeValue | None] | None:
    """``batch, time = tf.unstack(tf.shape(x))``: sizes like any other."""
    x = values[0]
    return list(x) if isinstance(x, tuple) and len(x) == attrs.num else None


UNPACK = register(
    OpDef(
        "Unpack",
        Composite(_unpack_expand),
        _unpack_infer,
        lambda attrs, x: tuple(np.array(np.take(x, k, attrs.axis)) for k in range(attrs.num)),
        lambda: [
            Sample((_array(3),), UnpackAttrs(0, 3)),
            Sample((_array(2, 3),), UnpackAttrs(-1, 3)),
            Sample((_array(2, 1, 4),), UnpackAttrs(1, 1)),
            Sample((_array(2, 0),), UnpackAttrs(0, 2)),
        ],
        attrs=UnpackAttrs,
        shape_value=_unpack_value,
        dtypes=ALL,
        doc="The slices of a tensor along an axis, without that axis.",
    )
)


def unstack(value: Any, num: int | None = None, axis: int = 0, name: str | None = "unstack") -> list[Tensor]:
    """The slices of `value` along `axis`, without that axis. Its size must be known, or given as `num`.

    Raises:
        ArgumentError: the size is neither known nor given.
    """
    x = convert_to_tensor(value)
    where = static_int(axis, "unstack: axis")
    if num is None:
        count = None if x._shape is None else x._shape[normal_axis("unstack", where, len(x._shape))]
        if not isinstance(count, int):
            raise ArgumentError(f"Cannot infer argument `num` from shape {x.shape}")
        num = count
    if num == 0:
        return []
    return list(build_op(UNPACK, (x,), UnpackAttrs(where, num), name or "unstack").outputs)
