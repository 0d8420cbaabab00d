"""numpy's BLAS beside our threads: one thread in our calls, as many as the user has set in theirs."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_runtime.executor import numpy_blas, reference
from graphflow_runtime.executor.numpy_blas import BlasThreads, one_blas_thread

found = numpy_blas._find()


@pytest.fixture
def blas() -> Iterator[BlasThreads]:
    if found is None:
        pytest.skip("numpy's BLAS has no functions for its threads")
    before = found.get()
    found.set(2)
    yield found
    found.set(before)


def test_calls_inside_calls_and_side_by_side(blas: BlasThreads) -> None:
    inside = threading.Event()
    over = threading.Event()

    def other() -> None:
        with one_blas_thread():
            inside.set()
            over.wait(20)

    with one_blas_thread():
        assert blas.get() == 1
        with one_blas_thread():
            assert blas.get() == 1
        assert blas.get() == 1
        thread = threading.Thread(target=other)
        thread.start()
        assert inside.wait(20)
    assert blas.get() == 1  # the other one is still at it
    over.set()
    thread.join()
    assert blas.get() == 2


def test_put_back_after_a_failure_but_not_over_what_the_user_sets_meanwhile(blas: BlasThreads) -> None:
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert blas.get() == 2
    with one_blas_thread():
        blas.set(3)
    assert blas.get() == 3


SIGNALS = """
import random, signal, sys
from graphflow_runtime.executor import numpy_blas
from graphflow_runtime.executor.numpy_blas import one_blas_thread
blas = numpy_blas._find()
blas.set(2)
came = 0
armed = False
def handler(number, frame):
    global armed, came
    if not armed:
        return
    armed = False
    came += 1
    if sys.argv[1] == "raises":
        raise KeyboardInterrupt
    with one_blas_thread():
        pass
signal.signal(signal.SIGALRM, handler)
random.seed(1)
for _ in range(20000):
    armed = True
    try:
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-6, 4e-5))
        with one_blas_thread():
            pass
        for _ in range(1000):
            pass
        armed = False
    except KeyboardInterrupt:
        pass
    assert blas.get() == 2, came
    assert not numpy_blas._limit.calls
print(came > 1000)
"""


@pytest.mark.skipif(found is None, reason="numpy's BLAS has no functions for its threads")
@pytest.mark.parametrize("handler", ["raises", "calls"])
def test_put_back_whenever_a_signal_comes(handler: str) -> None:
    done = subprocess.run([sys.executable, "-c", SIGNALS, handler], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "True\n"


@pytest.mark.parametrize(("has_pool", "expected"), [(True, 1), (False, 2)])
def test_only_our_own_products_beside_our_own_pool(
    blas: BlasThreads, monkeypatch: pytest.MonkeyPatch, has_pool: bool, expected: int
) -> None:
    ours: list[int] = []
    theirs: list[int] = []
    multiply = np.matmul

    def product(a: Any, b: Any) -> Any:
        ours.append(blas.get())
        return multiply(a, b)

    def users(x: Any) -> Any:
        theirs.append(blas.get())
        return multiply(x, x)

    monkeypatch.setattr(np, "matmul", product)
    monkeypatch.setattr(reference, "has_pool", lambda: has_pool)
    graph = gf.Graph()
    with graph.as_default():
        x = gf.placeholder(gf.float32, [3, 3])
        y = gf.py_func(users, [gf.matmul(x, x)], gf.float32)
        with gf.Session(graph=graph) as session:
            session.run(y, {x: np.eye(3, dtype=np.float32)})
    assert ours == [expected]
    assert theirs == [2]
    assert blas.get() == 2
