"""`IndexedSlices`: a sparse gradient, given as some rows of a tensor and their indices."""

from __future__ import annotations

from typing import Any, NamedTuple

from graphflow.framework.dtypes import DType
from graphflow.framework.shapes import TensorShape
from graphflow.framework.tensor import Operation, Tensor


class IndexedSlicesValue(NamedTuple):
    """The arrays that fetching an IndexedSlices gives."""

    values: Any
    indices: Any
    dense_shape: Any


class IndexedSlices:
    """Rows of a tensor that is zero elsewhere: values[i] belongs to row indices[i], and repeated rows add up.

    Args:
        values: [k, ...].
        indices: int32 or int64 [k].
        dense_shape: the shape of the whole tensor as an integer vector; None where it is unknown, and then it cannot be
            made dense.
    """

    def __init__(self, values: Tensor, indices: Tensor, dense_shape: Tensor | None = None) -> None:
        self.values = values
        self.indices = indices
        self.dense_shape = dense_shape

    @property
    def dtype(self) -> DType:
        return self.values.dtype

    @property
    def name(self) -> str:
        return self.values.name

    @property
    def op(self) -> Operation:
        return self.values.op

    @property
    def graph(self) -> Any:
        return self.values.graph

    @property
    def device(self) -> str:
        return self.values.device

    @property
    def shape(self) -> TensorShape:
        value = None if self.dense_shape is None else self.dense_shape.static_value()
        if not isinstance(value, tuple):
            return TensorShape(None)
        return TensorShape([d if isinstance(d, int) else None for d in value])

    def get_shape(self) -> TensorShape:
        return self.shape

    def __neg__(self) -> IndexedSlices:
        return IndexedSlices(-self.values, self.indices, self.dense_shape)

    def __repr__(self) -> str:
        return f"IndexedSlices(indices={self.indices!r}, values={self.values!r}, dense_shape={self.dense_shape!r})"
