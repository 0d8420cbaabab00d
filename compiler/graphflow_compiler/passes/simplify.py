"""Rewrite rules on single nodes: canonical forms, algebraic identities, and folding of constants."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from graphflow.framework.dtypes import HALVES, float32
from graphflow.framework.kinds import Elementwise, IndexMap, Reduction, View
from graphflow.framework.registry import lookup
from graphflow.framework.shapes import static_shape
from graphflow_compiler.ir.program import CannotCompile, Node, Value, constant_array, is_constant, splat_of
from graphflow_compiler.passes.patterns import Again, Constant, Input, P, Some
from graphflow_compiler.passes.rewrite import Match, Replacement, rule

Array = np.ndarray[Any, Any]

#: Folding makes constants; one larger than this many elements would cost more in the plan than it saves per run.
MAX_FOLDED = 65536
#: How many operations behind an operand are looked at, so that looking takes no longer in larger programs.
MAX_STEPS = 64


@rule(P(Elementwise, Reduction, View, IndexMap))
def constant_operands_to_constant(m: Match) -> Replacement:
    """f(constants) -> constant"""
    node = m.node
    if not all(is_constant(v) for v in node.data_inputs):
        return None
    if not _is_foldable(node, MAX_FOLDED):
        return _not_folded(node)
    array = _computed(node, [constant_array(v) for v in node.data_inputs])
    return None if array is None else m.constant(array)


def _not_folded(node: Node) -> str | None:
    """Why what needs computing is not computed here, though all operands are constants."""
    if not isinstance(node.op.kind, (Elementwise, Reduction)) or node.op.reference is None:
        return None
    if node.has_check:
        return "it can fail, and then the run must fail"
    return f"of more than {MAX_FOLDED:,} elements it is computed in each run, not kept"


def _is_foldable(node: Node, most: int) -> bool:
    """Whether the node can be computed here from operands that are constants, and has at most so many elements."""
    if not isinstance(node.op.kind, (Elementwise, Reduction, View, IndexMap)) or node.op.reference is None:
        return False
    if node.has_check:
        return False  # a failing check must fail the run, not the compilation
    shape = static_shape(node.types[0].shape or ())
    return shape is not None and math.prod(shape) <= most and bool(node.inputs)


def _computed(node: Node, operands: Sequence[Array]) -> Array | None:
    """The value of a foldable node. `operands` are those that are data, in order."""
    data = iter(operands)
    arrays = []
    for value, v in zip(node.values, node.inputs, strict=True):
        flat = value if isinstance(value, tuple) else (value,)
        if v is None and static_shape(flat) is None:  # type: ignore[arg-type]
            return None
        arrays.append(np.asarray(value, np.int64) if v is None else next(data))
    assert node.op.reference is not None
    # Kernels say nothing of infinities and NaNs, so folding must not warn of them either.
    try:
        with np.errstate(all="ignore"):
            result = node.op.reference(node.attrs, *arrays)
    except Exception as e:  # of a user's op, which may refuse its operands: that is for the run to tell
        name = f"{node.op.name} ({node.origin[-1]})" if node.origin else node.op.name
        raise CannotCompile(f"{name} refuses its constant operands: {e}") from e
    out = node.types[0]
    array = np.asarray(result, out.dtype.numpy_dtype)
    return array if array.shape == out.shape else None


def _splat(v: Value) -> float | None:
    """The value of a constant whose elements are all equal."""
    found = splat_of(v) if constant_array(v).size <= 4096 else None
    return None if found is None else found.item()


@rule(P(Elementwise, Input("x"), Constant("c"), has="identity"))
def identity_element_to_operand(m: Match, x: Value, c: Value) -> Replacement:
    """x * 1 -> x, x + 0 -> x (where the shapes agree)"""
    algebra, out = m.node.op.algebra, m.node.types[0]
    splat = _splat(c)
    if splat is None or splat != algebra.identity or x.type != out:
        return None
    if splat == 0 and out.dtype.is_floating and (math.copysign(1.0, splat) < 0) != algebra.commutative:
        return "it turns -0.0 into 0.0"  # x + 0.0 and x - -0.0 do; x + -0.0 and x - 0.0 leave every x as it is
    return x


@rule(P(Again(Input("x")), has="involution"))
def involution_twice_to_operand(m: Match, x: Value) -> Replacement:
    """-(-x) -> x"""
    return x


@rule(P(Again(Input("x"), bind="once"), has="idempotent"))
def idempotent_twice_to_once(m: Match, x: Value, once: Value) -> Replacement:
    """relu(relu(x)) -> relu(x)"""
    return once


@rule(P(View, Input("x"), ...))
def view_of_same_shape_to_operand(m: Match, x: Value) -> Replacement:
    """reshape(x, shape(x)) -> x; identity(x) -> x"""
    return x if x.type == m.node.types[0] else None


@rule(P(View, P(View, Input("x"), ...), ...))
def view_of_view_to_view(m: Match, x: Value) -> Replacement:
    """reshape(reshape(x)) -> reshape(x)"""
    return m.same(x, *m.node.inputs[1:])


#: How a product is told that an operand is stored transposed, by the operand's number.
_FLAGS = ("transpose_a", "transpose_b")


def _turned(m: Match, i: int) -> Any:
    """The product's attributes with the flag of operand i the other way round."""
    return replace(m.node.attrs, **{_FLAGS[i]: not getattr(m.node.attrs, _FLAGS[i])})


