"""Checked code finds what is planted: stores and loads outside their buffers, and reads of what was never written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.errors import CompileError, InternalError
from graphflow_compiler.codegen.llvm.checked import checked_text
from graphflow_compiler.codegen.llvm.loops_llvm import _Function
from graphflow_compiler.codegen.llvm.vector import VectorEmitter
from graphflow_compiler.codegen.llvm.vector_tail import BounceBuffers
from graphflow_compiler.codegen.matmul import gemm
from graphflow_compiler.codegen.matmul.gemm import _GemmWriter
from graphflow_compiler.ir.kernels import bytes_of
from graphflow_compiler.ir.loops import For, IBinary, IConst, Store
from graphflow_compiler.lower import single_op_kernels
from graphflow_compiler.planning import planner
from graphflow_runtime.executor import threads
from tests.forced_threads import force


@pytest.fixture(autouse=True)
def checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """With checks, and with no code kept from a test without a plant."""
    monkeypatch.setenv("GRAPHFLOW_CHECKED", "1")
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", "")


def values(*shape: int) -> np.ndarray[Any, Any]:
    return np.random.default_rng(5).normal(size=shape).astype(np.float32)


# ---------------------------------------------------------------------------------------------- programs


def flat() -> Any:
    x = gf.placeholder(gf.float32, [None])
    return x * 2.0 + 1.0, {x: values(13)}


def long_body() -> Any:
    """So many statements that the tail goes through the stack."""
    x = gf.placeholder(gf.float32, [None])
    y = x
    for k in range(40):
        y = gf.abs(y * (1.0 + k)) - 0.5
    return y, {x: values(13)}


def bytes_of_bools() -> Any:
    x = gf.placeholder(gf.float32, [None])
    return x > 0.0, {x: values(13)}


def rows() -> Any:
    x = gf.placeholder(gf.float32, [None, 37])
    return gf.nn.softmax(x), {x: values(5, 37)}


def columns() -> Any:
    x = gf.placeholder(gf.float32, [None, 37])
    return gf.reduce_max(x, 0) * 2.0, {x: values(5, 37)}


def blocks() -> Any:
    x = gf.placeholder(gf.float32, [None])
    return gf.reduce_sum(gf.square(x)), {x: values(100_003)}


def transposed() -> Any:
    x = gf.placeholder(gf.float32, [None, None])
    return gf.transpose(x) + 1.0, {x: values(5, 7)}


def product() -> Any:
    x = gf.placeholder(gf.float32, [None, 33])
    return gf.matmul(x, gf.Variable(values(33, 37))) * 2.0, {x: values(9, 33)}


def plain_product() -> Any:
    x = gf.placeholder(gf.float32, [None, 600])
    return gf.matmul(x, gf.Variable(values(600, 201))), {x: values(90, 600)}


def transposed_product() -> Any:
    x = gf.placeholder(gf.float32, [600, None])
    return gf.matmul(x, gf.Variable(values(201, 600)), transpose_a=True, transpose_b=True), {x: values(600, 90)}


def scattered() -> Any:
    v = gf.Variable(values(7, 3))
    i = gf.placeholder(gf.int32, [None])
    return gf.scatter_add(v, i, gf.ones([gf.size(i), 3])), {i: np.array([0, 6, 6], np.int32)}


def largest() -> Any:
    x = gf.placeholder(gf.float32, [None, 9])
    return gf.argmax(x, 1), {x: values(5, 9)}


def sizes() -> Any:
    x = gf.placeholder(gf.float32, [None, None])
    return gf.shape(x), {x: values(5, 9)}


def copied() -> Any:
    x = gf.placeholder(gf.float32, [6])
    y = gf.identity(x)
    return [y, gf.reshape(y, [2, 3])], {x: values(6)}


PROGRAMS = [
    flat, long_body, bytes_of_bools, rows, columns, blocks, transposed, product, plain_product, transposed_product, scattered,
    largest, sizes, copied,
]  # fmt: skip


def run(program: Callable[[], Any]) -> Any:
    with gf.Graph().as_default():
        fetches, feeds = program()
        with gf.Session() as s:
            s.run(gf.global_variables_initializer())
            found = s.run(fetches, feeds)
            assert s.stats.host_fallbacks == 0
            return found


def as_list(found: Any) -> list[Any]:
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("program", PROGRAMS)
def test_what_is_sound_passes(program: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> None:
    with_checks = as_list(run(program))
    monkeypatch.setenv("GRAPHFLOW_CHECKED", "0")
    for a, b in zip(with_checks, as_list(run(program)), strict=True):
        np.testing.assert_array_equal(a, b)


# ---------------------------------------------------------------------------------------------- plants


def stores_without_masks(patch: pytest.MonkeyPatch) -> None:
    store = VectorEmitter._store_lanes
    patch.setattr(VectorEmitter, "_store_lanes", lambda self, *a: store(replace(self, mask=None), *a))


def masks_of_all_lanes(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_Function, "mask", lambda self, left, lanes: "splat (i1 true)")


def one_round_more(patch: pytest.MonkeyPatch) -> None:
    """Loops that store run once more than they should."""
    loop = _Function.loop

    def longer(self: Any, s: For, e: Any) -> None:
        more = any(isinstance(t, Store) for t in s.body)
        loop(self, replace(s, extent=IBinary("add", s.extent, IConst(1))) if more else s, e)

    patch.setattr(_Function, "loop", longer)


def whole_vectors_sent_back(patch: pytest.MonkeyPatch) -> None:
    send = BounceBuffers.send_back
    patch.setattr(BounceBuffers, "send_back", lambda self, e: send(self, replace(e, mask=None)))


def one_byte_more(patch: pytest.MonkeyPatch) -> None:
    last = VectorEmitter._last_lane
    patch.setattr(VectorEmitter, "_last_lane", lambda self: self.lines.add(last(self), 1))


def panels_without_masks(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(_GemmWriter, "masks", lambda self, left: [None] * self.tile.vectors)


def less_scratch(patch: pytest.MonkeyPatch) -> None:
    choose = gemm.choose_blocking

    def smaller(kernel: Any, target: Any) -> Any:
        found = choose(kernel, target)
        last = next(n for n in ("sums_scratch", "a_scratch", "edge_scratch", "b_scratch") if getattr(found, n))
        return replace(found, **{last: getattr(found, last) // 2})

    patch.setattr(gemm, "choose_blocking", smaller)


def one_term_more(patch: pytest.MonkeyPatch) -> None:
    pack = gemm.pack_transposed_panels

    def more(lines: Any, lanes: Any, vectors: Any, source: Any, stride: Any, depth: Any, *rest: Any) -> None:
        pack(lines, lanes, vectors, source, stride, lines.add(depth, 1), *rest)

    patch.setattr(gemm, "pack_transposed_panels", more)


def one_place_on(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(single_op_kernels, "IConst", lambda k: IConst(k + 1))


def four_bytes_more(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(planner, "bytes_of", lambda t: bytes_of(t) + 4)


#: What is found depends on the width of vectors, as far as lengths and offsets go.
PLANTS = [
    (flat, stores_without_masks, r"stores \d+ bytes at offset \d+ of buffer 1 \(output 0, float32\), whose extent is 52 bytes"),
    (flat, masks_of_all_lanes, r"loads \d+ bytes at offset \d+ of buffer 0 \(feed 0, float32\), whose extent is 52 bytes"),
    (long_body, whole_vectors_sent_back, r"stores \d+ bytes at offset \d+ of buffer 1 \(output 0, float32\)"),
    (bytes_of_bools, one_byte_more, r"stores \d+ bytes at offset \d+ of buffer 1 \(output 0, bool\), whose extent is 13 bytes"),
    (rows, stores_without_masks, r"stores \d+ bytes at offset \d+ of buffer 2 \(scratch, float32\), whose extent is 148 bytes"),
    (rows, one_round_more, r"stores \d+ bytes at offset \d+ of buffer 2 \(scratch, float32\), whose extent is 148 bytes"),
    (columns, stores_without_masks, r"stores \d+ bytes at offset \d+ of .*\(output 0, float32\), whose extent is 148 bytes"),
    (blocks, one_round_more, r"stores 4 bytes at offset \d+ of .*\(temporary, float32\)"),
    (transposed, one_round_more, r"whose extent is 140 bytes"),
    (product, panels_without_masks, r"loads \d+ bytes at offset \d+ of buffer 1 \(variable Variable, float32\), .* 4884 bytes"),
    (plain_product, less_scratch, r"\(scratch, float32\)"),
    (transposed_product, less_scratch, r"\(scratch, float32\)"),
    (transposed_product, one_term_more, r"loads \d+ bytes at offset 482400 of buffer 1 \(variable Variable, float32\)"),
    (scattered, one_round_more, r"stores \d+ bytes at offset \d+ of .*, whose extent is 36 bytes"),
    (largest, one_round_more, r"whose extent is 180 bytes"),
    (sizes, one_place_on, r"stores 4 bytes at offset 8 of buffer 0 \(output 0, int32\), whose extent is 8 bytes"),
    (copied, four_bytes_more, r"loads 28 bytes at offset 0 of buffer 0 \(.*, float32\), whose extent is 24 bytes"),
]


@pytest.mark.parametrize(("program", "plant", "found"), PLANTS)
def test_what_is_planted_is_found(
    program: Callable[[], Any], plant: Callable[[pytest.MonkeyPatch], None], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)
    with pytest.raises(InternalError) as raised:
        run(program)
    assert re.search(rf"^kernel gf_\w{{16}} of \S.*{found}", str(raised.value)), raised.value


def test_threads_find_it_too_and_the_next_run_is_told_again(monkeypatch: pytest.MonkeyPatch) -> None:
    force(threads.Pool(3).start(), monkeypatch)
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [None])
        y = gf.reduce_sum(x * 3.0 + 1.0) + gf.reduce_max(gf.matmul(gf.reshape(x, [-1, 5]), gf.ones([5, 70])) * 2.0)
        with gf.Session() as session:
            got = session.run([y, x * 3.0], {x: np.ones(1005)})
            assert got[0] == 4 * 1005 + 10 and got[1].sum() == 3 * 1005
        stores_without_masks(monkeypatch)
        with gf.Session() as session:
            for _ in range(3):
                with pytest.raises(InternalError, match=r"stores \d+ bytes"):
                    session.run([y, x * 3.0], {x: np.ones(1005)})


# ---------------------------------------------------------------------------------------------- poison


def test_what_is_not_written_is_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_Function, "masked_tail", lambda *_: None)
    result = run(flat)
    assert np.isfinite(result[:8]).all() and np.isnan(result[8:]).all()
    assert run(bytes_of_bools).view(np.uint8).tolist()[8:] == [0xAB] * 5


def test_scratch_that_is_not_filled_is_poison(monkeypatch: pytest.MonkeyPatch) -> None:
    assert np.isfinite(run(plain_product)).all()
    monkeypatch.setattr(gemm, "pack_last_panel", lambda *_: None)
    result = run(plain_product)
    assert np.isfinite(result[:, :192]).all() and np.isnan(result[:, 192:]).all()


def test_variables_are_poisoned_only_where_nothing_reads_them(monkeypatch: pytest.MonkeyPatch) -> None:
    with gf.Graph().as_default():
        x = gf.placeholder(gf.float32, [13])
        v, kept = gf.Variable(np.ones(13, np.float32)), gf.Variable(np.ones(13, np.float32))
        both = gf.group(gf.assign(v, x * 2.0), gf.scatter_add(kept, [1, 2], [5.0, 6.0]))
        with gf.Session() as session:
            session.run(gf.global_variables_initializer())
            session.run(both, {x: np.ones(13)})
            assert session.run(v).tolist() == [2.0] * 13
            assert session.run(kept).tolist() == [1.0, 6.0, 7.0] + [1.0] * 10


# ---------------------------------------------------------------------------------------------- beside other plans


def test_checked_code_is_kept_apart(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("GRAPHFLOW_CACHE_DIR", str(tmp_path))
    made = {}
    for wanted in ("1", "0", "1", "0"):
        monkeypatch.setenv("GRAPHFLOW_CHECKED", wanted)
        with gf.Graph().as_default(), gf.Session() as session:
            x = gf.placeholder(gf.float32, [None])
            y = x * 2.0 + 1.0
            session.run(y, {x: np.ones(13)})
            (executable,) = session._executables.values()
            (compiled,) = executable.plans.values()
            assert compiled.plan.is_checked == (wanted == "1")
            names = set(compiled.plan.kernels)
            assert made.setdefault(wanted, names) == names
    assert not made["0"] & made["1"]


def test_profiles_and_explanations_are_of_the_plan_itself() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 4])
        y = gf.reduce_sum(gf.matmul(x, gf.ones([4, 4])))
        assert "poison" not in session.explain(y, {x: np.ones((3, 4))})
        session.profile(y, {x: np.ones((3, 4))}, runs=2)
        text = session.explain(y, {x: np.ones((3, 4))})
        assert "poison" not in text and text.count("took ") == text.count("step ")
        assert gf.plan_to_dot(y, {x: np.ones((3, 4))}, session).count("poison") == 0


def test_what_it_does_not_know_is_refused() -> None:
    text = "define i32 @kernel(ptr %p0, i64 %thread, i64 %threads) nounwind {\nentry:\n  %v1 = LINE\n  ret i32 0\n}\n"
    assert "@graphflow_checked(ptr %p0, i64 4" in checked_text(text.replace("LINE", "load float, ptr %p0, align 4"), {})
    for line in ("atomicrmw add ptr %p0, i32 1 seq_cst", "ptrtoint ptr %p0 to i64", "load float, ptr %where, align 4"):
        with pytest.raises(CompileError, match="checked code"):
            checked_text(text.replace("LINE", line), {})
