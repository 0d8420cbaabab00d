"""The native way of calling a plan: what it takes, what it leaves to the slow way, and that it keeps nothing."""

from __future__ import annotations

import array
import gc
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_runtime.executor import launch_descriptor
from graphflow_runtime.native_code import dispatch
from graphflow_runtime.session.prepared_call import PreparedCall

needs_builtins = pytest.mark.skipif(dispatch.builtins() is None, reason="this Python takes the ctypes way only")


def doubled(dtype: gf.DType, shape: Any = ()) -> tuple[Callable[..., Any], gf.Session]:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(dtype, shape)
        y = gf.logical_not(x) if dtype is gf.bool else x + x
    session = gf.Session(graph=graph)
    return session.make_callable(y, [x]), session


@pytest.mark.parametrize(
    ("dtype", "values"),
    [
        (gf.float32, [0.1, -0.0, 1e-50, 1e39, float("inf"), 3, -7, True, 2**24 + 1, 2**63, np.float64(0.1), np.float32(0.1)]),
        (gf.float64, [0.1, 3, True, 2**53 + 1, -(2**24) - 1, np.float32(0.1), [[0.5]][0][0]]),
        (gf.int32, [1, -1, 2**30, True, np.int64(5), np.int8(-5), 2.0]),
        (gf.int64, [1, -1, 2**61, True, np.int32(5)]),
        (gf.bool, [True, False, np.True_, 1, 0]),
    ],
)
def test_scalars_come_out_as_numpy_makes_them(dtype: gf.DType, values: list[Any]) -> None:
    call, session = doubled(dtype)
    with session, np.errstate(over="ignore"):
        for _ in range(2):  # the first run binds the native way
            for value in values:
                fed = np.asarray(value).astype(dtype.numpy_dtype)
                expected = ~fed if dtype is gf.bool else fed + fed
                found = call(value)
                assert type(found) is dtype.numpy_dtype.type
                np.testing.assert_array_equal(found, expected)


def test_numbers_that_do_not_fit_are_refused() -> None:
    for dtype, values in ((gf.int32, [2**31, -(2**31) - 1, 2**70]), (gf.int64, [2**63, 2**80])):
        call, session = doubled(dtype)
        with session:
            call(1)
            for value in values:
                with pytest.raises(gf.errors.DTypeError, match="out of the range"):
                    call(value)
            assert call(4) == 8


def test_arrays_that_are_not_what_was_bound() -> None:
    call, session = doubled(gf.float32, [None, 2])
    good = np.arange(6, dtype=np.float32).reshape(3, 2)
    read_only = good.copy()
    read_only.flags.writeable = False
    odd = np.frombuffer(b"\0" + good.tobytes(), np.uint8)[1:].view(np.float32).reshape(3, 2)
    with session:
        call(good)
        for fed in (
            good, good[::-1], good.astype(">f4"), good.astype(np.float64), good.tolist(), np.asfortranarray(good), odd,
            read_only,
            good[:2], good[:0], np.ma.masked_array(good), good.view(np.recarray), memoryview(good),
        ):  # fmt: skip
            np.testing.assert_array_equal(call(fed), 2 * np.asarray(fed, np.float32))
        with pytest.raises(gf.errors.FeedError):
            call(good[:, :1])
        with pytest.raises(gf.errors.FeedTypeError):
            call(object())
        with pytest.raises(gf.errors.FeedError, match="takes 1 values"):
            call()
    flat, session = doubled(gf.float64, [None])
    with session:
        for _ in range(2):
            np.testing.assert_array_equal(flat(array.array("d", [1.0, 2.0])), [2.0, 4.0])


@pytest.mark.parametrize("wrap", [list, tuple, lambda p: {"a": p[0], "b": [p[1], None][:1]}])
def test_structures(wrap: Callable[..., Any]) -> None:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None])
        v = gf.Variable(1.0)
        parts = [x * 2.0, gf.reduce_sum(x), v.assign_add(1.0).op, x * 2.0]
        fetches = wrap([parts[0], parts[1], parts[2], parts[0]])
    with gf.Session(graph=graph) as session:
        session.run(v.initializer)
        fed = np.arange(3, dtype=np.float32)
        results = [session.run(fetches, {x: fed}) for _ in range(4)]
        first = results[0]
        for result in results:
            assert type(result) is type(first)
            assert repr(result) == repr(first)
        if isinstance(first, dict):
            return
        assert first[1] == 3.0 and first[2] is None
        assert first[0] is first[3]
        assert results[1][0] is not results[0][0]  # every run has arrays of its own


