"""Reductions in blocks: the same bits on any number of threads, right at every border, accurate, and small ones left whole."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow_compiler.lower.split_reduction import BLOCK
from tests.plan_steps import Array, PlanSteps

THREADS = (1, 2, 3, 7)
LENGTHS = (0, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 5)
Build = Callable[..., Any]


def uniform(*shape: int, seed: int = 0) -> Array:
    return np.random.default_rng(seed).random(shape, np.float32)


def steps_of(build: Build, *arrays: Array, open_axes: tuple[int, ...] = ()) -> PlanSteps:
    """The plan of what `build` makes of one placeholder an array, whose `open_axes` have sizes known at run time only."""
    with gf.Graph().as_default() as g:
        tensors = []
        for a in arrays:
            shape = [None if k in open_axes else d for k, d in enumerate(a.shape)]
            tensors.append(gf.placeholder(gf.as_dtype(a.dtype), shape))
        made = build(*tensors)
        fetches = list(made) if isinstance(made, (list, tuple)) else [made]
        return PlanSteps(g, fetches, {t: a.shape for t, a in zip(tensors, arrays, strict=True)})


def reference(build: Build, *arrays: Array) -> list[Array]:
    with gf.Graph().as_default() as g, gf.Session(graph=g, backend="reference") as session:
        made = build(*(gf.constant(a) for a in arrays))
        found: list[Array] = session.run(list(made) if isinstance(made, (list, tuple)) else [made])
        return found


def same_on_threads(steps: PlanSteps, *arrays: Array) -> list[Array]:
    """The outputs, whose bits must not depend on the number of threads."""
    first, failed = steps.run(arrays)
    assert failed is None
    for threads in THREADS[1:]:
        outputs, _ = steps.run(arrays, threads)
        assert [a.tobytes() for a in outputs] == [a.tobytes() for a in first], f"{threads} threads"
    return first


def check(build: Build, *arrays: Array, open_axes: tuple[int, ...] = (), rtol: float = 2e-5) -> list[str]:
    """Compares with the reference backend; returns the patterns of the plan's steps."""
    steps = steps_of(build, *arrays, open_axes=open_axes)
    for found, wanted in zip(same_on_threads(steps, *arrays), reference(build, *arrays), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=rtol, atol=1e-6)
    return steps.patterns


TWO = ["row blocks", "row results"]


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.int32])
def test_sums_and_extremes_at_the_borders_of_blocks(dtype: Any) -> None:
    def build(x: Any) -> list[Any]:
        return [gf.reduce_sum(x), gf.reduce_max(x - 3), gf.reduce_min(x * 2), gf.reduce_prod(gf.maximum(x - 47, 1))]

    steps = steps_of(build, np.zeros(2, dtype), open_axes=(0,))
    assert set(steps.patterns) == set(TWO)
    for n in LENGTHS:
        x = np.random.default_rng(n).integers(0, 50, n).astype(dtype)
        if n == 0:
            outputs = same_on_threads(steps, x)
            assert outputs[0] == 0 and outputs[3] == 1
            continue
        total, top, bottom, product = same_on_threads(steps, x)
        assert total == x.sum(dtype=dtype) and top == x.max() - 3 and bottom == x.min() * 2
        with np.errstate(over="ignore"):
            np.testing.assert_allclose(product, np.prod(np.maximum(x - 47, 1), dtype=dtype), rtol=1e-5)


