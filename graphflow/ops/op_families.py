"""Which family of ops registers which ops, so that a family can be loaded when one of its ops is asked for by name.

Written by ``pytest tests/test_op_library_imports.py --update-golden`` from what the families register.
"""

from __future__ import annotations

FAMILIES: dict[str, str] = {
    "array.axis": "AxisPosition AxisSize",
    "array.concat": "ConcatV2 Pack",
    "array.diagonal": "DiagonalOf",
    "array.fill": "Fill",
    "array.gather": "GatherV2",
    "array.identity": "Identity IdentityN PreventGradient StopGradient",
    "array.indexing": "IndexFromFront",
    "array.movement": "BroadcastTo ReverseV2 Roll Tile Transpose",
    "array.one_hot_where_unique": "OneHot Unique UniqueWithCounts Where",
    "array.ordered_ids": "CheckedOnce CheckedOrder InvertPermutation PreviousElement SortedSegmentIds",
    "array.pad": "Mirrored PadV2",
    "array.range": "Range",
    "array.reshape": "ExpandDims Reshape Squeeze",
    "array.row_positions": "BatchRowPositions CheckedRow RowPositions",
    "array.row_updates": "RowsAdd RowsDiv RowsMax RowsMin RowsMul RowsSub RowsUpdate",
    "array.scatter": "SegmentAdd UnsortedSegmentSum",
    "array.shape": "Rank Shape Size",
    "array.slice_gradient": "SliceScatter StridedSliceGrad",
    "array.slicing": "CheckedBegin Slice",
    "array.source": "Const Placeholder PlaceholderWithDefault",
    "array.split": "Part Split Unpack",
    "array.strided_slice": "StridedSlice",
    "control_flow.control": "Assert CheckNumerics NoOp Print PyFunc RefuseInf RefuseNaN",
    "control_flow.deferred": "Deferred",
    "math.add_n": "AddN",
    "math.argmax": "ArgMax ArgMin",
    "math.binary": """
        AddV2 DivNoNan FloorDiv FloorMod Maximum Minimum Mul Pow RealDiv SquaredDifference Sub TruncateDiv
        TruncateMod
    """,
    "math.bitwise": "BitcastParts BitwiseAnd BitwiseOr BitwiseXor Invert LeftShift RightShift",
    "math.cast": "Bitcast Cast",
    "math.clip": "ClipByValue",
    "math.compare": "ApproximateEqual Equal Greater GreaterEqual Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual",
    "math.cumulative": "Cumprod Cumsum",
    "math.einsum": "",
    "math.matmul": "BatchMatMulV2 MatMul",
    "math.reduce": "All Any Max Mean Min Prod Sum",
    "math.select": "Select SelectV2",
    "math.statistics": "L2Loss LogSumExp Variance",
    "math.sum_to_like": "SumToLike",
    "math.top_k": "InTopKV2 TopKV2",
    "math.trigonometry": "Acos Acosh Asin Asinh Atan Atan2 Atanh Cos Cosh Sin Sinh Tan",
    "math.unary": """
        Abs Ceil Digamma Erf Erfc Exp Expm1 Floor IsFinite IsInf IsNan Lgamma Log Log1p Neg Reciprocal
        ReciprocalGrad Rint Round Rsqrt RsqrtGrad Sign Sqrt SqrtGrad Square
    """,
    "math.zeta": "Polygamma Zeta",
    "nn.activation": """
        Elu Gelu LeakyRelu LeakyReluGrad Relu Relu6 Relu6Grad ReluGrad Selu Sigmoid SigmoidGrad Softplus
        Softsign Tanh TanhGrad
    """,
    "nn.bias": "BiasAdd",
    "nn.cross_entropy": "CheckedLabel SoftmaxCrossEntropyWithLogits SparseSoftmaxCrossEntropyWithLogits",
    "nn.sigmoid_cross_entropy": "SigmoidCrossEntropyWithLogits",
    "nn.softmax": "ExpNonPositive LogSoftmax Softmax",
    "random.orthogonal": "Orthonormal",
    "random.sampling": "RandomStandardNormal RandomUniform RandomUniformInt RandomUpperBound TruncatedNormal",
    "state.optimizer_updates": """
        ApplyAdadelta ApplyAdagrad ApplyAdam ApplyCenteredRMSProp ApplyFtrlV2 ApplyGradientDescent ApplyMomentum
        ApplyRMSProp SparseApplyAdadelta SparseApplyAdagrad SparseApplyAdam SparseApplyCenteredRMSProp
        SparseApplyFtrlV2 SparseApplyMomentum SparseApplyRMSProp
    """,
    "state.rows": """
        ScatterAdd ScatterDiv ScatterMax ScatterMin ScatterMul ScatterNdAdd ScatterNdSub ScatterNdUpdate
        ScatterSub ScatterUpdate
    """,
    "state.slices": "StridedSliceAssign",
    "state.variable": "Assign AssignAdd AssignSub CountUpTo IncrementBelow IsVariableInitialized VariableV2",
}
