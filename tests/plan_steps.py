"""Plans run step by step, each step share by share, for tests that results do not depend on the number of threads."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from graphflow.framework.graph import Graph, Tensor
from graphflow.framework.shapes import evaluate
from graphflow_compiler.codegen.jit.engine import compile_module
from graphflow_compiler.compilation import compile
from graphflow_compiler.frontend import Signature, symbolize_shapes
from graphflow_compiler.planning.plan import Plan, PlanBuffer

Array = npt.NDArray[Any]
Call = Callable[[str, Sequence[Array], Sequence[int]], int]


class PlanSteps:
    """The plan of some fetches for feeds of given shapes (open dims stay symbols), with its kernels compiled."""

    def __init__(self, graph: Graph, fetches: Sequence[Tensor], feeds: Mapping[Tensor, tuple[int, ...]]) -> None:
        shapes = symbolize_shapes(tuple(feeds), list(feeds.values()))
        self.plan: Plan = compile(graph, Signature(tuple(fetches), tuple(feeds), shapes, {}))
        self.engine = compile_module(list(self.plan.kernels.values()))

    @property
    def patterns(self) -> list[str]:
        return [s.pattern for s in self.plan.steps]

    def run(
        self, feeds: Sequence[Array], threads: int = 1, call: Call | None = None
    ) -> tuple[list[Array], tuple[str, str] | None]:
        """Outputs, and op and message of the first failed check. The last share of each step runs first.

        `call` runs the kernels instead: function, buffers, sizes -> status."""
        plan = self.plan
        sizes = plan.sizes([a.shape for a in feeds])
        outputs = [np.empty([evaluate(d, sizes) for d in t.shape or ()], t.dtype.numpy_dtype) for t in plan.output_types]
        arrays = [self._array(b, feeds, outputs, sizes, threads) for b in plan.buffers]
        for step in plan.steps:
            used = [arrays[b] for b in step.buffers]
            if step.function.startswith("copy "):
                ctypes.memmove(used[1].ctypes.data, used[0].ctypes.data, int(step.function[5:]))
                continue
            if call is not None:
                code = call(step.function, used, [evaluate(d, sizes) for d in step.dims])
                if code:
                    return outputs, next((f.op, f.message) for f in step.failures if f.code == code)
                continue
            types = [ctypes.c_void_p] * len(used) + [ctypes.c_int64] * (len(step.dims) + 2)
            function = ctypes.CFUNCTYPE(ctypes.c_int32, *types)(self.engine.address(step.function))
            arguments = [*(a.ctypes.data for a in used), *(evaluate(d, sizes) for d in step.dims)]
            code = max(function(*arguments, t, threads) for t in reversed(range(threads)))
            if code:
                return outputs, next((f.op, f.message) for f in step.failures if f.code == code)
        return outputs, None

    def _array(
        self, b: PlanBuffer, feeds: Sequence[Array], outputs: Sequence[Array], sizes: Mapping[str, int], threads: int
    ) -> Array:
        if b.role == "feed":
            return np.ascontiguousarray(feeds[int(b.key)])
        if b.role == "output":
            return outputs[int(b.key)]
        if b.role == "constant":
            assert b.array is not None
            return b.array
        if b.role == "random_count":
            return np.array(1, np.uint64)
        assert b.role in ("temporary", "scratch"), b.role
        count = evaluate(b.bytes, sizes) * (threads if b.role == "scratch" else 1)
        return np.full(count + 64, 0x5A, np.uint8)  # what is not written must not matter
