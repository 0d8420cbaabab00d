"""Sessions: what can be fetched, what a run computes, and what its errors say. On both back ends."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework import errors

Pair = collections.namedtuple("Pair", "first second")


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    tf.reset_default_graph()
    yield
    assert tf.get_default_session() is None


@pytest.fixture(params=["native", "reference"])
def new(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Makes sessions on one of the back ends."""
    return lambda **kw: tf.Session(backend=request.param, **kw)


# ---------------------------------------------------------------------------------------------- fetches


def test_structures_are_mirrored(new: Callable[..., Any]) -> None:
    a, b = tf.constant(2.0, name="a"), tf.constant([1, 2])
    with new() as s:
        got = s.run({"x": [a, (b,), {"y": a.op}], "p": Pair(a, b), "o": collections.OrderedDict(k=a)})
    assert got["x"][0] == 2.0 and isinstance(got["x"][1], tuple) and got["x"][2] == {"y": None}
    assert isinstance(got["p"], Pair) and got["p"].second.tolist() == [1, 2]
    assert isinstance(got["o"], collections.OrderedDict) and isinstance(got["o"]["k"], np.float32)


def test_equal_tuples_of_other_types_keep_their_type(new: Callable[..., Any]) -> None:
    a, b = tf.constant(1.0), tf.constant(2.0)
    with new() as s:
        for _ in range(2):
            assert type(s.run((a, b))) is tuple
            assert type(s.run(Pair(a, b))) is Pair
            assert type(s.run([a, b])) is list
            assert s.run(((a, b), a)) == ((1.0, 2.0), 1.0)
            assert type(s.run((Pair(a, b), a))[0]) is Pair
            assert s.run([]) == [] and s.run({}) == {} and s.run(()) == ()


def test_a_list_may_change_between_runs(new: Callable[..., Any]) -> None:
    a, b = tf.constant(1.0), tf.constant(2.0)
    fetches = [a, [a]]
    with new() as s:
        assert s.run(fetches) == [1.0, [1.0]]
        fetches[1].append(b)
        assert s.run(fetches) == [1.0, [1.0, 2.0]]
        fetches[0] = b
        assert s.run(fetches) == [2.0, [1.0, 2.0]]


def test_defaultdict_and_duplicates(new: Callable[..., Any]) -> None:
    r = tf.random_uniform([3])
    wanted = collections.defaultdict(list, r=r, again=[r, r])
    with new() as s:
        got = s.run(wanted)
    assert isinstance(got, collections.defaultdict)
    assert (got["r"] == got["again"][0]).all() and (got["r"] == got["again"][1]).all()


def test_names_variables_operations(new: Callable[..., Any]) -> None:
    tf.constant(3.0, name="a")
    v = tf.Variable([1.0, 2.0], name="v")
    with new() as s:
        s.run(v.initializer)
        assert s.run("a:0") == 3.0 and s.run("a") is None and s.run(["a:0", "a"]) == [3.0, None]
        assert s.run(v).tolist() == [1, 2] and s.run("v:0").tolist() == [1, 2]
        assert s.run([v.initializer, v])[0] is None


def test_scalars_are_numpy_scalars(new: Callable[..., Any]) -> None:
    with new() as s:
        assert type(s.run(tf.constant(1.0))) is np.float32
        assert type(s.run(tf.constant(1))) is np.int32
        assert type(s.run(tf.constant(True))) is np.bool_
        assert s.run(tf.constant("text")) == b"text"
        assert isinstance(s.run(tf.constant([1.0])), np.ndarray)


def test_indexed_slices_and_sparse_tensors(new: Callable[..., Any]) -> None:
    slices = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([2]), tf.constant([4, 1]))
    bare = tf.IndexedSlices(tf.constant([[1.0]]), tf.constant([2]))
    sparse = tf.SparseTensor([[0, 1]], [5.0], [2, 2])
    fed = tf.sparse_placeholder(tf.float32, [2, 2])
    with new() as s:
        got = s.run(slices)
        assert isinstance(got, tf.IndexedSlicesValue) and got.dense_shape.tolist() == [4, 1]
        assert s.run([bare])[0].dense_shape is None
        value = s.run(sparse)
        assert isinstance(value, tf.SparseTensorValue) and value.values.tolist() == [5.0]
        assert sparse.shape.as_list() == [2, 2]
        again = s.run(fed, {fed: value})
        assert again.indices.tolist() == [[0, 1]] and again.dense_shape.tolist() == [2, 2]
        assert s.run(fed.values * 2.0, {fed: ([[1, 1]], [3.0], [2, 2])}).tolist() == [6.0]


