"""What is known, while the graph is built, of the results of calls that a run has to make (`framework.deferred`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from graphflow.framework.deferred import Arguments
from graphflow.framework.dtypes import DType
from graphflow.framework.kinds import TensorType
from graphflow.framework.shapes import Shape, fresh_dim
from graphflow.framework.tensor import Tensor

Types = Callable[[Arguments], Sequence[TensorType]]


def open_shape(rank: int) -> Shape:
    """Of a known rank, with no size known."""
    return tuple([fresh_dim() for _ in range(rank)])


def rank_of(t: Tensor) -> int | None:
    return None if t._shape is None else len(t._shape)


def length_of(value: Any) -> int | None:
    """How many numbers an argument such as a list of axes has; None if only a run knows."""
    if isinstance(value, Tensor):
        shape = value._shape
        if shape is None or (shape and not isinstance(shape[0], int)):
            return None
        return int(shape[0]) if shape else 1  # type: ignore[arg-type]
    return len(value) if isinstance(value, (list, tuple, range)) else 1


def like(parameter: str) -> Types:
    """One result of the type of an argument."""
    return lambda a: [a[parameter].type]


def any_shape(parameter: str, dtype: DType | None = None) -> Types:
    """One result of the dtype of an argument (or another), of a shape that is not known."""
    return lambda a: [TensorType(dtype or a[parameter].base_dtype, None)]


def same_rank(parameter: str, more: int = 0) -> Types:
    """One result of the rank of an argument, and `more`."""

    def types(a: Arguments) -> Sequence[TensorType]:
        rank = rank_of(a[parameter])
        return [TensorType(a[parameter].base_dtype, None if rank is None else open_shape(rank + more))]

    return types
