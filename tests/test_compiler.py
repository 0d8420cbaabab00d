"""The compiler: programs as text, rules, kernels, one plan for all batch sizes, errors that name the line, memory plans."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.graph import Graph
from graphflow_compiler.codegen.llvm.llvm_text import host_target
from graphflow_compiler.compilation import Options
from graphflow_compiler.frontend import Signature, build_program, symbolize_shapes
from graphflow_compiler.ir import kernels as kernels_ir
from graphflow_compiler.ir import program as program_ir
from graphflow_compiler.passes.fusion import fuse
from graphflow_compiler.passes.pipeline import Dump, run_passes
from graphflow_compiler.passes.rewrite import PassContext
from graphflow_compiler.planning.memory import LiveRange, assign_offsets
from graphflow_compiler.planning.plan import Plan


def program(graph: Graph, fetches: list[Any], feeds: dict[Any, tuple[int, ...]]) -> program_ir.Program:
    tensors = tuple(feeds)
    shapes = symbolize_shapes(tensors, list(feeds.values()))
    return build_program(Signature(tuple(fetches), tensors, shapes, {}))


def simplified(p: program_ir.Program, fuel: int = -1) -> program_ir.Program:
    return run_passes(p, PassContext(fuel=fuel), Dump(None))


def ops(p: program_ir.Program) -> list[str]:
    return [n.op.name for n in p.nodes]


def test_program_text() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 3], name="x")
        y = gf.add(x, x, name="y")
        p = program(g, [y], {x: (5, 3)})
    assert program_ir.to_text(p) == (
        "%0 = _Feed() {key=0} : float32(n0_0, 3)  # x\n%1 = AddV2(%0, %0) : float32(n0_0, 3)  # y\noutput %1\n"
    )


def test_equal_values_are_one_node() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [4])
        p = program(g, [gf.exp(x) + gf.exp(x)], {x: (4,)})
    assert ops(p) == ["_Feed", "Exp", "AddV2"]


@pytest.mark.parametrize(
    ("build", "fires", "expected"),
    [
        (lambda x: x * 1.0, True, ["_Feed"]),
        (lambda x: x * 2.0, False, ["_Feed", "Const", "Mul"]),
        (lambda x: x - 0.0, True, ["_Feed"]),
        (lambda x: x + 0.0, False, ["_Feed", "Const", "AddV2"]),  # -0.0 + 0.0 is 0.0
        (lambda x: gf.negative(gf.negative(x)), True, ["_Feed"]),
        (lambda x: gf.nn.relu(gf.nn.relu(x)), True, ["_Feed", "Relu"]),
        (lambda x: gf.reshape(gf.reshape(x, [4]), [2, 2]), True, ["_Feed"]),
        (lambda x: gf.reshape(x, [4]), False, ["_Feed", "Reshape"]),
        (lambda x: gf.matmul(gf.transpose(x), x), True, ["_Feed", "MatMul"]),
        (lambda x: gf.transpose(x), False, ["_Feed", "Transpose"]),
        (lambda x: x + (gf.constant(2.0) * 3.0), True, ["_Feed", "Const", "AddV2"]),
        (lambda x: x * gf.broadcast_to(gf.reduce_sum(x), [2, 2]), True, ["_Feed", "Sum", "Mul"]),
        (lambda x: gf.fill([2, 2], 1.0) * (x + 0.0), True, ["_Feed", "Const", "AddV2"]),
        (  # without the second operand the product would be of another shape
            lambda x: gf.reduce_sum(x, 0) * gf.broadcast_to(gf.reduce_sum(x), [2, 2]),
            False,
            ["_Feed", "Sum", "Sum", "BroadcastTo", "Mul"],
        ),
        (  # the mean that the variance is about is the mean
            lambda x: gf.add(*gf.nn.moments(x, [0], keepdims=True)),
            False,
            ["_Feed", "Mean", "SquaredDifference", "Mean", "AddV2"],
        ),
    ],
)  # fmt: skip
def test_rules_fire_and_do_not(build: Any, fires: bool, expected: list[str]) -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [2, 2])
        p = program(g, [build(x)], {x: (2, 2)})
    after = simplified(p)
    assert sorted(ops(after)) == sorted(expected)
    if fires:
        assert len(simplified(p, fuel=0).nodes) > len(after.nodes)


def test_explain_names_what_a_kernel_updates() -> None:
    """Few large rows are several kernels: one of them stores the variable."""
    with gf.Graph().as_default(), gf.Session() as session:
        v = gf.Variable(np.ones((2, 40_000), np.float32), name="v")
        session.run(v.initializer)
        text = gf.explain(v.assign(gf.clip_by_norm(v, 1.0)), session=session)
    assert text.count("updates in place: v") == 1 and text.count("step ") > 2


def test_constant_weights_are_stored_as_the_product_wants_them() -> None:
    weights = np.random.RandomState(0).rand(400, 300).astype(np.float32)
    with gf.Graph().as_default() as g, gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 300])
        forms = [gf.matmul(x, weights, transpose_b=True), gf.matmul(x, gf.transpose(gf.constant(weights)))]
        for y in forms:
            (product,) = [n for n in simplified(program(g, [y], {x: (5, 300)})).nodes if n.op.name == "MatMul"]
            assert not product.attrs.transpose_b
        data = np.random.RandomState(1).rand(5, 300).astype(np.float32)
        for got in session.run(forms, {x: data}):
            np.testing.assert_allclose(got, data @ weights.T, rtol=1e-5)


WEIGHTS = np.random.RandomState(0).randn(512, 300).astype(np.float32)  # too large to be folded for anyone


def plan_of(build: Any) -> Plan:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 512])
        return gf.compiler.compile(g, Signature((build(x),), (x,), symbolize_shapes((x,), [(8, 512)]), {}))


@pytest.mark.parametrize(
    "weights",
    [
        lambda: gf.constant(WEIGHTS) * 2.0 - 1.0,
        lambda: gf.cast(gf.constant((WEIGHTS * 40).astype(np.int8)), gf.float32) * 0.025,
        lambda: gf.cast(gf.constant(WEIGHTS.astype(np.float16)), gf.float32),
        lambda: gf.transpose(gf.exp(gf.constant(WEIGHTS.T))),
        lambda: gf.reshape(gf.tanh(gf.constant(WEIGHTS.reshape(-1))), [512, 300]),
        lambda: gf.constant(WEIGHTS) * gf.cast(gf.constant(WEIGHTS) > 0, gf.float32),
    ],
    ids=["scaled", "int8", "float16", "transposed", "reshaped", "masked"],
)
def test_what_is_computed_from_constants_for_a_product_is_computed_once(weights: Any) -> None:
    plan = plan_of(lambda x: gf.matmul(x, weights()))
    assert [s.pattern for s in plan.steps] == ["gemm"]
    assert [b.array.ndim for b in plan.buffers if b.array is not None] == [3]  # stored in panels, and nothing else
    data = np.random.RandomState(1).rand(8, 512).astype(np.float32)
    found = []
    for backend in ("native", "reference"):
        with gf.Graph().as_default(), gf.Session(backend=backend) as session:
            x = gf.placeholder(gf.float32, [None, 512])
            found.append(session.run(gf.matmul(x, weights()), {x: data}))
    np.testing.assert_allclose(*found, rtol=2e-5, atol=1e-3)


@pytest.mark.parametrize("dtype", [gf.float16, gf.bfloat16])
@pytest.mark.parametrize("transpose", [False, True])
def test_constant_weights_of_16_bits_are_widened_once(dtype: gf.DType, transpose: bool) -> None:
    weights = (WEIGHTS.T if transpose else WEIGHTS).astype(dtype.as_numpy_dtype)

    def build(x: Any) -> Any:
        return gf.cast(gf.matmul(gf.cast(x, dtype), gf.constant(weights), transpose_b=transpose), gf.float32)

    plan = plan_of(build)
    assert [s.pattern for s in plan.steps] == ["map", "gemm"]  # of the two operands x is still widened in each run
    assert [(b.array.ndim, b.array.dtype) for b in plan.buffers if b.array is not None] == [(3, np.float32)]
    data = np.random.RandomState(1).rand(8, 512).astype(np.float32)
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 512])
        got = session.run(build(x), {x: data})
    exact = data.astype(weights.dtype).astype(np.float64) @ (weights.T if transpose else weights).astype(np.float64)
    np.testing.assert_allclose(got, exact, rtol=6e-4 if dtype is gf.float16 else 5e-3, atol=1e-2)


def test_plans_share_constants_computed_for_products() -> None:
    first, second = (plan_of(lambda x: gf.matmul(x, gf.constant(WEIGHTS) * 2.0)) for _ in range(2))
    panels = [b.array for plan in (first, second) for b in plan.buffers if b.array is not None]
    assert len(panels) == 2 and panels[0] is panels[1]


def test_other_large_constants_are_computed_in_each_run() -> None:
    """Other kernels compute them on the way, from less memory; and no more elements are kept than there were."""
    sums = plan_of(lambda x: x[:1] + gf.cast(gf.constant(WEIGHTS.astype(np.float16)), gf.float32)[:, :1])
    assert all(b.array is None or b.array.dtype == np.float16 for b in sums.buffers)
    outer = plan_of(lambda x: gf.matmul(x, gf.constant(WEIGHTS[:, :1]) + gf.constant(WEIGHTS[:1])))
    assert [s.pattern for s in outer.steps] == ["map", "gemm"]
    fed = plan_of(lambda x: gf.matmul(x, gf.constant(WEIGHTS) * x[0, 0]))
    assert "map" in [s.pattern for s in fed.steps]


def test_a_reshaped_constant_stays_the_same_memory() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 300])
        y = gf.matmul(x, gf.reshape(gf.constant(WEIGHTS), [300, 512]))
        assert "Reshape" in ops(simplified(program(g, [y], {x: (5, 300)})))


def kernels_of(fetches: Any, feeds: dict[Any, tuple[int, ...]], g: Graph) -> list[str]:
    graph = fuse(simplified(program(g, fetches, feeds)))
    kernels_ir.verify(graph)
    return [group.pattern for group in graph.groups]


def test_fusion_forms_the_kernels_it_should() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 8])
        w = gf.Variable(np.ones((8, 4), np.float32))
        feeds = {x: (3, 8)}
        assert kernels_of([gf.tanh(x * 2.0 + 1.0) * gf.sigmoid(x)], feeds, g) == ["map"]
        assert kernels_of([gf.nn.softmax(x)], feeds, g) == ["row"]
        assert kernels_of([gf.nn.relu(gf.matmul(x, w) + 1.0)], feeds, g) == ["gemm"]
        assert kernels_of([gf.reduce_sum(x, 0)], feeds, g) == ["column"]
        assert kernels_of([gf.reduce_mean(gf.square(x))], feeds, g) == ["row"]
        assert kernels_of([gf.reduce_mean(gf.square(gf.nn.softmax(x))) * 2.0], feeds, g) == ["row"]
        assert kernels_of([gf.reduce_mean(gf.nn.softmax_cross_entropy_with_logits(labels=x, logits=x))], feeds, g) == ["row"]
        assert kernels_of([gf.reduce_sum(x, 1), gf.reduce_max(x, 1), *gf.nn.moments(x, [1])], feeds, g) == ["row"]
        assert kernels_of([gf.nn.softmax(x) * gf.reduce_sum(gf.nn.softmax(x))], feeds, g) == ["row", "map"]
        assert kernels_of([gf.sin(x) * gf.cos(x[:, ::-1])], feeds, g) == ["map"]
        assert kernels_of([gf.reverse(gf.exp(x), [1])], feeds, g) == ["map", "map"]


def test_functions_of_what_is_repeated_are_computed_once() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [2, 3])
        total = gf.reduce_sum(x, keepdims=True)
        y = gf.tanh(gf.broadcast_to(total, [2, 3])) * 2.0
        p = simplified(program(g, [y, y * x], {x: (2, 3)}))
        (repeat,) = [n for n in p.nodes if n.op.name == "BroadcastTo"]
        assert repeat.data_inputs[0].node.op.name == "Mul" and repeat.data_inputs[0].shape == ()
        # Of a row it would be a kernel more, and each check must fail as often as there are elements.
        rows = gf.tanh(gf.broadcast_to(gf.reduce_sum(x, 0), [2, 3]))
        checked = gf.check_numerics(gf.broadcast_to(total, [2, 3]), "not finite")
        for z in (rows, checked):
            p = simplified(program(g, [z], {x: (2, 3)}))
            assert p.nodes[-1].op.name != "BroadcastTo"
    data = np.arange(6, dtype=np.float32).reshape(2, 3) / 9
    with gf.Session(graph=g) as session, gf.Session(graph=g, backend="reference") as reference:
        for a, b in zip(session.run([y, rows, checked], {x: data}), reference.run([y, rows, checked], {x: data}), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6)


def test_gradients_of_losses_ride_in_products() -> None:
    """What a loss is the mean of is masked and scaled where the product is made."""
    with gf.Graph().as_default() as g:
        x, t = gf.placeholder(gf.float32, [300, 20]), gf.placeholder(gf.float32, [300, 250])
        w = gf.Variable(np.ones((20, 250), np.float32))
        feeds: dict[Any, tuple[int, ...]] = {x: (300, 20), t: (300, 250)}
        y = gf.matmul(x, w)
        losses = [
            gf.reduce_mean(gf.nn.relu(y)),
            gf.reduce_mean(gf.square(y - t)),
            gf.reduce_sum(gf.square(y)),
            gf.losses.mean_squared_error(t, y),
        ]
        for loss in losses:
            assert kernels_of([loss, *gf.gradients(loss, [w])], feeds, g) == ["gemm", "row", "gemm"]


def test_products_take_in_what_is_computed_beside_them() -> None:
    rng = np.random.default_rng(0)
    with gf.Graph().as_default() as g:
        x, t = gf.placeholder(gf.float32, [None, 8]), gf.placeholder(gf.float32, [None, 40], name="t")
        w = gf.Variable(np.ones((8, 40), np.float32))
        feeds: dict[Any, tuple[int, ...]] = {x: (30, 8), t: (30, 40)}
        before = t * 2.0 + 1.0
        y = gf.matmul(x, w, name="product")
        after = gf.nn.relu(t) - 3.0
        fetches = [y * before, y + after, before]
        for fetch in fetches[:2]:
            assert kernels_of([fetch], feeds, g) == ["gemm"]
        assert kernels_of(fetches, feeds, g) == ["gemm"]
        costly = gf.multiply(y, gf.tanh(t), name="costly")
        assert kernels_of([costly], feeds, g) == ["gemm", "map"]
        scaled = gf.matmul(before, w, transpose_b=True) * gf.reduce_sum(before, 1, keepdims=True)
        assert kernels_of([gf.matmul(gf.matmul(before, w, transpose_b=True), w) * before], feeds, g) == ["map", "gemm", "gemm"]
        data = {x: rng.random((30, 8), np.float32), t: rng.random((30, 40), np.float32)}
        with gf.Session(graph=g) as session, gf.Session(graph=g, backend="reference") as reference:
            text = session.explain(costly, data)
            assert "not fused: product -> costly: math functions are faster in a loop of their own" in text
            for s in (session, reference):
                s.run(w.initializer)
            wanted = reference.run([*fetches, costly, scaled], data)
            for a, b in zip(session.run([*fetches, costly, scaled], data), wanted, strict=True):
                np.testing.assert_allclose(a, b, rtol=1e-5)


@pytest.mark.parametrize("dtype", [gf.float16, gf.bfloat16])
@pytest.mark.parametrize("transposes", [(False, False), (True, False), (False, True), (True, True)])
def test_products_of_16_bit_floats_are_summed_in_float32(dtype: gf.DType, transposes: tuple[bool, bool]) -> None:
    """By the matrix kernel: each element is the float32 product, rounded once."""
    rng = np.random.RandomState(0)
    with gf.Graph().as_default(), gf.Session() as session:
        a, b = (gf.placeholder(gf.float32, [None, None, None]) for _ in range(2))
        half = [gf.cast(x, dtype) for x in (a, b)]
        product = gf.nn.relu(gf.matmul(half[0], half[1], transpose_a=transposes[0], transpose_b=transposes[1]))
        for m, k, n in ((33, 70, 29), (1, 5, 1), (4, 0, 3)):
            x = rng.randn(2, *((k, m) if transposes[0] else (m, k))).astype(np.float32)
            y = rng.randn(2, *((n, k) if transposes[1] else (k, n))).astype(np.float32)
            got, p, q = session.run([gf.cast(product, gf.float32), *(gf.cast(h, gf.float32) for h in half)], {a: x, b: y})
            p, q = (v.swapaxes(1, 2) if t else v for v, t in zip((p, q), transposes, strict=True))
            exact = np.maximum(p.astype(np.float64) @ q.astype(np.float64), 0.0)
            np.testing.assert_allclose(got, exact, rtol=6e-4 if dtype is gf.float16 else 5e-3, atol=1e-5)
        assert "gemm" in session.explain(product, feed_shapes={a: x.shape, b: y.shape})


def test_other_batch_sizes_compile_nothing() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 6])
        w = gf.Variable(np.ones((6, 5), np.float32))
        y = gf.reduce_mean(gf.nn.softmax(gf.matmul(x, w)))
        step = gf.train.AdamOptimizer(0.1).minimize(y)
        with gf.Session(graph=g) as session:
            session.run(gf.global_variables_initializer())
            session.run([y, step], {x: np.ones((4, 6), np.float32)})
            before = session.stats.plans_compiled, session.stats.kernels_compiled
            for n in (2, 3, 5, 17, 64, 0, 1000):
                session.run([y, step], {x: np.ones((n, 6), np.float32)})
            assert (session.stats.plans_compiled, session.stats.kernels_compiled) == before


def test_wrong_matmul_names_the_lines() -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [32, 784], name="x")
        w = gf.Variable(np.zeros((748, 10), np.float32), name="w")
        with pytest.raises(ValueError, match=r"MatMul: inner dimensions differ: a is \(32, 784\), b is \(748, 10\)") as e:
            gf.matmul(x, w)
    text = str(e.value)
    assert f"created at {Path(__file__).name}:" in text and "gf.matmul(x, w)" in text and "'x'" in text


def test_wrong_size_at_run_time_names_the_line() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 3], name="x")
        y = gf.placeholder(gf.float32, [None, 3], name="y")
        z = gf.tanh(x * 2.0 + y)
        v = gf.Variable(1.0)
        step = v.assign(gf.reduce_sum(z))
        with gf.Session(graph=g) as session:
            session.run(gf.global_variables_initializer())
            session.run([z, step], {x: np.ones((4, 3)), y: np.ones((4, 3))})
            kept = session.run(v)
            with pytest.raises(gf.errors.InvalidArgumentError) as e:
                session.run([z, step], {x: np.ones((4, 3)), y: np.ones((5, 3))})
            assert "x * 2.0 + y" in str(e.value) and "must be equal, but are 4 and 5" in str(e.value)
            assert session.run(v) == kept
            assert session.run(z, {x: np.ones((4, 3)), y: np.ones((1, 3))}).shape == (4, 3)


def test_swap_of_variables() -> None:
    with gf.Graph().as_default() as g:
        a, b = gf.Variable([1.0, 2.0]), gf.Variable([3.0, 4.0])
        swap = gf.group(*[v.assign(t) for v, t in zip((a, b), (gf.identity(b), gf.identity(a)), strict=True)])
        with gf.Session(graph=g) as session:
            session.run(gf.global_variables_initializer())
            session.run(swap)
            assert [v.tolist() for v in session.run([a, b])] == [[3, 4], [1, 2]]


def test_long_chains_need_no_recursion() -> None:
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [4])
        y = x
        for i in range(20_000):
            y = y + 1.0 if i % 2 else gf.abs(y)
        p = program(g, [y], {x: (4,)})
        assert len(p.nodes) > 20_000
        z = x
        for i in range(3000):
            z = z * 1.0001 if i % 2 else gf.tanh(z)
        (d,) = gf.gradients(z, x)
        with gf.Session(graph=g) as session, gf.Session(graph=g, backend="reference") as reference:
            feed = {x: np.array([0.1, -0.2, 0.3, 2.0], np.float32)}
            for native, want in zip(session.run([z, d], feed), reference.run([z, d], feed), strict=True):
                np.testing.assert_allclose(native, want, rtol=2e-3, atol=1e-7)


@pytest.mark.parametrize("most", [40, 1000])
def test_arena_never_overlaps(most: int) -> None:
    rng = np.random.default_rng(0)
    for _ in range(50 if most == 40 else 8):
        ranges = []
        for _ in range(int(rng.integers(1, most))):
            start = int(rng.integers(0, 30))
            ranges.append(LiveRange(int(rng.integers(0, 5000)), start, start + int(rng.integers(0, 10))))
        offsets, total = assign_offsets(ranges)
        for i, a in enumerate(ranges):
            for j, b in enumerate(ranges[:i]):
                if a.start <= b.end and b.start <= a.end:
                    assert offsets[i] >= offsets[j] + b.size or offsets[j] >= offsets[i] + a.size, f"{j} and {i} overlap"
        assert all(o % 64 == 0 and o + r.size <= total for o, r in zip(offsets, ranges, strict=True))


def test_an_arena_of_many_buffers_reuses_their_places() -> None:
    """A long chain: what was freed is taken again, alone, in parts and grown together."""
    alike = [LiveRange(1000, i, i + 1) for i in range(5000)]
    assert assign_offsets(alike)[1] == 2 * 1024
    halves = [LiveRange(1000, 0, 0), *(LiveRange(512, 2 * i + 1 + k, 2 * i + 1 + k) for i in range(2500) for k in (0, 1))]
    assert assign_offsets(halves)[1] == 1024
    growing = [LiveRange(64 * (i + 1), i, i) for i in range(1000)]
    assert assign_offsets(growing)[1] == 64 * 1000


def test_what_a_plan_needs() -> None:
    """Six products in a row: two results are alive at a time, and every kernel moves three matrices."""
    with gf.Graph().as_default() as g:
        x = y = gf.placeholder(gf.float32, [None, 64])
        w = gf.placeholder(gf.float32, [64, 64])
        for _ in range(6):
            y = gf.matmul(y, w)
        plan = gf.compiler.compile(g, Signature((y,), (x, w), symbolize_shapes((x, w), ((32, 64), (64, 64))), {}))
        sizes = plan.sizes([(32, 64), (64, 64)])
        a, b = 32 * 64 * 4, 64 * 64 * 4
        scratch = sum(-(-size // 64) * 64 for p in plan.buffers if p.role == "scratch" and isinstance(size := p.bytes, int))
        assert 2 * a <= plan.peak_bytes(sizes) <= 2 * a + scratch
        assert plan.flops(sizes) == 6 * 2 * 32 * 64 * 64
        moved = plan.bytes(sizes) - sum(p.bytes for p in plan.buffers if p.role == "scratch" and isinstance(p.bytes, int))
        assert moved == 6 * (2 * a + b)


def test_what_is_written_past_the_caches() -> None:
    """Assignments larger than the cache that nothing in the plan reads: not updates, not what is fetched, too, nor read on."""
    with gf.Graph().as_default() as g:
        u, v = (gf.Variable(np.ones(300, np.float32)) for _ in range(2))
        assigned = v.assign(u * 2.0)
        cases: dict[str, tuple[tuple[Any, ...], bool]] = {
            "assigned": ((assigned.op,), True),
            "fetched too": ((assigned,), False),
            "read on": ((gf.reduce_sum(assigned),), False),
            "updated": ((v.assign(v * 2.0).op,), False),
            "fetched": ((u * 2.0,), False),
        }
        for name, (fetches, expected) in cases.items():
            signature = Signature(fetches, (), symbolize_shapes((), ()), {})
            for cache, streams in ((1 << 20, False), (1000, expected)):
                options = Options(target=replace(host_target(), cache_bytes=cache))
                plan = gf.compiler.compile(g, signature, options)
                assert any("nontemporal" in text for text in plan.kernels.values()) == streams, (name, cache)


def test_dump_writes_every_level(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GRAPHFLOW_DUMP", str(tmp_path))
    with gf.Graph().as_default() as g, gf.Session(graph=g) as session:
        x = gf.placeholder(gf.float32, [None, 2])
        session.run(gf.nn.softmax(x), {x: np.ones((3, 2), np.float32)})
    written = {p.name.split("_", 1)[-1] for p in tmp_path.rglob("*.txt")}
    assert {
        "program.txt",
        "canonicalise.txt",
        "expand_composites.txt",
        "simplify.txt",
        "kernels.txt",
        "loops.txt",
        "plan.txt",
    } <= written
