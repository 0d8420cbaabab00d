"""The gradients of the library's ops, in the rooms of `graphflow/ops`. Importing this registers all of them."""

from graphflow.autodiff.rules.array import concat, fill, gather, identity, movement, pad, reshape, scatter, split, strided_slice
from graphflow.autodiff.rules.control_flow import control
from graphflow.autodiff.rules.math import (
    add_n,
    binary,
    cast,
    clip,
    cumulative,
    matmul,
    reduce,
    select,
    statistics,
    top_k,
    trigonometry,
    unary,
)
from graphflow.autodiff.rules.nn import activation, bias, cross_entropy, sigmoid_cross_entropy, softmax
