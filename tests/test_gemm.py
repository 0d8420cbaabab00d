"""Matrix kernels, compiled and run: against numpy for every layout, size, element type, register tile and epilogue."""

from __future__ import annotations

import ctypes
import mmap
import sys
from dataclasses import replace

import numpy as np
import pytest

import graphflow as gf
from graphflow.framework.dtypes import as_dtype, bool_
from graphflow.framework.errors import CompileError
from graphflow.framework.shapes import Shape
from graphflow_compiler.codegen.llvm.llvm_text import host_target
from graphflow_compiler.codegen.matmul.gemm import gemm_scratch_elements, gemm_to_llvm
from graphflow_compiler.codegen.matmul.tiling import choose_blocking, tile_known_rows, tiling_table
from graphflow_compiler.compilation import compile
from graphflow_compiler.frontend import Signature, symbolize_shapes
from graphflow_compiler.ir.index import iadd, imul
from graphflow_compiler.ir.loops import Const, IDim
from graphflow_compiler.ir.loops_build import LoopBuilder
from graphflow_compiler.ir.loops_text import index_to_text, kernel_to_text
from graphflow_compiler.ir.loops_verify import verify_kernel
from graphflow_compiler.lower.matmul import start_of_matrix
from graphflow_runtime.executor.native import NativeExecutable
from tests.products import Array, B, I, J, Product, check, in_panels

TRANSPOSES = ["NN", "NT", "TN", "TT"]
SHAPES = [(1, 1, 1), (7, 10, 5), (5, 1, 9), (1, 33, 40), (25, 100, 31), (32, 128, 64)]


@pytest.mark.parametrize("transpose", TRANSPOSES)
@pytest.mark.parametrize("known", ["mnkt", "nkt", "mnt", ""])
def test_layouts_and_sizes(transpose: str, known: str) -> None:
    for i, (m, n, k) in enumerate(SHAPES):
        check(Product(m, n, k, transpose=transpose, known=known), threads=1 + i % 3)


@pytest.mark.parametrize("transpose", TRANSPOSES)
def test_random_sizes(transpose: str) -> None:
    rng = np.random.default_rng(TRANSPOSES.index(transpose))
    for _ in range(8):
        m, n, k = (int(2 ** rng.uniform(0, 8)) for _ in range(3))
        dtype = str(rng.choice(["float32", "float64"]))
        known = "".join(x for x in "mnkt" if rng.random() < 0.6)
        check(Product(m, n, k, dtype, transpose, known=known), threads=int(rng.integers(1, 5)))


@pytest.mark.parametrize("transpose", TRANSPOSES)
@pytest.mark.parametrize(
    ("m", "n", "k", "known"),
    [
        (40, 70, 2300, "mnkt"),  # blocks of the sum
        (40, 70, 1300, "nt"),
        (33, 300, 600, "nkt"),  # packed blocks of columns
        (200, 40, 100, "mkt"),
        (20, 300, 1100, "m"),
        (30, 112, 700, "mnkt"),  # blocks of the sum instead of a packed B
    ],
)
def test_blocks(m: int, n: int, k: int, known: str, transpose: str) -> None:
    check(Product(m, n, k, "float32", transpose, known=known), threads=2)


@pytest.mark.parametrize("m", [1, 2, 3, 4])
def test_few_rows(m: int) -> None:
    for n in (1, 9, 16, 40, 96, 100, 128, 300):
        for transpose in TRANSPOSES:
            check(Product(m, n, 50, transpose=transpose), threads=1 + n % 3)
    check(Product(m, 120, 2300), threads=2)


@pytest.mark.parametrize("known", ["mnkt", "nkt"])
@pytest.mark.parametrize("m", [1, 3, 6, 40])
def test_constants_in_panels(m: int, known: str) -> None:
    for n, k, transpose, dtype in [
        (17, 5, "NN", "float32"),
        (40, 70, "TN", "float32"),
        (300, 600, "NN", "float32"),
        (200, 2300, "NN", "float32"),
        (61, 1100, "TN", "float64"),
    ]:
        product = in_panels(m, n, k, dtype, known=known, transpose=transpose)
        np.testing.assert_array_equal(check(product, threads=2), Product(m, n, k, dtype, transpose, known=known).run())


def test_constants_in_panels_on_other_machines() -> None:
    for bits, registers in [(128, 16), (512, 32)]:
        target = replace(host_target(), vector_bits=bits, vector_registers=registers)
        check(in_panels(20, 75, 33, target=target, known="nkt"), 2, target)


