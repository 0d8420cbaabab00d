"""Matrix products: `matmul` for matrices and batches of them, and `matvec`."""

from __future__ import annotations

from typing import Any

import numpy as np

from graphflow.framework.build import build, convert_pair, name_scope
from graphflow.framework.dtypes import FLOATS, as_dtype, bfloat16, float32, int32, int64
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.graph import check_same_dtype
from graphflow.framework.kinds import Contraction, TensorType
from graphflow.framework.records import record
from graphflow.framework.registry import InferContext, OpDef, Sample, register
from graphflow.framework.shapes import Dim, Shape, format_shape, fresh_dim
from graphflow.framework.tensor import Tensor
from graphflow.ops._define.types import brackets
from graphflow.ops.array.reshape import expand_dims, squeeze
from graphflow.ops.math.cast import cast


@record(frozen=True, slots=True)
class MatMulAttrs:
    """Whether the last two axes of an operand are swapped before the product."""

    transpose_a: bool = False
    transpose_b: bool = False


_DTYPES = (*FLOATS, int32, int64)


def _infer(ctx: InferContext, attrs: MatMulAttrs, a: TensorType, b: TensorType) -> tuple[TensorType, ...]:
    op = ctx.op_name
    if a.dtype is not b.dtype:
        raise DTypeError(
            f"Input 'b' of '{op}' Op has type {b.dtype.name} that does not match type {a.dtype.name} of argument 'a'."
        )
    if a.dtype not in _DTYPES:
        names = ", ".join(d.name for d in _DTYPES)
        raise DTypeError(
            f"{op}: Value passed to parameter 'a' has DataType {a.dtype.name} not in list of allowed values: {names}"
        )
    for name, t in (("a", a), ("b", b)):
        if t.shape is not None and (len(t.shape) < 2 or (op == "MatMul" and len(t.shape) != 2)):
            wanted = "rank 2" if op == "MatMul" else "at least rank 2"
            raise ShapeError(
                f"{op}: {name} has shape {brackets(t.shape)}. Shape must be {wanted} but is rank {len(t.shape)} for "
                f"'{{{{node {op}}}}}'"
            )
    rows = _matrix(a.shape, attrs.transpose_a)
    columns = _matrix(b.shape, attrs.transpose_b)
    if a.shape is not None and b.shape is not None:
        sizes = (rows[1], columns[0])
        shown = (a.shape, b.shape)
        ctx.unify(*sizes, lambda: _inner_message(op, attrs, sizes, *shown))
        batch = ctx.broadcast(a.shape[:-2], b.shape[:-2])
    # A product of two matrices has rank 2 even if nothing is known of them.
    elif op == "MatMul":
        batch = ()
    else:
        return (TensorType(a.dtype, None),)
    return (TensorType(a.dtype, (*batch, rows[0], columns[1])),)


def _matrix(shape: Shape | None, transpose: bool) -> tuple[Dim, Dim]:
    rows, columns = shape[-2:] if shape is not None else (fresh_dim(), fresh_dim())
    return (columns, rows) if transpose else (rows, columns)


def _inner_message(op: str, attrs: MatMulAttrs, sizes: tuple[Dim, Dim], a: Shape, b: Shape) -> str:
    def shown(shape: Shape, transposed: bool) -> str:
        return format_shape(shape) + (" transposed" if transposed else "")

    flags = f"transpose_a={str(attrs.transpose_a).lower()}, transpose_b={str(attrs.transpose_b).lower()}"
    return (
        f"{op}: inner dimensions differ: a is {shown(a, attrs.transpose_a)}, b is {shown(b, attrs.transpose_b)}. "
        f"Dimensions must be equal, but are {sizes[0]} and {sizes[1]} for '{{{{node {op}}}}} = {op}[{flags}]' with "
        f"input shapes: {brackets(a)}, {brackets(b)}. Matrix size-"
        f"incompatible: In[0]: {brackets(a)}, In[1]: {brackets(b)}"
    )


def _reference(attrs: MatMulAttrs, a: Any, b: Any) -> Any:
    a, b = np.asarray(a), np.asarray(b)
    dtype = a.dtype
    # 16-bit floats are summed in float32, as in the kernels.
    if as_dtype(dtype).size == 2:
        a, b = a.astype(np.float32), b.astype(np.float32)
    a = np.swapaxes(a, -1, -2) if attrs.transpose_a else a
    b = np.swapaxes(b, -1, -2) if attrs.transpose_b else b
    with np.errstate(all="ignore"):
        return np.matmul(a, b).astype(dtype)


