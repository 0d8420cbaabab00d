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
from graphflow_compiler.ir.program import Node, Value, constant_array, is_constant
from graphflow_compiler.passes.rewrite import Match, Replacement, rule

Array = np.ndarray[Any, Any]

#: Folding makes constants; one larger than this many elements would cost more in the plan than it saves per run.
MAX_FOLDED = 65536
#: How many operations behind an operand are looked at: looking must not take longer the larger the program is.
MAX_STEPS = 64


@rule()
def constant_operands_to_constant(m: Match) -> Replacement:
    """f(constants) -> constant"""
    node = m.node
    if not _is_foldable(node, MAX_FOLDED) or not all(is_constant(v) for v in node.data_inputs):
        return None
    for v in node.data_inputs:
        m.look(v)
    array = _computed(node, [constant_array(v) for v in node.data_inputs])
    return None if array is None else m.constant(array)


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
    with np.errstate(all="ignore"):
        result = node.op.reference(node.attrs, *arrays)
    out = node.types[0]
    array = np.asarray(result, out.dtype.numpy_dtype)
    return array if array.shape == out.shape else None


def _splat(v: Value | None) -> float | None:
    """The value of a constant whose elements are all equal."""
    if v is None or not is_constant(v):
        return None
    array = constant_array(v)
    if array.size == 0 or array.dtype == object or array.size > 4096:
        return None
    first = array.flat[0]
    if array.size > 1 and not bool((array == first).all()):
        return None
    return first.item()  # type: ignore[no-any-return]


def _is_identity(node: Node, v: Value | None) -> bool:
    """Whether `v` leaves every operand as it is. In floats x + 0.0 and x - -0.0 turn -0.0 into 0.0."""
    splat = _splat(v)
    if splat is None or splat != node.op.algebra.identity:
        return False
    if splat != 0 or not node.types[0].dtype.is_floating:
        return True
    return (math.copysign(1.0, splat) < 0) == node.op.algebra.commutative


@rule()
def identity_element_to_operand(m: Match) -> Replacement:
    """x * 1 -> x, x + 0 -> x (where the shapes agree)"""
    node = m.node
    algebra = node.op.algebra
    if not isinstance(node.op.kind, Elementwise) or algebra.identity is None or len(node.inputs) != 2:
        return None
    a, b = node.inputs
    if _is_identity(node, b) and a is not None and a.type == node.types[0]:
        return a
    if algebra.commutative and _is_identity(node, a) and b is not None and b.type == node.types[0]:
        return b
    return None


@rule()
def involution_twice_to_operand(m: Match) -> Replacement:
    """-(-x) -> x"""
    node = m.node
    if not node.op.algebra.involution or len(node.inputs) != 1 or node.inputs[0] is None:
        return None
    inner = node.inputs[0].node
    if inner.op is not node.op or inner.attrs != node.attrs:
        return None
    m.look(inner.out())
    return inner.inputs[0]


@rule()
def idempotent_twice_to_once(m: Match) -> Replacement:
    """relu(relu(x)) -> relu(x)"""
    node = m.node
    if not node.op.algebra.idempotent or len(node.inputs) != 1 or node.inputs[0] is None:
        return None
    inner = node.inputs[0].node
    return node.inputs[0] if inner.op is node.op and inner.attrs == node.attrs else None


@rule()
def view_of_same_shape_to_operand(m: Match) -> Replacement:
    """reshape(x, shape(x)) -> x; identity(x) -> x"""
    node = m.node
    if not isinstance(node.op.kind, View) or node.inputs[0] is None:
        return None
    x = node.inputs[0]
    return x if x.type == node.types[0] else None


@rule()
def view_of_view_to_view(m: Match) -> Replacement:
    """reshape(reshape(x)) -> reshape(x)"""
    node = m.node
    if not isinstance(node.op.kind, View) or node.inputs[0] is None:
        return None
    inner = node.inputs[0].node
    if not isinstance(inner.op.kind, View) or inner.inputs[0] is None:
        return None
    m.look(inner.out())
    made = m.driver.builder.add(
        node.op, node.attrs, (inner.inputs[0], *node.inputs[1:]), node.values, (*node.origin, *inner.origin), node.types
    )
    return made.out()


@rule("MatMul", "BatchMatMulV2")
def transposed_operand_to_flag(m: Match) -> Replacement:
    """matmul(transpose(a), b) -> matmul(a, b, transpose_a=True)"""
    node = m.node
    for i, flag in ((0, "transpose_a"), (1, "transpose_b")):
        inner = m.producer(i, "Transpose")
        if inner is None or inner.inputs[0] is None:
            continue
        perm = tuple(inner.attrs.perm)
        rank = len(perm)
        if rank < 2 or perm != (*range(rank - 2), rank - 1, rank - 2):
            continue
        attrs = replace(node.attrs, **{flag: not getattr(node.attrs, flag)})
        inputs = list(node.inputs)
        inputs[i] = inner.inputs[0]
        made = m.driver.builder.add(node.op, attrs, inputs, None, (*node.origin, *inner.origin), node.types)
        return made.out()
    return None


