"""Sessions: what can be fetched and fed, in which forms, and what happens when it cannot. On both back ends."""

from __future__ import annotations

import collections
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow import errors
from graphflow_runtime import session as session_module

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


# ---------------------------------------------------------------------------------------------- feeds


def strange_arrays(folder: Path) -> dict[str, Any]:
    plain = np.arange(12, dtype=np.float32).reshape(3, 4)
    padded = np.zeros((6, 8), np.float32)
    padded[::2, ::2] = plain
    raw = np.zeros(plain.nbytes + 1, np.uint8)
    unaligned = np.frombuffer(raw.data, np.float32, 12, offset=1).reshape(3, 4)
    raw[1:] = np.frombuffer(plain.tobytes(), np.uint8)
    read_only = plain.copy()
    read_only.flags.writeable = False
    mapped = np.memmap(folder / "array", np.float32, "w+", shape=(3, 4))
    mapped[...] = plain
    return {
        "list": plain.tolist(),
        "tuple": tuple(map(tuple, plain)),
        "float64": plain.astype(np.float64),
        "int": plain.astype(np.int64),
        "bytes": plain.astype(np.uint8),
        "strided": padded[::2, ::2],
        "negative strides": plain[::-1, ::-1].copy()[::-1, ::-1],
        "fortran": np.asfortranarray(plain),
        "read-only": read_only,
        "unaligned": unaligned,
        "big-endian": plain.astype(">f4"),
        "mapped": mapped,
        "subclass": np.ma.masked_array(plain),
        "half": plain.astype(np.float16),
    }


@pytest.mark.parametrize("shape", [[3, 4], [None, 4], None], ids=["static", "open", "unknown"])
def test_any_array_can_be_fed(new: Callable[..., Any], shape: Any, tmp_path: Path) -> None:
    x = tf.placeholder(tf.float32, shape)
    y = x * 2.0 + 1.0
    wanted = np.arange(12, dtype=np.float32).reshape(3, 4) * 2 + 1
    with new() as s:
        f = s.make_callable(y, [x])
        for name, value in strange_arrays(tmp_path).items():
            np.testing.assert_array_equal(s.run(y, {x: value}), wanted, err_msg=name)
            np.testing.assert_array_equal(f(value), wanted, err_msg=name)
            np.testing.assert_array_equal(s.run(x, {x: value}), (wanted - 1) / 2, err_msg=name)


def test_scalars_can_be_fed(new: Callable[..., Any]) -> None:
    x, i, b = tf.placeholder(tf.float32, []), tf.placeholder(tf.int32, []), tf.placeholder(tf.bool, [])
    with new() as s:
        for value in (2.0, 2, np.float32(2), np.float64(2), np.int8(2), np.array(2.0), True + 1):
            assert s.run(x + 1.0, {x: value}) == 3.0
        assert s.run(i + 1, {i: 1.7}) == 2 and s.run(i + 1, {i: -1.7}) == 0
        assert not s.run(tf.logical_not(b), {b: 1})
        assert np.isnan(s.run(x + 1.0, {x: float("nan")})) and np.isinf(s.run(x + 1.0, {x: 1e300}))


def test_strings_can_be_fed(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.string, [None])
    with new() as s:
        for value in (["a", "bc"], [b"a", b"bc"], np.array(["a", "bc"]), np.array([b"a", b"bc"], object)):
            assert s.run(tf.identity(x), {x: value}).tolist() == [b"a", b"bc"]
        with pytest.raises(TypeError, match="Cannot feed"):
            s.run(x, {x: [1.5]})


@pytest.mark.parametrize("value", [2**40, -(2**31) - 1, 2**70, 1e10, float("nan"), float("inf"), [1, 2**40]])
def test_what_does_not_fit_an_integer(new: Callable[..., Any], value: Any) -> None:
    x = tf.placeholder(tf.int32)
    with new() as s, pytest.raises((TypeError, OverflowError), match="out of the range of int32"):
        s.run(x + 1, {x: value})


