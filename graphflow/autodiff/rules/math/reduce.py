"""Gradients of the ops in `graphflow/ops/math/reduce.py` and `sum_to_like.py`."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.dtypes import DType, float32, int64
from graphflow.framework.shapes import product, static_shape
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.fill import ones_like
from graphflow.ops.array.movement import broadcast_to, inverse_of, reverse, transpose
from graphflow.ops.array.pad import pad
from graphflow.ops.array.reshape import expand_dims, reshape
from graphflow.ops.array.shape import shape
from graphflow.ops.array.split import unstack
from graphflow.ops.array.strided_slice import slice_axis
from graphflow.ops.math.binary import multiply, realdiv
from graphflow.ops.math.cast import cast
from graphflow.ops.math.compare import equal, logical_and
from graphflow.ops.math.reduce import ReduceAttrs, reduce_prod, reduce_sum
from graphflow.ops.math.select import where_v2


def keep_axes(grad: Tensor, attrs: ReduceAttrs) -> Tensor:
    """A tensor of a reduction's shape, with the reduced axes back as axes of size 1."""
    if attrs.keepdims or not attrs.axis:
        return grad
    if grad._shape is not None:
        rest = list(grad._shape)
        for a in attrs.axis:
            rest.insert(a, 1)
        # One reshape, if at most one size is open (-1) and no size is 0, which would leave -1 undetermined.
        open_dims = [i for i, d in enumerate(rest) if not isinstance(d, int)]
        if len(open_dims) < 2 and product([d for d in rest if isinstance(d, int)]) != 0:
            return reshape(grad, [d if isinstance(d, int) else -1 for d in rest])
    for a in attrs.axis:
        grad = expand_dims(grad, a)
    return grad


def spread_to(kept: Tensor, x: Tensor) -> Tensor:
    """`kept`, whose reduced axes have size 1, broadcast to the shape of x."""
    if kept._shape is not None and kept._shape == x._shape:
        return kept
    known = None if x._shape is None else static_shape(x._shape)
    return broadcast_to(kept, list(known) if known is not None else shape(x))


def count_reduced(x: Tensor, axis: Sequence[int], dtype: DType) -> Tensor | float:
    """How many elements of x go into each element of its reduction: a number where that is known, else a scalar."""
    if x._shape is not None:
        count = product(x._shape[a] for a in axis)
        if isinstance(count, int):
            return float(count) if dtype.is_floating else count
    # Counted in int64: the product of sizes may exceed int32, and exact floats end at 2^24.
    total = axis_size(x, axis[0], int64)
    for a in axis[1:]:
        total = multiply(total, axis_size(x, a, int64))
    result: Tensor = cast(total, dtype)
    return result


@gradient_of("Sum")
def _sum_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    return [spread_to(keep_axes(grad, op.attrs), op.inputs[0])]


@gradient_of("Mean")
def _mean_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x = op.inputs[0]
    if not x.base_dtype.is_floating:
        return [None]
    # Divided before it is repeated: once per sum and not once per element.
    scaled = grad if not op.attrs.axis else realdiv(grad, count_reduced(x, op.attrs.axis, x.base_dtype))
    return [spread_to(keep_axes(scaled, op.attrs), x)]


@gradient_of("Prod")
def _prod_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    """grad times the product of the *other* elements, for each element."""
    x, axis = op.inputs[0], op.attrs.axis
    if not axis:
        return [grad]
    count = None if x._shape is None else product(x._shape[a] for a in axis)
    others = _others_of_few(x, axis, count) if isinstance(count, int) else _others_by_division(x, list(axis))
    return [multiply(keep_axes(grad, op.attrs), others)]


def _others_of_few(x: Tensor, axis: Sequence[int], count: int) -> Tensor:
    """For each element the product of the others of its reduction, without a division: also right at zeros and overflows."""
    assert x._shape is not None
    if count < 2:
        return ones_like(x)
    rank = len(x._shape)
    order = [*(a for a in range(rank) if a not in axis), *axis]
    in_order = order == list(range(rank))
    moved = x if in_order else transpose(x, order)
    others = reshape(_others_in_rows(reshape(moved, [-1, count]), count), shape(moved))
    return others if in_order else transpose(others, inverse_of(tuple(order)))


def _others_in_rows(rows: Tensor, count: int) -> Tensor:
    """A tree of products over each row: what an element is not multiplied with yet is its neighbour, pair of pairs by pair."""
    width = 1 << (count - 1).bit_length()
    levels = [pad(rows, [[0, 0], [0, width - count]], constant_values=1) if width > count else rows]
    while width > 2:
        width //= 2
        left, right = unstack(reshape(levels[-1], [-1, width, 2]), 2, axis=2)
        levels.append(multiply(left, right))
    others = reverse(levels.pop(), [1])
    while levels:
        neighbours = reverse(reshape(levels.pop(), [-1, width, 2]), [2])
        width *= 2
        others = reshape(multiply(neighbours, expand_dims(others, 2)), [-1, width])
    return others if width == count else slice_axis(others, 1, 0, count)


def _others_by_division(x: Tensor, axis: list[int]) -> Tensor:
    """As above, where the number of elements is known in a run only.

    With no zero that is product / x; with one zero it is the product of the others at that zero and 0 elsewhere; with more
    zeros it is 0 everywhere.
    """
    is_zero = equal(x, 0)
    zeros = reduce_sum(cast(is_zero, float32), axis, keepdims=True)
    filled = where_v2(is_zero, 1, x)
    rest = reduce_prod(filled, axis, keepdims=True)
    alone = where_v2(logical_and(is_zero, equal(zeros, 1.0)), rest, 0)
    return where_v2(equal(zeros, 0.0), realdiv(rest, filled), alone)


@gradient_of("Max", "Min")
def _extreme_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    """The gradient is shared equally by all elements that attain the extreme value, as in TensorFlow."""
    x = op.inputs[0]
    hits = cast(equal(x, keep_axes(op.outputs[0], op.attrs)), x.base_dtype)
    ties = reduce_sum(hits, list(op.attrs.axis), keepdims=True)
    return [multiply(realdiv(hits, ties), keep_axes(grad, op.attrs))]
