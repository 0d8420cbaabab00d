"""The benchmarks run, whatever they measure, and write only between their two comments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
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

    names = ("workloads", "driver", "results", "before", "alone", "rows", "table", "run")
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
    ours = {"graphflow": benchmarks["driver"].Side("graphflow")}
    alone.measure_alone(ours, results.QUICK, lambda row: row in wanted, found)
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
    ours = {"graphflow": benchmarks["driver"].Side("no_such_side")}
    alone.measure_alone(ours, results.QUICK, lambda row: row in ("peak", "memory"), found)
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


def environment(folder: Path, *roots: Path) -> Path:
    """An interpreter that imports from the roots, and all else from where this one does."""
    venv.create(folder)
    (packages,) = folder.glob("[Ll]ib/**/site-packages")
    (packages / "roots.pth").write_text("\n".join(map(str, [*roots, *(path for path in sys.path if "site-packages" in path)])))
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with another graphflow: a copy of this one, called version 0.0.7."""
    root = tmp_path_factory.mktemp("earlier")
    for name in ("graphflow", "compiler", "runtime"):
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / "graphflow" / "__init__.py").open("a").write('\n__version__ = "0.0.7"\n')
    return environment(root / "venv", root, root / "compiler", root / "runtime")


def test_an_earlier_commit_stands_beside_ours(
    benchmarks: dict[str, ModuleType], earlier: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peer = f"graphflow@v0={earlier}"
    assert benchmarks["run"].main(["tiny", "import", "kernels", "first", "digits", "--quick", "--peer", peer]) == 0
    text = capsys.readouterr().out
    head, *rows = [line.split(" | ") for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    ours = benchmarks["before"].commit_of(ROOT / "graphflow")
    assert "graphflow before 0.0.7 (v0)" in text and (not ours or f" ({ours}), graphflow before" in text)
    assert head == ["| work", f"graphflow {ours}".strip(), "graphflow before v0", *head[3:-1], "ours / before |"]
    assert "PyTorch" in head or [row[-3] for row in rows if "MLP" in row[0]] == ["", ""]  # it counts as no framework
    assert len(rows) >= 5 and all(row[2].endswith("s") and float(row[-1].rstrip(" |")) > 0 for row in rows)


def test_an_earlier_commit_on_one_thread(benchmarks: dict[str, ModuleType], earlier: Path) -> None:
    alone, results, driver = benchmarks["alone"], benchmarks["results"], benchmarks["driver"]
    alone.PRODUCTS, alone.SPEEDUPS = ("matmul-32x784x128",), {"mlp-32": ("a step", 1.7)}
    sides = {"graphflow": driver.Side("graphflow"), "before": driver.Side("before", str(earlier))}
    found = results.Results()
    alone.measure_alone(sides, results.QUICK, lambda row: row == "one-thread", found)
    assert [line.title for line in found.lines] == ["a step, one thread", "matmul + bias + relu, 32x784x128, mean, one thread"]
    assert all(line.seconds.keys() == sides.keys() and len(line.ratios) == 1 for line in found.lines)


def test_an_earlier_commit_is_imported_from_its_own_place(
    benchmarks: dict[str, ModuleType], earlier: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither PYTHONPATH nor the folder that the benchmarks are started in leads it to this checkout."""
    driver = benchmarks["driver"]
    monkeypatch.setenv("PYTHONPATH", OURS)
    monkeypatch.chdir(ROOT)
    code = "import graphflow, graphflow_compiler, graphflow_runtime as r; print(graphflow.__file__, r.__file__, 7); "
    code += "assert graphflow.__version__ == '0.0.7' and 'earlier' in graphflow_compiler.__file__ and 'earlier' in r.__file__"
    for python in (str(earlier), sys.executable):
        side = driver.Side("before", python)
        assert "PYTHONPATH" not in side.environment() and OURS in driver.Side("graphflow").environment()["PYTHONPATH"]
    side = driver.Side("before", str(earlier))
    assert driver._run(driver.Run(side, [side.python, "-c", code], prints=True, cache=None)) == 7


def test_an_earlier_commit_keeps_compiled_code_elsewhere(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows, driver, results = benchmarks["rows"], benchmarks["driver"], benchmarks["results"]
    seen: dict[str, Any] = {}
    monkeypatch.setattr(rows, "_steps", lambda sides, *_: seen.update(sides) or {})
    sides = {name: driver.Side(name, commit=f"of {name}") for name in ("graphflow", "before", "numpy")}
    found = rows.measure(sides, results.QUICK, lambda row: False)
    places = {seen[name].environment()["GRAPHFLOW_CACHE_DIR"] for name in ("graphflow", "before")}
    assert len(places) == 2 and seen["numpy"].cache is None
    assert seen["before"].environment(tmp_path)["GRAPHFLOW_CACHE_DIR"] == str(tmp_path)
    assert found.commits == {"graphflow": "of graphflow", "before": "of before"}


def test_this_checkout_is_no_earlier_commit(
    benchmarks: dict[str, ModuleType], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    same = environment(tmp_path / "same", ROOT, ROOT / "compiler", ROOT / "runtime")
    without = environment(tmp_path / "without")
    (next((tmp_path / "without").glob("[Ll]ib/**/site-packages")) / "roots.pth").unlink()
    for python, said in ((same, "of this checkout"), (without, "No module named"), (tmp_path / "nothing", "No such file")):
        with pytest.raises(SystemExit):
            benchmarks["run"].main(["tiny", "--quick", "--peer", f"graphflow={python}"])
        assert said in capsys.readouterr().err


def test_the_commit_of_a_checkout(benchmarks: dict[str, ModuleType], tmp_path: Path) -> None:
    commit_of = benchmarks["before"].commit_of
    tracked, ignored = tmp_path / "graphflow", tmp_path / "venv" / "graphflow"
    for folder in (tracked, ignored):
        folder.mkdir(parents=True)
        (folder / "__init__.py").touch()
    (tmp_path / ".gitignore").write_text("venv\n")
    assert commit_of(tracked) == ""
    if shutil.which("git") is None:
        return  # then no folder is a checkout

    def git(*arguments: str) -> str:
        who = ["-c", "user.name=a", "-c", "user.email=a@b.c", "-c", "commit.gpgsign=false"]
        return subprocess.run(
            ["git", "-C", str(tmp_path), *who, *arguments], check=True, capture_output=True, text=True
        ).stdout.strip()  # fmt: skip

    git("init")
    git("add", ".")
    git("commit", "-m", "first")
    commit = git("rev-parse", "--short", "HEAD")
    assert commit and commit_of(tracked) == commit
    assert commit_of(ignored) == ""  # installed into an environment below the checkout
    (tracked / "new.py").touch()
    assert commit_of(tracked) == f"{commit}+"


@pytest.mark.parametrize(
    ("at_most", "again", "expected"),
    [
        (None, [], [1.2]),
        (1.25, [], [1.2]),
        (1.05, [0.8], [1.2, 0.8]),
        (1.05, [1.0, 1.0], [1.2, 1.0, 1.0]),
        (1.05, [1.1, 1.0, 1.0], [1.2, 1.1, 1.0, 1.0]),
        (1.05, [1.2, 1.2, 1.2], [1.2, 1.2, 1.2, 1.2]),
        (1.05, [1.2, None], [1.2, 1.2]),
    ],
)
def test_a_row_above_the_limit_is_timed_again(
    benchmarks: dict[str, ModuleType], at_most: float | None, again: list[float | None], expected: list[float]
) -> None:
    before, results = benchmarks["before"], benchmarks["results"]
    left, orders, notes = list(again), [], []

    def retime(order: tuple[str, str]) -> dict[str, float | None]:
        orders.append(order[0])
        return {"graphflow": left.pop(0), "before": 1.0}

    found = before.ratios("a row", {"graphflow": 1.2, "before": 1.0}, retime, results.Effort(at_most=at_most), notes)
    assert list(found) == expected and left == []
    assert orders == ["before", "graphflow", "before"][: len(again)]
    assert len(notes) == (len(expected) > 1)
    assert before.ratios("a row", {"graphflow": 1.2, "before": None}, retime, results.Effort(at_most=at_most), notes) == ()


def test_a_row_slower_than_before_is_bold_and_ends_with_status_1(
    benchmarks: dict[str, ModuleType], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    results, run, driver = benchmarks["results"], benchmarks["run"], benchmarks["driver"]
    both, alone = {"graphflow": 2e-3, "before": 1e-3, "numpy": 1e-3}, {"before": 1e-3}

    def line(title: str, *ratios: float) -> Any:
        return results.Line(title, both, None, None, ratios=ratios)

    def status(*lines: Any, limit: str = "--at-most=1.05") -> tuple[int, str]:
        commits = {"graphflow": "b+", "before": "a"}
        monkeypatch.setattr(run, "measure", lambda *_: results.Results(lines=list(lines), commits=commits))
        found = run.main(["--peer", "graphflow=python", *filter(None, [limit])])
        return found, capsys.readouterr().out

    monkeypatch.setattr(run, "with_earlier", lambda *_: ({"graphflow": driver.Side("graphflow")}, ["a note"]))
    good, bad = line("good", 1.3, 1.0, 1.0), line("bad", 1.1)
    code, text = status(good)
    assert code == 0 and "| good | 2.00 ms | 1.00 ms | 1.00 ms |  |  | 1.00 |" in text and "* a note" in text
    assert "| work | graphflow b+ | graphflow before a | numpy | ratio | target | ours / before |" in text
    code, text = status(good, bad)
    assert code == 1 and "| bad | 2.00 ms | 1.00 ms | 1.00 ms |  |  | **1.10** |" in text
    code, text = status(good, bad, limit="")
    assert code == 0 and "| 1.10 |" in text
    assert status(good, results.Line("gone", alone, None, None))[0] == 1
    assert status(results.Line("new", {"graphflow": 1e-3}, None, None))[0] == 1  # nothing was compared


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--peer", "graphflow"], "is not NAME=PYTHON"),
        (["--peer", "graphflow@=python"], "is not NAME=PYTHON"),
        (["--peer", "jax@v2=python"], "is not NAME=PYTHON"),
        (["--peer", "before=python"], "is not NAME=PYTHON"),
        (["--at-most", "1.05"], "name it by --peer graphflow=PYTHON"),
        (["--readme", "--peer", "graphflow=python"], "without an earlier commit"),
    ],
)
def test_options_that_make_no_sense(
    benchmarks: dict[str, ModuleType], capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    with pytest.raises(SystemExit):
        benchmarks["run"].main(arguments)
    assert said in capsys.readouterr().err
