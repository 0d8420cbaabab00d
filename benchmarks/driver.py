"""Drives one child process per side and times the sides by turns: noise that hits one hits the others as well."""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workloads import WORKLOADS

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
OURS = "graphflow"
BEFORE = "before"  # graphflow too: an earlier commit, by the same scripts as ours
# In the order of the table's columns.
PEERS = ("torch", "jax", "tensorflow", "onnxruntime", "pytensor", "numpy")
TITLES = {
    "graphflow": "graphflow",
    "before": "graphflow before",
    "torch": "PyTorch",
    "jax": "JAX",
    "tensorflow": "TensorFlow",
    "onnxruntime": "ONNX Runtime",
    "pytensor": "PyTensor",
    "numpy": "numpy",
}
# What a ratio to the fastest framework is not taken of.
NO_FRAMEWORKS = (OURS, BEFORE, "numpy")
# Threads of several libraries spin on after their work, some for a fifth of a second: the next side waits until they sleep.
LOOK_S = 0.05
QUIET_S = 0.01  # of all processors within LOOK_S: the machine is quiet
PATIENCE_S = 0.5
# Cores that others may keep busy while a side is timed; else it is timed again, and the least disturbed time is kept.
OTHERS = 0.25
TRIES = 3


class WorkerError(RuntimeError):
    """A side could not start, or what it answered is an error."""


