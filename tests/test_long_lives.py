"""Programs that run long, on many threads, and beside others: in child processes, which may die, hang or grow."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="reads what Linux tells of a process")
HEAD = """
import os, sys, threading, time
import numpy as np
import graphflow as tf

def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
"""


def output(program: str, *arguments: str, **environment: str) -> list[str]:
    """What a child process prints; nobody hangs for ever."""
    command = [sys.executable, "-c", HEAD + textwrap.dedent(program), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env={**os.environ, **environment}, check=False)
    assert done.returncode == 0, (done.returncode, done.stdout[-2000:], done.stderr[-4000:])
    return done.stdout.split()


def test_ten_thousand_runs_of_changing_sizes() -> None:
    """Neither kernels nor memory grow with the number of runs."""
    found = output(
        """
        x, labels = tf.placeholder(tf.float32, [None, 20]), tf.placeholder(tf.int32, [None])
        hidden = tf.layers.dense(x, 30, tf.nn.relu)
        loss = tf.losses.sparse_softmax_cross_entropy(labels, tf.layers.dense(hidden, 5))
        train = tf.train.AdamOptimizer().minimize(loss)
        random = np.random.RandomState(0)
        data, classes = random.rand(700, 20).astype(np.float32), random.randint(0, 5, 700).astype(np.int32)
        with tf.Session() as session:
            session.run(tf.global_variables_initializer())
            for i in range(10_000):
                n = random.randint(2, 700)
                session.run([train, loss], {x: data[:n], labels: classes[:n]})
                if i == 2000:
                    before, compiled = resident(), session.stats.kernels_compiled
            stats = session.stats
            print(stats.runs, stats.kernels_compiled - compiled, stats.plans_compiled, stats.executables)
            print(resident() - before < 30_000_000, np.isfinite(session.run(loss, {x: data, labels: classes})))
        """
    )
    assert found == ["10001", "0", "2", "2", "True", "True"]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_sixteen_threads_equal_some_serial_order(backend: str) -> None:
    """Each run takes a ticket with all that it reads and changes: it is as if they came one by one, in the tickets' order."""
    found = output(
        """
        v = [tf.get_variable(f"v{i}", [64], tf.int64, tf.zeros_initializer()) for i in range(3)]
        ticket = tf.get_variable("ticket", [], tf.int64, tf.zeros_initializer())
        k = tf.placeholder(tf.int64, [], name="k")
        next_ticket = tf.assign_add(ticket, 1)
        before = [tf.identity(x.read_value()) for x in v]
        with tf.control_dependencies(before):
            changes = [
                [tf.assign(v[0], v[1] * 3 + k), tf.assign(v[1], v[2] - v[0])],
                [tf.assign(v[2], v[0] + v[1] + k)],
                [tf.assign_add(v[1], tf.fill([64], k)), tf.assign(v[0], -v[2])],
                [],
            ]
        fetches = [[next_ticket, before, c] for c in changes]
        log, failures = [], []
        with tf.Session(backend=sys.argv[1]) as session:
            session.run(tf.global_variables_initializer())

            def work(me):
                try:
                    random = np.random.RandomState(me)
                    for _ in range(40):
                        kind, number = random.randint(4), random.randint(100)
                        log.append((kind, number, session.run(fetches[kind], {k: number})))
                except BaseException as e:
                    failures.append(e)

            threads = [threading.Thread(target=work, args=(i,)) for i in range(16)]
            for t in threads: t.start()
            for t in threads: t.join()
            end = session.run(v)
        state = [np.zeros(64, np.int64) for _ in range(3)]
        log.sort(key=lambda entry: entry[2][0])
        wrong = [int(entry[2][0]) for i, entry in enumerate(log) if entry[2][0] != i + 1]
        for kind, number, (_, seen, made) in log:
            if any((a != b).any() for a, b in zip(seen, state)):
                wrong.append(seen)
            old = list(state)
            if kind == 0:
                state[0] = old[1] * 3 + number
                state[1] = old[2] - state[0]
            elif kind == 1:
                state[2] = old[0] + old[1] + number
            elif kind == 2:
                state[1] = old[1] + number
                state[0] = -old[2]
        print(len(log), len(wrong), len(failures), all((a == b).all() for a, b in zip(state, end)))
        """,
        backend,
    )
    assert found == ["640", "0", "0", "True"]


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_a_session_closed_under_a_long_run(backend: str) -> None:
    """The run ends as it would have, or says that the session is closed; every later one says so."""
    found = output(
        """
        a = tf.constant(np.ones((1200, 1200), np.float32))
        y = a
        for _ in range(8):
            y = tf.matmul(y, a) / 1200.0
        y = tf.reduce_sum(y)
        for _ in range(3):
            session = tf.Session(backend=sys.argv[1])
            call = session.make_callable(y)
            session.run(y)
            said, begun = [], threading.Event()

            def work(run):
                try:
                    while True:
                        begun.set()
                        said.append(float(run()))
                except tf.errors.SessionClosedError as e:
                    said.append(str(e))

            threads = [threading.Thread(target=work, args=(r,)) for r in (call, lambda: session.run(y), call)]
            for t in threads: t.start()
            begun.wait()
            time.sleep(0.05)
            session.close()
            for t in threads: t.join(60)
            ends = [s for s in said if isinstance(s, str)]
            print(len(ends), set(ends) == {"Attempted to use a closed Session."}, set(said) - set(ends) <= {1440000.0})
            for late in (call, lambda: session.run(y), lambda: session.explain(y), lambda: session.make_callable(y)):
                try:
                    late()
                    print("ran")
                except RuntimeError:
                    pass
        """,
        backend,
    )
    assert found == ["3", "True", "True"] * 3


