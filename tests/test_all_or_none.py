"""What changes together changes together: a restore, a load, the assignments of a run; whoever interrupts or reads then."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.io import reader
from graphflow_runtime import store
from graphflow_runtime.session import session as session_module

#: Where values are taken over. Nothing has changed before, and all has after; so every step of these is tried.
FILES = {store.__file__, session_module.__file__}


class Interrupt:
    """Raises KeyboardInterrupt before one of the bytecodes that the chosen files execute, as a signal's handler would."""

    def __init__(self, at: int) -> None:
        self.left = at
        self.happened = False

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "opcode":
            self.left -= 1
            if self.left < 0:
                sys.settrace(None)
                self.happened = True
                raise KeyboardInterrupt
        return self._trace

    def __enter__(self) -> Interrupt:
        sys.settrace(self._trace)
        return self

    def __exit__(self, kind: Any, value: Any, traceback: Any) -> bool:
        sys.settrace(None)
        return kind is KeyboardInterrupt


def interrupted_everywhere(change: Callable[[], Any], values: Callable[[], list[Any]], undo: Callable[[], Any]) -> None:
    """`change` is interrupted at each of its steps: afterwards `values` are the old ones, or the new ones."""
    undo()
    old = values()
    change()
    new = values()
    assert old != new
    seen = set()
    for at in range(100_000):
        undo()
        with Interrupt(at) as interrupt:
            change()
        found = values()
        assert found in (old, new), f"after {at} steps: {found}"
        seen.add(found == new)
        if not interrupt.happened:
            break
    assert seen == {True, False} and at > 50


def variables(count: int) -> list[Any]:
    """Of several types and shapes, one of which changes."""
    made = [tf.get_variable(f"v{i}", [i + 1], tf.float64 if i % 2 else tf.float32) for i in range(count)]
    made.append(tf.Variable(np.zeros([2]), name="open", validate_shape=False, dtype=tf.float64))
    return made


def listed(values: Any) -> list[Any]:
    return [np.asarray(v).tolist() for v in values]


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("first", [True, False], ids=["first values", "other values"])
def test_restore(backend: str, first: bool, tmp_path: Path) -> None:
    path = str(tmp_path / "m")
    with tf.Graph().as_default() as graph:
        v = variables(2)
        saver = tf.train.Saver()
        saver_of_all = [tf.is_variable_initialized(x) for x in v]
        with tf.Session(graph=graph) as source:
            for i, x in enumerate(v):
                x.load(np.full(5 if i == 2 else i + 1, 7.0), source)
            saver.save(source, path)
        sessions: list[tf.Session] = []

        def undo() -> None:
            """A session with other values; or one without any."""
            if first:
                sessions[:] = [tf.Session(graph=graph, backend=backend)]
                return
            if not sessions:
                sessions.append(tf.Session(graph=graph, backend=backend))
            for i, x in enumerate(v):
                x.load(np.full(2 if i == 2 else i + 1, 1.0), sessions[0])

        def values() -> list[Any]:
            there = listed(sessions[0].run(saver_of_all))
            assert all(there) or not any(there)
            return listed(sessions[0].run(v)) if all(there) else there

        opened = reader.CheckpointReader(path)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("graphflow.io.saver.CheckpointReader", lambda prefix: opened)
            interrupted_everywhere(lambda: saver.restore(sessions[0], path), values, undo)


def test_the_assignments_of_a_run_in_numpy() -> None:
    with tf.Graph().as_default() as graph, tf.Session(graph=graph, backend="reference") as session:
        v = variables(3)
        step = tf.group(*[tf.assign(x, tf.zeros_like(x) + 9.0) for x in v])

        for x in v:
            x.load(np.zeros(x.shape.as_list() if x.shape.ndims is not None else [2]), session)
        original = listed(session.run(v))

        def undo() -> None:
            for x, value in zip(v, original, strict=True):
                x.load(np.asarray(value), session)

        interrupted_everywhere(lambda: session.run(step), lambda: listed(session.run(v)), undo)


# ---------------------------------------------------------------------------------------------- readers and signals

_PROGRAM = """
import signal, sys, threading, time
import numpy as np
import graphflow as tf

path, backend = sys.argv[1:]
v = [tf.get_variable(f"v{i}", [1000 * (i + 1)]) for i in range(20)]
saver = tf.train.Saver(max_to_keep=None)
session = tf.Session(backend=backend)
for k in range(2):
    for x in v:
        x.load(np.full(x.shape.as_list(), k), session)
    saver.save(session, path, global_step=k)
marks = [tf.reduce_max(x) + tf.reduce_min(x) for x in v]  # 0 or 2 each: one value throughout
torn, done, reads, armed = [], threading.Event(), [0], [False]

def read(fetches):
    while not done.is_set():
        found = {float(m) for m in session.run(fetches)}
        reads[0] += 1
        if found not in ({0.0}, {2.0}):
            torn.append(found)

def interrupt(*_):
    if armed[0]:
        raise KeyboardInterrupt

signal.signal(signal.SIGALRM, interrupt)
threads = [threading.Thread(target=read, args=(f,), daemon=True) for f in (marks, marks[::-1], marks[:2] + marks[-2:])]
for t in threads:
    t.start()
interrupts = 0
random = np.random.RandomState(0)
end = time.monotonic() + 3
for k in range(100_000):
    if time.monotonic() > end and interrupts > 20 and reads[0] > 100:
        break
    try:
        armed[0] = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 2e-2))
        saver.restore(session, f"{path}-{k % 2}")
        armed[0] = False
    except KeyboardInterrupt:
        armed[0] = False
        interrupts += 1
    found = {float(m) for m in session.run(marks)}
    if found not in ({0.0}, {2.0}):
        torn.append(found)
done.set()
for t in threads:
    t.join()
print(len(torn), interrupts > 20, reads[0] > 100)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="timers that send signals")
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_restoring_under_signals_and_readers(backend: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(_PROGRAM), str(tmp_path / "m"), backend]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.split() == ["0", "True", "True"], done.stdout + done.stderr
