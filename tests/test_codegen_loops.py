"""Reductions, rows, columns, threads and checks through LLVM against numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from graphflow.framework.dtypes import (
    DType,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int32,
    int64,
    uint16,
    uint64,
)
from graphflow_compiler.codegen.llvm import loops_llvm
from graphflow_compiler.ir.index import iadd, imod, imul
from graphflow_compiler.ir.loops import IConst, IVar
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_runtime.memory import aligned_empty
from tests.loop_kernels import COLUMN, ROW, Compiled, M, N, apply, elementwise, kernel, name_of, softmax, values


@pytest.fixture(params=["bodies for lanes and tail", "one body"])
def bodies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops are emitted in two ways, by size: tests that use this see both."""
    monkeypatch.setattr(loops_llvm, "LARGE_BODY", -1 if request.param == "one body" else 10**6)


def test_stores_past_the_caches() -> None:
    """The same results, whatever is left over, of however many threads."""
    for dtype in (float32, float64, int8):
        b = LoopBuilder()
        with b.loop("i", N, "vector", parallel=True):
            x = b.load("x", ROW, dtype)
            b.store("y", ROW, b.add(x, x))
        made = kernel(b.build(), {"x": (dtype, "read"), "y": (dtype, "write")})
        run = Compiled(replace(made, buffers=tuple(replace(p, streams=p.name == "y") for p in made.buffers)))
        assert "nontemporal" in run.text
        for n in (0, 1, 7, 64, 1000, 4099):
            given = values(dtype, n)
            for threads in (1, 3):
                result = aligned_empty((n + 1,), dtype.numpy_dtype)
                result[:] = 5
                assert run(given, result, n=n, threads=threads) == 0
                np.testing.assert_array_equal(result[:n], given + given)
                assert result[n] == 5


# ---------------------------------------------------------------------------------------------- reductions

COMBINE: dict[str, tuple[Callable[..., Any], Any]] = {
    "add": (np.sum, 0), "mul": (np.prod, 1), "max": (np.max, None), "min": (np.min, None), "and": (np.all, True),
    "or": (np.any, False),
}  # fmt: skip


def identity(combine: str, dtype: DType) -> Any:
    if combine in ("max", "min") and not dtype.is_bool:
        if dtype.is_floating:
            return -np.inf if combine == "max" else np.inf
        return int(dtype.min if combine == "max" else dtype.max)
    return {"max": False, "min": True}.get(combine, COMBINE[combine][1])


def row_reduction(dtype: DType, combine: str) -> Compiled:
    """y[i] = combine over j of x[i, j]"""
    b = LoopBuilder()
    with b.loop("i", N, parallel=True):
        with b.loop("j", M, "vector") as loop:
            total = loop.accumulate(
                "t", dtype, combine, identity(combine, dtype), b.load("x", iadd(imul(ROW, M), COLUMN), dtype)
            )
        b.store("y", ROW, total)
    return Compiled(kernel(b.build(), {"x": (dtype, "read"), "y": (dtype, "write")}, ("m", "n")))


def column_reduction(dtype: DType, combine: str) -> Compiled:
    """y[j] = combine over i of x[i, j]"""
    b = LoopBuilder()
    with b.loop("j", M, "vector", parallel=True):
        with b.loop("i", N) as loop:
            total = loop.accumulate(
                "t", dtype, combine, identity(combine, dtype), b.load("x", iadd(imul(ROW, M), COLUMN), dtype)
            )
        b.store("y", COLUMN, total)
    return Compiled(kernel(b.build(), {"x": (dtype, "read"), "y": (dtype, "write")}, ("m", "n")))


@pytest.mark.parametrize(
    "dtype, combine",
    [(float32, c) for c in ("add", "mul", "max", "min")] + [(float64, "add"), (float64, "max"), (int32, "add"), (int64, "min")]
    + [(int8, "max"), (uint16, "min"), (uint64, "mul"), (bool_, "and"), (bool_, "or"), (bool_, "max")],
    ids=name_of,
)  # fmt: skip
def test_reductions(dtype: DType, combine: str, bodies: None) -> None:
    rows, columns = row_reduction(dtype, combine), column_reduction(dtype, combine)
    evaluate = COMBINE[combine][0]
    for n, m in [(1, 0), (0, 5), (3, 1), (2, 7), (3, 8), (2, 40), (5, 67), (1, 300), (130, 33)]:
        x = values(dtype, n * m).reshape(n, m)
        if dtype.is_floating and combine in ("add", "mul"):
            x = np.random.default_rng(0).uniform(0.5, 1.5, (n, m)).astype(dtype.numpy_dtype)
        for run, axis in ((rows, 1), (columns, 0)):
            y = np.zeros(x.shape[1 - axis], dtype.numpy_dtype)
            assert run(x, y, n=n, m=m) == 0
            if x.shape[axis]:
                exact = evaluate(x, axis=axis).astype(y.dtype)
            else:
                exact = np.full(y.shape, identity(combine, dtype), y.dtype)
            np.testing.assert_allclose(y, exact, rtol=1e-5 if dtype.is_floating else 0, err_msg=f"{n} {m} {axis}")


