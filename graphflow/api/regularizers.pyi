# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.variables.regularizers import (
    apply_regularization as apply_regularization, l1_l2_regularizer as l1_l2_regularizer,
    l1_regularizer as l1_regularizer, l2_regularizer as l2_regularizer, sum_regularizer as sum_regularizer,
    Regularizer as Regularizer,
)
