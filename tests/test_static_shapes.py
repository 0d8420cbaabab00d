"""Static shapes, and the runs they promise, of a table of expressions: `golden/static_shapes.txt`.

A line of the table is ``static shape | shape in a run | checksum | expression``, as TensorFlow has them for the placeholders
below (``?``: unknown rank; no checksum: random numbers; no run at all: what its present release has no more). What is known
here may be more, never less.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

import graphflow as tf

PLACEHOLDERS: dict[str, tuple[Any, Any, Any]] = {
    "x": (tf.float32, None, np.arange(6.0).reshape(2, 3)),
    "x3": (tf.float32, None, np.arange(24.0).reshape(2, 3, 4)),
    "xv": (tf.float32, None, np.arange(3.0)),
    "y": (tf.float32, [None, 3], np.arange(6.0).reshape(2, 3) + 1),
    "z": (tf.float32, [2, 3], np.arange(6.0).reshape(2, 3) - 2),
    "w": (tf.float32, [None, None, 4], np.arange(24.0).reshape(2, 3, 4)),
    "q": (tf.float32, [2, 3, 4], np.arange(24.0).reshape(2, 3, 4)),
    "m": (tf.float32, [3, 4], np.arange(12.0).reshape(3, 4)),
    "s": (tf.int32, [], 2),
    "t": (tf.int32, [], 3),
    "sU": (tf.int32, None, 2),
    "k": (tf.int32, [], 1),
    "k0": (tf.int32, [], 0),
    "L": (tf.int64, [], 2),
    "v2": (tf.int32, [2], [3, 2]),
    "v1": (tf.int32, [1], [1]),
    "vN": (tf.int32, [None], [3, 2]),
    "vU": (tf.int32, None, [3, 2]),
    "perm": (tf.int32, [2], [1, 0]),
    "permN": (tf.int32, [None], [1, 0]),
    "pads": (tf.int32, [2, 2], [[1, 0], [0, 2]]),
    "padsN": (tf.int32, [None, 2], [[1, 0], [0, 2]]),
    "padsU": (tf.int32, None, [[1, 0], [0, 2]]),
    "ones2": (tf.int32, [2], [1, 1]),
    "kp": (tf.float32, None, 0.5),
    "kps": (tf.float32, [], 0.5),
    "flag": (tf.bool, None, True),
    "flags": (tf.bool, [], True),
    "labU": (tf.int32, None, [1, 0]),
    "labU1": (tf.int32, None, [[1], [0]]),
    "labN1": (tf.int32, [None, 1], [[1], [0]]),
    "lab": (tf.int32, [None], [1, 0]),
    "one": (tf.float32, None, [[0, 1, 0], [1, 0, 0]]),
    "wU": (tf.float32, None, 2.0),
    "b": (tf.bool, None, [[True, False, True], [False, True, True]]),
    "bN": (tf.bool, [None, 3], [[True, False, True], [False, True, True]]),
    "b1": (tf.bool, [None], [True, False]),
    "nd": (tf.int32, None, [[0, 1], [1, 2]]),
    "ndN": (tf.int32, [None, 2], [[0, 1], [1, 2]]),
    "ndNN": (tf.int32, [None, None], [[0, 1], [1, 2]]),
    "ids": (tf.int32, [None], [1, 0, 1]),
    "seg": (tf.int32, [None], [0, 1]),
}
#: Expressions that only numpy runs: their results are as long as their data says, or their ops have no kernels yet.
HOST = re.compile(r"boolean_mask|tf\.where\(bN?\)|tf\.where\(b1, \['a'|cum|unique|nn\.top_k\(|shuffle|where\(flags, \[2")
GROUP = 40  # expressions in one run: a plan for each would take most of the time


class Line(NamedTuple):
    static: tuple[int | None, ...] | None
    run: tuple[int, ...] | None
    checksum: float | None
    expression: str


def _shape(text: str) -> tuple[int | None, ...] | None:
    sizes = text.strip("() ").split(",")
    return None if text == "?" else tuple(None if d.strip() == "None" else int(d) for d in sizes if d.strip())


def _table() -> list[Line]:
    found = []
    for line in (Path(__file__).parent / "golden" / "static_shapes.txt").read_text().splitlines():
        static, run, checksum, expression = (part.strip() for part in line.split("|", 3))
        known = _shape(run) if run else None
        found.append(Line(_shape(static), known, float(checksum) if checksum else None, expression))  # type: ignore[arg-type]
    return found


TABLE = _table()


def _built(lines: list[Line]) -> tuple[tf.Graph, list[tf.Tensor], dict[tf.Tensor, Any]]:
    """The expressions on a graph of their own, and what to feed."""
    graph = tf.Graph()
    with graph.as_default():
        tf.set_random_seed(1)
        words = set(re.findall(r"\w+", " ".join(line.expression for line in lines)))
        made = {
            name: tf.placeholder(dtype, shape, name=name) for name, (dtype, shape, _) in PLACEHOLDERS.items() if name in words
        }
        scope = {"tf": tf, "np": np, **made}
        tensors = [tf.convert_to_tensor(eval(line.expression, dict(scope))) for line in lines]
        return graph, tensors, {t: PLACEHOLDERS[name][2] for name, t in made.items()}


def _fits(static: tf.TensorShape, shape: tuple[int | None, ...]) -> bool:
    return static.ndims is None or (
        static.ndims == len(shape) and all(a is None or a == b for a, b in zip(static.as_list(), shape, strict=True))
    )


def _says(static: tf.TensorShape, wanted: tuple[int | None, ...] | None) -> bool:
    """Whether a static shape says at least what is wanted."""
    if wanted is None:
        return True
    return static.ndims == len(wanted) and all(b is None or a == b for a, b in zip(static.as_list(), wanted, strict=True))


def test_static_shapes_say_what_tensorflows_say() -> None:
    _, tensors, _ = _built(TABLE)
    worse = [
        f"{line.expression}: {t.shape}, not {line.static}"
        for line, t in zip(TABLE, tensors, strict=True)
        if not _says(t.shape, line.static)
    ]
    assert not worse, "\n".join(worse)


def _check(line: Line, t: tf.Tensor, value: Any) -> None:
    value = np.asarray(value)
    assert _fits(t.shape, value.shape), f"{line.expression}: {value.shape} does not fit {t.shape}"
    if line.run is not None:
        assert value.shape == line.run, line.expression
    if line.checksum is not None:
        flat = np.nan_to_num(value.astype(np.float64).ravel())
        total = float(np.sum(flat * (1 + np.arange(flat.size) % 7)))
        assert total == pytest.approx(line.checksum, rel=2e-3, abs=2e-3), line.expression


NATIVE = [line for line in TABLE if not HOST.search(line.expression)]


@pytest.mark.parametrize("first", range(0, len(NATIVE), GROUP))
def test_runs_natively(first: int) -> None:
    lines = NATIVE[first : first + GROUP]
    graph, tensors, feeds = _built(lines)
    with tf.Session(graph=graph) as session:
        with graph.as_default():
            session.run(tf.global_variables_initializer())
        for line, t, value in zip(lines, tensors, session.run(tensors, feeds), strict=True):
            _check(line, t, value)
        assert session.stats.host_fallbacks == 0, tf.explain(tensors, feeds, session=session)


def test_runs_in_numpy() -> None:
    graph, tensors, feeds = _built(TABLE)
    with tf.Session(graph=graph, backend="reference") as session:
        with graph.as_default():
            session.run(tf.global_variables_initializer())
        for line, t, value in zip(TABLE, tensors, session.run(tensors, feeds), strict=True):
            _check(line, t, value)


def test_what_only_numpy_runs_says_so() -> None:
    lines = [line for line in TABLE if HOST.search(line.expression)]
    graph, tensors, feeds = _built(lines)
    with tf.Session(graph=graph) as session:
        for line, t, value in zip(lines, tensors, session.run(tensors, feeds), strict=True):
            _check(line, t, value)
            used = {p: v for p, v in feeds.items() if re.search(rf"\b{p.op.name}\b", line.expression)}
            assert tf.explain(t, used, session=session).startswith("reference backend"), line.expression