def test_building_after_the_graph_is_finalized() -> None:
    found = output(
        """
        import warnings
        v = tf.get_variable("v", [], initializer=tf.zeros_initializer())
        with tf.Session() as session, warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            session.run(v.initializer)
            for i in range(100):
                session.run(tf.assign_add(v, 1.0))
            text = str(seen[0].message)
            print(len(seen), "built in the loop" in text, seen[0].filename, f"<string>:{seen[0].lineno}" in text)
            session.graph.finalize()
            for _ in range(2):
                try:
                    session.run(tf.assign_add(v, 1.0))
                except RuntimeError as e:
                    print("finalized" in str(e))
            print(session.run(v))
        """
    )
    assert found == ["1", "True", "<string>", "True", "True", "True", "100.0"]


# ---------------------------------------------------------------------------------------------- processors and threads

#: Enough work for threads; what ran, and on how many.
_HEAVY = """
from graphflow_compiler.codegen.jit import compile_pool
from graphflow_runtime.executor import native, threads
native._THREADS_NOW = 1
with tf.Session() as session:
    a = tf.constant(np.ones((400, 400), np.float32))
    total = session.run(tf.reduce_sum(tf.matmul(a, a)))
print(threads.available_threads(), compile_pool._limit(), len(os.listdir("/proc/self/task")), total == 400.0**3)
"""


#: numpy's own threads are not ours to count.
ALONE = {"OPENBLAS_NUM_THREADS": "1", "GRAPHFLOW_COMPILE_WORKERS": "0"}


@pytest.mark.parametrize("openmp", ["", "1", "4"])
def test_a_process_with_one_processor(openmp: str) -> None:
    """As taskset and cpusets leave it: no worker, and no process to help."""
    one = "os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    found = output(one + _HEAVY, OMP_NUM_THREADS=openmp, OPENBLAS_NUM_THREADS="1", GRAPHFLOW_THREADS="")
    assert found == ["1", "0", "1", "True"]


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one processor")
def test_openmps_number_is_taken() -> None:
    for openmp, ours, expected in (("1", "", "1"), ("2", "", "2"), ("1", "3", "3")):
        assert output(_HEAVY, OMP_NUM_THREADS=openmp, GRAPHFLOW_THREADS=ours, **ALONE)[::2] == [expected] * 2


