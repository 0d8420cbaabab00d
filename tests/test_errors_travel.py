"""Errors go from one process to another: whatever graphflow raises can be pickled, with what it says of its operation."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework.errors import GraphFlowError, OpError


def tree(cls: type) -> list[type]:
    """A class of errors and all below it."""
    found = [cls]
    for inner in cls.__subclasses__():
        found += tree(inner)
    return list(dict.fromkeys(found))


CLASSES = [c for c in tree(GraphFlowError) if c.__module__.startswith("graphflow")]
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)


def test_the_tree_is_walked() -> None:
    assert len(CLASSES) >= 35 and {tf.errors.OutOfMemoryError, tf.errors.FeedTypeError, tf.errors.CompileError} <= set(CLASSES)


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_every_class(cls: type[GraphFlowError]) -> None:
    with tf.Graph().as_default() as graph:
        op = tf.placeholder(tf.float32, [3], name="x").op
    if issubclass(cls, OpError):
        error: GraphFlowError = cls(op=op, node_def=op, message="what\nhappened", error_code=77)
    else:
        error = cls("what\nhappened")
    error.more = (1, "data")  # type: ignore[attr-defined]
    for again in [*(pickle.loads(pickle.dumps(error, protocol)) for protocol in PROTOCOLS), copy.deepcopy(error)]:
        assert type(again) is cls and str(again) == str(error) and again.args == error.args and again.more == (1, "data")
        if isinstance(error, OpError):
            assert (again.message, again.error_code) == (error.message, 77)
            for told in (again.op, again.node_def):
                assert (told.name, told.type, told.device, told.node_def) == ("x", "Placeholder", op.device, op.node_def)
                assert str(told.created_at) == str(op.created_at) and "test_errors_travel.py" in str(told.created_at)
                assert told.traceback == op.traceback
            assert str(again.created_at) == str(error.created_at)
            assert again.created_at.format_stack() == op.created_at.format_stack()
            twice = pickle.loads(pickle.dumps(again))
            assert repr(twice.op) == repr(again.op) and twice.message == error.message
    assert graph.get_operations() == [op]


def test_without_an_operation() -> None:
    error = pickle.loads(pickle.dumps(tf.errors.NotFoundError(None, None, "nothing there")))
    assert (error.op, error.node_def, error.created_at, error.message) == (None, None, None, "nothing there")
    assert error.error_code == tf.errors.NOT_FOUND


class OwnError(tf.errors.InvalidArgumentError):
    """As a user may write one."""

    def __init__(self, part: int, whole: int) -> None:
        super().__init__(message=f"{part} of {whole}")
        self.part = part


class OwnOSError(tf.errors.NotFoundError, OSError):
    pass


def test_a_users_own_classes() -> None:
    assert str(pickle.loads(pickle.dumps(OwnOSError(None, None, "gone")))) == "gone"
    error = pickle.loads(pickle.dumps(OwnError(1, 2)))
    assert type(error) is OwnError and (error.part, error.message, str(error)) == (1, "1 of 2", "1 of 2")


# ---------------------------------------------------------------------------------------------- errors of runs


def uninitialized() -> None:
    tf.get_variable("v", [2])
    with tf.Session() as session:
        session.run("v:0")


def unfed() -> None:
    with tf.Session() as session:
        session.run(tf.placeholder(tf.float32, [2], name="v") + 1.0)


def out_of_range(backend: str = "native") -> None:
    with tf.Session(backend=backend) as session:
        at = tf.placeholder(tf.int32, name="at")
        session.run(tf.gather(tf.zeros([3]), at, name="v"), {at: 7})


def out_of_range_in_numpy() -> None:
    out_of_range("reference")


def python_function() -> None:
    def fails(x: Any) -> Any:
        raise KeyError("not there")

    with tf.Session() as session:
        session.run(tf.py_func(fails, [tf.zeros([])], tf.float32, name="v"))


def wrong_shapes() -> None:
    a, b = tf.placeholder(tf.float32, [None]), tf.placeholder(tf.float32, [None])
    with tf.Session() as session:
        session.run(tf.add(a, b, name="v"), {a: np.zeros(2), b: np.zeros(3)})


def building() -> None:
    tf.matmul(tf.zeros([2, 3]), tf.zeros([2, 3]), name="v")


RUNS: list[Callable[[], None]] = [
    uninitialized, unfed, out_of_range, out_of_range_in_numpy, python_function, wrong_shapes, building,
]  # fmt: skip


def fail(number: int) -> None:
    with tf.Graph().as_default():
        RUNS[number]()


@pytest.mark.parametrize("number", range(len(RUNS)), ids=lambda i: RUNS[i].__name__)
def test_what_runs_raise(number: int) -> None:
    with pytest.raises(GraphFlowError) as caught:
        fail(number)
    error = caught.value
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is type(error) and str(again) == str(error) and "v" in str(again)
    if isinstance(error, OpError) and error.op is not None:
        assert again.op.name == error.op.name and str(again.created_at) == str(error.created_at)
        assert "test_errors_travel.py" in str(again.created_at)


def test_a_worker_process_tells_what_failed() -> None:
    """Otherwise the pool is broken, and nobody hears why."""
    with ProcessPoolExecutor(1, get_context("spawn")) as pool:
        with pytest.raises(tf.errors.InvalidArgumentError, match="You must feed a value") as caught:
            pool.submit(fail, RUNS.index(unfed)).result(120)
        assert caught.value.op.name == "v" and "test_errors_travel.py" in str(caught.value.created_at)
        assert pool.submit(len, "abc").result(120) == 3


def test_nothing_but_the_classes_is_needed_to_read_one() -> None:
    """A process that only looks at the error loads no compiler."""
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        fail(RUNS.index(out_of_range))
    program = (
        "import pickle, sys\n"
        f"error = pickle.loads({pickle.dumps(caught.value)!r})\n"
        "print(type(error).__name__, error.op.name, error.created_at.lineno > 0, 'llvmlite' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.stdout.split() == ["InvalidArgumentError", "v", "True", "False"], done.stderr
