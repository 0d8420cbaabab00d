"""Gradients of the ops in `graphflow/ops/math/matmul.py`."""

from __future__ import annotations

from graphflow.autodiff.registry import gradient_of
from graphflow.framework.build import build
from graphflow.framework.context import gradient_is_wanted
from graphflow.framework.shapes import static_shape
from graphflow.framework.tensor import Operation, Tensor
from graphflow.ops.array.reshape import reshape
from graphflow.ops.math.matmul import BATCH_MAT_MUL, MAT_MUL, MatMulAttrs
from graphflow.ops.math.sum_to_like import sum_to_like


def _product(a: Tensor, b: Tensor, transpose_a: bool, transpose_b: bool) -> Tensor:
    flat = a._shape is not None and b._shape is not None and len(a._shape) == len(b._shape) == 2
    return build(MAT_MUL if flat else BATCH_MAT_MUL, (a, b), MatMulAttrs(transpose_a, transpose_b), "MatMul")


@gradient_of("MatMul", "BatchMatMulV2")
def _matmul_grad(op: Operation, grad: Tensor) -> list[Tensor | None]:
    # Products with flags instead of transposes: they cost nothing.
    a, b = op.inputs
    ta, tb = op.attrs.transpose_a, op.attrs.transpose_b
    is_shared = _shared_matrix(a, b) and not ta
    grad_a = grad_b = None
    if gradient_is_wanted(a):
        grad_a = _product(b, grad, tb, True) if ta else _product(grad, b, False, not tb)
        grad_a = grad_a if is_shared else sum_to_like(grad_a, a)
    if gradient_is_wanted(b):
        if is_shared:
            # The gradient of a shared b is a sum over all rows of all batches: one product of [rows, k] and [rows, n], in place
            # of one per batch and their sum.
            a, grad = _rows(a), _rows(grad)
        grad_b = _product(grad, a, True, ta) if tb else _product(a, grad, not ta, False)
        grad_b = _as_shaped(grad_b, b) if is_shared else sum_to_like(grad_b, b)
    return [grad_a, grad_b]


def _shared_matrix(a: Tensor, b: Tensor) -> bool:
    """Whether every batch of a is multiplied by one and the same matrix b, and the sizes that reshapes need are known."""
    if a._shape is None or b._shape is None or len(a._shape) < 3 or not 2 <= len(b._shape) <= len(a._shape):
        return False
    return all(d == 1 for d in b._shape[:-2]) and all(isinstance(d, int) and d > 0 for d in (a._shape[-1], *b._shape[-2:]))


def _rows(x: Tensor) -> Tensor:
    assert x._shape is not None
    return reshape(x, [-1, x._shape[-1]])


def _as_shaped(matrix: Tensor, x: Tensor) -> Tensor:
    """The gradient of x, whose batch axes are all of size 1."""
    assert x._shape is not None
    return matrix if len(x._shape) == 2 else reshape(matrix, static_shape(x._shape))
