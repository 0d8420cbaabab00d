"""What LLVM refuses: the op is named, the reference backend has the result, and nothing ends the process."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.errors import CompileError
from graphflow_compiler.codegen.gpu.ptx import GpuTarget, llvm_to_ptx
from graphflow_compiler.codegen.jit import engine
from graphflow_compiler.codegen.jit.compile_pool import Refusal
from graphflow_compiler.codegen.jit.engine import compile_module, emit_object
from graphflow_compiler.codegen.llvm.llvm_text import host_target
from graphflow_compiler.planning.plan import Plan
from graphflow_runtime.executor import native
from graphflow_runtime.native_code import dispatch

X = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)


def two_kernels() -> tuple[Any, Any]:
    """Fetches that take a kernel of `soft`, and one of `product`."""
    x = tf.placeholder(tf.float32, [None, 4], name="x")
    soft = tf.nn.softmax(x * 1.7, name="soft")
    product = tf.matmul(soft, tf.constant(np.ones((4, 5), np.float32)), name="product")
    return x, [product, tf.reduce_sum(tf.tanh(product), 0, name="total")]


@contextmanager
def spoiled(monkeypatch: pytest.MonkeyPatch, op: str, spoil: Callable[[str], str]) -> Iterator[list[str]]:
    """Plans whose kernel of an op has another text; the names of the kernels that were changed."""
    real = native.compile
    changed: list[str] = []

    def compile(*args: Any) -> Plan:
        plan = real(*args)
        kernels = dict(plan.kernels)
        for step in plan.steps:
            if op in step.origin and step.function in kernels:
                kernels[step.function] = spoil(kernels[step.function])
                changed.append(step.function)
        return replace(plan, kernels=kernels)

    with monkeypatch.context() as patch:
        patch.setattr(native, "compile", compile)
        yield changed


#: What may be wrong with a kernel's text.
FAULTS = {
    "no language at all": lambda text: text + "\nnonsense",
    "a wrong type": lambda text: text.replace("ret i32 0", "ret i64 0"),
    "a name twice": lambda text: text.replace("entry:\n", "entry:\n  %twice = add i64 0, 0\n  %twice = add i64 0, 0\n", 1),
    "an unresolved symbol": lambda text: f"declare float @no_such_function_at_all(float)\n{text}",
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_refused_kernel_names_its_op_and_numpy_serves(
    fault: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    with tf.Graph().as_default():
        x, fetches = two_kernels()
        with tf.Session() as session, spoiled(monkeypatch, "soft", FAULTS[fault]) as changed:
            found = session.run(fetches, {x: X})
            assert changed
            text = session.explain(fetches, feed_shapes={x: (3, 4)})
            again = session.run(fetches, {x: X[:2]})
        with tf.Session(backend="reference") as session:
            for ours, theirs in zip(found, session.run(fetches, {x: X}), strict=True):
                np.testing.assert_array_equal(ours, theirs)
            np.testing.assert_array_equal(again[0], session.run(fetches, {x: X[:2]})[0])
    assert text.startswith("reference backend (numpy): no code for the kernel of ") and "product" not in text.split(": ")[1]
    (message,) = [r.getMessage() for r in caplog.records]
    assert "soft" in message and "GRAPHFLOW_DUMP" in message and ("LLVM" in message or "no_such_function_at_all" in message)


def test_a_kernel_on_which_llvm_crashes_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    with tf.Graph().as_default():
        x, fetches = two_kernels()
        tries: list[int] = []

        def emit_all(texts: list[str], *_: Any) -> Any:
            tries.append(1)
            text = next(t for t in texts if "spoiled" in t)
            raise Refusal("it ends the process that compiles it, by SIGABRT", text, crashed=True)

        with spoiled(monkeypatch, "soft", lambda text: text + "; spoiled\n"), tf.Session() as session:
            monkeypatch.setattr(engine, "emit_all", emit_all)
            assert session.run(fetches, {x: X})[0].shape == (3, 5)
            assert "soft" in session.explain(fetches, feed_shapes={x: (3, 4)}) and len(tries) == 1


def test_a_fault_of_the_passes(monkeypatch: pytest.MonkeyPatch) -> None:
    def compile(*args: Any) -> Plan:
        raise CompileError("fusion made a cycle of kernels")

    monkeypatch.setattr(native, "compile", compile)
    with tf.Graph().as_default(), tf.Session() as session:
        v = tf.Variable([1.0, 2.0])
        session.run(v.initializer)
        assert session.run(v.assign_add([1.0, 1.0])).tolist() == [2.0, 3.0] == session.run(v).tolist()
        assert session.explain(v).startswith("reference backend (numpy): fusion made a cycle of kernels")


def test_calls_without_code_for_them(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """The code that reads a call's arguments is LLVM's work, too."""

    def refuse(*_: Any, **__: Any) -> Any:
        raise CompileError("LLVM refuses the module")

    monkeypatch.setattr(dispatch, "compile_units", refuse)
    assert dispatch.make_builtins() is None
    assert "through ctypes: LLVM refuses" in caplog.text


# ---------------------------------------------------------------------------------------------- processors

_NAMES = """
from dataclasses import replace
from graphflow.framework.errors import CompileError
from graphflow_compiler.codegen.jit.engine import compile_module, emit_object
from graphflow_compiler.codegen.llvm.llvm_text import host_target
for cpu, features in [
    ("nonsense", ""), ("i386", ""), ("help", "+64bit"), ("x\\0y", ""), ("-mcpu=help", ""), ("generic", "-64bit"),
    ("generic", "garbage"), ("generic", "+nonsense"), ("generic", "help"), ("generic", "+avx2,,"), ("generic", "+"),
]:
    target = replace(host_target(), cpu=cpu, features=features)
    for make in (compile_module, emit_object):
        try:
            make(["define i32 @f() { ret i32 0 }"], target)
        except CompileError as e:
            print("refused" if repr(cpu) in str(e) and repr(features) in str(e) else e)
print(compile_module(["define i32 @f() { ret i32 0 }"]).address("f") > 0)
"""


@pytest.mark.skipif(not host_target().features.startswith("+64bit"), reason="names of x86")
def test_unknown_processors_are_refused_before_llvm_sees_them() -> None:
    """It ends the process for some of them, and talks of others."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(_NAMES)], capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.split("\n") == ["refused"] * 22 + ["True", ""]


def test_known_processors_are_not_refused() -> None:
    text = "define i32 @f() {\n  ret i32 0\n}\n"
    for target in (None, host_target(), replace(host_target(), features=""), replace(host_target(), cpu="", features="")):
        assert emit_object([text], target) and compile_module([text], target).address("f")


@pytest.mark.parametrize("cpu", ["sm_999", "nonsense", "help"])
def test_unknown_gpus_are_refused(cpu: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(CompileError, match=cpu):
        llvm_to_ptx("define void @f() { ret void }", GpuTarget(cpu, 70))
    with pytest.raises(CompileError, match="ptx7"):
        llvm_to_ptx("define void @f() { ret void }", GpuTarget("sm_80", 7))
    assert capfd.readouterr() == ("", "")
