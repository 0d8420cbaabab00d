"""`tf.nn`."""

from __future__ import annotations

# fmt: off
from graphflow.ops.activation import (
    elu,
    gelu,
    leaky_relu,
    log_sigmoid,
    relu,
    relu6,
    selu,
    sigmoid,
    softplus,
    softsign,
    swish,
    tanh,
)
from graphflow.ops.combine import bias_add
from graphflow.ops.cross_entropy import (
    softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits,
)
from graphflow.ops.gather import embedding_lookup
from graphflow.ops.logistic import sigmoid_cross_entropy_with_logits, weighted_cross_entropy_with_logits
from graphflow.ops.nn_ops import (
    batch_norm_with_global_normalization,
    batch_normalization,
    dropout,
    l2_normalize,
    relu_layer,
    xw_plus_b,
)
from graphflow.ops.order import in_top_k, top_k
from graphflow.ops.softmax import log_softmax, softmax
from graphflow.ops.statistics import l2_loss, moments, zero_fraction

__all__ = [
    "batch_norm_with_global_normalization", "batch_normalization", "bias_add", "dropout", "elu", "embedding_lookup",
    "gelu", "in_top_k", "l2_loss", "l2_normalize", "leaky_relu", "log_sigmoid", "log_softmax", "moments", "relu",
    "relu6", "relu_layer", "selu", "sigmoid", "sigmoid_cross_entropy_with_logits", "softmax",
    "softmax_cross_entropy_with_logits", "softmax_cross_entropy_with_logits_v2", "softplus", "softsign",
    "sparse_softmax_cross_entropy_with_logits", "swish", "tanh", "top_k", "weighted_cross_entropy_with_logits",
    "xw_plus_b", "zero_fraction",
]
