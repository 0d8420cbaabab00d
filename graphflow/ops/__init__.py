"""The op library: one `OpDef` per op, in rooms for each kind of work. Importing this package registers every op."""

from graphflow.ops import operators
from graphflow.ops.array import (
    axis,
    concat,
    diagonal,
    fill,
    gather,
    identity,
    indexing,
    movement,
    one_hot_where_unique,
    pad,
    range,
    reshape,
    row_positions,
    row_updates,
    scatter,
    shape,
    slice_gradient,
    slicing,
    source,
    split,
    strided_slice,
)
from graphflow.ops.control_flow import assertions, control
from graphflow.ops.math import (
    add_n,
    argmax,
    binary,
    bitwise,
    cast,
    clip,
    compare,
    cumulative,
    einsum,
    matmul,
    reduce,
    select,
    statistics,
    sum_to_like,
    top_k,
    trigonometry,
    unary,
)
from graphflow.ops.nn import activation, bias, cross_entropy, dropout, embedding, normalization, sigmoid_cross_entropy, softmax
from graphflow.ops.random import orthogonal, sampling
from graphflow.ops.sparse import sparse_placeholder
from graphflow.ops.state import optimizer_updates, rows, variable
