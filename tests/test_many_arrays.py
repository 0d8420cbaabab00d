"""Sums, joins, gradients and epilogues of many values: no kernel has so many arrays that LLVM takes seconds for it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np

import graphflow as gf
from graphflow_compiler.frontend import Signature, build_program, symbolize_shapes
from graphflow_compiler.passes.fusion_group import MAX_ARRAYS
from graphflow_compiler.passes.pipeline import Dump, run_passes
from graphflow_compiler.passes.rewrite import PassContext


def test_many_operands_are_cut() -> None:
    """Sums in their order, joins part by part; what few operands do stays."""

    def kinds(build: Any, count: int) -> Counter[str]:
        with gf.Graph().as_default():
            xs = [gf.placeholder(gf.float32, [2, 3]) for _ in range(count)]
            signature = Signature((build(xs),), tuple(xs), symbolize_shapes(tuple(xs), [(2, 3)] * count), {})
            program = run_passes(build_program(signature), PassContext(), Dump(None))
        return Counter(n.op.name for n in program.nodes if n.op.name != "_Feed")

    assert kinds(gf.add_n, 32) == {"AddN": 1} and kinds(gf.add_n, 33) == {"AddN": 2}
    assert kinds(gf.add_n, 1000) == {"AddN": 33}
    assert kinds(gf.stack, 63) == {"Pack": 1} and kinds(gf.stack, 64) == {"Pack": 2, "ConcatV2": 1}
    assert kinds(lambda xs: gf.concat(xs, 1), 5000) == {"ConcatV2": 80 + 2 + 1}


def test_many_arrays_are_several_kernels() -> None:
    """Sums, joins and gradients of many values: no kernel has so many arrays that LLVM takes seconds, and none is wrong."""
    with gf.Graph().as_default() as g:
        x = gf.placeholder(gf.float32, [None, 4])
        z = x
        for i in range(300):
            z = z * x if i % 2 else gf.tanh(z)
        many = [x * float(i) for i in range(200)]
        joined = [gf.stack(many), gf.stack(many, -2), gf.concat(many, -1), gf.concat(many, 0)]
        fetches = [z, gf.gradients(z, x)[0], gf.add_n([gf.tanh(y) for y in many]), *joined]
        plan = gf.compiler.compile(g, Signature(tuple(fetches), (x,), symbolize_shapes((x,), [(3, 4)]), {}))
        assert max(len(s.buffers) for s in plan.steps) <= MAX_ARRAYS
        feed = {x: np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)}
        with gf.Session(graph=g) as session, gf.Session(graph=g, backend="reference") as reference:
            for native, want in zip(session.run(fetches, feed), reference.run(fetches, feed), strict=True):
                np.testing.assert_allclose(native, want, rtol=1e-4, atol=1e-5)


def test_a_product_with_many_arrays_after_it() -> None:
    """As many as a kernel takes: names of its buffers are not those of its loops."""
    with gf.Graph().as_default() as g:
        x, w = gf.placeholder(gf.float32, [4, 3]), gf.placeholder(gf.float32, [3, 5])
        others = [gf.placeholder(gf.float32, [4, 5]) for _ in range(80)]
        y = gf.matmul(x, w)
        for other in others:
            y = y + other
        feeds = {t: np.full([int(d) for d in t.shape], 0.5, np.float32) for t in (x, w, *others)}
        plan = gf.compiler.compile(
            g, Signature((y,), tuple(feeds), symbolize_shapes(tuple(feeds), [v.shape for v in feeds.values()]), {})
        )
        assert [s.pattern for s in plan.steps] == ["gemm", "map"] and len(plan.steps[0].buffers) > 60
        with gf.Session(graph=g) as session:
            np.testing.assert_array_equal(session.run(y, feeds), np.full((4, 5), 0.75 + 40.0, np.float32))