def test_constant_weights_are_stored_as_they_are_read() -> None:
    w = np.random.default_rng(0).standard_normal((300, 100)).astype(np.float32)
    with gf.Graph().as_default() as graph, gf.Session() as session:
        x = gf.placeholder(gf.float32, [None, 300])
        weights = gf.constant(w)
        y = gf.nn.relu(gf.matmul(x, weights) + 1.0)
        for rows in (1, 2, 50):
            a = np.random.default_rng(rows).standard_normal((rows, 300)).astype(np.float32)
            np.testing.assert_allclose(session.run(y, {x: a}), np.maximum(a @ w + 1, 0), rtol=1e-4, atol=1e-4)
            assert session.run([y, weights], {x: a})[1].tolist() == w.tolist()
    plan = compile(graph, Signature((y,), (x,), symbolize_shapes((x,), ((7, 300),)), {}))
    (stored,) = (b.array for b in plan.buffers if b.array is not None and b.array.ndim == 3)
    assert stored.shape[1] == 300 and stored.shape[0] * stored.shape[2] >= 100 > (stored.shape[0] - 1) * stored.shape[2]
    np.testing.assert_array_equal(stored.swapaxes(0, 1).reshape(300, -1)[:, :100], w)


def test_only_a_plain_matrix_is_stored_in_panels() -> None:
    for product in (Product(4, 40, 40, transpose="NT"), Product(4, 40, 40, batch=3)):
        with pytest.raises(CompileError, match="stored in panels"):
            verify_kernel(replace(product.kernel, b_panel=16))


@pytest.mark.parametrize("transpose", ["NN", "TT"])
@pytest.mark.parametrize("known", ["mnkt", ""])
@pytest.mark.parametrize(("m", "n", "k"), [(0, 5, 3), (5, 0, 3), (5, 20, 0), (0, 0, 0)])
def test_empty(m: int, n: int, k: int, known: str, transpose: str) -> None:
    check(Product(m, n, k, transpose=transpose, known=known), threads=2)


@pytest.mark.parametrize("transpose", TRANSPOSES)
def test_double_precision(transpose: str) -> None:
    check(Product(19, 21, 70, "float64", transpose, known="nkt"))


@pytest.mark.parametrize(("operands", "sums"), [("float16", "float32"), ("int32", "int32")])
def test_other_element_types_are_refused(operands: str, sums: str) -> None:
    kernel = replace(Product(4, 4, 4).kernel, dtype=as_dtype(operands), accumulate_dtype=as_dtype(sums))
    with pytest.raises(ValueError, match=f"no matrix kernel for {operands} operands with {sums} sums"):
        gemm_to_llvm(kernel, host_target())


@pytest.mark.parametrize("broadcast", ["", "a", "b"])
@pytest.mark.parametrize("known", ["mnkt", "nk", ""])
def test_batches(broadcast: str, known: str) -> None:
    for threads in (1, 2, 9):
        check(Product(10, 20, 15, batch=5, broadcast=broadcast, known=known, transpose="NT"), threads)


AXES = [
    ((2, 1), (2, 3)),
    ((2, 3), (2, 1)),
    ((3,), (2, 3)),
    ((1, 4), (3, 1)),
    ((2, 1, 2), (3, 1)),
    ((2, 1, 2, 1), (1, 3, 1, 2)),
    ((2, 1), (1, 0)),
]


@pytest.mark.parametrize("axes", AXES)
@pytest.mark.parametrize("known", ["mnkt", "mnk", ""])
def test_batch_axes_broadcast(axes: tuple[tuple[int, ...], tuple[int, ...]], known: str) -> None:
    for (m, n, k), transpose, dtype in [((9, 20, 15), "NN", "float32"), ((3, 40, 7), "TT", "float64")]:
        product = Product(m, n, k, dtype, transpose, known=known, axes=axes)
        expected = check(product)
        for threads in (2, 3):
            np.testing.assert_array_equal(check(product, threads), expected)


def test_large_matrices_of_broadcast_batches() -> None:
    """With blocks of the sum, of columns, and copies of both operands."""
    for transpose in TRANSPOSES:
        check(Product(40, 300, 1300, transpose=transpose, known="nk", axes=((1, 2), (2, 1))), threads=3)


