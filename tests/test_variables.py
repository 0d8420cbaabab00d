"""Variables, variable scopes, initializers, losses, layers and metrics behave as in TensorFlow 1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

import graphflow as gf
from graphflow import initializers, layers, losses, metrics, regularizers, train
from graphflow.framework.build import name_scope
from graphflow.framework.graph_keys import GraphKeys
from graphflow.ops.control_flow.control import group
from graphflow.variables.variable import Variable


@pytest.fixture(autouse=True)
def graph() -> Iterator[gf.Graph]:
    with gf.Graph().as_default() as g:
        yield g


def session() -> gf.Session:
    s = gf.Session()
    s.run(gf.global_variables_initializer())
    return s


def names(graph: gf.Graph) -> list[str]:
    return [op.name for op in graph.get_operations()]


# ---------------------------------------------------------------------------------------------- Variable


def test_names_and_properties(graph: gf.Graph) -> None:
    v, w = gf.Variable([1.0, 2.0], name="W"), gf.Variable(0, name="W")
    assert v.name == "W:0" and w.name == "W_1:0" and v.op.name == "W"
    assert {"W", "W/initial_value", "W/Assign", "W/read"} <= set(names(graph))
    assert v.initializer.name == "W/Assign" and v.value().name == "W/read:0"
    assert v.dtype.name == "float32_ref" and v.dtype.base_dtype == gf.float32 and w.dtype.base_dtype == gf.int32
    assert v.get_shape().as_list() == [2] and v.trainable and v.graph is graph
    assert repr(v) == "<tf.Variable 'W:0' shape=(2,) dtype=float32_ref>"
    assert gf.Variable(np.zeros(2)).dtype.base_dtype == gf.float64
    assert graph.as_graph_element(v) is graph.get_tensor_by_name("W:0")


def test_collections() -> None:
    v = gf.Variable(1.0, trainable=False)
    local = gf.Variable(1.0, collections=[GraphKeys.LOCAL_VARIABLES], trainable=False)
    assert v not in gf.trainable_variables() and gf.global_variables() == [v]
    assert gf.local_variables() == [local]


def test_bad_arguments() -> None:
    with pytest.raises(ValueError, match="initial_value must be specified"):
        gf.Variable()
    with pytest.raises(ValueError, match="must have a shape specified"):
        gf.Variable(gf.placeholder(gf.float32))
    with pytest.raises(TypeError, match="not iterable"):
        iter(gf.Variable([1.0]))
    with pytest.raises(TypeError, match="mutable"):
        gf.assign(gf.constant(1.0), 2.0)


def test_acts_as_a_tensor() -> None:
    v = gf.Variable([1.0, 2.0])
    w = v
    w += 1.0
    assert isinstance(w, gf.Tensor) and isinstance(v, Variable)
    outcome = session().run([v * 2, 2 - v, v[1], -v, np.ones(2) * v, v > 1.5, w, v])
    expected = [[2, 4], [1, 0], 2, [-1, -2], [1, 2], [False, True], [2, 3], [1, 2]]
    for found, wanted in zip(outcome, expected, strict=True):
        assert np.array_equal(found, wanted)


def test_assign() -> None:
    v = gf.Variable([1.0, 2.0])
    s = session()
    assert s.run(v.assign([3.0, 4.0])).tolist() == [3, 4]
    assert s.run(v.assign_add([1.0, 1.0])).tolist() == [4, 5]
    assert s.run(gf.assign_sub(v, [4.0, 5.0])).tolist() == [0, 0] and s.run(v).tolist() == [0, 0]
    with pytest.raises(ValueError, match="Dimension 0 in both shapes must be equal, but are 2 and 3"):
        gf.assign(v, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="equal rank"):
        v.assign([[1.0]])
    with pytest.raises(TypeError, match="float32"):
        v.assign(gf.constant([1.0, 2.0], gf.float64))


def test_order_of_reads_and_writes(graph: gf.Graph) -> None:
    v = gf.Variable(1.0)
    before = v.read_value()
    with graph.control_dependencies([v.assign_add(1.0)]):
        after = v.read_value()
    s = session()
    assert s.run([before, after]) == [1.0, 2.0]
    assert s.run(after) == 3.0


def test_value_of_an_assignment_is_kept() -> None:
    v = gf.Variable(1.0)
    first = gf.identity(v.assign(5.0))
    second = v.assign(7.0)
    s = session()
    assert s.run([first, second, v]) == [5.0, 7.0, 7.0]


def test_load_and_eval(graph: gf.Graph) -> None:
    v = gf.Variable([0.0, 0.0])
    s = session()
    count = len(graph.get_operations())
    v.load([1.0, 2.0], s)
    assert v.eval(session=s).tolist() == [1, 2] and len(graph.get_operations()) == count
    with pytest.raises(ValueError, match="No default session"):
        v.eval()


def test_uninitialized() -> None:
    v = gf.Variable(1.0, name="W")
    missing, known = gf.report_uninitialized_variables(), gf.is_variable_initialized(v)
    s = gf.Session()
    with pytest.raises(gf.errors.FailedPreconditionError, match="Attempting to use uninitialized value W"):
        s.run(v)
    assert s.run(missing).tolist() == [b"W"] and not s.run(known)
    s.run(v.initializer)
    assert s.run(missing).size == 0 and s.run(known)


def test_initialized_value_and_reinitialisation() -> None:
    a = gf.Variable(gf.random_normal([3]))
    b = gf.Variable(a.initialized_value() * 2.0)
    init = gf.global_variables_initializer()
    s = gf.Session()
    s.run(init)
    first, second = s.run([a, b])
    assert np.allclose(second, 2 * first)
    s.run(init)
    assert (s.run(a) != first).any()


def test_open_shape() -> None:
    v = gf.Variable([1.0], validate_shape=False)
    assert v.get_shape().ndims is None
    s = session()
    twice = v * 2.0
    assert s.run(twice).tolist() == [2]
    assert s.run(gf.assign(v, [1.0, 2.0], validate_shape=False)).shape == (2,) and s.run(v).shape == (2,)
    assert s.run(twice).tolist() == [2, 4]
    w = gf.Variable([1.0])
    s.run(w.initializer)
    s.run(gf.assign(w, [3.0, 4.0], validate_shape=False))
    assert s.run(w + 0.0).tolist() == [3, 4]


def test_scatter() -> None:
    v = gf.Variable(np.zeros((3, 2), np.float32))
    s = session()
    assert s.run(gf.scatter_add(v, [1, 1], [[1.0, 1.0], [2.0, 2.0]])).tolist() == [[0, 0], [3, 3], [0, 0]]
    assert s.run(gf.scatter_update(v, 0, [9.0, 8.0]))[0].tolist() == [9, 8]
    assert s.run(gf.scatter_mul(v, [0], 2.0))[0].tolist() == [18, 16]
    assert s.run(gf.scatter_nd_update(v, [[2, 1]], [5.0])).tolist() == [[18, 16], [3, 3], [0, 5]]
    assert s.run(gf.scatter_nd_add(v, [[2, 1], [2, 1]], [1.0, 2.0])).tolist()[2] == [0, 8]
    with pytest.raises(gf.errors.InvalidArgumentError):
        s.run(gf.scatter_add(v, gf.placeholder_with_default([7], [1]), [[1.0, 1.0]]))
    with pytest.raises(ValueError, match="updates"):
        gf.scatter_add(v, [1, 1], [1.0, 2.0])


def test_count_up_to() -> None:
    v = gf.Variable(0)
    count = v.count_up_to(2)
    s = session()
    assert [s.run(count), s.run(count)] == [0, 1]
    with pytest.raises(gf.errors.OpError):
        s.run(count)
    assert s.run(v) == 2


# ---------------------------------------------------------------------------------------------- variable_scope


def test_get_variable_twice_and_reuse() -> None:
    with gf.variable_scope("s"):
        a = gf.get_variable("w", [2])
        with pytest.raises(ValueError, match=r"Variable s/w already exists, disallowed\. Did you mean"):
            gf.get_variable("w", [2])
    with gf.variable_scope("s", reuse=True):
        assert gf.get_variable("w") is a
        with pytest.raises(ValueError, match=r"does not exist, or was not created with tf\.get_variable"):
            gf.get_variable("n", [1])
        with pytest.raises(ValueError, match="Trying to share variable s/w, but specified shape"):
            gf.get_variable("w", [5])
    with gf.variable_scope("s") as scope:
        scope.reuse_variables()
        assert gf.get_variable("w") is a
        with gf.variable_scope("t", reuse=False) as inner:
            assert inner.reuse
    for _ in range(2):
        with gf.variable_scope("auto", reuse=gf.AUTO_REUSE):
            gf.get_variable("w", [1])
    assert len(gf.global_variables()) == 2


def test_names_under_scopes() -> None:
    with name_scope("n"):
        a, b = gf.get_variable("w", []), gf.Variable(0.0, name="w")
    assert a.name == "w:0" and b.name == "n/w:0"
    with gf.variable_scope("v"):
        assert gf.get_variable("w", []).name == "v/w:0" and gf.Variable(0.0, name="u").name == "v/u:0"


def test_entering_again() -> None:
    with gf.variable_scope("s") as scope:
        assert gf.constant(0, name="c").name == "s/c:0"
        with gf.variable_scope("inner") as inner:
            pass
    with gf.variable_scope("s"):
        assert gf.constant(0, name="c").name == "s_1/c:0" and gf.get_variable("w", []).name == "s/w:0"
    assert scope.name == "s" and scope.original_name_scope == "s/"
    with gf.variable_scope(inner) as again:
        assert again.name == "s/inner" and gf.get_variable("w", []).name == "s/inner/w:0"
        assert again.original_name_scope == "s/inner/"
    assert gf.get_variable_scope().name == ""


def test_default_name_and_inheritance() -> None:
    found = []
    for _ in range(2):
        with gf.variable_scope(None, default_name="d"):
            found.append(gf.get_variable("w", []).name)
    assert found == ["d/w:0", "d_1/w:0"]
    three = gf.constant_initializer(3.0)
    with gf.variable_scope("s", initializer=three, regularizer=lambda w: gf.reduce_sum(w)):
        v = gf.get_variable("w", [2])
        with gf.variable_scope("t", dtype=gf.float64):
            assert gf.get_variable("w", [2]).dtype.base_dtype == gf.float64
    i = gf.get_variable("i", [2], gf.int32)
    s = session()
    assert s.run(v).tolist() == [3, 3] and s.run(i).tolist() == [0, 0]
    assert s.run(losses.get_regularization_loss(scope="s/w")) == 6.0


def test_initializer_values() -> None:
    v = gf.get_variable("w", initializer=np.ones((2, 3), np.float32))
    assert v.shape.as_list() == [2, 3]
    assert gf.get_variable("i", initializer=3).dtype.base_dtype == gf.int32
    with pytest.raises(ValueError, match="If initializer is a constant, do not specify shape"):
        gf.get_variable("x", [2], initializer=np.ones(2, np.float32))
    with pytest.raises(ValueError, match=r"Shape of a new variable \(nn\) must be fully defined"):
        gf.get_variable("nn")
    with pytest.raises(ValueError, match="don't match"):
        gf.get_variable("y", dtype=gf.int32, initializer=1.5)
    f = gf.get_variable("f", [2, 2], initializer=lambda shape, dtype=None, partition_info=None: gf.ones(shape, dtype))
    assert f.shape.as_list() == [2, 2]
    assert gf.get_variable("g", [2], initializer=gf.zeros_initializer).shape.as_list() == [2]


def test_custom_getter() -> None:
    def getter(true_getter, name, *args, **kwargs):  # type: ignore[no-untyped-def]
        return true_getter(name + "_x", *args, **kwargs)

    with gf.variable_scope("s", custom_getter=getter):
        assert gf.get_variable("w", [1]).name == "s/w_x:0"


def test_make_template() -> None:
    f = gf.make_template("t", lambda x: x * gf.get_variable("w", [], initializer=gf.ones_initializer()))
    f(1.0)
    f(2.0)
    g = gf.make_template("t", lambda x: x * gf.get_variable("w", [], initializer=gf.ones_initializer()))
    g(1.0)
    assert [v.name for v in gf.global_variables()] == ["t/w:0", "t_1/w:0"]


# ---------------------------------------------------------------------------------------------- initializers


def test_initializers() -> None:
    shape = [40, 60]
    made = {
        "glorot_uniform": initializers.GlorotUniform(1)(shape),
        "he_normal": initializers.he_normal(1)(shape),
        "lecun_uniform": initializers.lecun_uniform(1)(shape),
        "unit": initializers.UniformUnitScaling(seed=1)(shape),
        "orthogonal": initializers.Orthogonal(2.0, 1)(shape),
        "identity": initializers.Identity()([2, 3]),
        "constant": initializers.Constant([1, 2])([3]),
        "truncated": initializers.TruncatedNormal(stddev=0.5, seed=1)(shape),
        "xavier": initializers.xavier_initializer(seed=1)([3, 3, 4, 8]),
    }
    v = gf.Session().run(made)
    limit = np.sqrt(6 / 100)
    assert np.abs(v["glorot_uniform"]).max() <= limit and v["glorot_uniform"].std() > 0.5 * limit
    assert abs(v["he_normal"].std() - np.sqrt(2 / 40)) < 0.01
    assert np.abs(v["lecun_uniform"]).max() <= np.sqrt(3 / 40)
    assert np.abs(v["unit"]).max() <= np.sqrt(3 / 40)
    assert np.allclose(v["orthogonal"] @ v["orthogonal"].T, 4 * np.eye(40), atol=1e-4)
    assert v["identity"].tolist() == [[1, 0, 0], [0, 1, 0]] and v["constant"].tolist() == [1, 2, 2]
    assert np.abs(v["truncated"]).max() <= 1.0
    assert np.abs(v["xavier"]).max() <= np.sqrt(6 / (9 * 12))


# ---------------------------------------------------------------------------------------------- losses, layers, metrics


def test_losses() -> None:
    a = losses.mean_squared_error([0.0, 0.0], [1.0, 3.0])
    b = losses.absolute_difference([0.0, 0.0], [1.0, 3.0], weights=[0.0, 2.0])
    c = losses.huber_loss([0.0, 0.0], [0.5, 3.0], reduction=losses.Reduction.SUM)
    gf.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, regularizers.l2_regularizer(0.5)(gf.constant([2.0])))
    total = losses.get_total_loss()
    assert losses.get_losses() == [a, b, c]
    assert np.allclose(gf.Session().run([a, b, c, total]), [5.0, 6.0, 0.125 + 2.5, 14.625])
    with pytest.raises(ValueError):
        losses.mean_squared_error([1.0, 2.0], [1.0])
    with pytest.raises(ValueError, match="must not be None"):
        losses.mean_squared_error(None, [1.0])


def test_cross_entropy_losses() -> None:
    logits = np.array([[1.0, 2.0, 0.5], [0.1, -1.0, 2.0]], np.float32)
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    expected = -np.log(p[[0, 1], [1, 2]]).mean()
    onehot = np.eye(3, dtype=np.float32)[[1, 2]]
    smooth = onehot * 0.9 + 0.1 / 3
    found = gf.Session().run(
        [
            losses.sparse_softmax_cross_entropy([1, 2], logits),
            losses.softmax_cross_entropy(onehot, logits),
            losses.softmax_cross_entropy(onehot, logits, label_smoothing=0.1),
            losses.sigmoid_cross_entropy(onehot, logits),
        ]
    )
    q = 1 / (1 + np.exp(-logits))
    sigmoid = -(onehot * np.log(q) + (1 - onehot) * np.log(1 - q)).mean()
    assert np.allclose(found, [expected, expected, -(smooth * np.log(p)).sum(1).mean(), sigmoid], rtol=1e-5)


def test_dense() -> None:
    x = gf.placeholder(gf.float32, [None, 4])
    a = layers.dense(x, 3)
    layers.dense(x, 3)
    layers.dense(x, 3, name="fc")
    layers.dense(x, 3, name="fc", reuse=True)
    found = [v.name for v in gf.global_variables()]
    assert found[:4] == ["dense/kernel:0", "dense/bias:0", "dense_1/kernel:0", "dense_1/bias:0"]
    assert found[4:] == ["fc/kernel:0", "fc/bias:0"]
    assert a.shape.as_list() == [None, 3]
    s = session()
    kernel, out = s.run([gf.global_variables()[0], a], {x: np.eye(4, dtype=np.float32)})
    assert np.allclose(out, kernel)
    layer = layers.Dense(2, use_bias=False, name="again")
    layer(x)
    layer(x)
    assert [v.name for v in layer.variables] == ["again/kernel:0"]


def test_batch_normalization() -> None:
    x = gf.placeholder(gf.float32, [None, 2])
    y = layers.batch_normalization(x, training=True, momentum=0.5)
    assert [v.op.name.split("/")[-1] for v in gf.global_variables()] == [
        "gamma",
        "beta",
        "moving_mean",
        "moving_variance",
    ]
    assert len(gf.trainable_variables()) == 2
    updates = gf.get_collection(GraphKeys.UPDATE_OPS)
    assert len(updates) == 2
    s = session()
    data = np.array([[1.0, 2.0], [3.0, 6.0]], np.float32)
    assert np.allclose(s.run(y, {x: data}), [[-1, -1], [1, 1]], atol=1e-3)
    s.run(updates, {x: data})
    assert np.allclose(s.run(gf.global_variables()[2]), [1.0, 2.0])
    assert np.allclose(s.run(gf.global_variables()[3]), [1.0, 2.5])


def test_batch_normalization_chosen_at_run_time() -> None:
    x, training = gf.placeholder(gf.float32, [None, 2, 2, 1]), gf.placeholder(gf.bool, [])
    y = layers.batch_normalization(x, training=training, momentum=0.5)
    updates = gf.get_collection(GraphKeys.UPDATE_OPS)
    s = session()
    data = np.arange(4, dtype=np.float32).reshape(1, 2, 2, 1)
    as_it_is, _ = s.run([y, updates], {x: data, training: False})
    assert np.allclose(as_it_is, data, atol=2e-3)
    assert s.run(gf.global_variables()[2:]) == [[0.0], [1.0]]
    normal, _ = s.run([y, updates], {x: data, training: True})
    assert abs(normal.mean()) < 1e-6 and abs(normal.std() - 1) < 1e-3
    mean, variance = s.run(gf.global_variables()[2:])
    assert np.allclose(mean, 0.75) and np.allclose(variance, 0.5 + 0.5 * data.var(ddof=1))


def test_flatten_and_dropout() -> None:
    x = gf.placeholder(gf.float32, [None, 2, 3])
    assert layers.flatten(x).shape.as_list() == [None, 6]
    y = layers.dropout(gf.ones([1000]), 0.5, training=True)
    z = layers.dropout(gf.ones([10]), 0.5)
    dropped, kept = gf.Session().run([y, z])
    assert set(np.unique(dropped)) == {0.0, 2.0} and kept.tolist() == [1.0] * 10


def test_accuracy() -> None:
    value, update = metrics.accuracy(labels=[1, 0, 1], predictions=[1, 1, 1])
    assert len(gf.local_variables()) == 2 and gf.global_variables() == []
    s = gf.Session()
    s.run(gf.local_variables_initializer())
    assert s.run(value) == 0.0
    assert abs(s.run(update) - 2 / 3) < 1e-6 and abs(s.run(value) - 2 / 3) < 1e-6


# ---------------------------------------------------------------------------------------------- training utilities


def test_global_step_and_group() -> None:
    step = train.get_or_create_global_step()
    assert step.name == "global_step:0" and train.get_or_create_global_step() is step and step.dtype.base_dtype == gf.int64
    with pytest.raises(ValueError, match="already exists"):
        train.create_global_step()
    other = gf.Variable(0.0)
    both = group(step.assign_add(1), other.assign_add(2.0))
    s = session()
    assert s.run(both) is None and train.global_step(s, step) == 1 and s.run(other) == 2.0


def test_learning_rates() -> None:
    step = gf.placeholder(gf.int32, [])
    rates = [
        train.exponential_decay(0.1, step, 10, 0.5, staircase=True),
        train.exponential_decay(0.1, step, 10, 0.5),
        train.piecewise_constant(step, [5, 20], [1.0, 0.1, 0.01]),
        train.polynomial_decay(1.0, step, 20, 0.1, power=2.0),
        train.natural_exp_decay(0.1, step, 10, 0.5),
        train.inverse_time_decay(0.1, step, 10, 0.5),
        train.cosine_decay(1.0, step, 30),
    ]
    s = gf.Session()
    for n in (0, 5, 15, 40):
        t = min(n, 20) / 20
        expected = [
            0.1 * 0.5 ** (n // 10),
            0.1 * 0.5 ** (n / 10),
            1.0 if n <= 5 else 0.1 if n <= 20 else 0.01,
            0.9 * (1 - t) ** 2 + 0.1,
            0.1 * np.exp(-0.5 * n / 10),
            0.1 / (1 + 0.5 * n / 10),
            0.5 * (1 + np.cos(np.pi * min(n, 30) / 30)),
        ]
        assert np.allclose(s.run(rates, {step: n}), expected, rtol=1e-5), n


def test_moving_average() -> None:
    v = gf.Variable(1.0, name="v")
    ema = train.ExponentialMovingAverage(0.9)
    apply = ema.apply([v])
    assert ema.average(v).op.name == "v/ExponentialMovingAverage" == ema.average_name(v)
    assert ema.variables_to_restore()["v/ExponentialMovingAverage"] is v
    n = gf.Variable(0, trainable=False)
    other = train.ExponentialMovingAverage(0.999, num_updates=n, name="other")
    apply_other = other.apply([v])
    s = session()
    s.run(v.assign(2.0))
    s.run([apply, apply_other])
    assert abs(s.run(ema.average(v)) - 1.1) < 1e-6 and abs(s.run(other.average(v)) - 1.9) < 1e-6


def test_moving_average_of_a_tensor() -> None:
    """As TensorFlow 1.12: from zero, and corrected for that only if asked."""
    v, w = gf.Variable(10.0), gf.Variable(20.0)
    total = v + w
    plain = train.ExponentialMovingAverage(0.25)
    update = plain.apply([total])
    assert [x.op.name for x in gf.global_variables()][2:] == ["add/ExponentialMovingAverage"]
    s = session()
    seen = [float(s.run(plain.average(total)))]
    for _ in range(2):
        s.run(update)
        seen.append(float(s.run(plain.average(total))))
    assert seen == [0.0, 22.5, 28.125]
    corrected = train.ExponentialMovingAverage(0.25, zero_debias=True, name="corrected")
    update = corrected.apply([total])
    s = session()
    for _ in range(2):
        s.run(update)
        assert abs(float(s.run(corrected.average(total))) - 30.0) < 1e-5
