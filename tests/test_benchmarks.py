"""The benchmarks run, whatever they measure, and write only between their two comments."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "benchmarks"
OURS = os.pathsep.join([str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")])


@pytest.fixture
def benchmarks(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The modules of the folder, gone again afterwards: their names are common ones."""
    import importlib

    names = ("workloads", "driver", "results", "alone", "rows", "table", "run")
    monkeypatch.syspath_prepend(str(FOLDER))
    yield {name: importlib.import_module(name) for name in names}
    for name in names:
        sys.modules.pop(name, None)


def child(code: str) -> Any:
    """What the code prints, as JSON, run where the benchmarks' own children run."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDER, env={**os.environ, "PYTHONPATH": OURS}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


# The 1e7 chain and the 1024 matmul are larger sizes of others.
CHECK = """
import json, worker, peers.graphflow as ours, peers.numpy as reference
from workloads import WORKLOADS
names = [n for n in WORKLOADS if n not in ("chain-1e7", "matmul-1024")]
found = {n: [worker.setup(side, n, {}) for side in (ours, reference)] for n in names}
print(json.dumps(found))
"""


def test_our_workloads_compute_what_numpy_does() -> None:
    for name, (ours, reference) in child(CHECK).items():
        (expected,) = (variant["results"] for variant in reference.values())
        for variant in ours.values():
            assert "error" not in variant, (name, variant)
            assert variant["results"] == pytest.approx(expected, rel=1e-3), name


def test_the_digest_covers_all_compared() -> None:
    names = ["tiny", "digits", "kernels"]
    code = f"import json, peers.graphflow as g; print(json.dumps([[g.digest(n, 2), g.digest(n, 2)] for n in {names}]))"
    pairs = child(code)
    assert all(first == second for first, second in pairs)
    assert len({first for first, _ in pairs}) == len(names)


def test_the_hundred_kernels_are_a_hundred() -> None:
    code = """
import json, graphflow as gf, peers.graphflow as g
graph, fetches, feeds = g.many_kernels()
with gf.Session(graph=graph) as s:
    print(json.dumps(gf.explain(fetches, session=s, feed_shapes={x: list(a.shape) for x, a in feeds.items()}).count("kernel ")))
