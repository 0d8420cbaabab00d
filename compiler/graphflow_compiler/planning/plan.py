"""Level 5, the Plan: what the runtime executes. Flat steps over numbered buffers, and one native entry that runs them.

The entry has the signature ``i32 entry(ptr table, ptr dims, i64 thread, i64 threads)``: `table` holds the address of
every buffer, `dims` the run-time sizes. It returns 0, or ``step * 65536 + code`` of the check that failed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from graphflow.framework.dims import Factor
from graphflow.framework.kinds import TensorType
from graphflow.framework.records import record
from graphflow.framework.shapes import Dim, SymDim, evaluate
from graphflow_compiler.ir.program import Constraint, FailureCode
from graphflow_compiler.planning.memory import LiveRange, assign_offsets

BufferRole = Literal[
    "feed", "output", "variable", "constant", "temporary", "scratch", "random_count", "is_initialized", "guard"
]


@record(frozen=True, slots=True)
class PlanBuffer:
    """A numbered buffer of a plan: `count` elements of a type, in a role.

    `key`: the index of the feed or output, the name of the variable or random op. Temporaries live from step `start` to step
    `end`. A guard, in plans with checks alone, is where the step numbered `key` notes an access outside its buffers.
    """

    role: BufferRole
    type: TensorType
    count: Dim
    key: int | str = -1
    array: np.ndarray[Any, Any] | None = None
    start: int = 0
    end: int = 0

    @property
    def bytes(self) -> Dim:
        return self.count * self.type.dtype.size


@record(frozen=True, slots=True)
class Step:
    """One kernel call: which function, which buffers, what it stands for. ``copy n`` copies n bytes, buffer to buffer.

    `dims`: the sizes and other numbers that the function takes after its buffers, polynomials in the entry's `dims`.
    `reads`, `writes`: those of `buffers` that it reads or writes. `is_parallel`: threads may share it.
    """

    function: str
    pattern: str
    buffers: tuple[int, ...]
    dims: tuple[Dim, ...]
    origin: tuple[str, ...]
    flops: Dim
    failures: tuple[FailureCode, ...] = ()
    reads: tuple[int, ...] = ()
    writes: tuple[int, ...] = ()
    is_parallel: bool = False


class SizeMismatch(Exception):
    """The fed sizes break a constraint of the plan: it does not apply to them."""

    def __init__(self, constraint: Constraint) -> None:
        super().__init__(constraint.message)
        self.constraint = constraint


@record(frozen=True)
class Plan:
    """A compiled signature. The entry's `dims` are `symbols`, the run-time sizes, and `computed`, what is divided and compared
    of them; `symbol_source` says which axis of which feed gives each of the first."""

    buffers: tuple[PlanBuffer, ...]
    steps: tuple[Step, ...]
    symbols: tuple[str, ...]
    computed: tuple[SymDim, ...]
    symbol_source: Mapping[str, tuple[int, int]]
    constraints: tuple[Constraint, ...]
    feed_types: tuple[TensorType, ...]
    output_types: tuple[TensorType, ...]
    reads: tuple[str, ...]  # variables whose value at the start of the run is used
    writes: tuple[str, ...]
    kernels: Mapping[str, str]  # function name -> LLVM IR of the distinct kernels
    entry_text: str
    explain: Callable[..., str]  # may be given a note for each step

    @property
    def explanation(self) -> str:
        """What was fused into which kernel, and why neighbours stayed apart."""
        return self.explain()

    @property
    def is_checked(self) -> bool:
        """Whether its kernels have guards, of which the last step has one."""
        return bool(self.buffers) and self.buffers[-1].role == "guard"

    def sizes(self, shapes: Sequence[Sequence[int]]) -> dict[str, int]:
        """The run-time sizes for feeds of these shapes. Raises SizeMismatch if a constraint is broken."""
        sizes = {name: int(shapes[i][axis]) for name, (i, axis) in self.symbol_source.items()}
        for c in self.constraints:
            if not c.holds(sizes):
                raise SizeMismatch(c)
        return sizes

    @property
    def factors(self) -> tuple[Factor, ...]:
        """What the entry's `dims` are, in their order."""
        return (*self.symbols, *(a for d in self.computed for a in d.terms[0][0]))

    def dims(self, sizes: Mapping[str, int]) -> list[int]:
        """The entry's `dims`, as 64 bits: sums and products of them, which fit, come out right even where one does not."""
        numbers = [*(sizes[s] for s in self.symbols), *(evaluate(d, sizes) for d in self.computed)]
        return [(n + (1 << 63)) % (1 << 64) - (1 << 63) for n in numbers]

    def arena(self, sizes: Mapping[str, int], threads: int = 1) -> tuple[dict[int, int], int]:
        """Offsets of temporaries and scratch buffers in the arena, and its size in bytes."""
        numbers = [i for i, b in enumerate(self.buffers) if b.role in ("temporary", "scratch")]
        ranges = []
        for i in numbers:
            b = self.buffers[i]
            factor = threads if b.role == "scratch" else 1  # each thread has scratch of its own
            ranges.append(LiveRange(evaluate(b.bytes, sizes) * factor, b.start, b.end))
        offsets, total = assign_offsets(ranges)
        return dict(zip(numbers, offsets, strict=True)), total

    def peak_bytes(self, sizes: Mapping[str, int] | None = None) -> int:
        """Most bytes of temporaries alive at once (feeds, variables and results not counted)."""
        return self.arena(sizes or {})[1]

    def flops(self, sizes: Mapping[str, int] | None = None) -> int:
        """Floating-point operations of one run (a transcendental function counts as one)."""
        return sum(evaluate(s.flops, sizes or {}) for s in self.steps)

    def bytes(self, sizes: Mapping[str, int] | None = None) -> int:
        """Bytes that the kernels read and write, each buffer counted once a kernel."""
        return sum(evaluate(self.buffers[b].bytes, sizes or {}) for s in self.steps for b in set(s.buffers))

    def __str__(self) -> str:
        lines = [
            f"plan of {len(self.steps)} steps, {len(self.kernels)} distinct kernels, sizes {', '.join(self.symbols) or '-'}"
        ]
        for i, b in enumerate(self.buffers):
            life = f" steps {b.start}..{b.end}" if b.role in ("temporary", "scratch") else ""
            lines.append(f"buffer {i}: {b.role} {b.key if b.key != -1 else ''} {b.type}{life}")
        for i, s in enumerate(self.steps):
            lines.append(f"step {i}: {s.function} [{s.pattern}] buffers {list(s.buffers)}  # {' '.join(s.origin)}")
        return "\n".join(lines) + "\n"


