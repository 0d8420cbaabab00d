"""Every op of the library has a gradient rule, or a reason to have none; the rules are loaded when they are needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import graphflow as tf
from graphflow.autodiff import gradients
from graphflow.autodiff.registry import gradient_of
from graphflow.autodiff.rule_loader import rule_of, ruled_ops
from graphflow.framework.build import build
from graphflow.framework.kinds import Elementwise
from graphflow.framework.registry import NotDifferentiable, OpDef, Sample, UndefinedGradient, all_ops, is_own, same_shape_infer

ROOT = Path(__file__).resolve().parent.parent
LIBRARY = [op for op in all_ops() if is_own(op)]
LOADED = "sorted(m for m in sys.modules if m.startswith('graphflow.autodiff'))"


def in_child(code: str) -> str:
    roots = [str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")]
    code = f"import sys\nsys.path[:0] = {roots!r}\nimport graphflow as tf\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("op", LIBRARY, ids=lambda op: op.name)
def test_every_op_has_a_rule_or_a_reason(op: OpDef) -> None:
    if isinstance(op.grad, (NotDifferentiable, UndefinedGradient)):
        assert op.grad.reason
        assert rule_of(op) is None, f"{op.name} has a rule, and a reason to have none"
    else:
        assert op.grad is None, f"the gradient of {op.name} belongs into graphflow/autodiff/rules"
        assert rule_of(op) is not None, f"{op.name} needs a rule in graphflow/autodiff/rules, or not_differentiable(...)"


def test_rules_are_for_ops_of_the_library() -> None:
    assert ruled_ops() <= {op.name for op in LIBRARY}


def test_rules_stand_where_their_ops_do() -> None:
    """graphflow/ops/math/unary.py has its rules in graphflow/autodiff/rules/math/unary.py: there they are looked for."""
    for op in LIBRARY:
        rule = rule_of(op)
        if rule is not None:
            assert rule.__module__.split(".")[3:] == op.module.split(".")[2:], op.name


def test_gradient_of_refuses_unknown_and_second_rules() -> None:
    assert "Mul" in ruled_ops()
    with pytest.raises(KeyError, match="no op is called 'Mull'"):
        gradient_of("Mull")
    with pytest.raises(ValueError, match="'Mul' has a gradient"):
        gradient_of("Mul")
    with pytest.raises(ValueError, match="'Floor' has a gradient, or a reason"):
        gradient_of("Floor")


def test_an_op_that_says_nothing_of_its_gradient_is_an_error() -> None:
    """Also if it has the name of an op of the library: that one's rule is not for it."""
    silent = OpDef("Mul", Elementwise(lambda b, attrs, x: x), same_shape_infer, lambda attrs, x: x, lambda: [Sample((1.0,))])
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2])
        with pytest.raises(LookupError, match=r"No gradient defined for operation 'silent'.*grad=\.\.\."):
            gradients.gradients(build(silent, [x], name="silent"), x)


def test_inference_loads_no_rules() -> None:
    code = f"x = tf.placeholder(tf.float32, [None, 3]); y = tf.nn.softmax(tf.matmul(x * 2.0, tf.ones([3, 4]))); print({LOADED})"
    assert in_child(code) == "[]"


def test_a_loaded_graph_differentiates(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [2], name="x")
        tf.tanh(x * x + tf.exp(x), name="y")
        tf.save(tmp_path / "model.gf")
    code = f"""
graph = tf.load({str(tmp_path / "model.gf")!r}).graph
print({LOADED})
x, y = graph.get_tensor_by_name("x:0"), graph.get_tensor_by_name("y:0")
(slope,) = tf.gradients(y, x)
with tf.Session(graph=graph) as session:
    print(*session.run(slope, {{x: [0.25, -0.5]}}).tolist())
"""
    loaded, slopes = in_child(code).splitlines()
    assert loaded == "[]"
    v = np.array([0.25, -0.5])
    wanted = (1 - np.tanh(v * v + np.exp(v)) ** 2) * (2 * v + np.exp(v))
    np.testing.assert_allclose([float(s) for s in slopes.split()], wanted, rtol=1e-5)
