"""The thread pool: the same bits whatever the number of threads, failures, forks, sessions side by side."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import CompileError
from graphflow_runtime.executor import launch_descriptor, native, threads
from graphflow_runtime.native_code import dispatch, thread_autotune
from graphflow_runtime.native_code.pool import is_supported, pool_code
from graphflow_runtime.session.prepared_call import PreparedCall
from tests.forced_threads import force
from tests.random_programs import run as run_random_program

needs_builtins = pytest.mark.skipif(dispatch.builtins() is None, reason="this Python takes the ctypes way only")
pytestmark = pytest.mark.skipif(not is_supported(), reason="plans run on one thread here")


@pytest.fixture(scope="module", params=[2, 3, 7])
def team(request: pytest.FixtureRequest) -> threads.Pool:
    return threads.Pool(request.param).start()


@pytest.fixture
def always_threaded(team: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> Iterator[threads.Pool]:
    """Every plan and every step on all threads, however small."""
    force(team, monkeypatch)
    yield team


@pytest.mark.parametrize("seed", range(40))
def test_random_programs_on_threads(seed: int, always_threaded: threads.Pool) -> None:
    run_random_program(70_000 + seed)


def test_training_gives_the_same_bits(always_threaded: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def train() -> list[bytes]:
        with gf.Graph().as_default() as graph:
            gf.set_random_seed(3)
            x, y = gf.placeholder(gf.float32, [None, 50]), gf.placeholder(gf.int32, [None])
            h = gf.layers.dense(x, 70, gf.nn.relu)
            h = gf.nn.dropout(gf.layers.dense(h, 33, gf.tanh), keep_prob=0.9)
            loss = gf.losses.sparse_softmax_cross_entropy(y, gf.layers.dense(h, 11))
            step = gf.train.AdamOptimizer(0.01).minimize(loss)
        rng = np.random.RandomState(0)
        found = []
        with gf.Session(graph=graph) as session:
            session.run("init" if "init" in graph._by_name else _init(graph))
            for n in (32, 17, 1, 64, 32):
                feeds = {x: rng.rand(n, 50).astype(np.float32), y: rng.randint(0, 11, n)}
                found.append(session.run([loss, step], feeds)[0].tobytes())
            with graph.as_default():
                found += [v.eval(session).tobytes() for v in gf.global_variables()]
        return found

    threaded = train()
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setattr(threads, "available_threads", lambda: 1)
    assert train() == threaded


def _init(graph: gf.Graph) -> gf.Operation:
    with graph.as_default():
        return gf.global_variables_initializer()


def test_large_reductions_give_the_same_bits(always_threaded: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    def results() -> list[bytes]:
        with gf.Graph().as_default() as graph:
            x = gf.placeholder(gf.float32, [None])
            fetches = [gf.reduce_mean(gf.tanh(x) + x), gf.reduce_max(x), gf.nn.softmax(x), *gf.nn.moments(x, [0])]
            wide = gf.nn.relu(gf.reshape(x[:100_000], [-1, 100]))
            fetches += [wide, *gf.nn.moments(wide, [0]), gf.reduce_sum(gf.reshape(x[:100_000], [-1, 8, 25]) * 2.0, [0, 2])]
        data = np.random.RandomState(1).randn(100_003).astype(np.float32)
        with gf.Session(graph=graph) as session:
            return [np.asarray(r).tobytes() for r in session.run(fetches, {x: data})]

    threaded = results()
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setattr(threads, "available_threads", lambda: 1)
    assert results() == threaded


def test_a_failed_check_leaves_variables_alone(always_threaded: threads.Pool) -> None:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None])
        v = gf.Variable(np.zeros(1000, np.float32))
        with gf.control_dependencies([gf.check_numerics(x, "bad input")]):
            add = v.assign_add(gf.ones([1000]) * gf.reduce_sum(x))
        total = gf.reduce_sum(v)
    with gf.Session(graph=graph) as session:
        session.run(v.initializer)
        data = np.ones(20_000, np.float32)
        for at in (0, 9_999, 19_999):
            bad = data.copy()
            bad[at] = np.nan
            with pytest.raises(gf.errors.InvalidArgumentError, match="bad input"):
                session.run(add, {x: bad})
            assert session.run(total) == 0.0
        session.run(add, {x: data})
        assert session.run(total) == 2e7


def test_sessions_side_by_side(always_threaded: threads.Pool) -> None:
    """One has the pool, the others run on their own threads meanwhile."""
    wrong = []

    def work(k: int) -> None:
        with gf.Graph().as_default() as graph:
            x = gf.placeholder(gf.float32, [None])
            y = gf.reduce_sum(gf.sqrt(x * float(k * k)))
        data = np.ones(50_000, np.float32)
        with gf.Session(graph=graph) as session:
            call = session.make_callable(y, [x])
            wrong.extend(k for _ in range(60) if call(data) != 50_000.0 * k)

    workers = [threading.Thread(target=work, args=(k,)) for k in range(1, 6)]
    for w in workers:
        w.start()
    for w in workers:
        w.join()
    assert not wrong


_FORK_IN_A_RUN = """
import os, threading, numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [None, 300]); w = gf.Variable(np.ones((300, 300), np.float32)); y = gf.reduce_sum(x @ w)
session = gf.Session(); session.run(w.initializer)
call = session.make_callable(y, [x]); data = np.ones((1500, 300), np.float32); expected = call(data)
stop = False
def work():
    while not stop:
        call(data)
