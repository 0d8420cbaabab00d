"""Feeds: keys become tensors, values become arrays that a plan can read in place."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from graphflow.framework.build import as_array
from graphflow.framework.errors import DTypeError, FeedError, FeedTypeError
from graphflow.framework.graph import Graph
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.mapped_file import check_unchanged
from graphflow.framework.shapes import SymDim, format_shape
from graphflow.framework.tensor import Operation, Tensor

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


def _parts(key: Any) -> tuple[Any, ...] | None:
    """The keys a structured key stands for; None if it is a tensor or a name."""
    if isinstance(key, (tuple, list)):
        return tuple(key)
    if isinstance(key, IndexedSlices):
        return tuple(t for t in (key.values, key.indices, key.dense_shape) if t is not None)
    composite = getattr(key, "_fetch_parts", None)
    return None if composite is None else tuple(composite()[0])


def flatten_feeds(graph: Graph, feed_dict: Mapping[Any, Any]) -> dict[Tensor, Any]:
    """Tensors to values; keys that are tuples (or named tuples) of tensors are fed part by part."""
    result: dict[Tensor, Any] = {}
    todo = list(feed_dict.items())[::-1]
    while todo:
        key, value = todo.pop()
        parts = _parts(key)
        if parts is not None:
            if not isinstance(value, (tuple, list)) or len(value) < len(parts):
                raise FeedTypeError(f"feed_dict key {key!r} is a structure of {len(parts)}: its value must be one, too")
            todo += reversed(list(zip(parts, value, strict=False)))
            continue
        t = feed_tensor(graph, key)
        if t in result:
            raise FeedError(f"Tensor {t.name} is fed more than once.")
        result[t] = value
    return result


class FeedConverter:
    """Turns the value fed for one tensor into a C-contiguous, aligned array of its dtype; the usual case costs 200 ns."""

    __slots__ = ("char", "dtype", "is_float", "is_integer", "is_string", "rank", "shape", "static", "tensor")

    def __init__(self, tensor: Tensor) -> None:
        self.tensor = tensor
        self.dtype = tensor.base_dtype.numpy_dtype
        # Arrays of objects are never taken as they are: they may hold str, or what is no string at all.
        self.char = "" if tensor.base_dtype.kind == "S" else self.dtype.char
        self.is_float = tensor.base_dtype.is_floating
        self.is_integer = tensor.base_dtype.is_integer
        self.is_string = tensor.base_dtype.kind == "S"
        self.shape = tensor._shape
        self.rank = -1 if self.shape is None else len(self.shape)
        known = self.shape is not None and all(isinstance(d, int) for d in self.shape)
        self.static = self.shape if known else None

    def __call__(self, value: Any) -> Array:
        # Native code compares format characters: numpy has two that mean int64, and both compare equal.
        if type(value) is np.ndarray and value.dtype == self.dtype and value.dtype.char == self.char and value.flags.carray:
            if self.static is None or value.shape != self.static:
                self.check(value.shape)
            return value
        if type(value) is float and self.is_float and -6e4 < value < 6e4:  # float16, the narrowest, holds up to 65504
            array = np.asarray(value, self.dtype)
            if self.rank > 0:
                self.check(())
            return array
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
        check_unchanged(value)
        array = self._strings(value) if self.is_string else self._numbers(value)
        self.check(array.shape)
        return array

    def _strings(self, value: Any) -> Array:
        try:
            return as_array(value, self.tensor.base_dtype)
        except DTypeError as e:
            raise FeedTypeError(f"{self._cannot(value)}: {e}") from None

    def _numbers(self, value: Any) -> Array:
        try:
            array = np.asarray(value)
        except ValueError as e:  # ragged
            raise FeedTypeError(f"{self._cannot(value)}: {e}") from None
        if array.dtype.kind not in "fiubV" or (array.dtype.kind == "V" and array.dtype != self.dtype):
            if array.dtype == object and array.size and all(type(v) is int for v in array.flat):
                return self._large_integers(value, array)
            raise FeedTypeError(f"{self._cannot(value)}: values of dtype {array.dtype} are not numbers of one regular shape.")
        if self.is_integer and array.dtype != self.dtype:
            self._check_range(value, array)
        with np.errstate(all="ignore"):
            array = np.asarray(array, dtype=self.dtype, order="C")
        if not array.flags.aligned or not array.flags.c_contiguous:
            array = np.array(array, dtype=self.dtype, order="C", copy=True)
        # int64 and such have two characters, of which native code knows only the one of this dtype.
        return array if array.dtype.char == self.char else array.view(self.dtype)

    def _large_integers(self, value: Any, array: Array) -> Array:
        """Python's integers in an array of objects, as numpy makes it of those beyond 64 bits."""
        try:
            return array.astype(self.dtype)
        except OverflowError:
            raise DTypeError(f"{self._cannot(value)}: it is out of the range of {self.tensor.base_dtype.name}.") from None

    def _cannot(self, value: Any) -> str:
        shown = repr(value)
        shown = shown if len(shown) <= 60 else f"a value of type {type(value).__name__}"
        return f"Cannot feed {shown} for Tensor {self.tensor.name}, which has dtype {self.tensor.base_dtype.name}"

    def _check_range(self, value: Any, array: Array) -> None:
        """Numbers that an integer type cannot hold are an error; fractions are truncated, as TensorFlow does."""
        if not array.size or array.dtype.kind == "b":
            return
        info = np.iinfo(self.dtype)
        low, high = array.min(), array.max()
        if array.dtype.kind in "iu":
            fits = int(low) >= info.min and int(high) <= info.max
        else:  # NaN fails both; the largest int64 is no float, the power of two above it is
            fits = bool(float(low) > float(info.min) - 1 or float(low) == float(info.min)) and bool(
                float(high) < float(int(info.max) + 1)
            )
        if not fits:
            raise DTypeError(f"{self._cannot(value)}: it is out of the range of {self.tensor.base_dtype.name}.")


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
