"""Python's operators on Tensors: ``x + 1``, ``2 ** x``, ``a @ b``, ``x < y``, ``~mask``, ``x[0]``.

The ops get TensorFlow's names: ``x + y`` makes ``add``, while ``tf.add(x, y)`` makes ``Add``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.dtypes import bool_
from graphflow.framework.errors import DTypeError
from graphflow.framework.registry import OpDef
from graphflow.framework.tensor import Tensor, install_operators
from graphflow.ops._define.operands import build_binary, build_unary
from graphflow.ops.array.indexing import getitem
from graphflow.ops.math import bitwise, compare
from graphflow.ops.math.binary import ADD_V2, FLOOR_DIV, FLOOR_MOD, MUL, POW, SUB, truediv
from graphflow.ops.math.matmul import matmul
from graphflow.ops.math.unary import ABS, NEG

_PLAIN = (bool, int, float, complex, str, bytes, list, tuple, np.ndarray, np.generic)


def _operator(op: OpDef, name: str) -> tuple[Callable[[Tensor, Any], Any], Callable[[Tensor, Any], Any]]:
    """``x <op> y`` and its reflected form."""
    reflected = f"__r{name}__"

    def forward(x: Tensor, y: Any) -> Any:
        try:
            return build_binary(op, x, y, name)
        except DTypeError:
            # Python then asks y's own method, as for any two types.
            if defers(y, reflected):
                return NotImplemented
            raise

    def backward(x: Tensor, y: Any) -> Any:
        return build_binary(op, y, x, name)

    return forward, backward


def defers(y: Any, method: str) -> bool:
    """Whether y, which cannot become a tensor, has an operator of its own that may take one."""
    return not isinstance(y, (Tensor, *_PLAIN)) and hasattr(type(y), method)


def _truediv(x: Tensor, y: Any) -> Any:
    return truediv(x, y)


def _rtruediv(x: Tensor, y: Any) -> Any:
    return truediv(y, x)


def _matmul(x: Tensor, y: Any) -> Any:
    return matmul(x, y, name="matmul")


def _rmatmul(x: Tensor, y: Any) -> Any:
    return matmul(y, x, name="matmul")


def _logic(name: str) -> tuple[Callable[[Tensor, Any], Any], Callable[[Tensor, Any], Any]]:
    """``&``, ``|``, ``^``: on bools the logical operation, on integers the bitwise one."""
    logical: Callable[..., Tensor] = getattr(compare, f"logical_{name}")
    bits: Callable[..., Tensor] = getattr(bitwise, f"bitwise_{name}")

    def forward(x: Tensor, y: Any) -> Any:
        return (bits if x.base_dtype.is_integer else logical)(x, y, name)

    def backward(x: Tensor, y: Any) -> Any:
        return (bits if x.base_dtype.is_integer else logical)(y, x, name)

    return forward, backward


def _comparison(function: Callable[..., Tensor]) -> Callable[[Tensor, Any], Any]:
    return lambda x, y: function(x, y)


def _invert(x: Tensor) -> Tensor:
    return compare.logical_not(x) if x.base_dtype is bool_ else bitwise.invert(x)


def _getitem(x: Tensor, key: Any) -> Any:
    return getitem(x, key)


def _table() -> dict[str, Callable[..., Any]]:
    # Without __eq__ and __ne__: tensors are dict keys, and equal only to themselves.
    table: dict[str, Callable[..., Any]] = {
        "__neg__": lambda x: build_unary(NEG, x, None),
        "__abs__": lambda x: build_unary(ABS, x, None),
        "__invert__": _invert,
        "__getitem__": _getitem,
        "__truediv__": _truediv,
        "__rtruediv__": _rtruediv,
        "__matmul__": _matmul,
        "__rmatmul__": _rmatmul,
        "__lt__": _comparison(compare.less),
        "__le__": _comparison(compare.less_equal),
        "__gt__": _comparison(compare.greater),
        "__ge__": _comparison(compare.greater_equal),
    }
    arithmetic = {"add": ADD_V2, "sub": SUB, "mul": MUL, "floordiv": FLOOR_DIV, "mod": FLOOR_MOD, "pow": POW}
    for name, op in arithmetic.items():
        table[f"__{name}__"], table[f"__r{name}__"] = _operator(op, name)
    for name in ("and", "or", "xor"):
        table[f"__{name}__"], table[f"__r{name}__"] = _logic(name)
    return table


install_operators(_table())
