"""Planning takes time that grows with the program and no faster: no timing, but a count of the lines of Python that it runs.

Each program is planned at two sizes, one twice the other, and the lines that each folder's modules run must not much more
than double.
(Not counted are what runs in C, Python's own modules, and the text of each kernel: that depends on the kernel alone.)
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from types import FrameType
from typing import Any, TypeVar

import pytest

import graphflow as tf
from graphflow_compiler.codegen.llvm.llvm_text import Target
from graphflow_compiler.compilation import Options, compile
from graphflow_compiler.frontend import Signature, symbolize_shapes
from graphflow_compiler.planning.plan import Plan
from graphflow_compiler.planning.threaded_entry import step_flags

TARGET = Target("x86-64-v3", "+avx2,+fma", 256, 16, 32 << 20)
#: Folders that run fewer lines than this for the larger program do too little to tell.
FEW = 5000
#: How many times as much a folder may run for twice the program: there may be one more kernel than twice as many.
MOST = 2.3
OPEN_SIZE = 37
CODE_WRITERS = f"{os.sep}codegen{os.sep}"
NOT_OURS = ("<", os.path.dirname(os.__file__))  # what dataclasses write themselves, and Python's own modules

Result = TypeVar("Result")


def lines_by_folder(work: Callable[[], Result]) -> tuple[Result, Counter[str]]:
    """What `work` returns, and how many lines it runs of the modules in each folder."""
    counts: Counter[str] = Counter()

    def at_call(frame: FrameType, event: str, arg: Any) -> Any:
        file = frame.f_code.co_filename
        return None if file.startswith(NOT_OURS) or CODE_WRITERS in file else in_frame

    def in_frame(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "line":
            counts[frame.f_code.co_filename] += 1
        return in_frame

    before = sys.gettrace()
    sys.settrace(at_call)
    try:
        result = work()
    finally:
        sys.settrace(before)
    folders: Counter[str] = Counter()
    for file, count in counts.items():
        folders[Path(file).parent.name] += count
    return result, folders


def planning(build: Callable[[int], Sequence[Any]], n: int) -> Counter[str]:
    """The lines of each folder that planning runs: from the user's graph to the plan, and to what threads wait for in it."""
    with tf.Graph().as_default() as graph:
        fetches = tuple(build(n))
        feeds = tuple(op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder")
        shapes = [tuple(OPEN_SIZE if d is None else d for d in t.shape.as_list()) for t in feeds]
        signature = Signature(fetches, feeds, symbolize_shapes(feeds, shapes), {})

    def make() -> Plan:
        return compile(graph, signature, Options(TARGET))

    plan, counts = lines_by_folder(make)
    sizes = dict.fromkeys(plan.symbols, OPEN_SIZE)
    offsets, _ = plan.arena(sizes, 2)
    _, more = lines_by_folder(lambda: step_flags(plan, sizes, offsets, 2))
    return counts + more


def variables(n: int, *shape: int) -> list[tf.Variable]:
    return [tf.Variable(tf.zeros(list(shape))) for _ in range(n)]


def embeddings(n: int, optimizer: tf.train.Optimizer) -> list[Any]:
    ids = tf.placeholder(tf.int32, [8])
    total = tf.add_n([tf.reduce_sum(tf.square(tf.nn.embedding_lookup(table, ids))) for table in variables(n, 50, 4)])
    return [total, optimizer.minimize(total)]


def products(n: int) -> list[Any]:
    h, w = tf.placeholder(tf.float32, [4, 4]), tf.Variable(tf.zeros([4, 4]))
    for _ in range(n):
        h = tf.matmul(h, w)
    return [h]


def layers(n: int) -> list[Any]:
    h = tf.placeholder(tf.float32, [None, 4])
    for w, b in zip(variables(n, 4, 4), variables(n, 4), strict=True):
        h = tf.nn.relu(tf.matmul(h, w) + b)
        mean, variance = tf.nn.moments(h, [0])
        h = (h - mean) * tf.rsqrt(variance + 1e-3)
    return [tf.train.AdamOptimizer(0.1).minimize(tf.reduce_mean(tf.square(h)))]


def tables_by_rows(n: int) -> list[Any]:
    return embeddings(n, tf.train.GradientDescentOptimizer(0.1))


def tables_as_a_whole(n: int) -> list[Any]:
    return embeddings(n, tf.train.AdagradOptimizer(0.1))


def elementwise_chain(n: int) -> list[Any]:
    x = h = tf.placeholder(tf.float32, [64])
    for i in range(n):
        h = [tf.tanh(h), h * 1.01, h + x, tf.square(h)][i % 4]
    return [h, *tf.gradients(tf.reduce_sum(h), [x])]


def many_readers(n: int) -> list[Any]:
    y = tf.tanh(tf.placeholder(tf.float32, [64]))
    return [tf.add_n([tf.exp(y * (1 + 0.01 * i)) for i in range(n)])]


def many_adam_updates(n: int) -> list[Any]:
    loss = tf.add_n([tf.reduce_sum(tf.square(v - 1.0)) for v in variables(n, 7)])
    return [tf.train.AdamOptimizer(0.1).minimize(loss)]


def chain_of_reductions(n: int) -> list[Any]:
    x = h = tf.placeholder(tf.float32, [16, 64])
    for _ in range(n):
        h = (h - tf.reduce_max(h, 1, keepdims=True)) * 1.01 + 0.5
    return [h, *tf.gradients(tf.reduce_sum(h), [x])]


def many_pieces(n: int) -> list[Any]:
    x = tf.placeholder(tf.float32, [64])
    joined = tf.concat([tf.tanh(x * (1 + 0.01 * i)) for i in range(n)], 0)
    return [joined, *tf.gradients(tf.reduce_sum(tf.square(joined)), [x])]


def two_chains_that_meet(n: int) -> list[Any]:
    xs = tf.unstack(tf.placeholder(tf.float32, [n, 8, 16]))
    forward, backward = variables(2, 16, 16)
    ahead, back = [tf.zeros([8, 16])], [tf.zeros([8, 16])]
    for x in xs:
        ahead.append(tf.tanh(tf.matmul(ahead[-1], forward) + x))
    for x in reversed(xs):
        back.append(tf.tanh(tf.matmul(back[-1], backward) + x))
    loss = tf.reduce_mean(tf.square(tf.stack([a + b for a, b in zip(ahead, reversed(back), strict=True)])))
    return [tf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def assignments_in_turn(n: int) -> list[Any]:
    new = tf.Variable(tf.zeros([8]))
    for i in range(n):
        new = tf.assign_add(new, tf.ones([8]) * i)
    return [new]


def values_handed_on(n: int) -> list[Any]:
    line = variables(n + 1, 8)
    return [tf.assign(b, a + 1.0) for a, b in pairwise(line)]


def open_sizes(n: int) -> list[Any]:
    xs = [tf.placeholder(tf.float32, [None, 4]) for _ in range(n)]
    return [tf.matmul(x, w) for x, w in zip(xs, variables(n, 4, 4), strict=True)]


def sizes_found_equal(n: int) -> list[Any]:
    xs = [tf.placeholder(tf.float32, [None, 4]) for _ in range(n)]
    return [tf.tanh(a) * b for a, b in pairwise(xs)]


PROGRAMS: list[tuple[Callable[[int], Sequence[Any]], int]] = [
    (products, 120),
    (layers, 5),
    (tables_by_rows, 20),
    (tables_as_a_whole, 14),
    (elementwise_chain, 60),
    (many_readers, 66),
    (many_adam_updates, 16),
    (chain_of_reductions, 24),
    (many_pieces, 26),
    (two_chains_that_meet, 7),
    (assignments_in_turn, 60),
    (values_handed_on, 90),
    (open_sizes, 45),
    (sizes_found_equal, 50),
]


@pytest.fixture(autouse=True)
def _small_kernels(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels that are full soon: their number grows with the program, not the work for each."""
    monkeypatch.setattr("graphflow_compiler.passes.fusion_group.MAX_NODES", 32)


@pytest.fixture(scope="module", autouse=True)
def _loaded() -> None:
    """What is loaded, and compiled, when it is first called must not count."""
    for build, _ in PROGRAMS:
        planning(build, 4)


@pytest.mark.parametrize(("build", "n"), PROGRAMS, ids=[build.__name__ for build, _ in PROGRAMS])
def test_planning_grows_with_the_program(build: Callable[[int], Sequence[Any]], n: int) -> None:
    once, twice = planning(build, n), planning(build, 2 * n)
    steeper = {name: (once[name], k) for name, k in twice.items() if k > max(FEW, MOST * once[name])}
    assert not steeper, f"lines run for {n} and {2 * n}"


def test_the_count_finds_what_grows_with_the_square() -> None:
    def pairs(n: int) -> int:
        return sum(a < b for a in range(n) for b in range(n))

    once, twice = (sum(lines_by_folder(lambda n=n: pairs(n))[1].values()) for n in (50, 100))
    assert twice > 3.5 * once