def test_sparse_tensors_are_checked() -> None:
    with pytest.raises(ValueError, match="indices must have rank 2"):
        tf.SparseTensor([0], [1.0], [2])
    with pytest.raises(ValueError, match="do not place"):
        tf.SparseTensor([[0], [1]], [1.0], [2])


def test_results_are_the_callers_own(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [2])
    v = tf.Variable([1.0, 2.0])
    c = tf.constant([1.0, 2.0])
    fed = np.array([5.0, 6.0], np.float32)
    with new() as s:
        s.run(v.initializer)
        for fetch in (v, c, x, tf.identity(x), tf.identity(v)):
            got = s.run(fetch, {x: fed})
            got[0] = 99.0
        assert s.run(v).tolist() == [1, 2] and s.run(c).tolist() == [1, 2] and fed.tolist() == [5, 6]


@pytest.mark.parametrize("bad", [None, 5, 1.5, object(), np.zeros(2)])
def test_what_cannot_be_fetched(new: Callable[..., Any], bad: Any) -> None:
    tf.constant(1.0)
    with new() as s, pytest.raises(TypeError, match=r"(?s)fetch.*has invalid type .* must be a string or Tensor"):
        s.run([bad])


def test_unknown_names_come_with_close_ones(new: Callable[..., Any]) -> None:
    tf.constant(1.0, name="weights")
    with new() as s:
        with pytest.raises(ValueError, match=r"'weight:0' refers to a Tensor which does not exist.*weights"):
            s.run("weight:0")
        with pytest.raises(ValueError, match="cannot be interpreted as a Tensor"):
            s.run("weight")


def test_another_graph(new: Callable[..., Any]) -> None:
    with tf.Graph().as_default() as other:
        a = tf.constant(1.0)
    tf.constant(2.0)
    with new() as s, pytest.raises(ValueError, match="is not an element of this graph"):
        s.run(a)
    with new(graph=other) as s:
        assert s.run(a) == 1.0 and s.graph is other


# ---------------------------------------------------------------------------------------------- runs


def test_uninitialized_variables_are_all_listed(new: Callable[..., Any]) -> None:
    a, b, c = (tf.Variable(1.0, name=n) for n in "abc")
    with new() as s:
        with pytest.raises(errors.FailedPreconditionError) as e:
            s.run([a + b, c.assign_add(1.0)])
        assert "Attempting to use uninitialized value" in str(e.value)
        assert all(name in str(e.value) for name in "abc")
        s.run([a.initializer, b.initializer])
        with pytest.raises(errors.UninitializedVariableError, match="Attempting to use uninitialized value c"):
            s.run([a + b, c])
        s.run(c.assign(3.0))  # its first value depends on no old one
        assert s.run(c) == 3.0
        assert s.run(a.assign(5.0) + 1.0) == 6.0


def test_a_failing_run_changes_nothing(new: Callable[..., Any]) -> None:
    v = tf.Variable([1.0, 2.0])
    w = tf.Variable(1.0)
    i = tf.placeholder(tf.int32, [None])
    add = v.assign_add([1.0, 1.0])
    with tf.control_dependencies([add]):
        picked = tf.gather(v.read_value(), i)
    first = tf.Variable(0.0, name="first")
    with tf.control_dependencies([first.assign(picked[0]), w.assign(9.0)]):
        checked = tf.check_numerics(picked / 0.0, "no number")
    with new() as s:
        s.run([v.initializer, w.initializer])
        with pytest.raises(errors.InvalidArgumentError, match=r"(?s)node .*test_session\.py|test_session\.py.*node"):
            s.run(picked, {i: [5]})
        assert s.run(v).tolist() == [1, 2]
        with pytest.raises(errors.InvalidArgumentError):
            s.run(checked, {i: [0]})
        assert s.run(v).tolist() == [1, 2] and s.run(w) == 1.0
        assert not s.run(tf.is_variable_initialized(first))
        assert s.run(picked, {i: [1]}).tolist() == [3.0]  # the session goes on