worker = threading.Thread(target=work); worker.start()
statuses = []
for _ in range(8):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if call(data) == expected and session.run(y, {x: data[:7]}) == expected / 1500 * 7 else 1)
    statuses.append(os.waitpid(pid, 0)[1])
stop = True
worker.join()
print(set(statuses))
"""


@pytest.mark.filterwarnings("ignore")
def test_a_fork_while_another_thread_is_in_a_run(tmp_path: Path) -> None:
    """Its session's lock, or LLVM's as the code for threads is compiled, is held by a thread that the child does not have."""
    command = [sys.executable, "-W", "ignore", "-c", _FORK_IN_A_RUN]
    environment = {**os.environ, "GRAPHFLOW_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.stdout.strip() == "{0}", done.stdout + done.stderr


def test_fewer_threads_where_the_system_gives_no_more(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    started: list[int] = []
    start = threads._start_new_thread

    def refused(function: Any, arguments: tuple[int]) -> int:
        if len(started) == allowed:
            raise RuntimeError("can't start new thread")
        started.append(start(function, arguments))
        return started[-1]

    monkeypatch.setattr(threads, "available_threads", lambda: 4)
    monkeypatch.setattr(threads, "_start_new_thread", refused)
    data = np.random.RandomState(0).rand(400_000).astype(np.float32)
    found = []
    for allowed in (0, 2):
        started.clear()
        monkeypatch.setattr(threads, "_pool", None)
        with gf.Graph().as_default(), gf.Session() as session:
            x = gf.placeholder(gf.float32, [None])
            found += [session.run(gf.reduce_sum(gf.tanh(x)), {x: data}) for _ in range(3)]
        team = threads.pool()
        assert (team is None) == (allowed == 0) and (team is None or team.size == 3)
    assert len(set(found)) == 1 and "can't start new thread" in caplog.text


def test_the_failure_reported_is_the_same_on_threads(always_threaded: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two checks of one kernel fail, the second nearer to the start of the data."""

    def message() -> str:
        with gf.Graph().as_default(), gf.Session() as session:
            x, i = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.int32, [None])
            y = gf.reduce_sum(gf.check_numerics(x, "not finite") + gf.gather(gf.constant([1.0, 2.0]), i))
            data, index = np.zeros(200_000, np.float32), np.zeros(200_000, np.int32)
            data[150_000], index[3] = np.nan, 7
            with pytest.raises(gf.errors.InvalidArgumentError) as caught:
                session.run(y, {x: data, i: index})
            return caught.value.message

    threaded = message()
    monkeypatch.setattr(threads, "_pool", None)
    monkeypatch.setattr(threads, "available_threads", lambda: 1)
    assert message() == threaded


def test_how_many_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_THREADS", "5")
    assert threads.available_threads() == 5
    monkeypatch.delenv("GRAPHFLOW_THREADS")
    monkeypatch.setenv("OMP_NUM_THREADS", "1,4")
    assert threads.available_threads() == 1
    monkeypatch.delenv("OMP_NUM_THREADS")
    assert 1 <= threads.available_threads() <= len(os.sched_getaffinity(0))


def test_one_thread_where_the_session_says_so(always_threaded: threads.Pool) -> None:
    config = gf.ConfigProto(intra_op_parallelism_threads=1)
    with gf.Graph().as_default(), gf.Session(config=config) as session:
        x = gf.placeholder(gf.float32, [None])
        session.run(gf.reduce_sum(x), {x: np.ones(100_000)})
        (executable,) = session._executables.values()
        assert isinstance(executable, native.NativeExecutable)
        assert all(b.choice is None for b in executable.bound.values())


