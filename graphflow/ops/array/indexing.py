"""Python's indexing of tensors: ``x[1]``, ``x[..., 0]``, ``x[:, None]``, ``x[::-1]``, ``x[i:j]``, ``x[t]``."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_to_tensor, is_tensor_like, name_scope
from graphflow.framework.dtypes import int32, int64
from graphflow.framework.errors import ArgumentError
from graphflow.framework.kinds import Elementwise
from graphflow.framework.registry import OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Dimension
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.arguments import whole
from graphflow.ops.array.axis import AxisAttrs
from graphflow.ops.array.concat import stack
from graphflow.ops.array.gather import gather_dense
from graphflow.ops.array.shape import shape
from graphflow.ops.array.strided_slice import StridedSliceAttrs, sliced
from graphflow.ops.math.cast import cast

_WHOLE = slice(None)


def _from_front_reference(attrs: AxisAttrs, index: Any, size: Any) -> Any:
    bad = (index < -size) | (index >= size)
    if np.any(bad):
        raise ValueError(f"slice index {np.asarray(index)[bad].ravel()[0]} of dimension {attrs.axis} out of bounds.")
    return np.where(index < 0, index + size, index).astype(index.dtype)


INDEX_FROM_FRONT = register(
    OpDef(
        "IndexFromFront",
        Elementwise(
            lambda b, attrs, index, size: b.select(b.lt(index, 0), b.add(index, size), index),
            check=lambda b, attrs, index, size: b.or_(b.lt(index, b.neg(size)), b.ge(index, size)),
            check_message=lambda attrs: f"slice index of dimension {attrs.axis} out of bounds.",
        ),
        lambda ctx, attrs, index, size: (index,),
        _from_front_reference,
        lambda: [Sample((np.asarray(i, np.int32), np.asarray(3, np.int32)), AxisAttrs(0), gradient=False) for i in (1, -1)],
        grad=not_differentiable("integers"),
        attrs=AxisAttrs,
        dtypes=(int32, int64),
        doc="An index counted from the front; the run fails if the axis has none such.",
    )
)


def getitem(x: Tensor, key: Any) -> Tensor:
    """``x[key]`` for integers, slices, Ellipsis, tf.newaxis and scalar integer tensors. A list is read as a tuple.

    Raises:
        TypeError: anything else; there is no indexing by arrays (use tf.gather or tf.boolean_mask).
        ShapeError: too many indices, or one out of bounds.
    """
    items = list(key) if isinstance(key, (tuple, list)) else [key]
    if sum(1 for item in items if item is Ellipsis) > 1:
        raise ArgumentError("Multiple ellipses in slice spec not allowed")
    for item in items:
        _check(item)
    with name_scope("strided_slice", values=[x]) as scope:
        # A gather where a run knows an index, slices with run-time bounds next, and otherwise one strided slice.
        if any(_runtime(item) for item in items):
            return _picked(x, items, scope)
        if any(isinstance(item, slice) and (_runtime(item.start) or _runtime(item.stop)) for item in items):
            return _windows(x, items, scope)
        return _strided(x, items, scope)


def _check(item: Any) -> None:
    if isinstance(item, slice):
        for bound in (item.start, item.stop, item.step):
            if bound is not None:
                _check_integer(bound)
    elif item is not None and item is not Ellipsis:
        _check_integer(item)


def _check_integer(item: Any) -> None:
    if is_tensor_like(item):
        t = convert_to_tensor(item)
        valid = t.base_dtype in (int32, int64) and t._shape in ((), None)
    elif isinstance(item, Dimension):
        valid = item.value is not None
    else:
        valid = not isinstance(item, (bool, np.bool_, np.ndarray)) and hasattr(item, "__index__")
    if valid:
        return
    raise TypeError(
        "Only integers, slices (`:`), ellipsis (`...`), tf.newaxis (`None`) and scalar tf.int32/tf.int64 tensors are "
        f"valid indices, got {item!r}"
    )


def _runtime(item: Any) -> bool:
    """Whether it is a number that only a run knows."""
    return is_tensor_like(item) and convert_to_tensor(item).static_value() is None


def _trivial(item: Any) -> bool:
    return item is Ellipsis or (isinstance(item, slice) and item == _WHOLE)


def _strided(x: Tensor, items: list[Any], scope: str) -> Tensor:
    """The index as one strided slice: its bounds are known, perhaps in terms of sizes."""
    return sliced(x, *slice_operands(items), scope)


def slice_operands(items: list[Any]) -> tuple[Tensor, Tensor, Tensor, StridedSliceAttrs]:
    """Begin, end and strides of a strided slice that means the index, and its masks."""
    begin: list[Any] = []
    end: list[Any] = []
    strides: list[Any] = []
    masks = {"begin_mask": 0, "end_mask": 0, "ellipsis_mask": 0, "new_axis_mask": 0, "shrink_axis_mask": 0}
    for k, item in enumerate(items):
        b, e, s = 0, 0, 1
        if isinstance(item, slice):
            masks["begin_mask"] |= (item.start is None) << k
            masks["end_mask"] |= (item.stop is None) << k
            b, e = 0 if item.start is None else item.start, 0 if item.stop is None else item.stop
            s = 1 if item.step is None else item.step
        elif item is Ellipsis:
            masks["ellipsis_mask"] |= 1 << k
        elif item is None:
            masks["new_axis_mask"] |= 1 << k
        else:
            # For -1 the end is 0, which as a slice would be empty; an entry of the shrink mask has no end.
            b, e = item, item + 1
            masks["shrink_axis_mask"] |= 1 << k
        begin.append(b)
        end.append(e)
        strides.append(s)
    return _vector(begin), _vector(end), _vector(strides), StridedSliceAttrs(**masks)


def _vector(items: list[Any]) -> Tensor:
    if any(is_tensor_like(i) for i in items):
        # What is constant is folded: a step must be known where that is possible.
        known = [convert_to_tensor(i).static_value() if is_tensor_like(i) else i for i in items]
        if all(isinstance(i, int) for i in known):
            return _vector(known)
    bounds = [convert_to_tensor(i) if is_tensor_like(i) else whole(i, "a bound") for i in items]
    wide = any(i.base_dtype is int64 if isinstance(i, Tensor) else not -(2**31) <= i < 2**31 for i in bounds)
    dtype = int64 if wide else int32
    if any(isinstance(i, Tensor) for i in bounds):
        return stack([cast(i, dtype) if isinstance(i, Tensor) else convert_to_tensor(i, dtype) for i in bounds])
    return convert_to_tensor(np.array(bounds, dtype.numpy_dtype), name="stack")


def _axis_of(x: Tensor, items: list[Any], k: int) -> int:
    """The axis of x that items[k] speaks of."""
    before = [item for item in items[:k] if item is not None]
    # An ellipsis takes as many axes as are left, so what stands behind it is counted from the end.
    if not any(item is Ellipsis for item in before):
        return len(before)
    if x._shape is None:
        raise ArgumentError("an index known only at run time cannot stand behind an ellipsis where the rank is unknown")
    return len(x._shape) - sum(1 for item in items[k:] if item is not None)


def _picked(x: Tensor, items: list[Any], scope: str) -> Tensor:
    """An index with scalar tensors that only a run knows: their axes are gathered, then the other items apply as usual."""
    picks = [k for k, item in enumerate(items) if _runtime(item)]
    rest = [item for k, item in enumerate(items) if k not in picks]
    last = all(_trivial(item) for item in rest)
    # From the last to the first, so that the axes still to be gathered keep their numbers.
    for k in reversed(picks):
        axis = _axis_of(x, items[: k + 1] + [i for i in items[k + 1 :] if not _runtime(i)], k)
        t = convert_to_tensor(items[k])
        size = shape(x, out_type=t.base_dtype)[axis]
        # A gather takes no negative index, and the sign is known only in the run.
        from_front = build(INDEX_FROM_FRONT, (t, size), AxisAttrs(axis))
        x = gather_dense(x, from_front, axis, scope if last and k == picks[0] else None)
    return x if last else getitem(x, tuple(rest))


def _windows(x: Tensor, items: list[Any], scope: str) -> Tensor:
    """An index with slices whose bounds only a run knows. They come last, so that the other axes keep their static sizes."""
    late = [k for k, i in enumerate(items) if isinstance(i, slice) and (_runtime(i.start) or _runtime(i.stop))]
    early = [_WHOLE if k in late else item for k, item in enumerate(items)]
    if all(_trivial(item) or item is None for item in early):
        return _strided(x, items, scope)
    kept = [k for k, item in enumerate(items) if item is Ellipsis or item is None or isinstance(item, slice)]
    rest = [items[k] if k in late or items[k] is Ellipsis else _WHOLE for k in kept]
    return _strided(getitem(x, tuple(early)), rest, scope)
