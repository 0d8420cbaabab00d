"""Loop kernels as Python functions on numpy arrays, for the tests of the code generator."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphflow.framework.dims import evaluate, factor
from graphflow.framework.dtypes import DType, as_dtype, float32
from graphflow_compiler.codegen.emit import Target, host_target, kernel_to_llvm
from graphflow_compiler.codegen.jit.engine import compile_module
from graphflow_compiler.ir.index import iadd, imul
from graphflow_compiler.ir.loops import Atom, Buffer, Const, IDim, IVar, LoopKernel, Statement, Var
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_text import kernel_to_text
from graphflow_compiler.ir.loops_verify import verify_kernel

Array = npt.NDArray[Any]
ROW, COLUMN, N, M = IVar("i"), IVar("j"), IDim("n"), IDim("m")


class Compiled:
    """A kernel compiled for this machine. Call it with its buffers in order, and its sizes by name."""

    def __init__(self, kernel: LoopKernel, target: Target | None = None) -> None:
        verify_kernel(kernel)
        assert kernel_to_text(kernel)
        self.kernel = kernel
        self.text = kernel_to_llvm(kernel, target or host_target())
        self.engine = compile_module([self.text], target)
        arguments = [ctypes.c_void_p] * len(kernel.buffers) + [ctypes.c_int64] * (len(kernel.dims) + 2)
        self.function = ctypes.CFUNCTYPE(ctypes.c_int32, *arguments)(self.engine.address("kernel"))

    def __call__(self, *arrays: Array, threads: int = 1, **dims: int) -> int:
        """The largest status of the threads, which run one after the other, last first."""
        assert len(arrays) == len(self.kernel.buffers)
        for a, b in zip(arrays, self.kernel.buffers, strict=True):
            assert as_dtype(a.dtype) is b.dtype, f"{b.name} wants {b.dtype.name}"
        pointers = [a.ctypes.data for a in arrays]
        sizes = [evaluate(factor(d), dims) for d in self.kernel.dims]
        return max(int(self.function(*pointers, *sizes, t, threads)) for t in reversed(range(threads)))


def kernel(body: Sequence[Statement], buffers: Mapping[str, tuple[DType, str]], dims: Sequence[str] = ("n",)) -> LoopKernel:
    """`buffers`: name -> (dtype, access); their sizes do not matter here. Names that begin with "scratch" are scratch."""
    declared = tuple(
        Buffer(name, dtype, IDim(dims[0]), access, name.startswith("scratch"))  # type: ignore[arg-type]
        for name, (dtype, access) in buffers.items()
    )
    return LoopKernel("kernel", declared, tuple(dims), tuple(body), ("test",))


def elementwise(rule: Callable[..., Atom | Sequence[Atom]], *dtypes: DType) -> Compiled:
    """y0[i], y1[i] ... = rule(builder, x0[i], x1[i] ...)"""
    b = LoopBuilder()
    with b.loop("i", IDim("n"), "vector", parallel=True):
        made = rule(b, *(b.load(f"x{k}", IVar("i"), d) for k, d in enumerate(dtypes)))
        results = [made] if isinstance(made, (Var, Const)) else list(made)
        for k, r in enumerate(results):
            b.store(f"y{k}", IVar("i"), r)
    buffers = {f"x{k}": (d, "read") for k, d in enumerate(dtypes)}
    buffers |= {f"y{k}": (r.dtype, "write") for k, r in enumerate(results)}
    return Compiled(kernel(b.build(), buffers))


def apply_all(compiled: Compiled, *inputs: Array, threads: int = 1) -> list[Array]:
    """The results of an elementwise kernel. Checks that it writes nothing past the end."""
    n = len(inputs[0])
    guard = 16
    outs = []
    for b in compiled.kernel.buffers[len(inputs) :]:
        t = b.dtype.numpy_dtype
        outs.append(np.frombuffer(b"\x5a" * ((n + guard) * t.itemsize), t).copy())
    sizes = dict.fromkeys(compiled.kernel.dims, n)
    assert compiled(*(np.ascontiguousarray(x) for x in inputs), *outs, threads=threads, **sizes) == 0
    for out in outs:
        assert out[n:].tobytes() == b"\x5a" * (guard * out.itemsize)
    return [out[:n] for out in outs]


def apply(compiled: Compiled, *inputs: Array, threads: int = 1) -> Array:
    """The result of an elementwise kernel that has one."""
    (result,) = apply_all(compiled, *inputs, threads=threads)
    return result


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


def name_of(x: Any) -> str:
    return x.name if isinstance(x, DType) else str(x)


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
