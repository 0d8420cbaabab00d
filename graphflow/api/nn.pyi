# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.ops.nn.normalization import (
    batch_norm_with_global_normalization as batch_norm_with_global_normalization,
    batch_normalization as batch_normalization, l2_normalize as l2_normalize,
)
from graphflow.ops.nn.dropout import dropout as dropout
from graphflow.ops.nn.bias import relu_layer as relu_layer, xw_plus_b as xw_plus_b, bias_add as bias_add
from graphflow.ops.nn.activation import (
    elu as elu, gelu as gelu, leaky_relu as leaky_relu, log_sigmoid as log_sigmoid, relu as relu, relu6 as relu6,
    selu as selu, sigmoid as sigmoid, softplus as softplus, softsign as softsign, swish as swish, tanh as tanh,
)
from graphflow.ops.nn.embedding import embedding_lookup as embedding_lookup
from graphflow.ops.math.top_k import in_top_k as in_top_k, top_k as top_k
from graphflow.ops.math.statistics import l2_loss as l2_loss, moments as moments, zero_fraction as zero_fraction
from graphflow.ops.nn.softmax import log_softmax as log_softmax, softmax as softmax
from graphflow.ops.nn.sigmoid_cross_entropy import (
    sigmoid_cross_entropy_with_logits as sigmoid_cross_entropy_with_logits,
    weighted_cross_entropy_with_logits as weighted_cross_entropy_with_logits,
)
from graphflow.ops.nn.cross_entropy import (
    softmax_cross_entropy_with_logits as softmax_cross_entropy_with_logits,
    softmax_cross_entropy_with_logits_v2 as softmax_cross_entropy_with_logits_v2,
    sparse_softmax_cross_entropy_with_logits as sparse_softmax_cross_entropy_with_logits,
)
