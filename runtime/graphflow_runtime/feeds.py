"""What is fed: keys become tensors, values become arrays that a plan can read in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.core.build import as_array
from graphflow.core.graph import Graph
from graphflow.core.tensor import Operation, Tensor
from graphflow.errors import DTypeError, FeedError, FeedTypeError
from graphflow.shapes import SymDim, format_shape

Array = np.ndarray[Any, Any]


def feed_tensor(graph: Graph, key: Any) -> Tensor:
    """The tensor a feed key stands for. Raises FeedTypeError, in TensorFlow's words, if it stands for none."""
    try:
        element = graph.as_graph_element(key, allow_operation=False)
    except (KeyError, ValueError, TypeError) as e:
        detail = e.args[0] if e.args else str(e)
        raise FeedTypeError(f"Cannot interpret feed_dict key as Tensor: {detail}") from None
    assert isinstance(element, Tensor)
    return element


def flatten_feeds(graph: Graph, feed_dict: Mapping[Any, Any]) -> dict[Tensor, Any]:
    """Tensors to values; keys that are tuples (or named tuples) of tensors are fed part by part."""
    result: dict[Tensor, Any] = {}
    todo = list(feed_dict.items())
    while todo:
        key, value = todo.pop(0)
        if isinstance(key, (tuple, list)):
            if not isinstance(value, (tuple, list)) or len(value) != len(key):
                raise FeedTypeError(f"feed_dict key {key!r} is a structure of {len(key)}: its value must be one, too")
            todo += list(zip(key, value, strict=True))
            continue
        result[feed_tensor(graph, key)] = value
    return result


class FeedConverter:
    """Turns the value fed for one tensor into a C-contiguous, aligned array of its dtype; the usual case costs 200 ns."""

    __slots__ = ("dtype", "rank", "shape", "static", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.dtype = tensor.base_dtype.numpy_dtype
        self.shape = tensor._shape
        self.rank = -1 if self.shape is None else len(self.shape)
        known = self.shape is not None and all(isinstance(d, int) for d in self.shape)
        self.static = self.shape if known else None

    def __call__(self, value: Any) -> Array:
        if type(value) is np.ndarray and value.dtype == self.dtype and value.flags.carray:
            if self.static is None:
                self.check(value.shape)
            elif value.shape != self.static:
                self.check(value.shape)
            return value
        return self.convert(value)

    def check(self, shape: tuple[int, ...]) -> None:
        if self.shape is None:
            return
        if len(shape) != self.rank or any(isinstance(d, int) and d != n for d, n in zip(self.shape, shape, strict=True)):
            raise FeedError(
                f"Cannot feed value of shape {shape} for Tensor {self.tensor.name}, which has shape "
                f"{format_shape(self.shape)}\n  fed to {self.tensor.op.type} created at {self.tensor.op.created_at}"
            )

    def convert(self, value: Any) -> Array:
        if isinstance(value, (Tensor, Operation)):
            raise FeedTypeError(
                "The value of a feed cannot be a tf.Tensor object. Acceptable feed values include Python scalars, "
                "strings, lists, numpy ndarrays."
            )
        if hasattr(value, "_as_graph_element"):
            raise FeedTypeError("The value of a feed cannot be a Variable: run it first and feed the result.")
        want = self.tensor.base_dtype
        if want.kind == "S":
            array = as_array(value, want)
        else:
            array = np.asarray(value)
            if array.dtype == object or array.dtype.kind in "SUmM":
                raise FeedTypeError(
                    f"Cannot feed {type(value).__name__} of dtype {array.dtype} for Tensor {self.tensor.name}, which has "
                    f"dtype {want.name}: Contents must be numbers of one regular shape."
                )
            self._check_range(value, array)
            with np.errstate(all="ignore"):
                array = np.asarray(array, dtype=self.dtype, order="C")
            if not array.flags.aligned or not array.flags.c_contiguous:
                array = np.array(array, dtype=self.dtype, order="C", copy=True)
        self.check(array.shape)
        return array

    def _check_range(self, value: Any, array: Array) -> None:
        want = self.tensor.base_dtype
        if array.size and want.is_integer and array.dtype.kind in "iu":
            info = np.iinfo(self.dtype)
            if int(array.min()) < info.min or int(array.max()) > info.max:
                raise DTypeError(
                    f"Cannot feed {array.max()} for Tensor {self.tensor.name}: it is out of the range of {want.name}."
                )


def check_named_sizes(tensors: Sequence[Tensor], arrays: Sequence[Array]) -> None:
    """A size the user named must be the same everywhere in one run."""
    sizes: dict[str, tuple[int, Tensor]] = {}
    for t, a in zip(tensors, arrays, strict=True):
        for axis, d in enumerate(t._shape or ()):
            if isinstance(d, SymDim) and not str(d).startswith("?"):
                known = sizes.setdefault(str(d), (a.shape[axis], t))
                if known[0] != a.shape[axis]:
                    raise FeedError(
                        f"Cannot feed value of shape {a.shape} for Tensor {t.name}: size '{d}' is {a.shape[axis]} here "
                        f"and {known[0]} in {known[1].name}"
                    )
