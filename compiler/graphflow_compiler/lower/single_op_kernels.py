"""Kernels of one node: scatter, argmax/argmin, assertions, sizes as data."""

from __future__ import annotations

from typing import Literal

from graphflow.framework.dtypes import int64
from graphflow.framework.kinds import ArgReduction, Scatter
from graphflow.framework.shapes import Dim, minimum, product
from graphflow_compiler.ir.index import iadd, imul
from graphflow_compiler.ir.indexing_maps import dim_index
from graphflow_compiler.ir.loops import Atom, Const, IConst, IData, Index, IVar
from graphflow_compiler.ir.program import Value
from graphflow_compiler.lower.emit import Emitter, LoweredKernel, accumulator_dtype, size_text, uniform_value


def lower_scatter(e: Emitter) -> LoweredKernel:
    """Copies the base, then combines the updates in, in index order: one thread, so repeated rows always add up alike."""
    b = e.b
    node = e.group.root
    kind = node.op.kind
    assert isinstance(kind, Scatter)
    base, indices, updates = node.inputs
    assert base is not None and indices is not None and updates is not None
    out = node.out()
    rows = base.shape[0]
    row: Dim = product(base.shape[1:])
    with b.loop("c", dim_index(product(base.shape)), mode="vector", parallel=False):
        b.store(e.buffer(out), IVar("c"), _linear(e, base, IVar("c")))
    drop = bool(getattr(node.attrs, "drop_negative", False))
    count = product(indices.shape)

    def row_of(u: str) -> tuple[Atom, Atom, Atom]:
        """The row that index number u names, and whether it lies below or above what there is."""
        wanted = b.cast(_linear(e, indices, IVar(u)), int64)
        return wanted, b.lt(wanted, 0), b.binary("ge", wanted, b.from_index(dim_index(rows), int64))

    with b.loop("k", dim_index(count), mode="serial", parallel=False):
        _, below, above = row_of("k")
        bad = above if drop else b.or_(below, above)
        e.fail_if(bad, node, f"indices are out of range: one is not in [0, {size_text(rows)})")
    # An update that is left out writes row 0 back as it is: a vector loop has no branches. A table of no rows has no row 0.
    with b.loop("u", dim_index(count * minimum(rows, 1)), mode="serial", parallel=False):
        wanted, below, above = row_of("u")
        bad = b.or_(below, above)
        place = IData(b.select(bad, 0, wanted))
        with b.loop("r", dim_index(row), mode="vector", parallel=False):
            at: Index = iadd(imul(place, dim_index(row)), IVar("r"))
            new = _linear(e, updates, iadd(imul(IVar("u"), dim_index(row)), IVar("r")))
            old = b.load(e.buffer(out), at, out.dtype)
            combined = {
                "set": lambda: new,
                "add": lambda: b.add(old, new),
                "sub": lambda: b.sub(old, new),
                "mul": lambda: b.mul(old, new),
                "div": lambda: b.binary("div" if out.dtype.is_floating else "truncdiv", old, new),
                "min": lambda: b.minimum(old, new),
                "max": lambda: b.maximum(old, new),
            }[kind.combine]()
            b.store(e.buffer(out), at, b.select(bad, old, combined))
    return e.kernel(e.b.build(), e.group.nodes)


def _linear(e: Emitter, v: Value, offset: Index) -> Atom:
    """The element at a row-major offset."""
    constant = uniform_value(v)
    return constant if constant is not None else e.b.load(e.buffer(v), offset, v.dtype)


def lower_arg(e: Emitter) -> LoweredKernel:
    """The extreme value first, then the first index that has it (a NaN counts as the extreme, as in numpy)."""
    b = e.b
    node = e.group.root
    kind = node.op.kind
    assert isinstance(kind, ArgReduction)
    x = node.inputs[0]
    assert x is not None
    axis = node.attrs.axis
    outer: Dim = product(x.shape[:axis])
    inner: Dim = product(x.shape[axis + 1 :])
    count = dim_index(x.shape[axis])
    dtype = accumulator_dtype(x.dtype)  # 16-bit floats are compared as float32, where each is exact
    start = _worst(kind.which, x)
    along_axis: Literal["serial", "vector"] = "vector" if inner == 1 else "serial"
    across: Literal["serial", "vector"] = "serial" if inner == 1 else "vector"
    with b.loop("o", dim_index(outer), mode="serial", parallel=True), b.loop("q", dim_index(inner), mode=across):

        def at() -> Index:
            return iadd(imul(iadd(imul(IVar("o"), count), IVar("a")), dim_index(inner)), IVar("q"))

        if not isinstance(x.shape[axis], int):
            e.fail_if(b.eq(b.from_index(count, int64), 0), node, f"Reduction axis {axis} is empty")
        with b.loop("a", count, mode=along_axis, parallel=False) as loop:
            best = loop.accumulate("best", dtype, kind.which, start, b.cast(_linear(e, x, at()), dtype))
        with b.loop("a", count, mode=along_axis, parallel=False) as loop:
            value = b.cast(_linear(e, x, at()), dtype)
            hit = b.eq(value, best)
            # A NaN equals nothing, not even the extreme that it has become.
            if dtype.is_floating:
                hit = b.or_(hit, b.is_nan(value))
            place = b.select(hit, b.from_index(IVar("a"), int64), Const(2**62, int64))
            first = loop.accumulate("first", int64, "min", 2**63 - 1, place)
        result = first if node.types[0].dtype is int64 else b.cast(first, node.types[0].dtype)
        b.store(e.buffer(node.out()), iadd(imul(IVar("o"), dim_index(inner)), IVar("q")), result)
    return e.kernel(e.b.build(), e.group.nodes)


def _worst(which: str, x: Value) -> float | int:
    if x.dtype.is_floating:
        return float("-inf") if which == "max" else float("inf")
    limit = x.dtype.min if which == "max" else x.dtype.max
    return int(limit)


def lower_assert(e: Emitter) -> LoweredKernel:
    node = e.group.root
    condition = node.inputs[0]
    assert condition is not None
    with e.b.loop("i", dim_index(product(condition.shape)), mode="vector", parallel=False):
        e.fail_if(e.b.not_(_linear(e, condition, IVar("i"))), node, "assertion failed")
    return e.kernel(e.b.build(), e.group.nodes)


def lower_dims(e: Emitter) -> LoweredKernel:
    node = e.group.root
    value = node.attrs.value
    flat = value if isinstance(value, tuple) else (value,)
    for k, d in enumerate(flat):
        e.b.store(e.buffer(node.out()), IConst(k), e.b.from_index(dim_index(d), node.types[0].dtype))
    return e.kernel(e.b.build(), e.group.nodes)
