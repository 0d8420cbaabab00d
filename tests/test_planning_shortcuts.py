"""What planning finds the short way is what the long way finds: dependences, orders, barriers, kernels of alike groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.shapes import evaluate
from graphflow_compiler.compilation import Options, compile
from graphflow_compiler.frontend import Signature, build_program, symbolize_shapes
from graphflow_compiler.ir.kernels import KernelGraph
from graphflow_compiler.passes import dependences
from graphflow_compiler.passes.dependences import Dependences
from graphflow_compiler.passes.fusion import fuse
from graphflow_compiler.passes.pipeline import Dump, run_passes
from graphflow_compiler.passes.rewrite import PassContext
from graphflow_compiler.planning import buffer_assignment
from graphflow_compiler.planning.buffer_assignment import Copy, schedule
from graphflow_compiler.planning.plan import Plan
from graphflow_compiler.planning.threaded_entry import BARRIER, MIN_STEP_NS, PARALLEL, step_flags, step_nanoseconds
from tests import random_programs
from tests.generated_code import TARGET

OPEN_SIZE = 37
SEEDS = range(6)

Build = Callable[[int], Sequence[Any]]


def signature_of(build: Build, seed: int, graph: tf.Graph) -> Signature:
    with graph.as_default():
        tf.set_random_seed(1)
        fetches = tuple(build(seed))
        feeds = tuple(op.outputs[0] for op in graph.get_operations() if op.type == "Placeholder")
        shapes = [tuple(OPEN_SIZE if d is None else d for d in t.shape.as_list()) for t in feeds]
    return Signature(fetches, feeds, symbolize_shapes(feeds, shapes), {})


def plan_of(build: Build, seed: int) -> Plan:
    graph = tf.Graph()
    return compile(graph, signature_of(build, seed, graph), Options(TARGET))


def kernels_of(build: Build, seed: int) -> KernelGraph:
    graph = tf.Graph()
    return fuse(run_passes(build_program(signature_of(build, seed, graph)), PassContext(), Dump(None)))


# ---------------------------------------------------------------------------------------------- programs


def random_program(seed: int) -> list[Any]:
    program = random_programs.Program(seed)
    loss = tf.reduce_mean(tf.square(program.full[-1])) + tf.reduce_sum(tf.tanh(program.small[-1]))
    loss += tf.reduce_sum(program.bias) + tf.reduce_sum(program.variable)
    return [program.full[-1], loss, tf.train.GradientDescentOptimizer(0.01).minimize(loss)]


def random_updates(seed: int) -> list[Any]:
    """Variables are read and written in any order, with checks before, between and after."""
    rng = np.random.default_rng(seed)
    vs = [tf.Variable(tf.zeros([4, 4])) for _ in range(8)]
    ids = tf.placeholder(tf.int32, [4])
    values: list[Any] = [tf.placeholder(tf.float32, [4, 4])]

    def pick(found: Sequence[Any]) -> Any:
        return found[int(rng.integers(len(found)))]

    fetches: list[Any] = []
    for _ in range(int(rng.integers(6, 24))):
        kind = int(rng.integers(8))
        a, v = pick(values), pick(vs)
        if kind <= 1:
            values.append(tf.matmul(a, v))
        elif kind == 2:
            values.append(tf.tanh(a) + v)
        elif kind == 3:
            values.append(tf.reduce_sum(a, int(rng.integers(2)), keepdims=True) * v)
        elif kind == 4:
            values.append(tf.gather(v, ids) + a if seed % 3 == 0 else tf.transpose(a) - v)
        elif kind == 5:
            fetches.append(tf.reduce_mean(a * v))
        else:
            with tf.control_dependencies([x for x in fetches[-1:] if isinstance(x, tf.Tensor)]):
                fetches.append(tf.assign(v, pick([a, pick(vs) * 0.5, tf.matmul(a, v), v + a])))
    return [*fetches, pick(values)]


def layers(seed: int) -> list[Any]:
    h = tf.placeholder(tf.float32, [None, 8])
    for i in range(3 + seed):
        w, b = tf.Variable(tf.zeros([8, 8])), tf.Variable(tf.zeros([8]))
        h = tf.nn.relu(tf.matmul(h, w) + b)
        if i % 2:
            h = tf.nn.dropout(h, 0.5) + tf.constant(np.arange(8, dtype=np.float32) * i)
    return [tf.train.AdamOptimizer(0.1).minimize(tf.reduce_mean(tf.nn.softmax(h)))]


def variants(seed: int) -> list[Any]:
    """Operations on equal shapes that differ in their attributes, or in numbers that the code has."""
    x = tf.placeholder(tf.float32, [8, 8])
    w = tf.Variable(tf.zeros([8, 8]))
    found = [tf.matmul(x, w, transpose_a=a, transpose_b=b) for a in (False, True) for b in (False, True)]
    found += [tf.reverse(x, [axis]) for axis in (0, 1)] + [tf.concat([x[i:], x[:i]], 0) for i in (1, 2, 3)]
    found += [tf.nn.leaky_relu(w @ x, alpha) for alpha in (0.1, 0.2, 0.0, -0.0)]
    found += [tf.reduce_sum(tf.square(x @ w), axis, keepdims=True) for axis in (0, 1)]
    found += [tf.nn.softmax(f(x @ w, c)) for c in (0.5, 0.25) for f in (tf.multiply, tf.add, tf.maximum)]
    found += [tf.cast(tf.argmax(x, axis), tf.float32) for axis in (0, 1)]
    return found[seed:]


def tables(seed: int) -> list[Any]:
    ids = tf.placeholder(tf.int32, [None])
    rows = [tf.nn.embedding_lookup(tf.Variable(tf.zeros([20, 4 + i % 2])), ids) for i in range(6 + seed)]
    loss = tf.add_n([tf.reduce_sum(tf.square(x)) for x in rows])
    return [loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def large_reductions(seed: int) -> list[Any]:
    """Groups of several kernels, which hand partial sums to each other."""
    xs = [tf.Variable(tf.zeros([4, 20_000])) for _ in range(4)]
    return [f(tf.square(x - tf.reduce_mean(x, 1, keepdims=True))) for x in xs for f in (tf.reduce_sum, tf.nn.softmax)]


BUILDS = [random_program, random_updates, layers, variants, tables, large_reductions]


# ---------------------------------------------------------------------------------------------- dependences


@pytest.mark.parametrize("piece", [3, 4096])
@pytest.mark.parametrize("seed", range(20))
def test_dependences_are_those_of_the_graph(seed: int, piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dependences, "_PIECE", piece)
    rng = np.random.default_rng(seed)
    known = Dependences()
    reads: dict[int, set[int]] = {}

    def above(kernel: int) -> set[int]:
        found: set[int] = set()
        todo = [kernel]
        while todo:
            new = reads[todo.pop()] - found
            found |= new
            todo += new
        return found

    for _ in range(60):
        kernels = list(reads)
        choice = rng.random()
        if choice < 0.5 or len(kernels) < 3:
            new = known.add()
            reads[new] = set()
            producers = {int(k) for k in rng.choice(kernels, min(len(kernels), int(rng.integers(4))), replace=False)}
            reads[new] |= producers
            known.reads(new, producers)
        else:
            a, b = (int(k) for k in rng.choice(kernels, 2, replace=False))
            if choice < 0.75 and a not in above(b):
                reads[a].add(b)
                known.reads(a, [b])
            elif a not in above(b) and b not in above(a):
                known.merge(a, b)
                reads[b] |= reads.pop(a)
                reads = {k: {b if x == a else x for x in xs} for k, xs in reads.items()}
        for a in reads:
            assert {b for b in reads if known.depends(a, b)} == above(a)


# ---------------------------------------------------------------------------------------------- order


def reaches_by_walking(order: Any, a: int, b: int) -> bool:
    """`_Order.reaches`, by all edges, those through the gate as well."""
    seen: set[int] = set()
    todo = [a]
    while todo:
        k = todo.pop()
        if k == b:
            return True
        if k not in seen:
            seen.add(k)
            todo += order.after[k]
            todo += order.gated if k in order.failing else ()
    return False


@pytest.mark.parametrize("build", BUILDS, ids=[b.__name__ for b in BUILDS])
def test_updates_in_place_are_those_that_a_walk_allows(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(60) if build is random_updates else SEEDS:
        graph = kernels_of(build, seed)
        short = schedule(graph)
        with monkeypatch.context() as patch:
            patch.setattr(buffer_assignment._Order, "reaches", reaches_by_walking)
            long = schedule(graph)
        assert [s if isinstance(s, Copy) else s.id for s in short.steps] == [
            s if isinstance(s, Copy) else s.id for s in long.steps
        ]
        assert (short.in_place, short.assigned) == (long.in_place, long.assigned)


@pytest.mark.parametrize("seed", range(40))
def test_what_reaches_what_while_edges_are_added(seed: int) -> None:
    """Of groups with nothing in them but what they read and store, some of which can fail."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(4, 16))
    groups = []
    for i in range(count):
        read = [k for k in range(i) if rng.random() < 1.5 / count]
        can_fail = rng.random() < (0.15 if seed % 2 else 0)
        nodes = [SimpleNamespace(has_check=can_fail, op=SimpleNamespace(kind=None))]
        groups.append(SimpleNamespace(id=i, inputs=read, outputs=[i], nodes=nodes))
    graph: Any = SimpleNamespace(groups=groups, storage=lambda v: v)
    order = buffer_assignment._Order(graph)
    for _ in range(3 * count):
        group, other = (int(k) for k in rng.integers(count, size=2))
        if group in order.before_failures:
            assert any(reaches_by_walking(order, group, f) for f in order.failing)
            continue
        for b in range(count):
            assert order.reaches(group, b) == reaches_by_walking(order, group, b)
        if not order.reaches(group, other):
            order.add(other, group)
            order.gated.add(group)
    place = {g.id: i for i, g in enumerate(order.sort(tuple(groups)))}
    assert len(place) == count
    assert all(place[a] < place[b] for a in range(count) for b in order.after[a])
    assert all(place[f] < place[g] for f in order.failing for g in order.gated)


