"""Comparisons, and logic on bools."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework.dtypes import bool_
from graphflow.framework.errors import DTypeError
from graphflow.framework.kinds import NO_ALGEBRA, Algebra, Elementwise
from graphflow.framework.records import record
from graphflow.framework.registry import OpDef, Sample, not_differentiable, register
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import binary_op, quiet
from graphflow.ops._define.operands import build_binary, build_unary, convert_operands
from graphflow.ops._define.samples import binary_samples
from graphflow.ops._define.types import binary_infer, unary_infer

_BOOL = not_differentiable("its result is not a number")

# ---------------------------------------------------------------------------------------------- comparisons


def _comparison(name: str, which: str, reference: Callable[..., Any], doc: str, onnx: str | None = None) -> OpDef:
    symmetric = which in ("eq", "ne")
    return binary_op(
        name, lambda b, attrs, x, y: b.binary(which, x, y), reference, doc, kinds="fiub" if symmetric else "fiu",
        out=bool_, algebra=Algebra(commutative=True) if symmetric else NO_ALGEBRA, onnx=onnx, grad=_BOOL,
    )  # fmt: skip


EQUAL = register(_comparison("Equal", "eq", np.equal, "x == y; false with NaN.", "Equal"))
NOT_EQUAL = register(_comparison("NotEqual", "ne", np.not_equal, "x != y; true with NaN."))
LESS = register(_comparison("Less", "lt", np.less, "x < y; false with NaN.", "Less"))
LESS_EQUAL = register(_comparison("LessEqual", "le", np.less_equal, "x <= y; false with NaN.", "LessOrEqual"))
GREATER = register(_comparison("Greater", "gt", np.greater, "x > y; false with NaN.", "Greater"))
GREATER_EQUAL = register(_comparison("GreaterEqual", "ge", np.greater_equal, "x >= y; false with NaN.", "GreaterOrEqual"))


def equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """bool tensor x == y; shapes broadcast. (The operator ``==`` between tensors is identity, as in TensorFlow 1.)"""
    return build_binary(EQUAL, x, y, name)


def not_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """bool tensor x != y; shapes broadcast."""
    return build_binary(NOT_EQUAL, x, y, name)


def less(x: Any, y: Any, name: str | None = None) -> Tensor:
    """bool tensor x < y; shapes broadcast."""
    return build_binary(LESS, x, y, name)


def less_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """bool tensor x <= y; shapes broadcast."""
    return build_binary(LESS_EQUAL, x, y, name)


def greater(x: Any, y: Any, name: str | None = None) -> Tensor:
    """bool tensor x > y; shapes broadcast."""
    return build_binary(GREATER, x, y, name)


def greater_equal(x: Any, y: Any, name: str | None = None) -> Tensor:
    """bool tensor x >= y; shapes broadcast."""
    return build_binary(GREATER_EQUAL, x, y, name)


@record(frozen=True, slots=True)
class ApproximateEqualAttrs:
    tolerance: float = 1e-5


APPROXIMATE_EQUAL = register(
    OpDef(
        "ApproximateEqual",
        Elementwise(lambda b, attrs, x, y: b.lt(b.abs(b.sub(x, y)), attrs.tolerance)),
        binary_infer("f", out=bool_),
        lambda attrs, x, y: np.asarray(np.abs(x - y) < attrs.tolerance),
        binary_samples((-1.0, 1.0), (-1.0, 1.0), gradient=False, attrs=ApproximateEqualAttrs(0.5)),
        grad=_BOOL,
        attrs=ApproximateEqualAttrs,
        algebra=Algebra(commutative=True),
        doc="|x - y| < tolerance.",
    )
)


def approximate_equal(x: Any, y: Any, tolerance: float = 1e-5, name: str | None = None) -> Tensor:
    """bool tensor |x - y| < tolerance of float tensors."""
    return build_binary(APPROXIMATE_EQUAL, x, y, name, attrs=ApproximateEqualAttrs(float(tolerance)))


# ---------------------------------------------------------------------------------------------- logic

_P, _Q = np.array([True, True, False, False]), np.array([True, False, True, False])


def _logical_samples() -> list[Sample]:
    scalar = np.array(True)
    return [
        Sample((_P, _Q), gradient=False),
        Sample((_P.reshape(4, 1), _Q), gradient=False),
        Sample((scalar, _Q[:0]), gradient=False),
        Sample((scalar, scalar), gradient=False),
    ]


def _logical(name: str, which: str, reference: Callable[..., Any], doc: str, algebra: Algebra, onnx: str) -> OpDef:
    return OpDef(
        name,
        Elementwise(lambda b, attrs, x, y: b.binary(which, x, y)),
        binary_infer("b"),
        quiet(reference, bool_),
        _logical_samples,
        grad=_BOOL,
        dtypes=(bool_,),
        algebra=algebra,
        onnx=onnx,
        doc=doc,
    )


LOGICAL_AND = register(
    _logical("LogicalAnd", "and", np.logical_and, "x and y.", Algebra(commutative=True, identity=1.0), "And")
)
LOGICAL_OR = register(_logical("LogicalOr", "or", np.logical_or, "x or y.", Algebra(commutative=True, identity=0.0), "Or"))
LOGICAL_NOT = register(
    OpDef(
        "LogicalNot",
        Elementwise(lambda b, attrs, x: b.not_(x)),
        unary_infer("b"),
        quiet(np.logical_not, bool_),
        lambda: [Sample((x,), gradient=False) for x in (_P, _P[:0], np.array(False))],
        grad=_BOOL,
        dtypes=(bool_,),
        algebra=Algebra(involution=True),
        onnx="Not",
        doc="not x.",
    )
)


def _truths(x: Any) -> Any:
    """x, but no truths for an empty list, which has no element type of its own."""
    return np.zeros(np.shape(x), np.bool_) if isinstance(x, (list, tuple)) and not len(x) else x


def logical_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x and y, of bool tensors; shapes broadcast."""
    return build_binary(LOGICAL_AND, _truths(x), _truths(y), name)


def logical_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x or y, of bool tensors; shapes broadcast."""
    return build_binary(LOGICAL_OR, _truths(x), _truths(y), name)


def logical_not(x: Any, name: str | None = None) -> Tensor:
    """not x, of a bool tensor."""
    return build_unary(LOGICAL_NOT, _truths(x), name)


def logical_xor(x: Any, y: Any, name: str | None = "LogicalXor") -> Tensor:
    """Either x or y but not both, of bool tensors; shapes broadcast."""
    x, y, scope = convert_operands((_truths(x), _truths(y)), name or "LogicalXor", ("x", "y"))
    for arg, t in (("x", x), ("y", y)):
        if t.base_dtype is not bool_:
            raise DTypeError(
                f"Input '{arg}' of 'LogicalXor' Op has type {t.base_dtype.name} that does not match expected type of bool."
            )
    # Between bools "either but not both" is "different".
    return build_binary(NOT_EQUAL, x, y, scope)
