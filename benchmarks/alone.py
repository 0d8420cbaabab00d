"""Rows that have no peer: compile time, share of a core's peak, threads, a busy neighbour, memory.

Beside an earlier commit of our own stand the compile time and, in rows that only it has, steps on one thread.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

from before import Again, both_again, ratios, step_again
from driver import BEFORE, OURS, Run, Side, Worker, WorkerError, time_processes, time_steps
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
MOST_GROWTH, GROWTH_RUNS = 1 << 20, 10_000


def measure_alone(sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool], results: Results) -> None:
    """A row that fails is left out, with a note."""
    side = sides[OURS]
    _kernels(sides, effort, wanted, results)
    if BEFORE in sides and wanted("one-thread"):
        _one_thread(sides, effort, results)
    rows = {"peak": _shares, "threads": _threads, "neighbour": _neighbour, "memory": _growth}
    for name, measure in rows.items():
        if wanted(name):
            try:
                measure(side, effort, results)
            except WorkerError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
                results.notes.append(f"{name}: failed, left out")


@contextmanager
def _workers(side: Side, *counts: str, cores: Collection[int] = ()) -> Iterator[dict[str, Worker]]:
    """A worker for each number of threads, on `cores` if there are any."""
    made: dict[str, Worker] = {}
    try:
        for count in counts:
            worker = made[count] = Worker(side, GRAPHFLOW_THREADS=count)
            if cores:
                os.sched_setaffinity(worker.pid, cores)  # before it has threads, which take that over
        yield made
    finally:
        for worker in made.values():
            worker.close()


def _kernels(sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool], results: Results) -> None:
    if wanted("kernels"):
        say("kernels")
        runs = {
            (name, option): Run(sides[name], sides[name].command(option), prints=True, cache=None)
            for option, _, _ in KERNELS
            for name in (OURS, BEFORE)
            if name in sides
        }
        timing = time_processes("kernels", runs, effort.processes)
        results.notes += timing.notes
        for option, title, target in KERNELS:
            took = {name: timing.best(name, option) for name, _ in runs}
            _add(results, title, took, effort, both_again("kernels", runs, option, effort), target)


def _one_thread(sides: Mapping[str, Side], effort: Effort, results: Results) -> None:
    """Ours and the earlier commit, where other rows with these titles say nothing about the earlier one."""
    titles = {name: title for name, (title, _) in SPEEDUPS.items()} | {name: _product(name) for name in PRODUCTS}
    for name, title in titles.items():
        say(f"one thread, {name}")
        again = step_again(sides, name, effort, GRAPHFLOW_THREADS="1")
        _add(results, f"{title}, one thread", again((OURS, BEFORE)), effort, again)


def _add(
    results: Results,
    title: str,
    seconds: Mapping[str, float | None],
    effort: Effort,
    again: Again,
    target: float | None = None,
) -> None:
    found = {name: s for name, s in seconds.items() if s is not None}
    beside = ratios(title, seconds, again, effort, results.notes)
    results.lines.append(Line(title, found, None, target, absolute=True, ratios=beside))


def _product(name: str) -> str:
    m, k, n = WORKLOADS[name].sizes
    return f"matmul + bias + relu, {m}x{k}x{n}, mean"


def _shares(side: Side, effort: Effort, results: Results) -> None:
    """Of the best that a core has done just before or after: its clock may change between the workloads."""
    with _workers(side, "1") as workers:
        for name in PRODUCTS:
            say(f"share of peak, {name}")
            before = workers["1"].ask("peak")
            timing = time_steps(workers, name, effort.steps, effort.step_s)
            peak = max(before, workers["1"].ask("peak"))
            results.notes += timing.notes
            seconds = timing.best("1")
            if seconds is not None:
                m, k, n = WORKLOADS[name].sizes
                results.shares.append(Share(_product(name), 2 * m * k * n / seconds, peak, LEAST_SHARE))


def _threads(side: Side, effort: Effort, results: Results) -> None:
    """Speed-ups, and whether the results are the same bits."""
    with _workers(side, "1", "2") as workers:
        for name, (title, target) in SPEEDUPS.items():
            say(f"threads, {name}")
            timing = time_steps(workers, name, effort.steps, 2 * effort.step_s)
            one, two = timing.best("1"), timing.best("2")
            results.notes += timing.notes
            if one is not None and two is not None:
                results.scaling.append(Scaling(title, one, two, target))
        for name in SAME_BITS:
            say(f"bits, {name}")
            first, second = (worker.ask("digest", workload=name) for worker in workers.values())
            results.same_bits[name] = first == second


def _neighbour(side: Side, effort: Effort, results: Results) -> None:
    """One thread and two by turns, on two cores of which another process keeps one busy; of the two cores the worse."""
    if not hasattr(os, "sched_getaffinity") or len(os.sched_getaffinity(0)) < 2:
        results.notes.append("a busy neighbour: needs a system that pins processes, and two cores")
        return
    cores = sorted(os.sched_getaffinity(0))[:2]
    with _workers(side, "1", "2", cores=cores) as workers:
        for name, (title, _) in SPEEDUPS.items():
            say(f"busy neighbour, {name}")
            estimates = {count: worker.ask("setup", workload=name)[""]["seconds"] for count, worker in workers.items()}
            found = [_beside(core, workers, estimates, effort) for core in cores]
            one, two = max(found, key=lambda times: times[1] / times[0])
            results.beside_neighbour.append(Scaling(title, one, two, LEAST_BESIDE_NEIGHBOUR))


def _beside(core: int, workers: Mapping[str, Worker], estimates: Mapping[str, float], effort: Effort) -> tuple[float, float]:
    """Seconds of a step on one thread and on two."""
    times: dict[str, list[float]] = {count: [] for count in workers}
    with _busy(core):
        for turn in range(effort.steps + 1):
            for count, worker in workers.items():
                seconds = SETTLING_S if turn == 0 else effort.step_s
                took = worker.ask("time", variant="", count=max(1, int(seconds / estimates[count])))
                times[count] += [took] if turn else []
    return statistics.median(times["1"]), statistics.median(times["2"])


def _growth(side: Side, effort: Effort, results: Results) -> None:
    say("memory")
    with _workers(side, "2") as workers:
        results.growth = workers["2"].ask("growth", runs=GROWTH_RUNS)


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
