"""What finding the message of a failed native run must not do: count, draw, assign or call anything a second time."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow_runtime.executor.reference import ReferenceExecutable
from graphflow_runtime.session.prepared_call import PreparedCall


@pytest.fixture(autouse=True)
def graph() -> Any:
    with tf.Graph().as_default():
        yield


def test_a_failed_run_is_one_run_and_one_execution_of_a_random_op() -> None:
    x, i = tf.random_uniform([3], seed=1), tf.placeholder(tf.int32, [])
    y = tf.gather(x, i)
    draws = []
    for fails in (False, True):
        with tf.Session() as session:
            call = session.make_callable([x, y], [i])
            call(0)
            if fails:
                for _ in range(2):  # by the slow way, and by native code alone
                    with pytest.raises(tf.errors.InvalidArgumentError, match="indices = 7 is not in"):
                        call(7)
            else:
                call(1)
                call(2)
            assert session.stats.runs == 3
            draws.append(call(0)[0])
    np.testing.assert_array_equal(*draws)


def test_the_second_run_draws_the_numbers_of_the_first() -> None:
    """So that its message shows the numbers that failed."""
    x = tf.random_uniform([1], seed=1)
    limit = tf.placeholder(tf.float32, [])
    checked = tf.Assert(tf.reduce_all(x < limit), [x], summarize=1)
    with tf.Session() as session, tf.Session() as other:
        seen = [float(other.run(x)[0]) for _ in range(3)]
        call = session.make_callable([x, checked], [limit])
        call(2.0)
        for number in seen[1:]:
            with pytest.raises(tf.errors.InvalidArgumentError) as e:
                call(-1.0)
            shown = str(e.value).split("[", 1)[1].split("]")[0]
            assert np.float32(shown) == np.float32(number)


def test_the_second_run_sees_the_variables_as_the_first_did() -> None:
    v, i = tf.Variable(1), tf.placeholder(tf.int32, [])
    counted = v.assign_add(1)
    with tf.control_dependencies([counted]):
        checked = tf.Assert(v < i, ["v is", tf.identity(v)])
    with tf.Session() as session:
        session.run(v.initializer)
        call = session.make_callable([counted, checked], [i])
        assert call(9)[0] == 2
        for _ in range(3):
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"\[v is\] \[3\]"):
                call(0)
            assert session.run(v) == 2


@pytest.mark.parametrize("kind", ["array", "list", "number", "buffer", "order"])
def test_the_second_run_gets_what_the_first_was_fed(kind: str) -> None:
    x, i = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int64, [] if kind == "number" else [None])
    y = tf.gather(x, i) * tf.reduce_sum(x)
    arrays: dict[str, Any] = {
        "array": np.array([8], np.int64), "list": [8], "number": 8, "buffer": memoryview(np.array([8], np.int64)),
        "order": np.array([8], np.int64),
    }  # fmt: skip
    good: Any = 0 if kind == "number" else np.array([0], np.int64)
    order = [i, x] if kind == "order" else [x, i]
    with tf.Session() as session:
        call = session.make_callable(y, order)
        ones = np.ones(3, np.float32)
        for value in (good, good, arrays[kind], good):
            feeds = [value, ones] if kind == "order" else [ones, value]
            if value is good:
                assert np.ravel(call(*feeds))[0] == 3
            else:
                with pytest.raises(tf.errors.InvalidArgumentError, match=r"= 8 is not in \[0, 3\)"):
                    call(*feeds)


def test_the_native_error_stands_where_the_second_run_does_not_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    x, i = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [])
    y = tf.gather(x, i, name="picked")
    monkeypatch.setattr(ReferenceExecutable, "error", lambda self, feeds: None)
    with tf.Session() as session:
        call = session.make_callable(y, [x, i])
        for _ in range(2):
            with pytest.raises(tf.errors.InvalidArgumentError, match="indices are out of range") as e:
                call([1.0], 3)
            assert e.value.op is not None and e.value.op.name == "picked"
            assert call([1.0], 0) == 1.0


@pytest.mark.parametrize("error", [MemoryError(), tf.errors.ResourceExhaustedError(message="no room")])
def test_the_native_error_stands_where_the_second_run_finds_no_memory(error: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: Any, feeds: Any) -> Any:
        if isinstance(error, MemoryError):
            raise error
        return error

    monkeypatch.setattr(ReferenceExecutable, "error", fail)
    y = tf.constant([1, 2]) // tf.placeholder(tf.int32, [None], name="p")
    with tf.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match="Integer division by zero"):
        session.run(y, {"p:0": [0, 1]})


def test_effects_are_not_repeated() -> None:
    """Programs with effects run in numpy from the start, and are never run again."""
    calls: list[int] = []
    seen = tf.py_func(lambda v: (calls.append(1), v)[1], [tf.constant(5)], tf.int32)
    seen.set_shape([])
    y = tf.gather([1.0, 2.0], seen)
    executable = ReferenceExecutable(tf.get_default_graph(), (y,), (), tf.Session()._store)
    assert executable.error([]) is None and not calls
    with tf.Session() as session, pytest.raises(tf.errors.InvalidArgumentError, match="indices = 5 is not in"):
        session.run(y)
    assert len(calls) == 1


def test_a_session_that_is_closed_meanwhile_tells_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    y = tf.gather([1.0, 2.0], tf.placeholder(tf.int32, [], name="i"))
    real = PreparedCall._failed

    def late(self: PreparedCall, *arguments: Any) -> None:
        closer = threading.Thread(target=session.close)
        closer.start()
        closer.join()
        real(self, *arguments)

    monkeypatch.setattr(PreparedCall, "_failed", late)
    session = tf.Session()
    call = session.make_callable(y, ["i:0"])
    call(0)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"indices are out of range|indices = 3"):
        call(3)


def test_failures_of_many_threads_are_each_told_their_own() -> None:
    """Native code that lets other threads run fails without the session's lock, and takes it to say why."""
    x, i = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.int32, [None])
    total = tf.Variable(0.0)
    counted = total.assign_add(tf.reduce_sum(tf.gather(x, i)))
    failed: list[str] = []

    def work(k: int) -> None:
        index = np.zeros(40_000, np.int32)
        for n in range(6):
            index[-1] = 1000 * k if n % 2 else 0
            try:
                call(ones, index)
            except tf.errors.InvalidArgumentError as e:
                if f"indices[39999] = {1000 * k} is not in [0, 10)" not in str(e):
                    failed.append(str(e))
            else:
                if n % 2:
                    failed.append(f"{k} did not fail")

    with tf.Session() as session:
        session.run(total.initializer)
        ones = np.ones(10, np.float32)
        call = session.make_callable(counted, [x, i])
        call(ones, np.zeros(40_000, np.int32))
        threads = [threading.Thread(target=work, args=(k,)) for k in range(1, 5)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failed
        assert session.run(total) == 40_000 * (1 + 4 * 3)


def test_an_op_that_refuses_a_constant_fails_the_run() -> None:
    from graphflow import custom_ops as own

    def reference(attrs: Any, x: Any) -> Any:
        if np.any(x < 0):
            raise ValueError(f"{x.min()} is negative")
        return np.sqrt(x)

    root = own.OpDef(
        "RootOfPositives", own.Elementwise(lambda b, attrs, x: b.unary("sqrt", x)), own.same_shape_infer, reference,
        lambda: [own.Sample((np.ones(3, np.float32),))], grad=own.not_differentiable("a test"), dtypes=own.FLOATS,
    )  # fmt: skip
    x = tf.placeholder(tf.float32, [None])
    bad, good = own.build(root, (tf.constant([4.0, -1.0]),)), own.build(root, (tf.constant([4.0]),))
    with tf.Session() as session:
        assert session.run([good, x * 2], {x: [1.0]})[0].tolist() == [2.0]
        for fetch in (bad, bad + x, [good, bad]):
            with pytest.raises(tf.errors.InvalidArgumentError, match=r"-1.0 is negative\n  created at .*test_failed_runs"):
                session.run(fetch, {x: [1.0, 1.0]})
        assert "refuses its constant operands" in session.explain(bad)
        assert session.run(good + x, {x: [1.0]}).tolist() == [3.0]
