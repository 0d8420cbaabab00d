"""Runs that let other threads run meanwhile, or during which Python does: nothing of another call shows."""

from __future__ import annotations

import gc
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_runtime.executor import native
from graphflow_runtime.native_code import dispatch
from graphflow_runtime.session.prepared_call import PreparedCall

needs_builtins = pytest.mark.skipif(dispatch.builtins() is None, reason="this Python takes the ctypes way only")


def test_numbers_are_those_of_the_call() -> None:
    """A long run reads what it was fed while other threads feed the same plan."""
    with gf.Graph().as_default(), gf.Session() as session:
        x, k = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.float32, [])
        call = session.make_callable(gf.tanh(x) * 0.0 + k, [x, k])
        data = np.zeros(400_000, np.float32)
        call(data, 1.0), call(data, 1.0)
        wrong: list[Any] = []
        end = time.monotonic() + 2.0

        def work(value: float) -> None:
            while time.monotonic() < end and not wrong:
                found = call(data, value)
                if found.min() != value or found.max() != value:
                    wrong.append((value, found.min(), found.max()))

        workers = [threading.Thread(target=work, args=(v,)) for v in (1.0, 2.0)]
        for w in workers:
            w.start()
        for w in workers:
            w.join()
        assert not wrong


@pytest.mark.parametrize("what", ["load", "close"])
def test_garbage_collected_while_the_lock_is_taken(what: str) -> None:
    """On Python 3.10 and 3.11 taking it makes a tuple, which may set off a collection, and that a finalizer."""
    size = 1 << 18
    with gf.Graph().as_default() as graph:
        v = gf.Variable(np.zeros(size, np.float32), validate_shape=False)
        total = gf.reduce_sum(gf.tanh(v) * 0.0 + v)
    session = gf.Session(graph=graph)
    session.run(v.initializer)
    call = session.make_callable(total)
    call(), call()

    class Cycle:
        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            if what == "close":
                session.close()
            else:
                v.load(np.full(2 * size, 1.0, np.float32), session)

    outcomes = []
    gc.collect()
    gc.disable()
    threshold = gc.get_threshold()
    gc.set_threshold(1)
    try:
        Cycle()
        kept = [(i,) for i in range(20_000)]  # none of the tuples that Python keeps for reuse are left
        gc.enable()
        for _ in range(3):
            try:
                outcomes.append(float(call()))
            except gf.errors.SessionClosedError:
                outcomes.append(-1.0)
    finally:
        gc.set_threshold(*threshold)
        gc.enable()
        del kept
    if what == "close":
        assert outcomes[1:] == [-1.0, -1.0] and outcomes[0] in (0.0, -1.0)
    else:
        assert outcomes[1:] == [2.0 * size, 2.0 * size] and outcomes[0] in (0.0, 2.0 * size)
    session.close()


EVICTED = """
import gc, sys, weakref, numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [None])
session = gf.Session()
call = session.make_callable(gf.reduce_sum(gf.tanh(x) * 0.0 + x), [x])
data = np.ones(1 << 18, np.float32)
call(data), call(data)
(executable,) = session._executables.values()
control = weakref.ref(executable.last.control)
alive = []
overwritten = []

def other_sizes():
    for n in range(100, 140):
        assert call(np.full(n, 2.0, np.float32)) == 2.0 * n
    gc.collect()
    alive.append(control() is not None)
    for n in range(1, 80):
        overwritten.extend(np.full(n, 0x4141414141, np.int64) for _ in range(40))

class Cycle:
    def __init__(self):
        self.me = self
    def __del__(self):
        other_sizes()

class Buffer:
    def __buffer__(self, flags):
        other_sizes()
        return memoryview(data)

if sys.argv[1] == "finalizer":
    gc.collect()
    gc.disable()
    gc.set_threshold(1)
    Cycle()
    kept = [(i,) for i in range(20_000)]  # none of the tuples that Python keeps for reuse are left
    gc.enable()
    value = call(data)
    gc.set_threshold(700)
else:
    value = call(Buffer())
gc.collect()
# a finalizer may have run before the call: Python 3.12 and later collect garbage between bytecodes only
print(value == data.size, sys.argv[1] == "finalizer" or alive == [True], control() is None or not alive)
"""


@pytest.mark.parametrize("what", ["finalizer", "buffer"])
def test_what_runs_is_kept_though_its_sizes_are_forgotten_meanwhile(what: str) -> None:
    """By Python code that runs between the look at what to call and the call."""
    if what == "buffer" and sys.version_info < (3, 12):
        pytest.skip("classes of this Python export no buffers")
    done = subprocess.run([sys.executable, "-c", EVICTED, what], capture_output=True, text=True, timeout=300)
    assert done.stdout == "True True True\n", done.stderr or done.returncode