def test_nothing_is_kept_by_a_call() -> None:
    """Counts of references of what is fed, of what comes out, and of the singletons the builtin hands out."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [4])
        s = gf.placeholder(gf.float32, [])
        y, z = x * s, gf.reduce_sum(x)
    feeds: list[Any] = [np.ones(4, np.float32), np.float32(2.0)]
    number = 1234.5
    with gf.Session(graph=graph) as session:
        call = session.make_callable([y, z, y.op], [x, s])
        results = call(*feeds)
        assert sys.getrefcount(results[0]) == sys.getrefcount([np.ones(4)][0]) + 1  # the list's, too
        mismatch = np.ones(4, np.float64)
        counted = [*feeds, number, mismatch, np.dtype(np.float32)]
        call(*feeds)
        gc.collect()
        before = [sys.getrefcount(c) for c in counted]
        for _ in range(1000):
            call(*feeds)
            call(feeds[0], number)
            call(mismatch, number)
            with pytest.raises(gf.errors.FeedError):
                call(feeds[0][:2], number)
        del _
        gc.collect()
        after = [sys.getrefcount(c) for c in counted]
        assert max(abs(a - b) for a, b in zip(after, before, strict=True)) < 50  # pytest itself holds a few


def test_failures_come_through_the_native_way() -> None:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [])
        v = gf.Variable(0.0)
        with gf.control_dependencies([gf.check_numerics(x, "not a number")]):
            add = v.assign_add(x)
    with gf.Session(graph=graph) as session:
        session.run(v.initializer)
        call = session.make_callable(add, [x])
        assert [call(np.float32(1.0)), call(np.float32(2.0))] == [1.0, 3.0]
        for _ in range(3):
            with pytest.raises(gf.errors.InvalidArgumentError, match="not a number"):
                call(np.float32(np.nan))
        assert call(np.float32(1.0)) == 4.0


def test_a_closed_session_answers_so() -> None:
    call, session = doubled(gf.float32)
    call(1.0)
    session.close()
    for _ in range(2):
        with pytest.raises(gf.errors.SessionClosedError):
            call(1.0)


def test_variables_that_move() -> None:
    """Loading a variable of another shape, between two native runs, is seen by the next."""
    with gf.Graph().as_default() as graph:
        v = gf.Variable(np.zeros(2, np.float32), validate_shape=False)
        total = gf.reduce_sum(v + 1.0)
    with gf.Session(graph=graph) as session:
        session.run(v.initializer)
        call = session.make_callable(total)
        assert [call(), call()] == [2.0, 2.0]
        v.load(np.ones(5, np.float32), session)
        assert [call(), call()] == [10.0, 10.0]


def test_a_finalizer_may_run_the_same_plan() -> None:
    """Whatever Python runs while results are made must not see, or disturb, a table that is being filled."""
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [3])
        y = x * 2.0
    with gf.Session(graph=graph) as session:
        call = session.make_callable([y, y.op], [x])
        seen = []

        class Cycle:
            def __init__(self) -> None:
                self.me = self

            def __del__(self) -> None:
                seen.append(call(np.full(3, 7.0, np.float32))[0].tolist())

        threshold = gc.get_threshold()
        gc.set_threshold(1)
        try:
            for i in range(300):
                Cycle()
                fed = np.full(3, float(i), np.float32)
                assert call(fed)[0].tolist() == [2.0 * i] * 3
        finally:
            gc.set_threshold(*threshold)
            gc.collect()  # what is left must go while the session is open
        assert seen and all(s == [14.0] * 3 for s in seen)


def test_threads_through_one_callable() -> None:
    with gf.Graph().as_default() as graph:
        x = gf.placeholder(gf.float32, [None])
        v = gf.Variable(0, dtype=gf.int64)
        with gf.control_dependencies([v.assign_add(1)]):
            y = gf.reduce_sum(x * 2.0)
    with gf.Session(graph=graph) as session:
        session.run(v.initializer)
        call = session.make_callable(y, [x])
        wrong = []

        def work(k: int) -> None:
            for i in range(200):
                n = 1 + (i + k) % 3  # sizes alternate: native and slow ways meet
                if call(np.full(n, float(k), np.float32)) != 2.0 * k * n:
                    wrong.append((k, i))

        threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not wrong and session.run(v) == 1600


@needs_builtins
def test_the_callable_is_native() -> None:
    call, session = doubled(gf.float32)
    with session:
        assert type(call) is type(len)
        runs = session.stats.runs
        for _ in range(10):
            call(1.0)
        assert session.stats.runs == runs + 10


_PROGRAM = """
import numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [None, 3]); v = gf.Variable(np.ones((3, 2), np.float32)); s = gf.placeholder(gf.float32, [])
loss = gf.reduce_mean(gf.square(x @ v * s))
train = gf.train.AdamOptimizer(0.1).minimize(loss)
with gf.Session() as session:
    session.run(gf.global_variables_initializer())
    step = session.make_callable([loss, train], [x, s])
    rng = np.random.RandomState(0)
    print([float(step(rng.rand(2 + i % 3, 3).astype(np.float32), 0.5)[0]).hex() for i in range(12)], session.stats.runs)
    print(session.run({"v": v}, {x: [[1.0] * 3]})["v"].tobytes().hex())
    try:
        step(np.zeros((2, 4), np.float32), 1.0)
    except gf.errors.FeedError as e:
        print(e)
