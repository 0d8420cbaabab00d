"""The rows that have peers: what each measures, and the target it is held against."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path

from alone import measure_alone
from before import Again, both_again, ratios, step_again
from driver import (
    BEFORE,
    NO_FRAMEWORKS,
    OURS,
    ROOT,
    TITLES,
    Load,
    Run,
    Side,
    Timing,
    Worker,
    WorkerError,
    time_processes,
    time_steps,
)
from results import Effort, Line, Results, say
from workloads import WORKLOADS

FORMULA = "`mean(tanh(2x+1)*sigmoid(x)+exp(-x*x))`"

# Row -> its title and the most that our time, divided by the time of the fastest framework, should be.
RATIOS: dict[str, tuple[str, float | None]] = {
    "scalar run": ("scalar add, `Session.run`", None),
    "scalar callable": ("scalar add, `make_callable`", None),
    "chain-1e3": (f"{FORMULA}, 1e3 floats", 0.35),
    "chain-1e5": ("the same, 1e5 floats", 0.4),
    "chain-1e7": ("the same, 1e7 floats", 0.55),
    "norm": ("softmax and layer norm of [512, 1024], mean of squares", 0.4),
    "matmul-32x784x128": ("matmul + bias + relu, 32x784x128, mean", 0.85),
    "matmul-128x512x512": ("the same, 128x512x512", 0.9),
    "matmul-1024": ("the same, 1024x1024x1024", 1.0),
    "tiny": ("MLP 10-10-10-1, SGD step, batch 32", 0.5),
    "mlp-32": ("MLP 784-128-64-10, Adam step, batch 32", 0.55),
    "mlp-128": ("MLP 784-128-64-10, Adam step, batch 128", 0.6),
    "digits cold": ("digits, whole process, cold cache", 0.45),
    "digits warm": ("digits, whole process, warm cache", 0.25),
    "first": ("MLP 784-128-64-10, process start to first step, warm cache", 0.25),
    "import": ("import, against `import numpy`", None),
}
# Rows whose targets are seconds: the most we should take, or the most beyond `import numpy`, which is in ours.
SECONDS = {"scalar run": 1.5e-6, "scalar callable": 0.6e-6}
BEYOND_NUMPY = {"import": 0.03}
# Libraries that keep compiled code between processes only if told to, and their variant that was.
KEEPS_IF_TOLD, KEPT = {"jax"}, "kept"


def measure(sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool]) -> Results:
    """Every row whose name is `wanted`, on every side that has it."""
    results, load = Results(), Load()
    with tempfile.TemporaryDirectory(prefix="graphflow-benchmarks-") as caches:
        if BEFORE in sides:  # neither finds what the other, or an earlier run, has compiled
            apart = {name: replace(sides[name], cache=Path(caches, f"steps-{name}")) for name in (OURS, BEFORE)}
            sides = {**sides, **apart}
            results.commits = {name: side.commit for name, side in apart.items()}
        trainers = _steps(sides, effort, wanted, results)
        _digits(trainers, effort, wanted, results, Path(caches))
        _first_step(trainers, effort, wanted, results, Path(caches))
        _imports(sides, effort, wanted, results)
        measure_alone(sides, effort, wanted, results)
    results.others = load.others()
    return results


def _add(
    results: Results,
    row: str,
    seconds: Mapping[str, float | None],
    effort: Effort,
    again: Again,
    peers: tuple[str, ...] = (),
) -> None:
    """A line of RATIOS. numpy is shown but is no framework: it is the peer only where `peers` names it."""
    found = {side: s for side, s in seconds.items() if s is not None}
    title, target = RATIOS[row]
    rivals = [s for side, s in found.items() if (side in peers if peers else side not in NO_FRAMEWORKS)]
    ratio = found[OURS] / min(rivals) if OURS in found and rivals else None
    if row in SECONDS:
        target = SECONDS[row]
    elif row in BEYOND_NUMPY and "numpy" in found:
        target = found["numpy"] + BEYOND_NUMPY[row]
    beside = ratios(title, seconds, again, effort, results.notes)
    results.lines.append(Line(title, found, ratio, target, absolute=RATIOS[row][1] is None, ratios=beside))


def _steps(sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool], results: Results) -> dict[str, Side]:
    """Times the steps, and returns the sides that can train."""
    workers: dict[str, Worker] = {}
    for name, side in sides.items():
        try:
            workers[name] = Worker(side)
        except WorkerError as error:
            print(f"{TITLES[name]} is left out: {error}", file=sys.stderr)
            results.notes.append(f"{TITLES[name]}: does not start, left out")
    results.versions = {name: worker.version for name, worker in workers.items()}
    trainers = {name: sides[name] for name, worker in workers.items() if "mlp" in worker.kinds}
    try:
        for name in filter(wanted, WORKLOADS):
            say(name)
            timing = time_steps(workers, name, effort.steps, effort.step_s)
            results.notes += timing.notes
            best = {side: timing.best(side) for side in workers}
            if name == "scalar":
                for row, variant in (("scalar run", "Session.run"), ("scalar callable", "make_callable")):
                    ours = {side: timing.best(side, variant) for side in (OURS, BEFORE)}
                    _add(results, row, {**best, **ours}, effort, step_again(sides, name, effort, variant))
            else:
                _add(results, name, best, effort, step_again(sides, name, effort))
    finally:
        for worker in workers.values():
            worker.close()
    return trainers


def _digits(sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool], results: Results, caches: Path) -> None:
    if not wanted("digits"):
        return
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        results.notes.append("digits: the images come with scikit-learn, which is not installed")
        return
    file = str(Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz")
    sample = f"import sys; sys.path.insert(0, {str(ROOT / 'samples')!r}); import digits_mlp; digits_mlp.main(folder=None)"
    runs: dict[tuple[str, str], Run] = {}
    for name, side in sides.items():
        sampled = name in (OURS, BEFORE)
        command = [side.python, "-c", sample] if sampled else side.command("--digits", file)
        if sampled:
            runs[name, "cold"] = Run(side, command, prints=False, cache=None)
            runs[name, "warm"] = Run(side, command, prints=False, cache=caches / name)
        elif name == "pytensor":  # its own folder, filled by the first run; a cold one takes it half a minute of C++
            runs[name, "warm"] = Run(side, command, prints=False, cache=caches / name)
        else:  # nothing kept between processes
            runs[name, "both"] = Run(side, command, prints=False, cache=None)
        if name in KEEPS_IF_TOLD:
            runs[name, KEPT] = Run(side, command, prints=False, cache=caches / name, keep=True)
    say("digits")
    timing = time_processes("digits", runs, effort.processes)
    results.notes += timing.notes
    _note_kept(timing, "digits", results)
    for kind in ("cold", "warm"):
        took = {side: timing.best(side, kind, "both") for side in sides}
        _add(results, f"digits {kind}", took, effort, both_again(f"digits {kind}", runs, kind, effort))


def _first_step(
    sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool], results: Results, caches: Path
) -> None:
    if wanted("first"):
        say("first step")
        commands = {name: side.command("--first", "mlp-32") for name, side in sides.items()}
        runs = {(name, ""): Run(side, commands[name], True, caches / f"first-{name}") for name, side in sides.items()}
        for name in KEEPS_IF_TOLD & sides.keys():
            runs[name, KEPT] = Run(sides[name], commands[name], True, caches / f"first-{name}-kept", keep=True)
        timing = time_processes("first step", runs, effort.processes)
        results.notes += timing.notes
        _note_kept(timing, "first step", results)
        took = {side: timing.best(side, "") for side in sides}
        _add(results, "first", took, effort, both_again("first step", runs, "", effort))


def _note_kept(timing: Timing, what: str, results: Results) -> None:
    """The table has libraries as they are installed; beside it stands what they take if told to keep compiled code."""
    for side in KEEPS_IF_TOLD:
        seconds = timing.best(side, KEPT)
        if seconds is not None:
            results.notes.append(f"{what}: {TITLES[side]}, told to keep compiled code between processes, takes {seconds:.2f} s")


def _imports(sides: Mapping[str, Side], effort: Effort, wanted: Callable[[str], bool], results: Results) -> None:
    """Seconds of the import alone: what starting Python takes is in neither."""
    if not wanted("import"):
        return
    say("import")
    runs: dict[tuple[str, str], Run] = {}
    for name in (OURS, BEFORE, "numpy"):
        if name == BEFORE and name not in sides:
            continue
        side, module = (sides[OURS], name) if name != BEFORE else (sides[name], OURS)
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        runs[name, ""] = Run(side, [side.python, "-c", code], prints=True, cache=None)
    time_processes("import", runs, 1)  # byte code gets written
    timing = time_processes("import", runs, effort.processes)
    results.notes += timing.notes
    took = {name: timing.best(name) for name, _ in runs}
    _add(results, "import", took, effort, both_again("import", runs, "", effort), peers=("numpy",))
