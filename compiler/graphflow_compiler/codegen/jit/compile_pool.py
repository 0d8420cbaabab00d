"""Compiling many units at once, in helper processes, since LLVM's bindings hold one lock for all threads of a process.

A plan's units wait in one queue, from which helpers and, once it has nothing else to do, this process take the largest.
Helpers start when enough text waits, or when `expect` announces it, so that they are ready by the time the passes have
written the first kernels. Each helper has a thread here that talks to it, and that ends it when it has been idle for a while.

An interrupt (Ctrl-C) may come between any two bytecodes of the main thread, and must leave no lock taken and nothing counted
that is not there: what `with` enters here are locks of C, which a Condition or an Event, being Python, is not.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import signal
import sys
import threading
import time
from _thread import start_new_thread as _start_new_thread
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import field
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING

from graphflow.framework import environment
from graphflow.framework.records import record
from graphflow_compiler.codegen.jit.object_code import COMMAND, READY, answer_of, greeting, job_for, object_code
from graphflow_compiler.processors import available_processors

if TYPE_CHECKING:
    # Loaded when a helper starts: processes that find their code in the cache start without it.
    import subprocess

_log = logging.getLogger("graphflow")

#: Characters that LLVM compiles (some 1.2 million a second) in the time that a helper takes to start.
_START = 150_000
#: Least share of the text for which one more helper pays.
_LEAST = 50_000
#: Waiting text for each helper that starts while the passes still write more.
_EARLY = 60_000
#: Worker timeout: base plus seconds per million characters of IR. What takes longer is compiled in this process.
_PATIENCE, _PATIENCE_EACH = 5.0, 20.0
#: Seconds without work after which a helper is ended.
_IDLE = 3.0
#: Seconds that a helper has to end by itself once it has said its last word.
_GRACE = 1.0
#: Signals by which a process ends that has gone wrong itself.
_CRASHES = [getattr(signal, name) for name in ("SIGABRT", "SIGSEGV", "SIGILL", "SIGBUS", "SIGFPE") if hasattr(signal, name)]
#: So many helpers in turn that are ended from outside before they can work, and no more are started.
_MOST_LOST = 3


class Refusal(RuntimeError):
    """LLVM's words on a text that it does not compile. `crashed`: it ended the process that tried."""

    def __init__(self, words: str, text: str, crashed: bool = False) -> None:
        super().__init__(words)
        self.text, self.crashed = text, crashed


class Done:
    """Something that happens once, and is waited for."""

    __slots__ = ("_lock",)

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def set(self) -> None:
        self._lock.release()

    def wait(self, timeout: float) -> bool:
        """Whether it has happened, within so many seconds at most."""
        happened = self._lock.acquire(timeout=timeout)
        if happened:
            self._lock.release()
        return happened


@record(eq=False)
class Job:
    """A text to compile. `code` stays None where a helper could not do it; then this process does, unless LLVM crashed."""

    text: str
    cpu: str
    features: str
    code: bytes | None = None
    done: Done = field(default_factory=Done)
    helper: subprocess.Popen[bytes] | None = None
    crash: str = ""


