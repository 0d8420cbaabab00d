"""Where workers wake up: masks of processors that are taken away from a thread, and given back."""

from __future__ import annotations

import ctypes
import os
import platform
import subprocess
import sys
import threading
from collections.abc import Iterator

import numpy as np
import pytest

from graphflow_compiler.codegen.jit.engine import compile_module
from graphflow_runtime.native_code.pool import THREAD_BYTES, is_supported
from graphflow_runtime.native_code.thread_affinity import OLD_AT, STATE_AT, TID_AT, places_text

pytestmark = pytest.mark.skipif(not is_supported(), reason="plans run on one thread here")


class Place:
    """A thread's place, here that of the test's own thread, and the functions on it."""

    def __init__(self) -> None:
        text = places_text(platform.machine()).replace("define internal", "define")
        self.code = compile_module(["declare i64 @syscall(i64, ...)\n" + text])
        self.block = np.zeros(THREAD_BYTES, np.uint8)

    def call(self, name: str) -> None:
        ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self.code.address(name))(self.block.ctypes.data)

    def send_away(self, processor: int) -> None:
        function = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int32)(self.code.address("send_away"))
        function(self.block.ctypes.data, processor)

    def number(self, at: int) -> int:
        return int(self.block[at : at + 4].view(np.int32)[0])

    def set_number(self, at: int, value: int) -> None:
        self.block[at : at + 4].view(np.int32)[0] = value


@pytest.fixture
def place() -> Iterator[Place]:
    before = os.sched_getaffinity(0)
    made = Place()
    made.call("arrive")
    yield made
    os.sched_setaffinity(0, before)


several = pytest.mark.skipif(
    not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2, reason="needs two processors"
)


@several
def test_a_thread_is_kept_off_a_processor_until_it_runs(place: Place) -> None:
    whole = os.sched_getaffinity(0)
    assert place.number(TID_AT) == threading.get_native_id() and place.number(STATE_AT) == 0
    place.send_away(min(whole))  # it does not sleep
    assert os.sched_getaffinity(0) == whole
    for processor in sorted(whole)[:3]:
        place.call("go_to_sleep")
        place.send_away(processor)
        assert os.sched_getaffinity(0) == whole - {processor} and place.number(STATE_AT) == 1
        place.send_away(min(whole - {processor}))  # not twice
        assert os.sched_getaffinity(0) == whole - {processor} and place.number(STATE_AT) == 1
        place.call("own_processors")
        assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 0


@several
def test_what_somebody_else_sets_stays(place: Place) -> None:
    whole = os.sched_getaffinity(0)
    first, second = sorted(whole)[:2]
    os.sched_setaffinity(0, {first})  # before
    place.call("go_to_sleep")
    place.send_away(second)
    place.call("own_processors")
    assert os.sched_getaffinity(0) == {first}
    os.sched_setaffinity(0, whole)
    place.call("go_to_sleep")
    place.send_away(second)
    os.sched_setaffinity(0, {second})  # and meanwhile
    place.call("own_processors")
    assert os.sched_getaffinity(0) == {second} and place.number(STATE_AT) == 0


def test_one_processor_is_left(place: Place) -> None:
    only = min(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {only})
    place.call("go_to_sleep")
    place.send_away(only)
    assert os.sched_getaffinity(0) == {only} and place.number(STATE_AT) == 0


@pytest.mark.parametrize("processor", [-1, 1023, 1024, 1 << 30])
def test_processors_that_are_not_there(place: Place, processor: int) -> None:
    whole = os.sched_getaffinity(0)
    place.call("go_to_sleep")
    place.send_away(processor)
    assert os.sched_getaffinity(0) == whole
    place.call("own_processors")
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 0


@pytest.mark.parametrize("tid", [0, (1 << 31) - 1])
def test_a_thread_that_is_not_there(place: Place, tid: int) -> None:
    whole = os.sched_getaffinity(0)
    place.call("go_to_sleep")
    place.set_number(TID_AT, tid)
    place.send_away(min(whole))
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 0


def test_what_another_is_at_is_left_to_it(place: Place) -> None:
    whole = os.sched_getaffinity(0)
    place.call("go_to_sleep")
    place.set_number(STATE_AT, 2)
    place.send_away(min(whole))
    place.call("own_processors")
    assert os.sched_getaffinity(0) == whole and place.number(STATE_AT) == 2
    assert not place.block[OLD_AT:].any()


RUNS = """
import os, sys, time, numpy as np, graphflow as gf
from graphflow_runtime.executor import native, threads
native._THREADS_NOW = native._THREADS_WORK = -1
whole = os.sched_getaffinity(0)
pinned = set() if sys.argv[1] == "free" else {min(whole)}
x = gf.placeholder(gf.float32, [None])
before = set(os.listdir("/proc/self/task"))
with gf.Session() as session:
    f = session.make_callable(gf.reduce_sum(gf.tanh(x) * 0.0 + x), [x])
    data = np.ones(400_000, np.float32)
    for i in range(40):
        assert f(data) == data.size
        if i == 10 and pinned:
            for t in os.listdir("/proc/self/task"):
                os.sched_setaffinity(int(t), pinned)
        time.sleep(0.001)  # the workers sleep
workers = [int(t) for t in set(os.listdir("/proc/self/task")) - before]
end = time.monotonic() + 10
while any(os.sched_getaffinity(t) != (pinned or whole) for t in workers) and time.monotonic() < end:
    time.sleep(0.01)
print(threads.has_pool(), len(workers) >= 2, [os.sched_getaffinity(t) == (pinned or whole) for t in workers].count(False))
"""


@pytest.mark.parametrize("how", ["free", "pinned"])
def test_workers_end_up_where_they_may_be(how: str) -> None:
    """With all their processors once they have run, or with those that `taskset -a` has left them meanwhile."""
    done = subprocess.run(
        [sys.executable, "-c", RUNS, how],
        env={**os.environ, "GRAPHFLOW_THREADS": "3"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["True", "True", "0"]
