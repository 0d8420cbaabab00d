"""Sizes whose text or arithmetic grows without end: of a file that is hostile, and of a program that is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.dims import DEEPEST, SymDim, _allowances, bounded_cost, evaluate, size
from graphflow.framework.errors import ShapeError
from tests.saved_models import edited, node, small_model


def polynomial(terms: int, letter: str = "a") -> dict[str, Any]:
    return {"dim": [[1, f"{letter}{i}"] for i in range(terms)]}


def factor(terms: int) -> list[Any]:
    """A sum that is read as one factor: dividing it by 1 leaves it as it is."""
    return ["//", polynomial(terms), 1]


def nested(levels: int) -> Any:
    d: Any = polynomial(2)
    for i in range(levels):
        d = {"dim": [[1, ["max", d, {"dim": [[1, f"q{i}"], [1, f"r{i}"]]}], factor(3)]]}
    return d


#: Sizes that take hours, or more memory than there is, once they are multiplied out.
HOSTILE = {
    "a high power": {"dim": [[1] + [factor(10)] * 31]},
    "many sums": {"dim": [[1] + [factor(64)] * 16]},
    "many terms": {"dim": [[i, *[factor(12)] * 8] for i in range(1, 20)]},
    "products within": {"dim": [[1, ["max", {"dim": [[1] + [factor(12)] * 12]}, 7]]]},
    "remainders": {"dim": [[1, ["%", {"dim": [[1] + [factor(9)] * 9]}, polynomial(9, "b")]]]},
    "towers": nested(14),
}

_LOAD = """
import sys
import graphflow as tf
from graphflow.framework.errors import FormatError
for path in sys.argv[1:]:
    try:
        tf.load(path)
        print("loaded")
    except FormatError as e:
        print("too many terms" in str(e))
