"""Conversion of Python values to tensors, and `build`, through which every user-facing function adds its op."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.dtypes import DType, as_dtype, bool_, float32, int32, int64, string, uint64
from graphflow.framework.errors import ArgumentError, ConversionError, DTypeError
from graphflow.framework.graph import Graph
from graphflow.framework.mapped_file import check_unchanged
from graphflow.framework.registry import NO_ATTRS, OpDef, TensorValue, lookup
from graphflow.framework.tensor import Operation, Tensor

_conversions: list[tuple[type, Callable[..., Tensor]]] = []


def register_tensor_conversion(cls: type, function: Callable[..., Tensor]) -> None:
    """Makes `function(value, dtype, name) -> Tensor` the conversion of instances of cls (Variable, IndexedSlices ...)."""
    _conversions.append((cls, function))


def as_array(value: Any, dtype: DType | None = None) -> np.ndarray[Any, Any]:
    """A Python or numpy value as an array of `dtype`, or of the dtype TensorFlow gives it (float32, int32, bool, string).

    Raises:
        DTypeError: the value does not fit `dtype` (1.5 as int32, a string as float, 2**40 as int32, ragged lists).
    """
    if isinstance(value, TensorValue):
        value = value.array
    if isinstance(value, (np.ndarray, np.generic)):
        check_unchanged(value)
        array = np.asarray(value)
        found = as_dtype(array.dtype)
        # Kernels read numbers in the machine's byte order; arrays read from files may have the other one.
        if array.dtype.byteorder not in "=|" and array.dtype.kind not in "SU":
            array = array.astype(array.dtype.newbyteorder("="))
    else:
        try:
            array = np.asarray(_plain(value))
        except ArgumentError:
            raise
        except ValueError as e:
            raise DTypeError(f"{_brief(value)} is ragged or not numeric, so it cannot become a tensor: {e}") from None
        if array.dtype == object:
            array, found = _object_array(array, value)
        elif array.dtype.kind in "SU":
            # Anew, because numpy's own strings lose the NULs at their end, and numbers beside them become text.
            array, found = _object_array(np.asarray(_plain(value), object), value)
        # Python's numbers have no precision of their own and become float32 or int32, as in
        # TensorFlow. A list of numpy scalars keeps its 64 bits.
        elif array.dtype.kind == "f":
            found = float32 if not _has_numpy_float64(value) else as_dtype(np.float64)
        elif array.dtype.kind in "iu":
            small = _fits(array, np.int32) and not _has_numpy_int64(value)
            found = int32 if small else int64 if _fits(array, np.int64) else uint64
        else:
            found = as_dtype(array.dtype)
            if array.size == 0 and dtype is None:
                found = float32
    want = found if dtype is None else dtype.base_dtype
    if want is string or found is string:
        if want is not found:
            raise DTypeError(f"Expected {want.name}, got {_brief(value)} of type '{found.name}' instead.")
        return _bytes_array(array)
    # As in TensorFlow, numpy's arrays and scalars are cast whatever they are, and Python's bools are numbers; but Python's
    # floats are no integers, and its numbers no bools.
    if array.size and found is not want:
        if not isinstance(value, (np.ndarray, np.generic)) and (
            (want.is_integer and found.is_floating) or (want.is_bool and not found.is_bool)
        ):
            raise DTypeError(f"Expected {want.name}, got {_brief(value)} of type '{_type_name(value)}' instead.")
        # Small and unsigned integers wrap, as in TensorFlow: -1 is 255 as uint8.
        if want.is_integer and want in (int32, int64) and not _fits(array, want.numpy_dtype):
            raise DTypeError(f"{_brief(value)} does not fit into {want.name}: it is out of range.")
    # 1e300 becomes infinity in float32, as a cast in a kernel makes it, without numpy's warning.
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array.astype(want.numpy_dtype, copy=False), order="C")


def _plain(value: Any) -> Any:
    """`value` with ints for Dimension objects, also inside lists: numpy would make an object array of them."""
    if isinstance(value, (list, tuple)):
        return [_plain(v) for v in value]
    if hasattr(value, "as_list"):
        return value.as_list()
    if type(value).__name__ != "Dimension":
        return value
    if value.value is None:
        raise ArgumentError(
            "Cannot convert an unknown Dimension to a Tensor: its size is known in a run only; use tf.shape(x)[k]"
        )
    return int(value)


def _object_array(array: np.ndarray[Any, Any], value: Any) -> tuple[np.ndarray[Any, Any], DType]:
    flat = array.ravel()
    if flat.size and all(isinstance(v, (str, bytes)) for v in flat):
        return array, string
    if flat.size and all(isinstance(v, int) for v in flat):
        raise DTypeError(f"{_brief(value)} does not fit into int64 or uint64: it is out of range.")
    if any(isinstance(v, (str, bytes)) for v in flat):
        other = next(v for v in flat if not isinstance(v, (str, bytes)))
        raise DTypeError(
            f"Expected string, got {_brief(other)} of type '{type(other).__name__}' beside strings: {_brief(value)}"
        )
    if any(v is None for v in flat):
        raise DTypeError(f"None values not supported: {_brief(value)} cannot become a tensor.")
    raise DTypeError(
        f"{_brief(value)} of type '{type(value).__name__}' cannot become a tensor: Failed to convert object to Tensor. "
        "Contents must be numbers, bools or strings of one regular shape."
    )


def _bytes_array(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    out = np.empty(array.shape, dtype=object)
    for i, v in np.ndenumerate(array):
        if not isinstance(v, (str, bytes, bytearray)):  # of an int, `bytes` would make so many NULs
            raise _no_string(v)
        out[i] = v.encode() if isinstance(v, str) else bytes(v)
    return out


def _no_string(value: Any) -> DTypeError:
    return DTypeError(f"Expected string, got {_brief(value)} of type '{type(value).__name__}' instead.")


def _fits(array: np.ndarray[Any, Any], numpy_dtype: Any) -> bool:
    if array.size == 0 or array.dtype.kind not in "iu":
        return True
    info = np.iinfo(numpy_dtype)
    # Negative numbers stand for the unsigned ones of the same bits, as in TensorFlow: -1 for all bits.
    lowest = info.min if info.min else -(info.max + 1) // 2
    return int(array.min()) >= lowest and int(array.max()) <= info.max


def _leaf(value: Any) -> Any:
    while isinstance(value, (list, tuple)) and value:
        value = value[0]
    return value


def _has_numpy_float64(value: Any) -> bool:
    leaf = _leaf(value)
    return isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype == np.float64


def _has_numpy_int64(value: Any) -> bool:
    leaf = _leaf(value)
    return isinstance(leaf, (np.ndarray, np.generic)) and leaf.dtype == np.int64


def _type_name(value: Any) -> str:
    leaf = _leaf(value)
    return type(leaf).__name__


def _brief(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def constant(value: Any, dtype: Any = None, shape: Any = None, name: str = "Const") -> Tensor:
    """A constant tensor. The value is copied. `shape` reshapes; a value that is too short is padded with its last element."""
    array = as_array(value, None if dtype is None else as_dtype(dtype))
    if shape is not None:
        dims = tuple(int(d) for d in (shape if hasattr(shape, "__iter__") else [shape]))
        count = int(np.prod(dims, dtype=np.int64))
        if array.size > count or (array.size == 0 and count):
            raise ArgumentError(f"constant: a value of {array.size} elements does not fill shape {dims} ({count} elements)")
        flat = array.ravel()
        if flat.size < count:
            # TensorFlow's rule for values that are too short: the last element is repeated.
            flat = np.concatenate([flat, np.repeat(flat[-1:], count - flat.size)])
        array = flat.reshape(dims)
    # TensorFlow's limit: there a graph is one protobuf message.
    if array.nbytes >= 2**31:
        raise ArgumentError(
            f"constant: {array.nbytes} bytes; Cannot create a tensor proto whose content is larger than 2GB: feed it or use "
            "a Variable."
        )
    op = lookup("Const")
    return graph_for(()).create_op(op, (), op.attrs(TensorValue(array)), name).outputs[0]


def convert_to_tensor(value: Any, dtype: Any = None, name: str | None = None, preferred_dtype: Any = None) -> Tensor:
    """`value` as a Tensor: itself, a Variable's value, a densified IndexedSlices, or a constant.

    Raises:
        DTypeError: a Tensor of another dtype than `dtype` (there are no implicit casts), or a value that does not fit.
    """
    want = None if dtype is None else as_dtype(dtype).base_dtype
    if isinstance(value, Tensor):
        if want is not None and value.base_dtype is not want:
            raise ConversionError(
                f"Tensor conversion requested dtype {want.name} for Tensor with dtype {value.base_dtype.name}: {value!r}. "
                "Cast it with tf.cast."
            )
        return value
    for cls, function in _conversions:
        if isinstance(value, cls):
            return convert_to_tensor(function(value, want, name), want)
    if isinstance(value, (list, tuple)) and _contains_tensor(value):
        pack = lookup("Pack")
        # The first item that is no number gives the dtype: in [1, x, 2] the numbers take that of x.
        # It is converted once, because converting a nested list adds ops to the graph.
        known = next(v for v in value if not _is_number(v))
        first = convert_to_tensor(known, want)
        parts = [first if v is known else convert_to_tensor(v, first.base_dtype) for v in value]
        return first.graph.create_op(pack, parts, pack.attrs(0), name or "packed").outputs[0]
    if isinstance(value, Operation):
        raise DTypeError(f"Can't convert Operation '{value.name}' to Tensor")
    if want is None and preferred_dtype is not None:
        try:
            return constant(value, preferred_dtype, name=name or "Const")
        except DTypeError:
            pass
    return constant(value, want, name=name or "Const")


def _is_number(v: Any) -> bool:
    return isinstance(v, (int, float, np.generic)) or type(v).__name__ == "Dimension"


def _contains_tensor(value: Any) -> bool:
    # A loop, not recursion: lists may be nested deeper than Python's stack.
    todo = list(value)
    while todo:
        v = todo.pop()
        if isinstance(v, Tensor) or any(isinstance(v, cls) for cls, _ in _conversions):
            return True
        if isinstance(v, (list, tuple)):
            todo += v
    return False


def convert_pair(x: Any, y: Any, dtype: Any = None) -> tuple[Tensor, Tensor]:
    """Two operands as tensors: a Python or numpy value takes the dtype of the tensor on the other side."""
    x_is, y_is = is_tensor_like(x), is_tensor_like(y)
    if x_is or not y_is:
        a = convert_to_tensor(x, dtype)
        return a, convert_to_tensor(y, a.base_dtype if not y_is else None, name="y")
    b = convert_to_tensor(y, dtype)
    return convert_to_tensor(x, b.base_dtype, name="x"), b


def is_tensor_like(value: Any) -> bool:
    if isinstance(value, Tensor):
        return True
    if type(value) in (int, float):  # the commonest other operands, without a walk through the conversions
        return False
    return any(isinstance(value, cls) for cls, _ in _conversions)


def graph_for(inputs: Sequence[Tensor]) -> Graph:
    """The graph an op on `inputs` goes to: theirs, else the default graph."""
    return inputs[0].graph if inputs else context.get_default_graph()


def build(op: OpDef | str, inputs: Sequence[Tensor] = (), attrs: Any = NO_ATTRS, name: str | None = None) -> Tensor:
    """Adds `op` on `inputs` (tensors) and returns its first output."""
    return build_op(op, inputs, attrs, name).outputs[0]


def build_op(op: OpDef | str, inputs: Sequence[Tensor] = (), attrs: Any = NO_ATTRS, name: str | None = None) -> Operation:
    """Adds `op` on `inputs` and returns the Operation (for several outputs or none)."""
    return graph_for(inputs).create_op(lookup(op) if isinstance(op, str) else op, inputs, attrs, name)


@contextmanager
def name_scope(name: str | None, default_name: str | None = None, values: Any = None) -> Iterator[str]:
    """``with name_scope(name, "Default", [inputs]):`` opens a scope in the graph of `values`, else in the default one.

    This is TensorFlow's ``tf.name_scope``.
    """
    graph = context.get_default_graph()
    for v in values or ():
        if isinstance(v, (Tensor, Operation)) or hasattr(v, "graph"):
            graph = v.graph
            break
    with graph.as_default(), graph.name_scope(default_name if name is None and default_name is not None else name) as s:
        yield s


__all__ = [
    "as_array", "bool_", "build", "build_op", "constant", "convert_pair", "convert_to_tensor", "graph_for", "is_tensor_like",
    "name_scope", "register_tensor_conversion",
]  # fmt: skip
