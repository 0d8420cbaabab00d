"""Loop kernels on a GPU's grid: the numbers, run here thread by thread, and PTX that NVIDIA's assembler accepts."""

from __future__ import annotations

import ctypes
import re
import shutil
import subprocess
import sys
import sysconfig
import threading
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.dtypes import float32, float64
from graphflow.errors import CompileError
from graphflow_compiler import compilation
from graphflow_compiler.codegen.emit import kernel_to_llvm
from graphflow_compiler.codegen.gpu_loops import gpu_function
from graphflow_compiler.codegen.jit import compile_module
from graphflow_compiler.codegen.ptx import TARGETS, GpuTarget, kernel_to_ptx
from graphflow_compiler.ir.loops import IBinary, IConst, IDim, Index, IVar, Kernel, LoopKernel
from tests.loop_kernels import Compiled, elementwise, kernel

Array = np.ndarray[Any, Any]


def chain() -> list[Any]:
    x = gf.get_variable("x", [3000])
    y = gf.tanh(x * 2.0 + 1.0) * gf.sigmoid(x) + gf.exp(-x * x)
    return [gf.reduce_mean(y), y]


def norm() -> list[Any]:
    x, scale, shift = gf.get_variable("x", [37, 200]), gf.get_variable("scale", [200]), gf.get_variable("shift", [200])
    p = gf.nn.softmax(x)
    m, v = gf.nn.moments(p, [-1], keepdims=True)
    y = (p - m) * gf.rsqrt(v + 1e-5) * scale + shift
    return [gf.reduce_mean(gf.square(y)), y, *gf.gradients(y, [x, scale, shift])]


def network() -> list[Any]:
    x, labels = gf.get_variable("x", [19, 31]), gf.constant(np.arange(19) % 10)
    h = gf.layers.dense(x, 23, gf.nn.relu)
    h = gf.nn.dropout(h, rate=0.25)
    loss = gf.losses.sparse_softmax_cross_entropy(labels, gf.layers.dense(h, 10))
    return [loss, gf.train.AdamOptimizer(0.01).minimize(loss)]


def small() -> list[Any]:
    x, y = gf.get_variable("x", []), gf.get_variable("y", [])
    return [x + y]


def reductions() -> list[Any]:
    x = gf.get_variable("x", [50, 40], gf.float64)
    i = gf.cast(x * 10.0, gf.int32)
    return [
        gf.reduce_sum(x, 0), gf.reduce_max(x, 1), gf.reduce_prod(x + 1.0), gf.reduce_sum(i), gf.reduce_any(x > 2.0, 0),
        gf.reduce_logsumexp(x), gf.gather(gf.transpose(x), [3, 0, 3]),
    ]  # fmt: skip


@cache
def kernels(build: Callable[[], list[Any]]) -> tuple[Kernel, ...]:
    """Every kernel of the plan, however often it is used."""
    found: dict[str, Kernel] = {}

    def note(k: Kernel, target: Any) -> str:
        return found.setdefault(kernel_to_llvm(k, target), k) and kernel_to_llvm(k, target)

    with pytest.MonkeyPatch.context() as patch, gf.Graph().as_default(), gf.Session() as session:
        patch.setattr(compilation, "kernel_to_llvm", note)
        session._compiled(build(), None, {})
    return tuple(found.values())


GRAPHS = [chain, norm, network, small, reductions]


def loops(build: Callable[[], list[Any]]) -> list[LoopKernel]:
    return [k for k in kernels(build) if isinstance(k, LoopKernel)]


# ---------------------------------------------------------------------------------------------- numbers