def test_nothing_is_overwritten_before_all_checks() -> None:
    found = 0
    for seed in range(60):
        graph = kernels_of(random_updates, seed)
        made = schedule(graph)
        place = {s.id: i for i, s in enumerate(made.steps) if not isinstance(s, Copy)}
        last = max((place[g.id] for g in graph.groups if buffer_assignment.can_fail(g)), default=-1)
        overwritten = {*made.in_place, *made.assigned}
        writers = [place[g.id] for g in graph.groups if overwritten & {*g.outputs}]
        assert all(at > last for at in writers)
        found += bool(writers) and last >= 0
    assert found, "no program has both"


# ---------------------------------------------------------------------------------------------- barriers


def flags_by_pairs(plan: Plan, sizes: dict[str, int], offsets: dict[int, int], threads: int) -> bytes:
    """`step_flags`, by comparing each step with each before it, back to the last barrier."""
    flags = bytearray()
    pending: list[tuple[bool, int, int, int, bool]] = []
    failing = False
    for s in plan.steps:
        parallel = s.is_parallel and step_nanoseconds(plan, s, sizes) >= MIN_STEP_NS
        mine = []
        for b in set(s.buffers):
            buffer = plan.buffers[b]
            size = evaluate(buffer.bytes, sizes)
            if buffer.role == "scratch":
                mine.append((parallel, -1, offsets[b], offsets[b] + size * threads, True))
            elif buffer.role == "temporary":
                mine.append((parallel, -1, offsets[b], offsets[b] + size, b in s.writes))
            elif buffer.role in ("output", "variable"):
                mine.append((parallel, b, 0, size, b in s.writes))
        barrier = failing or any(
            (parallel or shared) and (w or writes) and p == place and start < e and b < end
            for shared, place, start, end, writes in pending
            for _, p, b, e, w in mine
        )
        pending = [*([] if barrier else pending), *mine]
        failing = bool(s.failures)
        flags.append((BARRIER if barrier else 0) | (PARALLEL if parallel else 0))
    return bytes(flags)


