"""Activation functions of neural networks, and ops for their gradients where one node is better than several."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from graphflow.framework.build import convert_to_tensor
from graphflow.framework.kinds import Algebra, Elementwise
from graphflow.framework.records import record
from graphflow.framework.registry import OpDef, Sample, register
from graphflow.framework.scalar_builder import ScalarBuilder
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import binary_op, unary_op
from graphflow.ops._define.operands import build_unary
from graphflow.ops._define.samples import binary_samples, spread, unary_samples
from graphflow.ops._define.types import allowed, binary_infer, unary_infer
from graphflow.ops.math.binary import multiply
from graphflow.ops.math.cast import to_float
from graphflow.ops.math.unary import negative

# ---------------------------------------------------------------------------------------------- tanh and sigmoid


# By the result y: a training step has it anyway, and need not compute the function again.
TANH_GRAD = register(
    binary_op(
        "TanhGrad", lambda b, attrs, y, dy: b.mul(dy, b.sub(1.0, b.mul(y, y))), lambda y, dy: dy * (1 - y * y),
        "Gradient of y = tanh(x): dy (1 - y^2).", kinds="f", args=("y", "dy"),
    )
)  # fmt: skip

TANH = register(
    unary_op(
        "Tanh", lambda b, attrs, x: b.call("tanh", x), np.tanh, "Hyperbolic tangent.", cheap=False,
        onnx="Tanh",
    )
)  # fmt: skip


def tanh(x: Any, name: str | None = None) -> Tensor:
    """Hyperbolic tangent of a float tensor."""
    return build_unary(TANH, x, name)


SIGMOID_GRAD = register(
    binary_op(
        "SigmoidGrad", lambda b, attrs, y, dy: b.mul(dy, b.mul(y, b.sub(1.0, y))), lambda y, dy: dy * y * (1 - y),
        "Gradient of y = sigmoid(x): dy y (1 - y).", kinds="f", args=("y", "dy"),
    )
)  # fmt: skip

SIGMOID = register(
    unary_op(
        "Sigmoid", lambda b, attrs, x: b.call("sigmoid", x), lambda x: np.exp(np.minimum(x, 0)) / (1 + np.exp(-np.abs(x))),
        "1 / (1 + e^-x).",
        cheap=False,
        onnx="Sigmoid",
    )
)  # fmt: skip


def sigmoid(x: Any, name: str | None = None) -> Tensor:
    """1 / (1 + exp(-x)) of a float tensor, without overflow."""
    return build_unary(SIGMOID, x, name)


# ---------------------------------------------------------------------------------------------- relu and its relatives


# The input and the result of relu are positive at the same places, so either may be given.
RELU_GRAD = register(
    binary_op(
        "ReluGrad", lambda b, attrs, dy, y: b.select(b.gt(y, 0), dy, 0), lambda dy, y: np.where(y > 0, dy, 0),
        "Gradient of relu by its input or result: dy where that is positive, else 0.", apart=0.1,
        args=("gradients", "features"),
    )
)  # fmt: skip

RELU = register(
    unary_op(
        "Relu", lambda b, attrs, x: b.maximum(x, 0), lambda x: np.maximum(x, 0), "max(x, 0); NaN stays NaN.",
        avoid=(0.0,),
        kinds="fiu", arg="features", algebra=Algebra(idempotent=True), onnx="Relu",
    )
)  # fmt: skip


def relu(features: Any, name: str | None = None) -> Tensor:
    """max(features, 0) of a numeric tensor. NaN stays NaN; the gradient at 0 is 0."""
    return build_unary(RELU, features, name, "features")


RELU6_GRAD = register(
    binary_op(
        "Relu6Grad", lambda b, attrs, dy, y: b.select(b.and_(b.gt(y, 0), b.lt(y, 6)), dy, 0),
        lambda dy, y: np.where((y > 0) & (y < 6), dy, 0),
        "Gradient of relu6 by its input or result: dy where that is strictly between 0 and 6, else 0.", apart=0.1,
        args=("gradients", "features"),
    )
)  # fmt: skip

RELU6 = register(
    unary_op(
        "Relu6", lambda b, attrs, x: b.minimum(b.maximum(x, 0), 6), lambda x: np.clip(x, 0, 6), "min(max(x, 0), 6).", low=-3.0,
        high=9.0,
        avoid=(0.0, 6.0), kinds="fiu", arg="features", algebra=Algebra(idempotent=True),
    )
)  # fmt: skip


def relu6(features: Any, name: str | None = None) -> Tensor:
    """min(max(features, 0), 6) of a numeric tensor."""
    return build_unary(RELU6, features, name, "features")


@record(frozen=True, slots=True)
class LeakyReluAttrs:
    alpha: float = 0.2


def _leaky_reference(attrs: LeakyReluAttrs, x: Any) -> Any:
    return np.where(x > 0, x, x * x.dtype.type(attrs.alpha))


def _leaky_grad_reference(attrs: LeakyReluAttrs, dy: Any, x: Any) -> Any:
    return np.where(x > 0, dy, dy * dy.dtype.type(attrs.alpha))


LEAKY_RELU = register(
    OpDef(
        "LeakyRelu",
        Elementwise(lambda b, attrs, x: b.select(b.gt(x, 0), x, b.mul(x, attrs.alpha))),
        unary_infer("f", "features"),
        _leaky_reference,
        unary_samples(-2.0, 2.0, (0.0,), LeakyReluAttrs(0.3)),
        attrs=LeakyReluAttrs,
        dtypes=allowed("f"),
        onnx="LeakyRelu",
        doc="x where positive, else alpha x.",
    )
)

LEAKY_RELU_GRAD = register(
    OpDef(
        "LeakyReluGrad",
        Elementwise(lambda b, attrs, dy, x: b.select(b.gt(x, 0), dy, b.mul(dy, attrs.alpha))),
        binary_infer("f", ("gradients", "features")),
        _leaky_grad_reference,
        binary_samples((-2.0, 2.0), (-2.0, 2.0), 0.1, attrs=LeakyReluAttrs(0.3)),
        attrs=LeakyReluAttrs,
        dtypes=allowed("f"),
        doc="Gradient of leaky_relu by its input: dy where that is positive, else alpha dy.",
    )
)


def leaky_relu(features: Any, alpha: float = 0.2, name: str | None = None) -> Tensor:
    """features where positive, else alpha * features. Integers become float32 first."""
    if not isinstance(features, Tensor):
        features = convert_to_tensor(features, name="features")
    if features.base_dtype.is_integer:
        features = to_float(features)
    return build_unary(LEAKY_RELU, features, name, "features", LeakyReluAttrs(float(alpha)))


# expm1 is exact for small x. It may overflow for large ones, but that side is not selected.
ELU = register(
    unary_op(
        "Elu", lambda b, attrs, x: b.select(b.gt(x, 0), x, b.call("expm1", x)),
        lambda x: np.where(x > 0, x, np.expm1(x)),
        "x where positive, else e^x - 1.", avoid=(0.0,), arg="features", cheap=False, onnx="Elu",
    )
)  # fmt: skip


def elu(features: Any, name: str | None = None) -> Tensor:
    """features where positive, else exp(features) - 1."""
    return build_unary(ELU, features, name, "features")


# The paper's constants (Klambauer et al., "Self-normalizing neural networks", 2017).
SELU_SCALE = 1.0507009873554804934193349852946
SELU_SCALED_ALPHA = 1.6732632423543772848170429916717 * SELU_SCALE


def _selu_rule(b: ScalarBuilder[Any], attrs: Any, x: Any) -> Any:
    return b.select(b.gt(x, 0), b.mul(x, SELU_SCALE), b.mul(b.call("expm1", x), SELU_SCALED_ALPHA))


SELU = register(
    unary_op(
        "Selu", _selu_rule, lambda x: np.where(x > 0, SELU_SCALE * x, SELU_SCALED_ALPHA * np.expm1(x)),
        "Scaled exponential linear unit.", avoid=(0.0,), arg="features", cheap=False, onnx="Selu",
    )
)  # fmt: skip


def selu(features: Any, name: str | None = None) -> Tensor:
    """Scaled exponential linear unit, which keeps mean 0 and variance 1 from layer to layer."""
    return build_unary(SELU, features, name, "features")


# ---------------------------------------------------------------------------------------------- smooth ones


def _softplus_rule(b: ScalarBuilder[Any], attrs: Any, x: Any) -> Any:
    # log(1 + e^x) with e^x taken out for positive x: the exponential never overflows.
    return b.add(b.maximum(x, 0.0), b.call("log1p", b.call("exp", b.neg(b.abs(x)))))


SOFTPLUS = register(
    unary_op(
        "Softplus", _softplus_rule, lambda x: np.logaddexp(x, np.zeros_like(x)), "log(1 + e^x).", low=-4.0, high=4.0,
        arg="features",
        cheap=False, onnx="Softplus",
    )
)  # fmt: skip


def softplus(features: Any, name: str | None = None) -> Tensor:
    """log(1 + exp(features)), without overflow."""
    return build_unary(SOFTPLUS, features, name, "features")


def log_sigmoid(x: Any, name: str | None = None) -> Tensor:
    """log(sigmoid(x)), without overflow."""
    x = convert_to_tensor(x, name="x")
    graph = x.graph
    with graph.as_default(), graph.name_scope(name or "LogSigmoid") as scope:
        # -log(1 + e^-x): the logarithm of a sigmoid that has underflowed to 0 would be -inf.
        return negative(softplus(negative(x)), name=scope)


def swish(features: Any, name: str | None = None) -> Tensor:
    """features * sigmoid(features)."""
    features = convert_to_tensor(features, name="features")
    graph = features.graph
    with graph.as_default(), graph.name_scope(name or "swish") as scope:
        return multiply(features, sigmoid(features), name=scope)


SOFTSIGN = register(
    unary_op(
        "Softsign", lambda b, attrs, x: b.div(x, b.add(b.abs(x), 1.0)), lambda x: x / (1 + np.abs(x)), "x / (1 + |x|).",
        avoid=(0.0,),
        arg="features", onnx="Softsign",
    )
)  # fmt: skip


def softsign(features: Any, name: str | None = None) -> Tensor:
    """features / (1 + |features|)."""
    return build_unary(SOFTSIGN, features, name, "features")


@record(frozen=True, slots=True)
class GeluAttrs:
    approximate: bool = False


GELU_CUBIC = 0.044715
GELU_ROOT = math.sqrt(2.0 / math.pi)


def _gelu_rule(b: ScalarBuilder[Any], attrs: GeluAttrs, x: Any) -> Any:
    if attrs.approximate:
        inner = b.mul(b.add(x, b.mul(b.mul(x, b.mul(x, x)), GELU_CUBIC)), GELU_ROOT)
        share = b.call("tanh", inner)
    else:
        share = b.call("erf", b.mul(x, math.sqrt(0.5)))
    return b.mul(b.mul(x, 0.5), b.add(share, 1.0))


def _gelu_reference(attrs: GeluAttrs, x: Any) -> Any:
    w = np.asarray(x, np.float64)
    if attrs.approximate:
        share = np.tanh(np.sqrt(2 / np.pi) * (w + 0.044715 * w**3))
    else:
        share = np.vectorize(math.erf, otypes=[np.float64])(w / np.sqrt(2))
    return np.asarray(0.5 * w * (1 + share)).astype(x.dtype)


def _gelu_samples() -> list[Sample]:
    shapes: tuple[tuple[int, ...], ...] = ((), (0,), (1,), (7,), (3, 5))
    return [Sample((spread(s, -3.0, 3.0),), GeluAttrs(a)) for s in shapes for a in (False, True)]


GELU = register(
    OpDef(
        "Gelu",
        Elementwise(_gelu_rule, cheap=False),
        unary_infer("f", "features"),
        _gelu_reference,
        _gelu_samples,
        attrs=GeluAttrs,
        dtypes=allowed("f"),
        onnx="Gelu",
        doc="x times the normal distribution function of x, exactly or by its tanh approximation.",
    )
)


def gelu(features: Any, approximate: bool = False, name: str | None = None) -> Tensor:
    """Gaussian error linear unit: features * P(Z <= features), by erf or, if `approximate`, by tanh."""
    return build_unary(GELU, features, name, "features", GeluAttrs(bool(approximate)))
