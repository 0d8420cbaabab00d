"""Comparisons, logic on bools, and selection by a condition."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import ALL, DType, bool_, string
from graphflow.framework.errors import ArgumentError, DTypeError
from graphflow.framework.kinds import NO_ALGEBRA, Algebra, Composite, Elementwise, ExpandContext, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, not_differentiable, register
from graphflow.framework.shapes import Shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.elementwise import (
    binary_infer,
    binary_op,
    binary_samples,
    broadcast,
    build_binary,
    build_unary,
    convert_operands,
    mismatch,
    quiet,
    refuse,
    unary_infer,
    unequal,
)

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
    """bool tensor x == y; shapes broadcast. (``==`` between tensors is identity.)"""
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


def logical_and(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x and y, of bool tensors; shapes broadcast."""
    return build_binary(LOGICAL_AND, x, y, name)


def logical_or(x: Any, y: Any, name: str | None = None) -> Tensor:
    """x or y, of bool tensors; shapes broadcast."""
    return build_binary(LOGICAL_OR, x, y, name)


def logical_not(x: Any, name: str | None = None) -> Tensor:
    """not x, of a bool tensor."""
    return build_unary(LOGICAL_NOT, x, name)


def logical_xor(x: Any, y: Any, name: str | None = "LogicalXor") -> Tensor:
    """Either x or y but not both, of bool tensors; shapes broadcast."""
    x, y, scope = convert_operands((x, y), name or "LogicalXor", ("x", "y"))
    for arg, t in (("x", x), ("y", y)):
        if t.base_dtype is not bool_:
            raise DTypeError(
                f"Input '{arg}' of 'LogicalXor' Op has type {t.base_dtype.name} that does not match expected type of bool."
            )
    return build_binary(NOT_EQUAL, x, y, scope)


# ---------------------------------------------------------------------------------------------- selection


def _branches(ctx: InferContext, condition: TensorType, x: TensorType, y: TensorType) -> DType:
    if condition.dtype is not bool_:
        raise refuse(ctx, "condition", condition.dtype, "b")
    if x.dtype is not y.dtype:
        raise mismatch(ctx, ("t", "e"), x, y)
    if x.dtype is string:
        raise refuse(ctx, "t", x.dtype, "fiub")
    return x.dtype


def _select_v2_infer(
    ctx: InferContext, attrs: Any, condition: TensorType, x: TensorType, y: TensorType
) -> tuple[TensorType, ...]:
    dtype = _branches(ctx, condition, x, y)
    return (TensorType(dtype, broadcast(ctx, condition.shape, broadcast(ctx, x.shape, y.shape))),)


def _select_v2_samples() -> list[Sample]:
    x, y = np.arange(6, dtype=np.float32).reshape(2, 3), -np.ones(3, np.float32)
    c = np.array([[True, False, True], [False, False, True]])
    return [
        Sample((c, x, x * 2)),
        Sample((c, x, y)),
        Sample((np.array(True), x, y)),
        Sample((c[:, :1], y, np.float32(2.0).reshape(()))),
        Sample((c[:0], x[:0], y)),
    ]


SELECT_V2 = register(
    OpDef(
        "SelectV2",
        Elementwise(lambda b, attrs, condition, x, y: b.select(condition, x, y)),
        _select_v2_infer,
        lambda attrs, condition, x, y: np.where(condition, x, y),
        _select_v2_samples,
        dtypes=tuple(d for d in ALL if d is not string),
        onnx="Where",
        doc="x where the condition holds, else y; all three broadcast.",
    )
)


def _select_infer(ctx: InferContext, attrs: Any, condition: TensorType, x: TensorType, y: TensorType) -> tuple[TensorType, ...]:
    dtype = _branches(ctx, condition, x, y)
    # A scalar branch stands for a whole one: gradients need no zeros of the full shape.
    if x.shape == () or y.shape == ():
        shape = y.shape if x.shape == () else x.shape
    else:
        shape = _unify(ctx, x.shape, y.shape)
    c = condition.shape
    if c is None or c == () or shape is None:
        return (TensorType(dtype, shape),)
    if len(c) == 1 and len(shape) > 1:
        rows = ctx.unify(shape[0], c[0], lambda: unequal(ctx.op_name, shape[:1], c))
        return (TensorType(dtype, (rows, *shape[1:])),)
    return (TensorType(dtype, _unify(ctx, shape, c)),)