@pytest.mark.parametrize(
    ("own", "batch", "text"),
    [
        ((), (2, 3), "0"),
        ((1, 1), (2, 3), "0"),
        ((2, 3), (2, 3), "(b * 20)"),
        ((2, 1, 3), (2, 1, 3), "(b * 20)"),
        ((2, 1), (2, 3), "((b // 3) * 20)"),
        ((3,), (2, 3), "((b % 3) * 20)"),
        ((1, 3, 5), (2, 3, 5), "((b % 15) * 20)"),
        ((2, 1, 5), (2, 3, 5), "(((b // 15) * 100) + ((b % 5) * 20))"),
        ((1, 3, 1), (2, 3, 5), "(((b // 5) % 3) * 20)"),
    ],
)
def test_starts_of_matrices_divide_only_where_axes_broadcast(own: Shape, batch: Shape, text: str) -> None:
    assert index_to_text(start_of_matrix(own, batch, 20)) == text


def test_text_tells_which_matrices_a_batch_reads() -> None:
    text = kernel_to_text(Product(4, 5, 2, transpose="NT", axes=((2, 1), (2, 3))).kernel)
    assert "a[((b // 3) * 8)] x b[(b * 10)]^T  batch=6, m=4, n=5, k=2" in text
    assert "= a x b  batch=1," in kernel_to_text(Product(4, 5, 2).kernel)


def test_sizes_and_starts_are_verified() -> None:
    kernel = Product(4, 5, 2, batch=3).kernel
    verify_kernel(kernel)
    for wrong, message in [
        (replace(kernel, a_start=I), "loop variable i is used outside its loop"),
        (replace(kernel, b_start=IDim("other")), "size other is no argument"),
        (replace(kernel, m=B), "loop variable b is used outside its loop"),
        (replace(kernel, a="nothing"), "there is no buffer nothing"),
        (replace(kernel, dtype=as_dtype("float64")), "buffer a holds float32, accessed as float64"),
    ]:
        with pytest.raises(CompileError, match=message):
            verify_kernel(wrong)


@pytest.mark.parametrize(("bits", "registers"), [(128, 16), (128, 32), (256, 32), (512, 32), (256, 64)])
@pytest.mark.parametrize("transpose", TRANSPOSES)
def test_register_tiles_of_other_machines(bits: int, registers: int, transpose: str) -> None:
    """LLVM splits vectors that the machine does not have: slow, but the same numbers."""
    target = replace(host_target(), vector_bits=bits, vector_registers=registers)
    for m, n, k, known in [(29, 75, 33, "nkt"), (30, 5, 7, "mnkt"), (70, 300, 90, "nt"), (25, 128, 1024, "nkt")]:
        check(Product(m, n, k, transpose=transpose, known=known), 2, target)


def test_machine_without_fma() -> None:
    target = replace(host_target(), vector_bits=128, vector_registers=16, features="")
    text = gemm_to_llvm(Product(8, 8, 8).kernel, target)
    assert "llvm.fma" not in text
    check(Product(20, 30, 40), 1, target)


# ---------------------------------------------------------------------------------------------- one order of addition
@pytest.mark.parametrize("transpose", TRANSPOSES)
def test_bits_depend_neither_on_threads_nor_on_tiles(transpose: str) -> None:
    whole = Product(37, 90, 700, transpose=transpose)
    expected = whole.run()
    for threads in (2, 3, 8):
        np.testing.assert_array_equal(whole.run(threads), expected)
    np.testing.assert_array_equal(Product(37, 90, 700, transpose=transpose, known="").run(2), expected)
    if not whole.ta:
        by_batch = Product(37, 90, 700, transpose=transpose, known="nkt")
        for rows in (1, 2, 5, 9):
            np.testing.assert_array_equal(by_batch.run(m=rows)[0], expected[0, :rows])


