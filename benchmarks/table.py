"""The results as Markdown, and their place in a file between two comments."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path

from alone import GROWTH_RUNS, MOST_GROWTH
from before import AGAIN
from driver import BEFORE, OURS, PEERS, TITLES
from results import Effort, Results, Scaling

START, END = "<!-- benchmarks -->", "<!-- /benchmarks -->"


def render(results: Results, effort: Effort) -> str:
    """Machine and versions, the tables, what else was found, and what was left out."""
    parts = [machine(results), _explained(effort)]
    if results.others is not None and results.others > 0.1:
        parts[0] += f"\nMeanwhile other processes kept {results.others:.1f} cores busy: expect less of what uses all cores."
    if BEFORE in results.commits:
        parts[1] += "\n" + _explained_before(effort)
    if results.lines:
        parts.append(_times(results, effort))
    if results.shares:
        parts.append(_shares(results))
    if results.scaling:
        parts.append(_scaling("two threads against one", results.scaling))
    if results.beside_neighbour:
        parts.append(_scaling("the same on two cores of which another process keeps one busy", results.beside_neighbour))
    if results.growth is not None:
        grown = f"{results.growth / 2**20:.2f} MB"
        marked = _marked(grown, results.growth < MOST_GROWTH)
        parts.append(f"{GROWTH_RUNS:,} runs with random batch sizes grow memory by {marked} (target < {MOST_GROWTH >> 20} MB).")
    if results.same_bits:
        different = [name for name, same in results.same_bits.items() if not same]
        parts.append(
            f"One thread and two do not return the same bits on: {', '.join(different)}."
            if different
            else f"One thread and two return the same bits on all {len(results.same_bits)} workloads compared."
        )
    if results.notes:
        parts.append("\n".join(f"* {note}" for note in results.notes))
    return "\n\n".join(parts) + "\n"


def _explained(effort: Effort) -> str:
    rounds = f"{effort.steps} interleaved rounds"
    if effort.processes != effort.steps:
        rounds += f" ({effort.processes} of whole processes)"
    return (
        f"Medians of {rounds}, each peer by its fastest variant (eager or compiled, C or numba). The ratio is our time\n"
        "divided by that of the fastest framework; numpy is none, but for the import. Bold: the target is missed.\n"
        "Each waits for a quiet machine; a step under 0.1 s is timed again, at most twice, if others were busy meanwhile, and\n"
        "the least disturbed time counts. Libraries are as installed: graphflow and PyTensor keep compiled code between\n"
        "processes, the others only if told to, which the ratios leave out and the notes below show.\n"
        "Whole processes of peers that take over twice the fastest peer's time are timed twice only."
    )


def _explained_before(effort: Effort) -> str:
    text = "Ours / before: our time divided by that of the earlier commit of graphflow, timed by turns in the same run."
    if effort.at_most is None:
        return text
    return (
        f"{text}\nWhere it is above {effort.at_most:.2f} both are timed again, up to {AGAIN} times, until the median of the\n"
        "ratios is not; bold: it still is."
    )


def _times(results: Results, effort: Effort) -> str:
    before = [BEFORE] if BEFORE in results.commits else []
    shown = [*before, *(name for name in PEERS if any(name in line.seconds for line in results.lines))]
    titles = [" ".join(filter(None, [TITLES[name], results.commits.get(name)])) for name in (OURS, *shown)]
    rows = [["work", *titles, "ratio", "target", *(["ours / before"] if before else [])]]
    for line in results.lines:
        cells = [_seconds(line.seconds.get(name)) for name in (OURS, *shown)]
        ratio = "" if line.ratio is None else f"{line.ratio:.2f}"
        if line.absolute:
            cells[0] = _marked(cells[0], line.met)
        else:
            ratio = _marked(ratio, line.met)
        target = "" if line.target is None else _seconds(line.target) if line.absolute else f"{line.target:.2f}"
        rows.append([line.title, *cells, ratio, f"≤ {target}" if target else ""])
        if before:
            found = line.to_before
            rows[-1].append("" if found is None else _marked(f"{found:.2f}", effort.at_most is None or found <= effort.at_most))
    return _markdown(rows)


def _shares(results: Results) -> str:
    rows = [["one thread", "GFLOP/s", "of a core's", "share", "target"]]
    for line in results.shares:
        share = line.flops / line.peak
        marked = _marked(f"{share:.0%}", share >= line.target)
        rows.append([line.title, f"{line.flops / 1e9:.1f}", f"{line.peak / 1e9:.1f}", marked, f"≥ {line.target:.0%}"])
    return _markdown(rows)


def _scaling(title: str, lines: Sequence[Scaling]) -> str:
    rows = [[title, "1 thread", "2 threads", "speed-up", "target"]]
    for line in lines:
        gain = line.one / line.two
        marked = _marked(f"{gain:.2f}", gain >= line.target)
        rows.append([line.title, _seconds(line.one), _seconds(line.two), marked, f"≥ {line.target:.2g}"])
    return _markdown(rows)


def _marked(text: str, met: bool) -> str:
    return text if met or not text else f"**{text}**"


def _seconds(seconds: float | None) -> str:
    """Two or three digits and a unit."""
    if seconds is None:
        return ""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size or unit == "µs":
            value = seconds / size
            return f"{value:.{2 if value < 10 else 1 if value < 100 else 0}f} {unit}"
    raise AssertionError("the last unit takes everything")


def _markdown(rows: Sequence[Sequence[str]]) -> str:
    head, *body = rows
    lines = [head, ["---"] + ["--:"] * (len(head) - 1), *body]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def machine(results: Results) -> str:
    """Processor, cores, and the versions of all that was timed."""
    name, vectors = _processor()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    versions = ", ".join(
        f"{TITLES[side]} {version}{f' ({results.commits[side]})' if results.commits.get(side) else ''}"
        for side, version in results.versions.items()
    )
    return (
        f"{cores} {'core' if cores == 1 else 'cores'} of {name}{f' ({vectors})' if vectors else ''}, {platform.system()}; "
        f"Python {platform.python_version()}, {versions}."
    )


def _processor() -> tuple[str, str]:
    """Name, and the widest vector instructions where the system says so."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine(), ""
    said = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    flags = said.get("flags", "").split()
    vectors = "AVX-512" if "avx512f" in flags else "AVX2" if "avx2" in flags else ""
    return said.get("model name") or platform.processor() or platform.machine(), vectors


def write_between(file: Path, text: str) -> None:
    """Replaces what stands between the two comments in `file`, and nothing else.

    Raises:
        ValueError: the file does not hold each comment exactly once, in order.
    """
    old = file.read_text(encoding="utf-8")
    if old.count(START) != 1 or old.count(END) != 1 or old.index(START) > old.index(END):
        raise ValueError(f"{file.name} must hold {START} and, after it, {END}, each once: the table goes between them")
    before, rest = old.split(START)
    after = rest.split(END)[1]
    file.write_text(f"{before}{START}\n{text}{END}{after}", encoding="utf-8")
