"""Gradients of the ops in `graphflow/ops/math/reduce.py` and `sum_to_like.py`."""

from __future__ import annotations

from collections.abc import Sequence

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.dtypes import DType, float32, int64
from graphflow.framework.shapes import product, static_shape
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.axis import axis_size
from graphflow.ops.array.movement import broadcast_to
from graphflow.ops.array.reshape import expand_dims, reshape
from graphflow.ops.array.shape import shape
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
    """grad times the product of the *other* elements, which is also right where x has zeros.

    With no zero that is product / x; with one zero it is the product of the others at that zero and 0 elsewhere; with more
    zeros it is 0 everywhere.
    """
    x, axis = op.inputs[0], list(op.attrs.axis)
    is_zero = equal(x, 0)
    zeros = reduce_sum(cast(is_zero, float32), axis, keepdims=True)
    filled = where_v2(is_zero, 1, x)
    rest = reduce_prod(filled, axis, keepdims=True)
    alone = where_v2(logical_and(is_zero, equal(zeros, 1.0)), rest, 0)
    others = where_v2(equal(zeros, 0.0), realdiv(rest, filled), alone)
    return [multiply(keep_axes(grad, op.attrs), others)]


@gradient_of("Max", "Min")
def _extreme_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    """The gradient is shared equally by all elements that attain the extreme value, as in TensorFlow."""
    x = op.inputs[0]
    hits = cast(equal(x, keep_axes(op.outputs[0], op.attrs)), x.base_dtype)
    ties = reduce_sum(hits, list(op.attrs.axis), keepdims=True)
    return [multiply(realdiv(hits, ties), keep_axes(grad, op.attrs))]
