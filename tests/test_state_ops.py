"""Generated from the op registry: what every op that changes variables leaves in them, against its numpy reference."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.dtypes import DType, as_dtype, bfloat16, bool_, float16, float32, float64, string
from graphflow.framework.kinds import StateUpdate
from graphflow.framework.registry import OpDef, all_ops
from tests.native_ops import assert_native, refuse_to_compile

OPS = [op for op in all_ops() if isinstance(op.kind, StateUpdate) and op.samples()]
RTOL: dict[DType, float] = {float32: 2e-5, float64: 1e-9}


def arrays_of(inputs: tuple[Any, ...], dtype: DType | None) -> list[np.ndarray[Any, Any]]:
    arrays = [np.asarray(a) for a in inputs]
    if dtype is None:
        return arrays
    return [a.astype(dtype.numpy_dtype) if a.dtype == np.float32 else a for a in arrays]


def wanted(op: OpDef, arrays: list[np.ndarray[Any, Any]], attrs: Any) -> list[np.ndarray[Any, Any]]:
    assert op.reference is not None
    wide = [a.astype(np.float64) if as_dtype(a.dtype).is_floating else a for a in arrays]
    return [np.asarray(r) for r in op.reference(attrs, *wide)]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_native_against_reference(op: OpDef) -> None:
    """All samples and element types in one run; float16 and bfloat16, whose roundings add up, are left out."""
    assert isinstance(op.kind, StateUpdate)
    others = [d for d in op.dtypes if d not in (float32, string, bool_, float16, bfloat16) and not d.is_unsigned]
    cases = []
    with gf.Graph().as_default():
        s = gf.Session()
        fetches, feeds = [], {}
        for sample in op.samples():
            main = as_dtype(np.asarray(sample.inputs[0]).dtype)
            for dtype in [None, *(others if main is float32 else [])]:
                arrays = arrays_of(sample.inputs, dtype)
                inputs = []
                for i, a in enumerate(arrays):
                    if i in op.kind.refs:
                        v = gf.Variable(a, trainable=False)
                        s.run(v.initializer)
                        inputs.append(v._as_graph_element())
                    elif i in op.shape_operands:
                        inputs.append(gf.constant(np.asarray(sample.inputs[i])))
                    else:
                        p = gf.placeholder(as_dtype(a.dtype), a.shape)
                        feeds[p] = a
                        inputs.append(p)
                made = gf.get_default_graph().create_op(op, inputs, sample.attrs)
                fetches.append((list(made.outputs), [inputs[i] for i in op.kind.refs]))
                cases.append((arrays, sample.attrs))
        yielded = s.run([f[0] for f in fetches], feeds)
        kept = s.run([f[1] for f in fetches])
        assert_native(s, op.name, [op.name], [f[0] for f in fetches], feeds)
    for (arrays, attrs), outputs, values in zip(cases, yielded, kept, strict=True):
        rtol = RTOL.get(as_dtype(arrays[0].dtype), 0)
        for expected, output, value in zip(wanted(op, arrays, attrs), outputs, values, strict=True):
            assert np.array_equal(output, value) and value.dtype == arrays[0].dtype and value.shape == expected.shape
            assert np.allclose(value, expected, rtol=rtol, atol=1e-5 if rtol else 0), (arrays, value, expected)


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_nothing_passes_without_the_compiler(op: OpDef, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_compile(monkeypatch)
    with pytest.raises(AssertionError, match=r"runs were in numpy: .*nothing is compiled in this test"):
        test_native_against_reference(op)


def test_assignments_are_computed_straight_into_variables() -> None:
    """Nothing is copied where nothing reads the old value; checks of the run come first, whatever they check."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None, 3], name="x")
        v = gf.Variable(np.zeros((2, 3), np.float32), name="v")
        w = gf.Variable(np.ones((2, 3), np.float32), name="w")
        y = gf.tanh(x) * 2.0
        both = gf.group(gf.assign(v, y), gf.assign(w, y))
        rows = gf.assign(v, gf.nn.softmax(y))
        product = gf.assign(v, gf.matmul(y, gf.ones([3, 3])))
        with gf.control_dependencies([gf.assert_less(gf.reduce_max(x), 5.0)]):
            checked = gf.assign(v, y * 3.0)
    a = np.arange(6, dtype=np.float32).reshape(2, 3) / 2
    expected = np.tanh(a) * 2
    with gf.Session(graph=graph) as session:
        session.run([v.initializer, w.initializer])
        text = session.explain(both, {x: a})
        assert "assigns: v" in text
        assert text.count("copy of") == 1  # the other variable's
        session.run(both, {x: a})
        np.testing.assert_allclose(session.run(v), expected, rtol=1e-6)
        np.testing.assert_array_equal(session.run(v), session.run(w))
        fetched = session.run([rows, y], {x: a})
        np.testing.assert_array_equal(fetched[0], session.run(v))
        np.testing.assert_allclose(fetched[0].sum(1), 1, rtol=1e-6)
        session.run(product, {x: a})
        np.testing.assert_allclose(session.run(v), expected.sum(1, keepdims=True) * np.ones((1, 3)), rtol=1e-6)
        before = session.run(v)
        with pytest.raises(gf.errors.InvalidArgumentError):
            session.run(checked, {x: a + 5})
        np.testing.assert_array_equal(session.run(v), before)
        session.run(checked, {x: a})
        np.testing.assert_allclose(session.run(v), expected * 3, rtol=1e-6)