def test_limits_of_integers_fit(new: Callable[..., Any]) -> None:
    for dtype in (tf.int8, tf.int32, tf.int64, tf.uint8, tf.uint64):
        x = tf.placeholder(dtype)
        with new() as s:
            for limit in (dtype.min, dtype.max):
                assert s.run(tf.identity(x), {x: int(limit)}) == limit
    x = tf.placeholder(tf.int64)
    with new() as s:
        assert s.run(x, {x: float(-(2**63))}) == -(2**63)
        with pytest.raises(TypeError):
            s.run(x, {x: float(2**63)})


@pytest.mark.parametrize("value", [[[1.0], [1.0, 2.0]], "text", [object()], None, 1j, np.array(["2020-01-01"], "M8[D]")])
def test_what_cannot_be_fed(new: Callable[..., Any], value: Any) -> None:
    x = tf.placeholder(tf.float32, name="x")
    with new() as s:
        with pytest.raises((TypeError, ValueError), match=r"Cannot feed .* for Tensor x:0, which has dtype float32"):
            s.run(x + 1.0, {x: value})
        assert s.run(x + 1.0, {x: 1.0}) == 2.0


def test_tensors_and_variables_cannot_be_fed(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32)
    v = tf.Variable(1.0)
    with new() as s:
        for value in (tf.constant(1.0), v, v.initializer):
            with pytest.raises(TypeError, match="The value of a feed cannot be a"):
                s.run(x + 1.0, {x: value})