NO_MEMORY = """
import _testcapi, numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [200_000])
s = gf.Session()
a = np.ones(200_000, np.float32)
for fetches in ([gf.reduce_sum(x), gf.reduce_max(x)], gf.reduce_sum(x), (gf.reduce_sum(x),)):
    f = s.make_callable(fetches, [x])
    f(a), f(a), f(a)
    for k in range(30):
        runs = s._store.runs
        _testcapi.set_nomemory(k, k + 1)
        try:
            f(a)
            seen = None
        except BaseException as e:
            seen = e
        finally:
            _testcapi.remove_mem_hooks()
        if seen is not None:
            print(type(seen).__name__, s._store.runs - runs <= 1)
        assert s._store.busy == 0 and s._lock.acquire(blocking=False)
        s._lock.release()
"""


FAILING_WITHOUT_MEMORY = """
import _testcapi, numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [8])
a = gf.check_numerics(x, "first")
m = gf.matmul(gf.reshape(a, [2, 4]), gf.reshape(a, [4, 2]))
s = gf.Session()
f = s.make_callable(gf.reduce_sum(gf.check_numerics(gf.log(m), "second")), [x])
good, bad = np.ones(8, np.float32), np.array([1, -2, 1, -2, 1, 1, 1, 1], np.float32)
f(good), f(good), f(good)
for k in range(3):  # later ones are for Python to get over, and not all versions do
    _testcapi.set_nomemory(k, k + 1)
    try:
        f(bad)
    except BaseException as e:
        seen = e
    finally:
        _testcapi.remove_mem_hooks()
    print(type(seen).__name__)
"""

FIRST_WITHOUT_MEMORY = """
import _testcapi, graphflow as gf
from graphflow_runtime.executor.launch_descriptor import LaunchDescriptor
real = LaunchDescriptor.run
for k in range(12):
    with gf.Graph().as_default(), gf.Session() as s:
        v = gf.Variable(3.0)
        x = gf.placeholder(gf.float32, [])
        f = s.make_callable([gf.assign(v, x * 2.0).op, x * 3.0], [x])
        def run(self, values):
            _testcapi.set_nomemory(k, k + 1)
            try:
                return real(self, values)
            finally:
                _testcapi.remove_mem_hooks()
        LaunchDescriptor.run = run
        try:
            f(1.0)
            seen = "fine"
        except BaseException as e:
            seen = f"{type(e).__name__}: {e}"
        finally:
            LaunchDescriptor.run = real
        print(s._store.runs, s._store.is_initialized(v.op.name), "the run is done" in seen or seen == "fine")
"""


@needs_builtins
def test_a_failure_without_memory_to_tell_it() -> None:
    pytest.importorskip("_testcapi")
    done = subprocess.run([sys.executable, "-c", FAILING_WITHOUT_MEMORY], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split()
    assert len(seen) == 3 and "MemoryError" in seen and set(seen) <= {"NumericError", "MemoryError"}


@needs_builtins
def test_a_first_run_without_memory_for_its_results_is_done() -> None:
    """Then its variables have their values, and whoever asks is told so."""
    pytest.importorskip("_testcapi")
    done = subprocess.run([sys.executable, "-c", FIRST_WITHOUT_MEMORY], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 12 and set(lines) <= {"0 False False", "1 True True"}, lines
    assert "1 True True" in lines


@needs_builtins
def test_each_allocation_that_fails_is_told_as_such() -> None:
    pytest.importorskip("_testcapi")
    done = subprocess.run([sys.executable, "-c", NO_MEMORY], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines and set(lines) <= {"OutOfMemoryError True", "MemoryError True"}, done.stdout
    assert "OutOfMemoryError True" in lines


@needs_builtins
def test_a_failure_is_told_though_its_plan_was_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_THREADS", "2")
    monkeypatch.setattr(native, "_THREADS_AFTER", 200_000)
    real = PreparedCall._failed

    def late(self: PreparedCall, *arguments: Any) -> None:
        other = threading.Thread(target=lambda: call(good))
        other.start()
        other.join()
        gc.collect()
        real(self, *arguments)

    monkeypatch.setattr(PreparedCall, "_failed", late)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        call: Callable[..., Any] = session.make_callable(gf.reduce_sum(gf.check_numerics(x, "bad input")), [x])
        good = np.zeros(400_000, np.float32)
        bad = good.copy()
        bad[5] = np.nan
        call(good)
        with pytest.raises(gf.errors.InvalidArgumentError, match="bad input"):
            call(bad)
