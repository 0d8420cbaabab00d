"""Variable scopes in threads and with wrong arguments, caching devices, variables of templates and of protos."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import graphflow as tf


@pytest.fixture(autouse=True)
def new_graph() -> Iterator[None]:
    with tf.Graph().as_default():
        yield


def test_custom_getters_must_be_functions() -> None:
    with pytest.raises(ValueError, match="custom_getter which is not callable: 3"):
        tf.get_variable("w", [], custom_getter=3)
    with tf.variable_scope("s", custom_getter=3), pytest.raises(ValueError, match="not callable: 3"):
        tf.get_variable("w", [])
    with pytest.raises(TypeError, match="auxiliary_name_scope"):
        tf.variable_scope("s", auxiliary_name_scope="yes")  # type: ignore[arg-type]


def test_caching_device() -> None:
    with tf.variable_scope("s", caching_device="/job:a"), tf.device("/cpu:0"):
        inside, own = tf.get_variable("w", []), tf.get_variable("x", [], caching_device="/job:b")
        with tf.variable_scope("plain", caching_device=""):
            plain = tf.get_variable("w", [])
    assert [v.value().device for v in (inside, own, plain)] == ["/job:a", "/job:b", ""]
    assert inside.device == tf.Variable(0.0, caching_device="/cpu:0").value().device == "/device:CPU:0"


def test_each_thread_has_scopes_of_its_own() -> None:
    graph, names, errors = tf.get_default_graph(), [], []
    both_inside = threading.Barrier(2, timeout=30)

    def build(i: int) -> None:
        try:
            with graph.as_default(), tf.variable_scope("s") as scope, tf.name_scope(f"n{i}"):
                both_inside.wait()
                names.append((scope.name, tf.constant(i).name, tf.get_variable(f"w{i}", []).name))
                both_inside.wait()
        except Exception as e:
            errors.append(e)

    tf.get_variable_scope().reuse_variables()  # of this thread's scope
    threads = [threading.Thread(target=build, args=(i,)) for i in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors
    assert {n[2] for n in names} == {"s/w0:0", "s/w1:0"} and {n[0] for n in names} == {"s"}
    assert {n[1].split("/")[1] for n in names} == {"n0", "n1"}
    assert tf.get_variable_scope().name == tf.get_default_graph().get_name_scope() == ""
    assert tf.get_variable("s/w0").name == "s/w0:0"


def test_variables_of_templates() -> None:
    def function(trainable: bool, fail: bool = False) -> Any:
        w = tf.get_variable("w", [])
        tf.get_local_variable("l", [])
        if fail:
            raise KeyError("w")
        tf.Variable(0.0, trainable=trainable)
        return w

    f = tf.make_template("t", function, create_scope_now_=True, trainable=False)
    assert f.func is not function and f.name == "t" and f.variable_scope_name == "t/" and f.variables == []
    with pytest.raises(KeyError):
        f(fail=True)
    assert f.variables == []
    with tf.variable_scope(f.variable_scope, reuse=True):
        w = tf.get_variable("w", [])
    with tf.variable_scope("", reuse=tf.AUTO_REUSE):
        g = tf.make_template("g", function, trainable=False)
        assert g() is g()
    assert [v.name for v in g.trainable_variables] == ["g/w:0"] and g.trainable_weights == g.trainable_variables
    assert [v.name for v in g.non_trainable_variables] == ["g/Variable:0"]
    assert [v.name for v in g.local_variables] == ["g/l:0"] and g.variables == g.global_variables + g.local_variables
    assert g.var_scope is g.variable_scope and w not in g.weights
    h = tf.make_template("h", function, trainable=True)
    h()
    with pytest.raises(ValueError, match=r"Trainable variable created when calling a template after the first time"):
        h()


def test_unique_names_of_templates() -> None:
    def make() -> Any:
        return tf.make_template("_", lambda: tf.get_variable("w", []), unique_name_="t")

    first = make()
    w = first()
    assert w is first() and w.name == "t/w:0"
    with pytest.raises(ValueError, match="Variable t/w already exists, disallowed"):
        make()()
    tf.get_variable_scope().reuse_variables()
    assert make()() is w


def test_variables_by_the_names_of_their_ops() -> None:
    with tf.name_scope("outer"):
        v = tf.Variable([[1.0, 2.0], [3.0, 4.0]], trainable=False, name="v")
    found = v.to_proto()
    assert found is not None and found.variable_name == "outer/v:0"
    w = tf.Variable.from_proto(found)
    assert w is not v and w.op is v.op and w.initializer is v.initializer and w.initial_value is v.initial_value
    assert not w.trainable and tf.global_variables() == [v]
    without = v.to_proto("outer")
    assert without is not None and without.snapshot_name == "v/read:0" and v.to_proto("other") is None
    assert tf.Variable(variable_def=without, import_scope="outer").to_proto() == found
    with tf.Session() as s:
        s.run(w.initializer)
        assert [x.tolist() for x in s.run([w.sparse_read([1, 0]), v.gather_nd([[1, 0]])])] == [[[3.0, 4.0], [1.0, 2.0]], [3.0]]
    with pytest.raises(ValueError, match="mutually exclusive"):
        tf.Variable(1.0, variable_def=found)
    with tf.Graph().as_default(), pytest.raises(KeyError):
        tf.Variable.from_proto(found)
    with pytest.raises(NotImplementedError, match="has no copy"):
        copy.deepcopy({"v": v})
