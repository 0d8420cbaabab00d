"""Trigonometric and hyperbolic functions, element by element."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.registry import register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import binary_op, unary_op
from graphflow.ops._define.operands import build_binary, build_unary

SIN = register(
    unary_op(
        "Sin", lambda b, attrs, x: b.call("sin", x), np.sin,
        "Sine of an angle in radians.", cheap=False, onnx="Sin",
    )
)  # fmt: skip
COS = register(
    unary_op(
        "Cos", lambda b, attrs, x: b.call("cos", x), np.cos, "Cosine of an angle in radians.", cheap=False,
        onnx="Cos",
    )
)  # fmt: skip
TAN = register(
    unary_op(
        "Tan", lambda b, attrs, x: b.call("tan", x), np.tan, "Tangent of an angle in radians.", low=-1.2,
        high=1.2,
        cheap=False, onnx="Tan",
    )
)  # fmt: skip


def sin(x: Any, name: str | None = None) -> Tensor:
    """Sine of x in radians."""
    return build_unary(SIN, x, name)


def cos(x: Any, name: str | None = None) -> Tensor:
    """Cosine of x in radians."""
    return build_unary(COS, x, name)


def tan(x: Any, name: str | None = None) -> Tensor:
    """Tangent of x in radians."""
    return build_unary(TAN, x, name)


ASIN = register(
    unary_op(
        "Asin", lambda b, attrs, x: b.call("asin", x), np.arcsin,
        "Inverse sine, in radians.", low=-0.8, high=0.8, cheap=False, onnx="Asin",
    )
)  # fmt: skip
ACOS = register(
    unary_op(
        "Acos", lambda b, attrs, x: b.call("acos", x), np.arccos, "Inverse cosine, in radians.", low=-0.8, high=0.8,
        cheap=False, onnx="Acos",
    )
)  # fmt: skip
ATAN = register(
    unary_op(
        "Atan", lambda b, attrs, x: b.call("atan", x), np.arctan, "Inverse tangent, in radians.", cheap=False,
        onnx="Atan",
    )
)  # fmt: skip


def asin(x: Any, name: str | None = None) -> Tensor:
    """Inverse sine in radians; NaN outside [-1, 1]."""
    return build_unary(ASIN, x, name)


def acos(x: Any, name: str | None = None) -> Tensor:
    """Inverse cosine in radians; NaN outside [-1, 1]."""
    return build_unary(ACOS, x, name)


def atan(x: Any, name: str | None = None) -> Tensor:
    """Inverse tangent in radians."""
    return build_unary(ATAN, x, name)


ATAN2 = register(
    binary_op(
        "Atan2", lambda b, attrs, y, x: b.call("atan2", y, x), np.arctan2, "Angle of the point (x, y).",
        apart=0.3, kinds="f", args=("y", "x"), cheap=False,
    )
)  # fmt: skip


def atan2(y: Any, x: Any, name: str | None = None) -> Tensor:
    """The angle in [-pi, pi] of the point (x, y). Operands of one float dtype; they broadcast."""
    return build_binary(ATAN2, y, x, name, ("y", "x"))


SINH = register(
    unary_op(
        "Sinh", lambda b, attrs, x: b.call("sinh", x), np.sinh,
        "Hyperbolic sine.", cheap=False, onnx="Sinh",
    )
)  # fmt: skip
COSH = register(
    unary_op(
        "Cosh", lambda b, attrs, x: b.call("cosh", x), np.cosh,
        "Hyperbolic cosine.", cheap=False, onnx="Cosh",
    )
)  # fmt: skip
ASINH = register(
    unary_op(
        "Asinh", lambda b, attrs, x: b.call("asinh", x), np.arcsinh,
        "Inverse hyperbolic sine.", cheap=False, onnx="Asinh",
    )
)  # fmt: skip
ACOSH = register(
    unary_op(
        "Acosh", lambda b, attrs, x: b.call("acosh", x), np.arccosh,
        "Inverse hyperbolic cosine.", low=1.2, high=4.0, cheap=False, onnx="Acosh",
    )
)  # fmt: skip
ATANH = register(
    unary_op(
        "Atanh", lambda b, attrs, x: b.call("atanh", x), np.arctanh, "Inverse hyperbolic tangent.", low=-0.8,
        high=0.8, cheap=False, onnx="Atanh",
    )
)  # fmt: skip


def sinh(x: Any, name: str | None = None) -> Tensor:
    """Hyperbolic sine."""
    return build_unary(SINH, x, name)


def cosh(x: Any, name: str | None = None) -> Tensor:
    """Hyperbolic cosine."""
    return build_unary(COSH, x, name)


def asinh(x: Any, name: str | None = None) -> Tensor:
    """Inverse hyperbolic sine."""
    return build_unary(ASINH, x, name)


def acosh(x: Any, name: str | None = None) -> Tensor:
    """Inverse hyperbolic cosine; NaN below 1."""
    return build_unary(ACOSH, x, name)


def atanh(x: Any, name: str | None = None) -> Tensor:
    """Inverse hyperbolic tangent; NaN outside [-1, 1]."""
    return build_unary(ATANH, x, name)
