"""Kernels alike but for their numbers: which share a function, and that sharing changes no bit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.dtypes import float32, float64, uint64
from graphflow.framework.shapes import size
from graphflow_compiler.ir.loops import Binary, Buffer, Const, For, IConst, IDim, IVar, Let, LoopKernel, Var
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.lower.function_merging import Skeleton, together
from graphflow_compiler.planning.plan import Step, call_lines
from tests.plan_steps import PlanSteps

Rule = Callable[[gf.Tensor], gf.Tensor]


def compiled(rules: Sequence[Rule], shapes: Sequence[Sequence[int | None]], dtype: Any = gf.float32) -> PlanSteps:
    """The plan that applies each rule to a placeholder of its own; open sizes are 5."""
    with gf.Graph().as_default() as graph:
        feeds = [gf.placeholder(dtype, list(s)) for s in shapes]
        fetches = [rule(x) for rule, x in zip(rules, feeds, strict=True)]
        return PlanSteps(
            graph, fetches, {x: tuple(5 if d is None else d for d in s) for x, s in zip(feeds, shapes, strict=True)}
        )


def functions(*rules: Rule, shape: Sequence[int | None] = (None, 3)) -> int:
    return len(compiled(rules, [shape] * len(rules)).plan.kernels)


def scaled(factor: float, offset: float = 0.5) -> Rule:
    return lambda x: gf.exp(x * factor) - offset


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("threads", [1, 2, 3, 7])
def test_sharing_changes_no_bit(dtype: Any, threads: int) -> None:
    factors, widths = [3.5, -7.25, 1e-30, 1 / 3], [3, 17, 64, 5]
    rules = [scaled(f, o) for f, o in zip(factors, [0.1, 0.2, 0.3, 0.4], strict=True)]
    shared = compiled(rules, [[None, w] for w in widths], dtype)
    assert len(shared.plan.kernels) == 1
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((5, w)).astype(dtype) for w in widths]
    results, failure = shared.run(arrays, threads)
    assert failure is None
    for rule, w, x, found in zip(rules, widths, arrays, results, strict=True):
        ((alone,), _) = compiled([rule], [[None, w]], dtype).run([x])
        assert alone.tobytes() == found.tobytes()


def test_whole_numbers_share() -> None:
    both = compiled([lambda x: x * x + 7, lambda x: x * x + (1 << 40)], [[None, 3]] * 2, gf.int64)
    assert len(both.plan.kernels) == 1
    x = np.arange(15, dtype=np.int64).reshape(5, 3)
    results, _ = both.run([x, x])
    np.testing.assert_array_equal(results, [x * x + 7, x * x + (1 << 40)])


def test_large_static_extents_share_and_short_ones_do_not() -> None:
    rules = [scaled(3.5), scaled(3.5)]
    large, short = compiled(rules, [[2000], [40, 77]]), compiled(rules, [[20], [30]])
    assert (len(large.plan.kernels), len(short.plan.kernels)) == (1, 2)
    arrays = [np.linspace(-1, 1, 2000, dtype=np.float32), np.linspace(-2, 2, 3080, dtype=np.float32).reshape(40, 77)]
    for found, x in zip(large.run(arrays)[0], arrays, strict=True):
        np.testing.assert_allclose(found, np.exp(x * np.float32(3.5)) - 0.5, rtol=1e-5, atol=1e-6)


def test_initial_values_share() -> None:
    """Their seeds and scales differ in a dozen numbers; their loops are long enough to take them."""

    def plan(count: int) -> PlanSteps:
        with gf.Graph().as_default() as graph:
            gf.set_random_seed(7)
            made = [gf.truncated_normal([20 + 9 * k, 64], stddev=0.1 + 0.3 * k) for k in range(3)]
            return PlanSteps(graph, made[:count], {})

    together, alone = plan(3), plan(1)
    assert len(together.plan.kernels) == 1
    for threads in (1, 3):
        found, _ = together.run([], threads)
        assert [a.shape for a in found] == [(20, 64), (29, 64), (38, 64)]
        assert found[0].tobytes() == alone.run([], 1)[0][0].tobytes()
        np.testing.assert_allclose([a.std() for a in found], [0.088, 0.352, 0.616], rtol=0.1)


def test_small_initial_values_share() -> None:
    """The keys of all rounds follow from the first, so seeds differ in two numbers: short loops take them too."""

    def plan(count: int) -> PlanSteps:
        with gf.Graph().as_default() as graph:
            gf.set_random_seed(7)
            made = [gf.random_uniform([16, 16], -0.5, 0.5) for _ in range(20)]
            return PlanSteps(graph, made[-count:], {})

    together, alone = plan(20), plan(1)
    assert len(together.plan.kernels) == 1
    found, _ = together.run([], 1)
    assert found[-1].tobytes() == alone.run([], 1)[0][0].tobytes()
    assert len({a.tobytes() for a in found}) == 20


def test_numbers_a_fixed_step_apart_are_one_argument() -> None:
    """Signed and unsigned, also where the step passes the largest number."""
    for dtype, start, step in ((gf.int32, 3, 1 << 30), (gf.int32, -(1 << 31), -5), (gf.uint32, 5, (1 << 32) - 9)):
        numpy_type = dtype.as_numpy_dtype

        def rule(k: int, start: int = start, step: int = step, of: Any = numpy_type) -> Rule:
            first, second = (np.array([start + k, start + k + step]) % (1 << 32)).astype(np.uint32).astype(of)
            return lambda y, a=first, b=second: (y * y + a) * y + b

        rules = [rule(k) for k in (10, 20, 31)]
        both = compiled(rules, [[None, 40_000]] * 3, dtype)
        assert len(both.plan.kernels) == 1
        (name,) = {s.function for s in both.plan.steps}
        assert all(len(s.dims) == 2 for s in both.plan.steps), name  # the extent and one number
        x = np.arange(5 * 40_000).reshape(5, 40_000).astype(numpy_type)
        results, _ = both.run([x] * 3)
        for r, found in zip(rules, results, strict=True):
            assert compiled([r], [[None, 40_000]], dtype).run([x])[0][0].tobytes() == found.tobytes()


def test_what_stays_apart() -> None:
    assert functions(scaled(3.5), lambda x: gf.exp(x * 2.5) + 0.5) == 2  # another operation
    assert functions(scaled(3.5), scaled(2.0)) == 2  # LLVM adds instead
    assert functions(lambda x: gf.maximum(x, 0.25), lambda x: gf.maximum(x, 0.75)) == 2  # NaN costs less with a constant
    assert functions(lambda x: x / 3.0, lambda x: x / 8.0) == 2  # the second is a product
    assert functions(*(lambda x, k=k: gf.reduce_sum(x * k, 1) for k in (3.0, 5.0))) == 2  # rows

    def polynomial(k: float) -> Rule:
        return lambda x: sum(((x + (k + i)) * (x - (2 * k + i)) for i in range(4)), x)

    assert functions(polynomial(10.0), polynomial(20.0)) == 2  # too many numbers for the registers


ROWS: dict[str, Rule] = {
    "sum": lambda x: gf.reduce_sum(gf.tanh(x * 3.5), 1),
    "max": lambda x: gf.reduce_max(x, 1, keepdims=True) - x,
    "softmax": gf.nn.softmax,
    "log softmax": gf.nn.log_softmax,
}
WIDTHS = [3, 4, 7, 8, 17, 64, 100]


@pytest.mark.parametrize("rule", ROWS.values(), ids=ROWS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_many_lengths_of_rows_share(rule: Rule, dtype: Any) -> None:
    shared = compiled([rule] * len(WIDTHS), [[None, w] for w in WIDTHS], dtype)
    assert len(shared.plan.kernels) == 1
    rng = np.random.default_rng(1)
    arrays = [rng.standard_normal((5, w)).astype(dtype) for w in WIDTHS]
    for threads in (1, 2, 3, 7):
        results, failure = shared.run(arrays, threads)
        assert failure is None
        for w, x, found in zip(WIDTHS, arrays, results, strict=True):
            ((alone,), _) = compiled([rule], [[None, w]], dtype).run([x])
            assert alone.tobytes() == found.tobytes(), w


def test_rows_with_numbers_and_sizes_share() -> None:
    """Open sizes of several feeds, static ones that agree between them, and factors, each where it belongs."""
    n, rng = 7, np.random.default_rng(2)
    widths = [5 + 3 * i for i in range(n)]
    with gf.Graph().as_default() as graph:
        feeds = {}
        fetches = []
        expected = []
        for i, w in enumerate(widths):
            a, b = gf.placeholder(gf.float32, [None, None, w]), gf.placeholder(gf.float32, [w])
            feeds[a], feeds[b] = (2 + i % 2, 3 + i % 3, w), (w,)
            fetches.append(gf.reduce_sum((a * (2.5 + i) + b) * a, 2))
        plan = PlanSteps(graph, fetches, feeds)
    assert len(plan.plan.kernels) == 1
    arrays = [rng.standard_normal(s).astype(np.float32) for s in feeds.values()]
    for i in range(n):
        a, b = arrays[2 * i : 2 * i + 2]
        expected.append(((a * np.float32(2.5 + i) + b) * a).astype(np.float64).sum(2))
    for threads in (1, 2, 5):
        results, failure = plan.run(arrays, threads)
        assert failure is None
        for found, right in zip(results, expected, strict=True):
            np.testing.assert_allclose(found, right, rtol=2e-4, atol=2e-4)


def test_rows_that_divide_by_their_length_stay_apart() -> None:
    """Divided by an argument, an index would take as long as the rest of the row."""
    tiled = compiled([lambda x: gf.reduce_sum(gf.tile(x, [1, 2]) * 1.5, 1)] * 7, [[None, w] for w in WIDTHS])
    assert len(tiled.plan.kernels) == 7


def test_few_or_long_rows_stay_apart() -> None:
    few = compiled([ROWS["sum"]] * 5, [[None, w] for w in WIDTHS[:5]])
    assert len(few.plan.kernels) == 5
    long = compiled([ROWS["sum"]] * 7, [[None, 1000 + i] for i in range(7)])
    assert len(long.plan.kernels) == 7
    many = compiled([ROWS["sum"]] * 7, [[300, w] for w in WIDTHS])
    assert len(many.plan.kernels) == 7


def test_numbers_that_do_not_differ_stay_constants() -> None:
    same, other = (compiled([scaled(3.5, 0.25), scaled(b, 0.25)], [[None, 3]] * 2).plan for b in (3.5, 4.5))
    assert len(same.kernels) == len(other.kernels) == 1
    ((text,), (text2,)) = same.kernels.values(), other.kernels.values()
    (before, after) = (t.count("0x3FD0000000000000") for t in (text, text2))
    assert before == after > 0


def test_zero_is_not_minus_zero() -> None:
    """They are equal as numbers; as factors, terms, attributes and within one kernel they are not."""
    x = np.array([[-0.0, 1, -1], [0.0, 2, -2]], np.float32)
    with gf.Graph().as_default() as graph:
        a, b, c = (gf.minimum(gf.placeholder(gf.float32, [None, 3], name=n), 3.0) for n in "abc")
        fetches = [
            a * gf.constant(0.0),
            b * gf.constant(-0.0),
            gf.constant(0.0) - a,
            gf.constant(-0.0) - b,
            gf.atan2(c * gf.constant(0.0), c * gf.constant(-0.0)),
            gf.pad(a, [[0, 0], [1, 0]], constant_values=0.0),
            gf.pad(a, [[0, 0], [1, 0]], constant_values=-0.0),
            a - gf.constant(0.0),
            a - gf.constant(-0.0),
            b + gf.constant(-0.0),
            gf.nn.leaky_relu(b, 0.0),
            gf.nn.leaky_relu(b, -0.0),
        ]
    found = []
    for backend in ("native", "reference"):
        with gf.Session(graph=graph, backend=backend) as session:
            found.append([y.tobytes() for y in session.run(fetches, {f"{n}:0": x for n in "abc"})])
    assert found[0] == found[1]


def test_a_gather_reads_what_is_stored() -> None:
    """Its parameters and indices may be maps over the same space; the former are read anywhere, so not out of registers."""
    with gf.Graph().as_default() as graph:
        x, y = gf.placeholder(gf.float32, [None]), gf.placeholder(gf.float32, [None, 2])
        fetches = [
            gf.gather(x * 3.0 + 1.0, gf.cast(x, gf.int32)),
            gf.gather(gf.reshape(y * 3.0 + 1.0, [-1]), gf.cast(y, gf.int32)),
        ]
    feeds = {x: np.array([0, 1, 2, 1], np.float32), y: np.array([[0, 1], [2, 1]], np.float32)}
    with gf.Session(graph=graph) as session:
        flat, square = session.run(fetches, feeds)
    assert flat.tolist() == [1, 4, 7, 4] and square.tolist() == [[1, 4], [7, 4]]


def test_checks_name_their_own_op() -> None:
    with gf.Graph().as_default() as graph:
        x, y = (gf.placeholder(gf.float32, [None, w], name=n) for w, n in ((3, "x"), (4, "y")))
        fetches = [gf.check_numerics(x * 3.0, "first"), gf.check_numerics(y * 5.0, "second")]
        plan = PlanSteps(graph, fetches, {x: (5, 3), y: (5, 4)})
    good, bad = np.ones((5, 3), np.float32), np.full((5, 4), np.nan, np.float32)
    assert plan.run([good, np.ones((5, 4), np.float32)])[1] is None
    _, failure = plan.run([good, bad])
    assert failure is not None and "second" in failure[1]


# ---------------------------------------------------------------------------------------------- the parts


def kernel(*numbers: Const, extent: int = 0) -> LoopKernel:
    """y = x + number for each number in turn, over n elements or a static extent."""
    b = LoopBuilder()
    dtype = numbers[0].dtype
    count = IConst(extent) if extent else IDim("n")
    with b.loop("i", count, mode="vector", parallel=True):
        x = b.load("x", IVar("i"), dtype)
        for c in numbers:
            x = b.binary("add", x, c)
        b.store("y", IVar("i"), x)
    buffers = (Buffer("x", dtype, count, "read"), Buffer("y", dtype, count, "write"))
    return LoopKernel("kernel", buffers, () if extent else ("n",), b.build())


def skeleton(*numbers: Const, **options: int) -> Skeleton:
    n = options.get("extent") or size("n")
    found = Skeleton.of(kernel(*numbers, **options), [n, n])
    assert found is not None
    return found


def test_how_numbers_travel() -> None:
    for dtype, value, bits in (
        (float32, 0.1, np.float32(0.1).view(np.int32)),
        (float32, -0.1, np.float32(-0.1).view(np.int32)),
        (float64, -0.1, np.float64(-0.1).view(np.int64)),
        (uint64, (1 << 64) - 3, -3),
    ):
        made = together([skeleton(Const(value, dtype)), skeleton(Const(5, dtype))])
        assert made is not None
        shared, ((n, passed), _) = made
        assert shared.dims == ("extent", "number_0") and n == size("n") and passed == bits


@pytest.mark.parametrize("value", [0.0, 1.0, -1.0, 2.0, float("nan"), float("inf"), 1e39])
def test_numbers_that_are_special(value: float) -> None:
    loop = kernel(Const(3.5, float32)).body[0]
    assert isinstance(loop, For)
    body = tuple(
        Let(s.name, s.dtype, Binary("add", s.value.a, Const(value, float32)))
        if isinstance(s, Let) and isinstance(s.value, Binary)
        else s
        for s in loop.body
    )
    buffers = kernel(Const(3.5, float32)).buffers
    found = Skeleton.of(LoopKernel("kernel", buffers, ("n",), (For("i", IDim("n"), body, "vector", True),)), [size("n")] * 2)
    assert found is not None and not found.numbers


def test_numbers_go_back_where_they_were() -> None:
    a, b, c = (Const(v, float32) for v in (3.0, 4.0, 5.0))
    made = together([skeleton(a, b), skeleton(a, c)])
    assert made is not None
    shared, passed = made
    assert [p[1:] for p in passed] == [(np.float32(4).view(np.int32),), (np.float32(5).view(np.int32),)]
    loop = shared.body[-1]
    assert isinstance(loop, For)
    assert [s.value.b for s in loop.body if isinstance(s, Let) and isinstance(s.value, Binary)] == [a, Var("number_1", float32)]


def test_the_entry_works_out_sizes() -> None:
    n, m = size("n"), size("m")
    step = Step("f", "map", (4,), (n, 7, 3 * n, n * m - 2 * m + 5), (), 0)
    *lines, call = call_lines(2, step, {"m": 0, "n": 1}, "%thread", "%threads")
    last = lines[-1].split()[0]
    assert call.endswith(f"(ptr %b2.4, i64 %d2.1, i64 7, i64 %z2.2.0.0, i64 {last}, i64 %thread, i64 %threads)")
    values = {"%d2.0": 11, "%d2.1": 13}
    for line in lines:
        name, _, op, _, *operands = line.replace(",", "").split()
        if op in ("mul", "add"):
            x, y = (values[t] if t.startswith("%") else int(t) for t in operands)
            values[name] = x * y if op == "mul" else x + y
    assert values["%z2.2.0.0"] == 39 and values[last] == 13 * 11 - 22 + 5
