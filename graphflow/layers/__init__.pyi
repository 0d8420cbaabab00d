# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.layers.core import (
    BatchNormalization as BatchNormalization, Dense as Dense, Dropout as Dropout, Flatten as Flatten, Layer as Layer,
    batch_normalization as batch_normalization, dense as dense, dropout as dropout, flatten as flatten,
)