@rule(P("MatMul", "BatchMatMulV2", Some(P("Transpose", Input("x"), ..., bind="transposed"), at="i")))
def transposed_operand_to_flag(m: Match, x: Value, transposed: Value, i: int) -> Replacement:
    """matmul(transpose(a), b) -> matmul(a, b, transpose_a=True)"""
    perm = tuple(transposed.node.attrs.perm)
    rank = len(perm)
    if rank < 2 or perm != (*range(rank - 2), rank - 1, rank - 2):
        return "a product reads an operand in place only if its last two axes are the ones exchanged"
    return m.with_operand(i, x, attrs=_turned(m, i))


@rule(P("MatMul", "BatchMatMulV2", Some(Constant("c"), at="i")))
def transposed_constant_to_constant(m: Match, c: Value, i: int) -> Replacement:
    """matmul(a, constant, transpose_b=True) -> matmul(a, constant'), once instead of in every run"""
    if not getattr(m.node.attrs, _FLAGS[i]):
        return None
    return m.with_operand(i, m.constant(np.ascontiguousarray(constant_array(c).swapaxes(-1, -2))), attrs=_turned(m, i))


@rule(P("MatMul", "BatchMatMulV2", Some(Input("x"), at="i")))
def computed_constant_to_constant(m: Match, x: Value, i: int) -> Replacement:
    """matmul(a, constant * 2) -> matmul(a, constant'), once instead of in every run

    A matrix kernel reads its operands from memory: what is computed before it is stored in each run, and only constants are
    packed once. Other kernels compute such a thing on the way, and read less memory than the result would take.
    """
    array = _constant_behind(x)
    return array if array is None or isinstance(array, str) else m.with_operand(i, m.constant(array))


def _constant_behind(v: Value) -> Array | str | None:
    """The value of `v` if a few steps compute it from constants; a reason if they could but should not, else None.

    No step may have more elements than the largest of those constants (or than `MAX_FOLDED`): then the result takes no more
    memory for good than each run would have taken for a while.
    """
    needed: set[Node] = set()
    todo = [v.node]
    while todo:
        n = todo.pop()
        if n in needed:
            continue
        if len(needed) == MAX_STEPS or not (is_constant(n.out()) or _is_foldable(n, sys.maxsize)):
            return None
        needed.add(n)
        todo += [x.node for x in n.data_inputs]
    nodes = sorted(needed, key=lambda n: n.id)
    values = {n.out(): constant_array(n.out()) for n in nodes if is_constant(n.out())}
    steps = [n for n in nodes if n.out() not in values]
    if all(isinstance(n.op.kind, View) for n in steps):
        return None  # another shape of a constant is the same memory
    most = max([MAX_FOLDED, *(a.size for a in values.values())])
    if not all(_is_foldable(n, most) for n in steps):
        return "an operand has more elements than the constants it is made of: it is computed in each run, not kept"
    # Intermediate arrays are dropped after their last use: each may be as large as the constants.
    last = {x: n for n in steps for x in n.data_inputs}
    for n in steps:
        array = _computed(n, [values[x] for x in n.data_inputs])
        if array is None:
            return None
        for x in n.data_inputs:
            if last[x] is n:
                values.pop(x, None)
        values[n.out()] = array
    return values[v]


