"""Generated from the op registry: every op's native kernel against its numpy reference, and its gradient in float64."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.dtypes import DType, as_dtype, bfloat16, bool_, float16, float32, float64, string
from graphflow.framework.errors import GraphFlowError
from graphflow.framework.kinds import Elementwise, Host, Random, Source, StateUpdate
from graphflow.framework.registry import NotDifferentiable, OpDef, Sample, UndefinedGradient, all_ops
from graphflow_compiler.ir.loops import Const, Var
from graphflow_compiler.ir.loops_build import LoopBuilder
from tests.native_ops import NOT_NATIVE, assert_native, refuse_to_compile

OPS = [
    op
    for op in all_ops()
    if not isinstance(op.kind, (Source, StateUpdate, Random)) and op.reference is not None and op.samples()
]
#: Relative tolerances: a float16 result has 11 bits, a bfloat16 one 8.
RTOL = {float16: 4e-3, bfloat16: 3e-2, float32: 2e-5, float64: 1e-9}


def variants(op: OpDef) -> Iterator[tuple[Sample, DType | None]]:
    """Each sample as it is, and cast to every other element type the op takes."""
    for sample in op.samples():
        yield sample, None
        mains = [as_dtype(a.dtype) for i, a in enumerate(sample.inputs) if i not in op.shape_operands]
        if not mains or not mains[0].is_floating:
            continue
        for dtype in op.dtypes:
            if dtype not in (mains[0], string, bool_):
                yield sample, dtype


def cast(op: OpDef, sample: Sample, dtype: DType | None) -> list[np.ndarray[Any, Any]]:
    arrays = []
    for i, a in enumerate(sample.inputs):
        a = np.asarray(a)
        if dtype is not None and i not in op.shape_operands and a.dtype == np.float32:
            with np.errstate(all="ignore"):
                a = np.abs(a).astype(dtype.numpy_dtype) if dtype.is_unsigned else a.astype(dtype.numpy_dtype)
        arrays.append(a)
    return arrays


def build(op: OpDef, sample: Sample, arrays: list[np.ndarray[Any, Any]], open_dims: bool) -> tuple[Any, dict[Any, Any]]:
    feeds: dict[Any, Any] = {}
    inputs = []
    for i, a in enumerate(arrays):
        if i in op.shape_operands:
            inputs.append(gf.constant(a))
        else:
            p = gf.placeholder(as_dtype(a.dtype), [None] * a.ndim if open_dims else a.shape)
            feeds[p] = a
            inputs.append(p)
    return gf.get_default_graph().create_op(op, inputs, sample.attrs), feeds


def expected(op: OpDef, sample: Sample, arrays: list[np.ndarray[Any, Any]]) -> list[Any]:
    assert op.reference is not None
    with np.errstate(all="ignore"):
        result = op.reference(sample.attrs, *arrays)
    return list(result) if isinstance(result, tuple) else [result]


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
@pytest.mark.parametrize("open_dims", [False, True], ids=["static", "open"])
def test_native_matches_reference(op: OpDef, open_dims: bool) -> None:
    tried = 0
    for sample, dtype in variants(op):
        arrays = cast(op, sample, dtype)
        with gf.Graph().as_default(), gf.Session() as session:
            try:
                operation, feeds = build(op, sample, arrays, open_dims)
            except (GraphFlowError, TypeError):
                if dtype is None:
                    raise
                continue  # a type that this op, with these attributes, refuses
            got = session.run(list(operation.outputs), feeds)
            assert_native(session, f"{op.name} {sample} as {dtype}", [op.name], list(operation.outputs), feeds)
            for value, want, t in zip(got, expected(op, sample, arrays), operation.outputs, strict=True):
                compare(value, want, t, sample, f"{op.name} {sample} as {dtype}")
            tried += 1
    assert tried


@pytest.mark.parametrize("op", [op for op in OPS if op.name not in NOT_NATIVE], ids=lambda op: op.name)
def test_the_sweep_fails_without_the_compiler(op: OpDef, monkeypatch: pytest.MonkeyPatch) -> None:
    refuse_to_compile(monkeypatch)
    with pytest.raises(AssertionError, match=r"1 of 1 runs were in numpy: .*nothing is compiled in this test"):
        test_native_matches_reference(op, False)


@pytest.mark.parametrize("op", [op for op in all_ops() if isinstance(op.kind, Random)], ids=lambda op: op.name)
def test_random_ops_draw_natively_what_the_reference_backend_draws(op: OpDef) -> None:
    for sample in op.samples():
        with gf.Graph().as_default() as graph:
            operation, feeds = build(op, sample, cast(op, sample, None), open_dims=False)
        with gf.Session(graph=graph) as session, gf.Session(graph=graph, backend="reference") as reference:
            for _ in range(2):
                got, want = (s.run(operation.outputs[0], feeds) for s in (session, reference))
                compare(got, want, operation.outputs[0], sample, f"{op.name} {sample}")
            assert_native(session, op.name, [op.name], operation.outputs[0], feeds)


def test_the_list_of_ops_in_numpy_is_no_longer_than_it_must() -> None:
    """Every op on it is asked here or in the sweep, and every op of the kind that runs in Python is on it."""
    assert {op.name for op in all_ops() if isinstance(op.kind, Host)} <= NOT_NATIVE.keys()
    assert NOT_NATIVE.keys() - {op.name for op in OPS} == {"Print", "PyFunc"}
    with gf.Graph().as_default():
        x = gf.constant([1.0, 2.0])
        for made in (gf.Print(x, [x], "a line of a test:"), gf.py_func(np.negative, [x], gf.float32)):
            with gf.Session() as session:
                session.run(made)
                assert_native(session, made.op.type, [made.op.type], made)


def compare(value: Any, want: Any, t: Any, sample: Sample, what: str) -> None:
    value, want = np.asarray(value), np.asarray(want)
    assert value.shape == want.shape, f"{what}: shape {value.shape}, reference {want.shape}"
    assert as_dtype(value.dtype) is t.dtype, f"{what}: dtype {value.dtype}"
    if not t.dtype.is_floating:
        np.testing.assert_array_equal(value, want, what)
        return
    rtol = max(RTOL[t.dtype], sample.rtol if t.dtype is not float64 else 0)
    np.testing.assert_allclose(
        value.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=max(sample.atol, rtol / 10), err_msg=what
    )


CHECKED = [op for op in all_ops() if isinstance(op.kind, Elementwise) and op.kind.check is not None]


@pytest.mark.parametrize("op", CHECKED, ids=lambda op: op.name)
def test_a_check_is_for_the_dtypes_it_names(op: OpDef) -> None:
    """Elsewhere it is False whatever the operands: only what can fail keeps variables from being updated in place."""
    assert isinstance(op.kind, Elementwise) and op.kind.check is not None
    sample = op.samples()[0]
    types = [as_dtype(np.asarray(a).dtype) for a in sample.inputs]
    tried = [types, *([d if t is types[0] else t for t in types] for d in op.dtypes if d is not string)]
    for operands in tried:
        atoms = [Var(f"x{k}", d) for k, d in enumerate(operands)]
        never = op.kind.check(LoopBuilder(), sample.attrs, *atoms) == Const(False, bool_)
        assert op.kind.can_fail(operands) != never, f"{op.name} of {[d.name for d in operands]}"


DIFFERENTIABLE = [
    op for op in OPS if not isinstance(op.grad, (NotDifferentiable, UndefinedGradient)) and not isinstance(op.kind, Host)
]


@pytest.mark.parametrize("op", DIFFERENTIABLE, ids=lambda op: op.name)
def test_gradient_matches_differences(op: OpDef) -> None:
    """Central differences in float64 of a randomly weighted sum of the outputs."""
    for sample in op.samples():
        if not sample.gradient:
            continue
        arrays = cast(op, sample, float64)
        wrt = sample.wrt
        if wrt is None:
            wrt = tuple(i for i, a in enumerate(arrays) if a.dtype == np.float64 and i not in op.shape_operands)
        if not wrt:
            continue
        with gf.Graph().as_default(), gf.Session() as session:
            operation, feeds = build(op, sample, arrays, open_dims=False)
            outputs = [t for t in operation.outputs if t.dtype is float64][:1]
            assert outputs, f"{op.name}: nothing to differentiate"
            rng = np.random.default_rng(7)
            weights = [rng.uniform(0.5, 1.5, [int(d) for d in t.shape]) for t in outputs]
            total = gf.add_n([gf.reduce_sum(t * gf.constant(w)) for t, w in zip(outputs, weights, strict=True)])
            xs = [operation.inputs[i] for i in wrt]
            grads = [None if g is None else gf.convert_to_tensor(g) for g in gf.gradients(total, xs)]
            for x, g, i in zip(xs, grads, wrt, strict=True):
                numeric = differences(partial(evaluate, session, total, feeds, x), arrays[i])
                analytic = np.zeros_like(arrays[i]) if g is None else session.run(g, feeds)
                np.testing.assert_allclose(analytic, numeric, rtol=2e-5, atol=2e-6, err_msg=f"{op.name} {sample}, input {i}")


def evaluate(session: Any, total: Any, feeds: dict[Any, Any], x: Any, value: np.ndarray[Any, Any]) -> Any:
    return session.run(total, {**feeds, x: value})


def differences(f: Any, a: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    result = np.zeros_like(a)
    flat = a.ravel()
    for k in range(flat.size):
        h = 1e-6 * max(1.0, abs(flat[k]))
        up, down = flat.copy(), flat.copy()
        up[k] += h
        down[k] -= h
        result.ravel()[k] = (f(up.reshape(a.shape)) - f(down.reshape(a.shape))) / (up[k] - down[k])
    return result


def test_registry_is_complete() -> None:
    """Every op says all there is to say about it."""
    for op in all_ops():
        assert op.doc, f"{op.name} has no doc"
        assert op.infer is not None
        special = isinstance(op.kind, (Source, Random)) or op.reference is not None
        assert special or type(op.kind).__name__ in ("NoOp", "Assertion", "VariableIsInitialized", "Host"), op.name