"""


def loaded_in_a_child(paths: list[Path]) -> list[str]:
    """Nothing of this is to take long, but a test that waits for hours helps nobody."""
    command = [sys.executable, "-c", textwrap.dedent(_LOAD), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert not done.stderr, done.stderr[-2000:]
    return done.stdout.split()


def test_sizes_of_a_file_are_bounded_by_cost(tmp_path: Path) -> None:
    paths = []
    for name, size_ in HOSTILE.items():
        for where in ("attributes", "types"):
            path = tmp_path / f"{name} {where}"
            small_model(path)

            def edit(header: Any, graph: Any, size_: Any = size_, where: str = where) -> None:
                x = node(graph, "x")
                x["outputs"] = [["float32", [size_, 3]]]
                if where == "attributes":
                    x["attrs"]["shape"] = [size_, 3]

            edited(path, edit)
            assert os.path.getsize(path) < 60_000
            paths.append(path)
    found = loaded_in_a_child(paths)
    assert found == ["True"] * len(paths)


def test_what_inference_makes_of_a_file_is_bounded(tmp_path: Path) -> None:
    """No size in the file is large; what follows from them is, and is given up or refused."""
    path = tmp_path / "m"
    with tf.Graph().as_default() as graph:
        tf.placeholder(tf.float32, [2] * 12, name="x")
        tf.save(path, graph=graph)
    flat = {
        "name": "flat", "op": "Reshape", "inputs": ["x:0", "to:0"], "outputs": [["float32", None]], "attrs": {},
    }  # fmt: skip
    to = {
        "name": "to", "op": "Const", "outputs": [["int32", [1]]],
        "attrs": {"value": {"tensor": ["int32", [1], np.int32(-1).tobytes().hex()]}},
    }  # fmt: skip

    def edit(header: Any, graph: Any) -> None:
        x = node(graph, "x")
        x["attrs"]["shape"] = [polynomial(7, letter) for letter in "abcdefghijkl"]
        x["outputs"] = [["float32", x["attrs"]["shape"]]]
        graph["nodes"] += [to, flat]

    edited(path, edit)
    assert loaded_in_a_child([path]) in (["True"], ["loaded"])


def test_the_cost_of_reading_is_bounded_for_the_reader_only() -> None:
    sums: SymDim = sum((size(f"n{i}") for i in range(1, 8)), size("n0"))  # type: ignore[assignment]
    with pytest.raises(ShapeError, match="too many terms"), bounded_cost(1000):
        sums * sums * sums
    assert isinstance(sums * sums * sums, SymDim) and not _allowances
    elsewhere: list[Any] = []
    with bounded_cost(10):
        thread = threading.Thread(target=lambda: elsewhere.append(sums * sums))
        thread.start()
        thread.join()
    assert elsewhere == [sums * sums]
    # An interrupt may come before an allowance is taken back: it ends with the frame that holds it.
    context = bounded_cost(10)
    context.__enter__()
    with pytest.raises(ShapeError):
        sums * sums
    del context
    _allowances[threading.get_ident()] = lambda: None  # type: ignore[assignment]
    assert sums * sums == elsewhere[0] and not _allowances


# ---------------------------------------------------------------------------------------------- no hostile ones


def reloads(path: Path, *tensors: Any) -> None:
    """What is saved can be loaded, says the same of sizes, and can be saved and loaded again."""
    graph = tensors[0].graph
    for _ in range(2):
        tf.save(path, graph=graph)
        graph = tf.load(path).graph
        for t in tensors:
            again = graph.get_tensor_by_name(t.name)
            assert str(again.shape) == str(t.shape)
            for ours, theirs in zip(t._shape, again._shape, strict=True):
                assert len(getattr(ours, "terms", ())) == len(getattr(theirs, "terms", ()))


@pytest.mark.parametrize("count", [2, 64, 65, 200])
def test_sums_of_many_sizes(count: int, tmp_path: Path) -> None:
    with tf.Graph().as_default():
        parts = [tf.placeholder(tf.float32, [None]) for _ in range(count)]
        y = tf.concat(parts, 0)
        table = tf.reshape(y[:, None] * tf.concat(parts[: count // 2], 0)[None, :], [-1])
        reloads(tmp_path / "m", y, table)


def test_high_powers(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        n = size("n")
        x = tf.placeholder(tf.float32, ["n"] * 20)
        y = tf.reshape(x, [-1])
        z = tf.reshape(y[:, None] * y[None, :], [-1])
        assert z._shape[0] == np.prod([n] * 40, dtype=object)
        reloads(tmp_path / "m", y, z)


def shifted(x: Any, times: int) -> Any:
    """Each step names the size before it twice."""
    for _ in range(times):
        x = tf.concat([x[1:], x[:1]], 0)
    return x


def every_other(x: Any, times: int) -> Any:
    for i in range(times):
        x = x[i % 2 :: 2] if i < 4 else x[i % 3 :]
    return x


@pytest.mark.parametrize(
    ("build", "times"), [(shifted, 8), (shifted, 60), (every_other, 17), (every_other, 99), (every_other, 300)]
)
def test_sizes_that_grow_with_each_op(build: Callable[[Any, int], Any], times: int, tmp_path: Path) -> None:
    """Where a size would take too much text, only the run knows it: no program fails, or takes for ever, for that."""
    feed = np.arange(8000, dtype=np.float32)
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [None], name="x")
        y = build(x, times) * 2.0
        with tf.Session() as session, tf.Session(backend="reference") as reference:
            found, expected = session.run(y, {x: feed}), reference.run(y, {x: feed})
        np.testing.assert_array_equal(found, expected)
        reloads(tmp_path / "m", y)


def test_products_of_long_sums() -> None:
    with tf.Graph().as_default(), tf.Session() as session:
        parts = [tf.placeholder(tf.float32, [None]) for _ in range(400)]
        y = tf.concat(parts, 0)
        table = tf.reduce_sum(tf.reshape(y[:, None] * y[None, :], [-1]))
        assert session.run(table, {p: [1.0] * (i % 2) for i, p in enumerate(parts)}) == 200.0**2


def test_texts_of_sizes_are_kept() -> None:
    """And are those of what a size is made of, however it came about."""
    n, m = size("n"), size("m")
    d = (n + 1) * m // 3 - (m * n) % 5
    assert str(d) == str((m + n * m) // 3 - (n * m) % 5) and evaluate(d, {"n": 6, "m": 7}) == 49 // 3 - 42 % 5
    assert json.dumps(str(d)) and DEEPEST == 100