def test_wrong_shapes(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    y = x + 1.0
    with new() as s:
        message = r"Cannot feed value of shape \(2, 4\) for Tensor '?x:0'?, which has shape '?\(\?, 3\)'?"
        for run in (lambda v: s.run(y, {x: v}), s.make_callable(y, [x])):
            for bad in (np.zeros((2, 4), np.float32), np.zeros((2, 4)).tolist()):
                with pytest.raises(ValueError, match=message + r"[\s\S]*test_session\.py"):
                    run(bad)
            with pytest.raises(ValueError, match=r"shape \(3,\)"):
                run(np.zeros(3, np.float32))
            with pytest.raises(ValueError, match=r"shape \(\)"):
                run(1.0)
            assert run(np.zeros((5, 3))).shape == (5, 3) and run(np.zeros((0, 3))).shape == (0, 3)


def test_sizes_with_one_name_are_one_size(new: Callable[..., Any]) -> None:
    x, y = tf.placeholder(tf.float32, ["batch", 2], name="x"), tf.placeholder(tf.float32, ["batch"], name="y")
    z = tf.reduce_sum(x) + tf.reduce_sum(y)
    with new() as s:
        assert s.run(z, {x: np.ones((3, 2)), y: np.ones(3)}) == 9.0
        assert s.run(z, {x: np.ones((1, 2)), y: np.ones(1)}) == 3.0
        with pytest.raises(ValueError, match=r"size 'batch' is 4 here and 3 in x:0|size 'batch' is 3 here and 4 in y:0"):
            s.run(z, {x: np.ones((3, 2), np.float32), y: np.ones(4, np.float32)})


def test_anything_can_be_fed_and_what_is_upstream_does_not_run(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [], name="x")
    m = tf.multiply(x, 2.0, name="m")
    c, v = tf.constant(5.0), tf.Variable(1.0)
    with new() as s:
        assert s.run(m + 1.0, {m: 10.0}) == 11.0 and s.run("m:0", {"m:0": 3.0}) == 3.0
        assert s.run(c * 2.0, {c: 1.0}) == 2.0
        assert s.run(v + 0.0, {v: 7.0}) == 7.0
        s.run(v.initializer)
        assert s.run([v, v + 0.0], {v: 7.0}) == [7.0, 7.0] and s.run(v) == 1.0
        assert s.run([x, m, m + 1.0], {x: 1.0, m: 5.0}) == [1.0, 5.0, 6.0]


def test_order_of_feeds_does_not_matter(new: Callable[..., Any]) -> None:
    a, b = tf.placeholder(tf.float32, [], name="a"), tf.placeholder(tf.float32, [], name="b")
    y = a - b
    with new() as s:
        for _ in range(2):
            assert s.run(y, {a: 3.0, b: 1.0}) == 2.0 and s.run(y, {b: 1.0, a: 3.0}) == 2.0
            assert s.run(y, {"b:0": 1.0, a: 3.0}) == 2.0
            assert s.run([b, y, a], {b: 1.0, a: 3.0}) == [1.0, 2.0, 3.0]
        assert s.make_callable([y, b], [b, a])(1.0, 3.0) == [2.0, 1.0]
        assert s.stats.executables == 1  # what is fed as well as fetched is not computed


def test_structured_keys(new: Callable[..., Any]) -> None:
    a, b, c = (tf.placeholder(tf.float32, []) for _ in range(3))
    y = a * 100.0 + b * 10.0 + c
    with new() as s:
        assert s.run(y, {(a, (b, c)): (1.0, (2.0, 3.0))}) == 123.0
        assert s.run(y, {Pair(a, b): Pair(1.0, 2.0), c: 3.0}) == 123.0
        with pytest.raises(TypeError, match="structure"):
            s.run(y, {(a, b): 1.0, c: 1.0})
        with pytest.raises(ValueError, match="fed more than once"):
            s.run(y, {a: 1.0, a.name: 2.0, b: 1.0, c: 1.0})


def test_feed_keys_that_mean_nothing(new: Callable[..., Any]) -> None:
    a = tf.constant(1.0, name="a")
    with new() as s:
        for key in ("nope:0", "a", 5, a.op):
            with pytest.raises(TypeError, match="Cannot interpret feed_dict key as Tensor"):
                s.run(a, {key: 1.0})
        with pytest.raises(TypeError, match="feed_dict must be a mapping"):
            s.run(a, [1.0])


def test_unfed_placeholders_are_all_listed(new: Callable[..., Any]) -> None:
    x, y = tf.placeholder(tf.float32, [None, 3], name="x"), tf.placeholder(tf.int32, name="y")
    u, w = tf.identity(x, name="u"), tf.identity(y, name="w")
    with new() as s:
        with pytest.raises(errors.InvalidArgumentError) as e:
            s.run([u, w])
        text = str(e.value)
        assert "You must feed a value for placeholder tensor 'x' with dtype float and shape [?,3]" in text
        assert "which the fetch of u:0 needs" in text and "'y' with dtype int32, which the fetch of w:0 needs" in text
        assert "[[{{node x}}]]" in text and "test_session.py" in text and e.value.op is x.op
        assert s.run(u, {x: np.zeros((1, 3))}).shape == (1, 3)


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
        with pytest.raises(ValueError, match="already been fed"):
            s.partial_run(h, second, {a: 1.0})
        with pytest.raises(ValueError, match="was not specified in partial_run_setup"):
            s.partial_run(h, v)


def test_run_metadata(new: Callable[..., Any]) -> None:
    a = tf.constant([[1.0]])
    b = tf.matmul(a, a)
    metadata = tf.RunMetadata()
    with new() as s:
        s.run(b, run_metadata=metadata)
        assert not metadata.step_stats.dev_stats
        s.run(b, options=tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE), run_metadata=metadata)
    assert metadata.step_stats.dev_stats[0].device.endswith("CPU:0")


# ---------------------------------------------------------------------------------------------- life


