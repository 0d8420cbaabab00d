"""PTX of loop kernels: its text, what ptxas says to it, and the numbers of the LLVM text that it is made of."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

import graphflow as gf
from graphflow.framework.dims import factor, factor_text
from graphflow.framework.dtypes import DType, bool_, float32, float64, int8, int32, int64, uint16, uint64
from graphflow.framework.errors import CompileError
from graphflow_compiler.codegen.emit import host_target, kernel_to_llvm
from graphflow_compiler.codegen.gpu.loops import loops_to_gpu
from graphflow_compiler.codegen.gpu.ptx import GPU_TARGETS, INTRINSICS, GpuTarget, PtxKernel, kernel_to_ptx
from graphflow_compiler.codegen.gpu.schedule import value_of
from graphflow_compiler.ir.index import iadd, imul, isub
from graphflow_compiler.ir.loops import Atom, Buffer, Const, IConst, IDim, Index, IVar, LoopKernel
from graphflow_compiler.ir.loops_build import LoopBuilder
from tests.benchmark_kernels import (
    benchmark_kernels,
    loop_kernels,
    losses,
    recorded,
    run_workload,
    softmax_and_layer_norm,
    user_kernels,
)
from tests.loop_kernels import COLUMN, ROW, Compiled, M, N, kernel, name_of, values
from tests.plan_steps import PlanSteps
from tests.simt import Simulated

Array = npt.NDArray[Any]
TARGETS = pytest.mark.parametrize("target", GPU_TARGETS.values(), ids=lambda t: t.cpu)


def ptxas() -> str | None:
    site = Path(sysconfig.get_path("purelib")) / "nvidia"
    for folder in ("cu13", "cuda_nvcc"):
        found = shutil.which("ptxas", path=str(site / folder / "bin"))
        if found is not None:
            return found
    return shutil.which("ptxas")


def assemble(text: str, target: GpuTarget, folder: Path) -> str:
    """What ptxas says about a text that it accepts."""
    program = ptxas()
    if program is None:
        pytest.skip("no ptxas: pip install --no-deps nvidia-cuda-nvcc")
    source = folder / "kernel.ptx"
    source.write_text(text)
    command = [program, "-v", f"-arch={target.cpu}", str(source), "-o", str(folder / "kernel.cubin")]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr + text
    return done.stdout + done.stderr


# ---------------------------------------------------------------------------------------------- the text


@pytest.fixture(scope="module")
def made() -> list[LoopKernel]:
    workloads = [
        ("scalar",),
        ("chain", 1_000),
        ("chain", 100_000),
        ("norm",),
        ("matmul", 32, 784, 128),
        ("tiny",),
        ("mlp", 128),
    ]
    return [*benchmark_kernels(*workloads), *user_kernels()]


def check_text(p: PtxKernel, k: LoopKernel) -> None:
    assert f".target {p.target.cpu}\n" in p.text
    assert f".version {p.target.version}\n" in p.text
    entries = re.findall(r"\.visible \.entry (\w+)\(", p.text)
    assert entries == [p.name]
    assert ".func" not in p.text, "everything is in the kernel"
    assert p.parameters == (*(b.name for b in k.buffers), *map(factor_text, k.dims), "status")
    declared = re.findall(rf"\.param (\.u64 \.ptr \.global|\.b64|\.u64)[^,)]* {p.name}_param_(\d+)", p.text)
    pointers = [kind.endswith(".global") for kind, _ in declared]
    assert pointers == [True] * len(k.buffers) + [False] * len(k.dims) + [True]
    assert ".maxntid 256" in p.text
    assert ".nc." not in p.text, "that cache would keep what another buffer in the same storage overwrites"
    # Generic addresses and the stack are slow: there is nothing here that needs them.
    assert not re.search(r"\b(ld|st)\.(?!global|shared|param)", p.text)


@TARGETS
def test_benchmark_kernels_are_accepted_without_spills(target: GpuTarget, made: list[LoopKernel], tmp_path: Path) -> None:
    assert len(made) >= 25
    assert {loops_to_gpu(k, "k").launch.mapping for k in made} == {"elements", "rows", "single"}
    for i, k in enumerate(made):
        p = kernel_to_ptx(k, target, f"kernel_{i}")
        check_text(p, k)
        if ptxas() is not None:
            said = assemble(p.text, target, tmp_path)
            assert "0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads" in said, f"{k.comments}: {said}"
    if ptxas() is None:
        pytest.skip("no ptxas: pip install --no-deps nvidia-cuda-nvcc")


@TARGETS
def test_every_intrinsic_has_code(target: GpuTarget, tmp_path: Path) -> None:
    """In a process of its own: LLVM ends it where it has none."""
    text = []
    names = sorted(name for name in INTRINSICS if ".nvvm." not in name)
    for name in names:
        parts = name.split(".")
        source = {"f32": "float", "f64": "double"}[parts[-1]]
        result = parts[3] if parts[2] == "sat" else source
        count = 3 if parts[1] == "fma" else 1
        arguments = ", ".join([f"{source} %x"] * count)
        text.append(f"declare {result} @{name}({', '.join([source] * count)})")
        text.append(f"define ptx_kernel void @{name.replace('.', '_')}(ptr addrspace(1) %p, {source} %x) {{")
        text.append(f"  %y = call {result} @{name}({arguments})")
        text.append(f"  store {result} %y, ptr addrspace(1) %p\n  ret void\n}}")
    code = "import sys; from graphflow_compiler.codegen.gpu.ptx import *; "
    code += "print(llvm_to_ptx(sys.stdin.read(), GPU_TARGETS[sys.argv[1]]))"
    path = f"import sys; sys.path[:0] = {sys.path!r}; "
    done = subprocess.run(
        [sys.executable, "-c", path + code, target.cpu], input="\n".join(text), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(".entry") == len(names)
    assemble(done.stdout, target, tmp_path)


def test_what_has_no_ptx_says_so() -> None:
    target = GPU_TARGETS["sm_80"]
    product = next(k for k in recorded(lambda: run_workload("tiny")) if not isinstance(k, LoopKernel))
    with pytest.raises(CompileError, match="GemmKernel is not lowered to GPUs yet"):
        kernel_to_ptx(product, target, "k")
    for rule, named in (
        (lambda b, x: b.library_call("lgamma", x), "lgammaf"),
        (lambda b, x: b.library_call("sin", x), "sinf"),
        (lambda b, x: b.binary("mod", x, b.add(x, 1.0)), "fmodf"),
    ):
        b = LoopBuilder()
        with b.loop("i", N, "vector", parallel=True):
            b.store("y", ROW, rule(b, b.load("x", ROW, float32)))
        with pytest.raises(CompileError, match=f"it calls {named}"):
            kernel_to_ptx(kernel(b.build(), {"x": (float32, "read"), "y": (float32, "write")}), target, "k")


# ---------------------------------------------------------------------------------------------- the numbers


def arrays_for(k: LoopKernel, sizes: Mapping[str, int]) -> list[Array]:
    """Positive floats, so that logarithms and roots are finite; integers that are indices into two things or more."""
    rng = np.random.default_rng(0)
    found = []
    for b in k.buffers:
        count = value_of(b.count, sizes)
        x = rng.uniform(0.1, 1, count) if b.dtype.is_floating else rng.integers(0, 2, count)
        found.append(x.astype(b.dtype.numpy_dtype))
    return found


def check_numbers(k: LoopKernel, rtol: float, orders: tuple[bool, ...] = (False, True), **sizes: int) -> None:
    """The kernel as a GPU runs it against the one for this machine."""
    start = arrays_for(k, sizes)
    want = [a.copy() for a in start]
    code = Compiled(k)(*want, **sizes)
    simulated = Simulated(k)
    for last_first in orders:
        have = [a.copy() for a in start]
        assert simulated(*have, last_first=last_first, **sizes) == code
        for b, x, y in zip(k.buffers, have, want, strict=True):
            if not b.scratch:
                # Of the largest: what cancels out in a row depends on the order of its sums.
                largest = float(np.max(np.abs(y), initial=0)) if b.dtype.is_floating else 0
                np.testing.assert_allclose(x, y, rtol, rtol * largest, err_msg=f"{b.name} of {' '.join(k.comments)}")


def test_benchmark_kernels_compute_what_the_cpu_computes() -> None:
    seen: set[LoopKernel] = set()
    for k in [*benchmark_kernels(("scalar",), ("chain", 20_000), ("tiny",), ("mlp", 8)), *user_kernels()]:
        names = sorted({name for d in k.dims for name in factor(d).names()})
        check_numbers(k, 1e-5, (len(seen) % 2 == 0,), **{name: 3 + 62 * i for i, name in enumerate(names)})
        seen.add(k)
    assert len(seen) >= 25


def columns() -> list[Any]:
    x, y = (gf.placeholder(gf.float32, [None, 70], name=n) for n in ("x", "y"))
    z = gf.nn.relu(x - y)
    cube = gf.reshape(x, [-1, 5, 14]) * 2.0
    return [z, gf.reduce_sum(z, 0), cube, gf.reduce_max(gf.square(cube), 1), gf.reduce_sum(cube + 1.0, [0, 2])]


@pytest.mark.parametrize("build", [softmax_and_layer_norm, losses, columns], ids=lambda b: b.__name__)
def test_whole_graphs_give_the_reference_values(build: Callable[[], list[Any]]) -> None:
    """Every kernel of a plan as a GPU runs it, one after the other, against numpy."""
    rng = np.random.default_rng(0)
    fed = {n: rng.normal(size=(3, 70)).astype(np.float32) for n in ("x", "y")}
    fed["y"] = np.abs(fed["y"]) / np.abs(fed["y"]).sum(1, keepdims=True)
    fed |= {"scale": fed["x"][0], "shift": fed["x"][1], "labels": np.array([0, 69, 5], np.int32)}
    with gf.Graph().as_default() as graph:
        fetches = build()
    feeds = {t: fed[name] for name in fed if (t := _tensor_or_none(graph, f"{name}:0")) is not None}
    made: list[PlanSteps] = []
    kernels = loop_kernels(lambda: made.append(PlanSteps(graph, fetches, {t: a.shape for t, a in feeds.items()})))
    by_text = {kernel_to_llvm(k, host_target()).replace("@kernel(", "@("): k for k in kernels}
    plan = made[0].plan
    simulated = {name: Simulated(by_text[text.replace(f"@{name}(", "@(")]) for name, text in plan.kernels.items()}

    def call(name: str, arrays: Sequence[Array], sizes: Sequence[int]) -> int:
        run = simulated[name]
        return run(*arrays, **dict(zip(map(factor_text, run.kernel.dims), sizes, strict=True)))

    results, failed = made[0].run(list(feeds.values()), call=call)
    assert failed is None
    with gf.Session(graph=graph, backend="reference") as session:
        for x, y in zip(results, session.run(fetches, feeds), strict=True):
            np.testing.assert_allclose(x, y, 1e-5, 2e-6)


def _tensor_or_none(graph: gf.Graph, name: str) -> gf.Tensor | None:
    try:
        return graph.get_tensor_by_name(name)
    except KeyError:
        return None


def row_reduction(dtype: DType, combine: str, init: float | int) -> LoopKernel:
    b = LoopBuilder()
    with b.loop("i", N, parallel=True):
        with b.loop("j", M, "vector") as loop:
            x = b.load("x", iadd(imul(ROW, M), COLUMN), dtype)
            total = loop.accumulate("t", dtype, combine, init, x)
            count = loop.accumulate("c", int64, "add", 0, Const(1, int64))
        b.store("y", ROW, total)
        b.store("z", ROW, count)
    return kernel(b.build(), {"x": (dtype, "read"), "y": (dtype, "write"), "z": (int64, "write")}, ("m", "n"))


@pytest.mark.parametrize(
    "dtype, combine, init",
    [
        (float32, "max", -np.inf), (float64, "add", 0.0), (int32, "mul", 1), (int64, "min", 2**63 - 1), (int8, "max", -128),
        (uint16, "min", 2**16 - 1), (uint64, "add", 0), (bool_, "and", True), (bool_, "or", False),
    ],
    ids=name_of,
)  # fmt: skip
def test_threads_of_a_block_combine_every_type(dtype: DType, combine: str, init: float | int) -> None:
    k = row_reduction(dtype, combine, init)
    cpu, gpu = Compiled(k), Simulated(k)
    for n, m in [(2, 0), (1, 1), (3, 31), (1, 70), (1, 300)]:
        x = values(dtype, n * m)
        if combine == "add":
            x = np.arange(n * m).astype(dtype.numpy_dtype)
        results = []
        for run in (cpu, gpu):
            y, z = np.zeros(n, dtype.numpy_dtype), np.zeros(n, np.int64)
            assert run(x, y, z, n=n, m=m) == 0
            assert (z == m).all()
            results.append(y)
        np.testing.assert_array_equal(*results)


def test_any_number_of_blocks_gives_the_same_bits() -> None:
    k = row_reduction(float32, "add", 0.0)
    run = Simulated(k)
    x = np.random.default_rng(0).normal(size=(3, 60)).astype(np.float32)
    results = set()
    for blocks in (1, 2, 3):
        y, z = np.zeros(3, np.float32), np.zeros(3, np.int64)
        assert run(x, y, z, n=3, m=60, blocks=blocks) == 0
        results.add(y.tobytes())
    assert len(results) == 1


@pytest.mark.parametrize("last_first", [False, True])
def test_threads_see_what_others_have_stored(last_first: bool) -> None:
    """A value that the first thread stores read back by all, and a row turned around by way of scratch."""
    b = LoopBuilder()
    with b.loop("i", N, parallel=True):
        first = b.load("total", ROW, float32)
        b.store("total", ROW, b.mul(first, 2.0))
        doubled = b.load("total", ROW, float32)
        turn_around(b, lambda x: b.mul(b.add(x, doubled), first))
    buffers = {"x": (float32, "read"), "scratch": (float32, "readwrite"), "y": (float32, "write")}
    k = kernel(b.build(), {**buffers, "total": (float32, "readwrite")}, ("m", "n"))
    x = np.random.default_rng(0).normal(size=(4, 70)).astype(np.float32)
    y, total = np.zeros_like(x), np.arange(1, 5, dtype=np.float32)
    want = (x[:, ::-1] + 2 * total[:, None]) * total[:, None]
    assert Simulated(k)(x, x, y, total, n=4, m=70, last_first=last_first) == 0
    np.testing.assert_allclose(y, want, rtol=1e-6)
    np.testing.assert_array_equal(total, [2, 4, 6, 8])


@pytest.mark.parametrize("last_first", [False, True])
def test_no_thread_starts_a_row_while_others_need_the_last(last_first: bool) -> None:
    b = LoopBuilder()
    with b.loop("i", N, parallel=True):
        turn_around(b, lambda x: x)
    buffers = {"x": (float32, "read"), "scratch": (float32, "readwrite"), "y": (float32, "write")}
    k = kernel(b.build(), buffers, ("m", "n"))
    x = np.random.default_rng(0).normal(size=(4, 70)).astype(np.float32)
    y = np.zeros_like(x)
    assert Simulated(k)(x, x, y, n=4, m=70, blocks=1, last_first=last_first) == 0
    np.testing.assert_array_equal(y, x[:, ::-1])


def turn_around(b: LoopBuilder, rule: Callable[[Atom], Atom]) -> None:
    place = iadd(imul(ROW, M), COLUMN)
    with b.loop("j", M, "vector"):
        b.store("scratch", COLUMN, b.load("x", place, float32))
    with b.loop("j", M, "vector"):
        b.store("y", place, rule(b.load("scratch", isub(isub(M, IConst(1)), COLUMN), float32)))


def test_failed_checks_raise_the_status() -> None:
    for parallel in (True, False):
        b = LoopBuilder()
        with b.loop("i", N, "vector", parallel=parallel):
            loaded = b.load("x", ROW, float32)
            b.check(b.is_nan(loaded), 7)
            b.store("y", ROW, loaded)
        run = Simulated(kernel(b.build(), {"x": (float32, "read"), "y": (float32, "write")}))
        x, y = np.zeros(300, np.float32), np.ones(300, np.float32)
        assert run(x, y, n=300) == 0
        assert not y.any()
        x[299] = np.nan
        assert run(x, y, n=300) == 7


# ---------------------------------------------------------------------------------------------- the schedule


def nest(store: Index, load: Index) -> LoopKernel:
    """y[store] = x[load] over n x 3 x m, with y read where it is written."""
    b = LoopBuilder()
    with b.loop("i", N, parallel=True), b.loop("k", IConst(3)), b.loop("j", M, "vector"):
        b.store("y", store, b.add(b.load("x", load, float32), b.mul(b.load("y", store, float32), 2.0)))
    count = imul(imul(N, IConst(3)), M)
    buffers = tuple(Buffer(name, float32, count, a) for name, a in (("x", "read"), ("y", "readwrite")))  # type: ignore[arg-type]
    return LoopKernel("kernel", buffers, ("m", "n"), b.build(), ("test",))


K = IVar("k")
STRAIGHT = iadd(imul(iadd(imul(ROW, IConst(3)), K), M), COLUMN)
TURNED = iadd(imul(iadd(imul(ROW, M), COLUMN), IConst(3)), K)


def test_nests_become_one_loop_where_iterations_are_apart() -> None:
    straight = loops_to_gpu(nest(STRAIGHT, TURNED), "k").launch
    assert straight.mapping == "elements"
    assert straight.shape({"n": 2, "m": 100}, 1000) == (3, 256)
    check_numbers(nest(STRAIGHT, TURNED), 0, n=2, m=100)
    # A store that is no row-major place of the nest might meet itself: rows for blocks, lanes for their threads.
    turned = loops_to_gpu(nest(TURNED, STRAIGHT), "k").launch
    assert turned.mapping == "rows"
    assert turned.shape({"n": 2, "m": 100}, 1000) == (2, 128)
    check_numbers(nest(TURNED, STRAIGHT), 0, n=2, m=100)


def test_loops_that_meet_stay_as_they_are() -> None:
    """Every middle round overwrites what the one before has stored: they must not run side by side."""
    b = LoopBuilder()
    place = iadd(imul(ROW, M), COLUMN)
    with b.loop("i", N, parallel=True), b.loop("k", IConst(5)), b.loop("j", M, "vector"):
        b.store("y", place, b.add(b.mul(b.load("y", place, float32), 2.0), b.from_index(K, float32)))
    buffers = (Buffer("y", float32, imul(N, M), "readwrite"),)
    k = LoopKernel("kernel", buffers, ("m", "n"), b.build(), ("test",))
    assert loops_to_gpu(k, "k").launch.mapping == "rows"
    check_numbers(k, 0, n=3, m=40)


def test_launches_follow_sizes() -> None:
    launch = loops_to_gpu(row_reduction(float32, "add", 0.0), "k").launch
    shapes = [launch.shape({"n": n, "m": m}, 500) for n, m in [(0, 0), (7, 10), (7, 33), (1000, 5000)]]
    assert shapes == [(1, 32), (7, 32), (7, 64), (500, 256)]
    assert value_of(IDim("n"), {"n": 3}) == 3