"""
    assert child(code) >= 100


def test_the_table_is_made_and_shows_what_is_missed(
    benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]
) -> None:
    benchmarks["run"].main(["tiny", "import", "--quick"])
    text = capsys.readouterr().out
    assert "| MLP 10-10-10-1, SGD step, batch 32 |" in text and "| import, against `import numpy` |" in text


def test_what_misses_its_target_is_bold(benchmarks: dict[str, ModuleType]) -> None:
    results, table = benchmarks["results"], benchmarks["table"]
    times = {"graphflow": 2e-3, "jax": 1e-3}
    found = results.Results(
        lines=[
            results.Line("slow", times, 2.0, 1.5),
            results.Line("fast", times, 2.0, 2.5),
            results.Line("late", times, 2.0, 1e-3, absolute=True),
            results.Line("in time", times, 2.0, 3e-3, absolute=True),
        ],
        shares=[results.Share("near", 95e9, 100e9, 0.9), results.Share("far", 85e9, 100e9, 0.9)],
        scaling=[results.Scaling("twice", 2e-3, 1e-3, 1.7), results.Scaling("once", 1e-3, 1e-3, 1.7)],
        beside_neighbour=[results.Scaling("held up", 1e-3, 2e-3, 1 / 1.5)],
        growth=3 << 20,
    )
    text = table.render(found, results.Effort())
    for line in (
        "| slow | 2.00 ms | 1.00 ms | **2.00** | ≤ 1.50 |",
        "| fast | 2.00 ms | 1.00 ms | 2.00 | ≤ 2.50 |",
        "| late | **2.00 ms** | 1.00 ms | 2.00 | ≤ 1.00 ms |",
        "| in time | 2.00 ms | 1.00 ms | 2.00 | ≤ 3.00 ms |",
        "| near | 95.0 | 100.0 | 95% | ≥ 90% |",
        "| far | 85.0 | 100.0 | **85%** | ≥ 90% |",
        "| twice | 2.00 ms | 1.00 ms | 2.00 | ≥ 1.7 |",
        "| once | 1.00 ms | 1.00 ms | **1.00** | ≥ 1.7 |",
        "| held up | 1.00 ms | 2.00 ms | **0.50** | ≥ 0.67 |",
        "by **3.00 MB**",
    ):
        assert line in text


def test_a_peer_that_fails_is_left_out_with_a_note(benchmarks: dict[str, ModuleType]) -> None:
    rows, driver = benchmarks["rows"], benchmarks["driver"]
    sides = {"graphflow": driver.Side("graphflow"), "jax": driver.Side("no_such_peer")}
    results = rows.measure(sides, benchmarks["results"].QUICK, lambda row: row == "tiny")
    assert results.notes == ["JAX: does not start, left out"]
    assert [line.ratio for line in results.lines] == [None]


def test_every_row_has_a_target(benchmarks: dict[str, ModuleType]) -> None:
    rows, alone, workloads = benchmarks["rows"], benchmarks["alone"], benchmarks["workloads"].WORKLOADS
    assert set(workloads) - {"scalar"} <= set(rows.RATIOS)
    assert all((target is None) == (row in {*rows.SECONDS, *rows.BEYOND_NUMPY}) for row, (_, target) in rows.RATIOS.items())
    assert {*alone.SPEEDUPS, *alone.PRODUCTS} <= set(workloads)


def test_rows_without_a_peer(benchmarks: dict[str, ModuleType]) -> None:
    """Share of peak, threads, a busy neighbour, memory: that they are measured, for what they find is the machine's."""
    alone, results = benchmarks["alone"], benchmarks["results"]
    alone.PRODUCTS, alone.SAME_BITS, alone.SETTLING_S, alone.GROWTH_RUNS = ("matmul-32x784x128",), ("tiny",), 0.05, 1000
    alone.SPEEDUPS = {"mlp-32": ("a step", 1.7)}
    found = results.Results()
    wanted = ("peak", "threads", "neighbour", "memory")
    alone.measure_alone(benchmarks["driver"].Side("graphflow"), results.QUICK, lambda row: row in wanted, found)
    assert found.lines == [] and found.same_bits == {"tiny": True}
    assert [(s.title, s.flops > 0, s.peak > 0) for s in found.shares] == [
        ("matmul + bias + relu, 32x784x128, mean", True, True)
    ]
    assert [s.title for s in found.scaling] == ["a step"]
    pinned = hasattr(os, "sched_getaffinity") and len(os.sched_getaffinity(0)) > 1
    assert [s.title for s in found.beside_neighbour] == (["a step"] if pinned else [])
    assert (found.growth is not None) == os.path.exists("/proc/self/statm")


def test_a_row_that_fails_is_left_out_with_a_note(benchmarks: dict[str, ModuleType]) -> None:
    alone, results = benchmarks["alone"], benchmarks["results"]
    found = results.Results()
    alone.measure_alone(benchmarks["driver"].Side("no_such_side"), results.QUICK, lambda row: row in ("peak", "memory"), found)
    assert found.notes == ["peak: failed, left out", "memory: failed, left out"] and found.growth is None


def test_names_that_nothing_has(benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        benchmarks["run"].main(["nonsense", "--quick"])
    assert "nothing is called nonsense" in capsys.readouterr().err


def test_only_what_is_between_the_comments_is_replaced(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    table = benchmarks["table"]
    file = tmp_path / "README.md"
    before, after = "# Title\n\nµ | text\n\n", "\n\n## More\n| a | b |\n"
    file.write_text(f"{before}{table.START}\nold\n{table.END}{after}", encoding="utf-8")
    for text in ("| new |\n", "| newer |\n"):
        table.write_between(file, text)
        assert file.read_text(encoding="utf-8") == f"{before}{table.START}\n{text}{table.END}{after}"


@pytest.mark.parametrize("text", ["nothing", "{s}", "{e}{s}", "{s}{s}{e}", "{s}{e}{e}"])
def test_a_file_without_its_comments_stays_as_it_is(benchmarks: dict[str, ModuleType], tmp_path: Path, text: str) -> None:
    table = benchmarks["table"]
    file = tmp_path / "README.md"
    old = text.format(s=table.START, e=table.END)
    file.write_text(old, encoding="utf-8")
    with pytest.raises(ValueError, match=r"README\.md must hold"):
        table.write_between(file, "new\n")
    assert file.read_text(encoding="utf-8") == old


def test_the_readme_has_the_comments(benchmarks: dict[str, ModuleType]) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert text.count(benchmarks["table"].START) == text.count(benchmarks["table"].END) == 1
