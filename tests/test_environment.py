"""Environment variables: a value that cannot be is told once, with what is allowed, and the default taken."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import graphflow
from graphflow.framework import environment
from graphflow_compiler.codegen.jit import compile_pool
from graphflow_compiler.codegen.jit.object_cache import object_cache
from graphflow_compiler.compilation import Options
from graphflow_compiler.passes.pipeline import Dump
from graphflow_compiler.passes.rewrite import PassContext
from graphflow_runtime.executor import threads
from graphflow_runtime.native_code import dispatch

ROOT = Path(graphflow.__file__).parent.parent

#: For each variable, values that it cannot have, and what is said of them.
WRONG = {
    "GRAPHFLOW_THREADS": (["0", "-1", "two", "1.5", "9" * 5000], "a whole number from 1: the default is taken"),
    "GRAPHFLOW_COMPILE_WORKERS": (["-1", "two", "0x2"], "a whole number from 0: the default is taken"),
    "GRAPHFLOW_CACHE_SIZE": (["-1", "1 GB", "1e3"], "a whole number from 0: the default is taken"),
    "GRAPHFLOW_FUEL": (["-5", "all"], "a whole number from 0: the default is taken"),
    "GRAPHFLOW_DISPATCH": (["python", "BUILTIN"], "'builtin' or 'ctypes': the default is taken"),
    "GRAPHFLOW_CHECKED": (["yes", "2"], "'0' or '1': the default is taken"),
    "GRAPHFLOW_DUMP": (["{file}", "{file}/below"], "a folder that can be written ([Errno"),
    "GRAPHFLOW_CACHE_DIR": (["{file}/below"], "a folder that can be made ([Errno"),
}
#: Every one of them is read by a first run that has threads to choose and kernels to compile.
PROGRAM = """
import numpy as np
import graphflow as tf
from graphflow_runtime.executor import native
native._THREADS_WORK = -1
x = tf.placeholder(tf.float32, [None, 3])
y = tf.reduce_sum(tf.nn.softmax(x) * 2.0)
for _ in range(2):
    with tf.Session() as session:
        text = session.explain(y, feed_shapes={x: (4, 3)})
        print(session.run(y, {x: np.ones((4, 3))}), session.run(tf.zeros([2]) + 1.0), "reference" in text)
"""


def test_no_variable_is_forgotten() -> None:
    """What the sources name, and what the page for users names."""
    named: set[str] = set()
    for package in (ROOT / "graphflow", ROOT / "compiler", ROOT / "runtime"):
        for file in package.rglob("*.py"):
            named |= set(re.findall(r"GRAPHFLOW_[A-Z_]+", file.read_text(encoding="utf-8")))
    assert named == set(WRONG)
    assert named == set(re.findall(r"GRAPHFLOW_[A-Z_]+", (ROOT / "docs" / "debugging.md").read_text(encoding="utf-8")))


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_value_is_told_once_and_nothing_fails(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    values, allowed = WRONG[name]
    value = values[0].replace("{file}", str(tmp_path / "file"))
    # With the cache of other tests there would be nothing to compile.
    env = {**os.environ, "GRAPHFLOW_CACHE_DIR": str(tmp_path / "cache"), name: value}
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=300, check=False)
    assert done.stdout.splitlines() == ["8.0 [1. 1.] False"] * 2, done.stderr
    (said,) = done.stderr.splitlines()
    assert f"the environment variable {name} is {value!r}, which is not {allowed}" in said


@pytest.mark.parametrize("name", WRONG)
def test_every_wrong_value(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(environment, "_told", set())
    (tmp_path / "file").write_text("in the way")
    values, allowed = WRONG[name]
    for value in [v.replace("{file}", str(tmp_path / "file")) for v in values] * 2:
        monkeypatch.setenv(name, value)
        threads.wanted_threads(), compile_pool._limit(), PassContext(), dispatch._wanted(), Options()
        cache = object_cache()
        assert cache is not None
        cache.put(bytes(32), b"code")
        assert Dump.from_environment("plan").folder is None
    assert [r.getMessage().partition(" is '")[0] for r in caplog.records] == [f"the environment variable {name}"] * len(values)
    assert all(f", which is not {allowed}" in r.getMessage() for r in caplog.records)


def test_a_dump_that_fails_later_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(environment, "_told", set())
    monkeypatch.setenv("GRAPHFLOW_DUMP", str(tmp_path / "new" / "folder"))
    dump = Dump.from_environment("plan")
    assert dump.folder == tmp_path / "new" / "folder" / "0000_plan"
    dump.write("program", lambda: "caf\xe9")
    assert (dump.folder / "00_program.txt").read_bytes() == b"caf\xc3\xa9"
    shutil.rmtree(tmp_path / "new")
    dump.write("plan", lambda: "text")
    dump.summary("line")
    assert dump.folder is None and len(caplog.records) == 1 and "nothing is written" in caplog.text


def test_right_values_are_taken_in_silence(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    for name, value in (
        ("GRAPHFLOW_THREADS", " +5 "), ("GRAPHFLOW_COMPILE_WORKERS", "3"), ("GRAPHFLOW_CACHE_SIZE", " 7"),
        ("GRAPHFLOW_FUEL", "0"), ("GRAPHFLOW_DISPATCH", "ctypes"), ("GRAPHFLOW_CHECKED", "1"),
    ):  # fmt: skip
        monkeypatch.setenv(name, value)
    cache = object_cache()
    assert threads.available_threads() == 5 and compile_pool._limit() == 3 and PassContext().fuel == 0
    assert Options().checked
    assert cache is not None and cache.limit == 7_000_000
    assert dispatch.make_builtins() is None
    for name in WRONG:
        if name != "GRAPHFLOW_CACHE_DIR":
            monkeypatch.setenv(name, "")
    cache = object_cache()
    assert cache is not None and cache.limit == 256_000_000 and PassContext().fuel == -1 and not Options().checked
    assert caplog.text == ""