@pytest.mark.parametrize("build", BUILDS, ids=[b.__name__ for b in BUILDS])
@pytest.mark.parametrize("least", [0, 20, MIN_STEP_NS])
def test_barriers_are_those_that_pairs_of_steps_need(build: Build, least: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """`least`: nanoseconds from which on threads share a step."""
    monkeypatch.setattr("graphflow_compiler.planning.threaded_entry.MIN_STEP_NS", least)
    monkeypatch.setattr("tests.test_planning_shortcuts.MIN_STEP_NS", least)
    for seed in SEEDS:
        plan = plan_of(build, seed)
        sizes = dict.fromkeys(plan.symbols, OPEN_SIZE)
        for threads in (2, 4):
            offsets, _ = plan.arena(sizes, threads)
            assert step_flags(plan, sizes, offsets, threads) == flags_by_pairs(plan, sizes, offsets, threads)


# ---------------------------------------------------------------------------------------------- groups that are alike


@pytest.mark.parametrize("build", BUILDS, ids=[b.__name__ for b in BUILDS])
def test_groups_that_are_alike_are_planned_as_each_alone(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dump needs the loops of every group: then each is lowered by itself."""
    for seed in SEEDS:
        shared = plan_of(build, seed)
        with monkeypatch.context() as patch:
            patch.setenv("GRAPHFLOW_DUMP", str(tmp_path))
            alone = plan_of(build, seed)
        assert str(shared) == str(alone)
        assert shared.steps == alone.steps
        assert shared.kernels == alone.kernels
        assert shared.entry_text == alone.entry_text


def test_many_tables_are_lowered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import graphflow_compiler.planning.planner as planner

    lowered: list[Any] = []
    lower = planner.lower

    def counted(graph: Any, group: Any, in_place: Any) -> Any:
        lowered.append(group)
        return lower(graph, group, in_place)

    monkeypatch.setattr(planner, "lower", counted)
    counts = []
    for seed in (4, 34):
        lowered.clear()
        plan_of(tables, seed)
        counts.append(len(lowered))
    assert counts[1] <= counts[0] + 2  # a longer sum


@pytest.mark.parametrize("bad", [0, 3, 7])
def test_a_failure_names_the_one_of_the_groups_that_are_alike(bad: int) -> None:
    with tf.Graph().as_default():
        ids = [tf.placeholder(tf.int32, [2]) for _ in range(8)]
        table = tf.Variable(tf.zeros([5, 3]))
        found = [tf.gather(table, i, name=f"lookup_{k}") for k, i in enumerate(ids)]
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            feed = {i: [0, 9 if k == bad else 1] for k, i in enumerate(ids)}
            with pytest.raises(tf.errors.InvalidArgumentError, match=f"lookup_{bad}"):
                session.run(found, feed)
