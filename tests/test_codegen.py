"""Loop kernels through LLVM against numpy: every kind of loop, dtype, tail, access and check."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphflow.core.emit import ARITHMETIC, COMPARE, UNARY
from graphflow.core.numpy_builder import NumpyBuilder
from graphflow.dtypes import (
    DType,
    as_dtype,
    bfloat16,
    bool_,
    float16,
    float32,
    float64,
    int8,
    int16,
    int32,
    int64,
    uint8,
    uint16,
    uint32,
    uint64,
)
from graphflow.errors import CompileError
from graphflow_compiler.codegen import loops_llvm
from graphflow_compiler.codegen.emit import Target, host_target, kernel_to_llvm
from graphflow_compiler.codegen.jit import compile_module, emit_object, external_symbols, load_object
from graphflow_compiler.ir.index import iadd, ifloordiv, imax, imin, imod, imul, isub
from graphflow_compiler.ir.loops import Atom, Const, IConst, IData, IDim, Index, IVar, Let, Load, LoopKernel, Unary, Var
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_text import kernel_to_text
from graphflow_compiler.ir.loops_verify import verify_kernel
from tests.loop_kernels import Array, Compiled, apply, apply_all, elementwise, kernel

ROW, COLUMN, N, M = IVar("i"), IVar("j"), IDim("n"), IDim("m")
FLOATS = (float16, float32, float64)
INTEGERS = (int8, int16, int32, int64, uint8, uint16, uint32, uint64)
NUMPY = NumpyBuilder()


def name_of(x: Any) -> str:
    return x.name if isinstance(x, DType) else str(x)


def values(dtype: DType, n: int = 403, seed: int = 0) -> Array:
    """Ordinary and extreme values of a type, in random order."""
    rng = np.random.default_rng(seed)
    t = dtype.numpy_dtype
    if dtype.is_bool:
        return rng.integers(0, 2, n).astype(t)
    if dtype.is_integer:
        info = np.iinfo(t)
        special = [info.min, info.max, 0, 1, 2, info.max - 1, info.min + 1] + ([] if dtype.is_unsigned else [-1, -2, -3])
        x = rng.integers(max(info.min, -100), 100, n).astype(t)
    else:
        special = [0.0, -0.0, np.inf, -np.inf, np.nan, 1.0, -1.0, 0.5, 1.5, 2.5, -0.5, -1.5, -2.5, 1e-3, 1e4]
        x = (rng.normal(size=n) * 10).astype(t)
    places = rng.permutation(n)[: 8 * len(special)]
    x[places] = np.tile(np.array(special, t), 8)[: len(places)]
    return x


@pytest.fixture(params=["bodies for lanes and tail", "one body"])
def bodies(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Loops are emitted in two ways, by size: tests that use this see both."""
    monkeypatch.setattr(loops_llvm, "LARGE_BODY", -1 if request.param == "one body" else 10**6)


# ---------------------------------------------------------------------------------------------- elementwise


@pytest.mark.parametrize("dtype", [bool_, int8, float16, int32, float32, float64], ids=name_of)
def test_every_length(dtype: DType, bodies: None) -> None:
    """Main loop, whole vectors and tail meet at every length."""
    ones = elementwise(lambda b, x, y: b.binary("max", x, y), dtype, dtype)
    for n in [*range(41), 64, 127, 200]:
        x, y = values(dtype, n + 1)[1:], values(dtype, n + 1, 1)[:-1]  # one of them not aligned
        np.testing.assert_array_equal(apply(ones, x, y), np.maximum(x, y))


ALL = pytest.mark.parametrize("dtype", [*FLOATS, *INTEGERS, bool_], ids=name_of)
BITWISE, DIVISIONS = ("and", "or", "xor"), ("floordiv", "mod", "truncdiv", "truncmod")


def binary_ops(dtype: DType) -> list[str]:
    if dtype.is_bool:
        return [*BITWISE, "max", "min", *COMPARE]
    without = (*BITWISE, "shl", "shr") if dtype.is_floating else ("div",)
    return [op for op in (*ARITHMETIC, *COMPARE) if op not in without]