class OnThreads:
    """The schedule for a GPU, run on this machine: blocks one after the other, each with threads of its own."""

    def __init__(self, k: LoopKernel, threads: int) -> None:
        self.threads = threads
        self.engine = compile_module([gpu_function(k, "kernel", threads, host=True)])
        types = [ctypes.c_void_p] * len(k.buffers) + [ctypes.c_int64] * len(k.dims) + [ctypes.c_void_p]
        types += [ctypes.c_int64] * 3 + [ctypes.c_void_p] * 2
        self.function = ctypes.CFUNCTYPE(None, *types)(self.engine.address("kernel"))

    def __call__(self, arrays: list[Array], sizes: list[int], blocks: int) -> int:
        """The status: the lowest code of a failed check, or 0."""
        status, shared = np.full(1, -1, np.int32), np.zeros(self.threads, np.float64)
        barrier = threading.Barrier(self.threads, timeout=60)
        wait = ctypes.CFUNCTYPE(None)(lambda: barrier.wait() and None)
        head = [*(a.ctypes.data for a in arrays), *sizes, status.ctypes.data]
        tail = [shared.ctypes.data, ctypes.cast(wait, ctypes.c_void_p)]
        for block in range(blocks):
            team = [
                threading.Thread(target=self.function, args=(*head, thread, block, blocks, *tail))
                for thread in range(self.threads)
            ]
            for t in team:
                t.start()
            for t in team:
                t.join()
        return int(status[0]) if status[0] != -1 else 0


def value(index: Index, sizes: dict[str, int]) -> int:
    if isinstance(index, IConst):
        return index.value
    if isinstance(index, IDim):
        return sizes[index.name]
    assert isinstance(index, IBinary) and not isinstance(index, IVar)
    a, b = value(index.a, sizes), value(index.b, sizes)
    return {"add": a + b, "sub": a - b, "mul": a * b, "floordiv": a // max(b, 1), "mod": a % max(b, 1)}.get(
        index.op, min(a, b) if index.op == "min" else max(a, b)
    )


def data(k: LoopKernel, sizes: dict[str, int], factor: int) -> list[Array]:
    """Something for every buffer; scratch for as many threads or blocks as `factor`."""
    rng = np.random.default_rng(0)
    found = []
    for b in k.buffers:
        count = value(b.count, sizes) * (factor if b.scratch else 1)
        dtype = b.dtype.numpy_dtype
        drawn = rng.uniform(0.1, 2.0, count) if b.dtype.is_floating else rng.integers(0, 2, count)
        found.append(drawn.astype(dtype))
    return found


@pytest.mark.parametrize("threads", [1, 4, 8])
@pytest.mark.parametrize("build", GRAPHS)
def test_the_grid_computes_what_the_cpu_does(build: Callable[[], list[Any]], threads: int) -> None:
    for k in loops(build):
        sizes = dict.fromkeys(k.dims, 21)
        blocks = 3
        here, there = data(k, sizes, 1), data(k, sizes, blocks)
        assert Compiled(LoopKernel("kernel", k.buffers, k.dims, k.body))(*here, **sizes) == 0
        assert OnThreads(k, threads)(there, [sizes[d] for d in k.dims], blocks) == 0
        for b, a, c in zip(k.buffers, here, there, strict=True):
            if not b.scratch and b.access != "read":
                exact = a.dtype.kind != "f"
                np.testing.assert_allclose(c, a, rtol=0 if exact else 2e-6, atol=0 if exact else 2e-6, err_msg=str(k.comments))


def test_failed_checks_are_reported() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        found: list[Kernel] = []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(compilation, "kernel_to_llvm", lambda k, t: found.append(k) or kernel_to_llvm(k, t))  # type: ignore[func-returns-value]
            session._compiled(gf.check_numerics(gf.get_variable("x", [100]) * 2.0, "not finite"), None, {})
        (k,) = found
    assert isinstance(k, LoopKernel)
    arrays = data(k, {}, 1)
    run = OnThreads(k, 4)
    assert run(arrays, [], 2) == 0
    read = next(i for i, b in enumerate(k.buffers) if b.access == "read")
    arrays[read][77] = np.nan
    assert run(arrays, [], 2) > 0


# ---------------------------------------------------------------------------------------------- PTX


