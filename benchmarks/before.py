"""An earlier commit of graphflow beside ours: where it is found, and how often the two are timed.

It is installed in an environment of its own, and runs the scripts of this folder and the samples of this checkout.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from driver import BEFORE, HERE, OURS, ROOT, Run, Side, Worker, WorkerError, time_processes, time_steps
from results import Effort, Results, say

# Times both again, in the order given -> seconds of each; none of one that failed.
Again = Callable[[Sequence[str]], Mapping[str, float | None]]
# How often they are timed again where ours takes longer than it may.
AGAIN = 3
# What else a side's speed depends on.
_VERSIONS = """
import importlib.metadata, json, platform, graphflow
found = {"Python": platform.python_version()}
for name in ("numpy", "llvmlite"):
    found[name] = importlib.metadata.version(name)
print(json.dumps([graphflow.__file__, graphflow.__version__, found]))
"""


def with_earlier(sides: Mapping[str, Side], python: str, commit: str) -> tuple[dict[str, Side], list[str]]:
    """The sides with the graphflow of interpreter `python` after ours, and what else is different between the two.

    commit: what the table calls it; "": the commit of the checkout that it stands in, else its version.

    Raises:
        WorkerError: there is no graphflow, or it is the one of this checkout.
    """
    ours, earlier = sides[OURS], Side(BEFORE, python)
    _, _, own = _versions(ours)
    file, version, others = _versions(earlier)
    if file.parent.resolve() == ROOT / OURS:
        raise WorkerError(f"{python} has the graphflow of this checkout, not an earlier one")
    found = {
        OURS: replace(ours, commit=commit_of(ROOT / OURS)),
        BEFORE: replace(earlier, commit=commit or commit_of(file.parent) or version),
    }
    different = [f"{name} {others[name]}, not {own[name]}" for name in own if others[name] != own[name]]
    notes = [f"the earlier commit runs with {'; '.join(different)}"] if different else []
    return {**found, **{name: side for name, side in sides.items() if name not in found}}, notes


def _versions(side: Side) -> tuple[Path, str, dict[str, str]]:
    """Where its graphflow is, the version of that, and the versions of what it stands on."""
    command = [side.python, "-c", _VERSIONS]
    try:
        done = subprocess.run(command, env=side.environment(), cwd=HERE, capture_output=True, text=True, check=False)
    except OSError as error:
        raise WorkerError(f"{side.python}: {error.strerror}") from error
    if done.returncode:
        said = done.stderr.strip().splitlines()
        raise WorkerError(f"{side.python}: {said[-1][:200] if said else f'ended with status {done.returncode}'}")
    file, version, versions = json.loads(done.stdout)
    return Path(file), version, versions


def commit_of(package: Path) -> str:
    """The commit of the git checkout that a package stands in, with a + if files of it are changed; "" without a checkout."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(package), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, check=False)
        except OSError:
            return None
        return None if done.returncode else done.stdout.strip()

    # A package installed somewhere below a checkout is no file of it.
    if git("ls-files", "--error-unmatch", "__init__.py") is None:
        return ""
    commit = git("rev-parse", "--short", "HEAD")
    return f"{commit}{'+' if git('status', '--porcelain') else ''}" if commit else ""


def step_again(sides: Mapping[str, Side], workload: str, effort: Effort, *variants: str, **environment: str) -> Again:
    """Steps in new processes: how fast one is depends a little on where its memory lies."""

    def again(order: Sequence[str]) -> Mapping[str, float | None]:
        with ExitStack() as stack:
            workers: dict[str, Worker] = {}
            try:
                for name in order:
                    workers[name] = Worker(sides[name], **environment)
                    stack.callback(workers[name].close)
            except WorkerError as error:
                print(f"{workload} is not timed: {error}", file=sys.stderr)
                return {}
            timing = time_steps(workers, workload, effort.steps, effort.step_s)
        return {name: timing.best(name, *variants) for name in order}

    return again


def both_again(what: str, runs: Mapping[tuple[str, str], Run], variant: str, effort: Effort) -> Again:
    """Of processes that have been timed, those of the two."""

    def again(order: Sequence[str]) -> Mapping[str, float | None]:
        timing = time_processes(what, {(name, variant): runs[name, variant] for name in order}, effort.processes)
        return {name: timing.best(name) for name in order}

    return again


def ratios(
    title: str, seconds: Mapping[str, float | None], again: Again, effort: Effort, notes: list[str]
) -> tuple[float, ...]:
    """Our time divided by the earlier commit's, of `seconds` and of each time that both are timed again.

    That is while the median is above what it may be: one in which something disturbed our side alone does not count then.
    """
    found = _ratio(seconds)
    while found and effort.at_most is not None and statistics.median(found) > effort.at_most and len(found) <= AGAIN:
        say(f"{title} again: {found[-1]:.2f}")
        order = (BEFORE, OURS) if len(found) % 2 else (OURS, BEFORE)
        more = _ratio(again(order))
        if not more:
            break
        found += more
    if len(found) > 1:
        notes.append(f"{title}: ours / before, each time that they were timed: {', '.join(f'{r:.2f}' for r in found)}")
    return found


def _ratio(seconds: Mapping[str, float | None]) -> tuple[float, ...]:
    ours, earlier = seconds.get(OURS), seconds.get(BEFORE)
    return () if ours is None or earlier is None else (ours / earlier,)


def too_slow(results: Results, at_most: float) -> list[str]:
    """What speaks against ours: rows that take longer than they may, and rows that the earlier commit has alone."""
    found = []
    for line in results.lines:
        if line.to_before is not None and line.to_before > at_most:
            found.append(f"{line.title}: {line.to_before:.3f} of the earlier commit's time")
        elif BEFORE in line.seconds and OURS not in line.seconds:
            found.append(f"{line.title}: only the earlier commit was timed")
    if not any(line.ratios for line in results.lines):
        found.append("no row was timed on both")
    return found


def whole(python: str) -> str:
    """The path of an interpreter from the root, its links kept: an environment is known by the link."""
    return os.path.abspath(python) if os.path.dirname(python) else python
