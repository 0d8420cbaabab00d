"""Definitions of elementwise ops with one or two operands, mostly made of a scalar rule and a numpy function."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from graphflow.framework.dtypes import DType
from graphflow.framework.kinds import NO_ALGEBRA, Algebra, Elementwise, ShapeValue
from graphflow.framework.registry import NotDifferentiable, OpDef, UndefinedGradient
from graphflow.ops._define.samples import binary_samples, unary_samples
from graphflow.ops._define.types import allowed, binary_infer, unary_infer


def quiet(f: Callable[..., Any], dtype: DType | None = None) -> Callable[..., Any]:
    """A numpy function as an `OpDef.reference`: without warnings, its result in `dtype` or the dtype of the first operand."""

    def reference(attrs: Any, *arrays: Any) -> Any:
        with np.errstate(all="ignore"):
            return np.asarray(f(*arrays)).astype(arrays[0].dtype if dtype is None else dtype.numpy_dtype)

    return reference


def unary_op(
    name: str, rule: Callable[..., Any], reference: Callable[..., Any], doc: str,
    low: float = -2.0, high: float = 2.0, avoid: Sequence[float] = (), kinds: str = "f", arg: str = "x",
    out: DType | None = None, cheap: bool = True, algebra: Algebra = NO_ALGEBRA, onnx: str | None = None,
    grad: NotDifferentiable | UndefinedGradient | None = None,
) -> OpDef:  # fmt: skip
    """The definition of a one-operand op without attributes.

    `low`, `high` and `avoid` are the domain of its samples; `grad` says why there is no gradient, where there is none.
    """
    return OpDef(
        name,
        Elementwise(rule, cheap=cheap),
        unary_infer(kinds, arg, out),
        quiet(reference, out),
        unary_samples(low, high, avoid, gradient=grad is None),
        grad=grad,
        dtypes=allowed(kinds),
        algebra=algebra,
        onnx=onnx,
        doc=doc,
    )


def binary_op(
    name: str, rule: Callable[..., Any], reference: Callable[..., Any], doc: str,
    x: tuple[float, float] = (-3.0, 3.0), y: tuple[float, float] = (-3.0, 3.0), apart: float = 0.0, kinds: str = "fiu",
    args: tuple[str, str] = ("x", "y"), out: DType | None = None, cheap: bool = True,
    check: Callable[..., Any] | None = None,
    check_message: str = "", shape_value: Callable[..., ShapeValue | None] | None = None, algebra: Algebra = NO_ALGEBRA,
    onnx: str | None = None, checked: tuple[DType, ...] | None = None, grad: NotDifferentiable | None = None,
) -> OpDef:  # fmt: skip
    """The definition of an op on two operands that broadcast.

    `x`, `y` and `apart` are the domain of its samples; `grad` says why there is no gradient, where there is none.
    """
    return OpDef(
        name,
        Elementwise(rule, check, check_message, cheap, checked),
        binary_infer(kinds, args, out),
        quiet(reference, out),
        binary_samples(x, y, apart, gradient=grad is None),
        grad=grad,
        shape_value=shape_value,
        dtypes=allowed(kinds),
        algebra=algebra,
        onnx=onnx,
        doc=doc,
    )