def test_errors_of_runs(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32)
    y = tf.matmul(x, x, name="mm")
    with new() as s, pytest.raises(errors.InvalidArgumentError, match=r"test_session\.py") as e:
        s.run(y, {x: np.ones((2, 3))})
    assert e.value.error_code == 3 and e.value.op.name == "mm" and e.value.node_def is not None
    assert isinstance(e.value, tf.OpError) and not isinstance(e.value, ValueError) and "mm" in e.value.message


def test_errors_of_user_functions(new: Callable[..., Any]) -> None:
    kinds = {
        ValueError: errors.InvalidArgumentError,
        TypeError: errors.InvalidArgumentError,
        StopIteration: errors.OutOfRangeError,
        NotImplementedError: errors.UnimplementedError,
        MemoryError: errors.ResourceExhaustedError,
        RuntimeError: errors.UnknownError,
    }
    for theirs, ours in kinds.items():

        def fail(a: Any, kind: type[Exception] = theirs) -> Any:
            raise kind("went wrong")

        y = tf.py_func(fail, [1.0], tf.float32)
        with new() as s, pytest.raises(ours, match=r"went wrong[\s\S]*test_session\.py"):
            s.run(y)


def test_what_does_not_fit_into_memory(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [None, 1])
    y = x + tf.transpose(x)
    with new() as s:
        for _ in range(2):
            with pytest.raises(MemoryError) as e:
                s.run(y, {x: np.zeros((2**21, 1), np.float32)})
            assert isinstance(e.value, errors.ResourceExhaustedError)
            assert s.run(y, {x: [[1.0]]}).tolist() == [[2.0]]


def test_only_ancestors_run(new: Callable[..., Any]) -> None:
    v = tf.Variable(0.0)
    add = tf.assign_add(v, 1.0)
    tf.placeholder(tf.float32)
    with new() as s:
        s.run(v.initializer)
        assert s.run(v + 1.0) == 1.0 and s.run(v) == 0.0
        assert s.run(add) == 1.0 and s.run(v) == 1.0
        assert s.run([add, add, add.op]) == [2.0, 2.0, None]


def test_reads_and_writes_follow_creation_order(new: Callable[..., Any]) -> None:
    v = tf.Variable(1.0)
    before = v + 0.0
    add = v.assign_add(10.0)
    after = v + 0.0
    double = v.assign(v * 2.0)
    last = tf.identity(v)
    with new() as s:
        s.run(v.initializer)
        assert s.run([last, before, double, add, after]) == [22.0, 1.0, 22.0, 11.0, 11.0]


def test_the_graph_may_grow(new: Callable[..., Any]) -> None:
    a = tf.constant(1.0)
    with new() as s:
        assert s.run(a) == 1.0
        assert s.run(a + 1.0) == 2.0
        assert s.run(a) == 1.0 and s.stats.executables == 2


def test_variables_belong_to_the_session(new: Callable[..., Any]) -> None:
    v = tf.Variable(0.0)
    add = v.assign_add(1.0)
    first, second = new(), new()
    for s in (first, second):
        s.run(v.initializer)
    first.run(add)
    assert first.run(v) == 1.0 and second.run(v) == 0.0
    first.close()
    assert second.run(v) == 0.0
    second.close()


def test_random_numbers_follow_the_count_of_runs(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [2])
    r = tf.random_uniform([2], seed=3) + x
    zero = np.zeros(2, np.float32)
    with new() as s:
        first = [s.run(r, {x: zero}).tolist() for _ in range(3)]
    with new() as s:
        again = [s.run(r, {x: zero}).tolist()]
        with pytest.raises(ValueError, match="Cannot feed"):
            s.run(r, {x: np.zeros(3, np.float32)})  # does not count: nothing ran
        again += [s.run(r, {x: [0.0, 0.0]}).tolist() for _ in range(2)]
    assert first == again and first[0] != first[1]


def test_both_backends_draw_the_same_numbers() -> None:
    draws = [tf.random_uniform([5], seed=1), tf.random_normal([3, 2], seed=2), tf.random_uniform([4], 0, 9, tf.int32, seed=3)]
    with tf.Session(backend="native") as native, tf.Session(backend="reference") as reference:
        for _ in range(3):
            for a, b in zip(native.run(draws), reference.run(draws), strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5)


