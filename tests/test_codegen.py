"""Loop kernels through LLVM against numpy: every kind of loop, dtype, tail, access and check."""

from __future__ import annotations

import platform
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from graphflow.framework.dtypes import (
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
from graphflow.framework.errors import CompileError
from graphflow.framework.numpy_builder import NumpyBuilder
from graphflow.framework.scalar_builder import ARITHMETIC, COMPARE, UNARY
from graphflow_compiler.codegen.emit import Target, host_target, kernel_to_llvm
from graphflow_compiler.codegen.jit.engine import compile_module, emit_object, external_symbols
from graphflow_compiler.codegen.llvm import loops_llvm
from graphflow_compiler.ir.index import iadd, ifloordiv, imin, imod, imul, isub
from graphflow_compiler.ir.loops import Atom, IBinary, IConst, IData, Index
from graphflow_compiler.ir.loops_build import LoopBuilder
from tests.loop_kernels import COLUMN, ROW, Array, Compiled, M, N, apply, apply_all, elementwise, kernel, name_of, values

FLOATS = (float16, float32, float64)
INTEGERS = (int8, int16, int32, int64, uint8, uint16, uint32, uint64)
NUMPY = NumpyBuilder()


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
        (IBinary("max", COLUMN, ROW), lambda i, j, n, m: np.maximum(i, j)),
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


# ---------------------------------------------------------------------------------------------- machine code


def test_bad_modules_are_compile_errors() -> None:
    with pytest.raises(CompileError, match="LLVM"):
        compile_module(["define i32 @f() { ret i64 0 }"])
    with pytest.raises(CompileError, match="no_such_function_anywhere"):
        compile_module(["declare i32 @no_such_function_anywhere()\ndefine i32 @f() {\n  ret i32 0\n}\n"])
    with pytest.raises(CompileError, match="no function"):
        compile_module(["define i32 @f() {\n  ret i32 0\n}\n"]).address("g")


def test_kept_code_finds_the_functions_of_this_process() -> None:
    for kept in (False, True):
        run = elementwise(lambda b, x: b.call("lgamma", b.add(x, 1.0)), float32)
        assert external_symbols([run.text]) == ["lgammaf"] and run.engine.found == (kept,)
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
