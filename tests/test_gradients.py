"""tf.gradients: values, names, what is unconnected, sparse gradients, and the cost of long chains."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest

import graphflow as gf
from graphflow.autodiff.gradients import RegisterGradient, UnconnectedGradients, custom_gradient, gradients, hessians


@pytest.fixture(autouse=True)
def graph() -> Iterator[gf.Graph]:
    with gf.Graph().as_default() as g:
        yield g


def run(fetches: object) -> object:
    s = gf.Session()
    if gf.global_variables():
        s.run(gf.global_variables_initializer())
    return s.run(fetches)


def test_values_sums_and_unconnected() -> None:
    x, z = gf.constant(3.0), gf.constant(1.0)
    y = x * x
    assert gradients(y, [x, z])[1] is None
    assert isinstance(gradients(y, x), list)
    found = [
        gradients(y, x)[0],
        gradients([y, y], x)[0],
        gradients(y, x, grad_ys=gf.constant(2.0))[0],
        gradients(y, z, unconnected_gradients=UnconnectedGradients.ZERO)[0],
        gradients(y, y)[0],
    ]
    assert run(found) == [6.0, 12.0, 12.0, 0.0, 1.0]


def test_names(graph: gf.Graph) -> None:
    a = gf.placeholder(gf.float32, [2], name="a")
    y = gf.multiply(a, a, name="mul")
    (g,) = gradients(y, a)
    assert g.name == "gradients/AddN:0"
    names = {op.name for op in graph.get_operations()}
    assert {"gradients/grad_ys_0", "gradients/mul_grad/Mul"} <= names
    (again,) = gradients(y, a)
    assert again.name == "gradients_1/AddN:0"
    assert {n.split("/")[0] for n in names} <= {"a", "mul", "gradients"}


def test_intermediates_stops_and_second_derivatives() -> None:
    x = gf.constant(2.0)
    m = x * x
    y = m * x
    first = gradients(y, x)[0]
    found = [
        gradients(y, m)[0],
        gradients(y, x, stop_gradients=[m])[0],
        first,
        gradients(first, x)[0],
        gradients(gradients(first, x)[0], x)[0],
    ]
    assert run(found) == [2.0, 4.0, 12.0, 12.0, 6.0]
    a = gf.constant(1.0)
    b = 2 * a
    assert run(gradients(a + b, [a, b], stop_gradients=[a, b])) == [1.0, 1.0]
    assert run(gradients(a + b, [a, b])) == [3.0, 1.0]


def test_no_gradient_through_integers() -> None:
    x = gf.constant([1.0, 2.0])
    assert gradients(gf.cast(gf.cast(x, gf.int32), gf.float32), x) == [None]
    assert gradients(gf.cast(gf.greater(x, 1.0), gf.float32), x) == [None]
    assert gradients(gf.constant(1), gf.constant(1)) == [None]


def test_variables() -> None:
    v, u = gf.Variable([1.0, 2.0]), gf.Variable(1.0)
    y = v * v + v.read_value()
    assert gradients(y, u) == [None]
    found = run([gradients(y, v)[0], gradients(v, v)[0], gradients(y, v.value())[0]])
    assert [f.tolist() for f in found] == [[3, 5], [1, 1], [3, 5]]  # type: ignore[attr-defined]


def test_broadcasting_and_unknown_shapes() -> None:
    x = gf.placeholder(gf.float32, [None, 3])
    b = gf.Variable([1.0, 2.0, 3.0])
    gx, gb = gradients(x * b, [x, b])
    assert gb.shape.as_list() == [3] and gx.shape.as_list() == [None, 3]
    with gf.Session() as s:
        s.run(gf.global_variables_initializer())
        found = s.run([gx, gb], {x: np.arange(6).reshape(2, 3)})
    assert found[0].tolist() == [[1, 2, 3]] * 2 and found[1].tolist() == [3, 5, 7]


def test_sparse_gradient_of_gather() -> None:
    v = gf.Variable(np.zeros((4, 2), np.float32))
    y = gf.reduce_sum(gf.gather(v, [1, 1, 3]))
    (g,) = gradients(y, v)
    assert isinstance(g, gf.IndexedSlices)
    (both,) = gradients(y + gf.reduce_sum(gf.gather(v, [0])), v)
    assert isinstance(both, gf.IndexedSlices)
    (mixed,) = gradients(y + gf.reduce_sum(v), v)
    found = run([g, gf.convert_to_tensor(g), gf.convert_to_tensor(both), mixed])
    assert found[0].indices.tolist() == [1, 1, 3]  # type: ignore[index]
    assert found[1][:, 0].tolist() == [0, 2, 0, 1]  # type: ignore[index]
    assert found[2][:, 0].tolist() == [1, 2, 0, 1]  # type: ignore[index]
    assert found[3][:, 0].tolist() == [1, 3, 1, 2]  # type: ignore[index]


def test_custom_and_registered_gradients(graph: gf.Graph) -> None:
    @custom_gradient
    def f(x, y):  # type: ignore[no-untyped-def]
        return x * y, lambda dy: (dy * 7.0, None)

    x = gf.constant(2.0)
    name = f"Five{id(graph)}"

    @RegisterGradient(name)
    def five(op, dy):  # type: ignore[no-untyped-def]
        return dy * 5.0

    with graph.gradient_override_map({"Identity": name}):
        i = gf.identity(x)
    gx, _ = gradients(f(x, x * 1.0), [x, x])
    assert run([gradients(i, x)[0], gx, f(x, 3.0)]) == [5.0, 7.0, 6.0]
    with graph.gradient_override_map({"Identity": "nobody"}):
        j = gf.identity(x)
    with pytest.raises(LookupError, match="No gradient defined for operation"):
        gradients(j, x)
    with pytest.raises(KeyError, match="Registering two gradient"):
        RegisterGradient(name)(five)


def test_bad_arguments() -> None:
    x = gf.constant([1.0, 2.0])
    with pytest.raises(ValueError, match="grad_ys"):
        gradients(x, x, grad_ys=[None, None])
    with pytest.raises(ValueError):
        gradients(x, x, grad_ys=[gf.constant([1.0, 2.0, 3.0])])
    with gf.Graph().as_default():
        other = gf.constant(1.0)
    with pytest.raises(ValueError, match="not an element of this graph"):
        gradients(x, other)


def test_hessians() -> None:
    x = gf.constant([1.0, 2.0])
    y = gf.reduce_sum(x * x * x)
    assert run(hessians(y, x)[0]).tolist() == [[6, 0], [0, 12]]  # type: ignore[attr-defined]


def test_long_chain_costs_little() -> None:
    x = gf.constant(1.0)
    y = x
    for _ in range(10_000):
        y = gf.sin(y)
    start = time.perf_counter()
    (g,) = gradients(y, x)
    assert time.perf_counter() - start < 5.0  # measured 0.5 s; the margin is for a busy machine
    assert g is not None
