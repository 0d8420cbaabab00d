"""The loop IR itself: its text, its builder, its verifier."""

from __future__ import annotations

from typing import Any

import pytest

from graphflow.framework.dtypes import (
    bool_,
    float32,
    float64,
    int32,
)
from graphflow.framework.errors import CompileError
from graphflow_compiler.codegen.emit import host_target, kernel_to_llvm
from graphflow_compiler.ir.loops import Const, IConst, IDim, IVar, Let, Load, LoopKernel, Unary, Var
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_math import expand_math
from graphflow_compiler.ir.loops_text import kernel_to_text
from graphflow_compiler.ir.loops_verify import verify_kernel
from tests.loop_kernels import COLUMN, ROW, N, kernel, softmax

# ---------------------------------------------------------------------------------------------- text, builder, verifier


def test_text_is_the_same_every_time_and_free_of_names() -> None:
    first = softmax()
    assert first.text == softmax().text
    other = LoopKernel("another", first.kernel.buffers, first.kernel.dims, first.kernel.body, ("elsewhere",))
    assert kernel_to_llvm(other, host_target()) == first.text


def test_kernels_print() -> None:
    text = kernel_to_text(softmax().kernel)
    assert "for i < n serial parallel:" in text
    assert "exp(" in text
    assert "exp(" not in kernel_to_text(expand_math(softmax().kernel))
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
