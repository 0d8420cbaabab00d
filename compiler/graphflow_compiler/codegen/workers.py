"""Compiling many units at once, in processes: LLVM holds one lock for all threads of a process."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager

from graphflow_compiler.codegen.object_code import COMMAND, answer_of, job_for, object_code

_log = logging.getLogger("graphflow")

#: LLVM compiles some 1.2 MB of text a second; a worker starts in the time of this much.
_START = 150_000
#: A worker must have this much to do, or starting it is no gain.
_LEAST = 50_000
#: Seconds after which a worker is taken for lost, and its share compiled here.
_PATIENCE = 120.0


def emit_all(texts: Sequence[str], cpu: str, features: str) -> list[bytes]:
    """The object file of each text. Raises RuntimeError with LLVM's words."""
    shares = share_out([len(t) for t in texts], _processes())
    mine = list(shares[0])
    found: dict[int, bytes] = {}
    with ExitStack() as stack:
        workers = []
        for share in shares[1:]:
            try:
                worker = stack.enter_context(_started(job_for([texts[i] for i in share], cpu, features)))
            except OSError as e:
                _log.info("no process for compiling: %s", e)
                mine += share
            else:
                workers.append((share, worker))
        for i in mine:
            found[i] = object_code(texts[i], cpu, features)
        for share, worker in workers:
            try:
                data, _ = worker.communicate(timeout=_PATIENCE)
            except subprocess.TimeoutExpired:
                data = b""
            answer = answer_of(data, len(share))
            if answer is None:  # it was killed, or a text is bad: then LLVM says so here
                _log.info("a process for compiling failed with status %s", worker.poll())
                answer = [object_code(texts[i], cpu, features) for i in share]
            found |= zip(share, answer, strict=True)
    return [found[i] for i in range(len(texts))]


@contextmanager
def _started(job: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A worker that compiles `job`. It does not outlive the block. Raises OSError."""
    with tempfile.TemporaryFile() as file:  # a pipe would have us wait until the worker reads
        file.write(job)
        file.seek(0)
        command = [sys.executable, "-S", "-c", COMMAND]
        worker = subprocess.Popen(command, stdin=file, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    with worker:
        try:
            yield worker
        finally:
            worker.kill()


def share_out(sizes: Sequence[int], processes: int) -> list[list[int]]:
    """Which process compiles which texts: the first share is this process's own. Processes that would not pay are left out."""
    for count in range(processes, 1, -1):
        loads = [0] + [_START] * (count - 1)
        shares: list[list[int]] = [[] for _ in loads]
        for i in sorted(range(len(sizes)), key=lambda i: -sizes[i]):
            least = loads.index(min(loads))
            loads[least] += sizes[i]
            shares[least].append(i)
        if all(load - _START >= _LEAST for load in loads[1:]):
            return shares
    return [list(range(len(sizes)))]


def _processes() -> int:
    """How many processes may compile: the processors, or GRAPHFLOW_COMPILE_WORKERS and this one."""
    asked = os.environ.get("GRAPHFLOW_COMPILE_WORKERS", "")
    if asked.isdigit():
        return 1 + int(asked)
    if not os.path.basename(sys.executable or "").startswith("python"):
        return 1  # embedded: nobody knows what that program would do
    if hasattr(os, "sched_getaffinity"):
        return min(len(os.sched_getaffinity(0)), 8)
    return min(os.cpu_count() or 1, 8)
