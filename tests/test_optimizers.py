"""Optimizers over several steps against their formulas written out in numpy."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow import train
from graphflow.framework.indexed_slices import IndexedSlices

STEPS = 4
Step = Callable[[Any, Any, dict[str, Any]], Any]  # (w, g, state) -> new w


@pytest.fixture(autouse=True)
def graph() -> Iterator[gf.Graph]:
    with gf.Graph().as_default() as g:
        yield g


def _descent(w: Any, g: Any, s: dict[str, Any]) -> Any:
    return w - 0.1 * g


def _momentum(w: Any, g: Any, s: dict[str, Any]) -> Any:
    s["a"] = 0.9 * s.get("a", 0.0) + g
    return w - 0.1 * s["a"]


def _nesterov(w: Any, g: Any, s: dict[str, Any]) -> Any:
    s["a"] = 0.9 * s.get("a", 0.0) + g
    return w - 0.1 * (g + 0.9 * s["a"])


def _adam(w: Any, g: Any, s: dict[str, Any]) -> Any:
    t = s["t"] = s.get("t", 0) + 1
    s["m"] = 0.9 * s.get("m", 0.0) + 0.1 * g
    s["v"] = 0.999 * s.get("v", 0.0) + 0.001 * g * g
    return w - 0.1 * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * s["m"] / (np.sqrt(s["v"]) + 1e-8)


def _rms(w: Any, g: Any, s: dict[str, Any]) -> Any:
    s["ms"] = 0.9 * s.get("ms", 1.0) + 0.1 * g * g
    s["mom"] = 0.5 * s.get("mom", 0.0) + 0.1 * g / np.sqrt(s["ms"] + 1e-10)
    return w - s["mom"]


def _centered(w: Any, g: Any, s: dict[str, Any]) -> Any:
    s["ms"] = 0.9 * s.get("ms", 1.0) + 0.1 * g * g
    s["mg"] = 0.9 * s.get("mg", 0.0) + 0.1 * g
    s["mom"] = 0.5 * s.get("mom", 0.0) + 0.1 * g / np.sqrt(s["ms"] - s["mg"] ** 2 + 1e-10)
    return w - s["mom"]


def _adagrad(w: Any, g: Any, s: dict[str, Any]) -> Any:
    s["a"] = s.get("a", 0.1) + g * g
    return w - 0.1 * g / np.sqrt(s["a"])


def _adadelta(w: Any, g: Any, s: dict[str, Any]) -> Any:
    s["a"] = 0.95 * s.get("a", 0.0) + 0.05 * g * g
    u = np.sqrt(s.get("u", 0.0) + 1e-6) / np.sqrt(s["a"] + 1e-6) * g
    s["u"] = 0.95 * s.get("u", 0.0) + 0.05 * u * u
    return w - u


def _ftrl(w: Any, g: Any, s: dict[str, Any]) -> Any:
    old = s.get("n", 0.1)
    s["n"] = old + g * g
    s["z"] = s.get("z", 0.0) + g - (np.sqrt(s["n"]) - np.sqrt(old)) / 0.1 * w
    w = -(s["z"] - np.sign(s["z"]) * 0.05) / (np.sqrt(s["n"]) / 0.1 + 2 * 0.02)
    return np.where(np.abs(s["z"]) > 0.05, w, 0.0)


CASES: dict[str, tuple[Callable[[], train.Optimizer], Step]] = {
    "descent": (lambda: train.GradientDescentOptimizer(0.1), _descent),
    "momentum": (lambda: train.MomentumOptimizer(0.1, 0.9), _momentum),
    "nesterov": (lambda: train.MomentumOptimizer(0.1, 0.9, use_nesterov=True), _nesterov),
    "adam": (lambda: train.AdamOptimizer(0.1), _adam),
    "rms": (lambda: train.RMSPropOptimizer(0.1, momentum=0.5), _rms),
    "centered": (lambda: train.RMSPropOptimizer(0.1, momentum=0.5, centered=True), _centered),
    "adagrad": (lambda: train.AdagradOptimizer(0.1), _adagrad),
    "adadelta": (lambda: train.AdadeltaOptimizer(1.0, epsilon=1e-6), _adadelta),
    "ftrl": (
        lambda: train.FtrlOptimizer(0.1, l1_regularization_strength=0.05, l2_regularization_strength=0.02),
        _ftrl,
    ),
}
TARGET = np.array([[0.5, -1.0], [2.0, 0.3], [0.0, 1.5]])


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_dense_steps(name: str, backend: str) -> None:
    make, step = CASES[name]
    start = np.array([[1.0, -2.0], [0.5, 0.1], [3.0, 1.0]])
    w = gf.Variable(start)
    loss = gf.reduce_sum(gf.square(w - TARGET))
    op = make().minimize(loss)
    s = gf.Session(backend=backend)
    s.run(gf.global_variables_initializer())
    expected, state = start, {}
    for _ in range(STEPS):
        s.run(op)
        expected = step(expected, 2 * (expected - TARGET), state)
    assert np.allclose(s.run(w), expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("backend", ["reference", "native"])
@pytest.mark.parametrize("name", sorted(CASES))
def test_sparse_steps(name: str, backend: str) -> None:
    """Rows 2 (twice) and 0 get gradients, row 1 none; Adam alone moves every row, as in TensorFlow."""
    make, step = CASES[name]
    start = np.array([[1.0, -2.0], [0.5, 0.1], [3.0, 1.0]])
    values = np.array([[0.1, 0.2], [0.3, -0.4], [0.5, 0.6]])
    total = np.array([values[1], [0.0, 0.0], values[0] + values[2]])
    w = gf.Variable(start)
    grad = IndexedSlices(gf.constant(values), gf.constant([2, 0, 2]), gf.constant([3, 2]))
    op = make().apply_gradients([(grad, w)])
    s = gf.Session(backend=backend)
    s.run(gf.global_variables_initializer())
    expected, state = start, {}
    for _ in range(STEPS):
        s.run(op)
        expected = step(expected, total, state)
    if name != "adam":
        expected = np.array([expected[0], start[1], expected[2]])
    assert np.allclose(s.run(w), expected, rtol=1e-5, atol=1e-7)


def test_names_slots_and_global_step(graph: gf.Graph) -> None:
    w = gf.Variable([1.0], name="W")
    step = gf.Variable(0, trainable=False, name="global_step")
    opt = train.AdamOptimizer(0.1)
    op = opt.minimize(gf.reduce_sum(w * w), global_step=step)
    assert isinstance(op, gf.Operation) and op.name == "Adam"
    assert [v.op.name for v in gf.global_variables()] == [
        "W", "global_step", "beta1_power", "beta2_power", "W/Adam", "W/Adam_1",
    ]  # fmt: skip
    assert gf.trainable_variables() == [w]
    assert opt.get_slot_names() == ["m", "v"] and opt.get_slot(w, "m").op.name == "W/Adam"
    assert len(opt.variables()) == 4
    names = {o.name for o in graph.get_operations()}
    assert {"Adam/learning_rate", "Adam/update_W/ApplyAdam", "Adam/update"} <= names
    s = gf.Session()
    s.run(gf.global_variables_initializer())
    s.run(op)
    s.run(op)
    assert s.run(step) == 2


def test_no_gradients() -> None:
    u = gf.Variable(1.0, name="u")
    opt = train.GradientDescentOptimizer(0.1)
    with pytest.raises(ValueError, match="No gradients provided for any variable, check your graph"):
        opt.minimize(gf.constant(1.0), var_list=[u])
    with pytest.raises(ValueError, match="No gradients provided for any variable"):
        opt.apply_gradients([(None, u)])
    with pytest.raises(ValueError, match="No variables to optimize"):
        opt.minimize(u * 1.0, var_list=[])
    assert opt.compute_gradients(gf.constant(1.0), [u]) == [(None, u)]


def test_learning_rate_tensor_var_list_and_constraint() -> None:
    w = gf.Variable(1.0, constraint=lambda x: gf.maximum(x, 0.5))
    other = gf.Variable(1.0)
    rate = gf.placeholder(gf.float32, [])
    op = train.GradientDescentOptimizer(rate).minimize(w * w + other * other, var_list=[w])
    s = gf.Session()
    s.run(gf.global_variables_initializer())
    s.run(op, {rate: 0.1})
    assert abs(s.run(w) - 0.8) < 1e-6 and s.run(other) == 1.0
    s.run(op, {rate: 0.4})
    assert s.run(w) == 0.5


def test_clipped_gradients_and_subclass() -> None:
    class Sign(train.Optimizer):
        def __init__(self) -> None:
            super().__init__(False, "Sign")

        def _apply_dense(self, grad: Any, var: Any) -> Any:
            return var.assign_sub(0.5 * gf.sign(grad))

        def _apply_sparse(self, grad: Any, var: Any) -> Any:
            return gf.scatter_sub(var, grad.indices, 0.5 * grad.values)

    w = gf.Variable([1.0, -1.0])
    opt = Sign()
    pairs = [(gf.clip_by_value(g, -1.0, 1.0), v) for g, v in opt.compute_gradients(gf.reduce_sum(w * w))]
    op = opt.apply_gradients(pairs)
    s = gf.Session()
    s.run(gf.global_variables_initializer())
    s.run(op)
    assert s.run(w).tolist() == [0.5, -0.5]
    rows = IndexedSlices(gf.constant([1.0, 2.0]), gf.constant([1, 1]), gf.constant([2]))
    s.run(opt.apply_gradients([(rows, w)]))
    assert s.run(w).tolist() == [0.5, -2.0]
