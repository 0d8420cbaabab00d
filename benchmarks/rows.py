"""The rows that have peers: what each measures, and the target it is held against."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path

from alone import measure_alone
from driver import OURS, ROOT, TITLES, Load, Run, Side, Timing, Worker, WorkerError, time_processes, time_steps
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
    trainers = _steps(sides, effort, wanted, results)
    with tempfile.TemporaryDirectory(prefix="graphflow-benchmarks-") as caches:
        _digits(trainers, effort, wanted, results, Path(caches))
        _first_step(trainers, effort, wanted, results, Path(caches))
    _imports(sides[OURS], effort, wanted, results)
    measure_alone(sides[OURS], effort, wanted, results)
    results.others = load.others()
    return results


def _add(results: Results, row: str, seconds: Mapping[str, float | None], peers: tuple[str, ...] = ()) -> None:
    """A line of RATIOS. numpy is shown but is no framework: it is the peer only where `peers` names it."""
    found = {side: s for side, s in seconds.items() if s is not None}
    title, target = RATIOS[row]
    rivals = [s for side, s in found.items() if (side in peers if peers else side not in (OURS, "numpy"))]
    ratio = found[OURS] / min(rivals) if OURS in found and rivals else None
    if row in SECONDS:
        target = SECONDS[row]
    elif row in BEYOND_NUMPY and "numpy" in found:
        target = found["numpy"] + BEYOND_NUMPY[row]
    results.lines.append(Line(title, found, ratio, target, absolute=RATIOS[row][1] is None))


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
                    _add(results, row, {**best, OURS: timing.best(OURS, variant)})
            else:
                _add(results, name, best)
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
        command = [side.python, "-c", sample] if name == OURS else side.command("--digits", file)
        if name == OURS:
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
        _add(results, f"digits {kind}", {side: timing.best(side, kind, "both") for side in sides})


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
        _add(results, "first", {side: timing.best(side, "") for side in sides})


def _note_kept(timing: Timing, what: str, results: Results) -> None:
    """The table has libraries as they are installed; beside it stands what they take if told to keep compiled code."""
    for side in KEEPS_IF_TOLD:
        seconds = timing.best(side, KEPT)
        if seconds is not None:
            results.notes.append(f"{what}: {TITLES[side]}, told to keep compiled code between processes, takes {seconds:.2f} s")


def _imports(side: Side, effort: Effort, wanted: Callable[[str], bool], results: Results) -> None:
    """Seconds of the import alone: what starting Python takes is in neither."""
    if not wanted("import"):
        return
    say("import")
    runs = {}
    for module in (OURS, "numpy"):
        code = f"import time; t = time.perf_counter(); import {module}; print(time.perf_counter() - t)"
        runs[module, ""] = Run(side, [side.python, "-c", code], prints=True, cache=None)
    time_processes("import", runs, 1)  # byte code gets written
    timing = time_processes("import", runs, effort.processes)
    results.notes += timing.notes
    _add(results, "import", {module: timing.best(module) for module in (OURS, "numpy")}, peers=("numpy",))
