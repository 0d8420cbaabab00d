"""Each sample runs as a user would run it, in an empty folder, and does what it says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def run(name: str, folder: Path) -> str:
    path = os.pathsep.join([str(ROOT), str(ROOT / "compiler"), str(ROOT / "runtime")])
    done = subprocess.run(
        [sys.executable, str(ROOT / "samples" / f"{name}.py")],
        cwd=folder, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_linear_regression(tmp_path: Path) -> None:
    slope, intercept = map(float, re.findall(r"y = ([\d.]+) x \+ ([\d.]+)", run("linear_regression", tmp_path))[0])
    assert abs(slope - 3) < 0.05 and abs(intercept - 2) < 0.05


def test_xor_by_hand(tmp_path: Path) -> None:
    answers = dict(re.findall(r"(\d xor \d) = ([\d.]+)", run("xor_by_hand", tmp_path)))
    assert {k: round(float(v)) for k, v in answers.items()} == {"0 xor 0": 0, "0 xor 1": 1, "1 xor 0": 1, "1 xor 1": 0}


def test_digits_mlp(tmp_path: Path) -> None:
    accuracy = float(re.findall(r"test accuracy ([\d.]+)%", run("digits_mlp", tmp_path))[0])
    assert accuracy >= 96.5
    assert (tmp_path / "digits.dot").read_text().startswith("digraph")


def test_custom_op(tmp_path: Path) -> None:
    text = run("custom_op", tmp_path)
    assert "Swish" in text and "kernel" in text


def test_inspect_compiler(tmp_path: Path) -> None:
    text = run("inspect_compiler", tmp_path)
    assert "one native call" in text and "MatMul" in text and "plans_compiled=2" in text