@dataclass(frozen=True)
class Side:
    """A library and the interpreter that has it.

    commit: of graphflow, where two of its commits are compared; "" where it is not known.
    cache: where graphflow keeps compiled code unless a run says where; None: where it does by default.
    """

    name: str
    python: str = sys.executable
    commit: str = ""
    cache: Path | None = None

    def environment(self, cache: Path | None = None, keep: bool = False, **more: str) -> dict[str, str]:
        """The child's environment. In `cache` libraries keep compiled code that do so as installed, and with `keep` those too
        that have to be told; None: wherever they do by default."""
        found = {**os.environ, **more}
        cache = cache or self.cache
        found.pop("PYTHONDONTWRITEBYTECODE", None)  # installed libraries have theirs
        if self.python != sys.executable or self.name == BEFORE:
            found.pop("PYTHONPATH", None)
        if self.name == OURS:
            ours = [str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")]
            found["PYTHONPATH"] = os.pathsep.join([*ours, *filter(None, [found.get("PYTHONPATH")])])
        if cache is not None:
            found["GRAPHFLOW_CACHE_DIR"] = str(cache)
        if cache is not None and keep:
            found["JAX_COMPILATION_CACHE_DIR"] = str(cache)
            found["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0"
            found["JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES"] = "-1"
        return found

    def command(self, *arguments: str) -> list[str]:
        return [self.python, str(HERE / "worker.py"), OURS if self.name == BEFORE else self.name, *arguments]


def find_sides(given: Mapping[str, str]) -> dict[str, Side]:
    """Every side there is: those in `given` (name -> interpreter) and those this interpreter can import."""
    sides = {OURS: Side(OURS)}
    for name in PEERS:
        if name in given:
            sides[name] = Side(name, given[name])
        elif importlib.util.find_spec(name) is not None:
            sides[name] = Side(name)
    return sides


class Worker:
    """A child process that holds the workload set up last."""

    def __init__(self, side: Side, **environment: str) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115  closed by close()
        self._process = subprocess.Popen(
            side.command(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=side.environment(**environment),
        )
        self.pid = self._process.pid
        hello = self._answer()
        self.version: str = hello["version"]
        self.kinds: list[str] = hello["kinds"]

    def ask(self, do: str, **request: object) -> Any:
        """
        Raises:
            WorkerError: the answer is an error, or the process is gone.
        """
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"do": do, **request}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the answer, which is none, says so
        return self._answer()

    def _answer(self) -> Any:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._errors.seek(0)
            said = self._errors.read().strip().splitlines()
            raise WorkerError(said[-1][:200] if said else f"ended with status {self._process.wait()}")
        answer = json.loads(line)
        if isinstance(answer, dict) and "error" in answer:
            raise WorkerError(answer["error"])
        return answer

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()


@dataclass
class Timing:
    """Median seconds of (side, variant), and what was left out or computes something else."""

    seconds: dict[tuple[str, str], float] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def best(self, side: str, *variants: str) -> float | None:
        """The fastest of the named variants, or of all."""
        return min((s for (n, v), s in self.seconds.items() if n == side and (not variants or v in variants)), default=None)

    def leave_out(self, what: str, why: str) -> None:
        """The note does not say why: the message may name this machine's folders, and notes are published."""
        print(f"{what} is left out: {why}", file=sys.stderr)
        self.notes.append(f"{what}: failed, left out")


def time_steps(workers: Mapping[str, Worker], name: str, rounds: int, target_s: float) -> Timing:
    """Times one workload on every worker that can do it: `rounds` rounds of about `target_s` seconds for each variant."""
    timing = Timing()
    counts: dict[tuple[str, str], int] = {}
    estimates: dict[tuple[str, str], float] = {}
    expected: list[float] = []
    reference = ""
    for side, worker in workers.items():
        if WORKLOADS[name].kind not in worker.kinds:
            continue
        try:
            answer = worker.ask("setup", workload=name)
        except WorkerError as error:
            timing.leave_out(f"{name}, {TITLES.get(side, side)}", str(error))
            continue
        for variant, got in answer.items():
            label = " ".join(filter(None, [TITLES.get(side, side), variant]))
            if "error" in got:
                timing.leave_out(f"{name}, {label}", got["error"])
                continue
            estimates[side, variant] = got["seconds"]
            counts[side, variant] = max(1, int(target_s / got["seconds"]))
            if not expected:
                expected, reference = got["results"], label
            if any(abs(a - b) > 1e-3 * abs(a) for a, b in zip(expected, got["results"], strict=True)):
                timing.notes.append(f"{name}: {label} computes {got['results'][0]:.6g}, {reference} {expected[0]:.6g}")
        own = {key: estimates[key] for key in counts if key[0] == side}
        for key, seconds in own.items():
            if counts[key] == 1 and seconds > 3 * min(own.values()):
                del counts[key]  # far from the best of its side, and seconds of everybody's time
    times: dict[tuple[str, str], list[float]] = {key: [] for key in counts}
    for _ in range(rounds):
        for side, variant in list(times):
            try:
                if estimates[side, variant] >= 0.1:
                    _wait_for_quiet()
                    seconds = workers[side].ask("time", variant=variant, count=counts[side, variant])
                else:
                    seconds = _undisturbed(workers[side], variant, counts[side, variant])
            except WorkerError as error:
                timing.leave_out(" ".join(filter(None, [f"{name},", TITLES.get(side, side), variant])), str(error))
                del times[side, variant]
            else:
                times[side, variant].append(seconds)
    timing.seconds = {key: statistics.median(t) for key, t in times.items()}
    return timing


def _undisturbed(worker: Worker, variant: str, count: int) -> float:
    """Seconds of one step, measured while little else runs on the machine."""
    found: list[tuple[float, float]] = []
    for _ in range(TRIES):
        _wait_for_quiet()
        worker.ask("time", variant=variant, count=1)  # wakes its threads, and brings its data into the caches
        load = Load(worker)
        seconds: float = worker.ask("time", variant=variant, count=count)
        found.append((load.others() or 0.0, seconds))
        if found[-1][0] <= OTHERS:
            break
    return min(found)[1]


def _wait_for_quiet() -> None:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        load = Load()
        time.sleep(LOOK_S)
        if (load.others() or 0.0) * LOOK_S <= QUIET_S:
            return


@dataclass(frozen=True)
class Run:
    """A fresh process to time: by the number that it prints last, or by the clock from start to end."""

    side: Side
    command: Sequence[str]
    prints: bool
    cache: Path | None  # None: a fresh folder each time
    keep: bool = False  # compiled code, by a library that keeps none unless told to


def time_processes(what: str, runs: Mapping[tuple[str, str], Run], rounds: int) -> Timing:
    """Times fresh processes by turns. Those with a cache run once untimed, which fills it.

    After two rounds peers that take more than twice the fastest peer's time drop out: seconds each, and no ratio needs them.
    """
    timing = Timing()
    times: dict[tuple[str, str], list[float]] = {key: [] for key in runs}
    for turn in range(rounds + 1):
        medians = {key: statistics.median(t) for key, t in times.items() if t and key[0] not in NO_FRAMEWORKS}
        for key in list(times):
            if turn == 0 and runs[key].cache is None:
                continue
            if turn > 2 and medians.get(key, 0.0) > 2 * min(medians.values(), default=0.0):
                continue
            try:
                _wait_for_quiet()
                seconds = _run(runs[key])
            except WorkerError as error:
                timing.leave_out(f"{what}, {TITLES[key[0]]}", str(error))
                del times[key]
            else:
                times[key] += [seconds] if turn else []
    timing.seconds = {key: statistics.median(t) for key, t in times.items()}
    return timing


def _run(run: Run) -> float:
    with tempfile.TemporaryDirectory(prefix="graphflow-benchmarks-") as fresh:
        environment = run.side.environment(run.cache or Path(fresh), run.keep, START=repr(time.time()))
        start = time.perf_counter()
        # In an empty folder: Python looks for modules where it stands, and that may be this checkout.
        done = subprocess.run(run.command, env=environment, cwd=fresh, capture_output=True, text=True, check=False)
        seconds = time.perf_counter() - start
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise WorkerError(said[-1][:200] if said else f"ended with status {done.returncode}")
    return float(done.stdout.split()[-1]) if run.prints else seconds


class Load:
    """How many cores other processes keep busy, from the moment this is made; `worker` counts as ourselves."""

    def __init__(self, worker: Worker | None = None) -> None:
        self._stat = None if worker is None else Path(f"/proc/{worker.pid}/stat")
        self._start = self._now()

    def others(self) -> float | None:
        """On average, in cores; None where the system does not say. Our own children count once they have ended."""
        if self._start is None or (end := self._now()) is None:
            return None
        everybody, own, elapsed = (b - a for a, b in zip(self._start, end, strict=True))
        return max(0.0, everybody - own) / elapsed

    def _now(self) -> tuple[float, float, float] | None:
        try:
            user, nice, system, _, _, irq, softirq, *_ = Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]
            worker = self._stat.read_text().rsplit(")", 1)[1].split()[11:13] if self._stat is not None else []
        except OSError:
            return None
        tick = os.sysconf("SC_CLK_TCK")
        own = sum(os.times()[:4]) + sum(map(int, worker)) / tick
        return sum(map(int, (user, nice, system, irq, softirq))) / tick, own, time.monotonic()