def exact_binary(op: str, dtype: DType, a: Array, b: Array) -> Array:
    with np.errstate(all="ignore"):
        if dtype.is_floating and op in ("floordiv", "truncdiv"):
            wide = np.float32 if dtype is float16 else a.dtype
            quotient = a.astype(wide) / b.astype(wide)
            return np.asarray((np.floor(quotient) if op == "floordiv" else np.trunc(quotient)).astype(a.dtype))
        if dtype.is_floating and op == "mod":
            rest = np.fmod(a, b)
            return np.where((rest != 0) & ((rest < 0) != (b < 0)), rest + b, rest)
        return NUMPY.binary(op, a, b)


@ALL
def test_binary(dtype: DType, bodies: None) -> None:
    ops = binary_ops(dtype)
    a, b = values(dtype), values(dtype, seed=1)
    divisor, shift = b, b
    if dtype.is_integer:
        divisor = np.where(b == 0, 3, b).astype(b.dtype)
        shift = (b.astype(np.int64) % (8 * dtype.size)).astype(b.dtype)

    def right(op: str, b: Any, divisor: Any, shift: Any) -> Any:
        return divisor if op in DIVISIONS else shift if op in ("shl", "shr") else b

    run = elementwise(lambda e, x, y, d, s: [e.binary(op, x, right(op, y, d, s)) for op in ops], *[dtype] * 4)
    for op, got in zip(ops, apply_all(run, a, b, divisor, shift), strict=True):
        np.testing.assert_array_equal(got, exact_binary(op, dtype, a, right(op, b, divisor, shift)), err_msg=op)


@ALL
def test_unary(dtype: DType) -> None:
    ops = ["not", "invert"] if dtype.is_bool else [op for op in UNARY if op != "not"]
    if not dtype.is_bool:
        ops.remove("invert" if dtype.is_floating else "sqrt")
    x = values(dtype)
    run = elementwise(lambda b, v: [b.unary(o, v) for o in ops], dtype)
    for op, got in zip(ops, apply_all(run, x), strict=True):
        np.testing.assert_array_equal(got, NUMPY.unary(op, x), err_msg=op)


@ALL
def test_casts(dtype: DType, bodies: None) -> None:
    x = values(dtype)
    targets = (*FLOATS, *INTEGERS, bool_)
    run = elementwise(lambda b, v: [b.cast(v, t) for t in targets], dtype)
    for target, got in zip(targets, apply_all(run, x), strict=True):
        exact = NUMPY.cast(x, target)
        if target is float16:
            with np.errstate(all="ignore"):
                exact = x.astype(np.float32).astype(np.float16)  # by way of float32
        np.testing.assert_array_equal(got, exact, err_msg=target.name)


def test_bfloat16() -> None:
    pytest.importorskip("ml_dtypes")
    x = values(float32).astype(bfloat16.numpy_dtype)
    twice = apply(elementwise(lambda b, v: b.add(v, v), bfloat16), x)
    np.testing.assert_array_equal(twice.astype(np.float32), (x + x).astype(np.float32))
    wide = values(float32)
    rounded = apply(elementwise(lambda b, v: b.cast(v, bfloat16), float32), wide)
    np.testing.assert_array_equal(rounded.astype(np.float32), wide.astype(bfloat16.numpy_dtype).astype(np.float32))
    ones = apply(elementwise(lambda b, v: b.mul(v, 1.5), bfloat16), x)
    np.testing.assert_array_equal(ones.astype(np.float32), (x * bfloat16.numpy_dtype.type(1.5)).astype(np.float32))


def test_select_fma_and_bitcast() -> None:
    x, y, z = (values(float32, seed=s) for s in range(3))
    got = apply(elementwise(lambda b, u, v, w: b.select(b.lt(u, v), b.call("fma", u, v, w), b.neg(w)), *[float32] * 3), x, y, z)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, np.where(x < y, (x.astype(np.float64) * y + z).astype(np.float32), -z))
    bits = apply(elementwise(lambda b, v: b.bitcast(v, uint32), float32), x)
    np.testing.assert_array_equal(bits, x.view(np.uint32))


