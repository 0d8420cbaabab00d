"""`segment_sum` and `invert_permutation`: ids that must be in order, and entries that must each be there once."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, name_scope
from graphflow.framework.dtypes import int32, int64
from graphflow.framework.errors import DTypeError, ShapeError
from graphflow.framework.kinds import Composite, Elementwise, ExpandContext, IndexMap, LowerContext, Piece, TensorType
from graphflow.framework.registry import (
    NO_ATTRS,
    InferContext,
    OpDef,
    Sample,
    not_differentiable,
    register,
)
from graphflow.framework.tensor import Tensor
from graphflow.ops.array.axis import PositionAttrs
from graphflow.ops.array.scatter import SegmentAddAttrs, unsorted_segment_sum
from graphflow.ops.math.binary import maximum
from graphflow.ops.math.reduce import reduce_max

_INTEGERS = not_differentiable("integers")


def _vector_infer(ctx: InferContext, attrs: Any, x: TensorType) -> tuple[TensorType, ...]:
    if x.dtype not in (int32, int64):
        raise DTypeError(f"{ctx.op_name}: DataType {x.dtype.name} not in list of allowed values: int32, int64")
    if x.shape is not None and len(x.shape) != 1:
        raise ShapeError(f"Shape must be rank 1 but is rank {len(x.shape)} for '{ctx.op_name}'")
    return (x,)


def _vectors(*cases: list[int]) -> list[Sample]:
    return [Sample((np.array(c, dtype),), gradient=False) for c in cases for dtype in (np.int32, np.int64)]


# ---------------------------------------------------------------------------------------------- ids in order


def _previous_pieces(ix: Any, ctx: LowerContext, index: tuple[Any, ...]) -> list[Piece]:
    (size,) = ctx.inputs[0].shape or (0,)
    return [Piece(0, (ix.sub(index[0], 1),), ((0, 1, size),))]


PREVIOUS_ELEMENT = register(
    OpDef(
        "PreviousElement",
        IndexMap(_previous_pieces, lambda ctx: 0),
        _vector_infer,
        lambda attrs, x: np.concatenate([np.zeros(1, x.dtype), x])[:-1],
        lambda: _vectors([3, 1, 2], [], [5]),
        grad=_INTEGERS,
        dtypes=(int32, int64),
        doc="A vector moved on by one place, with 0 in front.",
    )
)

CHECKED_ORDER = register(
    OpDef(
        "CheckedOrder",
        Elementwise(
            lambda b, attrs, x, before: x,
            check=lambda b, attrs, x, before: b.lt(x, before),
            check_message="segment ids are not increasing",
        ),
        lambda ctx, attrs, x, before: (x,),
        lambda attrs, x, before: x,
        lambda: [Sample((np.array([1, 1, 4], np.int32), np.array([0, 1, 1], np.int32)), gradient=False)],
        grad=_INTEGERS,
        dtypes=(int32, int64),
        doc="Its first operand; the run fails where that is below the second.",
    )
)


def _sorted_reference(attrs: Any, ids: Any) -> Any:
    falls = np.flatnonzero(ids[1:] < ids[:-1]) + 1
    if len(falls):
        k = int(falls[0])
        raise ValueError(f"segment ids are not increasing: segment_ids[{k}] = {ids[k]} comes after {ids[k - 1]}")
    if len(ids) and ids[0] < 0:
        raise ValueError(f"Segment id {ids[0]} out of range: segment_ids[0] = {ids[0]} is negative")
    return ids


SORTED_SEGMENT_IDS = register(
    OpDef(
        "SortedSegmentIds",
        # With 0 before the first, ids that do not fall are not negative either.
        Composite(lambda p, ids: p.op("CheckedOrder", ids, p.op("PreviousElement", ids)), checks=True),
        _vector_infer,
        _sorted_reference,
        lambda: _vectors([0, 0, 2], [], [5]),
        grad=_INTEGERS,
        dtypes=(int32, int64),
        doc="Segment ids, unchanged; the run fails unless they are in ascending order and not negative.",
    )
)


def sorted_segment_ids(ids: Tensor) -> Tensor:
    """`ids`; a run in which they are negative or not in ascending order fails with InvalidArgumentError."""
    known = ids.static_value()
    if isinstance(known, tuple) and all(isinstance(k, int) for k in known):
        numbers = [k for k in known if isinstance(k, int)]
        if numbers == sorted(numbers) and min(numbers, default=0) >= 0:
            return ids
    return build(SORTED_SEGMENT_IDS, (ids,), NO_ATTRS)


def segment_sum(data: Any, segment_ids: Any, name: str | None = None) -> Tensor:
    """As `unsorted_segment_sum` with ids in ascending order; there are as many segments as the last id says.

    Raises:
        ShapeError: `segment_ids` is no vector, or not as long as `data`.
        InvalidArgumentError: (in a run) an id is below the one before, or negative.
    """
    d, i = convert_to_tensor(data), convert_to_tensor(segment_ids)
    if i._shape is not None and len(i._shape) != 1:
        raise ShapeError(f"segment_sum: Shape must be rank 1 but is rank {len(i._shape)}: segment_ids are a vector")
    with name_scope(name, "SegmentSum", [d]) as scope:
        ids = sorted_segment_ids(i)
        # Ids that are known give a static number of segments; else the run finds the largest id.
        known = i.static_value()
        count: Any = maximum(reduce_max(i), -1) + 1
        if isinstance(known, tuple) and all(isinstance(k, int) for k in known):
            count = max((k for k in known if isinstance(k, int)), default=-1) + 1
        return unsorted_segment_sum(d, ids, count, name=scope)


# ---------------------------------------------------------------------------------------------- permutations

CHECKED_ONCE = register(
    OpDef(
        "CheckedOnce",
        Elementwise(
            lambda b, attrs, x, count: x,
            check=lambda b, attrs, x, count: b.ne(count, 1),
            check_message="an entry is duplicated in the input.",
        ),
        lambda ctx, attrs, x, count: (x,),
        lambda attrs, x, count: x,
        lambda: [Sample((np.array([1, 0], np.int32), np.array([1, 1], np.int32)), gradient=False)],
        grad=_INTEGERS,
        dtypes=(int32, int64),
        doc="Its first operand; the run fails where the second is not 1.",
    )
)


def _inverse_expand(p: ExpandContext, x: Any) -> Any:
    shape, dtype = p.type(x).shape, p.type(x).dtype
    assert shape is not None
    zeros, ones = (p.broadcast_to(p.const(k, dtype), shape) for k in (0, 1))
    # Position k is added into row x[k], which is where the inverse has it.
    inverse = p.op("SegmentAdd", zeros, x, p.op("AxisPosition", attrs=PositionAttrs(shape, 0, dtype)), attrs=SegmentAddAttrs())
    return p.op("CheckedOnce", inverse, p.op("SegmentAdd", zeros, x, ones, attrs=SegmentAddAttrs()))


def _inverse_reference(attrs: Any, x: Any) -> Any:
    for k, entry in enumerate(x):
        if not 0 <= entry < len(x):
            raise ValueError(f"{entry} is not between 0 and {len(x)}: x[{k}] = {entry}")
    values, first = np.unique(x, return_index=True)
    if len(values) < len(x):
        k = int(np.setdiff1d(np.arange(len(x)), first)[0])
        raise ValueError(f"{x[k]} is duplicated in the input: x[{k}] = {x[k]}")
    return np.argsort(x).astype(x.dtype)


INVERT_PERMUTATION = register(
    OpDef(
        "InvertPermutation",
        Composite(_inverse_expand, checks=True),
        _vector_infer,
        _inverse_reference,
        lambda: _vectors([3, 0, 1, 2], [0], []),
        grad=_INTEGERS,
        dtypes=(int32, int64),
        doc="The permutation that undoes another; the run fails where it is none.",
    )
)


def invert_permutation(x: Any, name: str | None = None) -> Tensor:
    """The permutation that undoes x. InvalidArgumentError (in a run) where an entry is out of range, or there twice."""
    return build(INVERT_PERMUTATION, (convert_to_tensor(x, name="x"),), NO_ATTRS, name)
