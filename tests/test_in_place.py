"""Variables updated in their own arrays: where that is safe the plan copies none, elsewhere it does, and numbers agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf


def copied(session: gf.Session, fetches: Any) -> list[str]:
    """What is copied to variables at the end of a run, or aside before."""
    lines = session.explain(fetches).splitlines()
    return [line for line in lines if "copy of" in line and "to output" not in line]


# ---------------------------------------------------------------------------------------------- what can fail


@pytest.mark.parametrize(
    ("dtype", "update", "checked"),
    [
        (gf.float32, lambda v: gf.pow(v, 1.5), False),
        (gf.float32, lambda v: gf.pow(2.0, v), False),
        (gf.float64, lambda v: v % 0.7, False),
        (gf.float32, lambda v: v // 0.3, False),
        (gf.int32, lambda v: gf.pow(v, v), True),
        (gf.uint8, lambda v: gf.pow(v, v), False),
        (gf.int32, lambda v: 7 // v, True),
        (gf.int64, lambda v: gf.truncatemod(v, v + 1), True),
    ],
)
def test_only_what_can_fail_is_copied(dtype: Any, update: Callable[[Any], Any], checked: bool) -> None:
    start = np.array([1, 2, 3, 1, 2], dtype.as_numpy_dtype)
    found = []
    for backend in ("native", "reference"):
        with gf.Graph().as_default(), gf.Session(backend=backend) as session:
            v = gf.Variable(start)
            step = v.assign(update(v))
            session.run(v.initializer)
            if backend == "native":
                assert bool(copied(session, step.op)) == checked
            session.run(step.op)
            found.append(session.run(v))
    np.testing.assert_allclose(*found, rtol=1e-6)


def test_ftrl_copies_nothing() -> None:
    """Its formula has powers: for one kernel a variable, none of them may count as what can fail the run."""
    with gf.Graph().as_default(), gf.Session() as session:
        pairs = [(gf.fill([n, 7], 0.5), gf.Variable(np.ones((n, 7), np.float32))) for n in (5, 9, 12)]
        step = gf.train.FtrlOptimizer(0.1, l1_regularization_strength=0.01).apply_gradients(pairs)
        text = session.explain(step)
    assert "copy of" not in text and text.count("updates in place") == 3
