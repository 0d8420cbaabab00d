"""Selection of elements by a condition: `where`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework import context
from graphflow.framework.build import convert_to_tensor, is_tensor_like
from graphflow.framework.dtypes import ALL, DType, bool_, string
from graphflow.framework.errors import ArgumentError
from graphflow.framework.kinds import Composite, Elementwise, ExpandContext, TensorType
from graphflow.framework.registry import NO_ATTRS, InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Shape
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.operands import convert_operands
from graphflow.ops._define.types import broadcast, mismatch, refuse, unequal
from graphflow.ops.array.one_hot_where_unique import where_indices


def _branches(ctx: InferContext, condition: TensorType, x: TensorType, y: TensorType) -> DType:
    if condition.dtype is not bool_:
        raise refuse(ctx, "condition", condition.dtype, "b")
    if x.dtype is not y.dtype:
        raise mismatch(ctx, ("t", "e"), x, y)
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
    # Beyond TensorFlow, a scalar may stand for a branch: gradients select against 0.0 and need no zeros of the full shape.
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
        # A vector condition chooses rows, but would broadcast along the last axis.
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

    x and y have one dtype and one shape. The condition is a scalar, has that shape too, or is a vector that chooses rows.

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