def assembler() -> str | None:
    found = shutil.which("ptxas")
    if found is None:
        packages = Path(sysconfig.get_paths()["purelib"]) / "nvidia"
        found = next((str(p) for p in sorted(packages.glob("*/bin/ptxas"))), None)
    return found


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.cpu)
@pytest.mark.parametrize("build", GRAPHS)
def test_ptx_is_written(build: Callable[[], list[Any]], target: GpuTarget) -> None:
    assert loops(build)
    for i, k in enumerate(loops(build)):
        text = kernel_to_ptx(k, target, f"k{i}")
        assert re.search(rf"^\.target {target.cpu}$", text, re.MULTILINE)
        (parameters,) = re.findall(rf"\.visible \.entry k{i}\((.*?)\)", text, re.DOTALL)
        assert parameters.count(".param") == len(k.buffers) + len(k.dims) + 1
        assert ".reqntid 256" in text and "fma.rn.ftz" not in text


@pytest.mark.skipif(assembler() is None, reason="needs ptxas: pip install nvidia-cuda-nvcc")
@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.cpu)
@pytest.mark.parametrize("build", GRAPHS)
def test_ptx_assembles_without_spills(build: Callable[[], list[Any]], target: GpuTarget, tmp_path: Path) -> None:
    command = assembler()
    assert command is not None
    files = []
    for i, k in enumerate(loops(build)):
        files.append(tmp_path / f"k{i}.ptx")
        files[-1].write_text(kernel_to_ptx(k, target))
    for file in files:
        done = subprocess.run(
            [command, "-v", "-arch", target.cpu, str(file), "-o", str(file.with_suffix(".cubin"))],
            capture_output=True, text=True, timeout=120,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        spills = re.findall(r"(\d+) bytes spill", done.stderr)
        assert spills and set(spills) == {"0"}, done.stderr


def test_what_a_gpu_has_not_is_refused() -> None:
    gemm = next(k for k in kernels(network) if not isinstance(k, LoopKernel))
    with pytest.raises(CompileError, match="matrix products"):
        kernel_to_ptx(gemm, TARGETS[0])
    with pytest.raises(CompileError, match="a GPU has no lgamma"):
        kernel_to_ptx(elementwise(lambda b, x: b.call("lgamma", x), float64).kernel, TARGETS[0])
    assert ".entry" in kernel_to_ptx(elementwise(lambda b, x: b.call("exp", x), float32).kernel, TARGETS[0])
    empty = kernel((), {"x": (float32, "write")})
    assert ".entry" in kernel_to_ptx(empty, TARGETS[1])


KNOWN = """
from graphflow_compiler.codegen.ptx import TARGETS, _assembly
def lines():
    for f, t in (("f32", "float"), ("f64", "double")):
        for name in ("fabs", "floor", "ceil", "trunc", "roundeven", "sqrt"):
            yield f"llvm.{name}.{f}", t, [t]
        yield f"llvm.fma.{f}", t, [t] * 3
        for name in ("fptosi", "fptoui"):
            for i in ("i8", "i16", "i32", "i64"):
                yield f"llvm.{name}.sat.{i}.{f}", i, [t]
for target in TARGETS:
    for name, result, types in lines():
        declared = f"declare {result} @{name}({', '.join(types)})"
        loads = [f"%x{k} = load {t}, ptr addrspace(1) %p" for k, t in enumerate(types)]
        call = f"%y = call {result} @{name}({', '.join(f'{t} %x{k}' for k, t in enumerate(types))})"
        body = [*loads, call, f"store {result} %y, ptr addrspace(1) %p", "ret void"]
        assert _assembly("\\n".join([declared, "define ptx_kernel void @k(ptr addrspace(1) %p) {", *body, "}"]), target)
print("all there")
"""


def test_what_is_taken_for_granted_is_there() -> None:
    """In a process of its own, which LLVM ends where it cannot select an instruction."""
    done = subprocess.run([sys.executable, "-c", KNOWN], capture_output=True, text=True, timeout=300)
    assert done.stdout.strip() == "all there", done.stderr[-2000:]