@rule(P("MatMul", "BatchMatMulV2", Input("a"), Input("b")))
def half_product_to_single(m: Match, a: Value, b: Value) -> Replacement:
    """matmul(a, b) -> cast(matmul(cast(a), cast(b))) for 16-bit floats: summed in float32, by the matrix kernel for that"""
    out = m.node.types[0]
    if out.dtype not in HALVES:
        return None
    to = lookup("Cast").attrs
    operands = [m.op("Cast", v, attrs=to(float32)) for v in (a, b)]
    return m.op("Cast", m.same(*operands, type=replace(out, dtype=float32)), attrs=to(out.dtype))


@rule(P("Transpose", Input("x"), ...))
def transpose_of_unit_axes_to_reshape(m: Match, x: Value) -> Replacement:
    """transpose(x) -> reshape(x) where only axes of size 1 move"""
    moved = [p for p in m.node.attrs.perm if x.shape[p] != 1]
    if moved != sorted(moved):
        return None
    out = m.node.types[0]
    return m.op("Reshape", x, None, values=(None, out.shape), type=out)


#: Operands that one node of a long sum, or of a long join, keeps. A kernel has at most 64 arrays (`fusion_group.MAX_ARRAYS`):
#: a join takes all but the one for its result, a sum leaves half for what else is fused with it.
_SUMMANDS, _JOINED = 32, 63


@rule(P("AddN"))
def long_sum_to_sums(m: Match) -> Replacement:
    """add_n([a, ..., z]) -> add_n([add_n([a, ..., m]), n, ..., z]): the same additions in the same order, in several kernels"""
    node = m.node
    if len(node.inputs) <= _SUMMANDS:
        return None
    total, rest = node.inputs[0], node.inputs[1:]
    for first in range(0, len(rest), _SUMMANDS - 1):
        part = (total, *rest[first : first + _SUMMANDS - 1])
        total = m.same(*part)
    return total


@rule(P("Pack", "ConcatV2"))
def long_join_to_joins(m: Match) -> Replacement:
    """concat([a, ..., z]) -> concat([concat([a, ..., m]), concat([n, ..., z])]): no kernel reads that many arrays"""
    node = m.node
    if len(node.inputs) <= _JOINED:
        return None
    op, parts = node.op, list(node.inputs)
    assert node.types[0].shape is not None
    attrs = replace(node.attrs, axis=node.attrs.axis % len(node.types[0].shape))
    while len(parts) > _JOINED:
        parts = [m.op(op, *parts[i : i + _JOINED], attrs=attrs) for i in range(0, len(parts), _JOINED)]
        op = lookup("ConcatV2")
    return m.op(op, *parts, attrs=attrs, type=node.types[0])


CANONICALISE = (
    transposed_operand_to_flag,
    transpose_of_unit_axes_to_reshape,
    view_of_same_shape_to_operand,
    view_of_view_to_view,
)
FOLD = (constant_operands_to_constant,)
SIMPLIFY = (
    long_sum_to_sums,
    long_join_to_joins,
    computed_constant_to_constant,
    transposed_constant_to_constant,
    half_product_to_single,
    identity_element_to_operand,
    involution_twice_to_operand,
    idempotent_twice_to_once,
)