def test_any_and_all() -> None:
    steps = steps_of(lambda x: [gf.reduce_any(x), gf.reduce_all(x)], np.zeros(2, bool), open_axes=(0,))
    assert set(steps.patterns) == set(TWO)
    for n in LENGTHS:
        for place in {0, n // 2, n - 1} if n else set():
            one = np.zeros(n, bool)
            one[place] = True
            assert same_on_threads(steps, one) == [True, False]
            assert same_on_threads(steps, ~one) == [n > 1, False]
        assert same_on_threads(steps, np.ones(n, bool)) == [n > 0, True]


def test_mean_of_nothing_is_nan() -> None:
    steps = steps_of(gf.reduce_mean, np.zeros(2, np.float32), open_axes=(0,))
    assert np.isnan(same_on_threads(steps, np.zeros(0, np.float32))[0])


def test_nan_reaches_the_result_from_any_block() -> None:
    steps = steps_of(lambda x: [gf.reduce_max(x), gf.reduce_sum(x)], np.zeros(2, np.float32), open_axes=(0,))
    for place in (0, BLOCK, 3 * BLOCK):
        x = uniform(3 * BLOCK + 5)
        x[place] = np.nan
        assert all(np.isnan(v) for v in same_on_threads(steps, x))


def test_sums_of_ten_million_floats_are_accurate() -> None:
    x = uniform(10_000_000)
    (mean,) = steps_of(gf.reduce_mean, x).run([x])[0]
    assert abs(float(mean) / x.mean(dtype=np.float64) - 1) < 2e-7


def test_prologue_epilogue_and_broadcasts() -> None:
    x, row, column = uniform(70, 300), uniform(300, seed=1), uniform(70, 1, seed=2)

    def build(x: Any, row: Any, column: Any) -> list[Any]:
        total = gf.reduce_sum(gf.tanh(x * row) + column)
        return [gf.sqrt(total) * 2.0, x * row]

    assert check(build, x, row, column) == TWO
    assert check(lambda x: gf.reduce_mean(x[:, ::-1] * x), x) == TWO
    wide = uniform(3, 30_000)
    assert check(lambda x, c: gf.reduce_sum(x * c), wide, uniform(3, 1)) == TWO


def test_several_passes_and_results_of_each_level() -> None:
    x = uniform(20_001)

    def normalised(x: Any) -> list[Any]:
        mean, variance = gf.nn.moments(x, [0], keepdims=True)
        y = (x - mean) * gf.rsqrt(variance + 1e-3)
        return [mean, variance, y, gf.reduce_max(gf.abs(y))]

    assert check(normalised, x) == TWO * 3
    assert check(normalised, x, open_axes=(0,)) == TWO * 3
    assert check(gf.nn.softmax, x) == [*TWO, *TWO, "row blocks"]


def test_few_large_rows() -> None:
    x, scale = uniform(5, 20_000), uniform(5, 1, seed=1) + 0.5

    def build(x: Any, scale: Any) -> list[Any]:
        s = gf.sqrt(scale)
        y = gf.nn.log_softmax(x * s)
        return [y, gf.reduce_sum(gf.square(y), 1) * s[:, 0], s]

    assert set(check(build, x, scale)) >= set(TWO)
    assert set(check(lambda x: gf.reduce_sum(gf.nn.softmax(x) * x, [1, 2]), uniform(4, 50, 700))) >= set(TWO)
    assert check(lambda x: gf.reduce_mean(x, 1), uniform(6, 100), open_axes=(1,)) == TWO
    assert check(lambda x: gf.reduce_mean(x, 1), uniform(17, 20_000)) == ["row"]  # rows enough


def test_random_numbers_do_not_depend_on_blocks() -> None:
    x = uniform(30_000)
    steps = steps_of(lambda x: [gf.reduce_sum(r := x * gf.random_uniform([30_000], seed=3)), r], x)
    total, elements = same_on_threads(steps, x)
    np.testing.assert_allclose(total, elements.sum(dtype=np.float64), rtol=1e-6)


# ---------------------------------------------------------------------------------------------- totals over rows


def layer_norm_of_softmax(x: Any, gamma: Any) -> list[Any]:
    y = gf.nn.softmax(x)
    mean, variance = gf.nn.moments(y, [1], keepdims=True)
    y = (y - mean) * gf.rsqrt(variance + 1e-5) * gamma
    return [gf.reduce_mean(gf.square(y)) * 3.0, gf.reduce_max(variance), mean]


@pytest.mark.parametrize("shape", [(37, 1024), (512, 30), (40, 5000), (0, 8), (1, 300), (200, 1)])
def test_rows_and_their_totals_are_one_pass(shape: tuple[int, int]) -> None:
    x, gamma = uniform(*shape) * 4, uniform(shape[1], seed=1)
    if 0 in shape:
        steps = steps_of(layer_norm_of_softmax, np.zeros((3, 8), np.float32), gamma, open_axes=(0,))
        assert np.isnan(same_on_threads(steps, x, gamma)[0])
        return
    known = check(layer_norm_of_softmax, x, gamma, rtol=1e-4)
    both_open = check(layer_norm_of_softmax, x, gamma, open_axes=(0, 1), rtol=1e-4)
    if 1 not in shape:
        assert known == both_open == TWO


def test_mean_cross_entropy() -> None:
    def build(x: Any, labels: Any) -> Any:
        return gf.reduce_mean(gf.nn.sparse_softmax_cross_entropy_with_logits(logits=x, labels=labels))

    x, labels = uniform(1000, 10), np.random.default_rng(0).integers(0, 10, 1000).astype(np.int32)
    assert check(build, x, labels, open_axes=(0,))[-2:] == TWO
    steps = steps_of(build, x, labels, open_axes=(0,))
    labels[777] = 10
    for threads in THREADS:
        failed = steps.run([x, labels], threads)[1]
        assert failed is not None and failed[0] == "SparseSoftmaxCrossEntropyWithLogits"


def test_failures_in_either_part_name_their_op() -> None:
    def build(x: Any, indices: Any) -> Any:
        picked = gf.gather(x, indices, name="picked")
        return gf.check_numerics(gf.reduce_mean(gf.log(picked)), "the mean", name="checked") + 1.0

    x, indices = uniform(50) + 1, np.zeros(20_000, np.int32)
    steps = steps_of(build, x, indices)
    assert steps.run([x, indices])[1] is None
    for threads in THREADS:
        bad = indices.copy()
        bad[19_999] = 50
        failed = steps.run([x, bad], threads)[1]
        assert failed is not None and failed[0] == "picked"
        failed = steps.run([x * 0 - 1, indices], threads)[1]
        assert failed is not None and failed[0] == "checked"


def test_totals_do_not_go_back_into_the_rows() -> None:
    def build(x: Any) -> list[Any]:
        y = gf.nn.softmax(x)
        total = gf.reduce_sum(gf.reduce_max(y, 1))
        return [y * total, gf.reduce_max(y, 1) + total, gf.exp(total)]

    x = uniform(300, 20)
    assert check(build, x, open_axes=(0,))[:2] == TWO
    check(build, x)


# ---------------------------------------------------------------------------------------------- columns


@pytest.mark.parametrize("open_axes", [(), (0,)])
def test_few_columns(open_axes: tuple[int, ...]) -> None:
    for columns in (2, 3, 10, 32):
        x = uniform(3 * BLOCK + 5, columns)
        patterns = check(lambda x: [gf.reduce_mean(x, 0) * 2.0, gf.reduce_max(x, 0)], x, open_axes=open_axes)
        assert set(patterns) == {"column blocks", "column results"}
    assert check(lambda x: gf.reduce_sum(x, [0, 2]), uniform(200, 3, 41), open_axes=open_axes)[0] == "column blocks"
    assert check(lambda x: gf.reduce_sum(x, 0), uniform(100, 300), open_axes=open_axes) == ["column"]


CUT = {"column blocks", "column results"}


@pytest.mark.parametrize("open_axes", [(), (0,)])
def test_elements_on_the_way_to_columns_are_computed_there(open_axes: tuple[int, ...]) -> None:
    """And stored where they are wanted, each once; several reductions are one pass."""

    def build(x: Any) -> list[Any]:
        y = gf.nn.relu(x - 0.3) * 2.0
        return [y, gf.reduce_sum(y, 0), gf.reduce_max(y * y, 0) + 1.0]

    for columns in (2, 10, 32, 100, 600):
        assert set(check(build, uniform(4 * BLOCK // columns + 150, columns), open_axes=open_axes)) == CUT
    assert set(check(build, uniform(200, 9, 30), open_axes=open_axes)) == CUT
    assert check(build, uniform(40, 30)) == ["column"]
    assert check(build, uniform(100, 300)) == ["column"]  # too few rows for blocks of them


@pytest.mark.parametrize("axes", [[0], [1], [0, 1], [0, 2], [1, 2], [0, 1, 3]])
def test_columns_along_any_axes(axes: list[int]) -> None:
    def build(x: Any) -> list[Any]:
        y = x * 3.0 - 1.0
        return [y, gf.reduce_sum(gf.square(y), axes), *gf.nn.moments(x, axes)]

    for shape in ((6, 5, 7, 9), (40, 3, 90, 4), (3, 40, 5, 50), (2, 1, 3, 40), (1, 30, 1, 5), (4, 3, 17, 1)):
        check(build, uniform(*shape))
        check(build, uniform(*shape), open_axes=(0, 2))


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (1, 40), (40, 1), (0, 0), (1, 1), (3, 0, 4), (0, 7, 20)])
def test_columns_without_elements_or_of_one(shape: tuple[int, ...]) -> None:
    def build(x: Any) -> list[Any]:
        y = x * 2.0 + 1.0
        return [y, gf.reduce_sum(y, 0), gf.reduce_sum(gf.square(y), [0, len(shape) - 1])]

    for open_axes in ((), (0,), (1,), (0, 1)):
        check(build, uniform(*shape), open_axes=open_axes)


def test_sums_of_looked_up_rows_are_one_kernel() -> None:
    ids = np.random.default_rng(1).integers(0, 50, (40, 7)).astype(np.int32)

    def build(table: Any, ids: Any) -> Any:
        return gf.reduce_sum(gf.gather(table, ids), 1)

    assert check(build, uniform(50, 24), ids) == ["column"]
    ids[3, 2] = 50
    steps = steps_of(build, uniform(50, 24), ids)
    failures = [steps.run([uniform(50, 24), ids], threads)[1] for threads in THREADS]
    assert failures[0] is not None and failures == failures[:1] * len(THREADS)


def test_what_does_not_share_a_kernel_with_columns() -> None:
    def explained(build: Build, *shapes: tuple[int, ...]) -> str:
        with gf.Graph().as_default() as g, gf.Session(graph=g) as session:
            feeds = [gf.placeholder(gf.float32, shape) for shape in shapes]
            return str(session.explain(build(*feeds), feed_shapes=dict(zip(feeds, shapes, strict=True))))

    text = explained(lambda x: gf.reduce_sum(gf.tanh(x, name="th"), 0, name="total"), (64, 100))
    assert "2 kernels" in text and "not fused: th -> total: math functions are faster in a loop of their own" in text
    text = explained(lambda x, y: gf.reduce_sum(gf.matmul(x, y, name="p"), 0, name="total"), (8, 9), (9, 7))
    assert "not fused: p -> total: a product is made in tiles, not in whole columns" in text
    text = explained(lambda x: gf.subtract(x * 2.0, gf.reduce_mean(x * 2.0, 0, name="mean"), name="centred"), (64, 100))
    assert "2 kernels" in text and "not fused: mean -> centred: it needs the result of the whole column" in text
    text = explained(lambda x: gf.reduce_sum(gf.nn.softmax(x, name="soft"), 0, name="total"), (64, 100))
    assert "not fused: soft -> total: it reduces over other axes than its kernel" in text
    text = explained(lambda x: gf.reduce_sum(gf.reshape(gf.square(x, name="sq"), [100, 64]), 0, name="total"), (64, 100))
    assert "not fused: sq -> total: it reads the producer's elements through a reshape" in text


@pytest.mark.parametrize("rows", [40, 3000])
def test_variables_that_columns_read_and_update(rows: int) -> None:
    x = uniform(rows, 24)
    with gf.Graph().as_default() as graph:
        v, b = gf.Variable(uniform(rows, 24, seed=1)), gf.Variable(uniform(24, seed=2))
        p = gf.placeholder(gf.float32, [None, 24])
        new = v - 0.1 * p
        stepped = [v.assign(new).op, b.assign_sub(0.01 * gf.reduce_sum(gf.square(new + b), 0)).op]
        # Sums of what the variable was, beside an update from its elements.
        doubled = v * 2.0
        old = [gf.reduce_sum(v, 0), gf.reduce_sum(doubled, 0)]
        twice = v.assign(doubled).op
        init = gf.global_variables_initializer()
    found = []
    for backend in ("native", "reference"):
        with gf.Session(graph=graph, backend=backend) as session:
            session.run(init)
            if backend == "native":
                assert "updates in place: " in session.explain(stepped, {p: x})
                assert "updates in place: " in session.explain([old[1], twice])
                assert "updates in place: " not in session.explain([old, twice])  # which may read what is already new
            session.run(stepped, {p: x})
            found.append([*session.run([old, twice])[0], *session.run([v, b])])
    for native, reference in zip(*found, strict=True):
        np.testing.assert_allclose(native, reference, rtol=1e-4, atol=1e-6)


def test_update_of_a_variable_from_column_sums() -> None:
    x = uniform(5000, 4)
    with gf.Graph().as_default() as g, gf.Session(graph=g) as session:
        v = gf.Variable(np.ones(4, np.float32))
        p = gf.placeholder(gf.float32, [None, 4])
        update = v.assign_sub(0.5 * gf.reduce_sum(p * 1.0, 0))
        session.run(v.initializer)
        session.run(update.op, {p: x})
        np.testing.assert_allclose(session.run(v), 1 - 0.5 * x.sum(0, dtype=np.float64), rtol=1e-6)


# ---------------------------------------------------------------------------------------------- what stays whole


def test_small_reductions_stay_one_kernel() -> None:
    x = uniform(32, 10)
    assert check(lambda x: gf.reduce_mean(gf.square(x)), x) == ["row"]
    assert check(lambda x: gf.reduce_mean(gf.reduce_sum(gf.square(x), 1)), x) == ["row"]
    assert check(lambda x: gf.reduce_sum(x, 0), x) == ["column"]
    assert check(gf.reduce_mean, uniform(16_383)) == ["row"]
    assert check(gf.reduce_mean, uniform(16_384)) == TWO


def test_explain_tells_the_parts_apart() -> None:
    with gf.Graph().as_default() as g, gf.Session(graph=g) as session:
        x = gf.placeholder(gf.float32, [20_000])
        y = gf.reduce_mean(gf.tanh(x), name="average")
        text = session.explain(y, {x: np.ones(20_000, np.float32)})
    assert "step 0: row blocks kernel" in text and "step 1: row results kernel" in text
    assert text.count("average") == 2