def _samples(shapes: list[tuple[tuple[int, ...], tuple[int, ...]]]) -> list[Sample]:
    """Each pair of stored shapes with all four flag combinations."""
    rng = np.random.default_rng(7)
    cases = []
    for (*batch_a, m, k), (*batch_b, _, n) in shapes:
        for ta in (False, True):
            for tb in (False, True):
                a = rng.standard_normal((*batch_a, *((k, m) if ta else (m, k)))).astype(np.float32)
                b = rng.standard_normal((*batch_b, *((n, k) if tb else (k, n)))).astype(np.float32)
                cases.append(Sample((a, b), MatMulAttrs(ta, tb), rtol=1e-4, atol=1e-4))
    return cases


MAT_MUL = register(
    OpDef(
        "MatMul",
        Contraction(),
        _infer,
        _reference,
        lambda: _samples([((3, 5), (5, 4)), ((1, 1), (1, 1)), ((17, 9), (9, 1)), ((0, 3), (3, 2)), ((2, 0), (0, 3))]),
        attrs=MatMulAttrs,
        dtypes=_DTYPES,
        onnx="MatMul",
        doc="The product of two matrices.",
    )
)

BATCH_MAT_MUL = register(
    OpDef(
        "BatchMatMulV2",
        Contraction(),
        _infer,
        _reference,
        lambda: _samples(
            [
                ((2, 3, 4), (2, 4, 5)),
                ((2, 3, 3, 4), (4, 2)),
                ((3, 4), (2, 4, 1)),
                ((1, 2, 3), (2, 3, 2)),
                ((0, 2, 3), (3, 2)),
                ((2, 1, 3, 2), (3, 2, 2)),
                ((2, 3, 2), (3, 1, 2, 3)),
            ]
        ),
        attrs=MatMulAttrs,
        dtypes=_DTYPES,
        onnx="MatMul",
        doc="Products of batches of matrices; the batch axes broadcast.",
    )
)


def matmul(
    a: Any, b: Any, transpose_a: bool = False, transpose_b: bool = False, adjoint_a: bool = False,
    adjoint_b: bool = False, a_is_sparse: bool = False, b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """The matrix product of the last two axes: [..., m, k] x [..., k, n] -> [..., m, n].

    Args:
        a, b: tensors of one dtype (or of bfloat16 and float32) and of rank 2 or more; batch axes broadcast.
        transpose_a, transpose_b: swap the last two axes of that operand first (no copy is made).
        adjoint_a, adjoint_b: the same, for real dtypes.
        a_is_sparse, b_is_sparse: accepted; zeros get no special treatment.

    Raises:
        ValueError: the inner dimensions differ, a rank is below 2, or both kinds of transposition are asked for.
        TypeError: the dtypes differ or are not numeric.
    """
    for side, both in (("a", transpose_a and adjoint_a), ("b", transpose_b and adjoint_b)):
        if both:
            raise ArgumentError(f"Only one of transpose_{side} and adjoint_{side} can be True.")
    x, y = convert_pair(a, b)
    if {x.base_dtype, y.base_dtype} == {bfloat16, float32}:  # the one mixture that TensorFlow multiplies
        x, y = cast(x, float32), cast(y, float32)
    check_same_dtype("MatMul", a=x, b=y)
    # There are no complex dtypes, so the adjoint is the transpose.
    attrs = MatMulAttrs(bool(transpose_a or adjoint_a), bool(transpose_b or adjoint_b))
    if _rank_at_most_2(x) and _rank_at_most_2(y):
        return build(MAT_MUL, (x, y), attrs, name)
    return build(BATCH_MAT_MUL, (x, y), attrs, name or "MatMul")


def _rank_at_most_2(x: Tensor) -> bool:
    return x._shape is not None and len(x._shape) <= 2


def matvec(
    a: Any, b: Any, transpose_a: bool = False, adjoint_a: bool = False, a_is_sparse: bool = False,
    b_is_sparse: bool = False, name: str | None = None,
) -> Tensor:  # fmt: skip
    """Matrix times vector: [..., m, k] x [..., k] -> [..., m]. Errors as of `matmul`."""
    with name_scope(name, "MatVec", [a, b]) as scope:
        x, y = convert_pair(a, b)
        product = matmul(x, expand_dims(y, -1), transpose_a=transpose_a, adjoint_a=adjoint_a)
        return squeeze(product, [-1], name=scope)


__all__ = ["matmul", "matvec"]
