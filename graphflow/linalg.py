"""`tf.linalg`."""

from __future__ import annotations

from graphflow.ops.einsum import einsum, tensordot
from graphflow.ops.fill import eye
from graphflow.ops.matmul import matmul, matvec
from graphflow.ops.nn_ops import l2_normalize
from graphflow.ops.rearrange import matrix_transpose
from graphflow.ops.statistics import norm, normalize

transpose = matrix_transpose

__all__ = [
    "einsum",
    "eye",
    "l2_normalize",
    "matmul",
    "matrix_transpose",
    "matvec",
    "norm",
    "normalize",
    "tensordot",
    "transpose",
]