def before_guard_page(array: Array) -> Array:
    """The array where the next page of memory cannot be touched."""
    page = mmap.PAGESIZE
    room = -(-array.nbytes // page) * page
    memory = mmap.mmap(-1, room + page)
    start = ctypes.addressof(ctypes.c_char.from_buffer(memory))
    libc = ctypes.CDLL(None)
    assert libc.mprotect(ctypes.c_void_p(start + room), ctypes.c_size_t(page), 0) == 0
    copy: Array = np.frombuffer(memory, array.dtype, array.size, room - array.nbytes).reshape(array.shape)
    copy[...] = array
    return copy


@pytest.mark.skipif(sys.platform != "linux", reason="mprotect")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("transpose", TRANSPOSES)
def test_nothing_is_read_past_the_operands(transpose: str, dtype: str) -> None:
    """A failure is a segmentation fault."""
    for m, n, k, known in [
        (3, 300, 70, "nt"),
        (21, 300, 70, "nkt"),
        (5, 37, 9, "mnkt"),
        (6, 10, 3, "nkt"),
        (2, 3, 5, ""),
    ]:
        p = Product(m, n, k, dtype, transpose, known=known)
        p.a, p.b = before_guard_page(p.a), before_guard_page(p.b)
        check(p)


def test_unaligned_operands() -> None:
    p = Product(20, 40, 30)
    shifted = np.empty(p.a.size + 1, np.float32)
    shifted[1:] = p.a.ravel()
    p.a = shifted[1:].reshape(p.a.shape)
    check(p)


# ---------------------------------------------------------------------------------------------- epilogues
def bias_relu(b: LoopBuilder, p: Product) -> None:
    b.store("c", p.dense, b.maximum(b.add(p.acc, b.load("bias", J, p.dtype)), 0.0))


def residual(b: LoopBuilder, p: Product) -> None:
    b.store("c", p.dense, b.add(p.acc, b.load("r", p.dense, p.dtype)))


def tanh_of_rows(b: LoopBuilder, p: Product) -> None:
    b.store("c", p.dense, b.call("tanh", b.mul(p.acc, b.load("scale", I, p.dtype))))


def two_results(b: LoopBuilder, p: Product) -> None:
    b.store("c", p.dense, p.acc)
    b.store("positive", p.dense, b.binary("gt", p.acc, Const(0.0, p.dtype)))


def transposed_result(b: LoopBuilder, p: Product) -> None:
    b.store("c", iadd(imul(J, p.m), I), b.mul(p.acc, 2.0))


LAYOUTS = [("mnkt", "NN"), ("nkt", "NT"), ("mnt", "TN"), ("", "NN")]


@pytest.mark.parametrize(("m", "n", "k"), [(14, 16, 9), (9, 43, 20), (31, 10, 12), (17, 37, 2100), (30, 112, 700)])
@pytest.mark.parametrize("name", ["bias_relu", "residual", "tanh_of_rows", "two_results", "transposed_result"])
def test_epilogues(m: int, n: int, k: int, name: str) -> None:
    rng = np.random.default_rng(1)
    bias, scale, r = (rng.standard_normal(shape).astype("f") for shape in ((n,), (m,), (1, m, n)))
    positive = np.zeros((1, m, n), bool)
    for known, transpose in LAYOUTS[m % 2 :: 2]:
        extra = {
            "bias_relu": {"bias": bias},
            "residual": {"r": r},
            "tanh_of_rows": {"scale": scale},
            "two_results": {"positive": positive},
        }.get(name)
        p = Product(m, n, k, transpose=transpose, known=known, epilogue=globals()[name], extra=extra)
        got = p.run(2)
        exact = {
            "bias_relu": np.maximum(p.exact + bias, 0),
            "residual": p.exact + r,
            "tanh_of_rows": np.tanh(p.exact * scale[:, None]),
            "two_results": p.exact,
            "transposed_result": 2 * p.exact.swapaxes(1, 2),
        }[name]
        np.testing.assert_allclose(got.reshape(exact.shape), exact, rtol=1e-4, atol=1e-3)
        if name == "two_results":
            np.testing.assert_array_equal(positive, got > 0)


def test_in_place_result() -> None:
    """c += a b, with partial sums that must not touch c before the end."""

    def accumulate(b: LoopBuilder, p: Product) -> None:
        b.store("r", p.dense, b.add(b.load("r", p.dense, p.dtype), p.acc))

    r = np.ones((1, 20, 50), np.float32)
    p = Product(20, 50, 2200, known="nt", epilogue=accumulate, extra={"r": r})
    assert choose_blocking(p.kernel, host_target()).sums == "scratch"
    p.run(2)
    np.testing.assert_allclose(r, 1 + p.exact, rtol=1e-4, atol=1e-3)


def test_checks() -> None:
    def small(b: LoopBuilder, p: Product) -> None:
        b.check(b.binary("gt", p.acc, Const(1e11, p.dtype)), 7)
        b.store("c", p.dense, p.acc)

    p = Product(9, 21, 10, epilogue=small)
    p.run(2)
    assert p.codes == [0, 0]
    p.a[0, 8] = p.b[0, :, 20] = 1e6
    p.run(2)
    assert sorted(p.codes) == [0, 7]


def test_bool_result() -> None:
    def positive(b: LoopBuilder, p: Product) -> None:
        b.store("flags", p.dense, b.select(b.binary("gt", p.acc, Const(0.0, p.dtype)), b.true(), Const(False, bool_)))

    flags = np.zeros((1, 11, 29), bool)
    p = Product(11, 29, 13, epilogue=positive, extra={"flags": flags})
    p.run()
    np.testing.assert_array_equal(flags, p.exact > 0)


def test_large_constants_of_other_shapes() -> None:
    """Too large to be folded, a reshaped constant is the memory of the first shape; its panels are of the second."""
    rng = np.random.default_rng(5)
    w = rng.standard_normal((300, 260)).astype(np.float32)
    shapes = {(260, 300): (3, 260), (300, 260): (5, 300), (100, 780): (1, 100), (780, 100): (4, 780)}
    with gf.Graph().as_default(), gf.Session() as session:
        flat, square, boxed = gf.constant(w.ravel()), gf.constant(w), gf.constant(w[:, None])
        rows = {s: gf.constant(rng.standard_normal(a).astype(np.float32)) for s, a in shapes.items()}
        found, expected = [], []
        for shape, a in rows.items():
            for weights in (gf.reshape(flat, shape), gf.reshape(square, shape)):
                found.append(gf.matmul(a, weights))
                expected.append((a, shape))
        found.append(gf.matmul(rows[300, 260], gf.squeeze(boxed, 1)))
        expected.append((rows[300, 260], (300, 260)))
        values = session.run(found)
        for value, (a, shape) in zip(values, expected, strict=True):
            right = session.run(a).astype(np.float64) @ w.reshape(shape).astype(np.float64)
            np.testing.assert_allclose(value, right, rtol=1e-4, atol=1e-3)


def test_plans_share_the_panels_of_a_constant() -> None:
    with gf.Graph().as_default(), gf.Session() as session:
        w = gf.constant(np.ones((400, 400), np.float32))
        x = gf.placeholder(gf.float32, [32, 400])
        y = gf.matmul(x, w)
        for fetch in (y + 1.0, y + 2.0, [gf.matmul(x, w) * 2.0, gf.matmul(x * 3.0, w)]):
            session.run(fetch, {x: np.zeros((32, 400), np.float32)})
        copies = {
            id(b.array)
            for e in session._executables.values()
            if isinstance(e, NativeExecutable)
            for c in e.plans.values()
            for b in c.plan.buffers
            if b.role == "constant" and b.array is not None and b.array.ndim == 3
        }
        assert len(copies) == 1


# ---------------------------------------------------------------------------------------------- choices
def test_known_rows_have_tiles_of_at_most_two_heights() -> None:
    assert tile_known_rows(32, 6) == ((6, 2), (5, 4))
    assert tile_known_rows(0, 6) == ()
    for rows in range(1, 200):
        for tallest in (4, 6, 8, 12):
            tiling = tile_known_rows(rows, tallest)
            assert sum(h * tiles for h, tiles in tiling) == rows
            assert len(tiling) <= 2 and all(0 < h <= tallest for h, _ in tiling)


@pytest.mark.parametrize("heights", [(6, 5, 3, 1), (12, 5, 4, 1), (8, 5, 3, 1), (4, 1)])
def test_tiling_table(heights: tuple[int, ...]) -> None:
    table = tiling_table(heights)
    for rest in range(table.length):
        entry = table.words[rest // table.entries_per_word] >> rest % table.entries_per_word * sum(table.bits)
        total = 0
        for height, bits in zip(heights, table.bits, strict=True):
            total += height * (entry & ((1 << bits) - 1))
            entry >>= bits
        assert total == rest


def test_small_products_need_no_scratch() -> None:
    assert gemm_scratch_elements(Product(32, 192, 64, known="nkt").kernel, host_target()) is None
    assert gemm_scratch_elements(Product(32, 10, 784, known="nkt").kernel, host_target()) is None
    assert gemm_scratch_elements(Product(32, 64, 128, transpose="NT", known="nkt").kernel, host_target())


def test_few_rows_read_b_where_it_is() -> None:
    few, more = (choose_blocking(Product(m, 128, 784, known="mnkt").kernel, host_target()) for m in (32, 128))
    assert (few.pack_b, few.sums) == ("none", "result")
    assert (more.pack_b, more.sums) == ("first tile", "none")
