"""``python -m graphflow``: what it prints and its exit status."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pydot
import pytest

import graphflow as tf
from graphflow.tools.cli import main

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    with tf.Graph().as_default(), tf.Session() as session:
        x = tf.placeholder(tf.float32, [None, 3], name="x")
        w = tf.Variable([[1.0], [2.0], [3.0]], name="w")
        y = tf.matmul(x, w, name="y")
        session.run(w.initializer)
        tf.save(path, session, inputs={"x": x}, outputs={"y": y}, step=5)
    return path


def test_info(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info", str(model)]) == 0
    text = capsys.readouterr().out
    for part in (
        "step 5",
        "6 operations",
        "1 MatMul",
        "input x: x:0 float32(?, 3)",
        "w: float32 (3, 1)",
        "3 parameters",
    ):
        assert part in text, text
    assert main(["info", "--json", str(model)]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] and found["operations"] == 6 and found["parameters"] == 3 and found["step"] == 5
    assert found["variables"] == {"w": {"dtype": "float32", "shape": [3, 1], "bytes": 12}}
    assert found["op_types"]["MatMul"] == 1 and set(found["signature"]["outputs"]) == {"y"}


def test_info_of_a_checkpoint_without_a_graph(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        session.run(tf.Variable(1.0, name="v").initializer)
        tf.train.Saver().save(session, str(tmp_path / "m"), write_meta_graph=False)
    assert main(["info", str(tmp_path / "m.safetensors")]) == 0
    assert "no graph" in capsys.readouterr().out
    assert main(["check", str(tmp_path / "m.safetensors")]) == 0
    assert main(["dot", str(tmp_path / "m.safetensors")]) == 1


def test_check(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", str(model)]) == 0
    assert "sound" in capsys.readouterr().out
    assert main(["check", "--json", str(model)]) == 0
    assert json.loads(capsys.readouterr().out) == {"file": str(model), "ok": True}
    data = bytearray(model.read_bytes())
    data[-1] ^= 1
    model.write_bytes(data)
    assert main(["check", str(model)]) == 1
    assert "CorruptFileError" in capsys.readouterr().err
    assert main(["check", "--json", str(model)]) == 1
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert found["ok"] is False and found["error"] == "CorruptFileError" and "checksum" in found["message"]


def test_dot(model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dot", str(model)]) == 0
    (graph,) = pydot.graph_from_dot_data(capsys.readouterr().out)
    assert graph.get_node('"y"')
    out = tmp_path / "picture.dot"
    assert main(["dot", str(model), "-o", str(out), "--legend", "--no-collapse", "--variables", "full"]) == 0
    assert "w/Assign" in out.read_text() and "legend" in out.read_text()
    assert main(["dot", str(model), "-o", str(tmp_path / "picture")]) == 2
    assert main(["dot", str(model), "-o", str(tmp_path / "no" / "picture.dot")]) == 2


def test_wrong_usage(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (
        [],
        ["nonsense"],
        ["info"],
        ["info", str(tmp_path / "no")],
        ["check", str(tmp_path)],
        ["dot", "--what"],
    ):
        assert main(arguments) == 2, arguments
        captured = capsys.readouterr()
        assert captured.err and not captured.out
    assert main(["check", "--json", str(tmp_path / "no")]) == 2
    assert json.loads(capsys.readouterr().out)["error"] == "FileNotFoundError"
    assert main(["--help"]) == 0


def test_as_a_module(model: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "graphflow", "check", str(model)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "sound" in done.stdout, done.stderr
    done = subprocess.run(
        f"{sys.executable} -m graphflow dot {model} | head -1", shell=True, cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout.startswith("digraph") and not done.stderr