def test_extreme_of_a_constant_propagates_nan() -> None:
    x = values(float32)
    for rule in (lambda b, v: b.maximum(v, 0.0), lambda b, v: b.maximum(0.0, v)):
        np.testing.assert_array_equal(apply(elementwise(rule, float32), x), np.maximum(x, np.float32(0)))
    bounded = apply(elementwise(lambda b, v: b.minimum(b.maximum(v, 0.0), 6.0), float32), x)
    np.testing.assert_array_equal(bounded, np.minimum(np.maximum(x, 0), 6).astype(np.float32))


def test_mixed_widths(bodies: None) -> None:
    """bool, int64 and float64 beside float32: lanes of one count, registers of several."""
    c, k, x, d = values(bool_), values(int64), values(float32), values(float64)

    def rule(b: LoopBuilder, c: Atom, k: Atom, x: Atom, d: Atom) -> Atom:
        chosen = b.select(c, b.cast(x, float64), d)
        return b.select(b.gt(k, 3), chosen, b.cast(b.lt(x, 0.0), float64))

    got = apply(elementwise(rule, bool_, int64, float32, float64), c, k, x, d)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got, np.where(k > 3, np.where(c, x.astype(np.float64), d), (x < 0).astype(np.float64)))


def test_positions(bodies: None) -> None:
    for dtype in (int32, int64, float32, float64, uint8, float16):
        b = LoopBuilder()
        with b.loop("i", N, "vector", parallel=True):
            b.store("y", ROW, b.cast(b.from_index(iadd(imul(ROW, IConst(3)), IConst(1000)), int64), dtype))
        run = Compiled(kernel(b.build(), {"y": (dtype, "write")}))
        for n in (0, 5, 67):
            y = np.zeros(n, dtype.numpy_dtype)
            assert run(y, n=n) == 0
            exact = np.arange(n) * 3 + 1000
            np.testing.assert_array_equal(y, (exact & 255 if dtype is uint8 else exact).astype(y.dtype))


# ---------------------------------------------------------------------------------------------- memory


def two_deep(index: Index, dtype: DType = float32, mask: Callable[[LoopBuilder], Atom] | None = None) -> Compiled:
    """y[i, j] = x[index]"""
    b = LoopBuilder()
    with b.loop("i", N, parallel=True), b.loop("j", M, "vector"):
        b.store("y", iadd(imul(ROW, M), COLUMN), b.load("x", index, dtype, mask(b) if mask else None))
    return Compiled(kernel(b.build(), {"x": (dtype, "read"), "y": (dtype, "write")}, ("m", "n")))


