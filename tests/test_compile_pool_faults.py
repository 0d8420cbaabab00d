"""The processes that help to compile, when they or this process are interrupted, killed, or crash."""

from __future__ import annotations

import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from random import Random
from typing import Any

import pytest

from graphflow_compiler.codegen.jit import compile_pool
from graphflow_compiler.codegen.jit.compile_pool import CompilePool
from graphflow_compiler.codegen.llvm.llvm_text import host_target

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")
TEXTS = [f"define i32 @f{i}() {{\n  ret i32 {i}\n}}\n" for i in range(6)]


def wait_until(happened: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not happened() and time.monotonic() < deadline:
        time.sleep(0.005)
    assert happened()


@pytest.fixture
def pool(monkeypatch: pytest.MonkeyPatch) -> Iterator[CompilePool]:
    """Helpers of the test's own, who start for any text."""
    made = CompilePool()
    monkeypatch.setattr(compile_pool, "_pool", made)
    monkeypatch.setattr(compile_pool, "_EARLY", 1)
    monkeypatch.setenv("GRAPHFLOW_COMPILE_WORKERS", "1")
    yield made
    made.dismiss()


def begin(text: str) -> compile_pool.Job:
    target = host_target()
    job = compile_pool.begin(text, target.cpu, target.features)
    assert job is not None
    return job


def emit(texts: list[str], pending: dict[str, compile_pool.Job]) -> list[bytes]:
    target = host_target()
    return compile_pool.emit_all(texts, target.cpu, target.features, pending)


_INTERRUPTED = """
import os, signal, time
import llvmlite.binding
from graphflow_compiler.codegen.jit import compile_pool
from graphflow_compiler.codegen.llvm.llvm_text import host_target

compile_pool._EARLY = 1
compile_pool.COMMAND = "import time; time.sleep(1)" + compile_pool.COMMAND
target = host_target()
try:
    first = compile_pool.begin("define void @f() { ret void }", target.cpu, target.features)
    time.sleep(0.5)
    os.killpg(0, signal.SIGINT)  # what a Ctrl-C in the terminal does
    time.sleep(60)
except KeyboardInterrupt:
    print("interrupted")
second = compile_pool.begin("define void @g() { ret void }", target.cpu, target.features)
print(first.done.wait(60) and first.code is not None, second.done.wait(60) and second.code is not None)
"""


def test_ctrl_c_while_helpers_start(monkeypatch: pytest.MonkeyPatch) -> None:
    """The terminal interrupts all that it runs; the helpers are this process's own, and go on."""
    monkeypatch.setenv("GRAPHFLOW_COMPILE_WORKERS", "1")
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(_INTERRUPTED)],
        capture_output=True, text=True, timeout=200, start_new_session=True, check=False,
    )  # fmt: skip
    assert done.stdout.split() == ["interrupted", "True", "True"], done.stdout + done.stderr


@pytest.mark.parametrize("what", ["begin", "emit"])
def test_interrupts_leave_all_in_order(what: str, pool: CompilePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """No lock stays taken, no helper is counted that is not there, no text waits for nobody."""
    armed = [False]

    def interrupt(*_: Any) -> None:
        if armed[0]:
            raise KeyboardInterrupt

    def help() -> None:
        with pool._lock:
            pool._threads.remove(threading.get_ident())

    def work() -> None:
        if what == "begin":
            compile_pool.forget([begin(TEXTS[0])])
        else:
            assert emit(TEXTS, {}) == [b"code"] * len(TEXTS)

    monkeypatch.setattr(pool, "_help", help)
    monkeypatch.setattr(compile_pool, "object_code", lambda *_: b"code")
    monkeypatch.setattr(compile_pool, "_START", -10_000_000)
    random = Random(0)
    old = signal.signal(signal.SIGALRM, interrupt)
    try:
        for _ in range(1000):
            with suppress(KeyboardInterrupt):
                armed[0] = True
                signal.setitimer(signal.ITIMER_REAL, random.uniform(1e-4, 2e-3))
                while True:
                    work()
            armed[0] = False
            assert pool._lock.acquire(timeout=20), "the lock stays taken"
            pool._lock.release()
            wait_until(lambda: pool.count() == 0)
            compile_pool.forget(pool._waiting if what == "begin" else [])
            assert pool.waiting() == 0
    finally:
        signal.signal(signal.SIGALRM, old)


def test_a_helper_that_something_else_ends_is_replaced(pool: CompilePool, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not for ever."""
    right = compile_pool.COMMAND
    monkeypatch.setattr(compile_pool, "COMMAND", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    jobs = {}
    for text in TEXTS[:2]:
        jobs[text] = begin(text)
        wait_until(lambda: pool.count() == 0)
    monkeypatch.setattr(compile_pool, "COMMAND", right)
    jobs[TEXTS[2]] = begin(TEXTS[2])
    assert all(job.done.wait(60) and job.code is not None for job in jobs.values())
    monkeypatch.setattr(compile_pool, "_IDLE", 0.01)
    monkeypatch.setattr(compile_pool, "COMMAND", "import os, signal; os.kill(os.getpid(), signal.SIGTERM)")
    begin(TEXTS[3])
    wait_until(lambda: pool.count() == 0)
    for text in TEXTS[:3]:
        begin(text)
        wait_until(lambda: pool.count() == 0)
    monkeypatch.setattr(compile_pool, "_process", lambda: pytest.fail("another helper"))
    begin(TEXTS[4])
    assert pool.count() == 0


@pytest.mark.parametrize("end", ["os.abort()", "os.kill(os.getpid(), signal.SIGSEGV)"])
def test_a_text_on_which_llvm_crashes_is_not_tried_here(end: str, pool: CompilePool, monkeypatch: pytest.MonkeyPatch) -> None:
    command = (
        f"import os, signal, sys; sys.stdin.buffer.readline(); print('ready', flush=True); sys.stdin.buffer.read(20); {end}"
    )
    monkeypatch.setattr(compile_pool, "COMMAND", command)
    job = begin(TEXTS[0])
    assert job.done.wait(60)
    monkeypatch.setattr(compile_pool, "object_code", lambda *_: pytest.fail("this process would end as well"))
    with pytest.raises(RuntimeError, match=r"it ends the process that compiles it, by SIG(ABRT|SEGV)"):
        emit(TEXTS[:1], {TEXTS[0]: job})