@pytest.mark.parametrize("initialized", [True, False])
@pytest.mark.parametrize("rows", [3, None])
def test_what_is_assigned_may_be_stored_in_another_shape(initialized: bool, rows: int | None) -> None:
    """A reshape moves nothing, so the kernel writes the elements of its source; the variable still has its own shape."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [rows, 4], name="x")
        straight = gf.Variable(np.zeros(12, np.float32), name="straight")
        copied = gf.Variable(np.zeros((2, 6), np.float32), name="copied")
        y = gf.tanh(x)
        to_straight = gf.assign(straight, gf.reshape(y, [-1]))
        to_both = gf.group(gf.assign(copied, gf.reshape(y, [2, 6])), gf.assign(straight, gf.reshape(y, [12])))
    a = np.arange(12, dtype=np.float32).reshape(3, 4) / 10
    expected = np.tanh(a)
    with gf.Session(graph=graph) as session:
        if initialized:
            session.run([straight.initializer, copied.initializer])
        fetched = session.run([to_straight, y], {x: a})
        np.testing.assert_allclose(fetched[0], expected.ravel(), rtol=1e-6)
        np.testing.assert_allclose(fetched[1], expected, rtol=1e-6)
        np.testing.assert_array_equal(session.run(straight), fetched[0])
        session.run(to_both, {x: a * 2})
        values = session.run([straight, copied])
        assert [v.shape for v in values] == [(12,), (2, 6)]
        for value in values:
            np.testing.assert_allclose(value.ravel(), np.tanh(a * 2).ravel(), rtol=1e-6)
        assert "reference backend" not in session.explain(to_both, {x: a})


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_indices_are_checked_also_where_nothing_reads_the_result(backend: str) -> None:
    with gf.Graph().as_default() as graph:
        v = gf.Variable(np.zeros((4, 2), np.float32), name="v")
        i = gf.placeholder(gf.int32, [None], name="i")
        updated = gf.scatter_update(v, i, gf.ones([gf.size(i), 2]))
        rows = gf.gather(gf.constant(np.ones((4, 2), np.float32)), i)
        with gf.control_dependencies([updated]):
            overwritten = gf.assign(v, gf.fill([4, 2], 3.0))
        with gf.control_dependencies([rows]):
            beside = gf.identity(gf.constant(5.0)) * 2.0
    with gf.Session(graph=graph, backend=backend) as session:
        session.run(v.initializer)
        for fetches in (overwritten, [updated, overwritten], beside, rows.op):
            with pytest.raises(gf.errors.InvalidArgumentError):
                session.run(fetches, {i: [1, 9]})
            session.run(fetches, {i: [1, 3]})
            session.run(fetches, {i: np.zeros(0, np.int32)})
        np.testing.assert_array_equal(session.run(v), np.full((4, 2), 3, np.float32))
        assert session.run([overwritten, beside], {i: [0]})[1] == 10
