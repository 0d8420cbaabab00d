"""Python's operators on Tensors: ``x + 1``, ``2 ** x``, ``a @ b``, ``x < y``, ``~mask``, ``x[0]``; and slices used as tensors.

The ops get TensorFlow's names: ``x + y`` makes ``add``, while ``tf.add(x, y)`` makes ``Add``. All tensors have these operators,
so this module is loaded before the first of them; it loads the families that it needs when an operator is first used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.build import register_tensor_conversion
from graphflow.framework.dtypes import DType, bool_
from graphflow.framework.errors import DTypeError
from graphflow.framework.indexed_slices import IndexedSlices
from graphflow.framework.registry import lookup
from graphflow.framework.tensor import Tensor, install_operators
from graphflow.ops._define.operands import build_binary, build_unary

_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, np.ndarray, np.generic)


def _operator(op: str, name: str) -> tuple[Callable[[Tensor, Any], Any], Callable[[Tensor, Any], Any]]:
    """``x <op> y`` and its reflected form."""
    reflected = f"__r{name}__"

    def forward(x: Tensor, y: Any) -> Any:
        try:
            return build_binary(lookup(op), x, y, name)
        except DTypeError:
            # Python then asks y's own method, as for any two types.
            if defers(y, reflected):
                return NotImplemented
            raise

    def backward(x: Tensor, y: Any) -> Any:
        return build_binary(lookup(op), y, x, name)

    return forward, backward


def defers(y: Any, method: str) -> bool:
    """Whether y, which cannot become a tensor, has an operator of its own that may take one."""
    return not isinstance(y, (Tensor, *_PLAIN)) and hasattr(type(y), method)


def _truediv(x: Tensor, y: Any) -> Any:
    from graphflow.ops.math.binary import truediv

    return truediv(x, y)


def _rtruediv(x: Tensor, y: Any) -> Any:
    from graphflow.ops.math.binary import truediv

    return truediv(y, x)


def _matmul(x: Tensor, y: Any) -> Any:
    from graphflow.ops.math.matmul import matmul

    return matmul(x, y, name="matmul")


def _rmatmul(x: Tensor, y: Any) -> Any:
    from graphflow.ops.math.matmul import matmul

    return matmul(y, x, name="matmul")


def _logic(name: str) -> tuple[Callable[[Tensor, Any], Any], Callable[[Tensor, Any], Any]]:
    """``&``, ``|``, ``^``: on bools the logical operation, on integers the bitwise one."""

    def function(x: Tensor) -> Callable[..., Any]:
        from graphflow.ops.math import bitwise, compare

        found: Callable[..., Any] = (
            getattr(bitwise, f"bitwise_{name}") if x.base_dtype.is_integer else getattr(compare, f"logical_{name}")
        )
        return found

    return lambda x, y: function(x)(x, y, name), lambda x, y: function(x)(y, x, name)


def _comparison(name: str) -> Callable[[Tensor, Any], Any]:
    def compared(x: Tensor, y: Any) -> Any:
        from graphflow.ops.math import compare

        return getattr(compare, name)(x, y)

    return compared


def _invert(x: Tensor) -> Tensor:
    from graphflow.ops.math import bitwise, compare

    return compare.logical_not(x) if x.base_dtype is bool_ else bitwise.invert(x)


def _getitem(x: Tensor, key: Any) -> Any:
    from graphflow.ops.array.indexing import getitem

    return getitem(x, key)


def _table() -> dict[str, Callable[..., Any]]:
    # Without __eq__ and __ne__: tensors are dict keys, and equal only to themselves.
    table: dict[str, Callable[..., Any]] = {
        "__neg__": lambda x: build_unary(lookup("Neg"), x, None),
        "__abs__": lambda x: build_unary(lookup("Abs"), x, None),
        "__invert__": _invert,
        "__getitem__": _getitem,
        "__truediv__": _truediv,
        "__rtruediv__": _rtruediv,
        "__matmul__": _matmul,
        "__rmatmul__": _rmatmul,
        "__lt__": _comparison("less"),
        "__le__": _comparison("less_equal"),
        "__gt__": _comparison("greater"),
        "__ge__": _comparison("greater_equal"),
    }
    arithmetic = {"add": "AddV2", "sub": "Sub", "mul": "Mul", "floordiv": "FloorDiv", "mod": "FloorMod", "pow": "Pow"}
    for name, op in arithmetic.items():
        table[f"__{name}__"], table[f"__r{name}__"] = _operator(op, name)
    for name in ("and", "or", "xor"):
        table[f"__{name}__"], table[f"__r{name}__"] = _logic(name)
    return table


def _slices_as_tensor(value: IndexedSlices, dtype: DType | None, name: str | None) -> Tensor:
    from graphflow.ops.array.scatter import densify

    return densify(value, name)


install_operators(_table())
register_tensor_conversion(IndexedSlices, _slices_as_tensor)
