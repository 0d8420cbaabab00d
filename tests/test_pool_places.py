"""Where workers wake up: masks of processors that are taken away from a thread, and given back."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
from collections.abc import Iterator

import numpy as np
import pytest

from graphflow_compiler.codegen.jit import compile_module
from graphflow_compiler.codegen.pool import THREAD_BYTES, is_supported
from graphflow_compiler.codegen.pool_places import LENGTH_AT, MASK_AT, STATE_AT, TID_AT, places_text

pytestmark = pytest.mark.skipif(not is_supported(), reason="plans run on one thread here")


class Place:
    """A thread's place, and the two functions on it."""

    def __init__(self) -> None:
        text = places_text(platform.machine()).replace("define internal", "define")
        self.code = compile_module(["declare i64 @syscall(i64, ...)\n" + text])
        self.block = np.zeros(THREAD_BYTES, np.uint8)

    def own_processors(self) -> None:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.code.address("own_processors"))(self.block.ctypes.data)

    def send_away(self, processor: int) -> None:
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)(self.code.address("send_away"))
        function(self.block.ctypes.data, processor)

    def number(self, at: int) -> int:
        return int(self.block[at : at + 4].view(np.int32)[0])

    def set_state(self, state: int) -> None:
        self.block[STATE_AT : STATE_AT + 4].view(np.int32)[0] = state


@pytest.fixture
def place() -> Iterator[Place]:
    before = os.sched_getaffinity(0)
    yield Place()
    os.sched_setaffinity(0, before)


def test_a_thread_is_kept_off_a_processor_until_it_runs(place: Place) -> None:
    whole = os.sched_getaffinity(0)
    if len(whole) < 2:
        pytest.skip("there is one processor")
    place.own_processors()
    assert place.number(TID_AT) > 0 and place.number(LENGTH_AT) > 0 and place.number(STATE_AT) == 0
    for processor in sorted(whole)[:3]:
        place.send_away(processor)
        assert os.sched_getaffinity(0) == whole - {processor} and place.number(STATE_AT) == 1
    place.own_processors()
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 0


def test_one_processor_is_left(place: Place) -> None:
    only = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {only})
    place.own_processors()
    place.send_away(only)
    assert os.sched_getaffinity(0) == {only} and place.number(STATE_AT) == 0


@pytest.mark.parametrize("processor", [-1, 1023, 1024, 1 << 30])
def test_processors_that_are_not_there(place: Place, processor: int) -> None:
    whole = os.sched_getaffinity(0)
    place.send_away(processor)  # nothing is known of the thread yet
    place.own_processors()
    place.send_away(processor)
    assert os.sched_getaffinity(0) == whole
    place.own_processors()
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 0


def test_a_mask_that_could_not_be_read(place: Place) -> None:
    whole = os.sched_getaffinity(0)
    place.own_processors()
    place.block[LENGTH_AT : LENGTH_AT + 8].view(np.int64)[0] = -1
    place.send_away(min(whole))
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 0


@pytest.mark.parametrize("state", [2, 3])
def test_what_others_are_at_is_left_to_them(place: Place, state: int) -> None:
    whole = os.sched_getaffinity(0)
    place.own_processors()
    place.set_state(state)
    mask = place.block[MASK_AT:].copy()
    place.send_away(min(whole))
    place.own_processors()
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == state
    np.testing.assert_array_equal(place.block[MASK_AT:], mask)


RUNS = """
import os, time, numpy as np, graphflow as gf
from graphflow_runtime import native, threads
native._THREADS_NOW = native._THREADS_WORK = -1
whole = os.sched_getaffinity(0)
x = gf.placeholder(gf.float32, [None])
with gf.Session() as session:
    f = session.make_callable(gf.reduce_sum(gf.tanh(x) * 0.0 + x), [x])
    data = np.ones(400_000, np.float32)
    for _ in range(30):
        assert f(data) == data.size
        time.sleep(0.001)  # the workers sleep
others = [int(t) for t in os.listdir("/proc/self/task") if int(t) != os.getpid()]
masks = [os.sched_getaffinity(t) for t in others]
print(threads.has_pool(), all(m <= whole for m in masks), os.sched_getaffinity(0) == whole)
time.sleep(0.05)
print(sum(os.sched_getaffinity(t) == whole for t in others) >= 2)
"""


def test_workers_have_all_processors_once_they_have_run() -> None:
    done = subprocess.run(
        [sys.executable, "-c", RUNS], env={**os.environ, "GRAPHFLOW_THREADS": "3"}, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True"] * 4
