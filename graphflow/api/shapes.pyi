# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.framework.shapes import (
    format_shape as format_shape, DimPolicy as DimPolicy, GRAPH_POLICY as GRAPH_POLICY, Dimension as Dimension,
    as_dimension as as_dimension, TensorShape as TensorShape, as_internal as as_internal, to_public as to_public,
    static_shape as static_shape,
)
