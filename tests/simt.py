"""The LLVM text of a GPU kernel run on the CPU: the same loops, shuffles and barriers, under the worst of schedules.

Each GPU thread is a Python thread, of which only one runs at a time, up to its next barrier or shuffle. The order is an
extreme one (a whole warp as far as it gets before the next one starts, first or last warp first), so that a missing barrier
shows as a wrong result rather than now and then. Blocks run one after the other.
"""

from __future__ import annotations

import ctypes
import re
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from graphflow_compiler.codegen.gpu.loops import loops_to_gpu
from graphflow_compiler.codegen.gpu.schedule import WARP, Launch, value_of
from graphflow_compiler.codegen.jit.engine import compile_module
from graphflow_compiler.ir.loops import IDim, LoopKernel
from graphflow_compiler.ir.loops_verify import verify_kernel

Array = npt.NDArray[Any]


@dataclass
class _Thread:
    """`waits`: "", "shuffle", "barrier" or "done"; `ids`: its special registers."""

    ids: Mapping[str, int]
    call: Callable[[], None]
    waits: str = ""
    value: int = 0
    distance: int = 0
    received: int = 0

    def __post_init__(self) -> None:
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)

    def start(self) -> None:
        threading.Thread(target=self._wait_and_call, daemon=True).start()

    def _wait_and_call(self) -> None:
        self._go.acquire()
        self.call_here()
        self._stopped.release()

    def call_here(self) -> None:
        _current.thread = self
        self.call()
        self.waits = "done"

    def run(self) -> None:
        """Until it waits for other threads, or ends."""
        self.waits = ""
        self._go.release()
        self._stopped.acquire()

    def stop(self, reason: str) -> None:
        self.waits = reason
        self._stopped.release()
        self._go.acquire()


class _Current(threading.local):
    thread: _Thread


_current = _Current()


def _register(name: str) -> Callable[[], int]:
    return lambda: _current.thread.ids[name]


def _barrier() -> None:
    _current.thread.stop("barrier")


def _shuffle(members: int, value: int, distance: int, clamp: int) -> int:
    assert members == -1 and clamp == WARP - 1
    me = _current.thread
    me.value, me.distance = value, distance
    me.stop("shuffle")
    return me.received


_INT = ctypes.c_int32
_FUNCTIONS: dict[str, Any] = {
    **{f"gpu.read.ptx.sreg.{r}.x": ctypes.CFUNCTYPE(_INT)(_register(r)) for r in ("tid", "ntid", "ctaid", "nctaid")},
    "gpu.barrier0": ctypes.CFUNCTYPE(None)(_barrier),
    "gpu.shfl.sync.down.i32": ctypes.CFUNCTYPE(_INT, _INT, _INT, _INT, _INT)(_shuffle),
}


def on_this_machine(text: str) -> str:
    """GPU text as text for the CPU: no address spaces, and plain functions where GPUs have instructions of their own."""
    text = re.sub(r"addrspacecast ptr addrspace\(1\) (%\w+) to ptr", r"getelementptr i8, ptr \1, i64 0", text)
    text = re.sub(r" addrspace\(\d\)", "", text).replace("ptx_kernel ", "")
    return text.replace("@llvm.nvvm.", "@gpu.")


class Simulated:
    """A loop kernel as a GPU would run it. Call it with its buffers in order, and its sizes by name."""

    def __init__(self, kernel: LoopKernel) -> None:
        import llvmlite.binding as llvm

        verify_kernel(kernel)
        self.kernel = kernel
        function = loops_to_gpu(kernel, "kernel")
        self.launch: Launch = function.launch
        self.waits = any("sreg" not in f and ".nvvm." in f for f in function.intrinsics)
        for name, f in _FUNCTIONS.items():
            llvm.add_symbol(name, ctypes.cast(f, ctypes.c_void_p).value)
        self.engine = compile_module([on_this_machine(function.text)])
        arguments = [ctypes.c_void_p] * len(kernel.buffers) + [ctypes.c_int64] * len(kernel.dims) + [ctypes.c_void_p]
        self.function = ctypes.CFUNCTYPE(None, *arguments)(self.engine.address("kernel"))

    def __call__(self, *arrays: Array, blocks: int = 3, last_first: bool = False, **dims: int) -> int:
        """The lowest code of a failed check, or 0. `blocks`: at most so many; `last_first`: the order of warps and blocks."""
        blocks, threads = self.launch.shape(dims, blocks)
        held = []
        for a, b in zip(arrays, self.kernel.buffers, strict=True):
            count = value_of(b.count, dims) * blocks if b.scratch else 0
            held.append(np.full(count, 0x5A, b.dtype.numpy_dtype) if b.scratch else a)
        status = np.full(1, -1, np.int32)
        pointers = [a.ctypes.data for a in held]
        sizes = [value_of(IDim(d), dims) for d in self.kernel.dims]

        def call() -> None:
            self.function(*pointers, *sizes, status.ctypes.data)

        order = slice(None, None, -1 if last_first else 1)
        for block in range(blocks)[order]:
            ids = {"ntid": threads, "ctaid": block, "nctaid": blocks}
            made = [_Thread({**ids, "tid": t}, call) for t in range(threads)]
            if not self.waits:
                for t in made[order]:
                    t.call_here()
                continue
            for t in made:
                t.start()
            warps = [made[k : k + WARP] for k in range(0, threads, WARP)]
            while made[0].waits != "done":
                for warp in warps[order]:
                    _run_warp(warp, last_first)
                assert len({t.waits for t in made}) == 1, "some threads wait at a barrier that others never reach"
        return max(int(status[0]), 0)


def _run_warp(warp: list[_Thread], last_first: bool) -> None:
    """Up to a barrier or the end."""
    while True:
        for t in warp[::-1] if last_first else warp:
            t.run()
        assert len({t.waits for t in warp}) == 1, "threads of a warp wait for different things"
        if warp[0].waits != "shuffle":
            return
        for lane, t in enumerate(warp):
            source = lane + t.distance
            t.received = warp[source].value if source < WARP else t.value
