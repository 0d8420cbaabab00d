"""Float32 gradients of every elementwise op, first and second, at 0, at kinks, far out and near overflow, against float64.

The op's own gradient in float64 at the same points tells whether float32 loses digits or overflows on the way; what float64
cannot tell (which side counts at a kink, what is infinite at a pole) stands in tables of facts from TensorFlow.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.autodiff.rule_loader import rule_of
from graphflow.framework.kinds import Elementwise
from graphflow.framework.registry import OpDef, all_ops, is_own, lookup

INF = np.inf
POINTS = np.array(
    [
        0.0,
        -0.0,
        *(s * v for v in (1e-4, 0.3, 0.5, 1, 2, 3, 6, 10, 16, 20, 30, 60, 88, 100, 1e4, 1e8, 1e20, 3e38) for s in (1, -1)),
    ],
    np.float32,
)
#: Products and quotients of these stay within float32, mostly.
PAIRS = np.array([0.0, -0.0, *(s * v for v in (1e-4, 0.5, 1, 2, 3, 10, 30, 100, 1e4, 1e8) for s in (1, -1))], np.float32)

ELEMENTWISE = [
    op for op in all_ops()
    if is_own(op) and isinstance(op.kind, Elementwise) and rule_of(op) is not None
    and all(np.asarray(a).dtype == np.float32 for a in op.samples()[0].inputs) and len(op.samples()[0].inputs) < 3
]  # fmt: skip

#: Where float32 may lose digits, because TensorFlow's formula does: op, number of derivatives, points. Mostly 1 - y, or y + 1,
#: by the result y of a function that comes close to 1; and x^y, which is huge, times a logarithm that counts as 0.
LOSES: list[tuple[str, str, Callable[..., Any]]] = [
    ("Tanh", "12", lambda x: np.abs(x) > 5), ("Sigmoid", "12", lambda x: (x > 5) | (x == POINTS[2])),
    ("Elu Selu", "12", lambda x: x < -5), ("Gelu", "1", lambda x: x < -5), ("Atan2", "2", lambda y, x: np.abs(x) == np.abs(y)),
    ("Pow", "1", lambda x, y: np.abs(y) == 1e8), ("Pow", "2", lambda x, y: np.abs(y) >= 10),
    ("Zeta", "12", lambda x, q: x == 1e8), ("Polygamma", "1", lambda a, x: a == 1e8),
]  # fmt: skip


def derivatives(op: OpDef, points: list[Any], dtype: Any) -> list[tuple[str, Any]]:
    """The result, and the first and second derivatives of its sum by each operand."""
    sample = op.samples()[0]
    xs = [tf.constant(p.astype(dtype)) for p in points]
    xs = [tf.placeholder_with_default(x, x.shape) for x in xs]
    y = tf.get_default_graph().create_op(op, xs, sample.attrs).outputs[0]
    found = [("0", y)]
    for i, first in enumerate(tf.gradients(y, xs)):
        if first is not None:
            found.append((f"1{i}", first))
            found += [(f"2{i}{j}", g) for j, g in enumerate(tf.gradients(first, xs)) if g is not None]
    return found


@pytest.mark.parametrize("backend", ["native", "reference"])
@pytest.mark.parametrize("start", range(0, len(ELEMENTWISE), 8))
def test_float32_is_as_good_as_float64(start: int, backend: str) -> None:
    names, narrow, wide, at = [], [], [], []
    with tf.Graph().as_default(), tf.Session(backend=backend) as session, np.errstate(all="ignore"):
        for op in ELEMENTWISE[start : start + 8]:
            grid = np.meshgrid(PAIRS, PAIRS) if len(op.samples()[0].inputs) == 2 else [POINTS]
            points = [g.ravel() for g in grid]
            for (name, a), (_, b) in zip(derivatives(op, points, np.float32), derivatives(op, points, np.float64), strict=True):
                names.append((op.name, name))
                narrow.append(a)
                wide.append(b)
                at.append(points)
        results = session.run([narrow, wide])
        for (op_name, name), got, want, points in zip(names, *results, at, strict=True):
            checked = np.ones(got.shape, bool)
            for ops, orders, where in LOSES:
                if op_name in ops.split() and name[0] in orders:
                    checked &= ~where(*points)
            expected = want.astype(np.float32)
            # Subnormal numbers have few digits.
            checked &= (np.abs(want) > 1e-37) | (want == 0) | np.isnan(want)
            wrong = checked & ~np.isclose(got, expected, rtol=2e-4, atol=0, equal_nan=True)
            shown = [(*(float(p[k]) for p in points), got[k], want[k]) for k in np.flatnonzero(wrong)[:6]]
            assert not wrong.any(), f"{op_name}, derivative {name}, (point, float32, float64): {shown}"


#: Facts from TensorFlow: op -> the first derivative by each operand where a formula has to choose a side, or has a pole.
KINKS: dict[str, tuple[list[Any], list[Any]]] = {
    "Abs": ([[0.0, -0.0]], [[0, 0]]), "Sign": ([[0.0, 1.0]], [[0, 0]]), "Relu": ([[0.0, -0.0]], [[0, 0]]),
    "Relu6": ([[0.0, 6.0, 3.0]], [[0, 0, 1]]), "Elu": ([[0.0, -0.0]], [[1, 1]]),
    "Selu": ([[0.0, -0.0]], [[1.050701, 1.050701]]),
    "Softsign": ([[0.0, -0.0]], [[1, 1]]), "Softplus": ([[0.0, 89.0, -1e4]], [[0.5, 1, 0]]),
    "Sqrt": ([[0.0, INF]], [[INF, 0]]), "Rsqrt": ([[0.0, INF]], [[-INF, 0]]), "Reciprocal": ([[0.0, -0.0]], [[-INF, -INF]]),
    "Log": ([[0.0, -0.0]], [[INF, -INF]]), "Log1p": ([[-1.0]], [[INF]]), "Asin": ([[1.0, -1.0]], [[INF, INF]]),
    "Acos": ([[1.0, -1.0]], [[-INF, -INF]]), "Acosh": ([[1.0]], [[INF]]), "Atanh": ([[1.0, -1.0]], [[INF, INF]]),
    "Maximum": ([[0.0, 2.0, -0.0], [0.0, 2.0, 0.0]], [[1, 1, 1], [0, 0, 0]]),
    "Minimum": ([[0.0, 2.0, 0.0], [-0.0, 2.0, 0.0]], [[1, 1, 1], [0, 0, 0]]),
    "DivNoNan": ([[0.0, 1.0], [0.0, 0.0]], [[0, 0], [0, 0]]),
    "RealDiv": ([[1.0, 1.0], [0.0, -0.0]], [[INF, -INF], [-INF, -INF]]),
    "SquaredDifference": ([[1.0], [1.0]], [[0], [0]]),
    "FloorMod": ([[0.0, 6.0, -6.0], [2.0, 2.0, 4.0]], [[1, 1, 1], [0, -3, 2]]),
    "Pow": ([[0.0, 0.0, 0.0, -2.0], [1.0, 2.0, 0.5, 3.0]], [[1, 0, INF, 12], [0, 0, 0, 0]]),
    "Atan2": ([[0.0, 1.0], [-1.0, 0.0]], [[-1, 0], [0, -1]]),
    "ClipByValue": ([[1.0, 2.0, 0.0, 3.0], [1.0] * 4, [2.0] * 4], [[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
    "Xent": ([[0.0, -0.0], [1.0, 0.0]], [[-0.5, 0.5], [0, 0]]),
}  # fmt: skip


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_kinks_and_poles(backend: str) -> None:
    with tf.Graph().as_default(), tf.Session(backend=backend) as session:
        found = {}
        for name, (points, _) in KINKS.items():
            xs = [tf.placeholder_with_default(tf.constant(p, tf.float32), [len(p)]) for p in points]
            op = "SigmoidCrossEntropyWithLogits" if name == "Xent" else name
            y = tf.get_default_graph().create_op(lookup(op), xs).outputs[0]
            found[name] = tf.gradients(y, xs)
        for name, got in session.run(found).items():
            for g, wanted in zip(got, KINKS[name][1], strict=True):
                np.testing.assert_allclose(g, wanted, rtol=1e-6, err_msg=name)
