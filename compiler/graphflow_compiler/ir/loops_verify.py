"""The verifier of the loop IR: types, scopes, single assignment and buffer access of one kernel."""

from __future__ import annotations

from graphflow.framework.dtypes import DType, bool_
from graphflow.framework.errors import CompileError
from graphflow.framework.scalar_builder import ARITHMETIC, CALLS, COMPARE, UNARY
from graphflow_compiler.ir.loops import (
    Atom,
    Binary,
    Bitcast,
    Call,
    Check,
    Expr,
    For,
    GemmKernel,
    IConst,
    IData,
    IDim,
    Index,
    IVar,
    Kernel,
    Let,
    Load,
    Select,
    Statement,
    Unary,
    Var,
)
from graphflow_compiler.ir.loops_visit import index_names, index_parts, operands

COMBINE = ("add", "mul", "max", "min", "and", "or")


class _Verifier:
    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.buffers = {b.name: b for b in kernel.buffers}
        self.defined: dict[str, DType] = {}
        self.ever: set[str] = set()  # names bound anywhere: passes move statements between blocks, so no name may recur
        self.lanes = ""  # the variable of the vector loop that is open

    def fail(self, what: str) -> None:
        raise CompileError(f"loop kernel of {' '.join(self.kernel.comments) or self.kernel.name}: {what}")

    def atom(self, a: Atom) -> None:
        if isinstance(a, Var):
            if a.name not in self.defined:
                self.fail(f"{a.name} is used where it is not defined")
            if self.defined[a.name] is not a.dtype:
                self.fail(f"{a.name} is {self.defined[a.name].name}, used as {a.dtype.name}")

    def index(self, index: Index, loops: set[str]) -> None:
        for i in index_parts(index):
            if isinstance(i, IVar) and i.name not in loops:
                self.fail(f"loop variable {i.name} is used outside its loop")
            elif isinstance(i, IDim) and i.name not in self.kernel.dims:
                self.fail(f"size {i.name} is no argument of the kernel")
            elif isinstance(i, IData):
                self.atom(i.value)

    def expr(self, let: Let, loops: set[str]) -> None:
        e: Expr = let.value
        atoms, indices = operands(let)
        for a in atoms:
            self.atom(a)
        for i in indices:
            self.index(i, loops)
        if isinstance(e, Unary) and e.op not in UNARY:
            self.fail(f"unknown operation {e.op}")
        elif isinstance(e, Binary):
            if e.op not in ARITHMETIC and e.op not in COMPARE:
                self.fail(f"unknown operation {e.op}")
            if e.a.dtype is not e.b.dtype:
                self.fail(f"{e.op} of {e.a.dtype.name} and {e.b.dtype.name}")
            if let.dtype is not (bool_ if e.op in COMPARE else e.a.dtype):
                self.fail(f"{let.name} has dtype {let.dtype.name}, its value another")
        elif isinstance(e, Select) and (e.condition.dtype is not bool_ or e.a.dtype is not e.b.dtype):
            self.fail(f"select on {e.condition.dtype.name} between {e.a.dtype.name} and {e.b.dtype.name}")
        elif isinstance(e, Call) and CALLS.get(e.fn) != len(e.args):
            self.fail(f"call of {e.fn} with {len(e.args)} arguments")
        elif isinstance(e, Load):
            self.access(e.buffer, let.dtype, "read")
            if e.mask is not None and e.mask.dtype is not bool_:
                self.fail(f"load of {e.buffer} where {e.mask.dtype.name}")
        elif isinstance(e, Bitcast) and e.x.dtype.size != e.dtype.size:
            self.fail(f"bitcast of {e.x.dtype.name} to {e.dtype.name}")

    def access(self, name: str, dtype: DType, mode: str) -> None:
        buffer = self.buffers.get(name)
        if buffer is None:
            self.fail(f"there is no buffer {name}")
        elif buffer.dtype is not dtype:
            self.fail(f"buffer {name} holds {buffer.dtype.name}, accessed as {dtype.name}")
        elif mode not in buffer.access:
            self.fail(f"buffer {name} is {buffer.access}, but the kernel wants to {mode} it")

    def define(self, name: str, dtype: DType) -> None:
        if name in self.ever:
            self.fail(f"{name} is assigned twice")
        self.ever.add(name)
        self.defined[name] = dtype

    def block(self, body: tuple[Statement, ...], loops: set[str], vector: bool, parallel: bool) -> None:
        for s in body:
            if isinstance(s, Let):
                self.expr(s, loops)
                self.define(s.name, s.dtype)
            elif isinstance(s, Check):
                self.atom(s.failed)
                if s.failed.dtype is not bool_ or s.code <= 0:
                    self.fail(f"check of {s.failed.dtype.name} with code {s.code}")
            elif isinstance(s, For):
                self.loop(s, loops, vector, parallel)
            else:
                self.atom(s.value)
                self.index(s.index, loops)
                self.access(s.buffer, s.value.dtype, "write")

    def loop(self, loop: For, loops: set[str], vector: bool, parallel: bool) -> None:
        if loop.var in loops:
            self.fail(f"loop variable {loop.var} is taken")
        if vector and loop.mode == "vector":
            self.fail("a vector loop inside a vector loop")
        if loop.parallel and (parallel or loop.accumulators or loops):
            self.fail("a parallel loop must be outermost and have no accumulators")
        self.index(loop.extent, loops)
        names = index_names(loop.extent)
        if self.lanes in names or names - loops:
            self.fail(f"the extent of loop {loop.var} varies between lanes, or depends on data")
        if loop.mode == "vector":
            self.lanes = loop.var
        outside = dict(self.defined)
        self.block(loop.body, loops | {loop.var}, vector or loop.mode == "vector", parallel or loop.parallel)
        if loop.mode == "vector":
            self.lanes = ""
        for a in loop.accumulators:
            if a.combine not in COMBINE:
                self.fail(f"accumulator {a.name} combines by {a.combine}")
            self.atom(a.value)
            if a.value.dtype is not a.dtype:
                self.fail(f"accumulator {a.name} of {a.dtype.name} takes {a.value.dtype.name}")
        # Of what a loop defines only its accumulators outlive it.
        self.defined = outside
        for a in loop.accumulators:
            self.define(a.name, a.dtype)


def verify_kernel(kernel: Kernel) -> None:
    """Raises CompileError unless the kernel is well formed: types, scopes, single assignment, buffer access."""
    v = _Verifier(kernel)
    if isinstance(kernel, GemmKernel):
        for size in (kernel.m, kernel.n, kernel.k, kernel.batch):
            v.index(size, set())
        for start in (kernel.a_start, kernel.b_start):
            v.index(start, {"b"})
        v.access(kernel.a, kernel.dtype, "read")
        v.access(kernel.b, kernel.dtype, "read")
        if kernel.b_panel and (kernel.transpose_b or kernel.b_start != IConst(0)):
            v.fail("only one matrix that is not transposed is stored in panels")
        # An epilogue is the body of a loop that is both vector and parallel: it may hold neither.
        v.define("acc", kernel.accumulate_dtype)
        v.block(kernel.epilogue, {"b", "i", "j"}, vector=True, parallel=True)
    else:
        v.block(kernel.body, set(), vector=False, parallel=False)
        # Every thread runs what is outside the parallel loops.
        shared = any(isinstance(s, For) and s.parallel for s in kernel.body)
        if shared and not all(isinstance(s, Let) or (isinstance(s, For) and s.parallel) for s in kernel.body):
            v.fail("beside a parallel loop there are stores, checks or serial loops")