class CompilePool:
    """The helpers of this process and what waits for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._changed = threading.Condition(self._lock)
        self._waiting: list[Job] = []
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._threads: list[int] = []  # one for each helper, ready or starting
        self._useless = False  # a helper ended before it was ready: others would, too
        self._lost = 0  # helpers in turn that something else has ended

    def add(self, jobs: Sequence[Job]) -> None:
        with self._lock:
            self._waiting += jobs
            self._changed.notify_all()

    def waiting(self) -> int:
        """The text that nobody has taken, in characters."""
        with self._lock:
            return sum(len(job.text) for job in self._waiting)

    def count(self) -> int:
        """How many helpers there are, ready or starting."""
        return len(self._threads)

    def take(self, among: Sequence[Job] | None = None) -> Job | None:
        """The largest job that waits, of some or all."""
        with self._lock:
            return self._take(among)

    def _take(self, among: Sequence[Job] | None) -> Job | None:
        best = max(self._waiting if among is None else [j for j in self._waiting if j in among], key=_size, default=None)
        if best is not None:
            self._waiting.remove(best)
        return best

    def start(self, count: int) -> None:
        """Sees to it that there are `count` helpers, or as many as may be."""
        # Loaded in the caller's thread: a fork while a thread of the pool imports it would leave the child an import lock.
        import_module("subprocess")
        with self._lock:
            while not self._useless and len(self._threads) < min(count, _limit()):
                try:
                    # Started and noted with no bytecode in between, where an interrupt could come; threading.Thread has many.
                    self._threads.extend(map(_start_new_thread, (self._help,), ((),)))
                except RuntimeError as e:  # no more threads, or the interpreter is about to end
                    _log.info("no process for compiling: %s", e)
                    return

    def _help(self) -> None:
        process, ready = None, False
        try:
            process = _process()
            with self._lock:
                self._processes.add(process)
            _write(process, greeting())
            ready = _read(process, len(READY)) == READY
            if ready:
                self._serve(process)
        except (OSError, ValueError) as e:  # the interpreter was not found, the helper has ended, or its answer is malformed
            _log.info("a process for compiling is lost: %s", e)
        finally:
            status = 1 if process is None or ready else _status(process)
            if process is not None:
                _end(process)
            with self._lock:
                self._threads.remove(threading.get_ident())
                if process is not None:
                    self._processes.discard(process)
                # That something else ends a helper (a user, the system that wants memory) says little of the next one.
                self._lost = 0 if ready else self._lost + 1
                self._useless = self._useless or (not ready and (status >= 0 or self._lost >= _MOST_LOST))

    def _serve(self, process: subprocess.Popen[bytes]) -> None:
        while True:
            with self._lock:
                if not self._changed.wait_for(lambda: self._waiting, _IDLE):
                    return
                job = self._take(None)
            assert job is not None
            job.helper = process
            try:
                _write(process, job_for(job.text, job.cpu, job.features))
                job.code = answer_of(lambda count: _read(process, count))
            except (OSError, ValueError):
                status = _status(process)
                if -status in _CRASHES:  # it would end this process as well
                    job.crash = f"it ends the process that compiles it, by {signal.Signals(-status).name}"
                raise
            finally:
                job.done.set()  # without code, too: whoever waits then compiles the text itself

    def drop(self, jobs: Iterable[Job]) -> None:
        """Nobody waits for these any more."""
        gone = set(jobs)
        with self._lock:
            self._waiting = [job for job in self._waiting if job not in gone]

    def finish(self, jobs: Sequence[Job]) -> list[bytes]:
        """The object file of each job. Raises Refusal."""
        # This process compiles too, as long as jobs wait; only then does it wait for those that helpers have taken.
        elsewhere = set(jobs)
        while (job := self.take(jobs)) is not None:
            elsewhere.discard(job)
            job.code = _compiled(job)
        end = time.monotonic() + _PATIENCE + _PATIENCE_EACH * sum(map(_size, elsewhere)) / 1e6
        for job in elsewhere:
            if not job.done.wait(max(0.0, end - time.monotonic())) and job.helper is not None:
                job.helper.kill()
            if job.crash:
                raise Refusal(job.crash, job.text, crashed=True)
            if job.code is None:  # the helper is lost, or the text is bad: then LLVM says so here
                job.code = _compiled(job)
        return [job.code for job in jobs if job.code is not None]

    def dismiss(self) -> None:
        """Ends the helpers."""
        with self._lock:
            processes = list(self._processes)
        for process in processes:
            with contextlib.suppress(OSError):
                process.kill()
            process.wait()


def _compiled(job: Job) -> bytes:
    """The object file of a job, made in this process."""
    try:
        return object_code(job.text, job.cpu, job.features)
    except RuntimeError as e:
        raise Refusal(str(e), job.text) from None


def _size(job: Job) -> int:
    return len(job.text)


def _process() -> subprocess.Popen[bytes]:
    """A new helper, which a Ctrl-C in the terminal does not reach: it is for the program that runs there. Raises OSError."""
    import subprocess

    return subprocess.Popen(
        [sys.executable, "-S", "-c", COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        creationflags=getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
    )


def _write(process: subprocess.Popen[bytes], data: bytes) -> None:
    assert process.stdin is not None
    process.stdin.write(data)
    process.stdin.flush()


def _read(process: subprocess.Popen[bytes], count: int) -> bytes:
    assert process.stdout is not None
    return process.stdout.read(count)


def _status(process: subprocess.Popen[bytes]) -> int:
    """How a helper has ended that does not answer: by itself (0 or more) or by a signal (less); 1 where it lives on."""
    import subprocess

    try:
        return process.wait(_GRACE)
    except subprocess.TimeoutExpired:
        return 1


def _end(process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):
        process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


_pool = CompilePool()
_processors = lru_cache(maxsize=1)(available_processors)  # it reads some ten files, and is asked for each text
atexit.register(lambda: _pool.dismiss())


def _forget() -> None:
    global _pool
    _pool = CompilePool()  # a forked process has neither the threads nor the right to the pipes
    _processors.cache_clear()  # nor, perhaps, the limits


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def expect() -> None:
    """Starts a helper at once, because much is about to be compiled."""
    _pool.start(1)


def begin(text: str, cpu: str, features: str) -> Job | None:
    """Has a text compiled by helpers while this process goes on to write others; None if there may be no helpers."""
    if not _limit():
        return None
    job = Job(text, cpu, features)
    try:
        _pool.add([job])
        _pool.start(_pool.waiting() // _EARLY)
    except BaseException:
        _pool.drop([job])
        raise
    return job


def emit_all(texts: Sequence[str], cpu: str, features: str, pending: Mapping[str, Job] | None = None) -> list[bytes]:
    """The object file of each text, of which some may have begun. Raises Refusal."""
    known = pending or {}
    jobs = [known.get(text) or Job(text, cpu, features) for text in texts]
    try:
        _pool.add([job for job in jobs if job.text not in known])
        _pool.start((_pool.waiting() - _START) // _LEAST - 1)
        return _pool.finish(jobs)
    finally:
        _pool.drop(jobs)


def forget(jobs: Iterable[Job]) -> None:
    """Drops jobs that `begin` returned: their code is not wanted any more."""
    _pool.drop(jobs)


def _limit() -> int:
    """How many helpers there may be: one less than processors, or GRAPHFLOW_COMPILE_WORKERS."""
    asked = environment.whole_number("GRAPHFLOW_COMPILE_WORKERS", 0, -1)
    if asked >= 0:
        return asked
    if not os.path.basename(sys.executable or "").startswith("python"):
        return 0  # Python is embedded: starting that program again could do anything
    return min(_processors(), 8) - 1
