"""The same elements under another shape, and elements moved to another place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from graphflow.core.build import build, convert_to_tensor, name_scope
from graphflow.core.kinds import IndexMap, LowerContext, Piece, ShapeValue, TensorType, View
from graphflow.core.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.core.tensor import Operation, Tensor
from graphflow.dtypes import ALL, int32, int64
from graphflow.errors import ArgumentError, DTypeError, ShapeError
from graphflow.ops.shape_ops import rank as rank
from graphflow.ops.shape_ops import shape as shape
from graphflow.ops.shape_ops import shape_n as shape_n
from graphflow.ops.shape_ops import shape_tensor
from graphflow.ops.shape_ops import size as size
from graphflow.shapes import Dim, Shape, format_shape, fresh_dim, product

# ---------------------------------------------------------------------------------------------- identity


def _same(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
    return (x,)


def _same_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    return values[0]


def _float_samples() -> list[Sample]:
    rng = np.random.default_rng(3)
    shapes: list[tuple[int, ...]] = [(), (0,), (1,), (5,), (2, 3), (3, 0, 2), (2, 1, 4)]
    return [Sample((rng.normal(size=s).astype(np.float32),)) for s in shapes]


IDENTITY = register(
    OpDef(
        "Identity",
        View(),
        _same,
        lambda op, grad: [grad],
        lambda attrs, x: x,
        _float_samples,
        shape_value=_same_value,
        dtypes=ALL,
        onnx="Identity",
        doc="The input, as a value of its own.",
    )
)
STOP_GRADIENT = register(
    OpDef(
        "StopGradient",
        View(),
        _same,
        not_differentiable("its purpose is to stop gradients"),
        lambda attrs, x: x,
        _float_samples,
        shape_value=_same_value,
        dtypes=ALL,
        doc="The input, a constant for gradients.",
    )
)


def identity(input: Any, name: str | None = None) -> Tensor:
    """The value of `input` at this point of the graph. Of a variable: its value when this op runs."""
    return build(IDENTITY, (convert_to_tensor(input),), NO_ATTRS, name)


def identity_n(input: Sequence[Any], name: str | None = None) -> list[Tensor]:
    """`identity` of each."""
    with name_scope(name, "IdentityN"):
        return [identity(x) for x in input]


def stop_gradient(input: Any, name: str | None = None) -> Tensor:
    """The value of `input`; gradients take it for a constant."""
    return build(STOP_GRADIENT, (convert_to_tensor(input),), NO_ATTRS, name)


# ---------------------------------------------------------------------------------------------- reshape


def _reshape_infer(ctx: InferContext, attrs: Any, x: TensorType, target: TensorType) -> tuple[TensorType, ...]:
    wanted = ctx.vector(1)
    if wanted is None:
        if target.shape is not None and len(target.shape) == 1 and isinstance(target.shape[0], int):
            return (TensorType(x.dtype, tuple(fresh_dim() for _ in range(target.shape[0]))),)
        return (TensorType(x.dtype, None),)
    open_axes = [k for k, d in enumerate(wanted) if d == -1]
    if len(open_axes) > 1:
        raise ShapeError(f"reshape: only one dimension may be -1, not {len(open_axes)}: {list(wanted)}")
    if any(isinstance(d, int) and d < -1 for d in wanted):
        raise ShapeError(f"reshape: dimensions must be non-negative or -1, got {list(wanted)}")
    known = product(d for d in wanted if d != -1)
    if x.shape is None:
        return (TensorType(x.dtype, tuple(fresh_dim() if d == -1 else d for d in wanted)),)
    total = product(x.shape)

    def message() -> str:
        shown = ",".join(map(str, wanted))
        return (
            f"Cannot reshape a tensor with {total} elements to shape [{shown}] ({known} elements) for '{{{{node Reshape}}}}' "
            f"with input shapes: {format_shape(x.shape)}, {format_shape(target.shape)}"
        )

    if not open_axes:
        ctx.unify(total, known, message)
        return (TensorType(x.dtype, wanted),)
    if isinstance(total, int) and isinstance(known, int) and (total % known if known else total):
        raise ShapeError(message())
    rest: Dim = 0 if known == 0 else total // known
    if not isinstance(rest, int):
        ctx.unify(rest * known, total, message)
    return (TensorType(x.dtype, tuple(rest if d == -1 else d for d in wanted)),)


def _reshape_value(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    value, target = values[0], values[1]
    if value is None or not isinstance(target, tuple) or len(target) > 1:
        return None
    flat = value if isinstance(value, tuple) else (value,)
    if not target:
        return flat[0] if len(flat) == 1 else None
    return flat


def _reshape_samples() -> list[Sample]:
    rng = np.random.default_rng(4)

    def case(old: tuple[int, ...], new: tuple[int, ...]) -> Sample:
        return Sample((rng.normal(size=old).astype(np.float32), np.array(new, np.int32)))

    return [
        case((), (1, 1)),
        case((6,), (2, 3)),
        case((2, 3), (-1,)),
        case((0, 3), (0,)),
        case((2, 3, 4), (4, -1)),
        case((1,), ()),
    ]


RESHAPE = register(
    OpDef(
        "Reshape",
        View(),
        _reshape_infer,
        lambda op, grad: [reshape(grad, shape_tensor(op.inputs[0])), None],
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
    with name_scope(None if name is None else name, "Reshape", [x]) as scope:
        return build(RESHAPE, (x, shape_operand(shape)), NO_ATTRS, scope)


def shape_operand(value: Any, name: str = "shape") -> Tensor:
    if not isinstance(value, Tensor) and isinstance(value, (list, tuple)) and not len(value):
        return convert_to_tensor(np.zeros((0,), np.int32), name=name)
    t = convert_to_tensor(value, name=name)
    if t.base_dtype not in (int32, int64):
        raise DTypeError(f"a shape must be of integers, got {t.base_dtype.name}")
    return t


@dataclass(frozen=True, slots=True)
class ExpandDimsAttrs:
    axis: int


def _expand_infer(ctx: InferContext, attrs: ExpandDimsAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,)
    axis = normal_axis("ExpandDims", attrs.axis, len(x.shape) + 1)
    return (TensorType(x.dtype, (*x.shape[:axis], 1, *x.shape[axis:])),)


def normal_axis(op: str, axis: int, rank: int) -> int:
    """`axis` counted from the front. ArgumentError if there is none."""
    if not -rank <= axis < rank:
        raise ArgumentError(f"{op}: axis {axis} is out of range: dimension must be in the range [{-rank}, {rank})")
    return axis + rank if axis < 0 else axis


def _scalar_to_vector(attrs: Any, types: Any, values: Sequence[ShapeValue | None]) -> ShapeValue | None:
    return None if values[0] is None or isinstance(values[0], tuple) else (values[0],)


EXPAND_DIMS = register(
    OpDef(
        "ExpandDims",
        View(),
        _expand_infer,
        lambda op, grad: [reshape(grad, shape_tensor(op.inputs[0]))],
        lambda attrs, x: np.expand_dims(x, attrs.axis),
        lambda: [
            Sample((np.ones(s, np.float32),), ExpandDimsAttrs(a)) for s, a in (((), 0), ((3,), -1), ((2, 3), 1), ((0, 2), 0))
        ],
        attrs=ExpandDimsAttrs,
        shape_value=_scalar_to_vector,
        dtypes=ALL,
        doc="Inserts an axis of size 1.",
    )
)


def static_int(value: Any, what: str) -> int:
    """An int argument, also where it is given as a constant tensor. ArgumentError if its value is not known."""
    if isinstance(value, Tensor):
        known = value.static_value()
        if not isinstance(known, int):
            raise ArgumentError(f"{what} must be known while the graph is built, got {value!r}")
        return known
    return int(value)


def expand_dims(input: Any, axis: Any = None, name: str | None = None, dim: Any = None) -> Tensor:
    """Inserts an axis of size 1 at `axis` (negative counts from the end)."""
    where = static_int(dim if axis is None else axis, "expand_dims: axis")
    return build(EXPAND_DIMS, (convert_to_tensor(input),), ExpandDimsAttrs(where), name)


@dataclass(frozen=True, slots=True)
class SqueezeAttrs:
    axis: tuple[int, ...]


def _squeeze_infer(ctx: InferContext, attrs: SqueezeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (x,)
    if not attrs.axis:
        if not all(isinstance(d, int) for d in x.shape):
            return (
                (TensorType(x.dtype, None),)
                if ctx.policy.__class__.__name__ == "DimPolicy"
                else (TensorType(x.dtype, tuple(d for d in x.shape if d != 1)),)
            )
        return (TensorType(x.dtype, tuple(d for d in x.shape if d != 1)),)
    axes = {normal_axis("Squeeze", a, len(x.shape)) for a in attrs.axis}
    for a in axes:
        ctx.unify(x.shape[a], 1, f"Can not squeeze dim[{a}], expected a dimension of 1, got {x.shape[a]}")
    return (TensorType(x.dtype, tuple(d for k, d in enumerate(x.shape) if k not in axes)),)


SQUEEZE = register(
    OpDef(
        "Squeeze",
        View(),
        _squeeze_infer,
        lambda op, grad: [reshape(grad, shape_tensor(op.inputs[0]))],
        lambda attrs, x: np.squeeze(x, attrs.axis or None),
        lambda: [
            Sample((np.ones(s, np.float32),), SqueezeAttrs(a))
            for s, a in (((), ()), ((1, 3), ()), ((1, 3, 1), (-1,)), ((2, 1, 0), (1,)))
        ],
        attrs=SqueezeAttrs,
        shape_value=lambda attrs, types, values: values[0][0] if isinstance(values[0], tuple) and len(values[0]) == 1 else None,
        dtypes=ALL,
        doc="Removes axes of size 1.",
    )
)


def squeeze(input: Any, axis: Any = None, name: str | None = None, squeeze_dims: Any = None) -> Tensor:
    """Removes the axes of size 1, or those of `axis` (which must be of size 1)."""
    axis = squeeze_dims if axis is None else axis
    axes = () if axis is None else tuple(axis) if isinstance(axis, (list, tuple)) else (axis,)
    return build(SQUEEZE, (convert_to_tensor(input),), SqueezeAttrs(tuple(int(a) for a in axes)), name)


# ---------------------------------------------------------------------------------------------- moving elements


@dataclass(frozen=True, slots=True)
class TransposeAttrs:
    perm: tuple[int, ...]


def _transpose_infer(ctx: InferContext, attrs: TransposeAttrs, x: TensorType) -> tuple[TensorType, ...]:
    if x.shape is None:
        return (TensorType(x.dtype, tuple(fresh_dim() for _ in attrs.perm)),)
    if sorted(attrs.perm) != list(range(len(x.shape))):
        raise ShapeError(f"transpose: perm {list(attrs.perm)} is no permutation of the axes of shape {format_shape(x.shape)}")
    return (TensorType(x.dtype, tuple(x.shape[p] for p in attrs.perm)),)


def _transpose_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    perm = ctx.attrs.perm
    return [Piece(0, tuple(index[perm.index(k)] for k in range(len(perm))))]


def _inverse(perm: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(perm.index(k) for k in range(len(perm)))


TRANSPOSE = register(
    OpDef(
        "Transpose",
        IndexMap(_transpose_pieces),
        _transpose_infer,
        lambda op, grad: [transpose(grad, _inverse(op.attrs.perm))],
        lambda attrs, x: np.array(np.transpose(x, attrs.perm), order="C"),
        lambda: [
            Sample((np.random.default_rng(5).normal(size=s).astype(np.float32),), TransposeAttrs(p))
            for s, p in (
                ((), ()),
                ((3,), (0,)),
                ((2, 3), (1, 0)),
                ((2, 3, 4), (2, 0, 1)),
                ((0, 3), (1, 0)),
                ((1, 5), (1, 0)),
            )
        ],
        attrs=TransposeAttrs,
        dtypes=ALL,
        onnx="Transpose",
        doc="Permutes the axes.",
    )
)


def transpose(a: Any, perm: Any = None, name: str = "transpose", conjugate: bool = False) -> Tensor:
    """Permutes the axes of `a`: result axis k is axis ``perm[k]``; without perm they are reversed."""
    x = convert_to_tensor(a)
    if perm is None:
        if x._shape is None:
            raise ArgumentError("transpose: the rank is unknown, so perm must be given")
        order = tuple(reversed(range(len(x._shape))))
    else:
        known: Any = perm.static_value() if isinstance(perm, Tensor) else perm
        if not isinstance(known, (list, tuple, np.ndarray)):
            raise ArgumentError(f"transpose: perm must be known while the graph is built, got {perm!r}")
        order = tuple(int(p) for p in known)
    return build(TRANSPOSE, (x,), TransposeAttrs(order), name)


def matrix_transpose(a: Any, name: str = "matrix_transpose", conjugate: bool = False) -> Tensor:
    """Swaps the last two axes."""
    x = convert_to_tensor(a)
    if x._shape is None or len(x._shape) < 2:
        raise ArgumentError(f"matrix_transpose: needs a rank of at least 2, got shape {x.shape}")
    n = len(x._shape)
    return transpose(x, [*range(n - 2), n - 1, n - 2], name)


def _broadcast_infer(ctx: InferContext, attrs: Any, x: TensorType, target: TensorType) -> tuple[TensorType, ...]:
    wanted = ctx.vector(1)
    if wanted is None:
        return (TensorType(x.dtype, None),)
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
    return [Piece(0, tuple(ix.mul(i, 0) if d == 1 else i for d, i in zip(source, aligned, strict=True)))]


def _broadcast_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    from graphflow.ops.reduce import sum_to_like

    return [sum_to_like(grad, op.inputs[0]), None]


BROADCAST_TO = register(
    OpDef(
        "BroadcastTo",
        IndexMap(_broadcast_pieces),
        _broadcast_infer,
        _broadcast_grad,
        lambda attrs, x, target: np.array(np.broadcast_to(x, tuple(int(d) for d in np.atleast_1d(target)))),
        lambda: [
            Sample((np.random.default_rng(6).normal(size=s).astype(np.float32), np.array(t, np.int32)))
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
    with name_scope(None if name is None else name, "BroadcastTo", [x]) as scope:
        return build(BROADCAST_TO, (x, shape_operand(shape)), NO_ATTRS, scope)


def _tile_infer(ctx: InferContext, attrs: Any, x: TensorType, multiples: TensorType) -> tuple[TensorType, ...]:
    times = ctx.vector(1)
    if x.shape is None or times is None:
        return (TensorType(x.dtype, None if x.shape is None else tuple(fresh_dim() for _ in x.shape)),)
    if len(times) != len(x.shape):
        raise ShapeError(f"tile: {len(times)} multiples for a tensor of shape {format_shape(x.shape)}")
    return (TensorType(x.dtype, tuple(d * t for d, t in zip(x.shape, times, strict=True))),)


def _tile_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    return [Piece(0, tuple(ix.mod(i, d) for i, d in zip(index, ctx.inputs[0].shape or (), strict=True)))]


def _tile_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    from graphflow.ops.joining import stack
    from graphflow.ops.reduce import reduce_sum

    x, multiples = op.inputs
    assert x._shape is not None
    count = len(x._shape)
    if not count:
        return [grad, None]
    # Split every axis into (repetition, element) and add the repetitions up.
    parts = [p for k in range(count) for p in (multiples[k], shape(x)[k])]
    return [reduce_sum(reshape(grad, stack(parts)), axis=[2 * k for k in range(count)]), None]


TILE = register(
    OpDef(
        "Tile",
        IndexMap(_tile_pieces),
        _tile_infer,
        _tile_grad,
        lambda attrs, x, multiples: np.tile(x, tuple(int(m) for m in multiples)),
        lambda: [
            Sample((np.random.default_rng(7).normal(size=s).astype(np.float32), np.array(m, np.int32)))
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
    with name_scope(None if name is None else name, "Tile", [x]) as scope:
        return build(TILE, (x, shape_operand(multiples, "multiples")), NO_ATTRS, scope)


@dataclass(frozen=True, slots=True)
class ReverseAttrs:
    axis: tuple[int, ...]


def _reverse_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    dims = ctx.inputs[0].shape or ()
    return [
        Piece(
            0,
            tuple(ix.sub(d - 1, i) if k in ctx.attrs.axis else i for k, (i, d) in enumerate(zip(index, dims, strict=True))),
        )
    ]


REVERSE = register(
    OpDef(
        "ReverseV2",
        IndexMap(_reverse_pieces),
        _same,
        lambda op, grad: [reverse(grad, op.attrs.axis)],
        lambda attrs, x: np.array(np.flip(x, attrs.axis), order="C") if attrs.axis else x,
        lambda: [
            Sample((np.random.default_rng(8).normal(size=s).astype(np.float32),), ReverseAttrs(a))
            for s, a in (((), ()), ((4,), (0,)), ((2, 3), (1,)), ((2, 3), (0, 1)), ((0, 2), (1,)))
        ],
        attrs=ReverseAttrs,
        dtypes=ALL,
        doc="Turns axes around.",
    )
)


def reverse(tensor: Any, axis: Any, name: str | None = None) -> Tensor:
    """Turns the given axes around."""
    x = convert_to_tensor(tensor)
    if x._shape is None:
        raise ArgumentError("reverse: the rank must be known")
    axes = [axis] if isinstance(axis, int) else list(axis)
    normal = tuple(sorted(normal_axis("ReverseV2", int(a), len(x._shape)) for a in axes))
    if len(set(normal)) != len(normal):
        raise ArgumentError(f"reverse: an axis is named twice in {axes}")
    return build(REVERSE, (x,), ReverseAttrs(normal), name)


#: Functions of sibling families that belong to `tf.array`-like use under this module's name, loaded when first asked for.
_SIBLINGS = {
    "concat": "joining", "stack": "joining", "unstack": "joining", "split": "joining", "pad": "joining",
    "gather": "gather", "one_hot": "gather", "boolean_mask": "gather", "unique": "gather", "gather_nd": "gather",
    "fill": "fill", "zeros": "fill", "ones": "fill", "zeros_like": "fill", "ones_like": "fill", "range": "fill",
    "slice_": "slicing", "strided_slice": "slicing",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    home = _SIBLINGS.get(name)
    if home is None:
        raise AttributeError(f"module 'graphflow.ops.array' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(f"graphflow.ops.{home}"), name)