def entry_text(
    steps: Sequence[Step],
    factors: Sequence[Factor],
    name: str = "graphflow_entry",
    stamp: Callable[[int], Sequence[str]] = lambda number: (),
) -> str:
    """The entry: calls the kernels in order, leaves at the first failure.

    `factors`: what its `dims` are. `stamp` gives lines that take a time stamp: 0 and 1 first of all, ``2 + 2 * i`` before step
    i and ``3 + 2 * i`` after it.
    """
    lines = [head(name), *stamp(0), *stamp(1)]
    places = {a: k for k, a in enumerate(factors)}
    for i, s in enumerate(steps):
        lines += [*stamp(2 + 2 * i), *call_lines(i, s, places, "%thread", "%threads"), *stamp(3 + 2 * i)]
        if s.failures:
            lines += [*failure_lines(i), f"  ret i32 %c{i}", f"next{i}:"]
    lines += ["  ret i32 0", "}", ""]
    return "\n".join(lines)


def failure_lines(i: int) -> list[str]:
    """The branch after step i: to ``fail{i}``, where ``%c{i}`` is the status of the run, or on to ``next{i}``."""
    return [
        f"  %f{i} = icmp ne i32 %r{i}, 0",
        f"  br i1 %f{i}, label %fail{i}, label %next{i}",
        f"fail{i}:",
        f"  %c{i} = add i32 %r{i}, {i * 65536}",
    ]


def head(name: str) -> str:
    """The first lines of an entry."""
    return (
        "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)\n"
        f"define i32 @{name}(ptr noalias %table, ptr noalias %dims, i64 %thread, i64 %threads) {{\nstart:"
    )


def call_lines(i: int, step: Step, places: Mapping[Factor, int], thread: str, threads: str) -> list[str]:
    """The call of step i, whose status is ``%r<i>``; a copy has none. `places`: where each size stands in `dims`.

    Addresses and sizes are loaded for each call: all of them at the start would be kept on the stack anyway, and that costs
    LLVM a third of its time for an entry.
    """
    lines: list[str] = []
    buffers = {b: _loaded("ptr", "table", b, f"%b{i}.{b}", lines) for b in dict.fromkeys(step.buffers)}
    if step.function.startswith("copy "):
        target, source = f"ptr {buffers[step.buffers[1]]}", f"ptr {buffers[step.buffers[0]]}"
        return [*lines, f"  call void @llvm.memcpy.p0.p0.i64({target}, {source}, i64 {step.function[5:]}, i1 false)"]
    factors = {a for d in step.dims if not isinstance(d, int) for monomial, _ in d.terms for a in monomial}
    used = sorted(factors, key=places.__getitem__)
    sizes = {a: _loaded("i64", "dims", places[a], f"%d{i}.{places[a]}", lines) for a in used}
    arguments = [f"ptr {buffers[b]}" for b in step.buffers]
    for k, d in enumerate(step.dims):
        arguments.append(f"i64 {_size(d, sizes, f'%z{i}.{k}', lines)}")
    arguments += [f"i64 {thread}", f"i64 {threads}"]
    return [*lines, f"  %r{i} = call i32 @{step.function}({', '.join(arguments)})"]


def _loaded(element: str, array: str, place: int, name: str, lines: list[str]) -> str:
    lines.append(f"  {name}.at = getelementptr {element}, ptr %{array}, i64 {place}")
    lines.append(f"  {name} = load {element}, ptr {name}.at")
    return name


def _size(d: Dim, sizes: Mapping[Factor, str], name: str, lines: list[str]) -> str:
    """The i64 of a polynomial in sizes; `name` begins the names of what its lines compute."""
    if isinstance(d, int):
        return str(d)
    total = ""
    for t, (monomial, c) in enumerate(d.terms):
        factors = [*([str(c)] if c != 1 or not monomial else []), *(sizes[a] for a in monomial)]
        product_ = factors[0]
        for f, factor in enumerate(factors[1:]):
            lines.append(f"  {name}.{t}.{f} = mul i64 {product_}, {factor}")
            product_ = f"{name}.{t}.{f}"
        if total:
            lines.append(f"  {name}.{t} = add i64 {total}, {product_}")
            total = f"{name}.{t}"
        else:
            total = product_
    return total


def symbol_sources(feed_types: Sequence[TensorType]) -> dict[str, tuple[int, int]]:
    """Which feed and axis gives each plain size."""
    found: dict[str, tuple[int, int]] = {}
    for i, t in enumerate(feed_types):
        for axis, d in enumerate(t.shape or ()):
            if isinstance(d, SymDim) and len(names := d.names()) == 1:
                found.setdefault(next(iter(names)), (i, axis))
    return found
