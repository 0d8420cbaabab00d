"""The op library: a room of families for each kind of work, one `OpDef` an op. Importing this registers every op."""

from graphflow.ops import operators
from graphflow.ops.array import (
    axis,
    concat,
    diagonal,
    fill,
    gather,
    identity_n,
    indexing,
    movement,
    one_hot_where_unique,
    reshape,
    scatter,
    shape,
    slice_gradient,
    source,
    split,
    strided_slice,
)
from graphflow.ops.control_flow import assertions, control
from graphflow.ops.math import (
    add_n,
    binary,
    bitwise,
    cast,
    clip,
    compare,
    einsum,
    matmul,
    reduce,
    statistics,
    sum_to_like,
    top_k,
    trigonometry,
    unary,
)
from graphflow.ops.nn import activation, cross_entropy, normalization, sigmoid_cross_entropy, softmax
from graphflow.ops.random import orthogonal, sampling
from graphflow.ops.state import optimizer_updates, rows, variable
