"""Ops that move or repeat elements: transpose, broadcast_to, tile, reverse, roll."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from graphflow.framework.build import build, build_op, convert_to_tensor, name_scope
from graphflow.framework.deferred import Arguments, NotKnownYet, deferrable
from graphflow.framework.dtypes import ALL
from graphflow.framework.errors import ArgumentError, ShapeError
from graphflow.framework.kinds import IndexMap, LowerContext, Piece, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, lookup, register, same_shape_infer
from graphflow.framework.shapes import Dim, Shape, format_shape, fresh_dim, maximum, mod
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import known_rank, normal_axis, shape_operand, static_ints
from graphflow.ops._define.deferred_types import any_shape, length_of, like, open_shape, rank_of
from graphflow.ops.array.identity import identity


def _random(seed: int, s: tuple[int, ...]) -> np.ndarray[Any, Any]:
    return np.random.default_rng(seed).normal(size=s).astype(np.float32)


# ---------------------------------------------------------------------------------------------- transpose


@record(frozen=True, slots=True)
class TransposeAttrs:
    perm: tuple[int, ...]


def _transpose_infer(ctx: InferContext, attrs: TransposeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (TensorType(x.dtype, tuple(fresh_dim() for _ in attrs.perm)),)
    if len(attrs.perm) != len(x.shape):
        raise ShapeError(
            f"Dimension must be {len(attrs.perm)} but is {len(x.shape)} for 'transpose': perm {list(attrs.perm)} does not fit "
            f"shape {format_shape(x.shape)}"
        )
    if sorted(attrs.perm) != list(range(len(x.shape))):
        raise ShapeError(f"transpose: perm {list(attrs.perm)} is no permutation of the axes of shape {format_shape(x.shape)}")
    return (TensorType(x.dtype, tuple(x.shape[p] for p in attrs.perm)),)


def inverse_of(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(k) for k in range(len(perm)))


def _transpose_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    return [Piece(0, tuple(index[k] for k in inverse_of(ctx.attrs.perm)))]


TRANSPOSE = register(
    OpDef(
        "Transpose",
        IndexMap(_transpose_pieces),
        _transpose_infer,
        lambda attrs, x: np.array(np.transpose(x, attrs.perm), order="C"),
        lambda: [
            Sample((_random(5, s),), TransposeAttrs(p))
            for s, p in (
                ((), ()), ((3,), (0,)), ((2, 3), (1, 0)), ((2, 3, 4), (2, 0, 1)), ((0, 3), (1, 0)), ((1, 5), (1, 0)),
            )
        ],
        attrs=TransposeAttrs,
        dtypes=ALL,
        onnx="Transpose",
        doc="Permutes the axes.",
    )
)  # fmt: skip


def transpose(a: Any, perm: Any = None, name: str | None = "transpose", conjugate: bool = False) -> Tensor:
    """Permutes the axes of `a`: result axis k is axis ``perm[k]``; without perm they are reversed.

    Raises:
        ShapeError: perm is no permutation of the axes.
    """
    return _transpose(convert_to_tensor(a), perm, name or "transpose")


def _transpose_types(a: Arguments) -> list[TensorType]:
    rank = rank_of(a["x"])
    if rank is None and a["perm"] is not None:
        rank = length_of(a["perm"])
    return [TensorType(a["x"].base_dtype, None if rank is None else open_shape(rank))]


@deferrable(_transpose_types, "perm")
def _transpose(x: Tensor, perm: Any, name: str | None = None) -> Tensor:
    if perm is None:
        order = tuple(reversed(range(known_rank("transpose", x))))
    else:
        order = static_ints(perm, "transpose: perm")
        order = tuple(p + len(order) if p < 0 else p for p in order)
    return build(TRANSPOSE, (x,), TransposeAttrs(order), name)


def matrix_transpose(a: Any, name: str | None = "matrix_transpose", conjugate: bool = False) -> Tensor:
    """Swaps the last two axes. ArgumentError for a rank below 2."""
    return _matrix_transpose(convert_to_tensor(a), name or "matrix_transpose")


@deferrable(any_shape("x"))
def _matrix_transpose(x: Tensor, name: str | None = None) -> Tensor:
    n = known_rank("matrix_transpose", x)
    if n < 2:
        raise ArgumentError(f"Argument 'a' should be a (batch) matrix with rank >= 2. Found: {x.shape}")
    return transpose(x, [*range(n - 2), n - 1, n - 2], name)


# ---------------------------------------------------------------------------------------------- repeating


def _broadcast_infer(ctx: InferContext, attrs: Any, x: TensorType, target: TensorType) -> tuple[TensorType, ...]:
    wanted = ctx.vector(1)
    if wanted is None:
        # An unknown target may still have a known length, which is the rank.
        known = target.shape and target.shape[0]
        return (TensorType(x.dtype, tuple(fresh_dim() for _ in range(known)) if isinstance(known, int) else None),)
    if any(isinstance(d, int) and d < 0 for d in wanted):
        raise ShapeError(f"broadcast_to: dimensions must be non-negative, got {format_shape(wanted)}")
    if x.shape is None:
        return (TensorType(x.dtype, wanted),)

    def message() -> str:
        return f"Incompatible shapes: {format_shape(x.shape)} cannot be broadcast to {format_shape(wanted)}"

    if len(x.shape) > len(wanted):
        raise ShapeError(message())
    for d, w in zip(x.shape, wanted[len(wanted) - len(x.shape) :], strict=True):
        if d != 1:
            ctx.unify(d, w, message)
    return (TensorType(x.dtype, wanted),)


def _broadcast_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    source: Shape = ctx.inputs[0].shape or ()
    aligned = index[len(index) - len(source) :]
    # i * 0 is how an index expression says 0.
    return [Piece(0, tuple(ix.mul(i, 0) if d == 1 else i for d, i in zip(source, aligned, strict=True)))]


BROADCAST_TO = register(
    OpDef(
        "BroadcastTo",
        IndexMap(_broadcast_pieces),
        _broadcast_infer,
        lambda attrs, x, target: np.array(np.broadcast_to(x, tuple(int(d) for d in np.atleast_1d(target)))),
        lambda: [
            Sample((_random(6, s), np.array(t, np.int32)))
            for s, t in (((), (2, 3)), ((3,), (2, 3)), ((2, 1), (2, 3)), ((1,), (0,)), ((), ()))
        ],
        shape_operands=(1,),
        dtypes=ALL,
        onnx="Expand",
        doc="Repeats axes of size 1, and adds leading axes, to a given shape.",
    )
)


def broadcast_to(input: Any, shape: Any, name: str | None = None) -> Tensor:
    """`input` repeated along its axes of size 1, and along new leading ones, to `shape`."""
    x = convert_to_tensor(input)
    with name_scope(name, "BroadcastTo", [x]) as scope:
        return build(BROADCAST_TO, (x, shape_operand(shape)), NO_ATTRS, scope)


def _tile_infer(ctx: InferContext, attrs: Any, x: TensorType, multiples: TensorType) -> tuple[TensorType, ...]:
    times = ctx.vector(1)
    if times is None or x.shape is None:
        counts = [len(v) for v in (x.shape, times) if v is not None]
        counts += [d for d in multiples.shape or () if isinstance(d, int)]
        if len(set(counts)) > 1:
            raise ShapeError(f"Expected multiples argument to be a vector of length {counts[0]} but got length {counts[1]}")
        return (TensorType(x.dtype, tuple(fresh_dim() for _ in range(counts[0])) if counts else None),)
    if len(times) != len(x.shape):
        raise ShapeError(f"Expected multiples argument to be a vector of length {len(x.shape)} but got length {len(times)}")
    for k, t in enumerate(times):  # also where the axis is empty, so that the result's size does not tell
        ctx.at_least(t, 0, partial("tile: Expected multiples to be non-negative: multiples[{}] >= 0, but got {}".format, k, t))
    return (TensorType(x.dtype, tuple(d * t for d, t in zip(x.shape, times, strict=True))),)


def _tile_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    source, times = ctx.inputs[0].shape or (), ctx.values[1]
    assert isinstance(times, tuple)
    # An axis that is not repeated keeps its plain index, so that its loads stay contiguous.
    return [Piece(0, tuple(i if t == 1 else ix.mod(i, d) for i, d, t in zip(index, source, times, strict=True)))]


TILE = register(
    OpDef(
        "Tile",
        IndexMap(_tile_pieces),
        _tile_infer,
        lambda attrs, x, multiples: np.tile(x, tuple(int(m) for m in multiples)),
        lambda: [
            Sample((_random(7, s), np.array(m, np.int32)))
            for s, m in (((3,), (2,)), ((2, 3), (1, 2)), ((2, 1), (3, 2)), ((2,), (0,)))
        ],
        shape_operands=(1,),
        dtypes=ALL,
        onnx="Tile",
        doc="Repeats the whole tensor along each axis.",
    )
)


def tile(input: Any, multiples: Any, name: str | None = None) -> Tensor:
    """`input` repeated ``multiples[k]`` times along axis k."""
    x = convert_to_tensor(input)
    with name_scope(name, "Tile", [x]) as scope:
        return build(TILE, (x, shape_operand(multiples, "multiples")), NO_ATTRS, scope)


# ---------------------------------------------------------------------------------------------- reverse and roll


@record(frozen=True, slots=True)
class ReverseAttrs:
    axis: tuple[int, ...]


def _reverse_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    dims = ctx.inputs[0].shape or ()
    turned = ctx.attrs.axis
    return [Piece(0, tuple(ix.sub(dims[k] - 1, i) if k in turned else i for k, i in enumerate(index)))]


REVERSE = register(
    OpDef(
        "ReverseV2",
        IndexMap(_reverse_pieces),
        same_shape_infer,
        lambda attrs, x: np.array(np.flip(x, attrs.axis), order="C"),
        lambda: [
            Sample((_random(8, s),), ReverseAttrs(a))
            for s, a in (((), ()), ((4,), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((0, 2), (1,)))
        ],
        attrs=ReverseAttrs,
        dtypes=ALL,
        doc="Turns axes around.",
    )
)


def _axes(op: str, x: Tensor, axis: Any) -> tuple[int, ...]:
    rank = known_rank(op, x)
    return tuple(normal_axis(op, a, rank) for a in static_ints(axis, f"{op}: axis"))


def _outside(x: Tensor, axis: Any) -> int | None:
    """The first axis that x, of known rank and no scalar, is known not to have."""
    rank = len(x._shape or ())
    try:
        return next((a for a in static_ints(axis, "roll: axis") if rank and not -rank <= a < rank), None)
    except NotKnownYet:
        return None


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """Turns the given axes around."""
    return _reverse(convert_to_tensor(tensor), axis, name)


@deferrable(like("x"), "axis", op_name="ReverseV2")
def _reverse(x: Tensor, axis: Any, name: str | None = None) -> Tensor:
    axes = _axes("reverse", x, axis)
    twice = [a for a in axes if axes.count(a) > 1]
    if twice:
        raise ArgumentError(f"reverse: axis {twice[0]} specified more than once: {list(axes)}")
    return build(REVERSE, (x,), ReverseAttrs(tuple(sorted(axes))), name)


@record(frozen=True, slots=True)
class RollAttrs:
    shift: int
    axis: int


def _roll_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    axis = ctx.attrs.axis
    d = (ctx.inputs[0].shape or ())[axis]
    # Where what was first goes; whole turns change nothing.
    first = mod(abs(ctx.attrs.shift), maximum(d, 1))
    if ctx.attrs.shift < 0:
        first = mod(d - first, maximum(d, 1))

    def moved(by: Dim) -> tuple[Any, ...]:
        return tuple(ix.add(i, by) if k == axis else i for k, i in enumerate(index))

    if first == 0:
        return [Piece(0, index)]
    return [Piece(0, moved(d - first), ((axis, 0, first),)), Piece(0, moved(first * -1), ((axis, first, d),))]


ROLL = register(
    OpDef(
        "Roll",
        IndexMap(_roll_pieces),
        same_shape_infer,
        lambda attrs, x: np.roll(x, attrs.shift, attrs.axis),
        lambda: [
            Sample((_random(9, s),), RollAttrs(by, a))
            for s, by, a in (((4,), 1, 0), ((2, 3), -1, 1), ((2, 3), 6, 1), ((5, 2), 7, 0), ((0, 2), 1, 0), ((1, 3), 4, 0))
        ],
        attrs=RollAttrs,
        dtypes=ALL,
        doc="Moves the elements along an axis; what leaves at the end comes in at the front.",
    )
)


def roll(input: Any, shift: Any, axis: Any, name: str | None = None) -> Tensor:
    """Moves the elements by `shift` places along `axis`; what leaves at the end comes in at the front."""
    x = convert_to_tensor(input)
    outside = _outside(x, axis)
    if outside is None:
        return _roll(x, shift, axis, name)
    # For the run to refuse, as in TensorFlow.
    with name_scope(name, "Roll", [x]) as scope:
        refuse = lookup("Assert")
        attrs = refuse.attrs((f"axis {outside} is out of range: roll of a tensor of shape {x.shape}",))
        with x.graph.control_dependencies([build_op(refuse, (convert_to_tensor(False),), attrs)]):
            return identity(x, name=scope)


@deferrable(like("x"), "shift", "axis", op_name="Roll")
def _roll(x: Tensor, shift: Any, axis: Any, name: str | None = None) -> Tensor:
    axes: Sequence[int] = _axes("roll", x, axis)
    shifts = static_ints(shift, "roll: shift")
    if len(shifts) != len(axes):
        raise ArgumentError(f"roll: shift {shifts} and axis {tuple(axes)} must have as many entries")
    if not shifts:
        return identity(x, name=name)
    for k, attrs in enumerate(RollAttrs(by, where) for by, where in zip(shifts, axes, strict=True)):
        x = build(ROLL, (x,), attrs, name if k == len(shifts) - 1 else None)
    return x
