"""The elementwise families: what building them does, and each rule against its independent numpy reference."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from graphflow.framework.build import constant
from graphflow.framework.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    string,
    uint8,
)
from graphflow.framework.errors import ArgumentError, DTypeError, ShapeError
from graphflow.framework.graph import Graph
from graphflow.framework.kinds import Elementwise
from graphflow.framework.numpy_builder import NumpyBuilder
from graphflow.framework.registry import OpDef, Sample, all_ops
from graphflow.framework.tensor import Tensor
from graphflow.ops import operators
from graphflow.ops.array.source import placeholder
from graphflow.ops.math.add_n import accumulate_n, add_n
from graphflow.ops.math.binary import (
    add,
    div,
    div_no_nan,
    divide,
    floor_div,
    floordiv,
    maximum,
    minimum,
    mod,
    multiply,
    squared_difference,
    truediv,
)
from graphflow.ops.math.bitwise import bitwise_and, invert, left_shift, right_shift
from graphflow.ops.math.cast import bitcast, cast, to_double, to_float
from graphflow.ops.math.clip import clip_by_value, saturate_cast
from graphflow.ops.math.compare import logical_and, logical_xor
from graphflow.ops.math.select import where, where_v2
from graphflow.ops.math.unary import erf, exp, floor, is_nan, round, sqrt, square
from graphflow.ops.nn.activation import elu, gelu, leaky_relu, log_sigmoid, relu, relu6, selu, sigmoid, tanh
from graphflow.ops.nn.bias import bias_add

FAMILIES = (
    "unary", "trigonometry", "binary", "compare", "select", "bitwise", "cast", "add_n", "bias", "clip", "activation",
)  # fmt: skip
OPS = [op for op in all_ops() if op.family in FAMILIES]
RTOL = {float16: 4e-3, bfloat16: 3e-2, float32: 2e-6, float64: 1e-12}


@pytest.fixture(autouse=True)
def graph() -> Iterator[Graph]:
    with Graph().as_default() as g:
        yield g


def floats(*shape: int | None) -> Tensor:
    return placeholder(float32, shape)


def integers(*shape: int | None) -> Tensor:
    return placeholder(int32, shape)


# ---------------------------------------------------------------------------------------------- rules and references


def variants(op: OpDef) -> Iterator[tuple[Sample, list[np.ndarray[Any, Any]]]]:
    """The samples as they are, and cast to every other element type of the op."""
    for sample in op.samples():
        arrays = [np.asarray(a) for a in sample.inputs]
        yield sample, arrays
        if arrays[0].dtype != np.float32 or op.name == "Cast":
            continue
        for d in op.dtypes:
            if d not in (float32, string, bool_):
                cast = [np.abs(a) if d.is_unsigned else a for a in arrays]
                yield sample, [a.astype(d.numpy_dtype) if a.dtype == np.float32 else a for a in cast]


def types_fit(op: OpDef, sample: Sample, arrays: list[np.ndarray[Any, Any]]) -> bool:
    try:
        infer(op, sample, arrays)
    except DTypeError:
        return False
    return True


def infer(op: OpDef, sample: Sample, arrays: list[np.ndarray[Any, Any]]) -> Any:
    with Graph().as_default() as g:
        tensors = [placeholder(as_dtype(a.dtype), a.shape) for a in arrays]
        return g.create_op(op, tensors, sample.attrs).outputs[0].type


ELEMENTWISE = [op for op in OPS if isinstance(op.kind, Elementwise)]


@pytest.mark.parametrize("op", ELEMENTWISE, ids=lambda op: op.name)
def test_rule_matches_reference(op: OpDef) -> None:
    assert isinstance(op.kind, Elementwise) and op.reference is not None
    b = NumpyBuilder()
    tried = 0
    for sample, arrays in variants(op):
        if not types_fit(op, sample, arrays):
            continue
        out = infer(op, sample, arrays)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            value = op.kind.rule(b, sample.attrs, *arrays)
            want = np.asarray(op.reference(sample.attrs, *arrays))
            if op.kind.check is not None:
                assert not np.any(op.kind.check(b, sample.attrs, *arrays)), f"{op.name}: {sample} fails its check"
        what = f"{op.name} {sample.attrs} of {[a.dtype.name for a in arrays]}"
        assert as_dtype(value.dtype) is out.dtype and as_dtype(want.dtype) is out.dtype, what
        assert value.shape == want.shape == out.shape, what
        if out.dtype.is_floating:
            rtol = RTOL[out.dtype]
            np.testing.assert_allclose(
                value.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=rtol / 4, err_msg=what
            )
        else:
            np.testing.assert_array_equal(value, want, what)
        tried += 1
    assert tried


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_definition_says_everything(op: OpDef) -> None:
    samples = op.samples()
    assert op.doc and op.reference is not None and samples
    for sample in samples:
        arrays = [np.asarray(a) for a in sample.inputs]
        out = infer(op, sample, arrays)
        result = np.asarray(op.reference(sample.attrs, *arrays))
        assert as_dtype(result.dtype) is out.dtype
        assert len(result.shape) == len(out.shape)


def same(a: Any, b: Any) -> None:
    if as_dtype(a.dtype) is bfloat16:  # numpy does not know its NaN
        a, b = a.astype(np.float32), b.astype(np.float32)
    np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("op", [op for op in ELEMENTWISE if op.algebra.identity is not None], ids=lambda op: op.name)
def test_algebra_is_true(op: OpDef) -> None:
    """Identities hold for every value, the extreme ones too."""
    assert isinstance(op.kind, Elementwise)
    b, algebra = NumpyBuilder(), op.algebra
    for dtype in op.dtypes:
        if dtype.is_bool:
            x = np.array([True, False])
        elif dtype.is_floating:
            x = np.array([0, -1.5, 3, np.inf, -np.inf, np.nan]).astype(dtype.numpy_dtype)
        else:
            info = np.iinfo(dtype.numpy_dtype)
            x = np.array([0, 1, 5, info.min, info.max], dtype.numpy_dtype)
        assert algebra.identity is not None
        if (dtype.is_integer and not np.isfinite(algebra.identity)) or (dtype.is_unsigned and algebra.identity < 0):
            continue
        c = b.const(algebra.identity, dtype)
        same(op.kind.rule(b, None, x, c), x)
        if algebra.commutative:
            same(op.kind.rule(b, None, c, x), x)


EXTREMES = [-np.inf, -3e38, -90.0, -1.0, -1e-30, -0.0, 0.0, 1e-30, 1.0, 90.0, 3e38, np.inf, np.nan]


@pytest.mark.parametrize("name", ["Relu", "Relu6", "Sign", "Abs", "Sigmoid", "Tanh", "Softplus", "Elu", "Selu", "Erf", "Sqrt"])
def test_rules_at_extremes(name: str) -> None:
    op = next(op for op in OPS if op.name == name)
    assert isinstance(op.kind, Elementwise) and op.reference is not None
    x = np.array(EXTREMES, np.float32)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        value, want = op.kind.rule(NumpyBuilder(), None, x), op.reference(None, x)
    np.testing.assert_allclose(value, want, rtol=1e-6, atol=1e-7)
    assert np.isnan(value[-1])


# ---------------------------------------------------------------------------------------------- the numpy builder


@pytest.mark.parametrize("source", [float16, float32, float64, bfloat16])
@pytest.mark.parametrize("target", [int8, uint8, int32, int64, as_dtype("uint64")])
def test_float_to_int_saturates(source: DType, target: DType) -> None:
    b = NumpyBuilder()
    x = np.array([np.nan, np.inf, -np.inf, 1.9, -1.9, 300.0, -300.0]).astype(source.numpy_dtype)
    info = np.iinfo(target.numpy_dtype)
    want = [0, info.max, info.min, 1, max(-1, int(info.min)), min(300, int(info.max)), max(-300, int(info.min))]
    assert b.cast(x, target).tolist() == want
    assert b.cast(x, target).dtype == target.numpy_dtype


def test_integer_division_wraps_and_is_guarded() -> None:
    b = NumpyBuilder()
    low = np.array([np.iinfo(np.int32).min], np.int32)
    minus_one, zero = np.array([-1], np.int32), np.array([0], np.int32)
    rules = {op.name: op.kind for op in OPS if isinstance(op.kind, Elementwise)}
    for name, want in (("FloorDiv", low[0]), ("TruncateDiv", low[0]), ("FloorMod", 0), ("TruncateMod", 0)):
        assert rules[name].rule(b, None, low, minus_one).tolist() == [want]
        assert rules[name].check is not None and rules[name].check(b, None, low, zero).tolist() == [True]
        assert rules[name].check_message == "Integer division by zero"
        assert not rules[name].check(b, None, low.astype(np.float32), zero.astype(np.float32))
    assert rules["Pow"].check is not None and rules["Pow"].check(b, None, low, minus_one).tolist() == [True]
    assert rules["Pow"].check_message == "Integers to negative integer powers are not allowed"
    assert rules["Pow"].rule(b, None, np.array([3, -2, 0], np.int32), np.array([40, 31, 0], np.int32)).tolist() == [
        3**40 % 2**32 - 2**32 * (3**40 % 2**32 >= 2**31),
        -(2**31),
        1,
    ]


def test_fused_multiply_add_rounds_once() -> None:
    b = NumpyBuilder()
    for t in (np.float32, np.float64):
        eps = np.finfo(t).eps
        x = np.array([1 + eps], t)
        assert b.call("fma", x, x, -np.array([1 + 2 * eps], t)).tolist() == [float(eps) ** 2]
    assert b.call("fma", *(np.array([v]) for v in (1e300, 1e10, 0.0))).tolist() == [np.inf]


def test_constants_wrap_like_machine_words() -> None:
    b = NumpyBuilder()
    assert b.const(0xD2511F53, as_dtype("uint32")).tolist() == 0xD2511F53
    assert b.const(0xFFFFFFFF, int32).tolist() == -1
    assert b.const(1.5, bfloat16).dtype == bfloat16.numpy_dtype
    shifted = b.binary("shr", b.const(-8, int32), b.const(1, int32))
    assert shifted.tolist() == -4 and b.bitcast(b.const(1.0, float32), int32).tolist() == 0x3F800000


# ---------------------------------------------------------------------------------------------- names


def test_operators_have_tensorflows_names() -> None:
    x, y = floats(2), floats(2)
    made = [x + y, x - y, x * y, x / y, x // y, x % y, x**y, -x, abs(x), x < y, x <= y, x > y, x >= y]
    assert [t.op.name for t in made] == [
        "add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "Neg", "Abs", "Less", "LessEqual", "Greater",
        "GreaterEqual",
    ]  # fmt: skip
    assert [t.op.type for t in made[:7]] == ["AddV2", "Sub", "Mul", "RealDiv", "FloorDiv", "FloorMod", "Pow"]
    p, q = x < y, x > y
    assert [(p & q).op.name, (p | q).op.name, (p ^ q).op.name, (~p).op.name] == ["and", "or", "xor", "LogicalNot"]
    # Unique regardless of case: tf.add after x + y is Add_1.
    assert add(x, y).name == "Add_1:0" and multiply(x, y).name == "Mul_1:0"
    assert divide(x, y).name == "truediv_1:0"


def test_constant_operands_live_in_the_ops_scope(graph: Graph) -> None:
    x = floats(2)
    x + 1.0
    2 - x
    maximum(x, [0.0, 1.0])
    sqrt(4.0)
    add(1.0, 2.0, name="both")
    names = [op.name for op in graph.get_operations()]
    assert names == [
        "Placeholder", "add/y", "add", "sub/x", "sub", "Maximum/y", "Maximum", "Sqrt/x", "Sqrt", "both/x", "both/y",
        "both",
    ]  # fmt: skip
    with graph.name_scope("outer"):
        assert (x + 1.0).op.inputs[1].name == "outer/add/y:0"


def test_default_names() -> None:
    x, i = floats(3, 4), integers(3)
    made = {
        "Square": square(x), "Relu": relu(x), "Relu6": relu6(x), "Elu": elu(x), "Selu": selu(x), "Gelu": gelu(x),
        "LeakyRelu": leaky_relu(x), "BiasAdd": bias_add(x, [1.0] * 4), "AddN": add_n([x, x]),
        "clip_by_value": clip_by_value(x, 0, 1), "Select": where(x > 0, x, x), "Where": where(i),
        "SelectV2": where_v2(x > 0, x, 0.0), "Cast": cast(i, float32), "ToFloat": to_float(i),
        "FloorMod": mod(i, 2), "FloorDiv": floor_div(i, 2), "floordiv_1": floordiv(i, 2),
        "div": div(i, 2), "LogicalXor": logical_xor(x > 0, x < 1), "AccumulateNV2": accumulate_n([x, x]),
        "SquaredDifference": squared_difference(x, x), "saturate_cast": saturate_cast(x, uint8),
        "div_no_nan": div_no_nan(x, x), "LogSigmoid": log_sigmoid(x),
    }  # fmt: skip
    assert {t.op.name: None for t in made.values()} == dict.fromkeys(made)


# ---------------------------------------------------------------------------------------------- types and shapes


def test_values_take_the_tensors_dtype() -> None:
    x = floats(2)
    for made in (x + 1, 1 + x, x + np.ones(2), np.ones(2) * x, x * [1, 2], 2**x, add(np.float64(1), x)):
        assert made.dtype is float32
    assert (placeholder(float64, [2]) * 2).dtype is float64
    with pytest.raises(DTypeError, match=r"Expected int32, got 1.5 of type 'float' instead"):
        integers(2) + 1.5


def test_mixed_dtypes_are_refused() -> None:
    x, y = floats(2), placeholder(float64, [2])
    with pytest.raises(DTypeError) as e:
        x + y
    text = str(e.value)
    assert "Input 'y' of 'AddV2' Op has type float64 that does not match type float32 of argument 'x'." in text
    assert "created at test_elementwise_ops.py" in text and "x + y" in text
    with pytest.raises(DTypeError, match="Input 'e' of 'Select' Op has type float64"):
        where(x > 0, x, y)


@pytest.mark.parametrize("function", [sqrt, exp, tanh, sigmoid, floor, is_nan, erf])
def test_float_functions_refuse_integers(function: Any) -> None:
    with pytest.raises(
        DTypeError, match="Value passed to parameter 'x' has DataType int32 not in list of allowed values: float16,"
    ):
        function(integers(2))


def test_logic_wants_bools() -> None:
    with pytest.raises(
        DTypeError, match="Input 'x' of 'LogicalAnd' Op has type float32 that does not match expected type of bool"
    ):
        logical_and(floats(2), floats(2))
    with pytest.raises(DTypeError, match="expected type of bool"):
        logical_xor(integers(2), integers(2))
    with pytest.raises(DTypeError, match="Input 'condition' of 'Select' Op has type int32"):
        where(integers(2), floats(2), floats(2))


def test_true_division_of_integers() -> None:
    assert (integers(2) / integers(2)).dtype is float64
    t = integers(2) / 2
    assert t.dtype is float64 and [i.op.name for i in t.op.inputs] == ["truediv_1/Cast", "truediv_1/Cast_1"]
    assert truediv(placeholder(int8, [2]), placeholder(int8, [2])).dtype is float32
    assert div(integers(2), 2).dtype is int32 and div(floats(2), 2).op.type == "RealDiv"


def test_shapes_broadcast() -> None:
    assert (floats(None, 1) + floats(3)).shape.as_list() == [None, 3]
    assert (floats(2, 3) * floats()).shape.as_list() == [2, 3] and (floats() < floats(2, 3)).shape.as_list() == [2, 3]
    assert (placeholder(float32) + floats(3)).shape.ndims is None
    assert clip_by_value(floats(None, 3), 0.0, floats(3)).shape.as_list() == [None, 3]
    with pytest.raises(ShapeError, match="Dimensions must be equal, but are 3 and 4"):
        floats(2, 3) + floats(2, 4)


def test_select_shapes() -> None:
    x, c = floats(4, 3), placeholder(bool_, [4])
    assert where(c, x, x).shape.as_list() == [4, 3]
    assert where(placeholder(bool_, []), x, x).shape.as_list() == [4, 3]
    assert where(placeholder(bool_, [None, 3]), floats(None, 3), x).shape.as_list() == [4, 3]
    assert where(x > 0).shape.as_list() == [None, 2] and where(x > 0).dtype is int64
    assert where_v2(placeholder(bool_, [3]), x, 0.0).shape.as_list() == [4, 3]
    with pytest.raises(ShapeError, match="Dimension 0 in both shapes must be equal, but are 4 and 5"):
        where(x > 0, x, floats(5, 3))
    with pytest.raises(ShapeError, match=r"Dimension 0 in both shapes must be equal, but are 4 and 5"):
        where(placeholder(bool_, [5]), x, x)
    with pytest.raises(ArgumentError, match="both be non-None"):
        where(c, x)


def test_bias_add_checks() -> None:
    x = floats(None, 4, 5, 3)
    assert bias_add(x, floats(3)).shape.as_list() == [None, 4, 5, 3]
    assert bias_add(x, floats(4), data_format="NCHW").op.get_attr("data_format") == "NCHW"
    assert bias_add(floats(2, None), floats(3)).shape.as_list() == [2, 3]
    with pytest.raises(ShapeError, match="Dimensions must be equal, but are 3 and 4"):
        bias_add(x, floats(4))
    with pytest.raises(ShapeError, match="Shape must be rank 1 but is rank 2"):
        bias_add(x, floats(1, 3))
    with pytest.raises(ShapeError, match="Shape must be at least rank 2"):
        bias_add(floats(3), floats(3))
    with pytest.raises(ArgumentError, match="data_format"):
        bias_add(x, floats(3), data_format="HWCN")


def test_add_n_checks() -> None:
    x = floats(2)
    assert add_n([x]) is x and add_n([x, [1.0, 2.0]]).dtype is float32
    assert add_n([floats(None, 3), floats(2, None)]).shape.as_list() == [2, 3]
    with pytest.raises(ArgumentError, match="must be a list of at least one Tensor"):
        add_n([])
    with pytest.raises(ShapeError, match="Dimension 0 in both shapes must be equal, but are 2 and 3"):
        add_n([x, floats(3)])
    with pytest.raises(DTypeError, match="does not match type float32"):
        add_n([x, integers(2)])


def test_cast() -> None:
    x = floats(2)
    assert cast(x, "float32") is x and cast(x, int).dtype is int32 and to_double(x).dtype is float64
    assert cast([1, 2], float32).op.type == "Cast" and cast(1.5, float32).op.type == "Const"
    with pytest.raises(DTypeError, match="Cast string to int32 is not supported"):
        cast(constant(["a"]), int32)
    assert bitcast(x, int32).dtype is int32
    with pytest.raises(DTypeError, match="Cannot bitcast from float32 to bool"):
        bitcast(x, bool)
    with pytest.raises(ShapeError, match=r"Cannot bitcast from float32 to float64: \[3\] must end in 2"):
        bitcast(floats(3), float64)
    assert bitcast(x, float64).shape.as_list() == []
    clamped = saturate_cast(integers(2), uint8)
    assert [t.op.type for t in (clamped, clamped.op.inputs[0], clamped.op.inputs[0].op.inputs[0])] == [
        "Cast", "Minimum", "Maximum",
    ]  # fmt: skip


def test_sizes_are_followed_through_arithmetic() -> None:
    n = constant(6)
    vector = constant([2, 3])
    assert (n * 4 + 1 - 5).static_value() == 20 and (n // 4).static_value() == 1 and (n % 4).static_value() == 2
    assert (vector * 2).static_value() == (4, 6) and cast(vector, int64).static_value() == (2, 3)
    assert maximum(n, 7).static_value() == 7 and minimum(vector, vector).static_value() == (2, 3)
    # As in a run, which wraps.
    assert (n // 0).static_value() is None and (constant(2**30) * 4).static_value() == 0


# ---------------------------------------------------------------------------------------------- operators


def test_bits_of_integers() -> None:
    i = integers(2)
    assert [(i & 3).op.type, (i | 3).op.type, (3 ^ i).op.type, (~i).op.type] == [
        "BitwiseAnd", "BitwiseOr", "BitwiseXor", "Invert",
    ]  # fmt: skip
    assert bitwise_and(i, i).op.name == "BitwiseAnd" and invert(i).dtype is int32
    assert left_shift(i, 2).dtype is int32 and right_shift(i, i).shape.as_list() == [2]
    with pytest.raises(DTypeError, match="has DataType float32 not in list"):
        bitwise_and(floats(2), floats(2))


def test_objects_that_know_tensors_are_asked() -> None:
    class Known:
        def __radd__(self, other: Any) -> str:
            return "asked"

    assert floats(2) + Known() == "asked"
    with pytest.raises(TypeError):
        floats(2) + object()
    assert operators.defers(Known(), "__radd__") and not operators.defers(1.0, "__radd__")


def test_round_leaves_integers_alone() -> None:
    i = integers(2)
    assert round(i) is i and round(floats(2)).op.type == "Round"
    assert leaky_relu(i).dtype is float32
