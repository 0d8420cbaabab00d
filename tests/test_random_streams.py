"""Streams of random numbers: a count for each session and op, which grows when a run executes the op and at no other time."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow_runtime.executor import launch_descriptor, threads
from graphflow_runtime.native_code.pool import is_supported
from tests.forced_threads import force
from tests.random_numbers import uniform

New = Callable[..., tf.Session]
TEAM = [threads.Pool(3)] if is_supported() else []


@pytest.fixture(autouse=True)
def graph() -> Iterator[tf.Graph]:
    with tf.Graph().as_default() as g:
        yield g


@pytest.fixture(params=["native", "ctypes", *["3 threads"] * len(TEAM), "reference"])
def new(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> New:
    """Makes sessions that run in one way."""
    if request.param == "ctypes":
        monkeypatch.setattr(launch_descriptor, "builtins", lambda: None)
    if request.param == "3 threads":
        force(TEAM[0].start(), monkeypatch)
    return lambda **kw: tf.Session(backend="reference" if request.param == "reference" else "native", **kw)


def nth(found: Any, seed: int = 1) -> int:
    """For which execution of an op these are the numbers."""
    return next(n for n in range(1000) if np.array_equal(uniform(seed, n, len(found)), found))


# ---------------------------------------------------------------------------------------------- what counts


def test_other_runs_change_nothing(new: New) -> None:
    a, b = (tf.random_uniform([5], seed=1) for _ in range(2))
    step, unrelated = a * 2.0, tf.constant(1.0) + 1.0
    with new() as s:
        assert nth(s.run(a)) == 1
        s.run(unrelated)
        s.run(tf.constant(1.0))
        assert nth(s.run(b)) == 1, "the ops' seeds are the same, and so are their numbers"
        assert nth(s.run(step) / 2) == 2
        assert [nth(x) for x in s.run([a, b])] == [3, 2]
        assert nth(s.run(b)) == 3


def test_equal_ops_stay_two(new: New) -> None:
    """Same seeds, same shape, same numbers as long as both are executed alike, as in TensorFlow; and no longer."""
    a, b = (tf.random_uniform([5], seed=1) for _ in range(2))
    difference = a - b
    with new() as s:
        assert not s.run(difference).any()
        s.run(a)
        assert s.run(difference).all()
        assert [nth(x) for x in s.run([a, b, difference])[:2]] == [4, 3]


def test_an_op_is_executed_once_in_a_run(new: New) -> None:
    a = tf.random_uniform([5], seed=1)
    with new() as s:
        x, (y, z), w = s.run([a, (a + 0.0, tf.identity(a)), a.op.outputs[0]])
        assert nth(x) == nth(y) == nth(z) == nth(w) == 1
        assert nth(s.run(a)) == 2


def test_initialisers_with_one_seed_agree_whenever_they_run(new: New) -> None:
    make = tf.truncated_normal_initializer(seed=9)
    u, v, w = (tf.get_variable(name, [4, 3], initializer=make) for name in "uvw")
    with new() as s:
        s.run(u.initializer)
        s.run(tf.constant(0.0))
        s.run([v.initializer, w.initializer])
        first, *others = s.run([u, v, w])
        assert all(np.array_equal(first, x) for x in others)
        s.run(u.initializer)
        assert not np.array_equal(s.run(u), first)  # the next draw of the op
        s.run(tf.global_variables_initializer())
        again = s.run([u, v, w])
        assert np.array_equal(again[1], again[2]) and not np.array_equal(again[0], again[1])
    with new() as s:
        s.run(tf.global_variables_initializer())
        assert all(np.array_equal(first, x) for x in s.run([u, v, w]))


def test_an_evaluation_changes_no_training(new: New) -> None:
    tf.set_random_seed(3)
    x = tf.constant(np.linspace(-1, 1, 12).reshape(4, 3), tf.float32)
    hidden = tf.nn.dropout(tf.layers.dense(x, 8, tf.tanh), keep_prob=0.5)
    noisy = tf.reduce_mean(tf.random_normal([7]))
    loss = tf.reduce_mean(tf.square(tf.layers.dense(hidden, 1) - 1.0))
    step = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
    weights = tf.trainable_variables()

    def train(between: Callable[[tf.Session], Any]) -> list[Any]:
        with new() as s:
            s.run(tf.global_variables_initializer())
            for _ in range(5):
                between(s)
                s.run(step)
            return s.run(weights)

    plain = train(lambda s: None)
    for between in (lambda s: s.run(noisy), lambda s: s.run(weights), lambda s: s.explain(step)):
        for a, b in zip(plain, train(between), strict=True):
            assert np.array_equal(a, b)


# ---------------------------------------------------------------------------------------------- runs that fail


def test_failed_runs_count(new: New) -> None:
    """As in TensorFlow, where the op has been executed by then; here whenever the run has begun."""
    a = tf.random_uniform([5], seed=1)
    p, q = tf.placeholder(tf.float32, [], name="p"), tf.placeholder(tf.float32, [None], name="q")
    with tf.control_dependencies([a]):
        checked = tf.Assert(p > 0.0, [p])
    missing = tf.Variable(1.0)
    misfit = q + tf.placeholder_with_default(np.ones(2, np.float32), [None])
    with new() as s:
        s.run([a, checked], {p: 1.0})
        for _ in range(2):
            with pytest.raises(tf.errors.InvalidArgumentError):
                s.run(checked, {p: -1.0})
        assert nth(s.run(a)) == 4
        with pytest.raises(tf.errors.FailedPreconditionError):
            s.run([a, missing])
        assert nth(s.run(a)) == 6
        with pytest.raises(tf.errors.InvalidArgumentError):
            s.run([a, misfit], {q: [1.0, 2.0, 3.0]})
        assert nth(s.run(a)) == 8
        with pytest.raises((ValueError, TypeError)):
            s.run([a, checked], {p: "text"})  # nothing has begun
        with pytest.raises(tf.errors.InvalidArgumentError):
            s.run([a, q])
        assert nth(s.run(a)) == 9


# ---------------------------------------------------------------------------------------------- what is not executed


def test_what_is_fed_is_not_executed(new: New) -> None:
    a, b = (tf.random_uniform([3], seed=1) for _ in range(2))
    with new() as s:
        assert s.run(a + b * 0.0, {a: [7.0, 8.0, 9.0]}).tolist() == [7.0, 8.0, 9.0]
        assert nth(s.run(a)) == 1 and nth(s.run(b)) == 2


def test_control_edges_to_what_is_fed(new: New) -> None:
    """They make the operation run, and its readers see what is fed, as in TensorFlow; a fed placeholder is no operation."""
    a, p, v = tf.random_uniform([3], seed=1), tf.placeholder(tf.float32, []), tf.Variable(1.0)
    more, known, shape = v.assign_add(1.0), tf.is_variable_initialized(v), tf.shape(a)
    with tf.control_dependencies([t.op for t in (a, p, more, known, shape)]):
        after = [tf.identity(t) * 1 for t in (a, p, more, tf.cast(known, tf.int32), shape)]
    with new() as s:
        s.run(v.initializer)
        found = s.run(after, {a: [7.0, 8.0, 9.0], p: 3.0, more: 50.0, known: False, shape: [8]})
        assert [np.asarray(x).tolist() for x in found] == [[7.0, 8.0, 9.0], 3.0, 50.0, 0, [8]]
        assert s.run(v) == 2.0 and nth(s.run(a)) == 2


def test_the_compiler_prunes_values_not_executions(new: New) -> None:
    """Where only the shape of random numbers counts, every backend sees an execution all the same."""
    a = tf.random_uniform([5], seed=1)
    count = tf.placeholder(tf.int32, [])
    with new() as s:
        assert s.run(tf.shape(a[:count]) * 2, {count: 5}).tolist() == [10]
        assert nth(s.run(a)) == 2


# ---------------------------------------------------------------------------------------------- ways to run


def test_every_way_to_run_counts(new: New) -> None:
    a = tf.random_uniform([5], seed=1)
    p = tf.placeholder(tf.float32, [None])
    shifted = a + tf.reduce_sum(p)
    hosted = tf.py_func(lambda x: x, [a], tf.float32)
    with new() as s:
        call, shift = s.make_callable(a), s.make_callable(shifted, [p])
        assert [nth(call()), nth(call()), nth(s.run(a)), nth(call())] == [1, 2, 3, 4]
        assert [nth(shift(np.zeros(n, np.float32))) for n in (2, 3, 2)] == [5, 6, 7]
        assert nth(s.run(hosted)) == 8
        meta = tf.RunMetadata()
        traced = s.run(a, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=meta)
        assert nth(traced) == 9 and meta.step_stats.dev_stats
        s.profile(a, runs=2)
        assert nth(a.eval(session=s)) == 13
        s.explain(a)
        assert nth(call()) == 14


def test_a_partial_run_executes_an_op_once(new: New) -> None:
    a, b = (tf.random_uniform([5], seed=1) for _ in range(2))
    p, q = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
    first, second, third = tf.identity(a) * p, a * q + b * 0.0, b * 1.0
    with new() as s:
        h = s.partial_run_setup([first, second, third], [p, q])
        assert nth(s.partial_run(h, first, {p: 1.0})) == 1
        other = s.partial_run_setup([first], [p])
        assert nth(s.partial_run(other, first, {p: 1.0})) == 2
        assert nth(s.run(a)) == 3
        assert nth(s.partial_run(h, second, {q: 1.0})) == 1  # draws again what the first part drew
        assert nth(s.run(b)) == 2
        assert nth(s.partial_run(h, third)) == 1
        assert nth(s.run(a)) == 4 and nth(s.run(b)) == 3
        late = s.partial_run_setup([first, second], [p, q])
        with pytest.raises((ValueError, TypeError)):
            s.partial_run(late, first, {p: "text"})
        assert nth(s.run(a)) == 5


def test_a_run_within_a_run_has_counts_of_its_own(new: New) -> None:
    a = tf.random_uniform([5], seed=1)
    inner: list[Any] = []
    p = tf.placeholder_with_default(np.float32(0.0), [])
    hosted = tf.py_func(lambda x: (inner.append(s.run(a)), x)[1], [p], tf.float32)
    with tf.control_dependencies([hosted]):
        late = tf.random_uniform([5], seed=1)
    with new() as s:
        outer = s.run([hosted, late, a])
        assert [nth(outer[1]), nth(outer[2]), nth(inner[0])] == [1, 1, 2]
        assert nth(s.run(a)) == 3


# ---------------------------------------------------------------------------------------------- sessions, graphs, processes


def test_sessions_of_one_graph(new: New) -> None:
    seeded, free = tf.random_uniform([5], seed=1), tf.random_uniform([5])
    with new() as s, new() as t:
        assert [nth(s.run(seeded)), nth(s.run(seeded)), nth(t.run(seeded)), nth(s.run(seeded))] == [1, 2, 1, 3]
        drawn = [s.run(free), s.run(free), t.run(free), t.run(free)]
        assert len({x.tobytes() for x in drawn}) == 4


def test_a_graph_that_grows(new: New) -> None:
    ops = [tf.random_uniform([2], seed=1)]
    with new() as s:
        first = s.make_callable(ops[0])
        for n in range(1, 6):
            assert nth(first()) == 2 * n - 1
            ops += [tf.random_uniform([2], seed=1) for _ in range(20)]
            found = [nth(x) for x in s.run(ops)]
            assert found == [2 * n, *(n - i for i in range(n) for _ in range(20))]


def test_a_loaded_graph_starts_anew(new: New, tmp_path: Path) -> None:
    a = tf.random_uniform([5], seed=1, name="a")
    with new() as s:
        s.run(a)
        tf.save(tmp_path / "m.safetensors", s)
    with tf.load(tmp_path / "m.safetensors").session() as s:
        assert [nth(s.run(a.name)), nth(s.run(a.name))] == [1, 2]


KEPT = """
import graphflow as tf
a, b, c = (tf.random_uniform([2], seed=1, name=name) for name in ORDER)
s = tf.Session()
s.run([a, b])
print(s.run([a, c]), s.run(tf.shape(b)), s.run([a, b, c]), s.stats.kernels_from_disk > 0)
if CHILD:
    import os, sys
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        for _ in range(3):
            s.run(a)
        print(s.run([a, b]), flush=True)
        os._exit(0)
    os.waitpid(pid, 0)
    print(s.run([a, b]))
"""


def printed(order: str, folder: Path, child: bool = False) -> str:
    text = KEPT.replace("ORDER", repr(order)).replace("CHILD", str(child))
    env = {**os.environ, "GRAPHFLOW_CACHE_DIR": str(folder)}
    return subprocess.run([sys.executable, "-c", text], env=env, capture_output=True, text=True, check=True, timeout=300).stdout


def test_kept_plans_have_the_same_streams(tmp_path: Path) -> None:
    first = printed("abc", tmp_path)
    assert first.endswith("False\n") and printed("abc", tmp_path) == first.replace("False", "True")
    assert printed("cba", tmp_path).split("]")[:3] == first.split("]")[:3]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_child_goes_on_from_where_it_was_made(tmp_path: Path) -> None:
    _, child, parent = printed("abc", tmp_path, child=True).splitlines()
    found = [[float(x) for x in text.replace("array(", "").split("[")[2].split("]")[0].split(",")] for text in (child, parent)]
    assert [nth(np.array(x, np.float32)) for x in found] == [7, 4]
