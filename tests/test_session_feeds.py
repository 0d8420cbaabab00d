"""What can be fed to a session, in which forms, and what happens when it cannot. On both back ends."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as tf
from graphflow.framework import errors
from graphflow_runtime.executor import launch_descriptor

Pair = collections.namedtuple("Pair", "first second")


@pytest.fixture(autouse=True)
def fresh_graph() -> Iterator[None]:
    tf.reset_default_graph()
    yield
    assert tf.get_default_session() is None


@pytest.fixture(params=["native", "ctypes", "reference"])
def new(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Makes sessions on one of the back ends; native code is called by the builtins or through ctypes."""
    if request.param == "ctypes":
        monkeypatch.setattr(launch_descriptor, "builtins", lambda: None)
    backend = "reference" if request.param == "reference" else "native"
    return lambda **kw: tf.Session(backend=backend, **kw)


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
                with pytest.raises(ValueError, match=message + r"[\s\S]*test_session_feeds\.py"):
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
        assert "[[{{node x}}]]" in text and "test_session_feeds.py" in text and e.value.op is x.op
        assert s.run(u, {x: np.zeros((1, 3))}).shape == (1, 3)
