"""From the registry: every op has a gradient rule, passes none as in TensorFlow (None), or raises LookupError with its name."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.autodiff.rule_loader import rule_of
from graphflow.framework.dtypes import as_dtype
from graphflow.framework.kinds import StateUpdate
from graphflow.framework.registry import NotDifferentiable, OpDef, UndefinedGradient, all_ops, is_own

LIBRARY = [op for op in all_ops() if is_own(op)]

#: Ops of the library for which TensorFlow 1.12 has a gradient. Its Add, BatchMatMul and Select are called V2 here, too.
WITH_GRADIENT = """
    Abs Acos Acosh AddN AddV2 Asin Asinh Atan Atan2 Atanh BatchMatMulV2 BiasAdd BroadcastTo Cast CheckNumerics ClipByValue
    ConcatV2 Cos Cosh Cumprod Cumsum Digamma DivNoNan Elu Erf Erfc Exp ExpandDims Expm1 Fill FloorMod GatherV2 Identity
    IdentityN L2Loss Lgamma Log Log1p LogSoftmax MatMul Max Maximum Mean Min Minimum Mul Neg Pack PadV2
    PlaceholderWithDefault Polygamma Pow PreventGradient Print Prod RealDiv Reciprocal ReciprocalGrad Relu Relu6 Relu6Grad
    ReluGrad Reshape ReverseV2 Rsqrt
    RsqrtGrad Select SelectV2 Selu Sigmoid SigmoidGrad Sign Sin Sinh Slice Softmax SoftmaxCrossEntropyWithLogits Softplus
    Softsign SparseSoftmaxCrossEntropyWithLogits Split Sqrt SqrtGrad Square SquaredDifference Squeeze StridedSlice
    StridedSliceGrad Sub Sum Tan Tanh TanhGrad Tile TopKV2 Transpose Unpack UnsortedSegmentSum Zeta
"""
#: Ops for which TensorFlow 1.12 registers that they pass none.
WITH_NONE = """
    ApproximateEqual ArgMax ArgMin Assign AssignAdd AssignSub BitwiseAnd BitwiseOr BitwiseXor Ceil Const Equal Floor FloorDiv
    Greater GreaterEqual Invert LeftShift Less LessEqual LogicalAnd LogicalNot LogicalOr NotEqual OneHot PyFunc
    RandomStandardNormal RandomUniform Range Rank RightShift Rint Round ScatterAdd ScatterDiv ScatterMul ScatterNdAdd
    ScatterNdSub ScatterNdUpdate ScatterSub Shape Size StopGradient TruncateDiv TruncatedNormal
"""
#: Ops for which it registers nothing, so that it raises LookupError where a float's gradient arrives.
WITH_ERROR = """
    ApplyAdadelta ApplyAdagrad ApplyAdam ApplyCenteredRMSProp ApplyFtrlV2 ApplyGradientDescent ApplyMomentum ApplyRMSProp
    Bitcast ScatterMax ScatterMin ScatterUpdate SparseApplyAdadelta SparseApplyAdagrad SparseApplyCenteredRMSProp
    SparseApplyFtrlV2 SparseApplyMomentum SparseApplyRMSProp Unique UniqueWithCounts
"""
#: Float inputs for which the rule, like TensorFlow's, gives None: only values steer a pole or a label, and nobody knows more.
NONE_FOR = {"Zeta": {0}, "Polygamma": {0}, "DiagonalOf": {1}}


def kind_of(op: OpDef) -> str:
    if isinstance(op.grad, NotDifferentiable):
        return "none"
    return "error" if isinstance(op.grad, UndefinedGradient) else "rule"


@pytest.mark.parametrize("op", LIBRARY, ids=lambda op: op.name)
def test_an_op_has_one_of_three(op: OpDef) -> None:
    assert (rule_of(op) is not None) == (kind_of(op) == "rule"), op.name
    for kind, names in (("rule", WITH_GRADIENT), ("none", WITH_NONE), ("error", WITH_ERROR)):
        if op.name in names.split():
            assert kind_of(op) == kind, f"{op.name} has a {kind} in TensorFlow"


def test_the_table_names_ops_of_the_library() -> None:
    assert {*(WITH_GRADIENT + WITH_NONE + WITH_ERROR).split()} <= {op.name for op in LIBRARY}


def build(op: OpDef, sample: Any) -> tuple[Any, list[Any]]:
    """The op on constants and variables, and those of its inputs for which a gradient may be asked."""
    inputs, asked = [], []
    for i, value in enumerate(sample.inputs):
        value = np.asarray(value)
        is_ref = isinstance(op.kind, StateUpdate) and i in op.kind.refs
        x = tf.Variable(value)._as_graph_element() if is_ref else tf.constant(value)
        inputs.append(x)
        if as_dtype(value.dtype).is_floating and i not in op.shape_operands:
            asked.append((i, x))
    return tf.get_default_graph().create_op(op, inputs, sample.attrs, name="asked"), asked


@pytest.mark.parametrize("op", [op for op in LIBRARY if op.samples()], ids=lambda op: op.name)
def test_tf_gradients_gives_what_the_op_says(op: OpDef) -> None:
    tried = False
    for sample in op.samples():
        with tf.Graph().as_default():
            operation, asked = build(op, sample)
            ys = [t for t in operation.outputs if t.base_dtype.is_floating]
            if not ys or not asked:
                continue
            tried = True
            xs = [x for _, x in asked]
            if kind_of(op) == "error" or op.name == "PreventGradient":
                with pytest.raises(LookupError, match=rf"('asked' \(op type: {op.name}\)|explicitly disabled.*'asked')"):
                    tf.gradients(ys, xs)
            elif kind_of(op) == "none":
                assert tf.gradients(ys, xs) == [None] * len(xs)
            elif op.name != "Cast" or sample.attrs.dtype.is_floating:
                found = tf.gradients(ys, xs)
                assert {i for (i, _), g in zip(asked, found, strict=True) if g is None} == NONE_FOR.get(op.name, set())
    if not tried:
        # No float goes in or none comes out, so nobody can ask.
        assert kind_of(op) != "error" or op.name in WITH_ERROR.split()


def test_an_undefined_gradient_of_ones_own_op() -> None:
    from graphflow import custom_ops
    from graphflow.framework.kinds import Elementwise

    op = OpDef(
        "Mine", Elementwise(lambda b, attrs, x: x), custom_ops.same_shape_infer, lambda attrs, x: x, list,
        custom_ops.undefined_gradient("nobody has written it"),
    )  # fmt: skip
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2])
        y = custom_ops.build(op, [x], name="asked")
        with pytest.raises(LookupError, match=r"'asked' \(op type: Mine\): nobody has written it"):
            tf.gradients(y, x)
        assert tf.gradients(y, tf.placeholder(tf.float32)) == [None]