"""


def test_ctypes_gives_the_same() -> None:
    outputs = []
    for way in ("builtin", "ctypes"):
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], env={**os.environ, "GRAPHFLOW_DISPATCH": way}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        outputs.append(done.stdout)
    assert outputs[0] == outputs[1] and outputs[0].count("\n") == 3 + outputs[0].count("\n  ")


def test_memory_does_not_grow_with_random_sizes() -> None:
    call, session = doubled(gf.float32, [None, 8])
    rng = np.random.RandomState(0)
    with session:
        for n in rng.randint(0, 200, 1500):
            call(np.zeros((n, 8), np.float32))
        before = _resident()
        for n in rng.randint(0, 200, 10_000):
            call(np.zeros((n, 8), np.float32))
        assert _resident() - before < 2**20


def _resident() -> int:
    gc.collect()
    try:
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        pytest.skip("memory is read from /proc")


@needs_builtins
def test_a_python_without_a_function_is_called_through_ctypes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatch, "external_symbols", lambda texts: ["PyObject_VectorcallDict", "PyObject_NoSuchThing"])
    assert dispatch.make_builtins() is None
    monkeypatch.undo()
    assert dispatch.make_builtins() is not None


def test_forgotten_sizes_keep_their_memory() -> None:
    """A way of calling goes on with the sizes it knows after its session has bound many others."""
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        y = gf.argmax(gf.transpose(gf.check_numerics(gf.tanh(x), "bad")[:, None] * [[1.0, 2.0, 3.0, 4.0]]), 0)
        one, other = session.make_callable(y, [x]), session.make_callable([y], [x])
        data = np.linspace(0, 1, 300).astype(np.float32)
        expected, *_ = [one(data) for _ in range(3)]
        (executable,) = session._executables.values()
        size = executable.last.control.keeps[0].size  # type: ignore[attr-defined]
        for n in range(1, 60):
            other(data[:n])
        gc.collect()
        mine = [np.zeros(size, np.uint8) for _ in range(300)]
        np.testing.assert_array_equal(one(data), expected)
        assert not any(m.any() for m in mine)
        data[5] = np.nan
        with pytest.raises(gf.errors.InvalidArgumentError, match="bad"):
            one(data)


_FIRST_USE = """
import threading, numpy as np, graphflow as gf
start, wrong = threading.Barrier(4), []
def work(k):
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [3])
        y = x * float(k)
        start.wait()
        for _ in range(2000):
            if session.run(y, {x: np.ones(3, np.float32)})[0] != k:
                wrong.append(k)
workers = [threading.Thread(target=work, args=(k,)) for k in range(4)]
for w in workers: w.start()
for w in workers: w.join()
print(wrong)
"""


def test_threads_that_begin_together_share_the_builtins() -> None:
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", _FIRST_USE], capture_output=True, text=True, timeout=120)
        assert done.stdout.strip() == "[]", (done.returncode, done.stderr[-500:])


def test_a_value_is_loaded_before_others_read_it() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        v = gf.Variable(np.zeros(20_000, np.float32))
        session.run(v.initializer)
        both = session.make_callable([gf.reduce_max(v), gf.reduce_min(v)])
        stop = threading.Event()

        def load() -> None:
            k = 0
            while not stop.is_set():
                k += 1
                v.load(np.full(20_000, k, np.float32), session)

        worker = threading.Thread(target=load)
        interval = sys.getswitchinterval()
        sys.setswitchinterval(1e-5)
        try:
            worker.start()
            torn = sum(a != b for a, b in (both() for _ in range(3000)))
        finally:
            stop.set()
            worker.join()
            sys.setswitchinterval(interval)
        assert torn == 0


def test_a_variable_that_moves_at_the_last_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    """A signal handler or a finalizer may run between the look at the variables and the native call."""
    with gf.Graph().as_default(), gf.Session() as session:
        v = gf.Variable(np.ones(300_000, np.float32), validate_shape=False)
        session.run(v.initializer)
        total = session.make_callable(gf.reduce_sum(gf.tanh(v) * 0.0 + v))
        assert total() == 300_000
        run = launch_descriptor.LaunchDescriptor.run
        loads = [np.full(500_000, 2.0, np.float32), np.full(300_000, 3.0, np.float32)]

        def interrupted(self: launch_descriptor.LaunchDescriptor, values: Any) -> Any:
            if loads:
                v.load(loads.pop(), session)
            return run(self, values)

        monkeypatch.setattr(launch_descriptor.LaunchDescriptor, "run", interrupted)
        for _ in range(2):  # in Python, where it can be interrupted
            session._store.version += 1
            assert total() in (900_000, 1_000_000)
        assert total() == 1_000_000


def test_many_arrays_on_a_small_stack() -> None:
    code = """
