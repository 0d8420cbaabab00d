"""`SparseTensor`: three dense tensors that are fed and fetched as one value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from graphflow.framework.build import convert_to_tensor, name_scope
from graphflow.framework.dtypes import DType, int64
from graphflow.framework.errors import ArgumentError
from graphflow.framework.graph import Graph, Operation, Tensor
from graphflow.framework.shapes import TensorShape, to_public


class SparseTensorValue(NamedTuple):
    """What fetching a SparseTensor gives, and what may be fed for one."""

    indices: Any
    values: Any
    dense_shape: Any


class SparseTensor:
    """values[i] stands at position indices[i] of a tensor of shape `dense_shape`; everything else is zero.

    Args:
        indices: int64 [n, rank].
        values: [n], of any element type.
        dense_shape: int64 [rank].

    Raises:
        ValueError: the three do not go together.
    """

    def __init__(self, indices: Any, values: Any, dense_shape: Any) -> None:
        with name_scope(None, "SparseTensor", [indices, values, dense_shape]):
            self.indices: Tensor = convert_to_tensor(indices, int64, name="indices")
            self.values: Tensor = convert_to_tensor(values, name="values")
            self.dense_shape: Tensor = convert_to_tensor(dense_shape, int64, name="shape")
        for part, rank in (("indices", 2), ("values", 1), ("dense_shape", 1)):
            shape = getattr(self, part).shape
            if shape.ndims not in (None, rank):
                raise ArgumentError(f"SparseTensor: {part} must have rank {rank}, but its shape is {shape}")
        if not self.indices.shape[:1].is_compatible_with(self.values.shape):
            raise ArgumentError(
                f"SparseTensor: indices of shape {self.indices.shape} do not place values of shape {self.values.shape}"
            )

    @classmethod
    def from_value(cls, value: Any) -> SparseTensor:
        """A SparseTensorValue, or three values, as a SparseTensor; a SparseTensor as it is."""
        return value if isinstance(value, SparseTensor) else cls(*value)

    @property
    def dtype(self) -> DType:
        return self.values.dtype

    @property
    def op(self) -> Operation:
        return self.values.op

    @property
    def graph(self) -> Graph:
        return self.values.graph

    @property
    def shape(self) -> TensorShape:
        # Without a known shape the length of the shape vector still gives the rank.
        value = self.dense_shape.static_value()
        if isinstance(value, tuple):
            return to_public(value)
        rank = self.dense_shape.shape[0].value if self.dense_shape.shape.ndims == 1 else None
        return TensorShape(None if rank is None else [None] * rank)

    def get_shape(self) -> TensorShape:
        return self.shape

    def eval(self, feed_dict: Any = None, session: Any = None) -> SparseTensorValue:
        """The value, computed in the default (or given) session."""
        parts = (self.indices, self.values, self.dense_shape)
        if session is None:
            return SparseTensorValue(*(t.eval(feed_dict) for t in parts))
        value: SparseTensorValue = session.run(self, feed_dict)
        return value

    def _fetch_parts(self) -> tuple[tuple[Tensor, ...], Callable[..., SparseTensorValue]]:
        return (self.indices, self.values, self.dense_shape), SparseTensorValue

    def __repr__(self) -> str:
        return f"SparseTensor(indices={self.indices!r}, values={self.values!r}, dense_shape={self.dense_shape!r})"