@rule("MatMul", "BatchMatMulV2")
def transposed_constant_to_constant(m: Match) -> Replacement:
    """matmul(a, constant, transpose_b=True) -> matmul(a, constant'), once instead of in every run"""
    node = m.node
    inputs, attrs = list(node.inputs), node.attrs
    for i, flag in ((0, "transpose_a"), (1, "transpose_b")):
        v = inputs[i]
        if v is None or not is_constant(v) or not getattr(attrs, flag):
            continue
        m.look(v)
        inputs[i] = m.constant(np.ascontiguousarray(constant_array(v).swapaxes(-1, -2)))
        attrs = replace(attrs, **{flag: False})
    if attrs is node.attrs:
        return None
    return m.driver.builder.add(node.op, attrs, inputs, None, node.origin, node.types).out()


@rule("MatMul", "BatchMatMulV2")
def computed_constant_to_constant(m: Match) -> Replacement:
    """matmul(a, constant * 2) -> matmul(a, constant'), once instead of in every run

    A matrix kernel reads its operands from memory: what is computed before it is stored in each run, and only constants are
    packed once. Other kernels compute such a thing on the way, and read less memory than the result would take.
    """
    node = m.node
    inputs = list(node.inputs)
    for i, v in enumerate(inputs):
        array = None if v is None else _constant_behind(m, v)
        if array is not None:
            inputs[i] = m.constant(array)
    if inputs == list(node.inputs):
        return None
    return m.driver.builder.add(node.op, node.attrs, inputs, None, node.origin, node.types).out()


def _constant_behind(m: Match, v: Value) -> Array | None:
    """The value of `v` if it is computed from constants in a few steps, none of which has more elements than the largest of
    them: each use of them takes, for good, no more memory than a run would have stored for a while."""
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
        return None
    last = {x: n for n in steps for x in n.data_inputs}
    for n in steps:
        array = _computed(n, [values[x] for x in n.data_inputs])
        if array is None:
            return None
        for x in n.data_inputs:
            if last[x] is n:
                values.pop(x, None)
        values[n.out()] = array
    for n in nodes:
        m.look(n.out())
    return values[v]


@rule("MatMul", "BatchMatMulV2")
def half_product_to_single(m: Match) -> Replacement:
    """matmul(a, b) -> cast(matmul(cast(a), cast(b))) for 16-bit floats: summed in float32, by the matrix kernel for that"""
    node = m.node
    half = node.types[0].dtype
    if half not in HALVES:
        return None
    attrs = lookup("Cast").attrs
    a, b = (m.op("Cast", m.input(i), attrs=attrs(float32)) for i in range(2))
    product = m.driver.builder.add(node.op, node.attrs, (a, b), None, node.origin, (replace(node.types[0], dtype=float32),))
    return m.op("Cast", product.out(), attrs=attrs(half))


@rule("Transpose")
def transpose_of_unit_axes_to_reshape(m: Match) -> Replacement:
    """transpose(x) -> reshape(x) where only axes of size 1 move"""
    node = m.node
    x = node.inputs[0]
    if x is None:
        return None
    moved = [p for p in node.attrs.perm if x.shape[p] != 1]
    if moved != sorted(moved):
        return None
    shape = node.types[0].shape
    op = lookup("Reshape")
    made = m.driver.builder.add(op, op.attrs(), (x, None), (None, shape), node.origin, node.types)
    return made.out()


#: Operands that one node of a long sum, or of a long join, keeps. A kernel has at most 64 arrays (`fusion_group.MAX_ARRAYS`),
#: and in that of a sum more is computed.
_SUMMANDS, _JOINED = 32, 63


@rule("AddN")
def long_sum_to_sums(m: Match) -> Replacement:
    """add_n([a, ..., z]) -> add_n([add_n([a, ..., m]), n, ..., z]): the same additions in the same order, in several kernels"""
    node = m.node
    if len(node.inputs) <= _SUMMANDS:
        return None
    total, rest = node.inputs[0], node.inputs[1:]
    for first in range(0, len(rest), _SUMMANDS - 1):
        part = (total, *rest[first : first + _SUMMANDS - 1])
        total = m.driver.builder.add(node.op, node.attrs, part, None, node.origin, node.types).out()
    return total


@rule("Pack", "ConcatV2")
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
    return m.driver.builder.add(op, attrs, parts, None, node.origin, node.types).out()


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
