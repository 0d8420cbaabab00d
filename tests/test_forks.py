"""Forks while the compiler is at work: the child finds every lock free, and an interrupt is not lost."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")

HELD = """
import os, threading, time
from graphflow_runtime.native_code import dispatch
from graphflow_compiler.codegen.jit import engine, link
import llvmlite.binding.ffi as ffi
held = threading.Event()
def compile_for_a_while(lock):
    with lock:
        held.set()
        time.sleep(0.5)
for lock in (engine._lock, link._lock, dispatch._lock, ffi.lib._lock):
    held.clear()
    worker = threading.Thread(target=compile_for_a_while, args=(lock,))
    worker.start()
    held.wait()
    pid = os.fork()
    if pid == 0:
        free = []
        def look():
            for l in (engine._lock, link._lock, dispatch._lock, ffi.lib._lock):
                with l:
                    free.append(l)
        looker = threading.Thread(target=look, daemon=True)
        looker.start()
        looker.join(20)
        os._exit(0 if len(free) == 4 else 1)
    worker.join()
    print(os.waitpid(pid, 0)[1])
"""

INTERRUPTED = """
import os, signal, threading, time
from graphflow_compiler.codegen.jit import engine
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore interrupts
held = threading.Event()
def compile_for_a_while():
    with engine._lock:
        held.set()
        time.sleep(1.5)
worker = threading.Thread(target=compile_for_a_while)
worker.start()
held.wait()
threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
seen = False
try:
    pid = os.fork()
    if pid == 0:
        os._exit(0 if engine._lock.acquire(timeout=20) else 1)
    for _ in range(400):
        time.sleep(0.05)
except KeyboardInterrupt:
    seen = True
status = os.waitpid(pid, 0)[1]
worker.join()
other = []
looker = threading.Thread(target=lambda: other.append(engine._lock.acquire(timeout=20)))
looker.start()
looker.join()
print(status, seen, other)
"""


MANY = """
import os, sys, threading, time
from graphflow_compiler.codegen.jit import engine, link
from graphflow_runtime.native_code import dispatch
sys.setswitchinterval(1e-6)
lost = []
sys.unraisablehook = lambda u: lost.append(repr(u.exc_value))
end = time.time() + 3
def work():
    while time.time() < end:
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
workers = [threading.Thread(target=work, daemon=True) for _ in range(4)]
for w in workers:
    w.start()
for w in workers:
    w.join(60)
print(lost, [w.is_alive() for w in workers])
"""


def output(program: str) -> str:
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", program], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_child_finds_the_locks_free() -> None:
    assert output(HELD).split() == ["0"] * 4


def test_an_interrupt_while_a_fork_waits_comes_afterwards() -> None:
    assert output(INTERRUPTED).strip() == "0 True [True]"


def test_threads_may_fork_side_by_side() -> None:
    assert output(MANY).strip() == "[] [False, False, False, False]"