def test_row_passes_and_threads_give_the_same_bits(bodies: None) -> None:
    run = softmax()
    for n, m in [(1, 1), (7, 10), (16, 33), (33, 100)]:
        x = np.random.default_rng(m).uniform(-9, 9, (n, m)).astype(np.float32)
        results = []
        for threads in (1, 2, 3):
            y, scratch = np.zeros_like(x), np.zeros(threads * m, np.float32)
            assert run(x, scratch, y, n=n, m=m, threads=threads) == 0
            results.append(y)
        wide = np.exp(x.astype(np.float64) - x.max(1, keepdims=True))
        np.testing.assert_allclose(results[0], wide / wide.sum(1, keepdims=True), rtol=2e-6)
        for other in results[1:]:
            assert other.tobytes() == results[0].tobytes()


@pytest.mark.parametrize("dtype", [float32, float64, int8, float16], ids=name_of)
def test_threads_share_out_elements(dtype: DType, bodies: None) -> None:
    rule = elementwise(lambda b, x: b.add(b.mul(x, x), b.cast(b.const(3, int32), dtype)), dtype)
    function = elementwise(lambda b, x: b.call("tanh", b.add(b.mul(x, 2.0), 1.0)), float32)
    for n in (0, 1, 9, 64, 1000):
        x = values(dtype, n)
        one = apply(rule, x)
        for threads in (2, 3, 7):
            assert apply(rule, x, threads=threads).tobytes() == one.tobytes()
        x32 = values(float32, n)
        assert apply(function, x32, threads=3).tobytes() == apply(function, x32).tobytes()


def test_columns_and_threads_give_the_same_bits() -> None:
    run = column_reduction(float32, "add")
    for n, m in [(100, 7), (37, 70), (10, 200)]:
        x = np.random.default_rng(0).normal(size=(n, m)).astype(np.float32)
        results = []
        for threads in (1, 2, 3):
            y = np.zeros(m, np.float32)
            run(x, y, n=n, m=m, threads=threads)
            results.append(y.tobytes())
        assert len(set(results)) == 1


def test_serial_kernels_run_on_the_first_thread() -> None:
    b = LoopBuilder()
    with b.loop("i", N) as loop:
        total = loop.accumulate("t", int64, "add", 0, b.load("x", ROW, int64))
    b.store("y", IConst(0), b.add(b.load("y", IConst(0), int64), total))
    run = Compiled(kernel(b.build(), {"x": (int64, "read"), "y": (int64, "readwrite")}))
    x, y = np.arange(10), np.zeros(1, np.int64)
    run(x, y, n=10, threads=3)
    assert y[0] == 45


def test_short_loops_inside_lanes() -> None:
    """Average pooling over 2 x 3 windows: static serial loops around one accumulator."""
    b = LoopBuilder()
    p, q = IVar("p"), IVar("q")
    with b.loop("i", N, parallel=True), b.loop("j", M, "vector"):
        with b.loop("p", IConst(2)) as outer:
            with b.loop("q", IConst(3)) as inner:
                row = imul(iadd(imul(ROW, IConst(2)), p), imul(M, IConst(3)))
                x = b.load("x", iadd(row, iadd(imul(COLUMN, IConst(3)), q)), float32)
                part = inner.accumulate("r", float32, "add", 0.0, x)
            total = outer.accumulate("t", float32, "add", 0.0, part)
        b.store("y", iadd(imul(ROW, M), COLUMN), b.div(total, 6.0))
    run = Compiled(kernel(b.build(), {"x": (float32, "read"), "y": (float32, "write")}, ("m", "n")))
    for n, m in [(1, 1), (3, 5), (2, 35)]:
        x = np.random.default_rng(0).normal(size=(n, 2, m, 3)).astype(np.float32)
        y = np.zeros((n, m), np.float32)
        run(x, y, n=n, m=m)
        np.testing.assert_allclose(y, x.mean((1, 3)), rtol=1e-5, atol=1e-6)


# ---------------------------------------------------------------------------------------------- checks


def test_checks_return_their_code(bodies: None) -> None:
    b = LoopBuilder()
    with b.loop("i", N, "vector", parallel=True):
        x = b.load("x", ROW, float32)
        b.check(b.is_nan(x), 7)
        b.store("y", ROW, x)
    run = Compiled(kernel(b.build(), {"x": (float32, "read"), "y": (float32, "write")}))
    for n in (1, 8, 13, 40):
        x, y = np.zeros(n, np.float32), np.zeros(n, np.float32)
        assert run(x, y, n=n, threads=2) == 0
        for bad in (0, n // 2, n - 1):
            x[:] = 0
            x[bad] = np.nan
            assert run(x, y, n=n) == 7
            assert run(x, y, n=n, threads=3) == 7
    assert run(x, y, n=0) == 0


def test_uniform_and_constant_checks(bodies: None) -> None:
    b = LoopBuilder()
    with b.loop("i", N, "vector"):
        b.check(b.gt(b.from_index(N, int64), 5), 3)
        b.store("y", ROW, b.const(True, bool_))
    run = Compiled(kernel(b.build(), {"y": (bool_, "write")}))
    y = np.zeros(20, np.bool_)
    assert [run(y, n=n) for n in (0, 5, 6, 20)] == [0, 0, 3, 3]
    assert y.all()


def test_hoisted_division_by_a_size_of_zero() -> None:
    """The loops do not run where the size is 0; what is computed before them must not trap."""
    b = LoopBuilder()
    with b.loop("i", N), b.loop("j", M, "vector"):
        b.store("y", COLUMN, b.cast(b.from_index(imod(ROW, M), int64), float32))
    run = Compiled(kernel(b.build(), {"y": (float32, "write")}, ("m", "n")))
    assert run(np.zeros(1, np.float32), n=3, m=0) == 0
