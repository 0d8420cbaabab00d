"""Runs that fail: the error says which op and which value it was, on every path; the session and its variables stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.kinds import Assertion, Composite, Elementwise, Gather, Scatter, StateUpdate
from graphflow.framework.registry import all_ops
from tests.run_errors import CASES, COUNTED, Case


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default():
        yield


def sizes(case: Case, k: int) -> list[int | None]:
    """The shape of placeholder k: open, but for a last size that has to be known."""
    rank = np.ndim(case.good[k])
    last = case.depth if k == len(case.good) - 1 else None
    return [*[None] * (rank - 1), last] if rank else []


def values(session: tf.Session) -> list[Any]:
    return [np.array(v) for v in session.run(tf.global_variables())]


def failure(run: Callable[[], Any], case: Case) -> Any:
    with pytest.raises(case.error) as e:
        run()
    error: Any = e.value
    head = str(error).split("\n")[0]
    assert case.words in head, f"{case.name}: {head!r}"
    assert error.op is not None and error.op.type == case.op, f"{case.name}: {error.op and error.op.type}"
    assert "run_errors.py" in str(error.created_at), str(error)
    return error


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
@pytest.mark.parametrize("backend", ["native", "reference"])
def test_what_a_run_refuses(case: Case, backend: str) -> None:
    tf.set_random_seed(3)
    feeds = [tf.placeholder(tf.as_dtype(np.asarray(g).dtype), sizes(case, k)) for k, g in enumerate(case.good)]
    fetch = case.build(*feeds)
    other = tf.Variable(5.0)
    with tf.control_dependencies(
        [fetch if isinstance(fetch, tf.Operation) else fetch[0].op if isinstance(fetch, list) else fetch.op]
    ):
        count = other.assign_add(1.0)
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        before = values(session)
        first = failure(lambda: session.run([fetch, count], dict(zip(feeds, case.bad, strict=True))), case)
        assert all(map(np.array_equal, values(session), before)), "a run that failed has assigned"
        # A call that has run before goes through native code alone.
        call = session.make_callable([fetch, count], feeds)
        for k in range(3):
            assert call(*case.good)[1] == 6.0 + k
        before = values(session)
        again = failure(lambda: call(*case.bad), case)
        assert str(again).split("\n")[0] == str(first).split("\n")[0]
        assert all(map(np.array_equal, values(session), before)), "a run that failed has assigned"
        assert call(*case.good)[1] == 9.0


@pytest.mark.parametrize("backend", ["native", "reference"])
def test_counting_to_a_limit(backend: str) -> None:
    counted = COUNTED.build()
    with tf.Session(backend=backend) as session:
        session.run(tf.global_variables_initializer())
        assert [int(session.run(counted)) for _ in range(3)] == [0, 1, 2]
        for _ in range(2):
            failure(lambda: session.run(counted), COUNTED)
        assert values(session) == [3]


#: Ops that can fail a run only as a part of others, which the table has.
PARTS = {
    "CheckedRow", "CheckedOrder", "CheckedOnce", "CheckedLabel", "IncrementBelow", "RefuseNaN", "RefuseInf", "SegmentAdd",
    "RowsUpdate", "RowsAdd", "RowsSub", "RowsMul", "RowsDiv", "RowsMin", "RowsMax",
}  # fmt: skip


def test_the_table_has_every_op_that_can_fail() -> None:
    def fails(kind: Any) -> bool:
        if isinstance(kind, (Composite, StateUpdate)):
            return kind.checks
        return isinstance(kind, (Gather, Scatter, Assertion)) or (isinstance(kind, Elementwise) and kind.check is not None)

    # The sparse steps of all optimizers are one function of a formula.
    wanted = {
        op.name
        for op in all_ops()
        if fails(op.kind) and not op.name.startswith(("Sparse", "ResourceSparse")) and "." not in op.name
    }
    had = {case.op for case in (*CASES, COUNTED)}
    assert wanted - had == PARTS