# ---------------------------------------------------------------------------------------------- callables, partial runs


def test_make_callable(new: Callable[..., Any]) -> None:
    x, y = tf.placeholder(tf.float32, []), tf.placeholder(tf.float32, [])
    with new() as s:
        f = s.make_callable({"sum": x + y, "op": x.op}, [x, y.name])
        assert f(1.0, 2.0) == {"sum": 3.0, "op": None}
        assert s.make_callable(tf.constant(4.0))() == 4.0
        with pytest.raises(ValueError, match="takes 2 values"):
            f(1.0)
        with pytest.raises(TypeError):
            f(1.0, 2.0, run_metadata=None)
        metadata = tf.RunMetadata()
        g = s.make_callable(x + y, [x, y], accept_options=True)
        options = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        assert g(1.0, 2.0, options=options, run_metadata=metadata) == 3.0
        assert len(metadata.step_stats.dev_stats) == 1
        with pytest.raises(errors.InvalidArgumentError, match="You must feed"):
            s.make_callable(x + y, [x])
        with pytest.raises(TypeError, match="feed_list"):
            s.make_callable(x, x)
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        f(1.0, 2.0)


def test_partial_runs(new: Callable[..., Any]) -> None:
    a, b, c = (tf.placeholder(tf.float32, [], name=n) for n in "abc")
    v = tf.Variable(0.0)
    count = v.assign_add(1.0).op
    first = a + b
    second = first * c
    with new() as s:
        s.run(v.initializer)
        h = s.partial_run_setup([first, second, count], [a, b, c])
        assert s.partial_run(h, [first, count], {a: 1.0, b: 2.0}) == [3.0, None]
        assert s.partial_run(h, {"r": second, "n": count}, {c: 4.0}) == {"r": 12.0, "n": None}
        assert s.run(v) == 1.0
        with pytest.raises(errors.InvalidArgumentError, match="Must run 'setup' before performing partial runs"):
            s.partial_run(h, count)  # all that was announced has been fed and fetched


def test_what_a_part_of_a_run_may_not_do(new: Callable[..., Any]) -> None:
    a, b, c = (tf.placeholder(tf.float32, [], name=n) for n in "abc")
    v = tf.Variable(0.0)
    first = a + b
    second = first * c
    with new() as s:
        with pytest.raises(errors.InvalidArgumentError, match="at least one target"):
            s.partial_run_setup([], [a])
        with pytest.raises(errors.InvalidArgumentError, match="Must run 'setup'"):
            s.partial_run("no handle", first)
        h = s.partial_run_setup([first, second], [a, b, c])
        with pytest.raises(errors.InvalidArgumentError, match=r"You must feed a value for placeholder tensor 'b'"):
            s.partial_run(h, first, {a: 1.0})
        with pytest.raises((ValueError, TypeError)):
            s.partial_run(h, first, {a: 1.0, b: "text"})
        # A part that failed has fed nothing.
        assert s.partial_run(h, first, {a: 1.0, b: 2.0}) == 3.0
        with pytest.raises(errors.InvalidArgumentError, match=r"The feed a:0 has already been fed\.$") as failed:
            s.partial_run(h, second, {a: 1.0})
        assert failed.value.op is a.op
        with pytest.raises(errors.InvalidArgumentError, match=r"The fetch add:0 has already been fetched\.$"):
            s.partial_run(h, [first, second], {c: 1.0})
        with pytest.raises(errors.InvalidArgumentError, match=r"was not specified in partial_run_setup\.$"):
            s.partial_run(h, v)
        with pytest.raises(errors.InvalidArgumentError, match=r"was not specified in partial_run_setup\.$"):
            s.partial_run(s.partial_run_setup(first, [a]), first, {a: 1.0, b: 2.0})
        assert s.partial_run(h, [], {c: 4.0}) == []
        assert s.partial_run(h, [second, second]) == [12.0, 12.0]


def test_run_metadata(new: Callable[..., Any]) -> None:
    a = tf.constant([[1.0]])
    b = tf.matmul(a, a)
    metadata = tf.RunMetadata()
    with new() as s:
        s.run(b, run_metadata=metadata)
        assert not metadata.step_stats.dev_stats
        s.run(b, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
    assert metadata.step_stats.dev_stats[0].device.endswith("CPU:0")