class _Choice:
    """The native decision, asked and told from here."""

    def __init__(self, long: bool = False) -> None:
        self.block = thread_autotune.new_choice(brief=False, long=long)
        code = pool_code()
        self._next = ctypes.CFUNCTYPE(ctypes.c_bool, ctypes.c_void_p)(code.address("graphflow_choice_next"))
        self._note = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_bool, ctypes.c_bool, ctypes.c_int64)(
            code.address("graphflow_choice_note")
        )

    def run(self, one: int, all_: int, asleep: bool = False) -> bool:
        """A run of `one` nanoseconds on one thread, `all_` on all: whether it took all. `asleep`: if it finds workers so."""
        threaded = bool(self._next(self.block.ctypes.data))
        self.note(threaded, all_ if threaded else one, asleep=threaded and asleep)
        return threaded

    @property
    def takes_threads(self) -> bool:
        """Whether the next run that is no trial takes all threads."""
        return bool(self.block[1])

    def note(self, threaded: bool, took: int, asleep: bool = False) -> None:
        self._note(self.block.ctypes.data, threaded, asleep, took)


def test_the_faster_way_is_taken() -> None:
    choice = _Choice()
    taken = [choice.run(100, 300) for _ in range(400)]
    assert sum(taken[:8]) == 4 and sum(taken[8:]) <= 20
    taken = [choice.run(100, 50) for _ in range(1000)]  # the neighbour is gone
    assert choice.takes_threads and sum(taken) > 800


def test_a_change_for_the_better_is_seen_in_one_trial() -> None:
    """What threads took long ago does not count against them."""
    choice = _Choice()
    for _ in range(1000):
        choice.run(100, 300)
    assert not choice.takes_threads
    for _ in range(110):  # a trial begins at most 96 runs after the last
        choice.run(100, 50)
    assert choice.takes_threads


def test_long_runs_are_tried_few_times() -> None:
    choice = _Choice(long=True)
    taken = [choice.run(100, 90) for _ in range(46)]
    assert taken.count(False) == 4


def test_what_is_clearly_faster_is_tried_rarely_and_left_at_once() -> None:
    choice = _Choice()
    taken = [choice.run(100, 60) for _ in range(10_000)]
    assert taken.count(False) == 4 * 4  # after 4, 20, 160 and 1,280 runs
    taken = [choice.run(100, 300) for _ in range(20)]  # a neighbour: no trial is needed to see it
    assert not choice.takes_threads and sum(taken) <= 8


def test_runs_that_find_workers_asleep_are_not_counted_until_they_are_many() -> None:
    choice = _Choice()
    taken = [choice.run(100, 120, asleep=True) for _ in range(8)]
    assert all(taken) and choice.block[0] == 0
    for _ in range(400):
        choice.run(100, 50, asleep=False)
    assert choice.takes_threads
    for _ in range(400):  # no other core is to be had
        choice.run(100, 120, asleep=True)
    assert not choice.takes_threads
    for _ in range(300):  # workers take two runs to wake
        threaded = [choice.run(100, 120, asleep=True) for _ in range(2)]
        if any(threaded):
            choice.run(100, 50)
    assert choice.takes_threads


def test_single_disturbed_runs_decide_nothing() -> None:
    choice = _Choice()
    rng = np.random.RandomState(0)
    taken = [choice.run(100, 10_000 if rng.rand() < 0.15 else 60) for _ in range(2000)]
    assert sum(taken) > 1700


