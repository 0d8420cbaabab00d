"""The making of the thread pool: signals, finalizers and other threads that come while it is under way; forks."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from graphflow_compiler.codegen.pool import is_supported

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
from graphflow_runtime import native, threads
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
from graphflow_compiler.codegen.pool import pool_code
from graphflow_runtime import threads
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
for _ in range(60):
    before = tasks()
    threads._pool = None
    threads._making.clear()
    try:
        armed = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 8e-4))
        threads.pool()
        armed = False
    except KeyboardInterrupt:
        cut += threads._pool is None and tasks() > before
    assert threads.pool().size == 4
    assert tasks() - before in (0, 3), (before, tasks())
print(cut > 3)
"""


def test_an_interrupt_leaves_no_workers_behind() -> None:
    """Those that run already are the pool's that is made afterwards."""
    assert output(INTERRUPTED, count=4) == "True\n"


TWICE = """
import gc, numpy as np, graphflow as gf
from graphflow_runtime import native
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
