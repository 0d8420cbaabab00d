"""Row kernels of many passes recompute a cheap element at most twice; passes after that read it back from a scratch row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.kinds import Elementwise
from graphflow_compiler.frontend import Signature, build_program, symbolize_shapes
from graphflow_compiler.ir.kernels import ELEMENT, KernelGraph
from graphflow_compiler.ir.loops import For, LoopKernel, Statement
from graphflow_compiler.ir.program import Node
from graphflow_compiler.lower import lower
from graphflow_compiler.lower.row_reduction import RowPasses
from graphflow_compiler.passes.fusion import fuse
from graphflow_compiler.passes.pipeline import Dump, run_passes
from graphflow_compiler.passes.rewrite import PassContext

Build = Callable[[tf.Tensor], Sequence[tf.Tensor]]
SHAPE = (32, 48)


def kernels_of(build: Build, shape: tuple[int, ...] = SHAPE) -> KernelGraph:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, list(shape))
        fetches = tuple(build(x))
        program = build_program(Signature(fetches, (x,), symbolize_shapes([x], [shape]), {}))
    return fuse(run_passes(program, PassContext(), Dump(None)))


def all_passes(graph: KernelGraph) -> list[RowPasses]:
    return [RowPasses.of(g) for g in graph.groups if g.pattern == "row"]


def times_computed(rows: RowPasses) -> Counter[Node]:
    """In how many passes the elements of each node are computed, not read back."""
    times: Counter[Node] = Counter()
    for stage in range(rows.last + 1):
        times.update(n for n in rows.elements(stage) or () if rows.kept.get(n, stage) >= stage)
    return times


def is_cheap(node: Node) -> bool:
    return isinstance(node.op.kind, Elementwise) and node.op.kind.cheap


def maximum(h: tf.Tensor) -> tf.Tensor:
    return tf.reduce_max(h, 1, keepdims=True)


def chain(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    h = x
    for _ in range(count):
        h = (h - maximum(h)) * 1.01 + 0.5
    return [h]


def all_results(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    """Each step's elements are an output: they are read back from there."""
    found = [x]
    for _ in range(count):
        found.append((found[-1] - maximum(found[-1])) * 1.01)
    return found[1:]


def one_beginning(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    """Each pass needs the same elements again, and they no other pass's."""
    begin = x * 0.5 + tf.square(x)
    row = maximum(begin)
    for _ in range(count):
        row = maximum(begin - row * 0.9)
    return [row, begin - row]


def two_chains(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    a, b = x, x * 2.0
    for _ in range(count):
        a, b = a - maximum(b), (b - maximum(a)) * 0.75 + a
    return [a, b]


def chain_with_functions(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    h = x
    for i in range(count):
        h = (h - maximum(h)) * 1.01
        if i % 4 == 3:
            h = tf.tanh(h)
    return [h]


def chain_and_its_gradient(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    h = x
    for _ in range(count):
        h = h * 0.9 - tf.reduce_mean(tf.square(h), 1, keepdims=True) * 0.1
    return [h, *tf.gradients(tf.reduce_sum(tf.square(h)), [x])]


def total(count: int, x: tf.Tensor) -> list[tf.Tensor]:
    return [tf.reduce_mean(chain(count, x)[0])]


PROGRAMS = [chain, all_results, one_beginning, two_chains, chain_with_functions, chain_and_its_gradient, total]
#: Many short rows, rows that are no whole number of vectors, a few large rows (each pass is a kernel of its own), one row.
SHAPES = [SHAPE, (5, 13), (3, 20_000), (1, 70)]


@pytest.mark.parametrize("build", PROGRAMS, ids=[p.__name__ for p in PROGRAMS])
@pytest.mark.parametrize("count", [2, 3, 4, 7, 13])
def test_no_element_is_recomputed_more_than_twice(build: Callable[..., Any], count: int) -> None:
    rows = all_passes(kernels_of(partial(build, count)))
    assert rows
    for passes in rows:
        assert max(times_computed(passes).values()) <= 1 + 2


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("build", PROGRAMS, ids=[p.__name__ for p in PROGRAMS])
def test_results_are_those_of_the_reference_backend(build: Callable[..., Any], shape: tuple[int, int]) -> None:
    results = []
    for backend in ("native", "reference"):
        with tf.Graph().as_default():
            x = tf.placeholder(tf.float32, [None, shape[1]])
            fetches = build(9, x)
            with tf.Session(backend=backend) as session:
                values = np.random.default_rng(0).normal(size=shape).astype(np.float32)
                results.append(session.run(fetches, {x: values}))
    for native, reference in zip(*results, strict=True):
        scale = float(np.max(np.abs(reference)))
        assert np.isfinite(scale)
        np.testing.assert_allclose(native, reference, rtol=1e-4, atol=1e-5 * scale)


def test_an_update_in_place_of_what_a_chain_reads() -> None:
    """What passes compute again from a variable must be read before that is overwritten."""
    results = []
    for backend in ("native", "reference"):
        with tf.Graph().as_default():
            tf.set_random_seed(0)
            values = np.random.default_rng(0).normal(size=SHAPE).astype(np.float32)
            v, w = tf.Variable(values), tf.Variable(values * 2)
            update = [tf.assign(v, chain(9, v)[0]), tf.assign(w, w - maximum(one_beginning(5, w)[1]))]
            with tf.Session(backend=backend) as session:
                session.run(tf.global_variables_initializer())
                for _ in range(3):
                    session.run(update)
                results.append(session.run([v, w]))
    for native, reference in zip(*results, strict=True):
        np.testing.assert_allclose(native, reference, rtol=1e-4, atol=1e-4)


def statements(body: Sequence[Statement]) -> int:
    return sum(1 + (statements(s.body) if isinstance(s, For) else 0) for s in body)


def only_kernel(count: int) -> LoopKernel:
    graph = kernels_of(partial(chain, count))
    (group,) = graph.groups
    (lowered,) = lower(graph, group, {})
    assert isinstance(lowered.kernel, LoopKernel)
    return lowered.kernel


def test_the_kernel_grows_with_the_chain() -> None:
    sizes = [statements(only_kernel(count).body) for count in (12, 24, 48)]
    assert sizes[1] < 2.2 * sizes[0] and sizes[2] < 2.2 * sizes[1]


def test_a_scratch_row_is_used_again() -> None:
    assert sum(b.scratch for b in only_kernel(40).buffers) == 1


def layer_norm(x: tf.Tensor) -> tf.Tensor:
    mean, variance = tf.nn.moments(x, [1], keepdims=True)
    return (x - mean) * tf.rsqrt(variance + 1e-5) * 1.5 + 0.25


@pytest.mark.parametrize("function", [tf.nn.softmax, tf.nn.log_softmax, layer_norm])
@pytest.mark.parametrize("gradient", [False, True])
def test_few_passes_keep_nothing_cheap(function: Callable[[tf.Tensor], tf.Tensor], gradient: bool) -> None:
    """A load and a store would take longer than a subtraction and a product."""

    def build(x: tf.Tensor) -> list[tf.Tensor]:
        y = function(x)
        return tf.gradients(tf.reduce_sum(tf.square(y)), [x]) if gradient else [y]

    for rows in all_passes(kernels_of(build)):
        kept = [n for n in rows.kept if rows.group.levels[n] == ELEMENT and n.out() not in rows.group.outputs]
        assert not any(is_cheap(n) for n in kept)