@pytest.mark.parametrize("times", [[7], [7, 3], [9, 1, 4], [5, 9, 1, 4, 2, 2, 8, 1, 3], [9] * 9 + [8, 8, 8, 1, 1, 3, 2, 9, 5]])
def test_the_median_of_the_last_runs_counts(times: list[int]) -> None:
    """All threads are taken exactly while the median of at most nine runs is no more than that of one thread."""
    last = times[-9:]
    for limit in range(11):
        choice = _Choice()
        for _ in range(4):
            choice.run(0, 0)  # the first four runs take all threads: overwritten below
        for _ in range(4):
            choice.run(limit, 0)
        of_all = slice(thread_autotune._TIMES + thread_autotune._KEPT, None)
        choice.block[thread_autotune._NOTED + 1], choice.block[of_all] = 0, thread_autotune.new_choice(False)[of_all]
        choice.block[thread_autotune._LAST] = 1
        for t in times:
            choice.block[0] = 8  # no trial is near
            choice.note(True, t)
        low, high = sorted(last)[(len(last) - 1) // 2], sorted(last)[len(last) // 2]
        if limit >= high or limit < low:
            assert choice.takes_threads == (limit >= high)


def test_a_sleeping_worker_is_not_waited_for(team: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Brief runs go alone until a worker is awake, with the same results."""
    monkeypatch.setattr(threads, "_pool", team)
    monkeypatch.setattr(native, "_THREADS_WORK", -1)
    monkeypatch.setattr(native, "_THREADS_NOW", -1)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        call = session.make_callable(gf.reduce_sum(x * 2.0), feed_list=[x])
        data = np.ones(30_000, np.float32)
        call(data)
        (executable,) = session._executables.values()
        assert isinstance(executable, native.NativeExecutable)
        (bound,) = executable.bound.values()
        assert bound.choice is not None and bound.choice[thread_autotune.BRIEF] == 1
        jobs = ctypes.c_int64.from_address(team.address)
        before = jobs.value
        for _ in range(20):
            time.sleep(0.002)  # they fall asleep
            assert call(data) == 60_000
        assert jobs.value - before <= 10  # none, unless the machine is too busy for a worker to fall asleep


def test_whether_a_run_is_brief_is_measured() -> None:
    choice = _Choice()
    for guess, took, brief in ((1, 150_000, 0), (0, 50_000, 1)):
        choice.block[thread_autotune.BRIEF] = guess
        for _ in range(40):
            choice.run(took, took)
        assert choice.block[thread_autotune.BRIEF] == brief


@pytest.mark.parametrize("error", [CompileError("no code"), MemoryError()], ids=["code", "memory"])
def test_a_plan_goes_on_alone_where_threads_cannot_be_had(
    error: Exception, team: threads.Pool, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(threads, "_pool", team)
    monkeypatch.setattr(native, "_THREADS_AFTER", 1_000_000)
    tried = []

    def refuse(*arguments: object) -> str:
        tried.append(1)
        raise error

    monkeypatch.setattr(native, "threaded_entry_text", refuse)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        call = session.make_callable(gf.reduce_sum(gf.exp(x)), feed_list=[x])
        for n in (400_000, 300_000):
            for _ in range(30):
                assert call(np.zeros(n, np.float32)) == n
    assert tried == [1] and caplog.text.count("runs on one thread") == 1


def test_scratch_of_one_thread_has_to_do_where_memory_is_short(team: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_pool", team)
    monkeypatch.setattr(native, "_THREADS_NOW", -1)
    monkeypatch.setattr(native, "_THREADS_WORK", -1)
    sizes: list[int] = []
    real = native.aligned_bytes

    def short(size: int) -> Any:
        sizes.append(size)
        if len(sizes) == 1:
            raise MemoryError
        return real(size)

    with gf.Graph().as_default(), gf.Session() as session:
        a = gf.constant(np.random.RandomState(0).rand(70, 300).astype(np.float32))
        b = gf.Variable(np.ones((300, 200), np.float32))
        session.run(b.initializer)
        monkeypatch.setattr(native, "aligned_bytes", short)
        np.testing.assert_allclose(session.run(gf.matmul(a, b))[:, 0], session.run(gf.reduce_sum(a, 1)), rtol=1e-5)
    assert sizes[0] > sizes[1]


@pytest.mark.parametrize("way", ["builtin", "ctypes"])
def test_threads_are_tried_once_a_plan_has_done_enough(way: str, team: threads.Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Code for threads takes longer to compile than it can save in few runs."""
    monkeypatch.setattr(threads, "_pool", team)
    monkeypatch.setattr(native, "_THREADS_AFTER", 10_000_000)
    if way == "ctypes":
        monkeypatch.setattr(launch_descriptor, "builtins", lambda: None)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        call = session.make_callable(gf.reduce_sum(gf.exp(x)), feed_list=[x])
        found = []
        for n in (400_000, 300_000):  # what both have done counts
            for _ in range(200):
                assert call(np.zeros(n, np.float32)) == n
                (executable,) = session._executables.values()
                assert isinstance(executable, native.NativeExecutable)
                found.append([b.choice is not None for b in executable.bound.values()])
    assert found[0] == [False] and found[199] == [True] and found[-1] == [True, True]
    assert session.stats.plans_compiled <= 1


@needs_builtins
def test_long_runs_go_natively_and_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs that let other threads of Python run hold the session's lock, also where native code calls them."""
    with gf.Graph().as_default(), gf.Session() as session:
        v = gf.Variable(np.zeros(200_000, np.float32))
        session.run(gf.global_variables_initializer())
        step = session.make_callable(gf.assign(v, gf.sqrt(gf.square(v)) + 1.0).op)
        short = session.make_callable(gf.constant(1.0) + 1.0)
        step(), step()
        slow: list[int] = []
        real = PreparedCall._elements
        with monkeypatch.context() as patch:
            patch.setattr(PreparedCall, "_elements", lambda *arguments: slow.append(1) or real(*arguments))
            for _ in range(3):
                step()
        assert not slow

        def work() -> None:
            for _ in range(50):
                step()
                assert short() == 2.0

        workers = [threading.Thread(target=work) for _ in range(4)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        np.testing.assert_array_equal(session.run(v), np.full(200_000, 205, np.float32))
        assert session._store.busy == 0
        assert session._lock.acquire(blocking=False)
        session._lock.release()
