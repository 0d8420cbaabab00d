"""Products of random matrices, and the kernels that compute them."""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np

from graphflow.framework import dims
from graphflow.framework.dtypes import DType, as_dtype, float32
from graphflow_compiler.codegen.jit.engine import Engine, compile_module
from graphflow_compiler.codegen.llvm.llvm_text import Target, host_target
from graphflow_compiler.codegen.matmul.gemm import gemm_scratch_elements, gemm_to_llvm
from graphflow_compiler.codegen.matmul.tiling import choose_tile
from graphflow_compiler.ir.index import iadd, imul
from graphflow_compiler.ir.indexing_maps import dim_index
from graphflow_compiler.ir.loops import Buffer, GemmKernel, IConst, IDim, Index, IVar, Var
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_verify import verify_kernel
from graphflow_compiler.lower.matmul import start_of_matrix

Array = np.ndarray[Any, np.dtype[Any]]
B, I, J = IVar("b"), IVar("i"), IVar("j")  # noqa: E741
M, N = IDim("m"), IDim("n")


class Product:
    """One product of random matrices, and the kernel that should compute it.

    `known` lists the sizes (of m, n, k, t; t is the batch) that are constants of the kernel. `axes` are the batch axes of
    the two operands, where there are several: axes of size 1 are broadcast.
    """

    def __init__(
        self,
        m: int,
        n: int,
        k: int,
        dtype: str = "float32",
        transpose: str = "NN",
        batch: int = 1,
        known: str = "mnkt",
        broadcast: str = "",
        epilogue: Callable[[LoopBuilder, Product], None] | None = None,
        extra: dict[str, Array] | None = None,
        seed: int = 0,
        panel: int = 0,
        axes: tuple[tuple[int, ...], tuple[int, ...]] | None = None,
    ) -> None:
        rng = np.random.default_rng(seed)
        own_a, own_b = axes or (((1,) if x in broadcast else (batch,)) for x in "ab")
        batches = np.broadcast_shapes(own_a, own_b)
        names = [f"t{i}" for i in range(len(batches))]
        self.batch = math.prod(batches)
        self.values = {"m": m, "n": n, "k": k, **dict(zip(names, batches, strict=True))}
        sizes = {x: v if x[0] in known else dims.size(x) for x, v in self.values.items()}
        self.dtype = as_dtype(dtype)
        self.ta, self.tb = transpose[0] == "T", transpose[1] == "T"
        self.a = self.random(rng, *own_a, *((k, m) if self.ta else (m, k)))
        self.b = self.random(rng, *own_b, *((n, k) if self.tb else (k, n)))
        self.m, self.n, self.k = (dim_index(sizes[x]) for x in "mnk")
        result = tuple(sizes[x] for x in names)

        def start(own: tuple[int, ...], elements: dims.Dim) -> Index:
            last = slice(len(batches) - len(own), None)
            aligned = zip(own, batches[last], result[last], strict=True)
            return start_of_matrix(tuple(1 if o == 1 != d else s for o, d, s in aligned), result, elements)

        self.extra = extra or {}
        builder = LoopBuilder()
        # the index of a dense [batch, m, n] array
        self.dense = iadd(imul(iadd(imul(B, self.m), I) if self.batch > 1 or "t" not in known else I, self.n), J)
        self.acc = Var("acc", self.dtype)
        (epilogue or Product.store)(builder, self)
        buffers = [Buffer("a", self.dtype, IConst(1), "read"), Buffer("b", self.dtype, IConst(1), "read")]
        for name, array in {"c": np.zeros(0, self.dtype.numpy_dtype), **self.extra}.items():
            buffers.append(Buffer(name, as_dtype(array.dtype), IConst(1), "readwrite"))
        self.kernel = GemmKernel(
            "kernel",
            "a",
            "b",
            self.dtype,
            self.dtype,
            self.m,
            self.n,
            self.k,
            dim_index(dims.product(result)),
            start(own_a, sizes["m"] * sizes["k"]),
            start(own_b, sizes["k"] * sizes["n"]),
            self.ta,
            self.tb,
            builder.build(),
            tuple(buffers),
            tuple(x for x in sizes if x[0] not in known),
            b_panel=panel,
        )
        self.stored_b = self.b
        if panel:
            padded = np.pad(self.b[0], ((0, 0), (0, -n % panel)))
            self.stored_b = np.ascontiguousarray(padded.reshape(k, -1, panel).swapaxes(0, 1))

    def random(self, rng: np.random.Generator, *shape: int) -> Array:
        return rng.standard_normal(shape).astype(self.dtype.numpy_dtype)

    def store(self: Product | LoopBuilder, p: Any) -> None:
        """The epilogue that only stores the sums."""
        assert isinstance(self, LoopBuilder)
        self.store("c", p.dense, p.acc)

    @property
    def exact(self) -> Array:
        a, b = (x.astype(np.float64) for x in (self.a, self.b))
        product: Array = (a.swapaxes(-1, -2) if self.ta else a) @ (b.swapaxes(-1, -2) if self.tb else b)
        return product.reshape(self.batch, *product.shape[-2:])

    def run(self, threads: int = 1, target: Target | None = None, **values: int) -> Array:
        """The buffer c after all threads (one after the other) have run. `values` replace run-time sizes."""
        target = target or host_target()
        verify_kernel(self.kernel)
        sizes = {**self.values, **values}
        count = self.batch * sizes["m"] * sizes["n"]
        result = guarded(count, self.dtype)
        arrays = [self.a, self.stored_b, result, *self.extra.values()]
        scratch = gemm_scratch_elements(self.kernel, target)
        if scratch is not None:
            arrays.append(guarded(scratch * threads, self.dtype))
        engine = compiled(self.kernel, target)
        kinds = [ctypes.c_void_p] * len(arrays) + [ctypes.c_int64] * (len(self.kernel.dims) + 2)
        function = ctypes.CFUNCTYPE(ctypes.c_int32, *kinds)(engine.address("kernel"))
        self.codes = [
            function(*(x.ctypes.data for x in arrays), *(sizes[d] for d in self.kernel.dims), thread, threads)
            for thread in range(threads)
        ]
        for array, used in ((result, count), *([(arrays[-1], scratch * threads)] if scratch is not None else [])):
            assert (array[used:] == guarded(0, self.dtype)).all(), "written past the end"
        return result[:count].reshape(self.batch, sizes["m"], sizes["n"])


