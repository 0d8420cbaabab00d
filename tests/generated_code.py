"""What the compiler writes for a program, as text that depends on nothing but the program and the compiler's own choices.

The machine that code is made for is fixed here, and plans are made anew, never taken from the cache. Nothing is assembled.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import get_args

import pytest

import graphflow as tf
from graphflow_compiler.codegen.llvm.llvm_text import Target
from graphflow_compiler.compilation import Options, compile
from graphflow_compiler.frontend import Signature, symbolize_shapes
from graphflow_compiler.ir.kernels import GroupPattern
from graphflow_compiler.planning.plan import Plan, PlanBuffer, Step
from graphflow_compiler.planning.threaded_entry import step_flags, threaded_entry_text
from tests.golden_programs import Build

#: What the text is of: vectors of 512 bits, 32 registers, 32 MB of cache.
TARGET = Target("x86-64-v4", "", 512, 32, 32 << 20)
#: Of what is written for these, only a digest is kept.
OTHER_TARGETS = (
    Target("x86-64", "", 128, 16, 32 << 20),
    Target("x86-64-v3", "+avx2,+fma", 256, 16, 32 << 20),
    Target("neoverse-n1", "+neon", 128, 32, 32 << 20),
)
#: Of a kernel's LLVM text of more lines, too: that of some matrix products would be more than all the rest.
LONGEST = 400
#: For what depends on sizes and threads: the places of buffers, and which steps threads share.
OPEN_SIZE, THREADS = 37, 4
#: The kinds of kernels there are.
PATTERNS: tuple[str, ...] = get_args(GroupPattern)

OnKernel = Callable[[str, str], None]


def generated_text(build: Build, dump: Path) -> str:
    """Plan, entries and kernels of a program, in sections: each begins with a line ``== what it is``.

    `dump`: an empty folder, where the compiler leaves the loops of the kernels.
    """
    loops: dict[str, str] = {}
    repeated: list[str] = []  # of kernels whose code another one has already
    seen: set[Path] = set()

    def written() -> list[str]:
        new = sorted(set(dump.glob("*/*_loops.txt")) - seen, key=lambda path: int(path.name.split("_")[0]))
        seen.update(new)
        return [path.read_text(encoding="utf-8") for path in new]

    def take(name: str, text: str) -> None:
        texts = written()
        assert texts, f"GRAPHFLOW_DUMP has left no loops of {name}"
        loops[name] = texts.pop()
        repeated.extend(texts)

    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("GRAPHFLOW_FUEL", raising=False)
        patch.setenv("GRAPHFLOW_DUMP", str(dump))
        plan = plan_of(build, TARGET, take)
        repeated += written()
        patch.delenv("GRAPHFLOW_DUMP")
        others = [plan_of(build, target) for target in OTHER_TARGETS]
    sections = [
        ("plan", plan_lines(plan)),
        ("entry", numbered(plan, plan.entry_text).splitlines()),
        ("entry of several threads", [digest(numbered(plan, threaded_entry_text(plan.steps, plan.factors)))]),
    ]
    for i, (name, text) in enumerate(plan.kernels.items()):
        sections.append((f"kernel {i}", [name, *loops[name].splitlines(), "", *llvm_lines(numbered(plan, text))]))
    sections.append(("loops of kernels that share code", [line for x in repeated for line in x.splitlines()]))
    sections += [(target.cpu, [digest(whole_text(p))]) for target, p in zip(OTHER_TARGETS, others, strict=True)]
    return "".join(f"== {title}\n" + "".join(f"{line}\n" for line in lines) for title, lines in sections if lines)


def plan_of(build: Build, target: Target, on_kernel: OnKernel = lambda name, text: None) -> Plan:
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(1)
        fetches = tuple(build())
        feeds = tuple(op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder")
        shapes = [tuple(OPEN_SIZE if d is None else d for d in t.shape.as_list()) for t in feeds]
        return compile(graph, Signature(fetches, feeds, symbolize_shapes(feeds, shapes), {}), Options(target, on_kernel))


def plan_lines(plan: Plan) -> list[str]:
    numbers = {name: f"kernel{i}" for i, name in enumerate(plan.kernels)}
    sizes = dict.fromkeys(plan.symbols, OPEN_SIZE)
    offsets, total = plan.arena(sizes, THREADS)
    flags = step_flags(plan, sizes, offsets, THREADS)
    return [
        *(f"size {name}: of feed {feed}, axis {axis}" for name, (feed, axis) in plan.symbol_source.items()),
        *(f"constraint: {c.a} = {c.b}, {c.message}" for c in plan.constraints),
        *(f"output {i}: {t}" for i, t in enumerate(plan.output_types)),
        f"reads {words(plan.reads)}; writes {words(plan.writes)}",
        *(f"buffer {i}: {buffer_text(b)}" for i, b in enumerate(plan.buffers)),
        *(line for i, s in enumerate(plan.steps) for line in step_lines(i, s, numbers)),
        f"with sizes of {OPEN_SIZE} and {THREADS} threads:",
        f"  {total} bytes, buffers at {words(f'{i}:{offset}' for i, offset in offsets.items())}",
        f"  flags of steps {words(map(str, flags))}",
    ]


def buffer_text(b: PlanBuffer) -> str:
    text = f"{b.role} {b.key} {b.type} count {b.count}" if b.key != -1 else f"{b.role} {b.type} count {b.count}"
    if b.role in ("temporary", "scratch"):
        text += f" steps {b.start}..{b.end}"
    if b.array is not None:
        text += f" {b.array.dtype}{list(b.array.shape)} sha256 {hashlib.sha256(b.array.tobytes()).hexdigest()[:16]}"
    return text


def step_lines(i: int, s: Step, numbers: Mapping[str, str]) -> list[str]:
    mark = " parallel" if s.is_parallel else ""
    function = numbers.get(s.function, s.function)
    return [
        f"step {i}: {function} [{s.pattern}]{mark} buffers {list(s.buffers)}  # {' '.join(s.origin)}",
        f"  takes {words(map(str, s.dims))}; reads {list(s.reads)}, writes {list(s.writes)}; {s.flops} flops",
        *(f"  failure {f.code}: {f.op}: {f.message}" for f in s.failures),
    ]


def words(items: Iterable[str]) -> str:
    return " ".join(items) or "-"


def numbered(plan: Plan, text: str) -> str:
    """The text with kernels called by their numbers: where one has changed, only its own lines have."""
    for i, name in enumerate(plan.kernels):
        text = text.replace(name, f"kernel{i}")
    return text


def llvm_lines(text: str) -> list[str]:
    lines = text.splitlines()
    return lines if len(lines) <= LONGEST else [f"LLVM text is longer than {LONGEST} lines: {digest(text)}"]


def whole_text(plan: Plan) -> str:
    return "\n".join([*plan_lines(plan), *(f"{name}\n{text}" for name, text in plan.kernels.items())])


def digest(text: str) -> str:
    # Names of the user's operations, which stand in comments, are no code: where only they change, the digest stays.
    code = "\n".join(re.sub(r"\s+[#;] .*", "", line) for line in text.splitlines())
    return f"{len(text.splitlines())} lines, sha256 {hashlib.sha256(code.encode()).hexdigest()}"