import threading, graphflow as gf
x = [gf.placeholder(gf.float32, []) for _ in range(1500)]
y = gf.add_n(x)
with gf.Session() as session:
    threading.stack_size(256 * 1024)
    found = []
    t = threading.Thread(target=lambda: found.append(session.run(y, dict.fromkeys(x, 1.0))))
    session.run(y, dict.fromkeys(x, 1.0))
    t.start(); t.join()
    print(found)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert "1500" in done.stdout, (done.returncode, done.stderr[-500:])


@pytest.mark.parametrize("way", ["builtin", "ctypes"])
def test_arrays_that_may_not_be_written(way: str) -> None:
    code = """
import numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [4])
locked = np.ones(4, np.float32); locked.flags.writeable = False
with gf.Session() as session:
    for a in (locked, np.frombuffer(np.ones(4, np.float32).tobytes(), np.float32), np.broadcast_to(np.float32(1), 4)):
        for _ in range(3):
            print(session.run(gf.reduce_sum(x), {x: a}))
"""
    env = {**os.environ, "GRAPHFLOW_DISPATCH": way}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["4.0"] * 9, done.stderr[-500:]


def test_mistakes_in_what_is_fed_are_named_every_time() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [])
        y = x * 2.0
        assert session.run(y, {x: 1.0}) == 2
        for wrong in ([x], (x,), {x}):
            with pytest.raises(TypeError, match="feed_dict"):
                session.run(y, wrong)
        with pytest.raises(ValueError, match="more than once"):
            session.make_callable(y, [x, x])
        for large in (2**64, 10**25, -(10**25)):
            assert session.run(y, {x: large}) == np.float32(large) * 2
        n = gf.placeholder(gf.int32, [2])
        assert session.run(n + 1, {n: np.array([1, 2], object)}).tolist() == [2, 3]
        with pytest.raises((TypeError, ValueError), match="range of int32"):
            session.run(n + 1, {n: [2**70, 1]})


def test_no_memory_for_the_results_is_no_second_run(monkeypatch: pytest.MonkeyPatch) -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        v = gf.Variable(0.0)
        session.run(v.initializer)
        step = session.make_callable([v.assign_add(1.0), gf.zeros([3])])
        step()
        run = launch_descriptor.LaunchDescriptor.run

        def full(self: launch_descriptor.LaunchDescriptor, values: Any) -> Any:
            run(self, values)
            raise MemoryError

        monkeypatch.setattr(launch_descriptor.LaunchDescriptor, "run", full)
        session._store.version += 1  # so that the slow way is taken
        with pytest.raises(gf.errors.ResourceExhaustedError):
            step()
        monkeypatch.undo()
        assert session.run(v) == 2


@needs_builtins
def test_feeds_in_another_order_are_native_too(monkeypatch: pytest.MonkeyPatch) -> None:
    with gf.Graph().as_default() as graph:
        x, y, z = (gf.placeholder(gf.float32, [None], name=n) for n in "xyz")
        fetches = {"difference": x - y, "z": z * 2.0}
    a, b, c = (np.full(2, v, np.float32) for v in (5, 3, 1))
    with gf.Session(graph=graph) as session:
        call = session.make_callable([fetches["difference"], fetches["z"]], [z, y, x])
        feed = {y: b, z: c, x: a}
        for native in (False, True):
            if native:
                monkeypatch.setattr(PreparedCall, "_elements", None)  # nobody comes here any more
            for found in (call(c, b, a), list(session.run(fetches, feed).values())):
                np.testing.assert_array_equal(found, [[2, 2], [2, 2]])
        monkeypatch.undo()
        with pytest.raises(gf.errors.FeedError, match=r"takes 3 values, .* got 2"):
            call(c, b)
        np.testing.assert_array_equal(call([1], [3], [5]), [[2], [2]])  # other sizes, values to convert
        with pytest.raises(TypeError, match=r"^run\(\) got an unexpected keyword argument 'z'"):
            call(a, b, z=c)
