# Written by pytest tests/test_public_names.py --update-golden from graphflow/public_names.py.
from graphflow.framework.build import build as build, build_op as build_op, convert_to_tensor as convert_to_tensor
from graphflow.framework.kinds import (
    Algebra as Algebra, ArgReduction as ArgReduction, Assertion as Assertion, Composite as Composite,
    Contraction as Contraction, Elementwise as Elementwise, ExpandContext as ExpandContext, Gather as Gather,
    Generate as Generate, Host as Host, IndexBuilder as IndexBuilder, IndexMap as IndexMap,
    LowerContext as LowerContext, NoOp as NoOp, Piece as Piece, Random as Random, Reduction as Reduction,
    Scatter as Scatter, ShapeOf as ShapeOf, Source as Source, StateUpdate as StateUpdate, TensorType as TensorType,
    View as View,
)
from graphflow.framework.registry import (
    InferContext as InferContext, NO_ATTRS as NO_ATTRS, NotDifferentiable as NotDifferentiable, OpDef as OpDef,
    Sample as Sample, UndefinedGradient as UndefinedGradient, not_differentiable as not_differentiable,
    register as register, same_shape_infer as same_shape_infer, undefined_gradient as undefined_gradient,
)
from graphflow.framework.scalar_builder import ScalarBuilder as ScalarBuilder
from graphflow.framework.dtypes import (
    ALL as ALL, FLOATS as FLOATS, HALVES as HALVES, INTEGERS as INTEGERS, NUMERIC as NUMERIC, SIGNED as SIGNED,
    UNSIGNED as UNSIGNED,
)
from graphflow.framework.dims import SymDim as SymDim, product as product