def test_with_blocks(new: Callable[..., Any]) -> None:
    g = tf.Graph()
    with g.as_default():
        v = tf.Variable(2.0)
        init = tf.global_variables_initializer()
    with new(graph=g) as s:
        assert tf.get_default_session() is s and tf.get_default_graph() is g
        init.run()
        assert v.eval() == 2.0 and (v + 1.0).eval() == 3.0
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        s.run(v)
    with pytest.raises(RuntimeError, match="Attempted to use a closed Session"):
        s.run([v])
    with pytest.raises(ValueError, match="No default session is registered"):
        v.eval()
    kept = new(graph=g)
    with kept.as_default():
        init.run()
    assert kept.run(v) == 2.0
    kept.close()
    kept.close()


def test_an_exception_closes_the_session(new: Callable[..., Any]) -> None:
    a = tf.constant(1.0)
    with pytest.raises(KeyError), new() as s:
        raise KeyError
    with pytest.raises(RuntimeError, match="closed"):
        s.run(a)


def test_empty_graph(new: Callable[..., Any]) -> None:
    s = new(graph=tf.Graph())
    with pytest.raises(RuntimeError, match="The Session graph is empty"):
        s.run([])
    s.close()


def test_interactive_session() -> None:
    g = tf.Graph()
    s = tf.InteractiveSession(graph=g)
    try:
        assert tf.get_default_graph() is g and tf.constant(3).eval() == 3
    finally:
        s.close()
    assert tf.get_default_session() is None and tf.get_default_graph() is not g
    s.close()


def test_arguments_are_checked() -> None:
    with pytest.raises(TypeError, match=r"graph must be a tf\.Graph"):
        tf.Session(graph="g")
    with pytest.raises(TypeError, match=r"config must be a tf\.ConfigProto"):
        tf.Session(config={"allow_soft_placement": True})
    with pytest.raises(ValueError, match="backend must be"):
        tf.Session(backend="tpu")
    with pytest.raises(errors.UnimplementedError, match="this process only"):
        tf.Session("grpc://localhost:2222")
    with pytest.raises(ValueError, match="has no 'alow_growth' field"):
        tf.GPUOptions(alow_growth=True)


def test_config_is_accepted(new: Callable[..., Any]) -> None:
    config = tf.ConfigProto(
        allow_soft_placement=True,
        device_count={"GPU": 0},
        gpu_options=tf.GPUOptions(per_process_gpu_memory_fraction=0.3),
        intra_op_parallelism_threads=1,
    )
    config.gpu_options.allow_growth = True
    config.graph_options.optimizer_options.global_jit_level = tf.OptimizerOptions.ON_1
    with tf.device("/gpu:0"):
        a = tf.constant(1.0) + 1.0
    with new(config=config) as s:
        assert s.run(a) == 2.0 and s.list_devices()[0].device_type == "CPU"


# ---------------------------------------------------------------------------------------------- caches


def test_spellings_share_one_executable(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [None], name="x")
    a, b = x + 1.0, x * 2.0
    with new() as s:
        value = np.ones(2, np.float32)
        for fetches in ([a, b], (b, a), {"a": a, "b": [b]}, [b.name, a.name], Pair(b, (a, a))):
            s.run(fetches, {x: value})
            s.run(fetches, {"x:0": value})
        assert s.stats.executables == 1 and s.stats.runs == 10
        tf.constant(5.0)  # what is added to the graph changes nothing
        s.run([a, b], {x: value})
        assert s.stats.executables == 1 and s.stats.cache_hits >= 1


def test_other_sizes_compile_nothing() -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    y = tf.reduce_sum(x * 2.0, 1)
    with tf.Session() as s:
        s.run(y, {x: np.ones((3, 4))})
        compiled = s.stats
        for n in range(2, 200):
            np.testing.assert_array_equal(s.run(y, {x: np.ones((n, 4), np.float32)}), np.full(n, 8.0))
        assert (s.stats.plans_compiled, s.stats.kernels_compiled) == (compiled.plans_compiled, compiled.kernels_compiled)