def _unify(ctx: InferContext, a: Shape | None, b: Shape | None) -> Shape | None:
    if a is None or b is None:
        return b if a is None else a
    return ctx.policy.unify_shapes(a, b, lambda: unequal(ctx.op_name, a, b))


def _select_expand(p: ExpandContext, condition: Any, x: Any, y: Any) -> Any:
    c, shape = p.type(condition).shape, p.outputs[0].shape
    assert c is not None and shape is not None
    if len(c) == 1 and len(shape) > 1:
        condition = p.reshape(condition, (*c, *(1,) * (len(shape) - 1)))
    return p.op("SelectV2", condition, x, y)


def _select_reference(attrs: Any, condition: Any, x: Any, y: Any) -> Any:
    rank = max(x.ndim, y.ndim)
    if condition.ndim == 1 and rank > 1:
        condition = condition.reshape(-1, *[1] * (rank - 1))
    return np.where(condition, x, y)


def _select_samples() -> list[Sample]:
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    c = np.array([[True, False, True], [False, False, True]])
    return [
        Sample((c, x, x * 2 - 9)),
        Sample((np.array([True, False]), x, x * 2 - 9)),
        Sample((np.array(False), x, x * 2 - 9)),
        Sample((c[:, 0], x[:, 0], x[:, 1])),
        Sample((c[:0], x[:0], x[:0])),
    ]


SELECT = register(
    OpDef(
        "Select",
        Composite(_select_expand),
        _select_infer,
        _select_reference,
        _select_samples,
        dtypes=tuple(d for d in ALL if d is not string),
        doc="x where the condition holds, else y, of one shape; a vector condition chooses whole rows.",
    )
)


def where(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """x where `condition` holds, else y; or, without x and y, the int64 indices [n, rank] of the true elements.

    x and y have one dtype and one shape. The condition is a scalar, has that shape too,
    or is a vector that chooses rows.

    Raises:
        ArgumentError: only one of x and y is given.
        ShapeError, DTypeError: the operands do not go together.
    """
    if x is None and y is None:
        return _indices(condition, name)
    if x is None or y is None:
        raise ArgumentError("x and y must both be non-None or both be None.")
    return _select(SELECT, condition, x, y, name)


def where_v2(condition: Any, x: Any = None, y: Any = None, name: str | None = None) -> Tensor:
    """As `where`, but all three broadcast as numpy's do."""
    if x is None and y is None:
        return _indices(condition, name)
    if x is None or y is None:
        raise ArgumentError("x and y must both be non-None or both be None.")
    return _select(SELECT_V2, condition, x, y, name)


def _indices(condition: Any, name: str | None) -> Tensor:
    from graphflow.ops.array.one_hot_where_unique import where_indices

    return where_indices(condition, name)


def _select(op: OpDef, condition: Any, x: Any, y: Any, name: str | None) -> Tensor:
    name = name or op.name
    if isinstance(condition, Tensor) and isinstance(x, Tensor) and isinstance(y, Tensor):
        return condition.op.graph.create_op(op, (condition, x, y), NO_ATTRS, name).outputs[0]
    tensors = [convert_to_tensor(v) for v in (condition, x, y) if is_tensor_like(v)]
    graph = tensors[0].op.graph if tensors else context.get_default_graph()
    with graph.as_default(), graph.name_scope(name) as scope:
        chosen = convert_to_tensor(condition, None if is_tensor_like(condition) else bool_, name="condition")
        x, y, _ = convert_operands((x, y), scope, ("t", "e"))
    return graph.create_op(op, (chosen, x, y), NO_ATTRS, scope).outputs[0]
