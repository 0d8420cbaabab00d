# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.framework.shapes import (
    format_shape as format_shape, DimPolicy as DimPolicy, GRAPH_POLICY as GRAPH_POLICY, Dimension as Dimension,
    as_dimension as as_dimension, TensorShape as TensorShape, as_internal as as_internal, to_public as to_public,
    static_shape as static_shape,
)
from graphflow.framework.dims import (
    Dim as Dim, Shape as Shape, SymDim as SymDim, evaluate as evaluate, floordiv as floordiv, fresh_dim as fresh_dim,
    maximum as maximum, minimum as minimum, mod as mod, never_negative as never_negative, product as product,
    size as size, substitute as substitute,
)
