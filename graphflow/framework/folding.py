"""The values of small integer tensors that follow from constants alone, computed while the graph is built.

Shapes are often made of constants by ordinary ops: ``tf.range(tf.reduce_max([1, 3]))``. Inference asks here what such a tensor
holds, where the op itself does not say it in terms of sizes (`OpDef.shape_value`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from graphflow.framework.dtypes import as_dtype
from graphflow.framework.kinds import (
    ArgReduction,
    Elementwise,
    Gather,
    Generate,
    IndexMap,
    Reduction,
    ShapeValue,
    Source,
    TensorType,
    View,
)
from graphflow.framework.shapes import static_shape

if TYPE_CHECKING:
    from graphflow.framework.tensor import Operation, Tensor

Array = np.ndarray[Any, Any]

#: Operations looked at behind one tensor, and elements of one value: more is work for a run, not for inference.
MOST_STEPS, MOST_ELEMENTS = 64, 1024
#: Shapes have at most 32 axes, so a longer vector is data.
MOST_ENTRIES = 64
PURE = (Elementwise, Reduction, ArgReduction, View, IndexMap, Generate, Gather)


def folded_value(t: Tensor) -> ShapeValue | None:
    """The value of an integer scalar or vector that is computed from constants; None if it is not, or not small."""
    if t.base_dtype.kind not in "iu" or t._shape is None or len(t._shape) > 1 or not is_small(t._shape, MOST_ENTRIES):
        return None
    values: dict[Tensor, Array] = {}
    for op in _steps_to(t.op, values):
        out = op.outputs[0]
        result = computed(op.op_def, op.attrs, [values[i] for i in op.inputs], out.type)
        if result is None:
            return None
        values[out] = result
    array = values.get(t)
    if array is None:
        return None
    return int(array) if array.ndim == 0 else tuple([int(v) for v in array])


def _steps_to(op: Operation, values: dict[Tensor, Array]) -> list[Operation]:
    """The operations that op is computed with, in order, from constants and sizes, which go into `values`; none if it is
    computed from anything else, or with too many."""
    found: set[Operation] = set()
    todo = [op]
    while todo:
        op = todo.pop()
        if op in found:
            continue
        shape = op.outputs[0]._shape if isinstance(op.op_def.kind, PURE) and op.inputs else None
        if shape is None or len(found) == MOST_STEPS or not is_small(shape, MOST_ELEMENTS):
            return []
        found.add(op)
        for t in op.inputs:
            known = _known(t)
            if known is None:
                todo.append(t.op)
            else:
                values[t] = known
    return sorted(found, key=lambda op: op._id)


def _known(t: Tensor) -> Array | None:
    kind = t.op.op_def.kind
    if isinstance(kind, Source) and kind.what == "constant":
        array: Array = t.op.attrs.value.array
        return array if array.size <= MOST_ELEMENTS else None
    value = t._shape_value
    sizes = value if isinstance(value, tuple) else (value,)
    if value is None or not all(isinstance(d, int) for d in sizes):
        return None
    return np.asarray(value, t.base_dtype.numpy_dtype)


def is_small(shape: Sequence[Any], most: int) -> bool:
    known = static_shape(shape)
    return known is not None and int(np.prod(known, dtype=np.float64)) <= most


def computed(op: Any, attrs: Any, arrays: Sequence[Array], out: TensorType) -> Array | None:
    """What an op makes of arrays, by its numpy reference; None where it fails, which is then for the run to say."""
    kind = op.kind
    if op.reference is None:
        return None
    try:
        # Infinities and NaNs are results, and nothing to warn of.
        with np.errstate(all="ignore"):
            if isinstance(kind, Elementwise) and kind.can_fail([as_dtype(a.dtype) for a in arrays]):
                return None
            array = np.asarray(op.reference(attrs, *arrays), out.dtype.numpy_dtype)
    except Exception:
        return None
    return array if array.shape == out.shape else None