def test_eight_sessions_share_one_pool() -> None:
    """However many threads each of them may use."""
    found = output(
        """
        from graphflow_runtime.executor import native
        native._THREADS_NOW = 1
        a = tf.constant(np.ones((300, 300), np.float32))
        y = tf.reduce_sum(tf.matmul(a, a) + 1.0)
        sessions = [tf.Session(config=tf.ConfigProto(intra_op_parallelism_threads=4)) for _ in range(8)]
        start, most, results = threading.Barrier(8), [0], []

        def work(session):
            start.wait()
            for _ in range(50):
                results.append(float(session.run(y)))
                most[0] = max(most[0], len(os.listdir("/proc/self/task")))

        workers = [threading.Thread(target=work, args=(s,)) for s in sessions]
        for t in workers: t.start()
        for t in workers: t.join()
        print(most[0], set(results) == {300.0**3 + 300.0**2})
        """,
        GRAPHFLOW_THREADS="4",
        **ALONE,
    )
    assert int(found[0]) <= 1 + 8 + 3 and found[1] == "True"


# ---------------------------------------------------------------------------------------------- one cache, many processes

_TRAIN = """
x = tf.placeholder(tf.float32, [None, 7])
w = tf.get_variable("w", [7, 3], initializer=tf.ones_initializer())
loss = tf.reduce_mean(tf.square(tf.matmul(tf.tanh(x), w)))
train = tf.train.GradientDescentOptimizer(0.1).minimize(loss)
with tf.Session() as session:
    session.run(tf.global_variables_initializer())
    if len(sys.argv) > 1:
        while time.time() < float(sys.argv[1]):
            pass
    for _ in range(3):
        session.run(train, {x: np.ones((4, 7))})
    print(float(session.run(loss, {x: np.ones((4, 7))})), session.stats.kernels_compiled, session.stats.kernels_from_disk)
"""


def test_processes_that_race_for_one_cache(tmp_path: Path) -> None:
    folder = str(tmp_path / "cache")
    moment = str(time.time() + 8)
    command = [sys.executable, "-c", HEAD + _TRAIN, moment]
    env = {**os.environ, "GRAPHFLOW_CACHE_DIR": folder, "GRAPHFLOW_COMPILE_WORKERS": "0"}
    racing = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) for _ in range(5)]
    found = [p.communicate(timeout=200)[0].split() for p in racing]
    assert all(p.returncode == 0 for p in racing) and len({f[0] for f in found}) == 1
    assert not list((tmp_path / "cache").glob(".new-*"))
    loss, compiled, from_disk = output(_TRAIN, GRAPHFLOW_CACHE_DIR=folder)
    assert loss == found[0][0] and compiled == from_disk


def test_a_process_killed_while_it_fills_the_cache(tmp_path: Path) -> None:
    """At any file: what is there afterwards is whole, and is used."""
    folder = str(tmp_path / "cache")
    kill = """
from graphflow_compiler.codegen.jit import object_cache
left = [{count}]
replace = os.replace
def die(*paths):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), 9)
    replace(*paths)
object_cache.os.replace = die
"""
    expected = output(_TRAIN, GRAPHFLOW_CACHE_DIR="")[0]
    for count in range(4):
        env = {**os.environ, "GRAPHFLOW_CACHE_DIR": folder}
        command = [sys.executable, "-c", HEAD + kill.format(count=count) + _TRAIN]
        assert subprocess.run(command, env=env, capture_output=True, timeout=200, check=False).returncode in (-9, 0)
    assert output(_TRAIN, GRAPHFLOW_CACHE_DIR=folder)[0] == expected
    loss, compiled, from_disk = output(_TRAIN, GRAPHFLOW_CACHE_DIR=folder)
    assert loss == expected and compiled == from_disk
