"""Products of batches whose axes broadcast: sizes known or fed, forward and backward, without copies of operands."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_compiler.compilation import compile
from graphflow_compiler.frontend import Signature, symbolize_shapes
from graphflow_compiler.planning.plan import Plan
from tests.products import Array

#: (declared a, declared b, [(fed a, fed b), ...]); each case is one graph and one session.
CASES: list[tuple[Any, Any, list[tuple[tuple[int, ...], tuple[int, ...]]]]] = [
    ([2, None, 4, 5], [2, 3, 5, 6], [((2, 1, 4, 5), (2, 3, 5, 6)), ((2, 3, 4, 5), (2, 3, 5, 6))]),
    ([2, 3, 4, 5], [2, None, 5, 6], [((2, 3, 4, 5), (2, 3, 5, 6)), ((2, 3, 4, 5), (2, 1, 5, 6))]),
    ([None, 3, 4, 5], [7, 3, 5, 6], [((1, 3, 4, 5), (7, 3, 5, 6)), ((7, 3, 4, 5), (7, 3, 5, 6))]),
    ([None, None, 4, 5], [None, None, 5, 6], [((2, 1, 4, 5), (1, 3, 5, 6)), ((1, 1, 4, 5), (2, 3, 5, 6))]),
    ([None, None, None, None], [None, None, None], [((2, 1, 4, 5), (3, 5, 6)), ((7, 3, 1, 5), (3, 5, 1))]),
    ([None, 4, 5], [None, 5, 6], [((1, 4, 5), (3, 5, 6)), ((3, 4, 5), (1, 5, 6)), ((1, 4, 5), (1, 5, 6))]),
    ([None, 1, 4, 5], [None, 8, 5, 6], [((7, 1, 4, 5), (7, 8, 5, 6)), ((1, 1, 4, 5), (7, 8, 5, 6))]),
    (None, None, [((2, 1, 4, 5), (2, 3, 5, 6)), ((4, 5), (3, 5, 6)), ((1, 4, 5), (3, 5, 6)), ((4, 5), (5, 6))]),
    ([None, 3, 4, 5], None, [((2, 3, 4, 5), (3, 5, 6)), ((2, 3, 4, 5), (2, 1, 5, 6)), ((1, 3, 4, 5), (5, 6))]),
    ([2, 1, 4, 5], [2, 3, 5, 6], [((2, 1, 4, 5), (2, 3, 5, 6))]),
    ([2, 1, 2, 4, 5], [3, 1, 5, 6], [((2, 1, 2, 4, 5), (3, 1, 5, 6))]),
    ([6, 3, 4, 5], [3, 5, 6], [((6, 3, 4, 5), (3, 5, 6))]),
    ([6, 3, 4, 5], [1, 1, 5, 6], [((6, 3, 4, 5), (1, 1, 5, 6))]),
    ([3, 4, 5], [1, 1, 5, 6], [((3, 4, 5), (1, 1, 5, 6))]),
    ([2, None, 4, 5], [2, 1, 5, 6], [((2, 0, 4, 5), (2, 1, 5, 6)), ((2, 3, 4, 5), (2, 1, 5, 6))]),
]


@pytest.fixture(autouse=True)
def graph() -> Iterator[gf.Graph]:
    with gf.Graph().as_default() as g:
        yield g


def random(shape: tuple[int, ...], dtype: gf.DType, seed: int) -> Array:
    rng = np.random.default_rng(seed)
    return (rng.integers(-9, 9, shape) if dtype.is_integer else rng.standard_normal(shape)).astype(dtype.numpy_dtype)


@pytest.mark.parametrize("dtype", [gf.float32, gf.float64, gf.float16, gf.int32])
@pytest.mark.parametrize("case", range(len(CASES)))
def test_products_and_their_gradients(case: int, dtype: gf.DType) -> None:
    declared_a, declared_b, fed = CASES[case]
    a, b = gf.placeholder(dtype, declared_a), gf.placeholder(dtype, declared_b)
    y = gf.matmul(a, b)
    fetches = [y]
    if dtype.is_floating:  # the square: a gradient that differs from batch to batch
        fetches += gf.gradients(gf.reduce_sum(gf.square(y)), [a, b])
    # Of 16 bits each of these sums has other intermediate roundings.
    rtol, atol = (2e-2, 5e-2) if dtype.size == 2 else (1e-4, 1e-4)
    with gf.Session() as native, gf.Session(backend="reference") as reference:
        for shape_a, shape_b in fed:
            u, v = random(shape_a, dtype, 1), random(shape_b, dtype, 2)
            found, wanted = (s.run(fetches, {a: u, b: v}) for s in (native, reference))
            exact = u.astype(np.float64) @ v.astype(np.float64)
            np.testing.assert_allclose(found[0].astype(np.float64), exact, rtol=rtol, atol=atol)
            for f, w in zip(found, wanted, strict=True):
                assert f.shape == w.shape and f.dtype == w.dtype
                np.testing.assert_allclose(f, w, rtol=rtol, atol=atol)
            assert [f.shape for f in found[1:]] == [shape_a, shape_b][: len(found) - 1]


@pytest.mark.parametrize("transpose_a", [False, True])
@pytest.mark.parametrize("transpose_b", [False, True])
def test_transposed_operands(transpose_a: bool, transpose_b: bool) -> None:
    a = gf.placeholder(gf.float32, [None, None, *((5, 4) if transpose_a else (4, 5))])
    b = gf.placeholder(gf.float32, [None, None, *((6, 5) if transpose_b else (5, 6))])
    y = gf.matmul(a, b, transpose_a=transpose_a, transpose_b=transpose_b)
    fetches = [y, *gf.gradients(gf.reduce_sum(gf.square(y)), [a, b])]
    with gf.Session() as native, gf.Session(backend="reference") as reference:
        for batch_a, batch_b in [((2, 1), (1, 3)), ((2, 3), (2, 1)), ((1, 3), (2, 3)), ((2, 3), (2, 3))]:
            u = random((*batch_a, *a.shape.as_list()[2:]), gf.float32, 1)
            v = random((*batch_b, *b.shape.as_list()[2:]), gf.float32, 2)
            for f, w in zip(*(s.run(fetches, {a: u, b: v}) for s in (native, reference)), strict=True):
                np.testing.assert_allclose(f, w, rtol=1e-4, atol=1e-4)


def plan_of(graph: gf.Graph, fetches: list[gf.Tensor], feeds: dict[gf.Tensor, tuple[int, ...]]) -> Plan:
    shapes = symbolize_shapes(tuple(feeds), tuple(feeds.values()))
    return compile(graph, Signature(tuple(fetches), tuple(feeds), shapes, {}))


@pytest.mark.parametrize("open_dims", [False, True])
def test_operands_are_not_repeated_in_memory(graph: gf.Graph, open_dims: bool) -> None:
    shape_a, shape_b = (64, 8, 16, 32), (8, 32, 512)
    a = gf.placeholder(gf.float32, [None, 8, None, 32] if open_dims else shape_a)
    b = gf.placeholder(gf.float32, shape_b)
    y = gf.nn.relu(gf.matmul(a, b) + 1.0)
    assert [op.type for op in graph.get_operations() if "Broadcast" in op.type] == []
    plan = plan_of(graph, [y], {a: shape_a, b: shape_b})
    assert [s.pattern for s in plan.steps] == ["gemm"]
    sizes = plan.sizes([shape_a, shape_b])
    result = 64 * 8 * 16 * 512 * 4
    assert plan.peak_bytes(sizes) < result + 2**20, "what is beyond the result is a block of B for each thread"


def test_an_operand_of_one_matrix_has_its_gradient_in_one_product(graph: gf.Graph) -> None:
    """As if it were of rank 2: no product for each batch, to be summed."""
    a = gf.placeholder(gf.float32, [None, 8, 4, 5])
    u, v = random((7, 8, 4, 5), gf.float32, 1), random((5, 6), gf.float32, 2)
    wanted = (np.swapaxes(u, -1, -2) @ (2 * (u @ v))).sum((0, 1))
    for shape in ((5, 6), (1, 5, 6), (1, 1, 5, 6)):
        b = gf.placeholder(gf.float32, shape)
        (by_b,) = gf.gradients(gf.reduce_sum(gf.square(gf.matmul(a, b))), [b])
        plan = plan_of(graph, [by_b], {a: u.shape, b: shape})
        assert [s.pattern for s in plan.steps] == ["gemm", "gemm"]
        with gf.Session() as session:
            found = session.run(by_b, {a: u, b: v.reshape(shape)})
        np.testing.assert_allclose(found, wanted.reshape(shape), rtol=1e-4, atol=1e-3)


def test_loaded_products_broadcast_what_is_fed(tmp_path: Path) -> None:
    a, b = gf.placeholder(gf.float32, [None, None, 4, 5], name="a"), gf.placeholder(gf.float32, [3, 5, 6], name="b")
    gf.matmul(a, b, name="y")
    # Files of before have the operand repeated by an op of its own.
    gf.matmul(gf.broadcast_to(a, [2, 3, 4, 5]), b, name="spread")
    gf.save(tmp_path / "model", graph=a.graph)
    loaded = gf.load(tmp_path / "model").graph
    u, v = random((2, 1, 4, 5), gf.float32, 1), random((3, 5, 6), gf.float32, 2)
    with gf.Session(graph=loaded) as session:
        for found in session.run(["y:0", "spread:0"], {"a:0": u, "b:0": v}):
            np.testing.assert_allclose(found, u @ v, rtol=1e-5, atol=1e-5)