@pytest.mark.parametrize("dtype", [float32, float64, bool_, float16], ids=name_of)
def test_strides(dtype: DType) -> None:
    """Contiguous, transposed, broadcast both ways, reversed, every third, and through floordiv and mod."""
    flat = iadd(imul(ROW, M), COLUMN)
    cases: list[tuple[Index, Callable[[Any, Any, int, int], Array]]] = [
        (flat, lambda i, j, n, m: i * m + j),
        (iadd(imul(COLUMN, N), ROW), lambda i, j, n, m: j * n + i),
        (ROW, lambda i, j, n, m: i),
        (COLUMN, lambda i, j, n, m: j),
        (isub(isub(imul(M, N), IConst(1)), flat), lambda i, j, n, m: n * m - 1 - i * m - j),
        (imul(flat, IConst(3)), lambda i, j, n, m: (i * m + j) * 3),
        (ifloordiv(flat, IConst(3)), lambda i, j, n, m: (i * m + j) // 3),
        (imod(flat, N), lambda i, j, n, m: (i * m + j) % n),
        (imin(COLUMN, ROW), lambda i, j, n, m: np.minimum(i, j)),
        (imax(COLUMN, ROW), lambda i, j, n, m: np.maximum(i, j)),
    ]
    for number, (index, where) in enumerate(cases):
        run = two_deep(index, dtype)
        for n, m in [(3, 1), (5, 8), (4, 21), (0, 3), (3, 0)]:
            x = values(dtype, 3 * n * m + 1)
            i, j = np.meshgrid(np.arange(n), np.arange(m), indexing="ij")
            y = np.zeros((n, m), dtype.numpy_dtype)
            assert run(x, y, n=n, m=m) == 0
            np.testing.assert_array_equal(y, x[where(i, j, n, m)] if y.size else y, err_msg=str(number))


def test_scattered_stores() -> None:
    for index, shape in [
        (iadd(imul(COLUMN, N), ROW), "transposed"),
        (imul(iadd(imul(ROW, M), COLUMN), IConst(2)), "every second"),
    ]:
        b = LoopBuilder()
        with b.loop("i", N, parallel=True), b.loop("j", M, "vector"):
            b.store("y", index, b.mul(b.load("x", iadd(imul(ROW, M), COLUMN), float32), 2.0))
        run = Compiled(kernel(b.build(), {"x": (float32, "read"), "y": (float32, "write")}, ("m", "n")))
        for n, m in [(1, 1), (3, 19), (2, 8)]:
            x = values(float32, n * m)
            y = np.zeros(2 * n * m, np.float32)
            run(x, y, n=n, m=m)
            got = y[: n * m].reshape(m, n).T.ravel() if shape == "transposed" else y[::2]
            np.testing.assert_array_equal(got, 2 * x)


@pytest.mark.parametrize("dtype", [float32, int64, uint8], ids=name_of)
def test_masked_loads(dtype: DType) -> None:
    """Padding: outside, nothing is read and the value is 0. The index is negative there."""

    def inside(b: LoopBuilder) -> Atom:
        return b.binary("ge", b.from_index(COLUMN, int64), b.const(2, int64))

    for n, m in [(1, 3), (2, 8), (3, 21), (1, 40)]:
        width = max(0, m - 2)
        x = values(dtype, n * width + 1)
        padded = np.zeros((n, m), dtype.numpy_dtype)
        padded[:, 2:] = x[: n * width].reshape(n, width)
        y = np.ones((n, m), dtype.numpy_dtype)
        two_deep(iadd(imul(ROW, isub(M, IConst(2))), isub(COLUMN, IConst(2))), dtype, inside)(x, y, n=n, m=m)
        np.testing.assert_array_equal(y, padded)
        # uniform mask: the whole row
        two_deep(iadd(imul(ROW, M), COLUMN), dtype, lambda b: b.lt(b.from_index(ROW, int64), 1))(
            values(dtype, n * m), y, n=n, m=m
        )
        np.testing.assert_array_equal(y[0], values(dtype, n * m)[:m])
        assert not y[1:].any()


@pytest.mark.parametrize("index_dtype", [int32, int64], ids=name_of)
def test_gather(index_dtype: DType, bodies: None) -> None:
    """Rows by a uniform index, elements by an index for each lane."""
    table = values(float32, 50 * 11).reshape(50, 11)
    for n in (0, 1, 13, 40):
        rows = np.random.default_rng(n).integers(0, 50, n).astype(index_dtype.numpy_dtype)
        b = LoopBuilder()
        with b.loop("i", N, parallel=True):
            row = b.load("k", ROW, index_dtype)
            with b.loop("j", IConst(11), "vector"):
                b.store(
                    "y", iadd(imul(ROW, IConst(11)), COLUMN), b.load("x", iadd(imul(IData(row), IConst(11)), COLUMN), float32)
                )
        buffers = {"x": (float32, "read"), "k": (index_dtype, "read"), "y": (float32, "write")}
        y = np.zeros((n, 11), np.float32)
        Compiled(kernel(b.build(), buffers))(table, rows, y, n=n)
        np.testing.assert_array_equal(y, table[rows])
        b = LoopBuilder()
        with b.loop("i", N, "vector", parallel=True):
            b.store("y", ROW, b.load("x", iadd(imul(IData(b.load("k", ROW, index_dtype)), IConst(11)), IConst(4)), float32))
        y = np.zeros(n, np.float32)
        Compiled(kernel(b.build(), buffers))(table, rows, y, n=n)
        np.testing.assert_array_equal(y, table[rows, 4])


def test_in_place(bodies: None) -> None:
    b = LoopBuilder()
    with b.loop("i", N, "vector", parallel=True):
        b.store("x", ROW, b.add(b.load("x", ROW, float32), 1.0))
    x = values(float32, 77)
    exact = x + 1
    Compiled(kernel(b.build(), {"x": (float32, "readwrite")}))(x, n=77)
    np.testing.assert_array_equal(x, exact)


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


def softmax() -> Compiled:
    """Three passes over a row, the middle one keeping its results in scratch."""
    b = LoopBuilder()
    flat = iadd(imul(ROW, M), COLUMN)
    with b.loop("i", N, parallel=True):
        with b.loop("j", M, "vector") as loop:
            top = loop.accumulate("top", float32, "max", -np.inf, b.load("x", flat, float32))
        with b.loop("j", M, "vector") as loop:
            e = b.call("exp", b.sub(b.load("x", flat, float32), top))
            b.store("scratch", COLUMN, e)
            total = loop.accumulate("total", float32, "add", 0.0, e)
        scale = b.div(1.0, total)
        with b.loop("j", M, "vector"):
            b.store("y", flat, b.mul(b.load("scratch", COLUMN, float32), scale))
    buffers = {"x": (float32, "read"), "scratch": (float32, "readwrite"), "y": (float32, "write")}
    return Compiled(kernel(b.build(), buffers, ("m", "n")))


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


# ---------------------------------------------------------------------------------------------- text, builder, verifier


def test_text_is_the_same_every_time_and_free_of_names() -> None:
    first = softmax()
    assert first.text == softmax().text
    other = LoopKernel("another", first.kernel.buffers, first.kernel.dims, first.kernel.body, ("elsewhere",))
    assert kernel_to_llvm(other, host_target()) == first.text


def test_kernels_print() -> None:
    text = kernel_to_text(softmax().kernel)
    assert "for i < n serial parallel:" in text
    assert "exp" not in text  # expanded
    assert text == kernel_to_text(softmax().kernel)


def test_builder_shares_and_folds() -> None:
    b = LoopBuilder()
    with b.loop("i", N, "vector"):
        x = b.load("x", ROW, float32)
        assert b.load("x", ROW, float32) is x
        assert b.add(x, 1.0) is b.add(x, 1.0)
        assert b.add(1.0, x) is b.add(x, 1.0)
        assert b.mul(x, 1.0) is x and b.sub(x, 0.0) is x
        assert b.add(x, 0.0) is not x  # -0
        assert b.add(b.const(1, float32), b.const(2, float32)) == Const(3.0, float32)
        assert b.binary("lt", b.const(1, int32), b.const(2, int32)) == Const(True, bool_)
        b.store("x", ROW, b.add(x, 1.0))
        assert b.load("x", ROW, float32) is not x
        with b.loop("j", IConst(4)):
            assert b.add(x, 1.0) is b.add(x, 1.0)
            inner = b.add(x, 3.0)
        assert b.add(x, 3.0) is not inner


def broken(*body: Any, access: str = "read") -> LoopKernel:
    return kernel(body, {"x": (float32, access)})


def test_verifier_refuses() -> None:
    x = Var("x", float32)
    load = Let("x", float32, Load("x", IConst(0)))
    cases = [
        (broken(Let("y", float32, Unary("neg", x))), "not defined"),
        (broken(load, load), "assigned twice"),
        (broken(Let("x", float64, Load("x", IConst(0)))), "holds float32"),
        (broken(Let("x", float32, Load("z", IConst(0)))), "no buffer"),
        (broken(Let("x", float32, Load("x", IVar("i")))), "outside its loop"),
        (broken(Let("x", float32, Load("x", IDim("k")))), "no argument"),
        (broken(load, Let("y", float32, Unary("foo", x))), "unknown operation"),
    ]
    b = LoopBuilder()
    with b.loop("i", N, "vector"), b.loop("j", N, "vector"):
        b.load("x", ROW, float32)
    cases.append((broken(*b.build()), "vector loop inside"))
    b = LoopBuilder()
    with b.loop("i", N), b.loop("j", N, parallel=True):
        b.load("x", ROW, float32)
    cases.append((broken(*b.build()), "outermost"))
    b = LoopBuilder()
    with b.loop("i", N):
        b.store("x", ROW, b.const(1.0, float32))
        b.check(b.const(1.0, float32), 1)
    cases.append((broken(*b.build()), "wants to write"))
    cases.append((broken(*b.build(), access="readwrite"), "check of float32"))
    b = LoopBuilder()
    with b.loop("i", N, "vector"), b.loop("j", ROW):
        b.load("x", COLUMN, float32)
    cases.append((broken(*b.build()), "varies between lanes"))
    b = LoopBuilder()
    with b.loop("i", N, parallel=True):
        b.store("x", ROW, b.const(1.0, float32))
    b.store("x", IConst(0), b.const(1.0, float32))
    cases.append((broken(*b.build(), access="write"), "beside a parallel loop"))
    for bad, message in cases:
        with pytest.raises(CompileError, match=message):
            verify_kernel(bad)


# ---------------------------------------------------------------------------------------------- machine code


def test_bad_modules_are_compile_errors() -> None:
    with pytest.raises(CompileError, match="LLVM"):
        compile_module(["define i32 @f() { ret i64 0 }"])
    with pytest.raises(CompileError, match="no_such_function_anywhere"):
        compile_module(["declare i32 @no_such_function_anywhere()\ndefine i32 @f() {\n  ret i32 0\n}\n"])
    with pytest.raises(CompileError, match="no function"):
        compile_module(["define i32 @f() {\n  ret i32 0\n}\n"]).address("g")


def test_object_code_can_be_kept() -> None:
    run = elementwise(lambda b, x: b.call("lgamma", b.add(x, 1.0)), float32)
    code = emit_object([run.text])
    assert isinstance(code, bytes)
    run.engine = load_object(code, external_symbols([run.text]))
    run.function = type(run.function)(run.engine.address("kernel"))
    np.testing.assert_allclose(apply(run, np.full(9, 4.0, np.float32)), np.log(24.0), rtol=1e-6)


def functions(target: Target | None = None) -> Compiled:
    """Several functions, a reduction and a bool, in one loop."""
    b = LoopBuilder()
    with b.loop("i", N, "vector") as loop:
        x = b.load("x", ROW, float32)
        y = b.add(b.call("tanh", x), b.call("sin", b.mul(x, 9.0)))
        b.store("y", ROW, b.cast(b.call("exp", b.cast(y, float64)), float32))
        b.store("positive", ROW, b.gt(x, 0.0))
        top = loop.accumulate("t", float32, "max", -np.inf, y)
    b.store("top", IConst(0), top)
    buffers = dict.fromkeys(("y", "top"), (float32, "write")) | {"positive": (bool_, "write"), "x": (float32, "read")}
    return Compiled(kernel(b.build(), buffers), target)


@pytest.mark.skipif(platform.machine() not in ("x86_64", "AMD64"), reason="x86 targets")
@pytest.mark.parametrize("bits", [128, 256, 512])
def test_other_machines(bits: int, bodies: None) -> None:
    """Old x86 has short vectors and no fma: the results stay good. What cannot run here is at least compiled."""
    cpu, features = {128: ("x86-64-v2", ""), 256: ("x86-64-v3", "+fma"), 512: ("x86-64-v4", "+fma")}[bits]
    target = Target(cpu, features, bits, 16 if bits < 512 else 32)
    x = np.random.default_rng(0).normal(size=37).astype(np.float32)
    if bits > host_target().vector_bits:
        assert emit_object([kernel_to_llvm(functions().kernel, target)], target)
        return
    y, top, positive = np.zeros_like(x), np.zeros(1, np.float32), np.zeros(37, np.bool_)
    functions(target)(y, top, positive, x, n=37)
    exact = np.tanh(x.astype(np.float64)) + np.sin((x * np.float32(9)).astype(np.float64))
    np.testing.assert_allclose(y, np.exp(exact), rtol=1e-6)
    np.testing.assert_allclose(top[0], exact.max(), rtol=1e-6)
    np.testing.assert_array_equal(positive, x > 0)


def test_engines_are_freed() -> None:
    engine = compile_module(["define i32 @f() {\n  ret i32 5\n}\n"])
    assert engine.address("f")
    engine.close()
    with pytest.raises(CompileError, match="closed"):
        engine.address("f")


def test_numpy_dtypes_match() -> None:
    assert as_dtype(np.float32) is float32