def test_caches_are_bounded(new: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session_module, "MAX_EXECUTABLES", 4)
    monkeypatch.setattr(session_module, "MAX_PREPARED", 6)
    hot = tf.constant(100.0) + 0.0
    others = [tf.constant(float(i)) for i in range(12)]
    with new() as s:
        for i, t in enumerate(others):
            assert s.run(hot) == 100.0 and s.run(t) == i and s.run([t]) == [i]
            assert len(s._executables) <= 4 and len(s._prepared) <= 6
        made = s.stats.executables
        assert s.run(hot) == 100.0 and s.stats.executables == made  # what is in use stays
        assert s.run(others[0]) == 0.0


def test_building_ops_in_the_loop_warns(new: Callable[..., Any]) -> None:
    v = tf.Variable(0.0)
    with new() as s:
        s.run(v.initializer)
        with pytest.warns(UserWarning, match=r"built in the loop that runs them[\s\S]*test_session\.py:\d+") as record:
            for i in range(40):
                s.run(v.assign(float(i)))
        assert len(record) == 1 and Path(record[0].filename).name == "test_session.py"
    with new() as s, warnings.catch_warnings():
        warnings.simplefilter("error")
        s.run(v.initializer)
        for _ in range(60):
            s.run(v)


# ---------------------------------------------------------------------------------------------- threads


def test_sixteen_threads(new: Callable[..., Any]) -> None:
    v = tf.Variable(0, dtype=tf.int64)
    x = tf.placeholder(tf.int64, [])
    add = v.assign_add(x)
    read = tf.stack([v.read_value(), v.read_value()])
    seen: list[int] = []
    torn: list[Any] = []
    failures: list[BaseException] = []
    with new() as s:
        s.run(v.initializer)

        def work(k: int) -> None:
            try:
                for _ in range(25):
                    seen.append(int(s.run(add, {x: 1})))
                    a, b = s.run(read)
                    if a != b:
                        torn.append((a, b))
            except BaseException as e:
                failures.append(e)

        threads = [threading.Thread(target=work, args=(k,)) for k in range(16)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        assert not failures and not torn
        assert sorted(seen) == list(range(1, 401)) and s.run(v) == 400


def test_closing_while_others_run(new: Callable[..., Any]) -> None:
    x = tf.placeholder(tf.float32, [None])
    y = tf.reduce_sum(x)
    s = new()
    s.run(y, {x: np.ones(10)})
    ended: list[str] = []

    def work() -> None:
        try:
            while True:
                s.run(y, {x: np.ones(10)})
        except RuntimeError as e:
            ended.append(str(e))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for t in threads:
        t.start()
    s.close()
    for t in threads:
        t.join(20)
    assert ended == ["Attempted to use a closed Session."] * 4


def test_threads_have_their_own_defaults(new: Callable[..., Any]) -> None:
    g = tf.Graph()
    seen: list[bool] = []
    with g.as_default():
        tf.constant(1.0)
        with new():
            t = threading.Thread(target=lambda: seen.extend([tf.get_default_graph() is g, tf.get_default_session() is None]))
            t.start()
            t.join()
    assert seen == [False, True]


# ---------------------------------------------------------------------------------------------- loading values


def test_load_variable(new: Callable[..., Any]) -> None:
    v = tf.Variable([0.0, 0.0])
    with new() as s:
        n = len(s.graph.get_operations())
        v.load([1.0, 2.0], s)
        assert s.run(v).tolist() == [1, 2] and len(s.graph.get_operations()) == n
        with pytest.raises(ValueError, match="Cannot feed value of shape"):
            v.load([1.0], s)


def test_explain() -> None:
    x = tf.placeholder(tf.float32, [None, 4])
    y = tf.nn.relu(x * 2.0 + 1.0)
    with tf.Session() as s:
        text = tf.explain(y, session=s, feed_shapes={x: [8, 4]})
        assert "fused" in text
        s.run(y, {x: np.ones((8, 4))})
        assert s.stats.plans_compiled == 1  # the run uses what was explained
    with tf.Session(backend="reference") as s:
        assert "reference backend" in s.explain(y, {x: np.ones((8, 4))})
