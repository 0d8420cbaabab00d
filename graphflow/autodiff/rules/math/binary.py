"""Gradients of the ops in `graphflow/ops/math/binary.py`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.autodiff.registry import gradient_of
from graphflow.autodiff.rules.operands import operand_gradient
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.math.binary import div_no_nan, floor_div, multiply, pow, realdiv, subtract, truncatediv
from graphflow.ops.math.compare import equal, greater, greater_equal, less_equal, logical_and
from graphflow.ops.math.select import where_v2
from graphflow.ops.math.sum_to_like import sum_to_like
from graphflow.ops.math.unary import log, negative


@gradient_of("AddV2")
def _add_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    # Functions and not tensors: what nobody wants is never made.
    return [operand_gradient(t, lambda: grad) for t in op.inputs]


@gradient_of("Sub")
def _sub_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, y = op.inputs
    return [operand_gradient(x, lambda: grad), operand_gradient(y, lambda: negative(sum_to_like(grad, y)))]


@gradient_of("Mul")
def _mul_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, y = op.inputs
    return [operand_gradient(x, lambda: multiply(grad, y)), operand_gradient(y, lambda: multiply(x, grad))]


@gradient_of("SquaredDifference")
def _squared_difference_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, y = op.inputs
    gx = multiply(multiply(grad, 2.0), subtract(x, y))
    return [operand_gradient(x, lambda: gx), operand_gradient(y, lambda: negative(sum_to_like(gx, y)))]


@gradient_of("RealDiv")
def _real_div_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    # -x / y^2 by way of the quotient, which exists: (-x / y) / y.
    x, y = op.inputs
    return [
        operand_gradient(x, lambda: realdiv(grad, y)),
        operand_gradient(y, lambda: multiply(grad, realdiv(negative(op.outputs[0]), y))),
    ]


@gradient_of("DivNoNan")
def _div_no_nan_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    x, y = op.inputs
    gx = div_no_nan(grad, y)
    gy = multiply(grad, div_no_nan(negative(op.outputs[0]), y))
    return [sum_to_like(gx, x), sum_to_like(gy, y)]


@gradient_of("FloorMod")
def _floor_mod_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # x mod y is x - y * floor(x / y), whose quotient is constant almost everywhere.
    x, y = op.inputs
    return [sum_to_like(grad, x), sum_to_like(multiply(grad, negative(floor_div(x, y))), y)]


@gradient_of("TruncateMod")
def _trunc_mod_grad(op: Operation, grad: Tensor) -> list[Tensor]:
    # As for FloorMod, with the quotient that this remainder belongs to.
    x, y = op.inputs
    return [sum_to_like(grad, x), sum_to_like(multiply(grad, negative(truncatediv(x, y))), y)]


@gradient_of("Pow")
def _pow_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, y = op.inputs

    def by_base() -> Tensor:
        # x^0 is 1 also at 0, where its derivative 0 * x^-1 would be NaN: so every derivative of x^2 exists everywhere.
        exponent = _constant(y)
        never_0 = exponent is not None and exponent.all()
        base = x if never_0 else where_v2(logical_and(equal(x, 0.0), equal(y, 0.0)), 1.0, x)
        # A number, so that the next derivative sees a constant, too.
        less_1 = subtract(y, 1.0) if exponent is None or exponent.ndim else exponent - 1
        return multiply(multiply(grad, y), pow(base, less_1))

    def by_exponent() -> Tensor:
        # Needs log(x). For x <= 0 that would be infinite or NaN, so it is taken of 1 there, which keeps NaN out of the second
        # derivative as well, and the product, which may be of an infinity, is replaced by 0, as in TensorFlow.
        positive = greater(x, 0.0)
        log_x = log(where_v2(positive, x, 1.0))
        return where_v2(positive, multiply(multiply(grad, op.outputs[0]), log_x), 0.0)

    return [operand_gradient(x, by_base), operand_gradient(y, by_exponent)]


def _constant(t: Tensor) -> np.ndarray[Any, Any] | None:
    """The value of a constant; None of any other tensor."""
    array: np.ndarray[Any, Any] | None = t.op.attrs.value.array if t.op.type == "Const" else None
    return array


@gradient_of("Maximum", "Minimum")
def _extreme_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    x, y = op.inputs
    chosen = greater_equal(x, y) if op.type == "Maximum" else less_equal(x, y)  # a tie goes to x
    return [
        operand_gradient(x, lambda: where_v2(chosen, grad, 0.0)),
        operand_gradient(y, lambda: where_v2(chosen, 0.0, grad)),
    ]
