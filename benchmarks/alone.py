"""Rows that have no peer: compile time, share of a core's peak, threads, a busy neighbour, memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from driver import OURS, Run, Side, Worker, time_processes, time_steps
from results import Effort, Line, Results, Scaling, Share, say
from workloads import WORKLOADS

# How the worker is asked, title, and the most seconds it should take.
KERNELS = (
    ("--kernels-later", "100 different kernels in one plan, cold cache: first run", 0.4),
    ("--kernels", "the same as the first run of its process, which loads LLVM and the compiler", None),
)
# Workload -> title and the least speed-up of two threads over one.
SPEEDUPS = {
    "chain-1e7": ("chain of 1e7 floats", 1.7),
    "matmul-1024": ("matmul 1024x1024x1024", 1.7),
    "mlp-128": ("MLP 784-128-64-10, Adam step, batch 128", 1.7),
}
SAME_BITS = (*WORKLOADS, "digits", "kernels")
# Products, and the least share of its peak that one core should reach: multiply-adds are two operations.
PRODUCTS = ("matmul-32x784x128", "matmul-128x512x512", "matmul-1024")
LEAST_SHARE = 0.9
# Of one thread's time, the most that two should take while another process keeps a core busy: a speed-up of 1 / 1.5.
LEAST_BESIDE_NEIGHBOUR = 1 / 1.5
#: Seconds of runs after which the choice of threads has seen the neighbour.
SETTLING_S = 1.0
MOST_GROWTH = 1 << 20


def measure_alone(side: Side, effort: Effort, wanted: Callable[[str], bool], results: Results) -> None:
    _kernels(side, effort, wanted, results)
    if wanted("peak") or wanted("threads") or wanted("neighbour"):
        workers = {title: Worker(side, GRAPHFLOW_THREADS=count) for title, count in (("1 thread", "1"), ("2 threads", "2"))}
        try:
            if wanted("peak"):
                _shares(workers["1 thread"], effort, results)
            if wanted("threads"):
                _threads(workers, effort, results)
            if wanted("neighbour"):
                _neighbour(workers, effort, results)
        finally:
            for worker in workers.values():
                worker.close()
    if wanted("memory"):
        say("memory")
        worker = Worker(side)
        results.growth = worker.ask("growth")
        worker.close()


def _kernels(side: Side, effort: Effort, wanted: Callable[[str], bool], results: Results) -> None:
    if wanted("kernels"):
        say("kernels")
        runs = {(OURS, option): Run(side, side.command(option), prints=True, cache=None) for option, _, _ in KERNELS}
        timing = time_processes("kernels", runs, effort.processes)
        results.notes += timing.notes
        for option, title, target in KERNELS:
            took = timing.best(OURS, option)
            results.lines.append(Line(title, {} if took is None else {OURS: took}, None, target, absolute=True))


def _shares(worker: Worker, effort: Effort, results: Results) -> None:
    """Of the best that a core has done just before or after: its clock may change between the workloads."""
    for name in PRODUCTS:
        say(f"share of peak, {name}")
        before = worker.ask("peak")
        timing = time_steps({OURS: worker}, name, effort.steps, effort.step_s)
        peak = max(before, worker.ask("peak"))
        results.notes += timing.notes
        seconds = timing.best(OURS)
        if seconds is not None:
            m, k, n = WORKLOADS[name].sizes
            results.shares.append(Share(f"matmul + bias + relu, {m}x{k}x{n}, mean", 2 * m * k * n / seconds, peak, LEAST_SHARE))


def _threads(workers: Mapping[str, Worker], effort: Effort, results: Results) -> None:
    """Speed-ups, and whether the results are the same bits."""
    for name, (title, target) in SPEEDUPS.items():
        say(f"threads, {name}")
        timing = time_steps(workers, name, effort.steps, 2 * effort.step_s)
        one, two = timing.best("1 thread"), timing.best("2 threads")
        results.notes += timing.notes
        if one is not None and two is not None:
            results.scaling.append(Scaling(title, one, two, target))
    for name in SAME_BITS:
        say(f"bits, {name}")
        first, second = (worker.ask("digest", workload=name) for worker in workers.values())
        results.same_bits[name] = first == second


def _neighbour(workers: Mapping[str, Worker], effort: Effort, results: Results) -> None:
    """Two threads against one, each while another process keeps one of the cores busy; of all cores, the worst."""
    if not hasattr(os, "sched_getaffinity"):
        results.notes.append("a busy neighbour: this system pins no process to a core")
        return
    for name, (title, _) in SPEEDUPS.items():
        say(f"busy neighbour, {name}")
        found = []
        for core in sorted(os.sched_getaffinity(0))[:2]:
            with _busy(core):
                found.append([_settled(worker, name, effort) for worker in workers.values()])
        one, two = max(found, key=lambda times: times[1] / times[0])
        results.beside_neighbour.append(Scaling(title, one, two, LEAST_BESIDE_NEIGHBOUR))


def _settled(worker: Worker, name: str, effort: Effort) -> float:
    answer = worker.ask("setup", workload=name)[""]
    seconds = answer["seconds"]
    worker.ask("time", variant="", count=max(1, int(SETTLING_S / seconds)))
    count = max(1, int(effort.step_s / seconds))
    return statistics.median([worker.ask("time", variant="", count=count) for _ in range(effort.steps)])


@contextmanager
def _busy(core: int) -> Iterator[None]:
    """Another process that does nothing but keep this core busy."""
    code = "import os, sys\nos.sched_setaffinity(0, [int(sys.argv[1])])\nwhile True: pass"
    process = subprocess.Popen([sys.executable, "-c", code, str(core)])
    try:
        yield
    finally:
        process.kill()
        process.wait()
