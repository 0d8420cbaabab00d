# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.nn_ops import (
    batch_norm_with_global_normalization as batch_norm_with_global_normalization,
    batch_normalization as batch_normalization,
    dropout as dropout,
    l2_normalize as l2_normalize,
    relu_layer as relu_layer,
    xw_plus_b as xw_plus_b,
)
from graphflow.ops.combine import bias_add as bias_add
from graphflow.ops.activation import (
    elu as elu,
    gelu as gelu,
    leaky_relu as leaky_relu,
    log_sigmoid as log_sigmoid,
    relu as relu,
    relu6 as relu6,
    selu as selu,
    sigmoid as sigmoid,
    softplus as softplus,
    softsign as softsign,
    swish as swish,
    tanh as tanh,
)
from graphflow.ops.gather import embedding_lookup as embedding_lookup
from graphflow.ops.order import in_top_k as in_top_k, top_k as top_k
from graphflow.ops.statistics import l2_loss as l2_loss, moments as moments, zero_fraction as zero_fraction
from graphflow.ops.softmax import log_softmax as log_softmax, softmax as softmax
from graphflow.ops.logistic import (
    sigmoid_cross_entropy_with_logits as sigmoid_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits as weighted_cross_entropy_with_logits,
)
from graphflow.ops.cross_entropy import (
    softmax_cross_entropy_with_logits as softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2 as softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits as sparse_softmax_cross_entropy_with_logits,
)
