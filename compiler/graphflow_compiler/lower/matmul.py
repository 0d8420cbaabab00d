"""Contraction groups: a matmul kernel whose epilogue computes the elementwise nodes fused to it."""

from __future__ import annotations

from itertools import groupby

from graphflow.framework.dtypes import float32, float64
from graphflow.framework.shapes import Dim, Shape, product
from graphflow_compiler.ir.index import iadd, ifloordiv, imod, imul
from graphflow_compiler.ir.indexing_maps import broadcast_index, dim_index, index_of_shape
from graphflow_compiler.ir.loops import GemmKernel, IConst, Index, IVar, Var
from graphflow_compiler.ir.program import Value
from graphflow_compiler.lower.emit import Emitter, LoweredKernel, accumulator_dtype, used_dims


def lower_gemm(e: Emitter) -> LoweredKernel:
    """[batch, m, k] x [batch, k, n] with everything after it in the epilogue."""
    group = e.group
    node = group.root
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None and node.types[0].shape is not None
    out: Shape = node.types[0].shape
    if a.dtype not in (float32, float64):
        return lower_product_loops(e)
    name_a, name_b = e.buffer(a), e.buffer(b)
    transpose_a, transpose_b = bool(node.attrs.transpose_a), bool(node.attrs.transpose_b)
    m, n = out[-2], out[-1]
    k = a.shape[-2] if transpose_a else a.shape[-1]
    batch = product(out[:-2])
    accumulate = accumulator_dtype(a.dtype)
    acc = Var("acc", accumulate)
    position = _position(out)
    e.env[node.out()] = acc if accumulate is node.types[0].dtype else e.b.cast(acc, node.types[0].dtype)
    variables = [i for i, d in zip(position, out, strict=True) if d != 1]
    for other in group.nodes[1:]:
        e.element(other, index_of_shape(other.types[0].shape or (), variables))
    for v in group.outputs:
        e.store(v, index_of_shape(v.shape, variables))
    buffers, arguments = e.buffers()
    epilogue = e.b.build()
    kernel = GemmKernel(
        name="kernel",
        a=name_a,
        b=name_b,
        dtype=a.dtype,
        accumulate_dtype=accumulate,
        m=dim_index(m),
        n=dim_index(n),
        k=dim_index(k),
        batch=dim_index(batch),
        a_start=start_of_matrix(a.shape[:-2], out[:-2], m * k),
        b_start=start_of_matrix(b.shape[:-2], out[:-2], k * n),
        transpose_a=transpose_a,
        transpose_b=transpose_b,
        epilogue=epilogue,
        buffers=buffers,
        dims=used_dims(epilogue, [*(x.count for x in buffers), *(dim_index(d) for d in (*out, k))]),
        comments=group.origin,
    )
    return LoweredKernel(group, kernel, arguments, tuple(e.failures), group.nodes, group.nodes)


def _position(out: Shape) -> tuple[Index, ...]:
    """The index of the result in terms of the kernel's variables b, i and j."""
    batch: list[Index] = []
    stride: Dim = 1
    dims = out[:-2]
    for depth, d in enumerate(reversed(dims)):
        part = ifloordiv(IVar("b"), dim_index(stride))
        batch.append(part if depth == len(dims) - 1 else imod(part, dim_index(d)))
        stride = stride * d
    return (*reversed(batch), IVar("i"), IVar("j"))


def start_of_matrix(own: Shape, batch: Shape, elements: Dim) -> Index:
    """The first element of the matrix that batch ``b`` of the result reads, of an operand whose batch axes are `own`.

    Each batch axis of an operand either has size 1, and is repeated, or the size that it has in the result. Neighbouring axes
    of the same kind are merged, so that where nothing is repeated this is ``b * elements``.
    """
    sizes = (1,) * (len(batch) - len(own)) + own
    axes = [(d, o != 1) for d, o in zip(batch, sizes, strict=True) if d != 1]
    runs = [(product([d for d, _ in run]), moves) for moves, run in groupby(axes, key=lambda axis: axis[1])]
    start: Index = IConst(0)
    inner: Dim = 1  # batches of the result between two steps along the axis
    for depth, (d, moves) in enumerate(reversed(runs)):
        if moves:
            place = ifloordiv(IVar("b"), dim_index(inner))
            place = place if depth == len(runs) - 1 else imod(place, dim_index(d))
            start = iadd(imul(place, dim_index(elements)), start)
            elements = elements * d
        inner = inner * d
    return start


def lower_product_loops(e: Emitter) -> LoweredKernel:
    """A contraction as plain loops: integers have no matmul kernel. (16-bit floats have become float32 in the passes.)"""
    group = e.group
    node = group.root
    a, b = node.inputs[0], node.inputs[1]
    assert a is not None and b is not None and node.types[0].shape is not None
    out: Shape = node.types[0].shape
    position = _position(out)
    k = a.shape[-2] if node.attrs.transpose_a else a.shape[-1]
    accumulate = accumulator_dtype(a.dtype)
    builder = e.b
    variables = [i for i, d in zip(position, out, strict=True) if d != 1]
    with (
        builder.loop("b", dim_index(product(out[:-2])), mode="serial", parallel=True),
        builder.loop("i", dim_index(out[-2]), mode="serial"),
        builder.loop("j", dim_index(out[-1]), mode="vector"),
    ):
        with builder.loop("k", dim_index(k), mode="serial") as loop:
            x = e.load(a, _stored(a, out, IVar("i"), IVar("k"), node.attrs.transpose_a))
            y = e.load(b, _stored(b, out, IVar("k"), IVar("j"), node.attrs.transpose_b))
            term = builder.mul(builder.cast(x, accumulate), builder.cast(y, accumulate))
            total = loop.accumulate("acc", accumulate, "add", 0, term)
        e.env[node.out()] = builder.cast(total, node.types[0].dtype)
        for other in group.nodes[1:]:
            e.element(other, index_of_shape(other.types[0].shape or (), variables))
        for v in group.outputs:
            e.store(v, index_of_shape(v.shape, variables))
    return e.kernel(builder.build(), group.nodes)


def _stored(x: Value, out: Shape, row: Index, column: Index, transposed: bool) -> tuple[Index, ...]:
    """The index of element (row, column) of this batch's matrix in the stored operand."""
    batch = broadcast_index(x.shape[:-2], _position(out)[:-2])
    return (*batch, column, row) if transposed else (*batch, row, column)
