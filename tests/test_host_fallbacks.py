"""Runs that native code cannot serve are counted, and `explain` names the operations to blame."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import InvalidArgumentError
from graphflow_compiler.compilation import CannotCompile
from graphflow_runtime.executor import native


def test_native_runs_are_no_fallbacks() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        for n in (3, 0, 5):
            session.run(x * 2.0, {x: np.ones(n)})
        assert (session.stats.runs, session.stats.host_fallbacks) == (3, 0)


def test_each_run_on_the_host_counts_also_one_that_fails() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None])
        kept = gf.boolean_mask(x, x > 0.0, name="kept")
        total = gf.reduce_sum(x)
        bad = gf.py_func(lambda v: 1 / 0, [x], gf.float32)
        for n in range(4):
            assert session.run([kept, total], {x: [1.0, -1.0]})[1] == 0.0
            assert session.run(total, {x: [1.0, -1.0]}) == 0.0
            assert session.stats.host_fallbacks == n + 1
        with pytest.raises(Exception, match="division by zero"):
            session.run(bad, {x: [1.0]})
        assert session.stats.host_fallbacks == 5
        session.make_callable(kept, [x])([1.0])
        session.profile(kept, {x: [1.0]}, runs=2)
        assert session.stats.host_fallbacks == 9


def test_explain_names_every_operation_to_blame() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [4])
        first = gf.py_func(lambda v: v + 1, [x], gf.float32, name="first")
        second = gf.py_func(lambda v: v + 2, [x], gf.float32, name="second")
        text = session.explain([first, second, x * 2.0], {x: np.zeros(4)})
        assert text == "reference backend (numpy): runs on the host: PyFunc (first), PyFunc (second)\n"
        words = gf.constant("a", name="words")
        text = session.explain([first, words], {x: np.zeros(4)})
        assert text.endswith("runs on the host: PyFunc (first); has string values: Const (words)\n")
        many = [gf.py_func(lambda v, k=k: v + k, [x], gf.float32, name=f"f{k}") for k in range(20)]
        text = session.explain(many, {x: np.zeros(4)})
        assert "(f7) and 12 more" in text and "(f8)" not in text


def test_a_refused_program_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever keeps a program from being compiled."""

    def refuse(*_: Any) -> Any:
        raise CannotCompile("today nothing is compiled")

    monkeypatch.setattr(native, "compile", refuse)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [2])
        y = gf.exp(x)
        assert session.run(y, {x: [0.0, 0.0]}).tolist() == [1.0, 1.0]
        assert session.stats.host_fallbacks == session.stats.runs == 1
        assert session.explain(y, {x: [0.0, 0.0]}).startswith("reference backend (numpy): today nothing is compiled")


def test_a_check_that_fails_is_no_fallback() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.int32, [2])
        y = gf.gather(gf.constant([1.0, 2.0]), x)
        session.run(y, {x: [0, 1]})
        with pytest.raises(InvalidArgumentError):
            session.run(y, {x: [0, 7]})
        session.run(y, {x: [1, 1]})
        assert (session.stats.runs, session.stats.host_fallbacks) == (3, 0)


def test_the_reference_backend_itself_falls_back_to_nothing() -> None:
    with gf.Graph().as_default(), gf.Session(backend="reference") as session:
        session.run(gf.constant(1.0) + 1.0)
        assert (session.stats.runs, session.stats.host_fallbacks) == (1, 0)


_WITHOUT_LLVM = """
import sys
sys.modules["llvmlite"] = None
import graphflow as tf
with tf.Session() as session:
    print(session.run(tf.constant(1.0) + 1.0), session.run(tf.constant(2.0) + 1.0), session.stats.host_fallbacks)
"""


def test_without_native_code_every_run_is_one() -> None:
    done = subprocess.run([sys.executable, "-c", _WITHOUT_LLVM], capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["2.0", "3.0", "2"], done.stderr
