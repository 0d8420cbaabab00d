"""`sparse_placeholder`: a sparse tensor that every run feeds."""

from __future__ import annotations

from typing import Any

from graphflow.framework.build import name_scope
from graphflow.framework.dtypes import int64
from graphflow.framework.shapes import TensorShape
from graphflow.framework.sparse_tensor import SparseTensor
from graphflow.ops.array.source import placeholder


def sparse_placeholder(dtype: Any, shape: Any = None, name: str | None = None) -> SparseTensor:
    """A SparseTensor that is fed with a SparseTensorValue or a tuple (indices, values, dense_shape)."""
    rank = None if shape is None else TensorShape(shape).ndims
    with name_scope(name, "SparsePlaceholder"):
        return SparseTensor(
            placeholder(int64, [None, rank], name="indices"),
            placeholder(dtype, [None], name="values"),
            placeholder(int64, [rank], name="shape"),
        )