@lru_cache(maxsize=8)
def compiled(kernel: GemmKernel, target: Target) -> Engine:
    return compile_module([gemm_to_llvm(kernel, target)], target)


def guarded(count: int, dtype: DType) -> Array:
    """`count` elements, 64-byte aligned, of a value that no product has, and 16 more."""
    size = dtype.numpy_dtype.itemsize
    memory = np.empty((count + 16) * size + 64, np.uint8)
    start = -memory.ctypes.data % 64
    array: Array = memory[start : start + (count + 16) * size].view(dtype.numpy_dtype)
    array[...] = 123456
    return array


def check(product: Product, threads: int = 1, target: Target | None = None) -> Array:
    got = product.run(threads, target)
    assert product.codes == [0] * threads
    tolerance = 1e-5 if product.dtype == float32 else 1e-13
    scale = np.sqrt(product.values["k"]) + 1
    np.testing.assert_allclose(got, product.exact, rtol=tolerance, atol=tolerance * scale * 4)
    return got


def in_panels(m: int, n: int, k: int, dtype: str = "float32", target: Target | None = None, **more: Any) -> Product:
    """A product whose B is stored in panels, as constants are."""
    size, target = as_dtype(dtype).size, target or host_target()
    row_bytes = k * size if "k" in more["known"] and not more.get("transpose", "").startswith("T") else None
    tile = choose_tile(target, size, m if "m" in more["known"] else None, n, row_bytes)
    return Product(m, n, k, dtype, panel=tile.columns, broadcast="b", **more)
