"""The making of the thread pool: signals, finalizers and other threads that come while it is under way; forks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graphflow_runtime.native_code import dispatch
from graphflow_runtime.native_code.pool import is_supported

pytestmark = pytest.mark.skipif(not is_supported(), reason="plans run on one thread here")


def output(program: str, *arguments: str, count: int = 3) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program, *arguments],
        env={**os.environ, "GRAPHFLOW_THREADS": str(count)}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


INSIDE = """
import ctypes, faulthandler, os, signal, sys, threading, numpy as np, graphflow as gf
from graphflow_runtime.executor import native, threads
faulthandler.dump_traceback_later(60, exit=True)
native._THREADS_NOW, native._THREADS_AFTER = 100_000, 20_000_000
x = gf.placeholder(gf.float32, [None])
y = gf.reduce_sum(gf.tanh(x) * 0.0 + x)
data = np.ones(4_000_000, np.float32)
outer, inner = gf.Session(), gf.Session()
seen = []
def run_inner(*_):
    seen.append(float(inner.run(y, {x: data})))
def elsewhere():
    other = threading.Thread(target=run_inner)
    other.start()
    other.join()
signal.signal(signal.SIGUSR1, run_inner)
real = threads.pool_code
def compiled():
    elsewhere() if sys.argv[1] == "thread" else os.kill(os.getpid(), signal.SIGUSR1)
    return real()
threads.pool_code = compiled
print(float(outer.run(y, {x: data})) == data.size, seen == [data.size], threads.has_pool())
(executable,) = inner._executables.values()
print(executable.last.choice is not None)
for _ in range(40):
    run_inner()
print(executable.last.choice is not None, set(seen) == {data.size})
"""


@pytest.mark.parametrize("who", ["handler", "thread"])
def test_a_run_while_the_pool_is_made(who: str) -> None:
    """It goes on one thread, and later ones have the threads."""
    assert output(INSIDE, who).split() == ["True", "True", "True", "False", "True", "True"]


INTERRUPTED = """
import os, random, signal, sys
from graphflow_runtime.native_code import dispatch
from graphflow_runtime.native_code.pool import pool_code
from graphflow_runtime.executor import threads
armed = False
def handler(number, frame):
    global armed
    if armed:
        armed = False
        raise KeyboardInterrupt
signal.signal(signal.SIGALRM, handler)
pool_code()
random.seed(1)
tasks = lambda: len(os.listdir("/proc/self/task"))
cut = 0
for _ in range(1000):  # until some have come in time
    before = tasks()
    threads._pool = None
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 8e-4))
        threads.pool()
        armed = False
    except KeyboardInterrupt:
        cut += threads._pool is None and tasks() > before
    assert threads.pool().size == 4
    assert tasks() - before in (0, 3), (before, tasks())
    assert not threads.is_being_made()
    if cut > 3:
        break
print(cut > 3)
"""


def test_an_interrupt_leaves_no_workers_behind() -> None:
    """Those that run already are the pool's that is made afterwards."""
    assert output(INTERRUPTED, count=4) == "True\n"


TWICE = """
import gc, numpy as np, graphflow as gf
from graphflow_runtime.executor import native
native._THREADS_NOW = 100_000
x = gf.placeholder(gf.float32, [None])
y = gf.reduce_sum(gf.tanh(x) * 0.0 + x)
data = np.ones(2_000_000, np.float32)
session = gf.Session()
other = session.make_callable([y], [x])
real, inside = native.link, []
def link(*arguments):
    if len(arguments) == 2 and not inside:  # the code for threads
        inside.append(1)
        assert other(data) == [data.size]
    return real(*arguments)
native.link = link
print(float(session.run(y, {x: data})) == data.size, len(inside))
gc.collect()
gf.Session().run(gf.exp(x), {x: data})
print([float(other(data)[0]) for _ in range(20)] == [data.size] * 20)
"""


def test_code_for_threads_that_is_compiled_twice() -> None:
    """By a run and by another one that a signal's handler begins meanwhile."""
    assert output(TWICE).split() == ["True", "1", "True"]


FORKED = """
import ctypes, os, numpy as np, graphflow as gf
from graphflow_runtime.native_code import thread_autotune
from graphflow_runtime.executor import native, threads
native._THREADS_NOW = 100_000
native.new_choice = lambda **_: thread_autotune.new_choice(brief=False, always=True)
x = gf.placeholder(gf.float32, [None, 300])
w = gf.Variable(np.ones((300, 300), np.float32))
y = gf.reduce_sum(gf.tanh(x @ w))
session = gf.Session()
session.run(w.initializer)
call, other = session.make_callable(y, [x]), session.make_callable([y], [x])
big, small = np.ones((4000, 300), np.float32), np.ones((3000, 300), np.float32)
runs = [lambda: call(big), lambda: call(small), lambda: other(big)[0], lambda: session.run(y, {x: big})]
expected = [run() for run in runs]

def jobs():
    return ctypes.c_int64.from_address(threads.pool().address).value

def on_threads():
    for run, value in zip(runs, expected):
        before = jobs()
        if [run() for _ in range(5)] != [value] * 5 or jobs() - before != 5:
            return False
    return True

def forked(children):
    pid = os.fork()
    if pid == 0:
        right = [run() for run in runs] == expected and on_threads()
        fresh = gf.Session()
        fresh.run(w.initializer)
        right = right and fresh.run(y, {x: big}) == expected[0]
        os._exit(0 if right and (not children or forked(children - 1) == 0) else 1)
    return os.waitpid(pid, 0)[1]

print(on_threads(), forked(1), on_threads())
"""


def test_a_forked_process_has_a_pool_of_its_own() -> None:
    """Which the sessions of its parent use, too, for sizes that they have been bound to before."""
    assert output(FORKED).split() == ["True", "0", "True"]


FORKED_WHILE_IT_LOCKS = """
import os, numpy as np, graphflow as gf
x = gf.placeholder(gf.float32, [None])
session = gf.Session()
call = session.make_callable(gf.reduce_sum(gf.tanh(x) * 0.0 + x), [x])
data = np.ones(400_000, np.float32)
call(data), call(data)
lock, store = session._lock, session._store
pids = []
def acquire(blocking):
    found = lock.acquire(blocking)
    if not pids:
        pids.append(os.fork())
    return found
store._numbers[3] = id(acquire)
good = [float(call(data)) for _ in range(3)] == [data.size] * 3
good = good and not lock._is_owned() and store.busy == 0 and session._lock.acquire(False)
if pids == [0]:
    os._exit(0 if good and session._lock is not lock else 1)
print(good, os.waitpid(pids[0], 0)[1])
"""


@pytest.mark.skipif(dispatch.builtins() is None, reason="this Python takes the ctypes way only")
def test_a_fork_while_a_native_call_takes_the_lock() -> None:
    """By a finalizer: on Python 3.10 and 3.11 taking it may collect garbage."""
    assert output(FORKED_WHILE_IT_LOCKS).split() == ["True", "0"]
